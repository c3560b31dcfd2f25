// SPDX-License-Identifier: GPL-2.0-only
/*
 * Caches and heaps that are used after their end, and masks that allow to sleep where
 * nobody may: reported, and nothing else happens.
 */
#include <linux/gfp.h>
#include <linux/spinlock.h>
#include "fixture.h"

static const enum pymt_kind kinds[] = { PYMT_PAGES, PYMT_PAGES | PYMT_FRONTS, PYMT_VMALLOC };

static void kind_desc(const enum pymt_kind *kind, char *desc)
{
	scnprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s%s",
		  (*kind & PYMT_KIND) == PYMT_VMALLOC ? "vmalloc" : "pages",
		  *kind & PYMT_FRONTS ? "-fronts" : "");
}

KUNIT_ARRAY_PARAM(kinds, kinds, kind_desc);

static struct pymt_heap *open_param(struct kunit *test)
{
	return pymt_open(test, *(const enum pymt_kind *)test->param_value, NULL);
}

/* What a consumer is left with that has destroyed its cache: two dangling pointers. */
struct rest {
	struct pym_cache *cache;
	void *block;
};

static struct rest used_cache(struct kunit *test, struct pym_heap *heap)
{
	struct pym_cache *cache = pymt_cache(test, heap, 64);
	void *blocks[PYMT_WARM];

	pymt_take_many(test, cache, blocks, PYMT_WARM);
	pymt_give_many(cache, blocks, PYMT_WARM);
	return (struct rest){ cache, blocks[0] };
}

static struct rest destroyed_cache(struct kunit *test)
{
	struct rest r = used_cache(test, open_param(test)->heap);

	pym_cache_destroy(r.cache);
	return r;
}

static void told(struct kunit *test)
{
	pymt_expect_misuse(test, PYM_MISUSE_BAD_ARG, 1);
}

static void cache_gives_nothing(struct kunit *test)
{
	struct rest r = destroyed_cache(test);
	void *blocks[4] = { };

	KUNIT_EXPECT_NULL(test, pym_cache_alloc(r.cache, GFP_KERNEL));
	told(test);
	KUNIT_EXPECT_NULL(test, pym_cache_zalloc(r.cache, GFP_ATOMIC));
	told(test);
	KUNIT_EXPECT_NULL(test, pym_cache_alloc_node(r.cache, GFP_KERNEL, 0));
	told(test);
	KUNIT_EXPECT_EQ(test, pym_cache_alloc_bulk(r.cache, GFP_KERNEL, 4, blocks), 0);
	told(test);
}

static void cache_takes_nothing(struct kunit *test)
{
	struct rest r = destroyed_cache(test);

	pym_cache_free(r.cache, r.block);
	told(test);
	pym_cache_free_bulk(r.cache, 1, &r.block);
	told(test);
	pym_cache_free_rcu(r.cache, r.block);
	told(test);
}

static void cache_tells_nothing(struct kunit *test)
{
	struct rest r = destroyed_cache(test);
	struct pym_cache_stats stats;

	memset(&stats, 0xff, sizeof(stats));
	pym_cache_stats(r.cache, &stats);
	told(test);
	KUNIT_EXPECT_EQ(test, stats.live, 0);
	KUNIT_EXPECT_EQ(test, pym_cache_shrink(r.cache), 0);
	told(test);
	pym_cache_destroy(r.cache);
	told(test);
}

/* What its fronts held has been through a grace period, if that is what it needs. */
static void nothing_waits_for_a_cache(struct kunit *test)
{
	struct pym_cache_args args = {
		.heap = open_param(test)->heap, .flags = PYM_CACHE_TYPESAFE_BY_RCU,
	};
	struct pym_cache *cache = pym_cache_create("readers", 512, &args);
	void *blocks[PYMT_WARM];

	KUNIT_ASSERT_NOT_NULL(test, cache);
	pymt_take_many(test, cache, blocks, PYMT_WARM);
	pymt_give_many(cache, blocks, PYMT_WARM);
	pym_cache_destroy(cache);
	/* Its descriptor is kept. */
	KUNIT_EXPECT_EQ(test, atomic_read(&cache->waiting), 0);
	KUNIT_EXPECT_FALSE(test, cache->limbo_busy);
}

/* A heap takes its caches along. */
static void cache_of_a_destroyed_heap(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct rest r = used_cache(test, th->heap);

	pymt_destroy(test, th);
	KUNIT_EXPECT_NULL(test, pym_cache_alloc(r.cache, GFP_KERNEL));
	told(test);
	pym_cache_free(r.cache, r.block);
	told(test);
	pym_cache_destroy(r.cache);
	told(test);
}

