// SPDX-License-Identifier: GPL-2.0-only
/*
 * General-purpose allocation: edge rules, calloc, sizes that cannot be had,
 * pass-through, what is known of a block, typed macros.
 */
#include <linux/limits.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include "fixture.h"

static struct pym_heap *heap_of(struct kunit *test)
{
	return pymt_heap(test)->heap;
}

/* ---------------------------------------------------------- 0 bytes ---- */

static void expect_distinct(struct kunit *test, void *p[], int n)
{
	int i, j;

	for (i = 0; i < n; i++) {
		KUNIT_EXPECT_NOT_NULL(test, p[i]);
		KUNIT_EXPECT_TRUE(test, (unsigned long)p[i] > PAGE_SIZE);
		for (j = 0; j < i; j++)
			KUNIT_EXPECT_PTR_NE_MSG(test, p[i], p[j], "blocks must be distinct");
	}
}

static void zero_bytes(struct kunit *test)
{
	void *p[4];
	int i;

	p[0] = pym_malloc(heap_of(test), 0, GFP_KERNEL);
	p[1] = pym_malloc(heap_of(test), 0, GFP_KERNEL);
	p[2] = pym_calloc(heap_of(test), 0, 8, GFP_KERNEL);
	p[3] = pym_calloc(heap_of(test), 8, 0, GFP_KERNEL);
	expect_distinct(test, p, 4);
	for (i = 0; i < 4; i++) {
		KUNIT_EXPECT_PTR_EQ(test, pym_owner(p[i]), heap_of(test));
		pym_free(p[i]);
	}
}

static void zero_bytes_of_default_heap(struct kunit *test)
{
	void *p[3];
	int i;

	p[0] = pym_malloc(NULL, 0, GFP_KERNEL);
	p[1] = pym_calloc(NULL, 0, 0, GFP_KERNEL);
	p[2] = pym_realloc(NULL, NULL, 0, GFP_KERNEL);
	expect_distinct(test, p, 3);
	for (i = 0; i < 3; i++) {
		KUNIT_EXPECT_PTR_EQ(test, pym_owner(p[i]), pym_default_heap);
		pym_free(p[i]);
	}
}

static void free_null(struct kunit *test)
{
	struct pym_cache *cache = pymt_cache(test, heap_of(test), 64);
	struct pym_heap_stats before, after;

	pymt_stats(test, heap_of(test), &before);
	pym_free(NULL);
	pym_cache_free(cache, NULL);
	pym_cache_free_bulk(cache, 0, NULL);
	pymt_stats(test, heap_of(test), &after);
	pymt_expect_same(test, &before, &after);
}

/* -------------------------------------------------------------- sizes ---- */

static const size_t impossible[] = {
	(size_t)INT_MAX + 1, SIZE_MAX / 4, SSIZE_MAX, (size_t)SSIZE_MAX + 1,
	SIZE_MAX - PAGE_SIZE, SIZE_MAX - 7, SIZE_MAX,
};

static void size_desc(const size_t *size, char *desc)
{
	scnprintf(desc, KUNIT_PARAM_DESC_SIZE, "%#zx", *size);
}

KUNIT_ARRAY_PARAM(impossible, impossible, size_desc);

static void impossible_sizes(struct kunit *test)
{
	size_t n = *(const size_t *)test->param_value;
	u8 *p = pymt_malloc(test, heap_of(test), 40);
	struct pym_heap_stats before, after;

	memset(p, 0x77, 40);
	pymt_stats(test, heap_of(test), &before);
	KUNIT_EXPECT_NULL(test, pym_malloc(heap_of(test), n, GFP_KERNEL));
	KUNIT_EXPECT_NULL(test, pym_calloc(heap_of(test), 1, n, GFP_KERNEL));
	KUNIT_EXPECT_NULL(test, pym_calloc(heap_of(test), n, 1, GFP_KERNEL));
	KUNIT_EXPECT_NULL(test, pym_realloc(NULL, p, n, GFP_KERNEL));
	KUNIT_EXPECT_NULL(test, pym_realloc(heap_of(test), NULL, n, GFP_KERNEL));
	pymt_stats(test, heap_of(test), &after);
	pymt_expect_same(test, &before, &after);
	KUNIT_EXPECT_EQ(test, after.failures, before.failures + 5);
	KUNIT_EXPECT_NULL_MSG(test, memchr_inv(p, 0x77, 40), "realloc failed, the block is intact");
	pym_free(p);
}

struct product {
	size_t n, size;
};

static const struct product overflows[] = {
	{ 2, SIZE_MAX / 2 + 1 }, { SIZE_MAX / 2 + 1, 2 }, { SIZE_MAX, SIZE_MAX },
	{ 1UL << 32, 1UL << 32 }, { SIZE_MAX / 8 + 2, 8 }, { 3, SIZE_MAX / 3 + 1 },
};

