// SPDX-License-Identifier: GPL-2.0-only
/*
 * A module as it is written for kmem_cache. That it runs on pymalloc is said in Kbuild
 * only: -include pymalloc/slab_compat.h.
 */
#include <linux/cleanup.h>
#include <linux/mempool.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include "fixture.h"

struct session {
	struct rcu_head rcu;
	u64 id;
	char name[40];
};

#define MANY	100

static struct kmem_cache *session_cache(struct kunit *test)
{
	struct kmem_cache *cache = kmem_cache_create("session", sizeof(struct session), 0, 0, NULL);

	KUNIT_ASSERT_NOT_NULL(test, cache);
	return cache;
}

static struct session *new_session(struct kunit *test, struct kmem_cache *cache)
{
	struct session *s = kmem_cache_alloc(cache, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, s);
	return s;
}

static unsigned long live(struct kmem_cache *cache)
{
	return pymt_stats_of(cache).live;
}

/* ------------------------------------------------------------------- caches ---- */

static void lives(struct kunit *test)
{
	struct kmem_cache *cache = session_cache(test);
	struct session *s = new_session(test, cache);

	KUNIT_EXPECT_EQ(test, kmem_cache_size(cache), sizeof(*s));
	KUNIT_EXPECT_PTR_EQ(test, pym_owner(s), pym_default_heap);
	KUNIT_EXPECT_EQ(test, live(cache), 1);
	kmem_cache_free(cache, s);
	KUNIT_EXPECT_EQ(test, live(cache), 0);
	KUNIT_EXPECT_EQ(test, kmem_cache_shrink(cache), 0);
	kmem_cache_destroy(cache);
	kmem_cache_destroy(NULL);
}

static void live_blocks_are_told(struct kunit *test)
{
	struct kmem_cache *cache = session_cache(test);

	new_session(test, cache);
	kmem_cache_destroy(cache);
	pymt_expect_misuse(test, PYM_MISUSE_LEAK, 1);
}

static void double_free_is_told(struct kunit *test)
{
	struct kmem_cache *cache = session_cache(test);
	struct session *s = new_session(test, cache);

	kmem_cache_free(cache, s);
	kmem_cache_free(cache, s);
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 1);
	kmem_cache_destroy(cache);
}

static void with_arguments(struct kunit *test)
{
	struct kmem_cache_args args = { .align = 256, .useroffset = 8, .usersize = 8 };
	struct kmem_cache *cache = kmem_cache_create("arguments", 100, &args, SLAB_NO_USER_FLAGS);
	void *p, *q;

	KUNIT_ASSERT_NOT_NULL(test, cache);
	p = kmem_cache_alloc(cache, GFP_KERNEL);
	q = kmem_cache_alloc(cache, GFP_KERNEL);
	KUNIT_EXPECT_TRUE(test, p && IS_ALIGNED((unsigned long)p, 256));
	KUNIT_EXPECT_TRUE(test, q && IS_ALIGNED((unsigned long)q, 256));
	KUNIT_EXPECT_EQ(test, kmem_cache_size(cache), 100);
	kmem_cache_free(cache, p);
	kmem_cache_free(cache, q);
	kmem_cache_destroy(cache);

	cache = kmem_cache_create("no-arguments", 100, NULL, 0);
	KUNIT_ASSERT_NOT_NULL(test, cache);
	KUNIT_EXPECT_EQ(test, kmem_cache_size(cache), 100);
	kmem_cache_destroy(cache);
}

struct wide {
	char name[72];
} __aligned(128);

