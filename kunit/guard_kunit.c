// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guarded blocks: who touches what is behind one, or one that is free, faults, and every
 * function knows them as blocks. See debug_kunit.c for the other switches.
 */
#include <linux/delay.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include "debug.h"
#include "guard.h"
#include "within.h"

/* After as many further frees in a cache, an area has been given back. */
#define KEPT	32

/* Would who touches it stop with an oops? */
static bool faults(const u8 *p)
{
	u8 byte;

	return get_kernel_nofault(byte, p);
}

static struct pym_cache *guarded_cache(struct kunit *test, struct pym_heap *heap, size_t size)
{
	struct pym_cache *cache = pymt_cache(test, heap, size);

	pymt_switch(test, cache, "guard=1/1");
	return cache;
}

static void expect_guarded(struct kunit *test, struct pym_cache *cache, unsigned long n)
{
	struct pym_cache_stats stats = pymt_stats_of(cache);

	KUNIT_EXPECT_EQ(test, stats.guarded, n);
	KUNIT_EXPECT_EQ(test, stats.unguarded, 0);
}

/* ---------------------------------------------------------------- faults -- */

static void behind_the_end(struct kunit *test)
{
	static const size_t sizes[] = { 1, 8, 24, 64, 100, 512, 2000, 4096, 5000,
					PYM_CACHE_MAX_SIZE };
	struct pymt_heap *th = pymt_debug_open(test);
	int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t size = sizes[i], end = ALIGN(size, PYM_ALIGN);
		struct pym_cache *cache = guarded_cache(test, th->heap, size);
		u8 *p = pymt_take(test, cache);

		expect_guarded(test, cache, 1);
		memset(p, 0x11, size);
		KUNIT_EXPECT_FALSE(test, faults(p));
		KUNIT_EXPECT_FALSE(test, faults(p + size - 1));
		KUNIT_EXPECT_TRUE(test, faults(p + end));
		KUNIT_EXPECT_TRUE(test, faults(p + end + PAGE_SIZE - 1));
		KUNIT_EXPECT_NULL(test, memchr_inv(p, 0x11, size));
		pymt_check(test, th);
		pym_cache_free(cache, p);
		KUNIT_EXPECT_EQ(test, pymt_live(cache), 0);
		pymt_check(test, th);
		pym_cache_destroy(cache);
		pymt_check(test, th);
	}
}

/* Behind what was asked for, not behind the class. */
static void behind_what_was_asked_for(struct kunit *test)
{
	static const size_t sizes[] = { 0, 1, 7, 20, 300, 520, 1000, 2040, 2048 };
	struct pymt_heap *th = pymt_debug_open(test);
	int i;

	pymt_switch_heap(test, th->heap, "guard=1/1");
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t n = sizes[i] ?: 1;
		size_t class = pym_class_to_size(pym_size_to_class(n));
		u8 *p = pymt_malloc(test, th->heap, sizes[i]);

		KUNIT_EXPECT_EQ(test, pym_usable_size(p), n);
		KUNIT_EXPECT_PTR_EQ(test, pym_owner(p), th->heap);
		KUNIT_EXPECT_FALSE(test, faults(p + n - 1));
		KUNIT_EXPECT_TRUE(test, faults(p + ALIGN(n, pym_natural_align(class))));
		KUNIT_EXPECT_TRUE(test, IS_ALIGNED((unsigned long)p, pym_natural_align(class)));
		pym_free(p);
		KUNIT_EXPECT_EQ(test, pym_usable_size(p), 0);
	}
	pymt_check(test, th);
}

