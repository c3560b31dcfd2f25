// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fronts: what the per-CPU arrays and the depot hold is free to everybody but the
 * pools, is counted, comes back on request and when a CPU goes, and is checked.
 */
#include <linux/cpu.h>
#include <linux/irq_work.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>
#include "fixture.h"

static struct pym_heap *heap_of(struct kunit *test)
{
	return pymt_heap(test)->heap;
}

static void come_with_use(struct kunit *test)
{
	struct pym_cache *cache = pymt_cache(test, heap_of(test), 64);
	void *p = pymt_take(test, cache);

	KUNIT_EXPECT_FALSE_MSG(test, !!cache->fronts, "one block does not earn them");
	pym_cache_free(cache, p);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).cached, 0);
	pymt_warm_cache(test, heap_of(test), 128);
}

static void free_blocks_are_cached(struct kunit *test)
{
	struct pym_cache *cache = pymt_warm_cache(test, heap_of(test), 64);
	struct pym_cache_stats s = pymt_stats_of(cache);

	KUNIT_EXPECT_EQ(test, s.live, 0);
	KUNIT_EXPECT_GT(test, s.cached, 0);
	KUNIT_EXPECT_EQ(test, s.allocs, PYMT_WARM);
	KUNIT_EXPECT_EQ(test, s.frees, PYMT_WARM);
	KUNIT_EXPECT_EQ(test, s.cached + s.free + s.virgin, s.pools * s.capacity);
}

static void last_freed_is_first_used(struct kunit *test)
{
	struct pym_cache *cache = pymt_warm_cache(test, heap_of(test), 64);
	void *p = pymt_take(test, cache), *q;

	migrate_disable();
	pym_cache_free(cache, p);
	q = pym_cache_alloc(cache, GFP_KERNEL);
	migrate_enable();
	KUNIT_EXPECT_PTR_EQ(test, p, q);
	pym_cache_free(cache, q);
}

static void shrink_empties_them(struct kunit *test)
{
	struct pym_cache *cache = pymt_warm_cache(test, heap_of(test), 64);

	KUNIT_EXPECT_GT(test, pym_cache_shrink(cache), 0);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).cached, 0);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).pools, 0);
}

/* Two arenas that only fronts keep, so that shrinking gives one back at once. */
static void drained_without_the_registry(struct kunit *test)
{
	struct pymt_heap *th = pymt_open(test, PYMT_SPLIT | PYMT_FRONTS, NULL);
	struct pym_cache *cache = pymt_warm_cache(test, th->heap, SZ_4K);
	unsigned int n = 8 * (16 + 8), frees;
	void **blocks = pymt_array(test, n);

	pymt_take_many(test, cache, blocks, n);
	pymt_give_many(cache, blocks + 1, n - 2);
	pym_cache_free(cache, blocks[0]);
	pym_cache_free(cache, blocks[n - 1]);
	frees = atomic_read(&th->provider->frees);
	th->provider->in_registry = 0;
	pym_heap_shrink(th->heap);
	KUNIT_EXPECT_GT(test, atomic_read(&th->provider->frees), frees);
	KUNIT_EXPECT_EQ_MSG(test, th->provider->in_registry, 0,
			    "the provider was called with pym_registry held");
}

static void bounded(struct kunit *test)
{
	struct pym_cache *cache = pymt_warm_cache(test, heap_of(test), 64);
	unsigned int n = 5000, half = cache->front_cap / 2;
	void **blocks = pymt_array(test, n);

	pymt_take_many(test, cache, blocks, n);
	pymt_give_many(cache, blocks, n);
	KUNIT_EXPECT_LE(test, pymt_stats_of(cache).cached,
			num_online_cpus() * cache->front_cap + PYM_DEPOT_BATCHES * half);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).live, 0);
}

static void depot_serves_again(struct kunit *test)
{
	struct pym_cache *cache = pymt_warm_cache(test, heap_of(test), 64);
	unsigned int n = cache->front_cap * 3;
	void **blocks = pymt_array(test, n);
	unsigned long pools;

	pymt_take_many(test, cache, blocks, n);
	pymt_give_many(cache, blocks, n);
	KUNIT_EXPECT_GT(test, cache->node_of[numa_mem_id()].depot.nr, 0);
	pools = pymt_stats_of(cache).pools;
	pymt_take_many(test, cache, blocks, n);
	KUNIT_EXPECT_EQ_MSG(test, pymt_stats_of(cache).pools, pools, "no pool was needed");
	pymt_give_many(cache, blocks, n);
}