static void by_macros(struct kunit *test)
{
	struct kmem_cache *caches[] = {
		KMEM_CACHE(wide, SLAB_PANIC),
		KMEM_CACHE_USERCOPY(wide, 0, name),
		kmem_cache_create_usercopy("wide", sizeof(struct wide), 128, 0, 0, 8, NULL),
	};
	static const char * const names[] = { "wide", "wide#2", "wide#3" };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(caches); i++) {
		void *p;

		KUNIT_ASSERT_NOT_NULL(test, caches[i]);
		KUNIT_EXPECT_STREQ(test, caches[i]->name, names[i]);
		p = kmem_cache_alloc(caches[i], GFP_KERNEL);
		KUNIT_EXPECT_TRUE(test, p && IS_ALIGNED((unsigned long)p, 128));
		KUNIT_EXPECT_EQ(test, kmem_cache_size(caches[i]), sizeof(struct wide));
		kmem_cache_free(caches[i], p);
	}
	for (i = 0; i < ARRAY_SIZE(caches); i++)
		kmem_cache_destroy(caches[i]);
}

struct name {
	const char *wanted, *first, *second;
};

static const struct name names[] = {
	{ "plain", "plain", "plain#2" },
	{ "a name/with:all", "a_name_with_all", "a_name_with_all#2" },
	{ "..", "_.", "_.#2" },
	{ "0123456789012345678901234567890123456789012345678",
	  "01234567890123456789012345678901234567890123456",
	  "012345678901234567890123456789012345678901234#2" },
};