/* Of any size, and of one that the compiler knows. */
static void heap_gives_nothing(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_heap *heap = th->heap;
	struct pym_cache_args args = { .heap = heap };
	size_t n = 100;
	unsigned int i;

	for (i = 0; i < PYMT_WARM; i++)
		pym_free(pymt_malloc(test, heap, 100));
	/* Not known to the compiler. */
	OPTIMIZER_HIDE_VAR(n);
	pymt_destroy(test, th);
	KUNIT_EXPECT_NULL(test, pym_malloc(heap, 100, GFP_KERNEL));
	told(test);
	KUNIT_EXPECT_NULL(test, pym_malloc(heap, n, GFP_KERNEL));
	told(test);
	KUNIT_EXPECT_NULL(test, pym_malloc(heap, 100 * n, GFP_KERNEL));
	told(test);
	KUNIT_EXPECT_NULL(test, pym_calloc(heap, n, 4, GFP_KERNEL));
	told(test);
	KUNIT_EXPECT_NULL(test, pym_realloc(heap, NULL, n, GFP_KERNEL));
	told(test);
	KUNIT_EXPECT_NULL(test, pym_cache_create("late", 64, &args));
	told(test);
}

static void heap_tells_nothing(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_heap *heap = th->heap;
	struct pym_heap_stats stats;
	struct pym_heap_ops ops;

	pym_heap_get_ops(heap, &ops);
	pymt_destroy(test, th);
	memset(&stats, 0xff, sizeof(stats));
	pym_heap_stats(heap, &stats);
	told(test);
	KUNIT_EXPECT_EQ(test, stats.held, 0);
	KUNIT_EXPECT_EQ(test, pym_heap_shrink(heap), 0);
	told(test);
	KUNIT_EXPECT_EQ(test, pym_heap_set_limit(heap, SZ_1M), -EINVAL);
	told(test);
	KUNIT_EXPECT_EQ(test, pym_heap_set_ops(heap, &ops), -EINVAL);
	told(test);
	pym_heap_reset(heap);
	told(test);
	pym_heap_destroy(heap);
	told(test);
}

/* No more than some descriptors are kept; the rest is freed as it was before. */
static void many_ends(struct kunit *test)
{
	struct pym_heap *heap = open_param(test)->heap;
	struct pym_heap_stats once, after;
	struct pym_cache *cache;
	unsigned int i;

	for (i = 0; i < 200; i++) {
		cache = pymt_cache(test, heap, 64);
		pym_cache_free(cache, pymt_take(test, cache));
		pym_cache_destroy(cache);
		if (!i)
			pymt_stats(test, heap, &once);
	}
	pymt_stats(test, heap, &after);
	KUNIT_EXPECT_EQ(test, after.live, 0);
	KUNIT_EXPECT_EQ(test, after.metadata, once.metadata);
	KUNIT_EXPECT_NULL(test, pym_cache_alloc(cache, GFP_KERNEL));
	told(test);
}

#if defined(CONFIG_PREEMPT_COUNT) && !defined(CONFIG_DEBUG_ATOMIC_SLEEP) && \
	!defined(CONFIG_LOCKDEP)
/* Taken for GFP_ATOMIC. Other kernels find it themselves, or cannot tell. */
#define MAY_NOT_SLEEP	KUNIT_CASE_PARAM(may_not_sleep, kinds_gen_params),
static void may_not_sleep(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 64);
	void *p, *q;

	preempt_disable();
	p = pym_cache_alloc(cache, GFP_KERNEL);
	q = pym_malloc(th->heap, 5000, GFP_KERNEL);
	preempt_enable();
	pymt_expect_misuse(test, PYM_MISUSE_BAD_GFP, 2);
	if (p)
		pym_cache_free(cache, p);
	pym_free(q);
}
#else
#define MAY_NOT_SLEEP
#endif

static struct kunit_case gone_cases[] = {
	KUNIT_CASE_PARAM(cache_gives_nothing, kinds_gen_params),
	KUNIT_CASE_PARAM(cache_takes_nothing, kinds_gen_params),
	KUNIT_CASE_PARAM(cache_tells_nothing, kinds_gen_params),
	KUNIT_CASE_PARAM(nothing_waits_for_a_cache, kinds_gen_params),
	KUNIT_CASE_PARAM(cache_of_a_destroyed_heap, kinds_gen_params),
	KUNIT_CASE_PARAM(heap_gives_nothing, kinds_gen_params),
	KUNIT_CASE_PARAM(heap_tells_nothing, kinds_gen_params),
	KUNIT_CASE_PARAM(many_ends, kinds_gen_params),
	MAY_NOT_SLEEP
	{}
};

static struct kunit_suite gone_suite = {
	.name = "pymalloc_gone",
	.init = pymt_init_bare,
	.exit = pymt_exit,
	.test_cases = gone_cases,
};

kunit_test_suites(&gone_suite);