/* What does not fault is found by the free. */
static void beside_a_block(struct kunit *test)
{
	struct pymt_heap *th = pymt_debug_open(test);
	struct pym_cache *cache = guarded_cache(test, th->heap, 61);
	static const int at[] = { -1, -8, -2000, 61, 63 };
	int i;
	u8 *p;

	for (i = 0; i < ARRAY_SIZE(at); i++) {
		p = pymt_take(test, cache);
		p[at[i]] ^= 1;
		pym_cache_free(cache, p);
		pymt_expect_misuse(test, PYM_MISUSE_OVERFLOW, 1);
		KUNIT_EXPECT_EQ_MSG(test, pymt_live(cache), 0, "it is freed all the same");
	}
	pymt_switch(test, cache, "guard=1/1 freeze");
	p = pymt_take(test, cache);
	p[62] = 0x99;
	pym_cache_free(cache, p);
	pymt_expect_misuse(test, PYM_MISUSE_OVERFLOW, 1);
	for (i = 0; i < 2 * KEPT; i++)
		pym_cache_free(cache, pymt_take(test, cache));
	KUNIT_EXPECT_EQ_MSG(test, p[62], 0x99, "it is as it was found");
	pym_cache_free(cache, p);
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 1);
	pymt_check(test, th);
}

static void after_its_free(struct kunit *test)
{
	struct pymt_heap *th = pymt_debug_open(test);
	struct pym_cache *cache = guarded_cache(test, th->heap, 5000);
	struct pym_cache_stats stats;
	u8 *p = pymt_take(test, cache);
	int i;

	if (!PYM_TRAPS)
		kunit_skip(test, "needs CONFIG_X86_64");
	memset(p, 0x22, 5000);
	pym_cache_free(cache, p);
	for (i = 0; i < KEPT; i++) {
		/* No other CPU that we may be on by now has it, either. */
		pym_area_sync();
		KUNIT_EXPECT_TRUE(test, faults(p));
		KUNIT_EXPECT_TRUE(test, faults(p + 4999));
		KUNIT_EXPECT_TRUE(test, faults(p + 5000));
		stats = pymt_stats_of(cache);
		KUNIT_EXPECT_EQ(test, stats.guard_held, i + 1);
		pym_cache_free(cache, p);
		pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 1);
		if (i < KEPT - 1)
			pym_cache_free(cache, pymt_take(test, cache));
	}
	pymt_check(test, th);
	pym_cache_free(cache, pymt_take(test, cache));
	pym_area_sync();
	stats = pymt_stats_of(cache);
	KUNIT_EXPECT_EQ(test, stats.guard_held, KEPT);
	KUNIT_EXPECT_EQ(test, stats.frees, KEPT + 1);
	pym_cache_free(cache, p);
	pymt_expect_misuse(test, PYM_MISUSE_FOREIGN, 1);
	pymt_check(test, th);
}

/* What the kernel asks of us while it stops with an oops. */
static void a_fault_is_told(struct kunit *test)
{
	struct pymt_heap *th = pymt_debug_open(test);
	struct pym_cache *cache = guarded_cache(test, th->heap, 64);
	u8 *p = pymt_take(test, cache);

	pym_guard_tell(p, _THIS_IP_);
	pym_guard_tell(p + 63, _THIS_IP_);
	pym_guard_tell(test, _THIS_IP_);
	pym_guard_tell(NULL, _THIS_IP_);
	pymt_expect_misuse(test, PYM_MISUSE_OVERFLOW, 0);
	pym_guard_tell(p + 64, _THIS_IP_);
	pymt_expect_misuse(test, PYM_MISUSE_OVERFLOW, 1);
	pym_cache_free(cache, p);
	pym_guard_tell(p, _THIS_IP_);
	pymt_expect_misuse(test, PYM_MISUSE_USE_AFTER, PYM_TRAPS);
}

/* -------------------------------------------------------------- sampling -- */