static void name_desc(const struct name *name, char *desc)
{
	strscpy(desc, name->first, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(names, names, name_desc);

/* kmem_cache takes any name, and the same one twice. */
static void any_name(struct kunit *test)
{
	const struct name *name = test->param_value;
	struct kmem_cache *a = kmem_cache_create(name->wanted, 64, 0, 0, NULL);
	struct kmem_cache *b = kmem_cache_create(name->wanted, 64, 0, 0, NULL);

	KUNIT_ASSERT_TRUE(test, a && b);
	KUNIT_EXPECT_STREQ(test, a->name, name->first);
	KUNIT_EXPECT_STREQ(test, b->name, name->second);
	kmem_cache_destroy(a);
	a = kmem_cache_create(name->wanted, 64, 0, 0, NULL);
	KUNIT_ASSERT_NOT_NULL(test, a);
	KUNIT_EXPECT_STREQ(test, a->name, name->first);
	kmem_cache_destroy(b);
	kmem_cache_destroy(a);
}

/* Known at run time only: a line in the log, and no cache. */
static void too_much(struct kunit *test)
{
	unsigned int size = PYM_CACHE_MAX_SIZE + 1, align = 24;

	OPTIMIZER_HIDE_VAR(size);
	OPTIMIZER_HIDE_VAR(align);
	KUNIT_EXPECT_NULL(test, kmem_cache_create("large", size, 0, 0, NULL));
	KUNIT_EXPECT_NULL(test, kmem_cache_create("askew", 64, align, 0, NULL));
	KUNIT_EXPECT_NULL(test, kmem_cache_create(NULL, 64, 0, 0, NULL));
	KUNIT_EXPECT_NULL(test, kmem_cache_create("", 64, 0, 0, NULL));
}

/* -------------------------------------------------------------------- flags ---- */

static void aligned_to_the_line(struct kunit *test)
{
	struct kmem_cache *cache = kmem_cache_create("lines", 24, 0, SLAB_HWCACHE_ALIGN, NULL);
	void *blocks[8];
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, cache);
	KUNIT_ASSERT_EQ(test, kmem_cache_alloc_bulk(cache, GFP_KERNEL, 8, blocks), 8);
	for (i = 0; i < 8; i++)
		KUNIT_EXPECT_TRUE(test, IS_ALIGNED((unsigned long)blocks[i], cache_line_size()));
	kmem_cache_free_bulk(cache, 8, blocks);
	kmem_cache_destroy(cache);
}

/* What that promises is the subject of a suite of its own. */
static void typesafe(struct kunit *test)
{
	struct kmem_cache *cache = kmem_cache_create("typesafe", 512, 0, SLAB_TYPESAFE_BY_RCU,
						     NULL);
	void *p;

	KUNIT_ASSERT_NOT_NULL(test, cache);
	KUNIT_EXPECT_TRUE(test, cache->typesafe);
	rcu_read_lock();
	p = kmem_cache_alloc(cache, GFP_NOWAIT);
	kmem_cache_free(cache, p);
	rcu_read_unlock();
	kmem_cache_destroy(cache);
}

static void other_flags(struct kunit *test)
{
	struct kmem_cache *cache =
		kmem_cache_create("hints", 64, 0,
				  SLAB_PANIC | SLAB_ACCOUNT | SLAB_RECLAIM_ACCOUNT | SLAB_POISON |
				  SLAB_RED_ZONE | SLAB_STORE_USER | SLAB_CONSISTENCY_CHECKS |
				  SLAB_NOLEAKTRACE | SLAB_TEMPORARY, NULL);
	void *p;

	KUNIT_ASSERT_NOT_NULL(test, cache);
	KUNIT_EXPECT_FALSE(test, cache->typesafe);
	p = kmem_cache_alloc(cache, GFP_KERNEL_ACCOUNT);
	KUNIT_EXPECT_NOT_NULL(test, p);
	kmem_cache_free(cache, p);
	kmem_cache_destroy(cache);
}

static unsigned int constructed;

static void construct(void *object)
{
	struct session *s = object;

	constructed++;
	s->id = 7;
}

static void constructor(struct kunit *test)
{
	struct kmem_cache_args args = { .ctor = construct };
	struct kmem_cache *caches[] = {
		kmem_cache_create("constructed", sizeof(struct session), 0, 0, construct),
		kmem_cache_create("constructed", sizeof(struct session), &args, 0),
	};
	unsigned int i;

	/* Another CPU may have other blocks. */
	migrate_disable();
	for (i = 0; i < ARRAY_SIZE(caches); i++) {
		struct session *s, *stays;
		unsigned int n;

		KUNIT_ASSERT_NOT_NULL(test, caches[i]);
		/* A page without a live block is anybody's. */
		stays = new_session(test, caches[i]);
		constructed = 0;
		s = new_session(test, caches[i]);
		KUNIT_EXPECT_GT(test, constructed, 0);
		KUNIT_EXPECT_EQ(test, s->id, 7);
		n = constructed;
		kmem_cache_free(caches[i], s);
		s = new_session(test, caches[i]);
		KUNIT_EXPECT_EQ_MSG(test, constructed, n, "once for each block");
		KUNIT_EXPECT_EQ(test, s->id, 7);
		kmem_cache_free(caches[i], s);
		kmem_cache_free(caches[i], stays);
		kmem_cache_destroy(caches[i]);
	}
	migrate_enable();
}

/* --------------------------------------------------------- allocations, frees ---- */

static void zeroed(struct kunit *test)
{
	struct kmem_cache *cache = session_cache(test);
	struct session *s = new_session(test, cache);

	memset(s, 0xff, sizeof(*s));
	kmem_cache_free(cache, s);
	s = kmem_cache_zalloc(cache, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, s);
	KUNIT_EXPECT_NULL(test, memchr_inv(s, 0, sizeof(*s)));
	kmem_cache_free(cache, s);
	kmem_cache_destroy(cache);
}

static void on_a_node(struct kunit *test)
{
	struct kmem_cache *cache = session_cache(test);
	struct session *s = kmem_cache_alloc_node(cache, GFP_KERNEL, numa_mem_id());

	KUNIT_EXPECT_NOT_NULL(test, s);
	kmem_cache_free(cache, s);
	s = kmem_cache_alloc_node(cache, GFP_KERNEL, NUMA_NO_NODE);
	KUNIT_EXPECT_NOT_NULL(test, s);
	kmem_cache_free(cache, s);
	kmem_cache_destroy(cache);
}

/* kfree_bulk(), and a bulk free without a cache, take what is the kernel's, too. */
static void in_bulk(struct kunit *test)
{
	struct kmem_cache *cache = session_cache(test);
	void **blocks = pymt_array(test, MANY);

	KUNIT_ASSERT_EQ(test, kmem_cache_alloc_bulk(cache, GFP_KERNEL, MANY, blocks), MANY);
	KUNIT_EXPECT_EQ(test, live(cache), MANY);
	kmem_cache_free_bulk(cache, MANY, blocks);
	KUNIT_EXPECT_EQ(test, live(cache), 0);
	KUNIT_ASSERT_EQ(test, kmem_cache_alloc_bulk(cache, GFP_KERNEL, 3, blocks), 3);
	blocks[3] = kmalloc(64, GFP_KERNEL);
	kmem_cache_free_bulk(NULL, 4, blocks);
	KUNIT_ASSERT_EQ(test, kmem_cache_alloc_bulk(cache, GFP_KERNEL, 3, blocks), 3);
	blocks[3] = kmalloc(64, GFP_KERNEL);
	kfree_bulk(4, blocks);
	KUNIT_EXPECT_EQ(test, live(cache), 0);
	kmem_cache_destroy(cache);
}

static void kfree_finds_the_cache(struct kunit *test)
{
	struct kmem_cache *cache = session_cache(test);

	kfree(new_session(test, cache));
	kvfree(new_session(test, cache));
	kfree_sensitive(new_session(test, cache));
	KUNIT_EXPECT_EQ(test, live(cache), 0);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).frees, 3);
	KUNIT_EXPECT_GE(test, ksize(new_session(test, cache)), sizeof(struct session));
	KUNIT_EXPECT_EQ(test, live(cache), 1);
	kmem_cache_destroy(cache);
	pymt_expect_misuse(test, PYM_MISUSE_LEAK, 1);
}

