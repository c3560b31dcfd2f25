// SPDX-License-Identifier: GPL-2.0-only
/*
 * Caches and heaps go on working while things are switched on and off: see
 * debug_kunit.c for what is found out then.
 */
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/nodemask.h>
#include <linux/prandom.h>
#include <linux/string.h>
#include "debug.h"

static void use_interface(struct kunit *test, const char *words)
{
	struct pymt_heap *th = pymt_debug_open(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 56);
	void *blocks[70];
	u8 *p, *q;

	pymt_switch_heap(test, th->heap, words);
	KUNIT_ASSERT_EQ(test, pym_cache_alloc_bulk(cache, GFP_KERNEL | __GFP_ZERO, 70, blocks), 70);
	KUNIT_EXPECT_NULL(test, memchr_inv(blocks[69], 0, 56));
	KUNIT_EXPECT_EQ(test, pym_usable_size(blocks[3]), 56);
	pym_cache_free_bulk(cache, 70, blocks);
	KUNIT_EXPECT_EQ(test, pymt_live(cache), 0);
	p = pym_cache_alloc_node(cache, GFP_KERNEL, first_memory_node);
	KUNIT_ASSERT_NOT_NULL(test, p);
	pym_cache_free_rcu(cache, p);

	p = pym_calloc(th->heap, 7, 9, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, p);
	KUNIT_EXPECT_NULL(test, memchr_inv(p, 0, 63));
	memset(p, 0x33, 63);
	q = pym_realloc(NULL, p, 64, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, q);
	KUNIT_EXPECT_PTR_NE_MSG(test, q, p, "who keeps the old pointer is found out");
	KUNIT_EXPECT_NULL(test, memchr_inv(q, 0x33, 63));
	KUNIT_EXPECT_EQ(test, pym_usable_size(q), 64);
	KUNIT_EXPECT_TRUE(test, IS_ALIGNED((unsigned long)q, 64));
	p = pym_realloc(NULL, q, 5000, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, p);
	p = pym_realloc(NULL, p, 20, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, p);
	KUNIT_EXPECT_NULL(test, memchr_inv(p, 0x33, 20));
	pym_free(p);
	pymt_check(test, th);
}

static void the_interface_is_the_same(struct kunit *test)
{
	use_interface(test, PYMT_EVERYTHING);
	use_interface(test, PYMT_EVERYTHING " guard=1/3");
}

static void keep_alignment(struct kunit *test, const char *words)
{
	struct pymt_heap *th = pymt_debug_open(test);
	struct pym_cache_args args = { .heap = th->heap };
	char name[16];
	size_t align;

	pymt_switch_heap(test, th->heap, words);
	for (align = 8; align <= PAGE_SIZE; align *= 2) {
		struct pym_cache *cache;
		void *blocks[20];
		int i;

		scnprintf(name, sizeof(name), "align-%zu", align);
		args.align = align;
		cache = pym_cache_create(name, 24, &args);
		KUNIT_ASSERT_NOT_NULL(test, cache);
		pymt_take_many(test, cache, blocks, 20);
		for (i = 0; i < 20; i++)
			KUNIT_EXPECT_TRUE(test, IS_ALIGNED((unsigned long)blocks[i], align));
		pymt_give_many(cache, blocks, 20);
		if (align > PYM_SMALL_MAX)
			continue;
		blocks[0] = pymt_malloc(test, th->heap, align);
		KUNIT_EXPECT_TRUE(test, IS_ALIGNED((unsigned long)blocks[0], align));
		pym_free(blocks[0]);
	}
	pymt_check(test, th);
}

static void alignment_is_kept(struct kunit *test)
{
	keep_alignment(test, PYMT_EVERYTHING);
	keep_alignment(test, "guard=1/2");
}

static void construct(void *block)
{
	memset(block, 0x77, 48);
}

