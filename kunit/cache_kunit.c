// SPDX-License-Identifier: GPL-2.0-only
/*
 * Caches: creation and its arguments, names, alignment, statistics, zeroing,
 * destruction.
 */
#include <linux/string.h>
#include "fixture.h"

static struct pym_heap *heap_of(struct kunit *test)
{
	return pymt_heap(test)->heap;
}

static void create_and_destroy(struct kunit *test)
{
	struct pym_cache_args args = { .heap = heap_of(test) };
	struct pym_heap_stats before, after;
	struct pym_cache *cache;

	pymt_stats(test, args.heap, &before);
	cache = pym_cache_create("object", 100, &args);
	KUNIT_ASSERT_NOT_NULL(test, cache);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).size, 100);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).stride, 104);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).pool_size, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).capacity, PAGE_SIZE / 104);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).pools, 0);
	pymt_stats(test, args.heap, &after);
	KUNIT_EXPECT_GT_MSG(test, after.metadata, before.metadata, "descriptors are accounted");
	KUNIT_EXPECT_EQ_MSG(test, pymt_calls(pymt_heap(test)), 0, "no pool before the first block");
	pym_cache_destroy(cache);
	pymt_stats(test, args.heap, &after);
	KUNIT_EXPECT_EQ(test, after.held, before.held);
}

static void create_in_default_heap(struct kunit *test)
{
	struct pym_cache *cache = pym_cache_create("kunit-default", 64, NULL);
	void *block;

	KUNIT_ASSERT_NOT_NULL(test, cache);
	block = pymt_take(test, cache);
	KUNIT_EXPECT_PTR_EQ(test, pym_owner(block), pym_default_heap);
	pym_cache_free(cache, block);
	pym_cache_destroy(cache);
}

static void destroy_null(struct kunit *test)
{
	struct pym_heap_stats before, after;

	pymt_stats(test, heap_of(test), &before);
	pym_cache_destroy(NULL);
	pymt_stats(test, heap_of(test), &after);
	pymt_expect_same(test, &before, &after);
}

static void name_is_copied(struct kunit *test)
{
	struct pym_cache_args args = { .heap = heap_of(test) };
	char name[] = "first";
	struct pym_cache *cache = pym_cache_create(name, 64, &args);

	KUNIT_ASSERT_NOT_NULL(test, cache);
	strscpy(name, "other", sizeof(name));
	KUNIT_EXPECT_STREQ(test, cache->name, "first");
	KUNIT_EXPECT_NULL_MSG(test, pym_cache_create("first", 64, &args), "that name is taken");
	pym_cache_destroy(cache);
}

/* ------------------------------------------------- refused arguments ---- */

struct bad_args {
	const char *desc;
	const char *name;
	size_t size;
	struct pym_cache_args args;
};

static const struct bad_args bad_args[] = {
	{ "no-name", NULL, 64 },
	{ "empty-name", "", 64 },
	{ "space-in-name", "my cache", 64 },
	{ "slash-in-name", "my/cache", 64 },
	{ "newline-in-name", "cache\n", 64 },
	{ "control-character-in-name", "ca\x01che", 64 },
	{ "name-of-48-bytes", "0123456789abcdef0123456789abcdef0123456789abcdef", 64 },
	{ "size-0", "bad", 0 },
	{ "size-above-limit", "bad", PYM_CACHE_MAX_SIZE + 1 },
	{ "size-huge", "bad", SIZE_MAX },
	{ "size-wraps-when-aligned", "bad", SIZE_MAX - 6, { .align = 64 } },
	{ "align-3", "bad", 64, { .align = 3 } },
	{ "align-24", "bad", 64, { .align = 24 } },
	{ "align-two-pages", "bad", 64, { .align = 2 * PAGE_SIZE } },
	{ "align-huge", "bad", 64, { .align = 1UL << 63 } },
	{ "flag-unknown", "bad", 64, { .flags = BIT(2) } },
	{ "flag-unknown-high", "bad", 64, { .flags = BIT(31) | PYM_CACHE_HWALIGN } },
};

