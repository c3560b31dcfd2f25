// SPDX-License-Identifier: GPL-2.0-only
/*
 * Life of a pool: virgin, used, full, used, empty; and which block comes next.
 */
#include <linux/random.h>
#include "fixture.h"

#define PER_POOL	8		/* blocks of 512 bytes in a page */

static struct pym_cache *cache_512(struct kunit *test)
{
	struct pym_cache *cache = pymt_cache(test, pymt_heap(test)->heap, PAGE_SIZE / PER_POOL);

	KUNIT_ASSERT_EQ(test, cache->capacity, PER_POOL);
	return cache;
}

static void virgin_until_used(struct kunit *test)
{
	struct pym_cache *cache = cache_512(test);
	void *block = pymt_take(test, cache);
	struct pym_pool *pool = pymt_pool(test, block);
	struct pym_arena *arena = pool->arena;
	unsigned int i;

	KUNIT_EXPECT_EQ(test, pool->state, PYM_POOL_USED);
	KUNIT_EXPECT_PTR_EQ(test, pool->owner, cache);
	KUNIT_EXPECT_EQ(test, pool->live, 1);
	KUNIT_EXPECT_EQ(test, pool->carved, 1);
	KUNIT_EXPECT_EQ(test, hweight64(arena->virgin), arena->npools - 1);
	KUNIT_EXPECT_EQ(test, arena->virgin, arena->free);
	for (i = 0; i < arena->npools; i++)
		if (&arena->pools[i] != pool)
			KUNIT_EXPECT_EQ(test, arena->pools[i].state, PYM_POOL_VIRGIN);
	pym_cache_free(cache, block);
}

static void virgin_blocks_ascend(struct kunit *test)
{
	struct pym_cache *cache = cache_512(test);
	void *blocks[PER_POOL];
	int i;

	pymt_take_many(test, cache, blocks, PER_POOL);
	KUNIT_EXPECT_PTR_EQ(test, blocks[0], pymt_pool(test, blocks[0])->base);
	for (i = 1; i < PER_POOL; i++)
		KUNIT_EXPECT_PTR_EQ_MSG(test, blocks[i], blocks[i - 1] + 512,
					"virgin blocks are carved in ascending order");
	pymt_give_many(cache, blocks, PER_POOL);
}

static void freed_blocks_lowest_first(struct kunit *test)
{
	static const int freed[] = { 7, 2, 5, 0 };
	static const int taken[] = { 0, 2, 5, 7 };
	struct pym_cache *cache = pymt_cache(test, pymt_heap(test)->heap, 64);
	void *blocks[11];
	int i;

	pymt_take_many(test, cache, blocks, 10);
	for (i = 0; i < 4; i++)
		pym_cache_free(cache, blocks[freed[i]]);
	for (i = 0; i < 4; i++)
		KUNIT_EXPECT_PTR_EQ_MSG(test, pymt_take(test, cache), blocks[taken[i]],
					"used blocks come back, lowest address first");
	blocks[10] = pymt_take(test, cache);
	KUNIT_EXPECT_PTR_EQ_MSG(test, blocks[10], blocks[9] + 64, "then the next virgin block");
	pymt_give_many(cache, blocks, 11);
}

/* The virgin rest of a pool is not touched while a used block is free. */
static void used_before_virgin(struct kunit *test)
{
	struct pym_cache *cache = cache_512(test);
	void *blocks[3];
	struct pym_pool *pool;
	int i;

	pymt_take_many(test, cache, blocks, 3);
	pool = pymt_pool(test, blocks[0]);
	for (i = 0; i < 100; i++) {
		pym_cache_free(cache, blocks[i % 3]);
		blocks[i % 3] = pymt_take(test, cache);
	}
	KUNIT_EXPECT_EQ_MSG(test, pool->carved, 3, "churn of 3 blocks needs 3 blocks");
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).virgin, PER_POOL - 3);
	pymt_give_many(cache, blocks, 3);
}