static void product_desc(const struct product *p, char *desc)
{
	scnprintf(desc, KUNIT_PARAM_DESC_SIZE, "%#zx-times-%#zx", p->n, p->size);
}

KUNIT_ARRAY_PARAM(overflows, overflows, product_desc);

static void calloc_overflow(struct kunit *test)
{
	const struct product *p = test->param_value;
	struct pym_heap_stats before, after;

	pymt_stats(test, heap_of(test), &before);
	KUNIT_EXPECT_NULL(test, pym_calloc(heap_of(test), p->n, p->size, GFP_KERNEL));
	pymt_stats(test, heap_of(test), &after);
	pymt_expect_same(test, &before, &after);
	KUNIT_EXPECT_EQ(test, after.failures, before.failures + 1);
}

static const size_t calloc_sizes[] = { 1, 8, 100, 512, 513, 1000, 2048, 2049, 4000, 20000 };

static void calloc_desc(const size_t *size, char *desc)
{
	scnprintf(desc, KUNIT_PARAM_DESC_SIZE, "%zu-bytes", *size);
}

KUNIT_ARRAY_PARAM(calloc, calloc_sizes, calloc_desc);

static void calloc_zeroes(struct kunit *test)
{
	size_t n = *(const size_t *)test->param_value;
	void *keep = pymt_malloc(test, heap_of(test), n), *p, *again;

	p = pym_calloc(heap_of(test), n, 1, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, p);
	KUNIT_EXPECT_NULL_MSG(test, memchr_inv(p, 0, n), "virgin memory");
	memset(p, 0xff, pym_usable_size(p));
	pym_free(p);
	again = pym_calloc(heap_of(test), 1, n, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, again);
	KUNIT_EXPECT_NULL_MSG(test, memchr_inv(again, 0, n), "recycled memory");
	if (n <= PYM_SMALL_MAX)
		KUNIT_EXPECT_PTR_EQ(test, again, p);
	pym_free(again);
	pym_free(keep);
}

/* The same of blocks that a front has, and of which it is not known what is in them. */
static void calloc_zeroes_from_front(struct kunit *test)
{
	size_t n = *(const size_t *)test->param_value;
	struct pym_heap *heap = pymt_open(test, PYMT_PAGES | PYMT_FRONTS, NULL)->heap;
	unsigned int i, bad = 0;
	u8 *p;

	for (i = 0; i < 64; i++) {
		p = pym_calloc(heap, 1, n, GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, p);
		bad += !!memchr_inv(p, 0, n);
		memset(p, 0xff, pym_usable_size(p));
		pym_free(p);
	}
	KUNIT_EXPECT_EQ_MSG(test, bad, 0, "blocks that were not zeroed");
}

static void malloc_with_zero_flag(struct kunit *test)
{
	void *keep = pymt_malloc(test, heap_of(test), 90);
	void *p = pymt_malloc(test, heap_of(test), 90);

	memset(p, 0xff, 90);
	pym_free(p);
	p = pym_malloc(heap_of(test), 90, GFP_KERNEL | __GFP_ZERO);
	KUNIT_ASSERT_NOT_NULL(test, p);
	KUNIT_EXPECT_NULL(test, memchr_inv(p, 0, 90));
	pym_free(p);
	pym_free(keep);
}

/* ------------------------------------------------------- pass-through ---- */

static const size_t large_sizes[] = {
	2049, 3000, 4096, 4097, 8192, 8193, 70000, 262144, 5 * 1024 * 1024,
};

KUNIT_ARRAY_PARAM(large, large_sizes, calloc_desc);

/* All of it can be used, and all of it is accounted. */
static void pass_through_heap(struct kunit *test, struct pymt_heap *th, size_t n)
{
	struct pym_heap_stats before, during, after;
	void *p;

	pymt_stats(test, th->heap, &before);
	p = pymt_malloc(test, th->heap, n);
	memset(p, 0x3c, pym_usable_size(p));
	pymt_stats(test, th->heap, &during);
	KUNIT_EXPECT_GE(test, pym_usable_size(p), n);
	KUNIT_EXPECT_GE(test, during.pass_through, pym_usable_size(p));
	KUNIT_EXPECT_LT_MSG(test, during.pass_through, 2 * n + PAGE_SIZE, "rounded, no more");
	KUNIT_EXPECT_GT_MSG(test, during.metadata, before.metadata, "its record is accounted");
	KUNIT_EXPECT_EQ(test, during.live, 1);
	KUNIT_EXPECT_EQ(test, during.pass_through_live, 1);
	KUNIT_EXPECT_EQ_MSG(test, pymt_calls(th), 0, "the provider has no part in it");
	pymt_check(test, th);
	pym_free(p);
	pymt_stats(test, th->heap, &after);
	pymt_expect_same(test, &before, &after);
}