static void bad_args_desc(const struct bad_args *bad, char *desc)
{
	strscpy(desc, bad->desc, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(bad_args, bad_args, bad_args_desc);

static void create_refuses(struct kunit *test)
{
	const struct bad_args *bad = test->param_value;
	struct pym_cache_args args = bad->args;
	struct pym_heap_stats before, after;

	args.heap = heap_of(test);
	pymt_stats(test, args.heap, &before);
	KUNIT_EXPECT_NULL(test, pym_cache_create(bad->name, bad->size, &args));
	pymt_stats(test, args.heap, &after);
	pymt_expect_same(test, &before, &after);
	KUNIT_EXPECT_TRUE(test, list_empty(&args.heap->caches));
}

static void longest_name(struct kunit *test)
{
	static const char name[] = "0123456789abcdef0123456789abcdef0123456789abcde";
	struct pym_cache_args args = { .heap = heap_of(test) };
	struct pym_cache *cache;

	KUNIT_EXPECT_EQ(test, sizeof(name), PYM_NAME_MAX);
	cache = pym_cache_create(name, 64, &args);
	KUNIT_ASSERT_NOT_NULL(test, cache);
	KUNIT_EXPECT_STREQ(test, cache->name, name);
	pym_cache_destroy(cache);
}

static void name_unique_in_its_heap(struct kunit *test)
{
	struct pym_cache_args one = { .heap = heap_of(test) };
	struct pym_cache_args two = { .heap = pymt_open(test, PYMT_SPLIT, NULL)->heap };
	struct pym_heap_stats before, after;
	struct pym_cache *a = pym_cache_create("twin", 64, &one);
	struct pym_cache *b;

	KUNIT_ASSERT_NOT_NULL(test, a);
	pymt_stats(test, one.heap, &before);
	KUNIT_EXPECT_NULL(test, pym_cache_create("twin", 128, &one));
	pymt_stats(test, one.heap, &after);
	pymt_expect_same(test, &before, &after);
	b = pym_cache_create("twin", 64, &two);
	KUNIT_EXPECT_NOT_NULL_MSG(test, b, "another heap may have the name too");
	pym_cache_destroy(a);
	a = pym_cache_create("twin", 128, &one);
	KUNIT_EXPECT_NOT_NULL_MSG(test, a, "a name is free again after destroy");
	pym_cache_destroy(a);
	pym_cache_destroy(b);
}

/* Caches of the same size are not merged: each has its own blocks and counts. */
static void never_merged(struct kunit *test)
{
	struct pym_cache *one = pymt_cache(test, heap_of(test), 64);
	struct pym_cache *two = pymt_cache(test, heap_of(test), 64);
	void *a = pymt_take(test, one), *b = pymt_take(test, two);

	KUNIT_EXPECT_PTR_NE(test, one, two);
	KUNIT_EXPECT_PTR_NE(test, pymt_pool(test, a), pymt_pool(test, b));
	KUNIT_EXPECT_EQ(test, pymt_stats_of(one).live, 1);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(two).live, 1);
	pym_cache_free(one, a);
	pym_cache_free(two, b);
}

/* ---------------------------------------------------------- alignment ---- */

static const size_t aligns[] = { 1, 8, 16, 64, 256, 4096 };

static void align_desc(const size_t *align, char *desc)
{
	scnprintf(desc, KUNIT_PARAM_DESC_SIZE, "align-%zu", *align);
}

KUNIT_ARRAY_PARAM(aligns, aligns, align_desc);

static void blocks_are_aligned(struct kunit *test)
{
	size_t align = *(const size_t *)test->param_value;
	struct pym_cache_args args = { .heap = heap_of(test), .align = align };
	struct pym_cache *cache = pym_cache_create("aligned", 40, &args);
	unsigned int i, bad = 0;
	void *blocks[20];

	KUNIT_ASSERT_NOT_NULL(test, cache);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).size, 40);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).stride, round_up(40, max_t(size_t, align, 8)));
	pymt_take_many(test, cache, blocks, ARRAY_SIZE(blocks));
	for (i = 0; i < ARRAY_SIZE(blocks); i++) {
		bad += !IS_ALIGNED((unsigned long)blocks[i], max_t(size_t, align, 8));
		memset(blocks[i], 1, 40);
	}
	KUNIT_EXPECT_EQ_MSG(test, bad, 0, "misaligned blocks");
	pymt_give_many(cache, blocks, ARRAY_SIZE(blocks));
	pym_cache_destroy(cache);
}