static void one_in_so_many(struct kunit *test)
{
	struct pymt_heap *th = pymt_debug_open(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 40);
	void **blocks = pymt_array(test, 300);
	struct pym_cache_stats stats;
	u8 *p;
	int i;

	pymt_switch(test, cache, "guard=1/10");
	pymt_take_many(test, cache, blocks, 300);
	expect_guarded(test, cache, 30);
	KUNIT_EXPECT_EQ(test, pymt_live(cache), 300);
	for (i = 0; i < 300; i++) {
		p = blocks[i];
		memset(p, pymt_tag(p), 40);
	}
	for (i = 0; i < 300; i++)
		KUNIT_EXPECT_NULL(test, memchr_inv(blocks[i], pymt_tag(blocks[i]), 40));
	pymt_check(test, th);
	pymt_give_many(cache, blocks, 300);
	stats = pymt_stats_of(cache);
	KUNIT_EXPECT_EQ(test, stats.live, 0);
	KUNIT_EXPECT_EQ(test, stats.allocs, 300);
	KUNIT_EXPECT_EQ(test, stats.frees, 300);
	pymt_check(test, th);
	pymt_switch(test, cache, "none");
	KUNIT_EXPECT_TRUE(test, list_empty(&cache->shadows));
	expect_guarded(test, cache, 0);
}

/* Bytes of guarded blocks count like others: against the limit, which nothing passes. */
static void within_the_limit(struct kunit *test)
{
	struct pymt_heap *th = pymt_debug_open(test);
	struct pym_cache *cache = guarded_cache(test, th->heap, 256);
	void **blocks = pymt_array(test, 60), *p;
	struct pym_cache_stats stats;
	struct pym_heap_stats before, after;
	int i;

	pymt_stats(test, th->heap, &before);
	blocks[0] = pymt_take(test, cache);
	pymt_stats(test, th->heap, &after);
	KUNIT_EXPECT_EQ(test, after.in_blocks - before.in_blocks, 256);
	KUNIT_EXPECT_EQ(test, after.rounding - before.rounding, PAGE_SIZE - 256);
	pym_cache_free(cache, blocks[0]);
	if (PYM_TRAPS) {
		pymt_stats(test, th->heap, &after);
		KUNIT_EXPECT_EQ(test, after.free_blocks - before.free_blocks, PAGE_SIZE);
	}

	/* Room for some areas, which may have a quarter of it, but not for one each. */
	KUNIT_ASSERT_EQ(test, pym_heap_set_limit(th->heap, after.held + SZ_128K), 0);
	for (i = 0; i < 60; i++) {
		blocks[i] = pymt_take(test, cache);
		pymt_check(test, th);
		KUNIT_EXPECT_LE(test, 4 * th->heap->acct.guards, th->heap->limit);
	}
	stats = pymt_stats_of(cache);
	KUNIT_EXPECT_GT(test, stats.guarded, 0);
	KUNIT_EXPECT_EQ(test, stats.guarded + stats.unguarded, 60);
	KUNIT_EXPECT_EQ(test, stats.live, 60);
	pymt_give_many(cache, blocks, 60);
	/* What is kept of them makes way for what is needed. */
	for (i = 0; i < 3 * KEPT; i++) {
		p = pym_cache_alloc(cache, GFP_KERNEL);
		KUNIT_EXPECT_NOT_NULL(test, p);
		pym_cache_free(cache, p);
	}
	pymt_check(test, th);
	KUNIT_ASSERT_EQ(test, pym_heap_set_limit(th->heap, 0), 0);
}

/* ------------------------------------------------------------- interface -- */