static void pass_through(struct kunit *test)
{
	pass_through_heap(test, pymt_heap(test), *(const size_t *)test->param_value);
}

static const size_t above_cpython[] = { 513, 600, 1000, 1024, 2048, 2049 };

KUNIT_ARRAY_PARAM(above_cpython, above_cpython, calloc_desc);

/* The same in a heap with CPython's threshold. */
static void pass_through_as_in_cpython(struct kunit *test)
{
	struct pym_heap_args args = { .small_max = 512 };

	pass_through_heap(test, pymt_open(test, PYMT_SPLIT, &args),
			  *(const size_t *)test->param_value);
}

static const size_t thresholds[] = { 64, 72, 504, 512, 520, 600, 1016, 1024, 2040, 2048 };

KUNIT_ARRAY_PARAM(thresholds, thresholds, calloc_desc);

static void expect_threshold(struct kunit *test, struct pym_heap *heap, size_t small_max)
{
	void *small = pymt_malloc(test, heap, small_max);
	void *large = pymt_malloc(test, heap, small_max + 1);
	struct pym_heap_stats stats;

	pymt_stats(test, heap, &stats);
	KUNIT_EXPECT_EQ(test, stats.live, 2);
	KUNIT_EXPECT_EQ(test, stats.pass_through_live, 1);
	KUNIT_EXPECT_EQ(test, stats.in_blocks, pym_usable_size(small));
	KUNIT_EXPECT_TRUE(test, pymt_pool(test, small)->owner->is_class);
	KUNIT_EXPECT_PTR_EQ(test, pym_owner(large), heap);
	pym_free(small);
	pym_free(large);
}

/* The last size that is pooled, and the next one, which may be of the same class. */
static void threshold(struct kunit *test)
{
	struct pym_heap_args args = { .small_max = *(const size_t *)test->param_value };

	expect_threshold(test, pymt_open(test, PYMT_SPLIT, &args)->heap, args.small_max);
}

/* The same where the fast path serves the class. */
static void threshold_of_fast_path(struct kunit *test)
{
	struct pym_heap_args args = { .small_max = *(const size_t *)test->param_value };
	struct pym_heap *heap = pymt_open(test, PYMT_PAGES | PYMT_FRONTS, &args)->heap;
	struct pym_cache_stats stats;
	int i;

	for (i = 0; i < 64; i++)
		pym_free(pymt_malloc(test, heap, args.small_max));
	pym_cache_stats(heap->class[pym_size_to_class(args.small_max)], &stats);
	KUNIT_EXPECT_GT_MSG(test, stats.cached, 0, "the fronts are in use");
	expect_threshold(test, heap, args.small_max);
}

static void default_threshold(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, pym_default_heap->small_max, PYM_SMALL_MAX);
	expect_threshold(test, heap_of(test), PYM_SMALL_MAX);
}

/* ------------------------------------------------ usable size, owner ---- */

static void usable_size(struct kunit *test)
{
	struct pym_cache *cache = pymt_cache(test, heap_of(test), 100);
	void *small = pymt_malloc(test, heap_of(test), 33);
	void *large = pymt_malloc(test, heap_of(test), 3000);
	void *block = pymt_take(test, cache);
	int local;

	KUNIT_EXPECT_EQ(test, pym_usable_size(small), 40);
	KUNIT_EXPECT_GE(test, pym_usable_size(large), 3000);
	KUNIT_EXPECT_EQ_MSG(test, pym_usable_size(block), 100, "the cache's size, not its stride");
	KUNIT_EXPECT_EQ(test, pym_usable_size(NULL), 0);
	KUNIT_EXPECT_EQ(test, pym_usable_size(&local), 0);
	KUNIT_EXPECT_EQ(test, pym_usable_size(small + 8), 0);
	KUNIT_EXPECT_EQ(test, pym_usable_size(large + 8), 0);
	KUNIT_EXPECT_EQ(test, pym_usable_size(block + 1), 0);
	pym_free(small);
	KUNIT_EXPECT_EQ_MSG(test, pym_usable_size(small), 0, "freed");
	pym_free(large);
	KUNIT_EXPECT_EQ_MSG(test, pym_usable_size(large), 0, "freed");
	pym_cache_free(cache, block);
}

