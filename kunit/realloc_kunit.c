// SPDX-License-Identifier: GPL-2.0-only
/*
 * realloc: when a block stays, when it moves, what it keeps, and what is left
 * when it fails.
 */
#include <linux/slab.h>
#include "fixture.h"

static struct pym_heap *heap_of(struct kunit *test)
{
	return pymt_heap(test)->heap;
}

static void fill(u8 *p, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		p[i] = i * 7 + 1;
}

static bool is_filled(const u8 *p, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (p[i] != (u8)(i * 7 + 1))
			return false;
	return true;
}

static void null_is_malloc(struct kunit *test)
{
	void *p = pym_realloc(heap_of(test), NULL, 100, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, p);
	KUNIT_EXPECT_PTR_EQ(test, pym_owner(p), heap_of(test));
	KUNIT_EXPECT_EQ(test, pym_usable_size(p), 104);
	pym_free(p);
}

static void null_with_zero_flag(struct kunit *test)
{
	void *p = pym_realloc(heap_of(test), NULL, 100, GFP_KERNEL | __GFP_ZERO);

	KUNIT_ASSERT_NOT_NULL(test, p);
	KUNIT_EXPECT_NULL(test, memchr_inv(p, 0, 100));
	pym_free(p);
}

/* The block lives on, as small as blocks get. */
static void zero_does_not_free(struct kunit *test)
{
	void *p = pymt_malloc(test, heap_of(test), 500), *new;
	struct pym_heap_stats stats;

	new = pym_realloc(NULL, p, 0, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, new);
	KUNIT_EXPECT_PTR_NE(test, new, p);
	KUNIT_EXPECT_EQ(test, pym_usable_size(new), 8);
	KUNIT_EXPECT_NULL(test, pym_owner(p));
	pymt_stats(test, heap_of(test), &stats);
	KUNIT_EXPECT_EQ(test, stats.live, 1);
	pym_free(new);
}

static void zero_of_pass_through(struct kunit *test)
{
	void *p = pymt_malloc(test, heap_of(test), 5000), *new;
	struct pym_heap_stats stats;

	new = pym_realloc(NULL, p, 0, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, new);
	pymt_stats(test, heap_of(test), &stats);
	KUNIT_EXPECT_EQ(test, stats.live, 1);
	KUNIT_EXPECT_EQ(test, stats.pass_through_live, 0);
	pym_free(new);
}

/*
 * For every class and every smaller size: in place while 4 * new > 3 * size,
 * and also when the class would be the same.
 */
static void stays_in_place_exactly(struct kunit *test)
{
	unsigned int class, bad = 0;
	size_t n;

	for (class = 0; class < PYM_NR_CLASSES; class++) {
		size_t size = pym_class_to_size(class);

		for (n = 0; n <= size; n++) {
			bool stays = 4 * n > 3 * size || pym_size_to_class(n) == class;
			void *p = pymt_malloc(test, heap_of(test), size);
			void *new = pym_realloc(NULL, p, n, GFP_KERNEL);

			if (!new || (stays ? new != p : new == p)) {
				kunit_err(test, "%zu to %zu bytes: %s\n", size, n,
					  new == p ? "stayed" : new ? "moved" : "failed");
				bad++;
			}
			pym_free(new ?: p);
		}
	}
	KUNIT_EXPECT_EQ_MSG(test, bad, 0, "blocks that should have moved, or stayed");
}

static void pass_through_stays_in_place(struct kunit *test)
{
	void *p = pymt_malloc(test, heap_of(test), 4096), *new;

	KUNIT_EXPECT_EQ(test, pym_usable_size(p), 4096);
	KUNIT_EXPECT_PTR_EQ(test, pym_realloc(NULL, p, 4095, GFP_KERNEL), p);
	KUNIT_EXPECT_PTR_EQ(test, pym_realloc(NULL, p, 3073, GFP_KERNEL), p);
	KUNIT_EXPECT_PTR_EQ(test, pym_realloc(NULL, p, 4096, GFP_KERNEL), p);
	new = pym_realloc(NULL, p, 3072, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, new);
	KUNIT_EXPECT_PTR_NE_MSG(test, new, p, "4 * 3072 is not above 3 * 4096");
	pym_free(new);
}

struct change {
	size_t from, to;
};

static const struct change changes[] = {
	{ 8, 16 }, { 8, 512 }, { 100, 200 }, { 512, 513 }, { 40, 5000 }, { 600, 4000 },
	{ 5000, 100000 }, { 512, 300 }, { 200, 8 }, { 513, 100 }, { 5000, 512 }, { 100000, 5000 },
	{ 5000, 1000 }, { 4096, 0 }, { 24, 24 }, { 600, 700 }, { 700, 600 }, { 2048, 2049 },
	{ 2049, 2048 }, { 1000, 2000 }, { 2000, 520 }, { 2000, 500 },
};