static void every_function_knows_them(struct kunit *test)
{
	struct pymt_heap *th = pymt_debug_open(test);
	struct pym_cache *cache = guarded_cache(test, th->heap, 56);
	void *blocks[70];
	u8 *p, *q;
	int i;

	KUNIT_ASSERT_EQ(test, pym_cache_alloc_bulk(cache, GFP_KERNEL | __GFP_ZERO, 70, blocks), 70);
	expect_guarded(test, cache, 70);
	for (i = 0; i < 70; i++)
		KUNIT_EXPECT_NULL(test, memchr_inv(blocks[i], 0, 56));
	KUNIT_EXPECT_EQ(test, pym_usable_size(blocks[3]), 56);
	KUNIT_EXPECT_PTR_EQ(test, pym_owner(blocks[3]), th->heap);
	KUNIT_EXPECT_EQ(test, pym_usable_size(blocks[3] + 8), 0);
	pym_cache_free_bulk(cache, 70, blocks);
	KUNIT_EXPECT_EQ(test, pymt_live(cache), 0);
	p = pymt_take(test, cache);
	pym_cache_free_rcu(cache, p);
	p = pymt_take(test, cache);
	pym_cache_free_rcu(cache, p + 8);
	pymt_expect_misuse(test, PYM_MISUSE_INTERIOR, 1);
	pym_cache_free(cache, p);
	pym_cache_free_rcu(cache, p);
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 1);

	pymt_switch_heap(test, th->heap, "guard=1/1");
	p = pym_calloc(th->heap, 7, 9, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, p);
	KUNIT_EXPECT_NULL(test, memchr_inv(p, 0, 63));
	memset(p, 0x33, 63);
	q = pym_realloc(NULL, p, 100, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, q);
	KUNIT_EXPECT_PTR_NE_MSG(test, q, p, "who keeps the old pointer is found out");
	KUNIT_EXPECT_NULL(test, memchr_inv(q, 0x33, 63));
	p = pym_realloc(NULL, q, 5000, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, p);
	p = pym_realloc(NULL, p, 20, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, p);
	KUNIT_EXPECT_NULL(test, memchr_inv(p, 0x33, 20));
	KUNIT_EXPECT_TRUE(test, faults(p + 24));
	pym_free(p);
	pym_cache_destroy(cache);
	pymt_check(test, th);
}

static void bad_frees(struct kunit *test)
{
	struct pymt_heap *th = pymt_debug_open(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 72);
	struct pym_cache *other = pymt_cache(test, th->heap, 72);
	u8 *p, *small;

	pymt_switch_heap(test, th->heap, "guard=1/1 owner");
	p = pymt_take(test, cache);
	small = pymt_malloc(test, th->heap, 30);
	pym_cache_free(cache, p + 8);
	pym_cache_free(cache, p - 8);
	pym_cache_free(cache, p + 72);
	pymt_expect_misuse(test, PYM_MISUSE_INTERIOR, 3);
	pym_cache_free(other, p);
	pymt_expect_misuse(test, PYM_MISUSE_WRONG_CACHE, 1);
	pym_free(p);
	pym_cache_free(cache, small);
	pymt_expect_misuse(test, PYM_MISUSE_WRONG_API, 2);
	pym_free(small + 1);
	pymt_expect_misuse(test, PYM_MISUSE_INTERIOR, 1);
	KUNIT_EXPECT_EQ_MSG(test, pymt_live(cache), 1, "nothing has changed");
	pymt_check(test, th);

	pym_cache_free(cache, p);
	pym_cache_free(cache, p);
	pym_free(small);
	pym_free(small);
	pymt_expect_misuse(test, PYM_TRAPS ? PYM_MISUSE_DOUBLE_FREE :
							     PYM_MISUSE_FOREIGN, 2);
	KUNIT_EXPECT_NULL(test, pym_realloc(NULL, small, 10, GFP_KERNEL));
	pymt_expect_misuse(test, PYM_MISUSE_FOREIGN, 1);
	pymt_check(test, th);
}

static void mark(void *block)
{
	memset(block, 0x77, 48);
}