static void constructed_blocks_stay_so(struct kunit *test)
{
	struct pymt_heap *th = pymt_debug_open(test);
	struct pym_cache_args args = { .heap = th->heap, .ctor = construct,
				       .flags = PYM_CACHE_TYPESAFE_BY_RCU };
	struct pym_cache *cache = pym_cache_create("ctor", 48, &args);
	void *blocks[30];
	int round, i;
	u8 *p;

	KUNIT_ASSERT_NOT_NULL(test, cache);
	for (round = 0; round < 6; round++) {
		pymt_switch(test, cache, round % 2 ? "none" : "redzone quarantine=5");
		pymt_take_many(test, cache, blocks, 30);
		for (i = 0; i < 30; i++)
			KUNIT_EXPECT_NULL(test, memchr_inv(blocks[i], 0x77, 48));
		pymt_give_many(cache, blocks, 30);
		pymt_check(test, th);
	}
	pymt_switch(test, cache, "redzone");
	p = pymt_take(test, cache);
	p[48] = 0;
	pym_cache_free_rcu(cache, p);
	pym_cache_destroy(cache);
	pymt_expect_misuse(test, PYM_MISUSE_OVERFLOW, 1);
}

/* Of each block, whichever switches it was made under, all is known at its free. */
static void switched_while_live(struct kunit *test)
{
	static const char * const words[] = {
		"none", "redzone", "poison", "quarantine=3", "redzone poison quarantine=1", "none",
		"poison quarantine=20", "guard=1/4", "redzone guard=1/1", "redzone", "none",
	};
	struct pymt_heap *th = pymt_debug_open(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 88);
	void **blocks[ARRAY_SIZE(words)];
	unsigned int i, k, n = 0;

	for (i = 0; i < ARRAY_SIZE(words); i++) {
		pymt_switch(test, cache, words[i]);
		blocks[i] = pymt_array(test, 40);
		pymt_take_many(test, cache, blocks[i], 40);
		for (k = 0; k < 40; k++)
			memset(blocks[i][k], i, 88);
		n += 40;
		KUNIT_EXPECT_EQ(test, pymt_live(cache), n);
		pymt_check(test, th);
	}
	for (k = 0; k < 40; k++) {
		for (i = 0; i < ARRAY_SIZE(words); i++) {
			KUNIT_EXPECT_NULL(test, memchr_inv(blocks[i][k], i, 88));
			pym_cache_free(cache, blocks[i][k]);
		}
		pymt_check(test, th);
	}
	KUNIT_EXPECT_EQ(test, pymt_live(cache), 0);
	pymt_switch(test, cache, "redzone");
	pymt_switch(test, cache, "none");
	KUNIT_EXPECT_TRUE_MSG(test, list_empty(&cache->shadows), "shadows are gone when empty");
}

/* Off again, the fast path serves as before. */
static void off_is_off(struct kunit *test)
{
	struct pymt_heap *th = pymt_open(test, PYMT_PAGES | PYMT_FRONTS, NULL);
	struct pym_cache *cache = pymt_warm(test, th->heap, 64);
	struct pym_front __percpu *front = cache->head.front;
	void *p = pymt_malloc(test, th->heap, 64);
	struct pym_front __percpu *hot;
	int i;

	for (i = 0; i < 40; i++)
		pym_free(pymt_malloc(test, th->heap, 64));
	hot = th->heap->head.hot[8];
	KUNIT_EXPECT_TRUE(test, hot == th->heap->class[7]->fronts);
	pymt_switch_heap(test, th->heap, PYMT_EVERYTHING);
	KUNIT_EXPECT_TRUE(test, cache->head.front != front);
	KUNIT_EXPECT_TRUE(test, th->heap->head.hot[8] != hot);
	pym_free(p);
	p = pymt_malloc(test, th->heap, 64);
	pymt_switch_heap(test, th->heap, "none");
	pym_free(p);
	KUNIT_EXPECT_TRUE(test, cache->head.front == front);
	KUNIT_EXPECT_TRUE(test, th->heap->head.hot[8] == hot);
	KUNIT_EXPECT_NULL(test, cache->shadow);
}

/* A heap's switches are those of what it has and of what it will have. */
static void of_a_heap(struct kunit *test)
{
	struct pymt_heap *th = pymt_debug_open(test);
	struct pym_cache *cache[2] = { pymt_cache(test, th->heap, 32) };
	u8 *p = pymt_malloc(test, th->heap, 32);
	int i;

	pym_free(p);
	pymt_switch_heap(test, th->heap, "redzone");
	cache[1] = pymt_cache(test, th->heap, 32);
	for (i = 0; i < 2; i++) {
		p = pymt_take(test, cache[i]);
		p[32] = 0;
		pym_cache_free(cache[i], p);
		p = pymt_malloc(test, th->heap, i ? 300 : 32);
		p[i ? 300 : 32] = 0;
		pym_free(p);
	}
	pymt_expect_misuse(test, PYM_MISUSE_OVERFLOW, 4);
}

