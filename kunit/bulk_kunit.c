// SPDX-License-Identifier: GPL-2.0-only
/*
 * Many blocks at once, and blocks with a constructor.
 */
#include "fixture.h"

static const size_t bulk_sizes[] = { 0, 1, 2, 31, 32, 33, 64, 65, 1000 };

static void bulk_desc(const size_t *n, char *desc)
{
	scnprintf(desc, KUNIT_PARAM_DESC_SIZE, "%zu-blocks", *n);
}

KUNIT_ARRAY_PARAM(bulk, bulk_sizes, bulk_desc);

static void bulk_round(struct kunit *test)
{
	size_t n = *(const size_t *)test->param_value, i;
	struct pym_cache *cache = pymt_cache(test, pymt_heap(test)->heap, 512);
	void **blocks = pymt_array(test, n + 1);
	unsigned int bad = 0;

	blocks[n] = &bad;
	KUNIT_EXPECT_EQ(test, pym_cache_alloc_bulk(cache, GFP_KERNEL, n, blocks), n);
	KUNIT_EXPECT_PTR_EQ_MSG(test, blocks[n], (void *)&bad, "entries beyond n are not written");
	for (i = 0; i < n; i++)
		memset(blocks[i], pymt_tag(blocks[i]), 512);
	for (i = 0; i < n; i++)
		bad += !!memchr_inv(blocks[i], pymt_tag(blocks[i]), 512);
	KUNIT_EXPECT_EQ_MSG(test, bad, 0, "blocks overlap");
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).live, n);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).allocs, n);
	pymt_check(test, pymt_heap(test));
	pym_cache_free_bulk(cache, n, blocks);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).live, 0);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).frees, n);
}

/* A cache in a fresh heap, with every third of its first 100 blocks free. */
static struct pym_cache *make_gaps(struct kunit *test)
{
	struct pym_cache *cache = pymt_cache(test, pymt_open(test, PYMT_SPLIT, NULL)->heap, 512);
	void **blocks = pymt_array(test, 100);
	int i;

	pymt_take_many(test, cache, blocks, 100);
	for (i = 0; i < 100; i += 3)
		pym_cache_free(cache, blocks[i]);
	return cache;
}

static u64 place_of(struct kunit *test, const void *block)
{
	struct pym_pool *pool = pymt_pool(test, block);

	return (u64)pool->arena->id << 32 | pool->index << 16 | (block - pool->base);
}

/* The same blocks, in the same order, as one by one. */
static void bulk_as_one_by_one(struct kunit *test)
{
	struct pym_cache *one = make_gaps(test), *many = make_gaps(test);
	void **a = pymt_array(test, 60), **b = pymt_array(test, 60);
	unsigned int i, bad = 0;

	pymt_take_many(test, one, a, 60);
	KUNIT_EXPECT_EQ(test, pym_cache_alloc_bulk(many, GFP_KERNEL, 60, b), 60);
	for (i = 0; i < 60; i++)
		bad += place_of(test, a[i]) != place_of(test, b[i]);
	KUNIT_EXPECT_EQ_MSG(test, bad, 0, "blocks in another place");
	pym_cache_free_bulk(many, 60, b);
	pymt_give_many(one, a, 60);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(many).live, pymt_stats_of(one).live);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(many).pools, pymt_stats_of(one).pools);
}

static void bulk_all_or_nothing(struct kunit *test)
{
	struct pymt_heap *th = pymt_heap(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 512);
	void **blocks = pymt_array(test, 200);
	struct pym_heap_stats stats;

	th->provider->fail_at = 2;	/* the first arena has 128 blocks */
	th->provider->fail_on = true;
	KUNIT_EXPECT_EQ(test, pym_cache_alloc_bulk(cache, GFP_KERNEL, 200, blocks), 0);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).live, 0);
	pymt_stats(test, th->heap, &stats);
	KUNIT_EXPECT_EQ(test, stats.live, 0);
	pymt_check(test, th);
	KUNIT_EXPECT_EQ_MSG(test, pym_cache_alloc_bulk(cache, GFP_KERNEL, 128, blocks), 128,
			    "what is there can be had");
	pym_cache_free_bulk(cache, 128, blocks);
	th->provider->fail_at = 0;
	KUNIT_EXPECT_EQ(test, pym_cache_alloc_bulk(cache, GFP_KERNEL, 200, blocks), 200);
	pym_cache_free_bulk(cache, 200, blocks);
}

static void bulk_free_skips_null(struct kunit *test)
{
	struct pym_cache *cache = pymt_cache(test, pymt_heap(test)->heap, 64);
	void *blocks[5] = { };

	blocks[1] = pymt_take(test, cache);
	blocks[4] = pymt_take(test, cache);
	pym_cache_free_bulk(cache, 5, blocks);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).live, 0);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).frees, 2);
}