static void last_block_makes_full(struct kunit *test)
{
	struct pym_cache *cache = cache_512(test);
	void *blocks[PER_POOL];
	struct pym_pool *pool;

	pymt_take_many(test, cache, blocks, PER_POOL - 1);
	pool = pymt_pool(test, blocks[0]);
	KUNIT_EXPECT_EQ(test, pool->state, PYM_POOL_USED);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).full, 0);
	blocks[PER_POOL - 1] = pymt_take(test, cache);
	KUNIT_EXPECT_PTR_EQ(test, pymt_pool(test, blocks[PER_POOL - 1]), pool);
	KUNIT_EXPECT_EQ(test, pool->state, PYM_POOL_FULL);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).full, 1);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).pools, 1);
	KUNIT_EXPECT_NULL(test, pym_cache_any_used(cache));
	pymt_give_many(cache, blocks, PER_POOL);
}

static void first_free_makes_used(struct kunit *test)
{
	struct pym_cache *cache = cache_512(test);
	void *blocks[PER_POOL];
	struct pym_pool *pool;

	pymt_take_many(test, cache, blocks, PER_POOL);
	pool = pymt_pool(test, blocks[0]);
	pym_cache_free(cache, blocks[4]);
	KUNIT_EXPECT_EQ(test, pool->state, PYM_POOL_USED);
	KUNIT_EXPECT_EQ(test, pool->live, PER_POOL - 1);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).full, 0);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).free, 1);
	KUNIT_EXPECT_PTR_EQ(test, pymt_take(test, cache), blocks[4]);
	KUNIT_EXPECT_EQ(test, pool->state, PYM_POOL_FULL);
	pymt_give_many(cache, blocks, PER_POOL);
}

static void last_free_makes_empty(struct kunit *test)
{
	struct pym_cache *cache = cache_512(test);
	void *blocks[PER_POOL];
	struct pym_pool *pool;

	pymt_take_many(test, cache, blocks, PER_POOL);
	pool = pymt_pool(test, blocks[0]);
	pymt_give_many(cache, blocks, PER_POOL - 1);
	KUNIT_EXPECT_EQ(test, pool->state, PYM_POOL_USED);
	KUNIT_EXPECT_FALSE(test, pool->arena->free & BIT_ULL(pool->index));
	pym_cache_free(cache, blocks[PER_POOL - 1]);
	KUNIT_EXPECT_EQ(test, pool->state, PYM_POOL_EMPTY);
	KUNIT_EXPECT_NULL(test, pool->owner);
	KUNIT_EXPECT_TRUE(test, pool->arena->free & BIT_ULL(pool->index));
	KUNIT_EXPECT_FALSE_MSG(test, pool->arena->virgin & BIT_ULL(pool->index),
			       "a pool that was used is not virgin again");
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).pools, 0);
}

static void most_recently_full_first(struct kunit *test)
{
	struct pym_cache *cache = cache_512(test);
	void **blocks = pymt_array(test, 3 * PER_POOL);

	pymt_take_many(test, cache, blocks, 3 * PER_POOL);
	pym_cache_free(cache, blocks[1]);		/* pool 0 */
	pym_cache_free(cache, blocks[2 * PER_POOL + 1]);
	pym_cache_free(cache, blocks[PER_POOL + 1]);
	KUNIT_EXPECT_PTR_EQ(test, pymt_take(test, cache), blocks[PER_POOL + 1]);
	KUNIT_EXPECT_PTR_EQ(test, pymt_take(test, cache), blocks[2 * PER_POOL + 1]);
	KUNIT_EXPECT_PTR_EQ(test, pymt_take(test, cache), blocks[1]);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).full, 3);
	pymt_give_many(cache, blocks, 3 * PER_POOL);
}

/* A pool at the head of the list stays there while it has blocks. */
static void used_pool_stays_in_place(struct kunit *test)
{
	struct pym_cache *cache = cache_512(test);
	void **blocks = pymt_array(test, 2 * PER_POOL);

	pymt_take_many(test, cache, blocks, 2 * PER_POOL);
	pym_cache_free(cache, blocks[0]);
	pym_cache_free(cache, blocks[PER_POOL]);
	pym_cache_free(cache, blocks[1]);	/* pool 0 was not full: no move */
	KUNIT_EXPECT_PTR_EQ(test, pymt_take(test, cache), blocks[PER_POOL]);
	KUNIT_EXPECT_PTR_EQ(test, pymt_take(test, cache), blocks[0]);
	KUNIT_EXPECT_PTR_EQ(test, pymt_take(test, cache), blocks[1]);
	pymt_give_many(cache, blocks, 2 * PER_POOL);
}

