// SPDX-License-Identifier: GPL-2.0-only
/*
 * PYM_HEAP_RANDOM: in which order a pool hands out its blocks, and that nothing else is
 * different.
 */
#include "fixture.h"

#define SIZE		64
#define PER_POOL	(PAGE_SIZE / SIZE)
#define MANY_POOLS	1280

static struct pym_cache *random_cache(struct kunit *test)
{
	struct pymt_heap *th = pymt_open(test, PYMT_SPLIT | PYMT_RANDOM, NULL);

	return pymt_cache(test, th->heap, SIZE);
}

static unsigned int slot_of(struct kunit *test, const void *block)
{
	return (block - pymt_pool(test, block)->base) / SIZE;
}

/* How many blocks are followed by the next one in memory, as all are in order. */
static unsigned int followers(void **blocks, unsigned int n)
{
	unsigned int i, found = 0;

	for (i = 1; i < n; i++)
		found += blocks[i] == blocks[i - 1] + SIZE;
	return found;
}

static void not_by_address(struct kunit *test)
{
	struct pym_cache *cache = random_cache(test);
	void *blocks[PER_POOL];

	pymt_take_many(test, cache, blocks, PER_POOL);
	KUNIT_EXPECT_EQ(test, cache->nr_pools, 1);
	/* One is expected by chance; that there are 16 has a probability of 1e-14. */
	KUNIT_EXPECT_LT(test, followers(blocks, PER_POOL), 16);
	pymt_give_many(cache, blocks, PER_POOL);
}

/* The heap that a consumer has without asking goes by address, so the case can fail. */
static void by_address_without(struct kunit *test)
{
	struct pym_cache *cache = pymt_cache(test, pymt_heap(test)->heap, SIZE);
	void *blocks[PER_POOL];

	pymt_take_many(test, cache, blocks, PER_POOL);
	KUNIT_EXPECT_EQ(test, followers(blocks, PER_POOL), PER_POOL - 1);
	pymt_give_many(cache, blocks, PER_POOL);
}

static void bulk_not_by_address(struct kunit *test)
{
	struct pym_cache *cache = random_cache(test);
	void *blocks[PER_POOL];

	KUNIT_ASSERT_EQ(test, pym_cache_alloc_bulk(cache, GFP_KERNEL, PER_POOL, blocks), PER_POOL);
	KUNIT_EXPECT_EQ(test, cache->nr_pools, 1);
	KUNIT_EXPECT_LT(test, followers(blocks, PER_POOL), 16);
	pym_cache_free_bulk(cache, PER_POOL, blocks);
}

static void small_requests_too(struct kunit *test)
{
	struct pymt_heap *th = pymt_open(test, PYMT_SPLIT | PYMT_RANDOM, NULL);
	void *blocks[PER_POOL];
	unsigned int i;

	for (i = 0; i < PER_POOL; i++)
		blocks[i] = pymt_malloc(test, th->heap, SIZE);
	KUNIT_EXPECT_LT(test, followers(blocks, PER_POOL), 16);
	for (i = 0; i < PER_POOL; i++)
		pym_free(blocks[i]);
}

static void through_fronts(struct kunit *test)
{
	struct pymt_heap *th = pymt_open(test, PYMT_PAGES | PYMT_FRONTS | PYMT_RANDOM, NULL);
	struct pym_cache *cache = pymt_cache(test, th->heap, SIZE);
	const unsigned int n = 4 * PER_POOL;
	void **blocks = pymt_array(test, n);

	pymt_take_many(test, cache, blocks, n);
	KUNIT_EXPECT_LT(test, followers(blocks, n), n / 4);
	pymt_give_many(cache, blocks, n);
	pymt_check(test, th);
}

/* Slots that were used before are no more likely than others, nor less. */
static void reuse_is_random(struct kunit *test)
{
	struct pym_cache *cache = random_cache(test);
	void *first[PER_POOL / 2], *again[PER_POOL / 2];
	unsigned int i, k, same = 0;

	pymt_take_many(test, cache, first, ARRAY_SIZE(first));
	/* One stays, so that the pool does. */
	pymt_give_many(cache, first + 1, ARRAY_SIZE(first) - 1);
	pymt_take_many(test, cache, again, ARRAY_SIZE(again));
	for (i = 0; i < ARRAY_SIZE(again); i++)
		for (k = 1; k < ARRAY_SIZE(first); k++)
			same += again[i] == first[k];
	/* Of 63 that are free 32 are taken, and 31 are known: 15.7 by chance, 2 apart. */
	KUNIT_EXPECT_GT(test, same, 2);
	KUNIT_EXPECT_LT(test, same, 30);
	pymt_give_many(cache, again, ARRAY_SIZE(again));
	pym_cache_free(cache, first[0]);
}

/* Every slot may be the first of a pool, and each as often as any other. */
static void first_slot_is_uniform(struct kunit *test)
{
	struct pym_cache *cache = random_cache(test);
	size_t n = (size_t)MANY_POOLS * PER_POOL, i;
	void **blocks = pymt_array(test, n);
	unsigned int seen[PER_POOL] = { };

	pymt_take_many(test, cache, blocks, n);
	KUNIT_ASSERT_EQ(test, cache->nr_pools, MANY_POOLS);
	for (i = 0; i < n; i += PER_POOL)
		seen[slot_of(test, blocks[i])]++;
	/* 20 on average, 4.4 apart: one of 64 is outside in less than a run of 10000. */
	for (i = 0; i < PER_POOL; i++)
		KUNIT_EXPECT_TRUE_MSG(test, seen[i] >= 3 && seen[i] <= 45,
				      "slot %zu was the first of %u pools of %d", i, seen[i],
				      MANY_POOLS);
	pymt_give_many(cache, blocks, n);
}

