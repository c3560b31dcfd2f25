// SPDX-License-Identifier: GPL-2.0-only
/*
 * Arenas: in which order they are used, when they go back, how holes are made
 * and filled.
 */
#include <linux/prandom.h>
#include <linux/random.h>
#include "fixture.h"

#define PER_POOL	8		/* blocks of 512 bytes in a page */
#define POOLS_3		(16 + 32 + 64)	/* pools of the first three arenas */

static struct pym_cache *cache_512(struct kunit *test)
{
	return pymt_cache(test, pymt_heap(test)->heap, PAGE_SIZE / PER_POOL);
}

static unsigned long nr_arenas(struct kunit *test)
{
	struct pym_heap_stats stats;

	pymt_stats(test, pymt_heap(test)->heap, &stats);
	return stats.arenas;
}

/* Pools are filled one after the other, so pool i has blocks [8 * i, 8 * i + 8). */
static void give_pools(struct pym_cache *cache, void **blocks, unsigned int first,
		       unsigned int n)
{
	pymt_give_many(cache, blocks + first * PER_POOL, n * PER_POOL);
}

static void take_pools(struct kunit *test, struct pym_cache *cache, void **blocks,
		       unsigned int first, unsigned int n)
{
	pymt_take_many(test, cache, blocks + first * PER_POOL, n * PER_POOL);
}

/* The next @n pools that @cache takes must be in the arena of @model. */
static void expect_next_from(struct kunit *test, struct pym_cache *cache, void *model,
			     void **blocks, unsigned int first, unsigned int n)
{
	struct pym_arena *arena = pymt_pool(test, model)->arena;
	unsigned int i, bad = 0;

	take_pools(test, cache, blocks, first, n);
	for (i = first; i < first + n; i++)
		bad += pymt_pool(test, blocks[i * PER_POOL])->arena != arena;
	KUNIT_EXPECT_EQ_MSG(test, bad, 0, "of %u pools taken, not from the fullest arena", n);
}

static void sizes_ramp_up(struct kunit *test)
{
	struct pym_cache *cache = cache_512(test);
	struct pymt_provider *provider = pymt_heap(test)->provider;
	unsigned int n = (POOLS_3 + 64) * PER_POOL;
	void **blocks = pymt_array(test, n);

	pymt_take_many(test, cache, blocks, n);
	KUNIT_EXPECT_EQ(test, pymt_calls(pymt_heap(test)), 4);
	KUNIT_EXPECT_EQ(test, provider->size[0], 16 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, provider->size[1], 32 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, provider->size[2], 64 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, provider->size[3], 64 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, nr_arenas(test), 4);
	pymt_give_many(cache, blocks, n);
}

/* Slowly: an eighth of what there is. */
static void sizes_of_larger_pools_ramp_up(struct kunit *test)
{
	struct pymt_provider *provider = pymt_heap(test)->provider;
	struct pym_cache *cache = pymt_cache(test, pymt_heap(test)->heap, 2048);
	unsigned int pages = 600, n = pages * PAGE_SIZE / 2048, calls, i;
	void **blocks = pymt_array(test, n);
	unsigned long sum = 0;

	pymt_take_many(test, cache, blocks, n);
	calls = pymt_calls(pymt_heap(test));
	/* 16 of 16 pages, 8 of 32, and two of 64. */
	KUNIT_EXPECT_EQ(test, calls, 26);
	for (i = 0; i < min(calls, PYMT_LOG); i++) {
		KUNIT_EXPECT_EQ(test, provider->size[i],
				(sum < 256 ? 16 : sum < 512 ? 32 : 64) * PAGE_SIZE);
		sum += provider->size[i] / PAGE_SIZE;
	}
	pymt_give_many(cache, blocks, n);
}

static void one_call_per_arena(struct kunit *test)
{
	struct pym_cache *cache = cache_512(test);
	void **blocks = pymt_array(test, 16 * PER_POOL + 1);

	pymt_take_many(test, cache, blocks, 16 * PER_POOL);
	KUNIT_EXPECT_EQ_MSG(test, pymt_calls(pymt_heap(test)), 1,
			    "one arena has 16 pools of 8 blocks");
	blocks[16 * PER_POOL] = pymt_take(test, cache);
	KUNIT_EXPECT_EQ(test, pymt_calls(pymt_heap(test)), 2);
	pymt_give_many(cache, blocks, 16 * PER_POOL + 1);
}