static void next_pool_on_exhaustion(struct kunit *test)
{
	struct pym_cache *cache = cache_512(test);
	void *blocks[PER_POOL + 1];

	pymt_take_many(test, cache, blocks, PER_POOL + 1);
	KUNIT_EXPECT_PTR_NE(test, pymt_pool(test, blocks[PER_POOL]), pymt_pool(test, blocks[0]));
	KUNIT_EXPECT_PTR_EQ(test, pymt_pool(test, blocks[PER_POOL])->arena,
			    pymt_pool(test, blocks[0])->arena);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).pools, 2);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).full, 1);
	pymt_give_many(cache, blocks, PER_POOL + 1);
}

static void empty_pool_to_another_cache(struct kunit *test)
{
	struct pym_cache *one = cache_512(test), *two = cache_512(test);
	void *blocks[PER_POOL], *block;
	struct pym_pool *pool;

	pymt_take_many(test, one, blocks, PER_POOL);
	pool = pymt_pool(test, blocks[0]);
	pymt_give_many(one, blocks, PER_POOL);
	block = pymt_take(test, two);
	KUNIT_EXPECT_PTR_EQ_MSG(test, pymt_pool(test, block), pool,
				"an empty pool is any cache's of that order");
	KUNIT_EXPECT_PTR_EQ(test, pool->owner, two);
	KUNIT_EXPECT_PTR_EQ(test, block, pool->base);
	KUNIT_EXPECT_EQ_MSG(test, pool->carved, 1, "the new owner starts to carve anew");
	pym_cache_free(two, block);
}

static void empty_pool_to_a_class(struct kunit *test)
{
	struct pym_cache *cache = cache_512(test);
	void *block = pymt_take(test, cache), *p;
	struct pym_pool *pool = pymt_pool(test, block);

	pym_cache_free(cache, block);
	p = pymt_malloc(test, pymt_heap(test)->heap, 24);
	KUNIT_EXPECT_PTR_EQ(test, pymt_pool(test, p), pool);
	KUNIT_EXPECT_TRUE(test, pool->owner->is_class);
	KUNIT_EXPECT_EQ(test, pool->owner->size, 24);
	pym_free(p);
	KUNIT_EXPECT_EQ(test, pool->state, PYM_POOL_EMPTY);
}

static void recycled_pool_before_virgin(struct kunit *test)
{
	struct pym_cache *one = cache_512(test), *two = cache_512(test);
	void **blocks = pymt_array(test, 3 * PER_POOL), *block;
	struct pym_pool *pool;
	u64 virgin;

	pymt_take_many(test, one, blocks, 3 * PER_POOL);
	pool = pymt_pool(test, blocks[2 * PER_POOL]);
	pymt_give_many(one, blocks + 2 * PER_POOL, PER_POOL);
	virgin = pool->arena->virgin;
	block = pymt_take(test, two);
	KUNIT_EXPECT_PTR_EQ(test, pymt_pool(test, block), pool);
	KUNIT_EXPECT_EQ_MSG(test, pool->arena->virgin, virgin, "virgin pools stay untouched");
	pym_cache_free(two, block);
	pymt_give_many(one, blocks, 2 * PER_POOL);
}