static void no_block_twice(struct kunit *test)
{
	struct pym_cache *cache = pymt_warm_cache(test, heap_of(test), 48);
	unsigned int n = 1000, i, bad = 0, round;
	void **blocks = pymt_array(test, n);

	for (round = 0; round < 3; round++) {
		pymt_take_many(test, cache, blocks, n);
		for (i = 0; i < n; i++)
			memset(blocks[i], pymt_tag(blocks[i]), 48);
		for (i = 0; i < n; i++)
			bad += !!memchr_inv(blocks[i], pymt_tag(blocks[i]), 48);
		pymt_give_many(cache, blocks, n);
	}
	KUNIT_EXPECT_EQ_MSG(test, bad, 0, "blocks overlap");
}

static void zeroed_on_request(struct kunit *test)
{
	struct pym_cache *cache = pymt_warm_cache(test, heap_of(test), 96);
	unsigned int i, bad = 0;

	for (i = 0; i < 200; i++) {
		u8 *p = pym_cache_zalloc(cache, GFP_KERNEL);

		KUNIT_ASSERT_NOT_NULL(test, p);
		bad += !!memchr_inv(p, 0, 96);
		memset(p, 0xff, 96);
		pym_cache_free(cache, p);
	}
	KUNIT_EXPECT_EQ(test, bad, 0);
}

static atomic_t constructed;

static void count_block(void *block)
{
	atomic_inc(&constructed);
	memset(block, 0x5c, 64);
}

static void constructed_once(struct kunit *test)
{
	struct pym_cache_args args = { .heap = heap_of(test), .ctor = count_block };
	struct pym_cache *cache = pym_cache_create("kunit-ctor", 64, &args);
	unsigned int n = 300, round, i, bad = 0;
	void **blocks = pymt_array(test, n);
	struct pym_cache_stats s;

	KUNIT_ASSERT_NOT_NULL(test, cache);
	atomic_set(&constructed, 0);
	for (round = 0; round < 3; round++) {
		pymt_take_many(test, cache, blocks, n);
		for (i = 0; i < n; i++)
			bad += !!memchr_inv(blocks[i], 0x5c, 64);
		/* One stays: its pool keeps its blocks constructed. */
		pymt_give_many(cache, blocks, n);
	}
	KUNIT_EXPECT_EQ(test, bad, 0);
	s = pymt_stats_of(cache);
	KUNIT_EXPECT_GE(test, atomic_read(&constructed), s.cached + s.free);
	KUNIT_EXPECT_LE(test, atomic_read(&constructed), 3 * n + cache->front_cap * 3);
	pym_cache_destroy(cache);
}

static void none_where_not_wanted(struct kunit *test)
{
	struct pym_heap *heap = pymt_open(test, PYMT_PAGES, NULL)->heap;
	struct pym_cache *cache = pymt_cache(test, heap, 64);
	void *blocks[PYMT_WARM];

	pymt_take_many(test, cache, blocks, PYMT_WARM);
	pymt_give_many(cache, blocks, PYMT_WARM);
	KUNIT_EXPECT_FALSE(test, !!cache->fronts);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).cached, 0);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).pools, 0);
}

static void indexed_heaps_too(struct kunit *test)
{
	struct pym_heap *heap = pymt_open(test, PYMT_VMALLOC | PYMT_FRONTS, NULL)->heap;
	struct pym_cache *cache = pymt_warm_cache(test, heap, 64);
	void *p = pymt_malloc(test, heap, 100);

	KUNIT_EXPECT_GT(test, pymt_stats_of(cache).cached, 0);
	KUNIT_EXPECT_TRUE(test, is_vmalloc_addr(p));
	pym_free(p);
	pym_heap_shrink(heap);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).cached, 0);
}

static void within_the_limit(struct kunit *test)
{
	struct pym_heap_args args = { .limit_bytes = SZ_32K };
	struct pym_heap *heap = pymt_open(test, PYMT_PAGES | PYMT_FRONTS, &args)->heap;
	struct pym_heap_stats stats;
	unsigned int i;

	/* Often enough for fronts, of which not all find room. */
	for (i = 0; i < 1000; i++)
		pym_free(pym_malloc(heap, 8 + i % 64, GFP_KERNEL | __GFP_NOWARN));
	pymt_stats(test, heap, &stats);
	KUNIT_EXPECT_LE(test, stats.high, args.limit_bytes);
	KUNIT_EXPECT_LT_MSG(test, stats.failures, 1000, "some could be served");
	KUNIT_EXPECT_EQ(test, stats.live, 0);
}

/* ---------------------------------------------------------------- misuse -- */