/* Every order: a power of two, at most 1 MiB, and no more calls than arenas. */
static void arena_of_every_order(struct kunit *test)
{
	struct pymt_provider *provider = pymt_heap(test)->provider;
	unsigned int order;

	for (order = 0; order < PYM_NR_ORDERS; order++) {
		size_t size = pym_pool_size(order) / PYM_POOL_MIN_BLOCKS;
		struct pym_cache *cache = pymt_cache(test, pymt_heap(test)->heap, size);
		void *block = pymt_take(test, cache);
		struct pym_arena *arena = pymt_pool(test, block)->arena;

		KUNIT_EXPECT_EQ(test, arena->order, order);
		KUNIT_EXPECT_EQ(test, pymt_calls(pymt_heap(test)), order + 1);
		KUNIT_EXPECT_EQ(test, provider->size[order], arena->npools * pym_pool_size(order));
		KUNIT_EXPECT_EQ_MSG(test, provider->size[order],
				    max(16 * PAGE_SIZE, pym_pool_size(order)),
				    "one block must not cost more");
		KUNIT_EXPECT_LE(test, arena->npools, pym_arena_pools(order));
		KUNIT_EXPECT_LE(test, provider->size[order], PYM_ARENA_MAX_PAGES * PAGE_SIZE);
		pym_cache_free(cache, block);
	}
}

static void fullest_first(struct kunit *test)
{
	struct pym_cache *cache = cache_512(test);
	void **blocks = pymt_array(test, POOLS_3 * PER_POOL);

	take_pools(test, cache, blocks, 0, POOLS_3);
	give_pools(cache, blocks, 0, 4);	/* arena 0: 4 free */
	give_pools(cache, blocks, 16, 2);	/* arena 1: 2 free */
	give_pools(cache, blocks, 48, 10);	/* arena 2: 10 free */
	expect_next_from(test, cache, blocks[20 * PER_POOL], blocks, 16, 2);
	expect_next_from(test, cache, blocks[10 * PER_POOL], blocks, 0, 4);
	expect_next_from(test, cache, blocks[60 * PER_POOL], blocks, 48, 10);
	KUNIT_EXPECT_EQ_MSG(test, nr_arenas(test), 3, "no new arena while there is a free pool");
	pymt_give_many(cache, blocks, POOLS_3 * PER_POOL);
}

/* The order follows each free, not only the first. */
static void order_follows_frees(struct kunit *test)
{
	struct pym_cache *cache = cache_512(test);
	void **blocks = pymt_array(test, POOLS_3 * PER_POOL);

	take_pools(test, cache, blocks, 0, POOLS_3);
	give_pools(cache, blocks, 0, 3);
	give_pools(cache, blocks, 16, 2);
	give_pools(cache, blocks, 18, 2);	/* now arena 1 has one more than arena 0 */
	expect_next_from(test, cache, blocks[10 * PER_POOL], blocks, 0, 3);
	expect_next_from(test, cache, blocks[30 * PER_POOL], blocks, 16, 4);
	pymt_give_many(cache, blocks, POOLS_3 * PER_POOL);
}

/* A nearly empty arena is left alone, and so becomes empty and goes back. */
static void sparse_arena_drains(struct kunit *test)
{
	struct pym_cache *cache = cache_512(test);
	void **blocks = pymt_array(test, POOLS_3 * PER_POOL);
	struct pym_arena *sparse;
	int i;

	take_pools(test, cache, blocks, 0, POOLS_3);
	give_pools(cache, blocks, 48, 63);	/* arena 2: one pool left */
	give_pools(cache, blocks, 0, 1);
	sparse = pymt_pool(test, blocks[111 * PER_POOL])->arena;
	for (i = 0; i < 20; i++) {
		take_pools(test, cache, blocks, 0, 1);
		KUNIT_EXPECT_PTR_NE(test, pymt_pool(test, blocks[0])->arena, sparse);
		give_pools(cache, blocks, 0, 1);
	}
	KUNIT_EXPECT_EQ(test, hweight64(sparse->free), 63);
	give_pools(cache, blocks, 111, 1);
	give_pools(cache, blocks, 1, 47);
}

static unsigned int fewest_free(struct pym_heap *heap)
{
	struct pym_arena *arena;
	unsigned int fewest = UINT_MAX;

	list_for_each_entry(arena, &heap->arenas, all)
		if (arena->free)
			fewest = min_t(unsigned int, fewest, hweight64(arena->free));
	return fewest;
}