/* What a shadow has no memory for the cache's own pools give. */
static void own_pools_serve_at_the_limit(struct kunit *test)
{
	struct pymt_heap *th = pymt_debug_open(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 100);
	void *keep = pymt_take(test, cache), *p;
	struct pym_heap_stats stats;

	pymt_switch(test, cache, "poison");
	pym_heap_stats(th->heap, &stats);
	KUNIT_ASSERT_EQ(test, pym_heap_set_limit(th->heap, stats.held), 0);
	p = pymt_take(test, cache);
	KUNIT_EXPECT_PTR_EQ(test, pymt_pool(test, p), pymt_pool(test, keep));
	pym_cache_free(cache, p);
	KUNIT_ASSERT_EQ(test, pym_heap_set_limit(th->heap, 0), 0);
	p = pymt_take(test, cache);
	KUNIT_EXPECT_PTR_EQ(test, pymt_pool(test, p)->owner, cache->shadow);
	pym_cache_free(cache, p);
	pym_cache_free(cache, keep);
	pymt_check(test, th);
}

/* All of many blocks or none, under a shadow as without. */
static void bulk_at_the_limit(struct kunit *test)
{
	struct pymt_heap *th = pymt_debug_open(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 200);
	unsigned int n = 500;
	void **blocks = pymt_array(test, n), *keep;
	struct pym_heap_stats stats;

	pymt_switch(test, cache, "poison");
	keep = pymt_take(test, cache);
	pym_heap_stats(th->heap, &stats);
	KUNIT_ASSERT_EQ(test, pym_heap_set_limit(th->heap, stats.held), 0);
	KUNIT_EXPECT_EQ(test, pym_cache_alloc_bulk(cache, GFP_KERNEL, n, blocks), 0);
	KUNIT_EXPECT_EQ(test, pymt_live(cache), 1);
	pymt_check(test, th);
	KUNIT_ASSERT_EQ(test, pym_heap_set_limit(th->heap, 0), 0);
	KUNIT_ASSERT_EQ(test, pym_cache_alloc_bulk(cache, GFP_KERNEL, n, blocks), n);
	pym_cache_free_bulk(cache, n, blocks);
	pym_cache_free(cache, keep);
	KUNIT_EXPECT_EQ(test, pymt_live(cache), 0);
}

/* A class is made where there is room for it, with what is switched on or without. */
static void class_without_room_for_switches(struct kunit *test)
{
	struct pymt_heap *th = pymt_debug_open(test);
	struct pym_heap_stats stats;
	struct pym_switches is;
	void *p;

	/* There are pools, so that the class needs no more than its descriptor. */
	p = pymt_malloc(test, th->heap, 64);
	pymt_switch_heap(test, th->heap, "poison");
	pym_heap_stats(th->heap, &stats);
	KUNIT_ASSERT_EQ(test, pym_heap_set_limit(th->heap, stats.held +
						 kmalloc_size_roundup(pym_cache_bytes())), 0);
	KUNIT_ASSERT_TRUE(test, !th->heap->class[pym_size_to_class(96)]);
	pym_free(pymt_malloc(test, th->heap, 96));
	KUNIT_ASSERT_TRUE(test, !!th->heap->class[pym_size_to_class(96)]);
	pym_cache_switches(th->heap->class[pym_size_to_class(96)], &is);
	KUNIT_EXPECT_EQ(test, is.on, 0);
	KUNIT_ASSERT_EQ(test, pym_heap_set_limit(th->heap, 0), 0);
	pymt_switch_heap(test, th->heap, "poison redzone");
	pym_cache_switches(th->heap->class[pym_size_to_class(96)], &is);
	KUNIT_EXPECT_EQ_MSG(test, is.on, PYM_POISON | PYM_REDZONE, "the next time there is");
	pym_free(p);
}