static void interior_is_no_slot(struct kunit *test)
{
	struct pym_cache *cache = pymt_warm_cache(test, heap_of(test), 192);
	void *p = pymt_take(test, cache);

	/* 64 has every alignment that 192 has. */
	pym_cache_free(cache, p + 64);
	pym_cache_free(cache, p + 8);
	pym_cache_free(cache, p + 1);
	pymt_expect_misuse(test, PYM_MISUSE_INTERIOR, 3);
	pym_cache_free(cache, p);
}

static void tail_is_no_slot(struct kunit *test)
{
	struct pym_cache *cache = pymt_warm_cache(test, heap_of(test), 24);
	void *p = pymt_take(test, cache);

	pym_cache_free(cache, (void *)((unsigned long)p & PAGE_MASK) + 170 * 24);
	pymt_expect_misuse(test, PYM_MISUSE_INTERIOR, 1);
	pym_cache_free(cache, p);
}

static void of_another_cache(struct kunit *test)
{
	struct pym_cache *a = pymt_warm_cache(test, heap_of(test), 64);
	struct pym_cache *b = pymt_warm_cache(test, heap_of(test), 64);
	void *p = pymt_take(test, a);

	pym_cache_free(b, p);
	pymt_expect_misuse(test, PYM_MISUSE_WRONG_CACHE, 1);
	pym_cache_free(a, p);
}

static void of_nobody(struct kunit *test)
{
	static const unsigned long values[] = {
		8, 0xdead0000, 0x00007fffffffe000, 0x8000000000000000, 0xdead000000000100,
		0xffff7fffffffffff, 0xffffffffffffffff, 0xfffffffffffff000,
	};
	struct pym_cache *cache = pymt_warm_cache(test, heap_of(test), 64);
	struct page *page = alloc_page(GFP_KERNEL);
	void *vmalloced = vmalloc(64), *kmalloced = kmalloc(64, GFP_KERNEL);
	unsigned int i;

	KUNIT_ASSERT_TRUE(test, page && vmalloced && kmalloced);
	for (i = 0; i < ARRAY_SIZE(values); i++) {
		pym_cache_free(cache, (void *)values[i]);
		pym_free((void *)values[i]);
	}
	/* What a foreign page keeps in its private word may look like ours. */
	for (i = 0; i < 5; i++) {
		static const unsigned long words[] = { 1, 2, 3, 0xdead000000000002, ~0UL };

		set_page_private(page, words[i]);
		pym_free(page_address(page));
		set_page_private(page, (unsigned long)page_address(page) | words[i]);
		pym_free(page_address(page));
	}
	set_page_private(page, 0);
	pym_cache_free(cache, &i);
	pym_cache_free(cache, vmalloced);
	pym_cache_free(cache, kmalloced);
	pym_free(page_address(page));
	pym_free(&constructed);
	pymt_expect_misuse(test, PYM_MISUSE_FOREIGN, 2 * ARRAY_SIZE(values) + 10 + 5);
	__free_page(page);
	vfree(vmalloced);
	kfree(kmalloced);
}

/* -------------------------------------------------------- other contexts -- */

struct errand {
	struct pym_cache *cache;
	void **blocks;
	unsigned int n;
};

/* Blocks of another node pass the front by when they are freed. */
static long take_there(void *arg)
{
	struct errand *e = arg;
	unsigned int i;

	for (i = 0; i < e->n; i++) {
		e->blocks[i] = pym_cache_alloc(e->cache, GFP_KERNEL);
		if (!e->blocks[i])
			return -ENOMEM;
	}
	return 0;
}

static long give_there(void *arg)
{
	struct errand *e = arg;

	pymt_give_many(e->cache, e->blocks, e->n);
	return 0;
}

static void freed_on_another_cpu(struct kunit *test)
{
	struct pym_cache *cache = pymt_warm_cache(test, heap_of(test), 64);
	struct errand e = { .cache = cache, .n = 500, .blocks = pymt_array(test, 500) };
	int cpu, round = 0;

	for_each_online_cpu(cpu) {
		round++;
		pymt_take_many(test, cache, e.blocks, e.n);
		KUNIT_EXPECT_EQ(test, work_on_cpu(cpu, give_there, &e), 0);
	}
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).live, 0);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).frees, PYMT_WARM + 500 * round);
	pym_heap_shrink(heap_of(test));
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).cached, 0);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).pools, 0);
}

static unsigned long held_by(struct pym_cache *cache, int cpu)
{
	const struct pym_front *front = per_cpu_ptr(cache->fronts, cpu);

	return front->n + front->out;
}