/* Each block is handed out once. */
static void every_block_once(struct kunit *test)
{
	struct pym_cache *cache = random_cache(test);
	DECLARE_BITMAP(seen, PER_POOL);
	void *blocks[PER_POOL];
	unsigned int round, i;

	for (round = 0; round < 20; round++) {
		bitmap_zero(seen, PER_POOL);
		pymt_take_many(test, cache, blocks, PER_POOL);
		for (i = 0; i < PER_POOL; i++)
			KUNIT_EXPECT_FALSE(test, __test_and_set_bit(slot_of(test, blocks[i]),
								    seen));
		pymt_give_many(cache, blocks, PER_POOL);
	}
}

static unsigned int constructed;

static void construct(void *block)
{
	constructed++;
	memset(block, 0xc5, SIZE);
}

static void constructed_once(struct kunit *test)
{
	struct pymt_heap *th = pymt_open(test, PYMT_SPLIT | PYMT_RANDOM, NULL);
	struct pym_cache_args args = { .heap = th->heap, .ctor = construct };
	struct pym_cache *cache = pym_cache_create("constructed", SIZE, &args);
	void *kept, *blocks[PER_POOL - 1];
	unsigned int round, i;

	KUNIT_ASSERT_NOT_NULL(test, cache);
	constructed = 0;
	kept = pymt_take(test, cache);
	for (round = 0; round < 10; round++) {
		pymt_take_many(test, cache, blocks, ARRAY_SIZE(blocks));
		KUNIT_EXPECT_EQ(test, cache->nr_pools, 1);
		for (i = 0; i < ARRAY_SIZE(blocks); i++)
			KUNIT_EXPECT_NULL(test, memchr_inv(blocks[i], 0xc5, SIZE));
		pymt_give_many(cache, blocks, ARRAY_SIZE(blocks));
	}
	KUNIT_EXPECT_EQ(test, constructed, PER_POOL);
	pym_cache_free(cache, kept);
	pym_cache_destroy(cache);
}

/* What came clean from the provider is known to be clean once, and no more often. */
static void zeroed_when_asked(struct kunit *test)
{
	struct pymt_heap *th = pymt_open(test, PYMT_ZEROED | PYMT_RANDOM, NULL);
	struct pym_cache *cache = pymt_cache(test, th->heap, SIZE);
	void *kept = pymt_take(test, cache), *blocks[PER_POOL - 1];
	unsigned int round, i;

	for (round = 0; round < 4; round++) {
		for (i = 0; i < ARRAY_SIZE(blocks); i++) {
			blocks[i] = pym_cache_zalloc(cache, GFP_KERNEL);
			KUNIT_ASSERT_NOT_NULL(test, blocks[i]);
			KUNIT_EXPECT_NULL(test, memchr_inv(blocks[i], 0, SIZE));
			memset(blocks[i], 0xa5, SIZE);
		}
		/* Half of it only: the other half of the next round is from elsewhere. */
		pymt_give_many(cache, blocks, ARRAY_SIZE(blocks));
	}
	pym_cache_free(cache, kept);
}

/* An address where a block will be some day. */
static void never_handed_out(struct kunit *test)
{
	struct pym_cache *cache = random_cache(test);
	void *block = pymt_take(test, cache);
	struct pym_pool *pool = pymt_pool(test, block);

	pym_cache_free(cache, pool->base + (slot_of(test, block) + 1) % PER_POOL * SIZE);
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 1);
	KUNIT_EXPECT_EQ(test, cache->live, 1);
	pym_cache_free(cache, block);
	pym_cache_free(cache, block);
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 1);
}

/* Blocks of 8 bytes need as many bits as there can be. */
static void smallest_blocks(struct kunit *test)
{
	struct pymt_heap *th = pymt_open(test, PYMT_SPLIT | PYMT_RANDOM, NULL);
	struct pym_cache *cache = pymt_cache(test, th->heap, 8);
	size_t n = 3 * PAGE_SIZE / 8;
	void **blocks = pymt_array(test, n);

	pymt_take_many(test, cache, blocks, n);
	KUNIT_EXPECT_EQ(test, cache->nr_pools, 3);
	pymt_check(test, th);
	pymt_give_many(cache, blocks, n);
	pymt_check(test, th);
}

static struct kunit_case carve_cases[] = {
	KUNIT_CASE(not_by_address),
	KUNIT_CASE(by_address_without),
	KUNIT_CASE(bulk_not_by_address),
	KUNIT_CASE(small_requests_too),
	KUNIT_CASE(through_fronts),
	KUNIT_CASE(reuse_is_random),
	KUNIT_CASE_SLOW(first_slot_is_uniform),
	KUNIT_CASE(every_block_once),
	KUNIT_CASE(constructed_once),
	KUNIT_CASE(zeroed_when_asked),
	KUNIT_CASE(never_handed_out),
	KUNIT_CASE(smallest_blocks),
	{}
};

static struct kunit_suite carve_suite = {
	.name = "pymalloc_carve",
	.init = pymt_init,
	.exit = pymt_exit,
	.test_cases = carve_cases,
};

kunit_test_suites(&carve_suite);