/* The sparse pool that is being filled is frozen; allocations go on elsewhere. */
static void frozen_while_it_fills(struct kunit *test)
{
	struct pymt_heap *th = pymt_debug_open(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 200), *shadow;
	unsigned int n = 2000, i, nid;
	void **blocks = pymt_array(test, n), *p;
	struct pym_pool *next = NULL;
	u8 *bad = NULL;

	pymt_switch(test, cache, "redzone freeze");
	shadow = cache->shadow;
	pymt_take_many(test, cache, blocks, n);
	/* So few are left in each pool that they drain. */
	for (i = 0; i < n; i++) {
		if (i % 8) {
			pym_cache_free(cache, blocks[i]);
			blocks[i] = NULL;
		}
	}
	p = pymt_take(test, cache);
	for (nid = 0; nid < pym_nr_nodes(); nid++)
		next = next ?: shadow->node_of[nid].next;
	KUNIT_ASSERT_NOT_NULL(test, next);
	for (i = 0; i < n; i += 8) {
		if (pymt_pool(test, blocks[i]) == next) {
			bad = blocks[i];
			blocks[i] = NULL;
			break;
		}
	}
	KUNIT_ASSERT_NOT_NULL(test, bad);
	bad[200] ^= 1;
	pym_cache_free(cache, bad);
	pymt_expect_misuse(test, PYM_MISUSE_OVERFLOW, 1);
	KUNIT_EXPECT_TRUE(test, next->frozen);
	pymt_check(test, th);
	for (i = 0; i < 100; i++) {
		bad = pymt_take(test, cache);
		KUNIT_EXPECT_PTR_NE(test, pymt_pool(test, bad), next);
		pym_cache_free(cache, bad);
	}
	pym_cache_free(cache, p);
	for (i = 0; i < n; i++)
		pym_cache_free(cache, blocks[i]);
	KUNIT_EXPECT_EQ(test, pymt_live(cache), 0);
	pymt_check(test, th);
}

static void reset_and_destroy(struct kunit *test)
{
	struct pymt_heap *th = pymt_debug_open(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 120);
	int round, i;

	for (round = 0; round < 3; round++) {
		pymt_switch_heap(test, th->heap, round ? PYMT_EVERYTHING " guard=1/3" :
							 PYMT_EVERYTHING);
		for (i = 0; i < 50; i++) {
			pymt_take(test, cache);
			pymt_malloc(test, th->heap, 8 * i);
			pym_cache_free(cache, pymt_take(test, cache));
		}
		pymt_check(test, th);
		pym_heap_reset(th->heap);
		KUNIT_EXPECT_EQ(test, pymt_live(cache), 0);
		pymt_check(test, th);
	}
	pymt_take(test, cache);
	pym_cache_free(cache, pymt_take(test, cache));
	pym_heap_shrink(th->heap);
}

/* ---------------------------------------------------------------- random -- */

#define BLOCKS		60
#define STEPS		150

static const char * const mixes[] = {
	"redzone", "poison", "quarantine=7", "redzone poison", "redzone quarantine=30",
	"poison quarantine=2", "redzone poison quarantine=16 owner freeze", "guard=1/3",
	"redzone poison quarantine=5 owner guard=1/2", "guard=1/1 quarantine=4", "none",
};

struct mine {
	u8 *p;
	size_t n;
	bool cached;
};

static void fill(struct mine *m)
{
	memset(m->p, pymt_tag(m->p), m->n);
}

static bool intact(const struct mine *m)
{
	return !memchr_inv(m->p, pymt_tag(m->p), m->n);
}

static void random_step(struct kunit *test, struct pymt_heap *th, struct pym_cache *cache,
			struct mine *m, struct rnd_state *rnd)
{
	if (m->p) {
		KUNIT_EXPECT_TRUE(test, intact(m));
		if (m->cached)
			pym_cache_free(cache, m->p);
		else
			pym_free(m->p);
		m->p = NULL;
		return;
	}
	m->cached = prandom_u32_state(rnd) % 2;
	m->n = m->cached ? 52 : prandom_u32_state(rnd) % 600 + 1;
	m->p = m->cached ? pymt_take(test, cache) : pymt_malloc(test, th->heap, m->n);
	fill(m);
}