static void constructed_and_typesafe(struct kunit *test)
{
	struct pymt_heap *th = pymt_debug_open(test);
	struct pym_cache_args ctor = { .heap = th->heap, .ctor = mark };
	struct pym_cache_args typesafe = { .heap = th->heap, .flags = PYM_CACHE_TYPESAFE_BY_RCU };
	struct pym_cache *cache = pym_cache_create("ctor", 48, &ctor);
	struct pym_switches guard = { .guard = 1 }, is;
	u8 *p;

	KUNIT_ASSERT_NOT_NULL(test, cache);
	pymt_switch(test, cache, "guard=1/1");
	p = pymt_take(test, cache);
	expect_guarded(test, cache, 1);
	KUNIT_EXPECT_NULL(test, memchr_inv(p, 0x77, 48));
	pym_cache_free(cache, p);

	cache = pym_cache_create("typesafe", 48, &typesafe);
	KUNIT_ASSERT_NOT_NULL(test, cache);
	KUNIT_EXPECT_EQ(test, pym_switch_cache(cache, &guard), -EINVAL);
	pymt_switch_heap(test, th->heap, "redzone guard=1/1");
	pym_cache_switches(cache, &is);
	KUNIT_EXPECT_EQ(test, is.guard, 0);
	KUNIT_EXPECT_EQ(test, is.on, PYM_REDZONE);
	pym_cache_free(cache, pymt_take(test, cache));
	expect_guarded(test, cache, 0);
}

struct call {
	struct pym_cache *cache;
	gfp_t gfp;
	u8 *p;
	bool faults;
};

static void take_it(void *arg)
{
	struct call *call = arg;

	call->p = pym_cache_alloc(call->cache, call->gfp);
}

static void give_it(void *arg)
{
	struct call *call = arg;

	pym_cache_free(call->cache, call->p);
	call->faults = faults(call->p);
}

/* Where nothing can be mapped or unmapped, the one is left out and the other put off. */
static void from_any_context(struct kunit *test)
{
	struct pymt_heap *th = pymt_open_rcu(test, *(const enum pymt_kind *)test->param_value);
	struct pym_cache *cache = guarded_cache(test, th->heap, 128);
	struct call call = { .cache = cache };
	struct pym_cache_stats stats;
	enum pymt_context context;
	unsigned int ms;

	/* Another CPU that has touched it may do so until it is told. */
	pymt_stay_here(test);
	for (context = 0; context < PYMT_NR_CONTEXTS; context++) {
		if (context == PYMT_NMI && !PYMT_HAS_NMI)
			continue;
		stats = pymt_stats_of(cache);
		call.gfp = pymt_may_sleep_in(context) ? GFP_KERNEL : GFP_ATOMIC;
		pymt_call_in(test, context, take_it, &call);
		KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).guarded, pymt_may_sleep_in(context));
		if (call.p)
			pym_cache_free(cache, call.p);
		KUNIT_EXPECT_EQ(test, pymt_live(cache), 0);

		call.p = pymt_take(test, cache);
		KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).guarded, 1);
		*call.p = 1;
		pymt_call_in(test, context, give_it, &call);
		for (ms = 0; ms < 2000 && pymt_live(cache); ms++)
			usleep_range(1000, 1100);
		/* In an NMI it has been put off altogether. */
		if (PYM_TRAPS)
			KUNIT_EXPECT_EQ_MSG(test, call.faults, context != PYMT_NMI, "%s",
					    pymt_context_names[context]);
		KUNIT_EXPECT_EQ(test, pymt_live(cache), 0);
		pym_area_sync();
		KUNIT_EXPECT_TRUE(test, faults(call.p));
		pymt_check(test, th);
	}
	stats = pymt_stats_of(cache);
	KUNIT_EXPECT_GT(test, stats.unguarded, 0);
}

/* ------------------------------------------------------------------- end -- */

static void leak_is_told(struct kunit *test)
{
	struct pymt_heap *th = pymt_debug_open(test);
	struct pym_cache *cache = guarded_cache(test, th->heap, 72);
	u8 *p = pymt_take(test, cache);

	pym_cache_free(cache, pymt_take(test, cache));
	if (IS_ENABLED(CONFIG_STACKDEPOT)) {
		pymt_switch(test, cache, "guard=1/1 owner");
		pymt_take(test, cache);
		pym_cache_free(cache, pymt_take(test, cache));
		KUNIT_EXPECT_EQ(test, pym_owner_leaks(th->heap, cache), 1);
	}
	pym_cache_destroy(cache);
	pymt_expect_misuse(test, PYM_MISUSE_LEAK, 1);
	pymt_check(test, th);
	pym_area_sync();
	KUNIT_EXPECT_EQ(test, pym_usable_size(p), 0);
}

