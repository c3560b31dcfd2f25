// SPDX-License-Identifier: GPL-2.0-only
/*
 * Blocks that are freed twice where fronts take them: told at once if it is one of the
 * last two that this CPU has freed, else when the front gives it back.
 */
#include <linux/cpumask.h>
#include <linux/preempt.h>
#include <linux/workqueue.h>
#include "fixture.h"

static struct pym_heap *heap_of(struct kunit *test)
{
	return pymt_heap(test)->heap;
}

/* Give the class of 64 bytes its fronts. */
static void warm_class(struct kunit *test)
{
	void *blocks[PYMT_WARM];
	unsigned int i;

	for (i = 0; i < PYMT_WARM; i++)
		blocks[i] = pymt_malloc(test, heap_of(test), 64);
	for (i = 0; i < PYMT_WARM; i++)
		pym_free(blocks[i]);
}

static void in_a_row(struct kunit *test)
{
	struct pym_cache *cache = pymt_warm_cache(test, heap_of(test), 64);
	void *p = pymt_take(test, cache);

	migrate_disable();
	pym_cache_free(cache, p);
	pym_cache_free(cache, p);
	migrate_enable();
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 1);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).live, 0);
}

static void by_pym_free(struct kunit *test)
{
	void *p;

	warm_class(test);
	p = pymt_malloc(test, heap_of(test), 64);
	migrate_disable();
	pym_free(p);
	pym_free(p);
	migrate_enable();
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 1);
}

/* A B A, as a path for errors does that frees what another has freed. */
static void around_another(struct kunit *test)
{
	struct pym_cache *cache = pymt_warm_cache(test, heap_of(test), 64);
	void *a = pymt_take(test, cache), *b = pymt_take(test, cache);
	void *c, *d;

	migrate_disable();
	pym_cache_free(cache, a);
	pym_cache_free(cache, b);
	pym_cache_free(cache, a);
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 1);
	c = pymt_take(test, cache);
	d = pymt_take(test, cache);
	KUNIT_EXPECT_PTR_EQ(test, c, b);
	KUNIT_EXPECT_PTR_EQ(test, d, a);
	migrate_enable();
	pym_cache_free(cache, c);
	pym_cache_free(cache, d);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).live, 0);
}

static void around_another_by_pym_free(struct kunit *test)
{
	void *a, *b;

	warm_class(test);
	a = pymt_malloc(test, heap_of(test), 64);
	b = pymt_malloc(test, heap_of(test), 64);
	migrate_disable();
	pym_free(a);
	pym_free(b);
	pym_free(a);
	migrate_enable();
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 1);
}

/* In one call, in two, and of what was freed alone. */
static void in_bulk(struct kunit *test)
{
	struct pym_cache *cache = pymt_warm_cache(test, heap_of(test), 64);
	void *p[4];

	migrate_disable();
	pymt_take_many(test, cache, p, 4);
	pym_cache_free_bulk(cache, 3, (void *[]){ p[0], p[1], p[0] });
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 1);
	pym_cache_free_bulk(cache, 1, (void *[]){ p[0] });
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 1);
	pym_cache_free_bulk(cache, 2, (void *[]){ p[2], p[1] });
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 1);
	pym_cache_free(cache, p[3]);
	pym_cache_free_bulk(cache, 1, (void *[]){ p[2] });
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 1);
	migrate_enable();
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).live, 0);
}

/* With more in between the front takes it, and the pools tell when they get it back. */
static void comes_to_light(struct kunit *test)
{
	struct pym_cache *cache = pymt_warm_cache(test, heap_of(test), 64);
	void *p[3];

	pymt_take_many(test, cache, p, 3);
	migrate_disable();
	pym_cache_free_bulk(cache, 3, p);
	pym_cache_free(cache, p[0]);
	migrate_enable();
	pym_heap_shrink(heap_of(test));
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 1);
}