static void bulk_zeroes(struct kunit *test)
{
	struct pym_cache *cache = pymt_cache(test, pymt_heap(test)->heap, 72);
	void **blocks = pymt_array(test, 50);
	unsigned int bad = 0;
	int i;

	pymt_take_many(test, cache, blocks, 20);
	for (i = 0; i < 20; i++)
		memset(blocks[i], 0xff, 72);
	pym_cache_free_bulk(cache, 19, blocks + 1);
	KUNIT_EXPECT_EQ(test, pym_cache_alloc_bulk(cache, GFP_KERNEL | __GFP_ZERO, 49, blocks + 1),
			49);
	for (i = 1; i < 50; i++)
		bad += !!memchr_inv(blocks[i], 0, 72);
	KUNIT_EXPECT_EQ_MSG(test, bad, 0, "blocks not zeroed");
	pym_cache_free_bulk(cache, 50, blocks);
}

static struct kunit_case bulk_cases[] = {
	KUNIT_CASE_PARAM(bulk_round, bulk_gen_params),
	KUNIT_CASE(bulk_as_one_by_one),
	KUNIT_CASE(bulk_all_or_nothing),
	KUNIT_CASE(bulk_free_skips_null),
	KUNIT_CASE(bulk_zeroes),
	{}
};

static struct kunit_suite bulk_suite = {
	.name = "pymalloc_bulk",
	.init = pymt_init,
	.exit = pymt_exit,
	.test_cases = bulk_cases,
};

/* -------------------------------------------------------- constructors ---- */

#define MADE		0x6d616465

struct made {
	u32 magic;			/* MADE once constructed */
	u32 times;			/* constructed */
	u64 state;			/* of the last user */
	char rest[112];
};

static atomic_t constructed, in_wrong_context;

static void construct(void *block)
{
	struct made *made = block;

	/* New memory of the test provider is not MADE by chance. */
	made->times = made->magic == MADE ? made->times + 1 : 1;
	made->magic = MADE;
	made->state = 0;
	atomic_inc(&constructed);
	if (IS_ENABLED(CONFIG_PREEMPT_COUNT) && (!preemptible() || rcu_preempt_depth()))
		atomic_inc(&in_wrong_context);
}

static struct pym_cache *made_cache(struct kunit *test)
{
	struct pym_cache_args args = { .heap = pymt_heap(test)->heap, .ctor = construct };
	struct pym_cache *cache = pym_cache_create("made", sizeof(struct made), &args);

	KUNIT_ASSERT_NOT_NULL(test, cache);
	atomic_set(&constructed, 0);
	atomic_set(&in_wrong_context, 0);
	return cache;
}

static void ctor_once_per_block(struct kunit *test)
{
	struct pym_cache *cache = made_cache(test);
	struct made *blocks[10];
	int i, round;

	pymt_take_many(test, cache, (void **)blocks, 10);
	for (round = 0; round < 3; round++)
		for (i = 1; i < 10; i++) {
			pym_cache_free(cache, blocks[i]);
			blocks[i] = pymt_take(test, cache);
			KUNIT_EXPECT_EQ(test, blocks[i]->magic, MADE);
			KUNIT_EXPECT_EQ(test, blocks[i]->times, 1);
		}
	KUNIT_EXPECT_EQ_MSG(test, atomic_read(&constructed), 10, "one call for each block");
	KUNIT_EXPECT_EQ_MSG(test, atomic_read(&in_wrong_context), 0, "called with no lock held");
	pymt_give_many(cache, (void **)blocks, 10);
}

/* Not for the whole pool when its first block is needed. */
static void ctor_only_when_carved(struct kunit *test)
{
	struct pym_cache *cache = made_cache(test);
	void *block = pymt_take(test, cache);

	KUNIT_EXPECT_EQ(test, atomic_read(&constructed), 1);
	pym_cache_free(cache, block);
	KUNIT_EXPECT_EQ(test, atomic_read(&constructed), 1);
}

static void ctor_state_survives(struct kunit *test)
{
	struct pym_cache *cache = made_cache(test);
	struct made *keep = pymt_take(test, cache), *block = pymt_take(test, cache), *again;

	block->state = 0x1234567890abcdef;
	memset(block->rest, 0x5a, sizeof(block->rest));
	pym_cache_free(cache, block);
	again = pymt_take(test, cache);
	KUNIT_EXPECT_PTR_EQ(test, again, block);
	KUNIT_EXPECT_EQ_MSG(test, again->state, 0x1234567890abcdef,
			    "the next user finds what the last one left");
	KUNIT_EXPECT_NULL(test, memchr_inv(again->rest, 0x5a, sizeof(again->rest)));
	pym_cache_free(cache, again);
	pym_cache_free(cache, keep);
}