/* 512 blocks do not fit in the word of the descriptor. */
static void wide_bitmap(struct kunit *test)
{
	const unsigned int n = PYM_POOL_MAX_BLOCKS;
	struct pym_cache *cache = pymt_cache(test, pymt_heap(test)->heap, 8);
	void **blocks = pymt_array(test, n);
	struct pym_pool *pool;
	unsigned int i, bad = 0;

	pymt_take_many(test, cache, blocks, n);
	pool = pymt_pool(test, blocks[0]);
	KUNIT_EXPECT_GE(test, pool->bits_cap, n);
	KUNIT_EXPECT_EQ(test, pool->state, PYM_POOL_FULL);
	for (i = 0; i < n; i++)
		bad += blocks[i] != pool->base + 8 * i;
	KUNIT_EXPECT_EQ_MSG(test, bad, 0, "blocks in wrong places");
	/* Free every seventh block from the top down; they come back upwards. */
	for (i = n; i-- > 0;)
		if (i % 7 == 0)
			pym_cache_free(cache, blocks[i]);
	for (i = 0; i < n; i++)
		if (i % 7 == 0)
			bad += pymt_take(test, cache) != blocks[i];
	KUNIT_EXPECT_EQ_MSG(test, bad, 0, "blocks not reused lowest first");
	KUNIT_EXPECT_EQ(test, pool->state, PYM_POOL_FULL);
	pymt_give_many(cache, blocks, n);
}

/* The same pool serves blocks of @size until full, then is empty again. */
static struct pym_pool *cycle_pool(struct kunit *test, size_t size)
{
	struct pym_cache *cache = pymt_cache(test, pymt_heap(test)->heap, size);
	unsigned int n = cache->capacity;
	void **blocks = pymt_array(test, n);
	struct pym_pool *pool;

	pymt_take_many(test, cache, blocks, n);
	pool = pymt_pool(test, blocks[0]);
	KUNIT_EXPECT_EQ(test, pool->state, PYM_POOL_FULL);
	KUNIT_EXPECT_PTR_EQ(test, pymt_pool(test, blocks[n - 1]), pool);
	pymt_check(test, pymt_heap(test));
	pymt_give_many(cache, blocks, n);
	KUNIT_EXPECT_EQ(test, pool->state, PYM_POOL_EMPTY);
	pymt_check(test, pymt_heap(test));
	return pool;
}

static void pool_between_wide_and_narrow(struct kunit *test)
{
	static const u16 sizes[] = { 64, 8, 512, 16, 8, 56, 40, 8, 64 };
	struct pym_pool *pool = cycle_pool(test, sizes[0]);
	int i;

	for (i = 1; i < ARRAY_SIZE(sizes); i++)
		KUNIT_EXPECT_PTR_EQ_MSG(test, cycle_pool(test, sizes[i]), pool,
					"%d-byte blocks go into the empty pool", sizes[i]);
}

static void orders_do_not_mix(struct kunit *test)
{
	struct pym_heap *heap = pymt_heap(test)->heap;
	struct pym_cache *small = cache_512(test), *large = pymt_cache(test, heap, 1024);
	void *a = pymt_take(test, small), *b = pymt_take(test, large);

	KUNIT_EXPECT_EQ(test, pymt_pool(test, a)->arena->order, 0);
	KUNIT_EXPECT_EQ(test, pymt_pool(test, b)->arena->order, 1);
	KUNIT_EXPECT_PTR_NE(test, pymt_pool(test, a)->arena, pymt_pool(test, b)->arena);
	pym_cache_free(small, a);
	pym_cache_free(large, b);
}

/* No byte of a pool but its own leads to it. */
static void lookup_ends_with_the_pool(struct kunit *test)
{
	struct pym_cache *cache = pymt_cache(test, pymt_heap(test)->heap, 4096);
	void *block = pymt_take(test, cache);
	struct pym_pool *pool = pymt_pool(test, block);
	size_t size = pym_pool_size(cache->order);

	KUNIT_EXPECT_EQ(test, size, 8 * 4096);
	rcu_read_lock();
	KUNIT_EXPECT_PTR_EQ(test, pym_lookup(pool->base), pool);
	KUNIT_EXPECT_PTR_EQ(test, pym_lookup(pool->base + size - 1), pool);
	KUNIT_EXPECT_PTR_NE(test, pym_lookup(pool->base + size), pool);
	KUNIT_EXPECT_PTR_NE(test, pym_lookup(pool->base - 1), pool);
	rcu_read_unlock();
	pym_cache_free(cache, block);
}

/* Life of one pool for many sizes, with the content of all blocks checked. */