/* Padding of live blocks is rounding, not blocks. */
static void padding_is_rounding(struct kunit *test)
{
	struct pym_cache_args args = { .heap = heap_of(test), .align = 64 };
	struct pym_cache *cache = pym_cache_create("padded", 40, &args);
	struct pym_heap_stats stats;
	void *blocks[3];

	KUNIT_ASSERT_NOT_NULL(test, cache);
	pymt_take_many(test, cache, blocks, 3);
	pymt_stats(test, args.heap, &stats);
	KUNIT_EXPECT_EQ(test, stats.in_blocks, 3 * 40);
	KUNIT_EXPECT_EQ(test, stats.rounding, 3 * 24);
	KUNIT_EXPECT_EQ(test, stats.virgin, 16 * PAGE_SIZE - 3 * 64);
	pymt_give_many(cache, blocks, 3);
}

/* 170 blocks of 24 bytes leave a tail of 16. */
static void tail_is_rounding(struct kunit *test)
{
	struct pym_cache *cache = pymt_cache(test, heap_of(test), 24);
	struct pym_heap_stats stats;
	void *block = pymt_take(test, cache);

	pymt_stats(test, heap_of(test), &stats);
	KUNIT_EXPECT_EQ(test, stats.in_blocks, 24);
	KUNIT_EXPECT_EQ(test, stats.rounding, PAGE_SIZE % 24);
	KUNIT_EXPECT_EQ(test, stats.virgin, 16 * PAGE_SIZE - PAGE_SIZE % 24 - 24);
	pym_cache_free(cache, block);
}

static void hwalign(struct kunit *test)
{
	struct pym_cache_args args = { .heap = heap_of(test), .flags = PYM_CACHE_HWALIGN };
	struct pym_cache *cache = pym_cache_create("hwalign", 40, &args);
	void *blocks[10];
	int i;

	KUNIT_ASSERT_NOT_NULL(test, cache);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).stride, round_up(40, cache_line_size()));
	pymt_take_many(test, cache, blocks, ARRAY_SIZE(blocks));
	for (i = 0; i < ARRAY_SIZE(blocks); i++)
		KUNIT_EXPECT_TRUE(test, IS_ALIGNED((unsigned long)blocks[i], cache_line_size()));
	pymt_give_many(cache, blocks, ARRAY_SIZE(blocks));
}

/* It is a minimum: a stricter alignment wins. */
static void hwalign_with_align(struct kunit *test)
{
	struct pym_cache_args args = { .heap = heap_of(test), .flags = PYM_CACHE_HWALIGN,
				       .align = 512 };
	struct pym_cache *cache = pym_cache_create("hwalign", 40, &args);

	KUNIT_ASSERT_NOT_NULL(test, cache);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).stride, 512);
	pym_cache_destroy(cache);
}

static void align_above_size_limit(struct kunit *test)
{
	struct pym_cache_args args = { .heap = heap_of(test), .align = PAGE_SIZE };
	struct pym_cache *cache = pym_cache_create("largest", PYM_CACHE_MAX_SIZE - 1, &args);
	void *block;

	KUNIT_ASSERT_NOT_NULL(test, cache);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).stride, PYM_CACHE_MAX_SIZE);
	block = pymt_take(test, cache);
	KUNIT_EXPECT_TRUE(test, PAGE_ALIGNED(block));
	memset(block, 1, PYM_CACHE_MAX_SIZE - 1);
	pym_cache_free(cache, block);
}