static void ctor_in_bulk(struct kunit *test)
{
	struct pym_cache *cache = made_cache(test);
	struct made **blocks = (struct made **)pymt_array(test, 100);
	unsigned int i, bad = 0;

	pymt_take_many(test, cache, (void **)blocks, 40);
	pym_cache_free_bulk(cache, 20, (void **)blocks);
	KUNIT_EXPECT_EQ(test, pym_cache_alloc_bulk(cache, GFP_KERNEL, 60, (void **)blocks + 40),
			60);
	for (i = 20; i < 100; i++)
		bad += blocks[i]->magic != MADE || blocks[i]->times != 1;
	KUNIT_EXPECT_EQ_MSG(test, bad, 0, "blocks not constructed exactly once");
	KUNIT_EXPECT_EQ(test, atomic_read(&constructed), 80);
	pym_cache_free_bulk(cache, 80, (void **)blocks + 20);
}

/* Blocks carved by a bulk allocation that fails are constructed all the same. */
static void ctor_in_failed_bulk(struct kunit *test)
{
	struct pymt_heap *th = pymt_heap(test);
	struct pym_cache *cache = made_cache(test);
	struct made **blocks = (struct made **)pymt_array(test, 16 * 32 + 1);
	struct made *keep = pymt_take(test, cache);
	unsigned int i, bad = 0;

	th->provider->fail_at = 2;
	th->provider->fail_on = true;
	KUNIT_EXPECT_EQ(test, pym_cache_alloc_bulk(cache, GFP_KERNEL, 16 * 32, (void **)blocks), 0);
	/* Only the pool with a live block keeps its blocks. */
	pymt_take_many(test, cache, (void **)blocks, 31);
	for (i = 0; i < 31; i++)
		bad += blocks[i]->magic != MADE || blocks[i]->times != 1;
	KUNIT_EXPECT_EQ_MSG(test, bad, 0, "blocks not constructed exactly once");
	pymt_give_many(cache, (void **)blocks, 31);
	pym_cache_free(cache, keep);
	th->provider->fail_at = 0;
}

/* A pool that went to another cache and came back has nothing constructed. */
static void ctor_again_after_another_owner(struct kunit *test)
{
	struct pym_cache *cache = made_cache(test);
	struct pym_cache *other = pymt_cache(test, pymt_heap(test)->heap, sizeof(struct made));
	struct made *block = pymt_take(test, cache);
	void *foreign;

	pym_cache_free(cache, block);
	foreign = pymt_take(test, other);
	KUNIT_EXPECT_PTR_EQ(test, foreign, (void *)block);
	memset(foreign, 0xee, sizeof(struct made));
	pym_cache_free(other, foreign);
	block = pymt_take(test, cache);
	KUNIT_EXPECT_PTR_EQ(test, (void *)block, foreign);
	KUNIT_EXPECT_EQ(test, block->magic, MADE);
	KUNIT_EXPECT_EQ(test, block->state, 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&constructed), 2);
	pym_cache_free(cache, block);
}

static void ctor_with_zero_is_reported(struct kunit *test)
{
	struct pym_cache *cache = made_cache(test);
	struct made *block = pym_cache_zalloc(cache, GFP_KERNEL);

	pymt_expect_misuse(test, PYM_MISUSE_ZERO_CTOR, 1);
	KUNIT_ASSERT_NOT_NULL(test, block);
	KUNIT_EXPECT_EQ_MSG(test, block->magic, MADE, "constructed, not zeroed");
	KUNIT_EXPECT_EQ(test, pym_cache_alloc_bulk(cache, GFP_KERNEL | __GFP_ZERO, 1,
						   (void **)&block), 1);
	pymt_expect_misuse(test, PYM_MISUSE_ZERO_CTOR, 1);
	KUNIT_EXPECT_EQ(test, block->magic, MADE);
	pym_heap_reset(pymt_heap(test)->heap);
}

static struct kunit_case ctor_cases[] = {
	KUNIT_CASE(ctor_once_per_block),
	KUNIT_CASE(ctor_only_when_carved),
	KUNIT_CASE(ctor_state_survives),
	KUNIT_CASE(ctor_in_bulk),
	KUNIT_CASE(ctor_in_failed_bulk),
	KUNIT_CASE(ctor_again_after_another_owner),
	KUNIT_CASE(ctor_with_zero_is_reported),
	{}
};

static struct kunit_suite ctor_suite = {
	.name = "pymalloc_ctor",
	.init = pymt_init,
	.exit = pymt_exit,
	.test_cases = ctor_cases,
};

kunit_test_suites(&bulk_suite, &ctor_suite);