static void cpu_goes_offline(struct kunit *test)
{
	struct pym_cache *cache = pymt_warm_cache(test, heap_of(test), 64);
	struct errand e = { .cache = cache, .n = 20, .blocks = pymt_array(test, 20) };
	int cpu = cpumask_last(cpu_online_mask);
	int err;

	if (!IS_ENABLED(CONFIG_HOTPLUG_CPU) || cpu == cpumask_first(cpu_online_mask))
		kunit_skip(test, "needs two CPUs and CONFIG_HOTPLUG_CPU");
	KUNIT_ASSERT_EQ(test, work_on_cpu(cpu, take_there, &e), 0);
	work_on_cpu(cpu, give_there, &e);
	/* As blocks of its own node or of another one. */
	KUNIT_EXPECT_GT(test, held_by(cache, cpu), 0);
	err = remove_cpu(cpu);
	KUNIT_EXPECT_EQ(test, err, 0);
	if (err)
		return;
	KUNIT_EXPECT_EQ_MSG(test, held_by(cache, cpu), 0, "what a dead CPU had is in the pools");
	KUNIT_EXPECT_EQ(test, add_cpu(cpu), 0);
	work_on_cpu(cpu, give_there, &(struct errand){ .cache = cache });
}

struct storm {
	struct irq_work work;
	struct pym_cache *cache;
	unsigned int rounds, failed;
};

static void storm_in_irq(struct irq_work *work)
{
	struct storm *s = container_of(work, struct storm, work);
	void *blocks[8];
	unsigned int i;

	s->rounds++;
	for (i = 0; i < ARRAY_SIZE(blocks); i++) {
		blocks[i] = pym_cache_alloc(s->cache, GFP_ATOMIC | __GFP_NOWARN);
		s->failed += !blocks[i];
	}
	for (i = 0; i < ARRAY_SIZE(blocks); i++)
		pym_cache_free(s->cache, blocks[i]);
}

static void interrupted(struct kunit *test)
{
	struct pym_cache *cache = pymt_warm_cache(test, heap_of(test), 64);
	struct storm *s = kunit_kzalloc(test, sizeof(*s), GFP_KERNEL);
	void *blocks[80];
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, s);
	s->cache = cache;
	init_irq_work(&s->work, storm_in_irq);
	for (i = 0; i < 300; i++) {
		irq_work_queue(&s->work);
		pymt_take_many(test, cache, blocks, ARRAY_SIZE(blocks));
		irq_work_queue(&s->work);
		pymt_give_many(cache, blocks, ARRAY_SIZE(blocks));
	}
	irq_work_sync(&s->work);
	KUNIT_EXPECT_GT(test, s->rounds, 0);
	KUNIT_EXPECT_EQ(test, s->failed, 0);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).live, 0);
}

/* What an interrupt finds that comes while a front is being changed. */
static void busy_front_is_left_alone(struct kunit *test)
{
	struct pym_cache *cache = pymt_warm_cache(test, heap_of(test), 64);
	struct pym_front *front;
	void *p, *q, *top;
	u32 n;

	preempt_disable();
	front = this_cpu_ptr(cache->fronts);
	n = front->n;
	top = front->slot[n];
	front->busy = 1;
	p = pym_cache_alloc(cache, GFP_NOWAIT);
	q = pym_malloc(heap_of(test), 64, GFP_NOWAIT);
	pym_cache_free(cache, p);
	front->busy = 0;
	preempt_enable();
	KUNIT_EXPECT_NOT_NULL(test, p);
	KUNIT_EXPECT_PTR_NE(test, p, top);
	KUNIT_EXPECT_EQ(test, n, front->n);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).live, 0);
	pym_free(q);
}

static struct kunit_case front_cases[] = {
	KUNIT_CASE(come_with_use),
	KUNIT_CASE(free_blocks_are_cached),
	KUNIT_CASE(last_freed_is_first_used),
	KUNIT_CASE(shrink_empties_them),
	KUNIT_CASE(drained_without_the_registry),
	KUNIT_CASE(bounded),
	KUNIT_CASE(depot_serves_again),
	KUNIT_CASE(no_block_twice),
	KUNIT_CASE(zeroed_on_request),
	KUNIT_CASE(constructed_once),
	KUNIT_CASE(none_where_not_wanted),
	KUNIT_CASE(indexed_heaps_too),
	KUNIT_CASE(within_the_limit),
	KUNIT_CASE(interior_is_no_slot),
	KUNIT_CASE(tail_is_no_slot),
	KUNIT_CASE(of_another_cache),
	KUNIT_CASE(of_nobody),
	KUNIT_CASE(freed_on_another_cpu),
	KUNIT_CASE(cpu_goes_offline),
	KUNIT_CASE(interrupted),
	KUNIT_CASE(busy_front_is_left_alone),
	{}
};

static struct kunit_suite front_suite = {
	.name = "pymalloc_front",
	.init = pymt_init_fronts,
	.exit = pymt_exit,
	.test_cases = front_cases,
};

kunit_test_suites(&front_suite);