/* Of a block that went back to its pool, and the pool to its arena, before the second. */
static void after_its_pool_was_left(struct kunit *test)
{
	struct pym_cache *cache = pymt_warm_cache(test, heap_of(test), 64);
	unsigned int per_pool = cache->capacity, i;
	void **others = pymt_array(test, per_pool), *p;

	pym_heap_shrink(heap_of(test));
	migrate_disable();
	pymt_take_many(test, cache, others, per_pool);
	/* A pool of its own; what the front has beside it goes with it. */
	p = pymt_take(test, cache);
	pym_cache_free(cache, p);
	for (i = 0; i < 30; i++)
		pym_cache_free(cache, others[i]);
	pym_cache_free(cache, p);
	migrate_enable();
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 0);
	pym_heap_shrink(heap_of(test));
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 1);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).live, per_pool - 30);
	pymt_give_many(cache, others + 30, per_pool - 30);
}

/* Or when the cache goes: that is no leak. */
static void until_the_end(struct kunit *test)
{
	struct pym_cache *cache = pymt_warm_cache(test, heap_of(test), 64);
	void *p[3];

	pymt_take_many(test, cache, p, 3);
	migrate_disable();
	pym_cache_free_bulk(cache, 3, p);
	pym_cache_free(cache, p[0]);
	migrate_enable();
	pym_cache_destroy(cache);
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 1);
	pymt_expect_misuse(test, PYM_MISUSE_LEAK, 0);
}

struct gift {
	struct pym_cache *cache;
	void *p;
};

static long give_there(void *arg)
{
	struct gift *g = arg;

	pym_cache_free(g->cache, g->p);
	return 0;
}

static void on_two_cpus(struct kunit *test)
{
	struct pym_cache *cache = pymt_warm_cache(test, heap_of(test), 64);
	struct gift gift = { cache, pymt_take(test, cache) };
	int cpu = cpumask_any_but(cpu_online_mask, raw_smp_processor_id());

	if (cpu >= nr_cpu_ids)
		kunit_skip(test, "needs two CPUs");
	pym_cache_free(cache, gift.p);
	work_on_cpu(cpu, give_there, &gift);
	pym_heap_shrink(heap_of(test));
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 1);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).live, 0);
}

/* The second is in a front yet when the page it was in has gone back to the system. */
static void after_its_page_has_gone(struct kunit *test)
{
	struct pym_cache *cache = pymt_warm_cache(test, heap_of(test), 512);
	int cpu = cpumask_any_but(cpu_online_mask, raw_smp_processor_id());
	unsigned int n = 4000, given, gone = 0, i;
	void **blocks = pymt_array(test, n);
	struct gift gift[5];

	if (cpu >= nr_cpu_ids)
		kunit_skip(test, "needs two CPUs");
	WRITE_ONCE(pym_decay_ms, PYMT_BY_HAND);
	pymt_take_many(test, cache, blocks, n);
	for (given = 0; given < ARRAY_SIZE(gift); given++) {
		gift[given] = (struct gift){ cache, blocks[given * (n / ARRAY_SIZE(gift))] };
		work_on_cpu(cpu, give_there, &gift[given]);
	}
	/* Most of the memory goes at once. */
	pymt_give_many(cache, blocks, n);
	rcu_read_lock();
	for (i = 0; i < given; i++)
		gone += !pym_lookup(gift[i].p);
	rcu_read_unlock();
	KUNIT_EXPECT_GT(test, gone, 0);
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 0);
	pym_heap_shrink(heap_of(test));
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, given);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).live, 0);
}

static struct kunit_case twice_cases[] = {
	KUNIT_CASE(in_a_row),
	KUNIT_CASE(by_pym_free),
	KUNIT_CASE(around_another),
	KUNIT_CASE(around_another_by_pym_free),
	KUNIT_CASE(in_bulk),
	KUNIT_CASE(comes_to_light),
	KUNIT_CASE(after_its_pool_was_left),
	KUNIT_CASE(until_the_end),
	KUNIT_CASE(on_two_cpus),
	KUNIT_CASE(after_its_page_has_gone),
	{}
};

static struct kunit_suite twice_suite = {
	.name = "pymalloc_twice",
	.init = pymt_init_fronts,
	.exit = pymt_exit,
	.test_cases = twice_cases,
};

kunit_test_suites(&twice_suite);