/* Not known to pymalloc, and no report. */
static void kfree_of_the_kernels(struct kunit *test)
{
	void *p = kmalloc(64, GFP_KERNEL);

	KUNIT_EXPECT_NULL(test, pym_owner(p));
	KUNIT_EXPECT_GE(test, ksize(p), 64);
	kfree(p);
	kfree(NULL);
	kfree(ZERO_SIZE_PTR);
	kfree(kmalloc(SZ_64K, GFP_KERNEL));
	kfree(kstrdup("of the kernel", GFP_KERNEL));
	kvfree(kvmalloc(SZ_1M, GFP_KERNEL));
	kfree_sensitive(kmalloc(64, GFP_KERNEL));
}

static void kfree_twice_is_told(struct kunit *test)
{
	struct kmem_cache *cache = session_cache(test);
	struct session *s = new_session(test, cache);

	kfree(s);
	kfree(s);
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 1);
	kmem_cache_destroy(cache);
}

static void kfree_inside_is_told(struct kunit *test)
{
	struct kmem_cache *cache = session_cache(test);
	struct session *s = new_session(test, cache);

	kfree(&s->id);
	pymt_expect_misuse(test, PYM_MISUSE_INTERIOR, 1);
	kfree(s);
	kmem_cache_destroy(cache);
}

#ifdef DEFINE_FREE
static void end_of_scope(struct kunit *test)
{
	struct kmem_cache *cache = session_cache(test);

	{
		struct session *s __free(kfree) = new_session(test, cache);
		void *theirs __free(kfree) = kmalloc(64, GFP_KERNEL);
		void *error __free(kfree) = ERR_PTR(-ENOMEM);

		KUNIT_EXPECT_TRUE(test, s && theirs && error);
		KUNIT_EXPECT_EQ(test, live(cache), 1);
	}
	KUNIT_EXPECT_EQ(test, live(cache), 0);
	kmem_cache_destroy(cache);
}
#endif

static void wait_for_frees(struct kunit *test, struct kmem_cache *cache)
{
	synchronize_rcu();
	pym_rcu_sync(cache);
	KUNIT_EXPECT_EQ(test, live(cache), 0);
}

