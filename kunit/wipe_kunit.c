// SPDX-License-Identifier: GPL-2.0-only
/*
 * init_on_free: nothing is left in a block whose last user has freed it, wherever it went.
 * Looked at behind KASAN's back, which says that nobody may.
 */
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include "blocks.h"
#include "within.h"

#define SIZE	100

static noinline __no_sanitize_address unsigned int count_left(const u8 *p, size_t n)
{
	unsigned int left = 0;

	while (n--)
		left += !!READ_ONCE(*p++);
	return left;
}

static void fill(void *p, size_t n)
{
	memset(p, 0x5a, n);
}

static void free_to_cache(struct kunit *test)
{
	struct pym_cache *cache = warm_cache(test, SIZE, NULL);
	void *kept = take(test, cache), *blocks[PYMT_WARM];
	unsigned int i, left = 0;

	for (i = 0; i < ARRAY_SIZE(blocks); i++)
		blocks[i] = take(test, cache);
	/* Fronts are closed, open, and full in turn. */
	for (i = 0; i < ARRAY_SIZE(blocks); i++) {
		fill(blocks[i], SIZE);
		pym_cache_free(cache, blocks[i]);
		left += count_left(blocks[i], SIZE);
	}
	KUNIT_EXPECT_EQ(test, left, 0);
	pym_cache_free(cache, kept);
}

static void free_in_bulk(struct kunit *test)
{
	struct pym_cache *cache = warm_cache(test, SIZE, NULL);
	void *kept = take(test, cache), *blocks[48];
	unsigned int i, left = 0;

	KUNIT_ASSERT_EQ(test, pym_cache_alloc_bulk(cache, GFP_KERNEL, ARRAY_SIZE(blocks), blocks),
			ARRAY_SIZE(blocks));
	for (i = 0; i < ARRAY_SIZE(blocks); i++)
		fill(blocks[i], SIZE);
	pym_cache_free_bulk(cache, ARRAY_SIZE(blocks), blocks);
	for (i = 0; i < ARRAY_SIZE(blocks); i++)
		left += count_left(blocks[i], SIZE);
	KUNIT_EXPECT_EQ(test, left, 0);
	pym_cache_free(cache, kept);
}

/* All that the class has of it, if all was used. */
static void free_of_malloc(struct kunit *test)
{
	static const size_t sizes[] = { 8, 100, 512, 700, 2048 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		void *kept = take_n(test, sizes[i]), *p = take_n(test, sizes[i]);
		size_t usable = pym_usable_size(p);

		fill(p, usable);
		pym_free(p);
		KUNIT_EXPECT_EQ(test, count_left(p, usable), 0);
		pym_free(kept);
	}
}

static void free_by_realloc(struct kunit *test)
{
	void *kept = take_n(test, 100), *p = take_n(test, 100), *q;

	fill(p, 100);
	q = pym_realloc(heap_of_test(test), p, 1000, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, q);
	KUNIT_EXPECT_EQ(test, count_left(p, 100), 0);
	KUNIT_EXPECT_EQ(test, count_left(q, 100), 100);
	pym_free(q);
	pym_free(kept);
}

static void free_elsewhere(struct kunit *test)
{
	struct pym_cache *cache = warm_cache(test, SIZE, NULL);
	void *kept = take(test, cache), *p;
	int nid;

	for_each_online_node(nid) {
		p = take(test, cache);
		fill(p, SIZE);
		KUNIT_ASSERT_EQ(test, set_cpus_allowed_ptr(current, cpumask_of_node(nid)), 0);
		pym_cache_free(cache, p);
		KUNIT_EXPECT_EQ(test, count_left(p, SIZE), 0);
	}
	set_cpus_allowed_ptr(current, cpu_possible_mask);
	pym_cache_free(cache, kept);
}

/* Readers are not done: nothing is gone. Then all is. */
static void free_after_readers(struct kunit *test)
{
	struct pym_cache *cache = warm_cache(test, SIZE, NULL);
	void *kept = take(test, cache), *p = take(test, cache);
	struct pym_cache_stats stats;
	unsigned int i;

	fill(p, SIZE);
	rcu_read_lock();
	pym_cache_free_rcu(cache, p);
	KUNIT_EXPECT_EQ(test, count_left(p, SIZE), SIZE);
	rcu_read_unlock();
	for (i = 0; i < 500; i++) {
		pym_cache_stats(cache, &stats);
		if (stats.live == 1)
			break;
		msleep(20);
	}
	KUNIT_ASSERT_EQ(test, stats.live, 1);
	KUNIT_EXPECT_EQ(test, count_left(p, SIZE), 0);
	pym_cache_free(cache, kept);
}