static const size_t life_sizes[] = {
	1, 8, 13, 24, 40, 63, 64, 72, 104, 128, 200, 256, 320, 400, 512, 513, 600, 1024, 1500,
	2048, 3000, 4096, 5000, 8192, 12345, 16384, 20000, 32768,
};

static void size_desc(const size_t *size, char *desc)
{
	scnprintf(desc, KUNIT_PARAM_DESC_SIZE, "%zu-bytes", *size);
}

KUNIT_ARRAY_PARAM(life, life_sizes, size_desc);

static void fill_blocks(void **blocks, unsigned int n, size_t size)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		memset(blocks[i], pymt_tag(blocks[i]), size);
}

static unsigned int count_damaged(void **blocks, unsigned int n, size_t size)
{
	unsigned int i, bad = 0;

	for (i = 0; i < n; i++)
		bad += !!memchr_inv(blocks[i], pymt_tag(blocks[i]), size);
	return bad;
}

static void shuffle(void **blocks, unsigned int n)
{
	while (n > 1) {
		unsigned int i = get_random_u32_below(n--);

		swap(blocks[i], blocks[n]);
	}
}

static void life_of_a_pool(struct kunit *test)
{
	size_t size = *(const size_t *)test->param_value;
	struct pym_cache *cache = pymt_cache(test, pymt_heap(test)->heap, size);
	unsigned int n = cache->capacity + 1;
	void **blocks = pymt_array(test, n);
	struct pym_pool *pool;

	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).stride, round_up(size, 8));
	KUNIT_EXPECT_GE(test, n, 9);
	pymt_take_many(test, cache, blocks, n);
	pool = pymt_pool(test, blocks[0]);
	KUNIT_EXPECT_PTR_EQ(test, pymt_pool(test, blocks[n - 2] + size - 1), pool);
	KUNIT_EXPECT_PTR_NE(test, pymt_pool(test, blocks[n - 1]), pool);
	fill_blocks(blocks, n, size);
	KUNIT_EXPECT_EQ_MSG(test, count_damaged(blocks, n, size), 0, "blocks overlap");
	pymt_check(test, pymt_heap(test));

	shuffle(blocks, n);
	pymt_give_many(cache, blocks, n / 2);
	KUNIT_EXPECT_EQ_MSG(test, count_damaged(blocks + n / 2, n - n / 2, size), 0,
			    "freeing other blocks changed live ones");
	pymt_take_many(test, cache, blocks, n / 2);
	KUNIT_EXPECT_EQ_MSG(test, pymt_stats_of(cache).pools, 2, "the blocks freed are used again");
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).live, n);
	pymt_check(test, pymt_heap(test));
	pymt_give_many(cache, blocks, n);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).pools, 0);
	KUNIT_EXPECT_EQ(test, pool->state, PYM_POOL_EMPTY);
}

static struct kunit_case pool_cases[] = {
	KUNIT_CASE(virgin_until_used),
	KUNIT_CASE(virgin_blocks_ascend),
	KUNIT_CASE(freed_blocks_lowest_first),
	KUNIT_CASE(used_before_virgin),
	KUNIT_CASE(last_block_makes_full),
	KUNIT_CASE(first_free_makes_used),
	KUNIT_CASE(last_free_makes_empty),
	KUNIT_CASE(most_recently_full_first),
	KUNIT_CASE(used_pool_stays_in_place),
	KUNIT_CASE(next_pool_on_exhaustion),
	KUNIT_CASE(empty_pool_to_another_cache),
	KUNIT_CASE(empty_pool_to_a_class),
	KUNIT_CASE(recycled_pool_before_virgin),
	KUNIT_CASE(wide_bitmap),
	KUNIT_CASE(pool_between_wide_and_narrow),
	KUNIT_CASE(orders_do_not_mix),
	KUNIT_CASE(lookup_ends_with_the_pool),
	KUNIT_CASE_PARAM(life_of_a_pool, life_gen_params),
	{}
};

static struct kunit_suite pool_suite = {
	.name = "pymalloc_pool",
	.init = pymt_init,
	.exit = pymt_exit,
	.test_cases = pool_cases,
};

kunit_test_suites(&pool_suite);