static void change_desc(const struct change *c, char *desc)
{
	scnprintf(desc, KUNIT_PARAM_DESC_SIZE, "%zu-to-%zu", c->from, c->to);
}

KUNIT_ARRAY_PARAM(changes, changes, change_desc);

static void content_is_kept(struct kunit *test)
{
	const struct change *c = test->param_value;
	u8 *p = pymt_malloc(test, heap_of(test), c->from), *new;
	struct pym_heap_stats stats;

	fill(p, c->from);
	new = pym_realloc(heap_of(test), p, c->to, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, new);
	KUNIT_EXPECT_TRUE(test, is_filled(new, min(c->from, c->to)));
	KUNIT_EXPECT_GE(test, pym_usable_size(new), c->to);
	KUNIT_EXPECT_PTR_EQ(test, pym_owner(new), heap_of(test));
	if (new != p)
		KUNIT_EXPECT_NULL_MSG(test, pym_owner(p), "the old block is free");
	pymt_stats(test, heap_of(test), &stats);
	KUNIT_EXPECT_EQ(test, stats.live, 1);
	KUNIT_EXPECT_EQ(test, stats.pass_through_live, pym_usable_size(new) > PYM_SMALL_MAX);
	pym_free(new);
}

/* Every usable byte of the old block counts as content. */
static void all_usable_bytes_are_kept(struct kunit *test)
{
	u8 *p = pymt_malloc(test, heap_of(test), 33), *new;

	fill(p, 40);
	new = pym_realloc(NULL, p, 400, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, new);
	KUNIT_EXPECT_TRUE(test, is_filled(new, 40));
	pym_free(new);
}

/* What a block gains beyond what it could hold before; the rest is content. */
static void growth_is_zeroed(struct kunit *test)
{
	const struct change *c = test->param_value;
	u8 *keep, *p, *new;
	size_t had;

	if (c->to <= c->from) {
		/* The flag does no harm to a block that shrinks. */
		p = pymt_malloc(test, heap_of(test), c->from);
		fill(p, c->from);
		new = pym_realloc(NULL, p, c->to, GFP_KERNEL | __GFP_ZERO);
		KUNIT_ASSERT_NOT_NULL(test, new);
		KUNIT_EXPECT_TRUE(test, is_filled(new, c->to));
		pym_free(new);
		return;
	}
	/* Dirty the memory that the block will move to. */
	keep = pymt_malloc(test, heap_of(test), c->to);
	p = pymt_malloc(test, heap_of(test), c->to);
	memset(p, 0xff, c->to);
	pym_free(p);

	p = pymt_malloc(test, heap_of(test), c->from);
	had = pym_usable_size(p);
	KUNIT_EXPECT_LT(test, had, c->to);
	fill(p, had);
	new = pym_realloc(NULL, p, c->to, GFP_KERNEL | __GFP_ZERO);
	KUNIT_ASSERT_NOT_NULL(test, new);
	KUNIT_EXPECT_TRUE(test, is_filled(new, had));
	KUNIT_EXPECT_NULL(test, memchr_inv(new + had, 0, c->to - had));
	pym_free(new);
	pym_free(keep);
}

/* ------------------------------------------------------------ failures ---- */

static void fail_provider(struct kunit *test)
{
	pymt_heap(test)->provider->fail_at = pymt_calls(pymt_heap(test)) + 1;
	pymt_heap(test)->provider->fail_on = true;
}

static void failed_growth_keeps_the_block(struct kunit *test)
{
	struct pym_heap_stats before, after;
	u8 *p;

	pymt_heap(test)->provider->max_size = PAGE_SIZE;
	p = pymt_malloc(test, heap_of(test), 100);
	fill(p, 100);
	fail_provider(test);
	/* The class and what it needs are made once and kept. */
	KUNIT_EXPECT_NULL(test, pym_realloc(NULL, p, 400, GFP_KERNEL));
	pymt_stats(test, heap_of(test), &before);
	KUNIT_EXPECT_NULL(test, pym_realloc(NULL, p, 400, GFP_KERNEL));
	pymt_stats(test, heap_of(test), &after);
	pymt_expect_same(test, &before, &after);
	KUNIT_EXPECT_TRUE(test, is_filled(p, 100));
	KUNIT_EXPECT_EQ(test, pym_usable_size(p), 104);
	pym_free(p);
}

static void failed_shrink_returns_the_block(struct kunit *test)
{
	u8 *p;

	pymt_heap(test)->provider->max_size = PAGE_SIZE;
	p = pymt_malloc(test, heap_of(test), 512);
	fill(p, 512);
	fail_provider(test);
	KUNIT_EXPECT_PTR_EQ_MSG(test, pym_realloc(NULL, p, 8, GFP_KERNEL), p,
				"no smaller block to be had: the old one is large enough");
	KUNIT_EXPECT_TRUE(test, is_filled(p, 512));
	KUNIT_EXPECT_PTR_EQ(test, pym_realloc(NULL, p, 0, GFP_KERNEL), p);
	pym_free(p);
}

