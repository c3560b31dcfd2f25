// SPDX-License-Identifier: GPL-2.0-only
/*
 * What slab_compat.h calls, where it would not have compiled the call itself: the flags
 * are not known before the module runs.
 */
#include <linux/slab.h>
#include <pymalloc/slab_calls.h>
#include "debug.h"

static void dma_is_refused(struct kunit *test)
{
	static const slab_flags_t flags[] = { SLAB_CACHE_DMA, SLAB_CACHE_DMA32 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(flags); i++)
		KUNIT_EXPECT_NULL(test, __pym_slab_create(NULL, "dma", 64, 0, flags[i], NULL,
							  THIS_MODULE));
}

/* Of a heap without a cache with a name, it is for pym_free(). */
static void what_it_knows(struct kunit *test)
{
	void *ours = pym_malloc(NULL, 64, GFP_KERNEL), *theirs = kmalloc(64, GFP_KERNEL);
	void *large = pym_malloc(NULL, SZ_64K, GFP_KERNEL);

	KUNIT_EXPECT_FALSE(test, __pym_slab_free(NULL));
	KUNIT_EXPECT_FALSE(test, __pym_slab_free(ZERO_SIZE_PTR));
	KUNIT_EXPECT_FALSE(test, __pym_slab_free(theirs));
	KUNIT_EXPECT_FALSE(test, __pym_slab_free_rcu(theirs));
	KUNIT_EXPECT_TRUE(test, __pym_slab_free_rcu(ours));
	pymt_expect_misuse(test, PYM_MISUSE_WRONG_API, 1);
	KUNIT_EXPECT_TRUE(test, __pym_slab_free(ours));
	KUNIT_EXPECT_TRUE(test, __pym_slab_free(large));
	kfree(theirs);
}

/* One allocation in one has an area of its own, which no pool knows. */
static void guarded(struct kunit *test)
{
	struct pym_cache *cache = __pym_slab_create(NULL, "guarded", 64, 0, 0, NULL, THIS_MODULE);
	void *p;

	KUNIT_ASSERT_NOT_NULL(test, cache);
	pymt_switch(test, cache, "guard=1/1");
	p = pym_cache_alloc(cache, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, p);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).guarded, 1);
	KUNIT_EXPECT_TRUE(test, __pym_slab_free(p));
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).guarded, 0);
	KUNIT_EXPECT_TRUE(test, __pym_slab_free(p));
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 1);
	__pym_slab_destroy(cache);
}

/* One whose descriptor is kept for that, and no more. */
static void destroyed_twice(struct kunit *test)
{
	struct pym_cache *cache = __pym_slab_create(NULL, "twice", 64, 0, 0, NULL, THIS_MODULE);

	KUNIT_ASSERT_NOT_NULL(test, cache);
	__pym_slab_destroy(cache);
	__pym_slab_destroy(cache);
	pymt_expect_misuse(test, PYM_MISUSE_BAD_ARG, 1);
}

static struct kunit_case slab_cases[] = {
	KUNIT_CASE(dma_is_refused),
	KUNIT_CASE(what_it_knows),
	KUNIT_CASE(guarded),
	KUNIT_CASE(destroyed_twice),
	{}
};

static struct kunit_suite slab_suite = {
	.name = "pymalloc_slab",
	.init = pymt_init_bare,
	.exit = pymt_exit,
	.test_cases = slab_cases,
};
kunit_test_suite(slab_suite);
