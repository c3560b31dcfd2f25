// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is not found, and README says so: each of these is wrong, and nobody is told.
 * Should one fail because there is a report, README can promise more.
 */
#include <linux/preempt.h>
#include <linux/string.h>
#include "debug.h"

/* KASAN sees most of it. */
#ifndef CONFIG_KASAN

#define SIZE	64

/* No report of any kind, not when everything goes either. */
static void expect_silence(struct kunit *test, struct pym_cache *cache)
{
	pym_cache_destroy(cache);
	pymt_expect_misuse(test, PYM_MISUSE_OVERFLOW, 0);
	pymt_expect_misuse(test, PYM_MISUSE_USE_AFTER, 0);
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 0);
	pymt_expect_misuse(test, PYM_MISUSE_LEAK, 0);
}

/* By default nothing is between two blocks. */
static void write_into_the_next_block(struct kunit *test)
{
	struct pym_cache *cache = pymt_cache(test, pymt_debug_open(test)->heap, SIZE);
	u8 *blocks[2];

	pymt_take_many(test, cache, (void **)blocks, 2);
	KUNIT_ASSERT_EQ(test, abs(blocks[1] - blocks[0]), SIZE);
	memset(min(blocks[0], blocks[1]), 0x5a, SIZE + 8);
	pymt_give_many(cache, (void **)blocks, 2);
	expect_silence(test, cache);
}

static void write_after_free(struct kunit *test)
{
	struct pym_cache *cache = pymt_cache(test, pymt_debug_open(test)->heap, SIZE);
	void *keep = pymt_take(test, cache), *p = pymt_take(test, cache);

	pym_cache_free(cache, p);
	memset(p, 0x5a, SIZE);
	pym_cache_free(cache, pymt_take(test, cache));
	pym_cache_free(cache, keep);
	expect_silence(test, cache);
}

/* The second free is of somebody else's block by then. */
static void freed_when_it_is_another_ones(struct kunit *test)
{
	struct pym_cache *cache = pymt_cache(test, pymt_debug_open(test)->heap, SIZE);
	void *keep = pymt_take(test, cache), *p = pymt_take(test, cache);

	migrate_disable();
	pym_cache_free(cache, p);
	KUNIT_EXPECT_PTR_EQ(test, pymt_take(test, cache), p);
	pym_cache_free(cache, p);
	migrate_enable();
	pym_cache_free(cache, keep);
	expect_silence(test, cache);
}

/* Red zones see what is written into them. */
static void write_past_the_red_zone(struct kunit *test)
{
	struct pym_cache *cache = pymt_cache(test, pymt_debug_open(test)->heap, SIZE);
	u8 *blocks[2], *low, *high;

	pymt_switch(test, cache, "redzone");
	pymt_take_many(test, cache, (void **)blocks, 2);
	low = min(blocks[0], blocks[1]);
	high = max(blocks[0], blocks[1]);
	KUNIT_ASSERT_LT(test, high - low, 3 * SIZE);
	low[high - low] = 0x5a;
	pymt_give_many(cache, (void **)blocks, 2);
	expect_silence(test, cache);
}

static void write_of_what_is_there(struct kunit *test)
{
	struct pym_cache *cache = pymt_cache(test, pymt_debug_open(test)->heap, SIZE);
	u8 *p;

	pymt_switch(test, cache, "redzone poison");
	p = pymt_take(test, cache);
	p[SIZE] = p[SIZE];
	pym_cache_free(cache, p);
	/* The poison of a free block. */
	p[0] = 0x6b;
	expect_silence(test, cache);
}

/* Not even with everything on: it passes through. */
static void write_behind_a_large_block(struct kunit *test)
{
	struct pymt_heap *th = pymt_debug_open(test);
	u8 *p;

	pymt_switch_heap(test, th->heap, PYMT_EVERYTHING);
	p = pymt_malloc(test, th->heap, 3000);
	/* kmalloc() rounds it up, so that this harms nobody. */
	p[3000] = 0x5a;
	pym_free(p);
	pymt_expect_misuse(test, PYM_MISUSE_OVERFLOW, 0);
}

static void read_after_free(struct kunit *test)
{
	struct pym_cache *cache = pymt_cache(test, pymt_debug_open(test)->heap, SIZE);
	u8 *p;

	pymt_switch(test, cache, PYMT_EVERYTHING);
	p = pymt_take(test, cache);
	pym_cache_free(cache, p);
	KUNIT_EXPECT_EQ(test, READ_ONCE(p[1]), 0x6b);
	expect_silence(test, cache);
}

static struct kunit_case unseen_cases[] = {
	KUNIT_CASE_PARAM(write_into_the_next_block, pymt_debug_kinds),
	KUNIT_CASE_PARAM(write_after_free, pymt_debug_kinds),
	KUNIT_CASE_PARAM(freed_when_it_is_another_ones, pymt_debug_kinds),
	KUNIT_CASE_PARAM(write_past_the_red_zone, pymt_debug_kinds),
	KUNIT_CASE_PARAM(write_of_what_is_there, pymt_debug_kinds),
	KUNIT_CASE_PARAM(write_behind_a_large_block, pymt_debug_kinds),
	KUNIT_CASE_PARAM(read_after_free, pymt_debug_kinds),
	{}
};

static struct kunit_suite unseen_suite = {
	.name = "pymalloc_unseen",
	.init = pymt_init_bare,
	.exit = pymt_exit,
	.test_cases = unseen_cases,
};

kunit_test_suites(&unseen_suite);

#endif
