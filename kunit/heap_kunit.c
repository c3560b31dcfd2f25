// SPDX-License-Identifier: GPL-2.0-only
/*
 * Heaps: creation, isolation, reset, wholesale destruction, shrinking.
 */
#include <linux/mm.h>
#include <linux/slab.h>
#include "fixture.h"

static struct pym_heap *heap_of(struct kunit *test)
{
	return pymt_heap(test)->heap;
}

static void create_and_destroy(struct kunit *test)
{
	struct pym_heap *heap = pym_heap_create("kunit-plain", NULL);
	struct pym_heap_stats stats;

	KUNIT_ASSERT_NOT_NULL(test, heap);
	pymt_stats(test, heap, &stats);
	KUNIT_EXPECT_EQ(test, stats.live, 0);
	KUNIT_EXPECT_EQ(test, stats.arenas, 0);
	KUNIT_EXPECT_EQ(test, stats.limit, 0);
	KUNIT_EXPECT_EQ_MSG(test, stats.held, stats.metadata, "a new heap holds itself");
	KUNIT_EXPECT_GE(test, stats.held, sizeof(*heap));
	pym_heap_destroy(heap);
}

static void destroy_null(struct kunit *test)
{
	struct pym_heap_stats before, after;

	pymt_stats(test, heap_of(test), &before);
	pym_heap_destroy(NULL);
	pymt_stats(test, heap_of(test), &after);
	pymt_expect_same(test, &before, &after);
}

static void default_heap_stays(struct kunit *test)
{
	void *p = pymt_malloc(test, NULL, 50);

	pym_heap_destroy(pym_default_heap);
	pymt_expect_misuse(test, PYM_MISUSE_BAD_ARG, 1);
	pym_heap_reset(pym_default_heap);
	pymt_expect_misuse(test, PYM_MISUSE_BAD_ARG, 1);
	KUNIT_EXPECT_PTR_EQ(test, pym_owner(p), pym_default_heap);
	pym_free(p);
}

static void default_heap_stats(struct kunit *test)
{
	struct pym_heap_stats before, during;
	void *p;

	pymt_stats(test, NULL, &before);
	p = pymt_malloc(test, NULL, 50);
	pymt_stats(test, NULL, &during);
	KUNIT_EXPECT_EQ(test, during.live, before.live + 1);
	KUNIT_EXPECT_EQ(test, during.in_blocks, before.in_blocks + 56);
	KUNIT_EXPECT_EQ(test, during.limit, 0);
	pym_free(p);
	pym_heap_shrink(NULL);
}

/* ------------------------------------------------- refused arguments ---- */

static void *some_alloc(void *ctx, size_t size, gfp_t gfp, int node)
{
	return NULL;
}

static void some_free(void *ctx, void *addr, size_t size)
{
}

static const struct pym_provider_ops no_alloc = { .name = "x", .free = some_free };
static const struct pym_provider_ops no_free = { .name = "x", .alloc = some_alloc };
static const struct pym_provider_ops odd_flags = {
	.name = "x", .alloc = some_alloc, .free = some_free, .flags = BIT(7),
};

static const struct bad_heap {
	const char *desc;
	const char *name;
	struct pym_heap_args args;
} bad_heaps[] = {
	{ "no-name", NULL },
	{ "empty-name", "" },
	{ "space-in-name", "my heap" },
	{ "slash-in-name", "a/b" },
	{ "tab-in-name", "a\tb" },
	{ "name-of-48-bytes", "0123456789abcdef0123456789abcdef0123456789abcdef" },
	{ "flags", "bad", { .flags = BIT(7) } },
	{ "small-max-not-a-multiple-of-8", "bad", { .small_max = 516 } },
	{ "small-max-too-small", "bad", { .small_max = 56 } },
	{ "small-max-too-large", "bad", { .small_max = PYM_SMALL_MAX + 8 } },
	{ "limit-below-the-heap-itself", "bad", { .limit_bytes = 1 } },
	{ "provider-without-alloc", "bad", { .provider = &no_alloc } },
	{ "provider-without-free", "bad", { .provider = &no_free } },
	{ "provider-with-unknown-flags", "bad", { .provider = &odd_flags } },
	{ "name-of-default-heap", "default" },
};