static unsigned int virgin_pools(struct pym_heap *heap)
{
	struct pym_arena *arena;
	unsigned int n = 0;

	list_for_each_entry(arena, &heap->arenas, all)
		n += hweight64(arena->virgin);
	return n;
}

/* Against the plain definition, whenever a pool is taken. */
static void order_against_model(struct kunit *test)
{
	struct pym_heap *heap = pymt_heap(test)->heap;
	struct pym_cache *cache = cache_512(test);
	unsigned int n = 256 * PER_POOL, i, live = 0, taken = 0, bad = 0, unused = 0;
	void **blocks = pymt_array(test, n);
	struct rnd_state rnd;

	prandom_seed_state(&rnd, get_random_u64());
	for (i = 0; i < 20000; i++) {
		/* Waves, so that pools empty and fill. */
		if (live && prandom_u32_state(&rnd) % 1000 < (i / 2500 % 2 ? 600 : 400)) {
			unsigned int victim = prandom_u32_state(&rnd) % live;

			pym_cache_free(cache, blocks[victim]);
			blocks[victim] = blocks[--live];
		} else if (live < n) {
			bool fresh = !pym_cache_any_used(cache);
			unsigned int fewest = fewest_free(heap), virgin = virgin_pools(heap);
			struct pym_arena *arena;

			blocks[live] = pymt_take(test, cache);
			if (fresh && fewest != UINT_MAX) {
				arena = pymt_pool(test, blocks[live])->arena;
				bad += hweight64(arena->free) + 1 != fewest;
				/* A virgin one only if the arena has no other. */
				if (virgin_pools(heap) < virgin)
					unused += arena->free != arena->virgin;
				taken++;
			}
			live++;
		}
	}
	KUNIT_EXPECT_GT(test, taken, 50);
	KUNIT_EXPECT_EQ_MSG(test, bad, 0, "pools not taken from the fullest arena");
	KUNIT_EXPECT_EQ_MSG(test, unused, 0, "virgin pools taken before used ones");
	pymt_give_many(cache, blocks, live);
}

static void at_most_spare_arenas_stay(struct kunit *test)
{
	struct pymt_heap *th = pymt_heap(test);
	struct pym_cache *cache = cache_512(test);
	void **blocks = pymt_array(test, POOLS_3 * PER_POOL);

	take_pools(test, cache, blocks, 0, POOLS_3);
	KUNIT_EXPECT_EQ(test, pymt_bytes(th), POOLS_3 * PAGE_SIZE);
	pymt_give_many(cache, blocks, POOLS_3 * PER_POOL);
	KUNIT_EXPECT_EQ(test, nr_arenas(test), PYM_SPARE_ARENAS);
	KUNIT_EXPECT_LE_MSG(test, pymt_bytes(th), PYM_SPARE_ARENAS * 64 * PAGE_SIZE,
			    "free arenas beyond the spare one go back at once");
	KUNIT_EXPECT_GT(test, pymt_bytes(th), 0);
}

static void spare_prevents_thrashing(struct kunit *test)
{
	struct pymt_heap *th = pymt_heap(test);
	struct pym_cache *cache = cache_512(test);
	void **blocks = pymt_array(test, 16 * PER_POOL);
	int i;

	take_pools(test, cache, blocks, 0, 16);
	for (i = 0; i < 50; i++)
		pym_cache_free(cache, pymt_take(test, cache));
	KUNIT_EXPECT_EQ_MSG(test, pymt_calls(th), 2, "the arena kept is used again");
	KUNIT_EXPECT_EQ(test, atomic_read(&th->provider->frees), 0);
	give_pools(cache, blocks, 0, 16);
}

static void shrink_gives_all_back(struct kunit *test)
{
	struct pymt_heap *th = pymt_heap(test);
	struct pym_cache *cache = cache_512(test);
	struct pym_heap_stats before, after;
	void **blocks = pymt_array(test, POOLS_3 * PER_POOL);
	size_t bytes;

	take_pools(test, cache, blocks, 0, POOLS_3);
	pymt_give_many(cache, blocks, POOLS_3 * PER_POOL);
	pymt_stats(test, th->heap, &before);
	bytes = pym_heap_shrink(th->heap);
	pymt_stats(test, th->heap, &after);
	KUNIT_EXPECT_EQ(test, pymt_bytes(th), 0);
	KUNIT_EXPECT_EQ(test, after.arenas, 0);
	KUNIT_EXPECT_EQ_MSG(test, bytes, before.held - after.held,
			    "shrink returns what it gave back");
	KUNIT_EXPECT_EQ_MSG(test, pym_heap_shrink(th->heap), 0, "and then there is no more");
}