/* ------------------------------------------------------------- blocks ---- */

static void stats_follow_each_step(struct kunit *test)
{
	struct pym_cache *cache = pymt_cache(test, heap_of(test), 512);
	unsigned int i, bad = 0;
	void *blocks[20];

	for (i = 1; i <= 20; i++) {
		struct pym_cache_stats s;

		blocks[i - 1] = pymt_take(test, cache);
		s = pymt_stats_of(cache);
		bad += s.live != i || s.high != i || s.allocs != i || s.frees ||
		       s.free || s.pools != DIV_ROUND_UP(i, 8) || s.full != i / 8 ||
		       s.live + s.free + s.virgin != 8 * s.pools;
	}
	KUNIT_EXPECT_EQ_MSG(test, bad, 0, "wrong after an allocation");
	for (i = 20; i-- > 0;) {
		struct pym_cache_stats s;

		pym_cache_free(cache, blocks[i]);
		s = pymt_stats_of(cache);
		bad += s.live != i || s.high != 20 || s.allocs != 20 || s.frees != 20 - i ||
		       s.pools != DIV_ROUND_UP(i, 8) || s.full != i / 8 ||
		       s.live + s.free + s.virgin != 8 * s.pools;
	}
	KUNIT_EXPECT_EQ_MSG(test, bad, 0, "wrong after a free");
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).failures, 0);
}

static void failures_are_counted(struct kunit *test)
{
	struct pymt_heap *th = pymt_heap(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 64);
	struct pym_heap_stats stats;

	th->provider->fail_at = 1;
	th->provider->fail_on = true;
	KUNIT_EXPECT_NULL(test, pym_cache_alloc(cache, GFP_KERNEL));
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).failures, 1);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).allocs, 0);
	pymt_stats(test, th->heap, &stats);
	KUNIT_EXPECT_EQ(test, stats.failures, 1);
	KUNIT_EXPECT_EQ_MSG(test, stats.limit_hits, 0, "the limit has nothing to do with it");
	th->provider->fail_at = 0;
	pym_cache_free(cache, pymt_take(test, cache));
}

static void zalloc_zeroes_virgin(struct kunit *test)
{
	struct pym_cache *cache = pymt_cache(test, heap_of(test), 200);
	void *block = pym_cache_zalloc(cache, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, block);
	KUNIT_EXPECT_NULL_MSG(test, memchr_inv(block, 0, 200),
			      "the provider filled its memory with a pattern");
	pym_cache_free(cache, block);
}

static void zalloc_zeroes_recycled(struct kunit *test)
{
	struct pym_cache *cache = pymt_cache(test, heap_of(test), 200);
	void *keep = pymt_take(test, cache), *block = pymt_take(test, cache), *again;

	memset(block, 0xff, 200);
	pym_cache_free(cache, block);
	again = pym_cache_alloc(cache, GFP_KERNEL | __GFP_ZERO);
	KUNIT_EXPECT_PTR_EQ(test, again, block);
	KUNIT_EXPECT_NULL(test, memchr_inv(again, 0, 200));
	pym_cache_free(cache, again);
	pym_cache_free(cache, keep);
}

/* The neighbours of a block that is cleared are somebody else's. */
static void zalloc_zeroes_no_more(struct kunit *test)
{
	struct pym_cache *cache = pymt_cache(test, heap_of(test), 64);
	u8 *blocks[3];

	pymt_take_many(test, cache, (void **)blocks, 3);
	memset(blocks[0], 0x11, 64);
	memset(blocks[2], 0x22, 64);
	pym_cache_free(cache, blocks[1]);
	KUNIT_EXPECT_PTR_EQ(test, pym_cache_zalloc(cache, GFP_KERNEL), blocks[1]);
	KUNIT_EXPECT_NULL(test, memchr_inv(blocks[0], 0x11, 64));
	KUNIT_EXPECT_NULL(test, memchr_inv(blocks[2], 0x22, 64));
	pymt_give_many(cache, (void **)blocks, 3);
}