struct to_free {
	struct pym_cache *cache;
	void *p, *q;
};

static void free_both(void *arg)
{
	struct to_free *f = arg;

	pym_cache_free(f->cache, f->p);
	pym_free(f->q);
}

/* In an interrupt, and in an NMI, where they wait for the interrupt after it. */
static void free_in_context(struct kunit *test)
{
	static const enum pymt_context contexts[] = { PYMT_HARDIRQ_WORK, PYMT_NMI };
	struct to_free f = { .cache = warm_cache(test, SIZE, NULL) };
	void *kept = take(test, f.cache), *kept2 = take_n(test, SIZE);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(contexts); i++) {
		f.p = take(test, f.cache);
		f.q = take_n(test, SIZE);
		fill(f.p, SIZE);
		fill(f.q, SIZE);
		pymt_call_in(test, contexts[i], free_both, &f);
		/* What waits comes with the next interrupt. */
		msleep(20);
		KUNIT_EXPECT_EQ(test, count_left(f.p, SIZE), 0);
		KUNIT_EXPECT_EQ(test, count_left(f.q, SIZE), 0);
	}
	pym_cache_free(f.cache, kept);
	pym_free(kept2);
}

/* Sparse pools take their blocks back themselves. */
static void free_to_draining(struct kunit *test)
{
	struct pym_cache *cache = warm_cache(test, 512, NULL);
	unsigned int i, left = 0, n = 400, draining = 0;
	void **blocks = kunit_kcalloc(test, n, sizeof(*blocks), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, blocks);
	for (i = 0; i < n; i++) {
		blocks[i] = take(test, cache);
		fill(blocks[i], 512);
	}
	/* One of each 16 stays. */
	for (i = 0; i < n; i++)
		if (i % 16 && i % 16 != 8)
			pym_cache_free(cache, blocks[i]);
	for (i = 8; i < n; i += 16) {
		rcu_read_lock();
		draining += pym_lookup(blocks[i])->draining;
		rcu_read_unlock();
		/* It is not the last of its pool. */
		pym_cache_free(cache, blocks[i]);
		left += count_left(blocks[i], 512);
	}
	KUNIT_EXPECT_GT(test, draining, 0);
	KUNIT_EXPECT_EQ(test, left, 0);
	for (i = 0; i < n; i += 16)
		pym_cache_free(cache, blocks[i]);
}

static void keep_as_is(void *block)
{
	memset(block, 0x11, SIZE);
}

/* What must stay what it is: of a constructor, or for readers. */
static void not_wiped(struct kunit *test)
{
	struct pym_cache_args args[] = {
		{ .ctor = keep_as_is },
		{ .flags = PYM_CACHE_TYPESAFE_BY_RCU },
		{ .ctor = keep_as_is, .flags = PYM_CACHE_TYPESAFE_BY_RCU },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(args); i++) {
		struct pym_cache *cache = warm_cache(test, SIZE, &args[i]);
		void *kept = take(test, cache), *p = take(test, cache);

		fill(p, SIZE);
		rcu_read_lock();
		pym_cache_free(cache, p);
		KUNIT_EXPECT_EQ(test, count_left(p, SIZE), SIZE);
		rcu_read_unlock();
		pym_cache_free(cache, kept);
		pym_cache_destroy(cache);
	}
}

static int begin_case(struct kunit *test)
{
	if (!want_init_on_free())
		kunit_skip(test, "no CONFIG_INIT_ON_FREE_DEFAULT_ON, nor init_on_free=1");
	return open_heap(test);
}

static void end_case(struct kunit *test)
{
	if (test->priv)
		close_heap(test);
}

static struct kunit_case wipe_cases[] = {
	KUNIT_CASE_PARAM(free_to_cache, kind_gen_params),
	KUNIT_CASE_PARAM(free_in_bulk, kind_gen_params),
	KUNIT_CASE_PARAM(free_of_malloc, kind_gen_params),
	KUNIT_CASE_PARAM(free_by_realloc, kind_gen_params),
	KUNIT_CASE_PARAM(free_elsewhere, kind_gen_params),
	KUNIT_CASE_PARAM(free_after_readers, kind_gen_params),
	KUNIT_CASE_PARAM(free_in_context, kind_gen_params),
	KUNIT_CASE_PARAM(free_to_draining, kind_gen_params),
	KUNIT_CASE_PARAM(not_wiped, kind_gen_params),
	{}
};

static struct kunit_suite wipe_suite = {
	.name = "pymalloc_wipe",
	.init = begin_case,
	.exit = end_case,
	.test_cases = wipe_cases,
};

kunit_test_suite(wipe_suite);