static void bad_heap_desc(const struct bad_heap *bad, char *desc)
{
	strscpy(desc, bad->desc, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(bad_heaps, bad_heaps, bad_heap_desc);

static unsigned int count_heaps(void)
{
	struct pym_heap *heap;
	unsigned int n = 0;

	mutex_lock(&pym_registry);
	list_for_each_entry(heap, &pym_heaps, node)
		n++;
	mutex_unlock(&pym_registry);
	return n;
}

static void create_refuses(struct kunit *test)
{
	const struct bad_heap *bad = test->param_value;
	unsigned int before = count_heaps();

	KUNIT_EXPECT_NULL(test, pym_heap_create(bad->name, &bad->args));
	KUNIT_EXPECT_EQ(test, count_heaps(), before);
}

static void name_is_copied_and_unique(struct kunit *test)
{
	char name[] = "kunit-a";
	struct pym_heap *heap = pym_heap_create(name, NULL);

	KUNIT_ASSERT_NOT_NULL(test, heap);
	strscpy(name, "kunit-b", sizeof(name));
	KUNIT_EXPECT_STREQ(test, heap->name, "kunit-a");
	KUNIT_EXPECT_NULL_MSG(test, pym_heap_create("kunit-a", NULL), "the name is taken");
	pym_heap_destroy(heap);
	heap = pym_heap_create("kunit-a", NULL);
	KUNIT_EXPECT_NOT_NULL_MSG(test, heap, "and free again after destroy");
	pym_heap_destroy(heap);
}

static void args_are_copied(struct kunit *test)
{
	struct pym_heap_args args = { .limit_bytes = SZ_1M };
	struct pym_heap_stats stats;
	struct pymt_heap *th = pymt_open(test, PYMT_PLAIN, &args);

	args.limit_bytes = 1;
	pymt_stats(test, th->heap, &stats);
	KUNIT_EXPECT_EQ(test, stats.limit, SZ_1M);
}

/* ----------------------------------------------------------- isolation ---- */

static void heaps_share_no_arena(struct kunit *test)
{
	struct pym_heap *heap[2] = { heap_of(test), pymt_open(test, PYMT_SPLIT, NULL)->heap };
	void **p = pymt_array(test, 400);
	unsigned int i, bad = 0;

	for (i = 0; i < 400; i++)
		p[i] = pymt_malloc(test, heap[i % 2], 1 + i % 512);
	for (i = 0; i < 400; i++) {
		bad += pymt_pool(test, p[i])->arena->heap != heap[i % 2];
		bad += pym_owner(p[i]) != heap[i % 2];
	}
	KUNIT_EXPECT_EQ_MSG(test, bad, 0, "blocks in an arena of another heap");
	for (i = 0; i < 400; i++)
		pym_free(p[i]);
}

static void stats_are_per_heap(struct kunit *test)
{
	struct pym_heap *other = pymt_open(test, PYMT_SPLIT, NULL)->heap;
	struct pym_heap_stats before, after;
	void *p, *q;

	pymt_stats(test, other, &before);
	p = pymt_malloc(test, heap_of(test), 100);
	q = pymt_malloc(test, heap_of(test), 10000);
	pymt_stats(test, other, &after);
	pymt_expect_same(test, &before, &after);
	KUNIT_EXPECT_EQ(test, after.high, before.high);
	pym_free(p);
	pym_free(q);
}

static void stats_follow_each_step(struct kunit *test)
{
	struct pym_heap_stats s;
	void *p[3];

	p[0] = pymt_malloc(test, heap_of(test), 100);
	pymt_stats(test, heap_of(test), &s);
	KUNIT_EXPECT_EQ(test, s.in_blocks, 104);
	KUNIT_EXPECT_EQ(test, s.rounding, PAGE_SIZE % 104);
	KUNIT_EXPECT_EQ(test, s.virgin, 16 * PAGE_SIZE - PAGE_SIZE % 104 - 104);
	p[1] = pymt_malloc(test, heap_of(test), 104);
	p[2] = pymt_malloc(test, heap_of(test), 4096);
	pym_free(p[0]);
	pymt_stats(test, heap_of(test), &s);
	KUNIT_EXPECT_EQ(test, s.live, 2);
	KUNIT_EXPECT_EQ(test, s.free_blocks, 104);
	KUNIT_EXPECT_EQ(test, s.pass_through, 4096);
	pym_free(p[1]);
	pymt_stats(test, heap_of(test), &s);
	KUNIT_EXPECT_EQ(test, s.empty_pools, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, s.virgin, 15 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, s.free_blocks, 0);
	KUNIT_EXPECT_EQ(test, s.rounding, 0);
	pym_free(p[2]);
}

static void high_water_mark(struct kunit *test)
{
	struct pym_heap_stats full, after;
	void *p = pymt_malloc(test, heap_of(test), 100000);

	pymt_stats(test, heap_of(test), &full);
	pym_free(p);
	pymt_stats(test, heap_of(test), &after);
	KUNIT_EXPECT_LT(test, after.held, full.held);
	KUNIT_EXPECT_GE(test, after.high, full.held);
}

/* --------------------------------------------- reset, destroy at once ---- */

/* Live blocks of every kind: small, pass-through, of caches. */
static struct pym_cache *populate(struct kunit *test, struct pym_heap *heap)
{
	struct pym_cache *cache = pymt_cache(test, heap, 1000);
	int i;

	for (i = 0; i < 300; i++) {
		pymt_malloc(test, heap, i * 2);
		pymt_take(test, cache);
		if (i % 30 == 0)
			pymt_malloc(test, heap, 1000 * i + 1);
	}
	return cache;
}

static void destroy_with_live_blocks(struct kunit *test)
{
	struct pymt_heap *th = pymt_open(test, PYMT_SPLIT, NULL);
	struct pym_heap_stats stats;

	populate(test, th->heap);
	pymt_stats(test, th->heap, &stats);
	KUNIT_EXPECT_EQ(test, stats.live, 610);
	KUNIT_EXPECT_GT(test, pymt_bytes(th), 0);
	pymt_close(test, th);
	KUNIT_EXPECT_EQ(test, pymt_bytes(th), 0);
	pymt_expect_misuse(test, PYM_MISUSE_LEAK, 0);
}

static void destroy_unsplit_with_live_blocks(struct kunit *test)
{
	struct pymt_heap *th = pymt_open(test, PYMT_PLAIN, NULL);

	populate(test, th->heap);
	KUNIT_EXPECT_GT(test, pymt_bytes(th), 0);
	pymt_close(test, th);
	KUNIT_EXPECT_EQ(test, pymt_bytes(th), 0);
}

static void destroy_with_holes(struct kunit *test)
{
	struct pymt_heap *th = pymt_open(test, PYMT_SPLIT, NULL);
	struct pym_cache *cache = pymt_cache(test, th->heap, 512);
	void **blocks = pymt_array(test, 200);

	pymt_take_many(test, cache, blocks, 200);
	pymt_give_many(cache, blocks + 40, 80);
	KUNIT_EXPECT_GT(test, pym_heap_shrink(th->heap), 0);
	pymt_close(test, th);
	KUNIT_EXPECT_EQ(test, pymt_bytes(th), 0);
}

static void reset_frees_everything(struct kunit *test)
{
	struct pymt_heap *th = pymt_heap(test);
	struct pym_cache *cache = populate(test, th->heap);
	struct pym_cache_stats cache_stats;
	struct pym_heap_stats stats;

	pym_heap_reset(th->heap);
	KUNIT_EXPECT_EQ(test, pymt_bytes(th), 0);
	pymt_stats(test, th->heap, &stats);
	KUNIT_EXPECT_EQ(test, stats.live, 0);
	KUNIT_EXPECT_EQ(test, stats.pass_through, 0);
	KUNIT_EXPECT_EQ(test, stats.arenas, 0);
	KUNIT_EXPECT_EQ(test, stats.held, stats.metadata);
	pym_cache_stats(cache, &cache_stats);
	KUNIT_EXPECT_EQ(test, cache_stats.live, 0);
	KUNIT_EXPECT_EQ(test, cache_stats.pools, 0);
	KUNIT_EXPECT_EQ(test, cache_stats.full, 0);
	pymt_check(test, th);
}

static void usable_after_reset(struct kunit *test)
{
	struct pymt_heap *th = pymt_heap(test);
	struct pym_cache *cache = populate(test, th->heap);
	struct pym_heap_stats stats;
	void *block, *p;
	int i;

	for (i = 0; i < 3; i++) {
		pym_heap_reset(th->heap);
		block = pymt_take(test, cache);
		p = pymt_malloc(test, th->heap, 100);
		memset(block, 1, 1000);
		memset(p, 2, 100);
		KUNIT_EXPECT_PTR_EQ(test, pym_owner(block), th->heap);
		pymt_stats(test, th->heap, &stats);
		KUNIT_EXPECT_EQ(test, stats.live, 2);
		pymt_check(test, th);
		pym_cache_free(cache, block);
	}
}

static void reset_keeps_the_limit(struct kunit *test)
{
	struct pym_heap_args args = { .limit_bytes = SZ_256K };
	struct pymt_heap *th = pymt_open(test, PYMT_SPLIT, &args);
	struct pym_heap_stats stats;
	int i;

	for (i = 0; i < 1000 && pym_malloc(th->heap, 512, GFP_KERNEL); i++)
		;
	KUNIT_EXPECT_LT(test, i, 512);
	pym_heap_reset(th->heap);
	pymt_stats(test, th->heap, &stats);
	KUNIT_EXPECT_EQ(test, stats.limit, SZ_256K);
	KUNIT_EXPECT_NULL(test, pym_malloc(th->heap, SZ_256K, GFP_KERNEL));
	pym_free(pymt_malloc(test, th->heap, SZ_64K));
}

static void reset_of_a_fresh_heap(struct kunit *test)
{
	struct pym_heap_stats before, after;

	pymt_stats(test, heap_of(test), &before);
	pym_heap_reset(heap_of(test));
	pymt_stats(test, heap_of(test), &after);
	pymt_expect_same(test, &before, &after);
}

static struct kunit_case heap_cases[] = {
	KUNIT_CASE(create_and_destroy),
	KUNIT_CASE(destroy_null),
	KUNIT_CASE(default_heap_stays),
	KUNIT_CASE(default_heap_stats),
	KUNIT_CASE_PARAM(create_refuses, bad_heaps_gen_params),
	KUNIT_CASE(name_is_copied_and_unique),
	KUNIT_CASE(args_are_copied),
	KUNIT_CASE(heaps_share_no_arena),
	KUNIT_CASE(stats_are_per_heap),
	KUNIT_CASE(stats_follow_each_step),
	KUNIT_CASE(high_water_mark),
	KUNIT_CASE(destroy_with_live_blocks),
	KUNIT_CASE(destroy_unsplit_with_live_blocks),
	KUNIT_CASE(destroy_with_holes),
	KUNIT_CASE(reset_frees_everything),
	KUNIT_CASE(usable_after_reset),
	KUNIT_CASE(reset_keeps_the_limit),
	KUNIT_CASE(reset_of_a_fresh_heap),
	{}
};

static struct kunit_suite heap_suite = {
	.name = "pymalloc_heap",
	.init = pymt_init,
	.exit = pymt_exit,
	.test_cases = heap_cases,
};

kunit_test_suites(&heap_suite);