static void shrink_returns_bytes(struct kunit *test)
{
	struct pymt_heap *th = pymt_heap(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 512);
	void *block = pymt_take(test, cache);
	long before = pymt_bytes(th);

	KUNIT_EXPECT_EQ(test, pym_cache_shrink(cache), before - PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, pymt_bytes(th), PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).live, 1);
	pym_cache_free(cache, block);
	KUNIT_EXPECT_GE(test, pym_cache_shrink(cache), 0);
	KUNIT_EXPECT_EQ(test, pymt_bytes(th), 0);
}

/* Reported once, however many; their memory is free for others. */
static void destroy_with_live_blocks(struct kunit *test)
{
	struct pymt_heap *th = pymt_heap(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 512);
	struct pym_heap_stats stats;
	void **blocks = pymt_array(test, 21);

	pymt_take_many(test, cache, blocks, 21);
	pym_cache_free(cache, blocks[5]);
	pym_cache_destroy(cache);
	pymt_expect_misuse(test, PYM_MISUSE_LEAK, 1);
	pymt_stats(test, th->heap, &stats);
	KUNIT_EXPECT_EQ(test, stats.live, 0);
	KUNIT_EXPECT_EQ(test, stats.in_blocks, 0);
	pymt_check(test, th);
	pym_heap_shrink(th->heap);
	KUNIT_EXPECT_EQ(test, pymt_bytes(th), 0);
}

static void destroy_without_live_blocks(struct kunit *test)
{
	struct pym_cache *cache = pymt_cache(test, heap_of(test), 64);
	struct pym_heap_stats before, after;

	pymt_stats(test, heap_of(test), &before);
	pym_cache_free(cache, pymt_take(test, cache));
	pym_cache_destroy(cache);
	pymt_expect_misuse(test, PYM_MISUSE_LEAK, 0);
	pym_heap_shrink(heap_of(test));
	pymt_stats(test, heap_of(test), &after);
	KUNIT_EXPECT_EQ(test, after.live, 0);
	KUNIT_EXPECT_EQ(test, after.held - after.metadata, 0);
}

static struct kunit_case cache_cases[] = {
	KUNIT_CASE(create_and_destroy),
	KUNIT_CASE(create_in_default_heap),
	KUNIT_CASE(destroy_null),
	KUNIT_CASE(name_is_copied),
	KUNIT_CASE_PARAM(create_refuses, bad_args_gen_params),
	KUNIT_CASE(longest_name),
	KUNIT_CASE(name_unique_in_its_heap),
	KUNIT_CASE(never_merged),
	KUNIT_CASE_PARAM(blocks_are_aligned, aligns_gen_params),
	KUNIT_CASE(padding_is_rounding),
	KUNIT_CASE(tail_is_rounding),
	KUNIT_CASE(hwalign),
	KUNIT_CASE(hwalign_with_align),
	KUNIT_CASE(align_above_size_limit),
	KUNIT_CASE(stats_follow_each_step),
	KUNIT_CASE(failures_are_counted),
	KUNIT_CASE(zalloc_zeroes_virgin),
	KUNIT_CASE(zalloc_zeroes_recycled),
	KUNIT_CASE(zalloc_zeroes_no_more),
	KUNIT_CASE(shrink_returns_bytes),
	KUNIT_CASE(destroy_with_live_blocks),
	KUNIT_CASE(destroy_without_live_blocks),
	{}
};

static struct kunit_suite cache_suite = {
	.name = "pymalloc_cache",
	.init = pymt_init,
	.exit = pymt_exit,
	.test_cases = cache_cases,
};

kunit_test_suites(&cache_suite);