static void random_operations(struct kunit *test)
{
	struct pymt_heap *th = pymt_debug_open(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 52);
	struct mine *mine = kunit_kcalloc(test, BLOCKS, sizeof(*mine), GFP_KERNEL);
	struct rnd_state rnd;
	unsigned int i, step;

	KUNIT_ASSERT_NOT_NULL(test, mine);
	prandom_seed_state(&rnd, pymt_seed(test));
	for (i = 0; i < ARRAY_SIZE(mixes); i++) {
		pymt_switch_heap(test, th->heap, mixes[i]);
		for (step = 0; step < STEPS; step++) {
			random_step(test, th, cache, &mine[prandom_u32_state(&rnd) % BLOCKS], &rnd);
			pymt_check(test, th);
		}
	}
	for (i = 0; i < BLOCKS; i++)
		if (mine[i].p)
			random_step(test, th, cache, &mine[i], &rnd);
	KUNIT_EXPECT_EQ(test, pymt_live(cache), 0);
}

/* ------------------------------------------------------------ concurrent -- */

struct customer {
	struct pym_heap *heap;
	struct pym_cache *cache;
	atomic_t wrong;
};

static int use(void *data)
{
	struct customer *user = data;
	struct mine mine[32] = {};
	unsigned int i = 0;

	while (!kthread_should_stop()) {
		struct mine *m = &mine[i++ * 7 % 32];

		if (m->p) {
			if (!intact(m))
				atomic_inc(&user->wrong);
			if (m->cached)
				pym_cache_free(user->cache, m->p);
			else
				pym_free(m->p);
		}
		m->cached = i & 1;
		m->n = m->cached ? 64 : i % 300 + 1;
		m->p = m->cached ? pym_cache_alloc(user->cache, GFP_KERNEL) :
				   pym_malloc(user->heap, m->n, GFP_KERNEL);
		if (m->p)
			fill(m);
		else
			atomic_inc(&user->wrong);
		if (i % 64 == 0)
			cond_resched();
	}
	for (i = 0; i < 32; i++) {
		if (mine[i].cached)
			pym_cache_free(user->cache, mine[i].p);
		else
			pym_free(mine[i].p);
	}
	return 0;
}

static void switched_in_use(struct kunit *test)
{
	struct pymt_heap *th = pymt_debug_open(test);
	struct customer user = { .heap = th->heap, .cache = pymt_cache(test, th->heap, 64) };
	struct task_struct *task[3];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(task); i++) {
		task[i] = kthread_run(use, &user, "pymt-%u", i);
		KUNIT_ASSERT_FALSE(test, IS_ERR(task[i]));
	}
	for (i = 0; i < 3 * ARRAY_SIZE(mixes); i++) {
		pymt_switch_heap(test, th->heap, mixes[i % ARRAY_SIZE(mixes)]);
		msleep(20);
		KUNIT_EXPECT_TRUE(test, pymt_is_sound(th));
	}
	for (i = 0; i < ARRAY_SIZE(task); i++)
		kthread_stop(task[i]);
	KUNIT_EXPECT_EQ(test, atomic_read(&user.wrong), 0);
	KUNIT_EXPECT_EQ(test, pymt_live(user.cache), 0);
	pymt_check(test, th);
}

static struct kunit_case debug_cases[] = {
	KUNIT_CASE(off_is_off),
	KUNIT_CASE_PARAM(the_interface_is_the_same, pymt_debug_kinds),
	KUNIT_CASE_PARAM(alignment_is_kept, pymt_debug_kinds),
	KUNIT_CASE_PARAM(constructed_blocks_stay_so, pymt_debug_kinds),
	KUNIT_CASE_PARAM(switched_while_live, pymt_debug_kinds),
	KUNIT_CASE_PARAM(of_a_heap, pymt_debug_kinds),
	KUNIT_CASE_PARAM(own_pools_serve_at_the_limit, pymt_debug_kinds),
	KUNIT_CASE_PARAM(bulk_at_the_limit, pymt_debug_kinds),
	KUNIT_CASE_PARAM(class_without_room_for_switches, pymt_debug_kinds),
	KUNIT_CASE_PARAM(frozen_while_it_fills, pymt_debug_kinds),
	KUNIT_CASE_PARAM(reset_and_destroy, pymt_debug_kinds),
	KUNIT_CASE_PARAM(random_operations, pymt_debug_kinds),
	KUNIT_CASE_PARAM(switched_in_use, pymt_debug_kinds),
	{}
};

static struct kunit_suite debug_suite = {
	.name = "pymalloc_debug_live",
	.init = pymt_init_bare,
	.exit = pymt_exit,
	.test_cases = debug_cases,
};

kunit_test_suites(&debug_suite);
