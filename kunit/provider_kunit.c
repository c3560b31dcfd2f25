// SPDX-License-Identifier: GPL-2.0-only
/*
 * Page providers: what each kind is asked, what its memory is used for, and
 * what happens when one breaks its contract. Every kind goes through the same
 * work.
 */
#include <linux/mm.h>
#include <linux/vmalloc.h>
#include "fixture.h"

static const enum pymt_kind kinds[] = {
	PYMT_SPLIT, PYMT_PLAIN, PYMT_SPLIT_SLEEPING, PYMT_ZEROED, PYMT_PAGES, PYMT_VMALLOC,
};

static void kind_desc(const enum pymt_kind *kind, char *desc)
{
	static const char * const names[] = {
		[PYMT_SPLIT] = "split", [PYMT_PLAIN] = "plain",
		[PYMT_SPLIT_SLEEPING] = "split-sleeping", [PYMT_ZEROED] = "zeroed",
		[PYMT_PAGES] = "pages", [PYMT_VMALLOC] = "vmalloc",
	};

	strscpy(desc, names[*kind], KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(kinds, kinds, kind_desc);

/* Those that remember their calls, fill their memory and do as they are told. */
static const enum pymt_kind test_kinds[] = {
	PYMT_SPLIT, PYMT_PLAIN, PYMT_SPLIT_SLEEPING, PYMT_ZEROED,
};

KUNIT_ARRAY_PARAM(test_kinds, test_kinds, kind_desc);

static struct pymt_heap *open_kind(struct kunit *test)
{
	return pymt_open(test, *(const enum pymt_kind *)test->param_value, NULL);
}

/* Blocks of many sizes, filled, freed in another order, shrunk away. */
static void work(struct kunit *test)
{
	struct pymt_heap *th = open_kind(test);
	void **p = pymt_array(test, 600);
	struct pym_heap_stats stats;
	unsigned int i, bad = 0;

	for (i = 0; i < 600; i++) {
		p[i] = pymt_malloc(test, th->heap, i);
		memset(p[i], pymt_tag(p[i]), i);
	}
	pymt_check(test, th);
	for (i = 0; i < 600; i++) {
		bad += i && memchr_inv(p[i], pymt_tag(p[i]), i);
		bad += pym_owner(p[i]) != th->heap;
	}
	KUNIT_EXPECT_EQ_MSG(test, bad, 0, "blocks damaged or lost");
	for (i = 0; i < 600; i += 2)
		pym_free(p[i]);
	pym_heap_shrink(th->heap);
	pymt_check(test, th);
	for (i = 1; i < 600; i += 2)
		bad += !!memchr_inv(p[i], pymt_tag(p[i]), i);
	KUNIT_EXPECT_EQ_MSG(test, bad, 0, "blocks damaged by shrinking");
	for (i = 1; i < 600; i += 2)
		pym_free(p[i]);
	pym_heap_shrink(th->heap);
	pymt_stats(test, th->heap, &stats);
	KUNIT_EXPECT_EQ(test, stats.live, 0);
	KUNIT_EXPECT_EQ(test, stats.arenas, 0);
	KUNIT_EXPECT_EQ(test, stats.held, stats.metadata);
}

static void large_pools(struct kunit *test)
{
	struct pymt_heap *th = open_kind(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, PYM_CACHE_MAX_SIZE);
	struct pym_heap_stats stats;
	unsigned int i, bad = 0;
	void *blocks[20];

	pymt_take_many(test, cache, blocks, 20);
	for (i = 0; i < 20; i++)
		memset(blocks[i], i, PYM_CACHE_MAX_SIZE);
	for (i = 0; i < 20; i++)
		bad += !!memchr_inv(blocks[i], i, PYM_CACHE_MAX_SIZE);
	KUNIT_EXPECT_EQ_MSG(test, bad, 0, "blocks overlap");
	pymt_check(test, th);
	pymt_give_many(cache, blocks, 20);
	/* What may sleep may have given some of it back before. */
	pym_heap_shrink(th->heap);
	pymt_stats(test, th->heap, &stats);
	KUNIT_EXPECT_EQ(test, stats.held, stats.metadata);
}

/* Whatever the provider promised of its memory, zeroed is zeroed. */
static void zalloc_is_zeroed(struct kunit *test)
{
	struct pymt_heap *th = open_kind(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 96);
	void **blocks = pymt_array(test, 100);
	unsigned int i, round, bad = 0;

	for (round = 0; round < 3; round++) {
		for (i = 0; i < 100; i++) {
			blocks[i] = pym_cache_zalloc(cache, GFP_KERNEL);
			KUNIT_ASSERT_NOT_NULL(test, blocks[i]);
			bad += !!memchr_inv(blocks[i], 0, 96);
			memset(blocks[i], 0xff, 96);
		}
		/* Twice with pools that go back in between, once without. */
		pymt_give_many(cache, blocks, round ? 100 : 90);
		if (!round)
			pymt_give_many(cache, blocks + 90, 10);
		else
			pym_heap_shrink(th->heap);
	}
	KUNIT_EXPECT_EQ_MSG(test, bad, 0, "blocks not zeroed");
}

/* The pattern that a test provider writes is intact where nobody was. */
static unsigned int count_touched(struct kunit *test, struct pym_heap *heap, u8 pattern)
{
	struct pym_arena *arena;
	unsigned int i, bad = 0;

	list_for_each_entry(arena, &heap->arenas, all) {
		size_t size = pym_arena_pool_size(arena);

		for (i = 0; i < arena->npools; i++) {
			struct pym_pool *pool = &arena->pools[i];
			size_t used = 0;

			if (pool->state == PYM_POOL_ABSENT || pool->state == PYM_POOL_EMPTY)
				continue;
			if (pool->owner)
				used = (size_t)pool->carved * pool->owner->stride;
			if (used < size && memchr_inv(pool->base + used, pattern, size - used)) {
				kunit_err(test, "arena %u, pool %u: virgin memory written\n",
					  arena->id, i);
				bad++;
			}
		}
	}
	return bad;
}

static void virgin_stays_untouched(struct kunit *test)
{
	struct pymt_heap *th = open_kind(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 1000);
	void **p = pymt_array(test, 300), *blocks[40];
	u8 pattern = PYMT_FILL;
	unsigned int i;

	if (th->provider->ops.flags & PYM_PROVIDER_ZEROED)
		pattern = 0;
	for (i = 0; i < 300; i++) {
		p[i] = pym_calloc(th->heap, 1, i % 500 + 1, GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, p[i]);
		memset(p[i], 0xee, i % 500 + 1);
	}
	KUNIT_EXPECT_EQ(test, pym_cache_alloc_bulk(cache, GFP_KERNEL, 40, blocks), 40);
	for (i = 0; i < 40; i++)
		memset(blocks[i], 0xee, 1000);
	KUNIT_EXPECT_EQ(test, count_touched(test, th->heap, pattern), 0);
	/* Frees do not write either. */
	for (i = 0; i < 300; i += 3)
		pym_free(p[i]);
	pym_cache_free_bulk(cache, 20, blocks);
	pymt_check(test, th);
	KUNIT_EXPECT_EQ(test, count_touched(test, th->heap, pattern), 0);
	pym_heap_reset(th->heap);
}

static void misaligned_memory(struct kunit *test)
{
	struct pymt_heap *th = open_kind(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 64);
	struct pym_heap_stats before, after;
	int calls;

	th->provider->misalign = true;
	KUNIT_EXPECT_NULL(test, pym_cache_alloc(cache, GFP_KERNEL));
	flush_work(&th->heap->reap_work);
	pymt_stats(test, th->heap, &before);
	calls = pymt_calls(th);
	KUNIT_EXPECT_GT(test, calls, 0);
	pymt_expect_misuse(test, PYM_MISUSE_PROVIDER, calls);
	KUNIT_EXPECT_NULL(test, pym_cache_alloc(cache, GFP_KERNEL));
	pymt_expect_misuse(test, PYM_MISUSE_PROVIDER, pymt_calls(th) - calls);
	flush_work(&th->heap->reap_work);
	pymt_stats(test, th->heap, &after);
	pymt_expect_same(test, &before, &after);
	KUNIT_EXPECT_EQ(test, after.failures, before.failures + 1);
	th->provider->misalign = false;
	pym_cache_free(cache, pymt_take(test, cache));
}

/* Mask of the request: no zones, blocking if the provider must be able to. */
static void gfp_is_passed_on(struct kunit *test)
{
	struct pymt_heap *th = open_kind(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 512);
	int i;

	th->provider->fail_at = 1;
	th->provider->fail_on = true;
	KUNIT_EXPECT_NULL(test, pym_cache_alloc(cache, GFP_NOFS | __GFP_ACCOUNT));
	KUNIT_EXPECT_GT(test, pymt_calls(th), 1);
	for (i = 0; i < min(pymt_calls(th), PYMT_LOG); i++) {
		KUNIT_EXPECT_FALSE(test, th->provider->gfp[i] & GFP_ZONEMASK);
		KUNIT_EXPECT_FALSE_MSG(test, th->provider->gfp[i] & __GFP_FS, "GFP_NOFS");
		KUNIT_EXPECT_TRUE_MSG(test, th->provider->gfp[i] & __GFP_ACCOUNT,
				      "who is charged must not depend on the arena's size");
	}
	/* The last attempt is the one that counts: all that the caller allows. */
	KUNIT_EXPECT_TRUE(test, (th->provider->gfp[i - 1] & GFP_NOFS) == GFP_NOFS);
	th->provider->fail_at = 0;
}

/* A provider that is not ATOMIC is not called unless the mask blocks. */
static void atomic_requests(struct kunit *test)
{
	struct pymt_heap *th = open_kind(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 512);
	bool atomic = th->heap->provider->flags & PYM_PROVIDER_ATOMIC;
	struct pym_heap_stats stats;
	void *block;

	block = pym_cache_alloc(cache, GFP_NOWAIT);
	pymt_stats(test, th->heap, &stats);
	KUNIT_EXPECT_EQ(test, !!block, atomic);
	KUNIT_EXPECT_EQ(test, stats.refused, !atomic);
	KUNIT_EXPECT_EQ(test, stats.failures, !atomic);
	KUNIT_EXPECT_EQ_MSG(test, stats.limit_hits, 0, "refused by the context, not the limit");
	pym_cache_free(cache, block);
	/* With pools at hand the context does not matter. */
	pym_cache_free(cache, pymt_take(test, cache));
	block = pym_cache_alloc(cache, GFP_NOWAIT);
	KUNIT_EXPECT_NOT_NULL(test, block);
	pym_cache_free(cache, block);
}

static void where_blocks_are(struct kunit *test)
{
	enum pymt_kind kind = *(const enum pymt_kind *)test->param_value;
	struct pymt_heap *th = open_kind(test);
	void *p = pymt_malloc(test, th->heap, 100);

	KUNIT_EXPECT_EQ(test, is_vmalloc_addr(p), kind == PYMT_PLAIN || kind == PYMT_VMALLOC);
	if (kind == PYMT_PAGES)
		KUNIT_EXPECT_NE_MSG(test, page_private(virt_to_page(p)), 0,
				    "struct page leads to the pool");
	KUNIT_EXPECT_PTR_EQ(test, pymt_pool(test, p)->arena->heap, th->heap);
	pym_free(p);
}

/* The page goes back as it came. */
static void private_word_is_cleared(struct kunit *test)
{
	struct pymt_heap *th = pymt_open(test, PYMT_PAGES, NULL);
	void *p = pymt_malloc(test, th->heap, 100);
	struct page *page = virt_to_page(p);

	get_page(page);
	KUNIT_EXPECT_NE(test, page_private(page), 0);
	pym_free(p);
	pym_heap_shrink(th->heap);
	KUNIT_EXPECT_EQ(test, page_private(page), 0);
	KUNIT_EXPECT_EQ_MSG(test, page_count(page), 1, "given back; ours is the last reference");
	put_page(page);
}

/* A provider may use the module's functions, so no lock of it may be held. */
static void called_without_the_registry(struct kunit *test)
{
	struct pymt_heap *th = pymt_open(test, PYMT_SPLIT, NULL);

	if (!IS_ENABLED(CONFIG_LOCKDEP))
		kunit_skip(test, "needs CONFIG_LOCKDEP to see it");
	pymt_malloc(test, th->heap, 100);
	pym_heap_shrink(th->heap);
	KUNIT_EXPECT_EQ_MSG(test, th->provider->in_registry, 0, "alloc, shrink");
	pym_heap_set_limit(th->heap, SZ_1M);
	pym_heap_reset(th->heap);
	KUNIT_EXPECT_EQ_MSG(test, th->provider->in_registry, 0, "reset");
	pymt_malloc(test, th->heap, 100);
	pymt_close(test, th);
	KUNIT_EXPECT_EQ_MSG(test, th->provider->in_registry, 0, "destroy");
}

static struct kunit_case provider_cases[] = {
	KUNIT_CASE_PARAM(work, kinds_gen_params),
	KUNIT_CASE_PARAM(large_pools, kinds_gen_params),
	KUNIT_CASE_PARAM(zalloc_is_zeroed, kinds_gen_params),
	KUNIT_CASE_PARAM(virgin_stays_untouched, test_kinds_gen_params),
	KUNIT_CASE_PARAM(misaligned_memory, test_kinds_gen_params),
	KUNIT_CASE_PARAM(gfp_is_passed_on, test_kinds_gen_params),
	KUNIT_CASE_PARAM(atomic_requests, kinds_gen_params),
	KUNIT_CASE_PARAM(where_blocks_are, kinds_gen_params),
	KUNIT_CASE(private_word_is_cleared),
	KUNIT_CASE(called_without_the_registry),
	{}
};

static struct kunit_suite provider_suite = {
	.name = "pymalloc_provider",
	.init = pymt_init_bare,
	.exit = pymt_exit,
	.test_cases = provider_cases,
};

kunit_test_suites(&provider_suite);