/* Pools without a block go back one by one; what is in use stays. */
static void shrink_makes_holes(struct kunit *test)
{
	struct pymt_heap *th = pymt_heap(test);
	struct pym_cache *cache = cache_512(test);
	void **blocks = pymt_array(test, 16 * PER_POOL);
	struct pym_arena *arena;
	void *gone;

	take_pools(test, cache, blocks, 0, 16);
	arena = pymt_pool(test, blocks[0])->arena;
	gone = blocks[3 * PER_POOL];
	give_pools(cache, blocks, 2, 5);
	KUNIT_EXPECT_EQ(test, pym_cache_shrink(cache), 5 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, pymt_bytes(th), 11 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, hweight64(arena->present), 11);
	KUNIT_EXPECT_EQ(test, arena->free, 0);
	KUNIT_EXPECT_NULL_MSG(test, pym_owner(gone), "the page is not ours any more");
	rcu_read_lock();
	KUNIT_EXPECT_NULL(test, pym_lookup(gone));
	rcu_read_unlock();
	pymt_check(test, th);
	give_pools(cache, blocks, 0, 2);
	give_pools(cache, blocks, 7, 9);
}

static void virgin_pools_shrink_too(struct kunit *test)
{
	struct pymt_heap *th = pymt_heap(test);
	struct pym_cache *cache = cache_512(test);
	void *block = pymt_take(test, cache);

	KUNIT_EXPECT_EQ(test, pym_heap_shrink(th->heap), 15 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, pymt_bytes(th), PAGE_SIZE);
	pym_cache_free(cache, block);
}

/* With an arena's worth of holes, they are filled before anything else. */
static void holes_are_filled(struct kunit *test)
{
	struct pymt_heap *th = pymt_heap(test);
	struct pym_cache *cache = cache_512(test);
	void **blocks = pymt_array(test, POOLS_3 * PER_POOL);

	take_pools(test, cache, blocks, 0, POOLS_3);
	give_pools(cache, blocks, 1, 15);	/* all but one pool of each */
	give_pools(cache, blocks, 17, 31);
	give_pools(cache, blocks, 49, 63);
	pym_heap_shrink(th->heap);
	KUNIT_EXPECT_EQ(test, pymt_bytes(th), 3 * PAGE_SIZE);
	take_pools(test, cache, blocks, 49, 40);
	KUNIT_EXPECT_EQ_MSG(test, nr_arenas(test), 3, "holes are filled, no arena is added");
	KUNIT_EXPECT_EQ(test, pymt_bytes(th), 43 * PAGE_SIZE);
	pymt_check(test, th);
	give_pools(cache, blocks, 49, 40);
	give_pools(cache, blocks, 0, 1);
	give_pools(cache, blocks, 16, 1);
	give_pools(cache, blocks, 48, 1);
}

static void single_pools_when_memory_is_fragmented(struct kunit *test)
{
	struct pymt_heap *th = pymt_heap(test);
	struct pym_cache *cache = cache_512(test);
	void **blocks = pymt_array(test, 20 * PER_POOL);
	unsigned long arenas;

	th->provider->max_size = PAGE_SIZE;
	take_pools(test, cache, blocks, 0, 20);
	KUNIT_EXPECT_EQ_MSG(test, pymt_bytes(th), 20 * PAGE_SIZE,
			    "pool by pool, as much as is needed");
	arenas = nr_arenas(test);
	KUNIT_EXPECT_GE(test, arenas, 1);
	KUNIT_EXPECT_LE_MSG(test, arenas, 2, "16 pools share the first arena");
	pymt_check(test, th);
	give_pools(cache, blocks, 0, 20);
	th->provider->max_size = 0;
}

/* Large pools too: a pool is what a request cannot do without. */
static void single_large_pool(struct kunit *test)
{
	struct pymt_heap *th = pymt_heap(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 2048);
	void *block;

	th->provider->max_size = 4 * PAGE_SIZE;
	block = pymt_take(test, cache);
	KUNIT_EXPECT_EQ(test, pymt_bytes(th), 4 * PAGE_SIZE);
	pym_cache_free(cache, block);
	pym_heap_shrink(th->heap);
	th->provider->max_size = 2 * PAGE_SIZE;
	KUNIT_EXPECT_NULL_MSG(test, pym_cache_alloc(cache, GFP_KERNEL), "no pool, no block");
	KUNIT_EXPECT_EQ(test, pymt_bytes(th), 0);
}