/* What was guarded is freed under other switches, and under none. */
static void switched_while_live(struct kunit *test)
{
	static const char * const words[] = { "guard=1/1", "none", "redzone", "guard=1/2", "none" };
	struct pymt_heap *th = pymt_debug_open(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 88);
	void *blocks[ARRAY_SIZE(words)][6];
	int i, k;

	for (i = 0; i < ARRAY_SIZE(words); i++) {
		pymt_switch(test, cache, words[i]);
		pymt_take_many(test, cache, blocks[i], 6);
		KUNIT_EXPECT_EQ(test, pymt_live(cache), 6 * (i + 1));
		pymt_check(test, th);
	}
	expect_guarded(test, cache, 9);
	for (k = 0; k < 6; k++) {
		for (i = 0; i < ARRAY_SIZE(words); i++)
			pym_cache_free(cache, blocks[i][k]);
		pymt_check(test, th);
	}
	KUNIT_EXPECT_EQ(test, pymt_live(cache), 0);
	pymt_switch(test, cache, "redzone");
	pymt_switch(test, cache, "none");
	KUNIT_EXPECT_TRUE_MSG(test, list_empty(&cache->shadows), "shadows are gone when empty");
}

static void reset_and_destroy(struct kunit *test)
{
	struct pymt_heap *th = pymt_debug_open(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 120);
	int round, i;

	pymt_switch_heap(test, th->heap, "guard=1/2");
	for (round = 0; round < 2; round++) {
		for (i = 0; i < 20; i++) {
			pymt_take(test, cache);
			pymt_malloc(test, th->heap, 8 * i);
			pym_cache_free(cache, pymt_take(test, cache));
		}
		pymt_check(test, th);
		/* The second time the heap is destroyed with all of it. */
		if (round)
			break;
		pym_heap_reset(th->heap);
		KUNIT_EXPECT_EQ(test, pymt_live(cache), 0);
		expect_guarded(test, cache, 0);
		pymt_check(test, th);
	}
}

static struct kunit_case guard_cases[] = {
	KUNIT_CASE_PARAM(behind_the_end, pymt_debug_kinds),
	KUNIT_CASE_PARAM(behind_what_was_asked_for, pymt_debug_kinds),
	KUNIT_CASE_PARAM(beside_a_block, pymt_debug_kinds),
	KUNIT_CASE_PARAM(after_its_free, pymt_debug_kinds),
	KUNIT_CASE_PARAM(a_fault_is_told, pymt_debug_kinds),
	KUNIT_CASE_PARAM(one_in_so_many, pymt_debug_kinds),
	KUNIT_CASE_PARAM(within_the_limit, pymt_debug_kinds),
	KUNIT_CASE_PARAM(every_function_knows_them, pymt_debug_kinds),
	KUNIT_CASE_PARAM(bad_frees, pymt_debug_kinds),
	KUNIT_CASE_PARAM(constructed_and_typesafe, pymt_debug_kinds),
	KUNIT_CASE_PARAM(from_any_context, pymt_debug_kinds),
	KUNIT_CASE_PARAM(leak_is_told, pymt_debug_kinds),
	KUNIT_CASE_PARAM(switched_while_live, pymt_debug_kinds),
	KUNIT_CASE_PARAM(reset_and_destroy, pymt_debug_kinds),
	{}
};

static struct kunit_suite guard_suite = {
	.name = "pymalloc_guard",
	.init = pymt_init_bare,
	.exit = pymt_exit,
	.test_cases = guard_cases,
};

kunit_test_suites(&guard_suite);