static void kfree_rcu_finds_the_cache(struct kunit *test)
{
	struct kmem_cache *cache = session_cache(test);
	struct session *s = new_session(test, cache), *none = NULL;
	struct session *theirs = kmalloc(sizeof(*theirs), GFP_KERNEL);

	s->id = 5;
	rcu_read_lock();
	kfree_rcu(s, rcu);
	KUNIT_EXPECT_EQ(test, live(cache), 1);
	KUNIT_EXPECT_EQ(test, s->id, 5);
	rcu_read_unlock();
	kfree_rcu(none, rcu);
	kfree_rcu(theirs, rcu);
	kvfree_rcu(new_session(test, cache), rcu);
	kfree_rcu_mightsleep(new_session(test, cache));
	kvfree_rcu_mightsleep(kmalloc(64, GFP_KERNEL));
	wait_for_frees(test, cache);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).frees, 3);
	kmem_cache_destroy(cache);
}

/* Destruction waits for it. */
static void kfree_rcu_before_the_end(struct kunit *test)
{
	struct kmem_cache *cache = session_cache(test);

	kfree_rcu(new_session(test, cache), rcu);
	kmem_cache_destroy(cache);
}

static void pool_over_a_cache(struct kunit *test)
{
	struct kmem_cache *cache = session_cache(test);
	mempool_t *pool = mempool_create_slab_pool(4, cache), other = {};
	void *p;

	KUNIT_ASSERT_NOT_NULL(test, pool);
	KUNIT_EXPECT_EQ(test, live(cache), 4);
	p = mempool_alloc(pool, GFP_KERNEL);
	KUNIT_EXPECT_PTR_EQ(test, pym_owner(p), pym_default_heap);
	KUNIT_EXPECT_EQ(test, live(cache), 5);
	mempool_free(p, pool);
	mempool_destroy(pool);
	KUNIT_EXPECT_EQ(test, live(cache), 0);
	KUNIT_ASSERT_EQ(test, mempool_init_slab_pool(&other, 2, cache), 0);
	KUNIT_EXPECT_EQ(test, live(cache), 2);
	mempool_exit(&other);
	pool = mempool_create(3, mempool_alloc_slab, mempool_free_slab, cache);
	KUNIT_ASSERT_NOT_NULL(test, pool);
	KUNIT_EXPECT_EQ(test, live(cache), 3);
	mempool_destroy(pool);
	kmem_cache_destroy(cache);
}

static struct kunit_case compat_cases[] = {
	KUNIT_CASE(lives),
	KUNIT_CASE(live_blocks_are_told),
	KUNIT_CASE(double_free_is_told),
	KUNIT_CASE(with_arguments),
	KUNIT_CASE(by_macros),
	KUNIT_CASE_PARAM(any_name, names_gen_params),
	KUNIT_CASE(too_much),
	KUNIT_CASE(aligned_to_the_line),
	KUNIT_CASE(typesafe),
	KUNIT_CASE(other_flags),
	KUNIT_CASE(constructor),
	KUNIT_CASE(zeroed),
	KUNIT_CASE(on_a_node),
	KUNIT_CASE(in_bulk),
	KUNIT_CASE(kfree_finds_the_cache),
	KUNIT_CASE(kfree_of_the_kernels),
	KUNIT_CASE(kfree_twice_is_told),
	KUNIT_CASE(kfree_inside_is_told),
#ifdef DEFINE_FREE
	KUNIT_CASE(end_of_scope),
#endif
	KUNIT_CASE(kfree_rcu_finds_the_cache),
	KUNIT_CASE(kfree_rcu_before_the_end),
	KUNIT_CASE(pool_over_a_cache),
	{}
};

static struct kunit_suite compat_suite = {
	.name = "pymalloc_compat",
	.init = pymt_init_bare,
	.exit = pymt_exit,
	.test_cases = compat_cases,
};
kunit_test_suite(compat_suite);