static void owner(struct kunit *test)
{
	struct pym_heap *heap = heap_of(test), *other = pymt_open(test, PYMT_PAGES, NULL)->heap;
	struct pym_cache *cache = pymt_cache(test, heap, 100);
	void *small = pymt_malloc(test, heap, 33), *large = pymt_malloc(test, other, 3000);
	void *block = pymt_take(test, cache), *mine = kmalloc(64, GFP_KERNEL);

	KUNIT_EXPECT_PTR_EQ(test, pym_owner(small), heap);
	KUNIT_EXPECT_PTR_EQ(test, pym_owner(large), other);
	KUNIT_EXPECT_PTR_EQ(test, pym_owner(block), heap);
	KUNIT_EXPECT_NULL(test, pym_owner(small + 1));
	KUNIT_EXPECT_NULL(test, pym_owner(large + 8));
	KUNIT_EXPECT_NULL_MSG(test, pym_owner(small + 40), "virgin");
	KUNIT_EXPECT_NULL(test, pym_owner(NULL));
	KUNIT_EXPECT_NULL(test, pym_owner(mine));
	KUNIT_EXPECT_NULL(test, pym_owner((void *)0xdead0000));
	KUNIT_EXPECT_NULL(test, pym_owner((void *)SIZE_MAX));
	pym_free(small);
	KUNIT_EXPECT_NULL(test, pym_owner(small));
	pym_free(large);
	pym_cache_free(cache, block);
	kfree(mine);
}

/* -------------------------------------------------------- typed macros ---- */

struct thing {
	u64 a;
	u32 b;
};

static void typed_new(struct kunit *test)
{
	struct thing *t = pym_new(struct thing, 3, GFP_KERNEL);
	struct thing *u = pym_heap_new(heap_of(test), struct thing, 2, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, t);
	KUNIT_ASSERT_NOT_NULL(test, u);
	KUNIT_EXPECT_EQ(test, pym_usable_size(t), 3 * sizeof(*t));
	KUNIT_EXPECT_PTR_EQ(test, pym_owner(t), pym_default_heap);
	KUNIT_EXPECT_PTR_EQ(test, pym_owner(u), heap_of(test));
	pym_del(t);
	pym_del(u);
	pym_del((struct thing *)NULL);
}

static void typed_resize(struct kunit *test)
{
	u32 *array = NULL, *old;
	int i;

	KUNIT_ASSERT_NOT_NULL(test, pym_resize(array, u32, 4, GFP_KERNEL));
	for (i = 0; i < 4; i++)
		array[i] = i * i;
	KUNIT_ASSERT_NOT_NULL(test, pym_resize(array, u32, 400, GFP_KERNEL));
	for (i = 0; i < 4; i++)
		KUNIT_EXPECT_EQ(test, array[i], i * i);
	KUNIT_EXPECT_GE(test, pym_usable_size(array), 400 * sizeof(u32));
	old = array;
	KUNIT_EXPECT_NULL_MSG(test, pym_resize(array, u32, SIZE_MAX / 2, GFP_KERNEL), "overflow");
	KUNIT_EXPECT_NULL_MSG(test, array, "the lvalue is assigned the result, always");
	KUNIT_EXPECT_EQ(test, old[3], 9);
	pym_del(old);
}

static void typed_overflow(struct kunit *test)
{
	struct pym_heap_stats before, after;

	pymt_stats(test, heap_of(test), &before);
	/* 16 * (2^60 + 1) is 16 if it wraps. */
	KUNIT_EXPECT_NULL(test, pym_heap_new(heap_of(test), struct thing, (1UL << 60) + 1,
					     GFP_KERNEL));
	KUNIT_EXPECT_NULL(test, pym_heap_new(heap_of(test), struct thing, SIZE_MAX, GFP_KERNEL));
	pymt_stats(test, heap_of(test), &after);
	pymt_expect_same(test, &before, &after);
}

static struct kunit_case malloc_cases[] = {
	KUNIT_CASE(zero_bytes),
	KUNIT_CASE(zero_bytes_of_default_heap),
	KUNIT_CASE(free_null),
	KUNIT_CASE_PARAM(impossible_sizes, impossible_gen_params),
	KUNIT_CASE_PARAM(calloc_overflow, overflows_gen_params),
	KUNIT_CASE_PARAM(calloc_zeroes, calloc_gen_params),
	KUNIT_CASE_PARAM(calloc_zeroes_from_front, calloc_gen_params),
	KUNIT_CASE(malloc_with_zero_flag),
	KUNIT_CASE_PARAM(pass_through, large_gen_params),
	KUNIT_CASE_PARAM(pass_through_as_in_cpython, above_cpython_gen_params),
	KUNIT_CASE_PARAM(threshold, thresholds_gen_params),
	KUNIT_CASE_PARAM(threshold_of_fast_path, thresholds_gen_params),
	KUNIT_CASE(default_threshold),
	KUNIT_CASE(usable_size),
	KUNIT_CASE(owner),
	KUNIT_CASE(typed_new),
	KUNIT_CASE(typed_resize),
	KUNIT_CASE(typed_overflow),
	{}
};

static struct kunit_suite malloc_suite = {
	.name = "pymalloc_malloc",
	.init = pymt_init,
	.exit = pymt_exit,
	.test_cases = malloc_cases,
};

kunit_test_suites(&malloc_suite);