static struct kunit_case arena_cases[] = {
	KUNIT_CASE(sizes_ramp_up),
	KUNIT_CASE(sizes_of_larger_pools_ramp_up),
	KUNIT_CASE(one_call_per_arena),
	KUNIT_CASE(arena_of_every_order),
	KUNIT_CASE(fullest_first),
	KUNIT_CASE(order_follows_frees),
	KUNIT_CASE(sparse_arena_drains),
	KUNIT_CASE(order_against_model),
	KUNIT_CASE(at_most_spare_arenas_stay),
	KUNIT_CASE(spare_prevents_thrashing),
	KUNIT_CASE(shrink_gives_all_back),
	KUNIT_CASE(shrink_makes_holes),
	KUNIT_CASE(virgin_pools_shrink_too),
	KUNIT_CASE(holes_are_filled),
	KUNIT_CASE(single_pools_when_memory_is_fragmented),
	KUNIT_CASE(single_large_pool),
	{}
};

static struct kunit_suite arena_suite = {
	.name = "pymalloc_arena",
	.init = pymt_init,
	.exit = pymt_exit,
	.test_cases = arena_cases,
};

/* ------------------------------------- a provider that cannot split ---- */

static void unsplit_halves_down(struct kunit *test)
{
	struct pymt_heap *th = pymt_heap(test);
	struct pym_cache *cache = cache_512(test);
	void *block;
	int i;

	th->provider->max_size = PAGE_SIZE;
	block = pymt_take(test, cache);
	KUNIT_EXPECT_EQ(test, pymt_calls(th), 5);
	for (i = 0; i < 5; i++)
		KUNIT_EXPECT_EQ(test, th->provider->size[i], (16 * PAGE_SIZE) >> i);
	KUNIT_EXPECT_EQ(test, pymt_bytes(th), PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, pymt_pool(test, block)->arena->npools, 1);
	pym_cache_free(cache, block);
}

/* A chunk comes back whole or not at all. */
static void unsplit_stays_whole(struct kunit *test)
{
	struct pymt_heap *th = pymt_heap(test);
	struct pym_cache *cache = cache_512(test);
	void **blocks = pymt_array(test, 48 * PER_POOL);

	take_pools(test, cache, blocks, 0, 48);
	give_pools(cache, blocks, 1, 15);
	give_pools(cache, blocks, 16, 31);
	KUNIT_EXPECT_EQ(test, pym_heap_shrink(th->heap), 0);
	KUNIT_EXPECT_EQ(test, pymt_bytes(th), 48 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, atomic_read(&th->provider->frees), 0);
	give_pools(cache, blocks, 47, 1);
	KUNIT_EXPECT_GT(test, pym_heap_shrink(th->heap), 32 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, pymt_bytes(th), 16 * PAGE_SIZE);
	KUNIT_EXPECT_EQ_MSG(test, atomic_read(&th->provider->frees), 1, "one chunk, one free()");
	give_pools(cache, blocks, 0, 1);
}

/* What becomes free is given back by a work item, since free() may sleep. */
static void unsplit_is_reaped(struct kunit *test)
{
	struct pymt_heap *th = pymt_heap(test);
	struct pym_cache *cache = cache_512(test);
	void **blocks = pymt_array(test, POOLS_3 * PER_POOL);

	take_pools(test, cache, blocks, 0, POOLS_3);
	pymt_give_many(cache, blocks, POOLS_3 * PER_POOL);
	flush_work(&th->heap->reap_work);
	KUNIT_EXPECT_EQ(test, nr_arenas(test), PYM_SPARE_ARENAS);
	KUNIT_EXPECT_LE(test, pymt_bytes(th), PYM_SPARE_ARENAS * 64 * PAGE_SIZE);
}

static struct kunit_case unsplit_cases[] = {
	KUNIT_CASE(unsplit_halves_down),
	KUNIT_CASE(unsplit_stays_whole),
	KUNIT_CASE(unsplit_is_reaped),
	{}
};

static struct kunit_suite unsplit_suite = {
	.name = "pymalloc_arena_unsplit",
	.init = pymt_init_plain,
	.exit = pymt_exit,
	.test_cases = unsplit_cases,
};

kunit_test_suites(&arena_suite, &unsplit_suite);