static void failed_shrink_of_pass_through(struct kunit *test)
{
	struct pym_heap_stats stats;
	u8 *p = pymt_malloc(test, heap_of(test), 8192);

	fill(p, 8192);
	fail_provider(test);
	KUNIT_EXPECT_PTR_EQ(test, pym_realloc(NULL, p, 100, GFP_KERNEL), p);
	pymt_stats(test, heap_of(test), &stats);
	KUNIT_EXPECT_EQ(test, pym_heap_set_limit(heap_of(test), stats.held), 0);
	KUNIT_EXPECT_PTR_EQ_MSG(test, pym_realloc(NULL, p, 1000, GFP_KERNEL), p, "at the limit");
	KUNIT_EXPECT_TRUE(test, is_filled(p, 8192));
	KUNIT_EXPECT_EQ(test, pym_heap_set_limit(heap_of(test), 0), 0);
	pym_free(p);
}

static void wrong_heap_is_reported(struct kunit *test)
{
	struct pym_heap *other = pymt_open(test, PYMT_PAGES, NULL)->heap;
	u8 *p = pymt_malloc(test, heap_of(test), 100), *q = pymt_malloc(test, other, 5000);
	struct pym_heap_stats before, after;

	fill(p, 100);
	pymt_stats(test, heap_of(test), &before);
	KUNIT_EXPECT_NULL(test, pym_realloc(other, p, 300, GFP_KERNEL));
	pymt_expect_misuse(test, PYM_MISUSE_WRONG_HEAP, 1);
	KUNIT_EXPECT_NULL(test, pym_realloc(heap_of(test), q, 300, GFP_KERNEL));
	pymt_expect_misuse(test, PYM_MISUSE_WRONG_HEAP, 1);
	pymt_stats(test, heap_of(test), &after);
	pymt_expect_same(test, &before, &after);
	KUNIT_EXPECT_TRUE(test, is_filled(p, 100));
	pym_free(p);
	pym_free(q);
}

/* Without a heap, or with the right one, it stays in the block's heap. */
static void stays_in_its_heap(struct kunit *test)
{
	void *p = pymt_malloc(test, heap_of(test), 100);

	p = pym_realloc(NULL, p, 300, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, p);
	KUNIT_EXPECT_PTR_EQ(test, pym_owner(p), heap_of(test));
	p = pym_realloc(NULL, p, 3000, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, p);
	KUNIT_EXPECT_PTR_EQ(test, pym_owner(p), heap_of(test));
	p = pym_realloc(heap_of(test), p, 30, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, p);
	KUNIT_EXPECT_PTR_EQ(test, pym_owner(p), heap_of(test));
	pym_free(p);
}

/* A chain through every class and back, as an array that grows and shrinks. */
static void up_and_down(struct kunit *test)
{
	u8 *p = NULL, *new;
	size_t n, had = 0;

	for (n = 1; n <= 3000; n += 1 + n / 8) {
		new = pym_realloc(heap_of(test), p, n, GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, new);
		p = new;
		KUNIT_ASSERT_TRUE_MSG(test, is_filled(p, had), "%zu to %zu bytes", had, n);
		fill(p, n);
		had = n;
	}
	for (n = had; n > 0; n -= 1 + n / 8) {
		new = pym_realloc(heap_of(test), p, n, GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, new);
		p = new;
		KUNIT_ASSERT_TRUE_MSG(test, is_filled(p, n), "shrunk to %zu bytes", n);
	}
	pym_free(p);
}

static struct kunit_case realloc_cases[] = {
	KUNIT_CASE(null_is_malloc),
	KUNIT_CASE(null_with_zero_flag),
	KUNIT_CASE(zero_does_not_free),
	KUNIT_CASE(zero_of_pass_through),
	KUNIT_CASE_SLOW(stays_in_place_exactly),
	KUNIT_CASE(pass_through_stays_in_place),
	KUNIT_CASE_PARAM(content_is_kept, changes_gen_params),
	KUNIT_CASE(all_usable_bytes_are_kept),
	KUNIT_CASE_PARAM(growth_is_zeroed, changes_gen_params),
	KUNIT_CASE(failed_growth_keeps_the_block),
	KUNIT_CASE(failed_shrink_returns_the_block),
	KUNIT_CASE(failed_shrink_of_pass_through),
	KUNIT_CASE(wrong_heap_is_reported),
	KUNIT_CASE(stays_in_its_heap),
	KUNIT_CASE(up_and_down),
	{}
};

static struct kunit_suite realloc_suite = {
	.name = "pymalloc_realloc",
	.init = pymt_init,
	.exit = pymt_exit,
	.test_cases = realloc_cases,
};

kunit_test_suites(&realloc_suite);
