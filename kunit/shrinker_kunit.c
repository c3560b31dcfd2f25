// SPDX-License-Identifier: GPL-2.0-only
/*
 * The shrinker: gives what is free, whole, from reclaim; allocates nothing there and
 * waits for nobody.
 */
#include <linux/cpumask.h>
#include <linux/debug_locks.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/shrinker.h>
#include <linux/slab.h>
#include <linux/stacktrace.h>
#include <linux/tracepoint.h>
#include <linux/workqueue.h>
#include "fixture.h"

#define PER_POOL	8		/* blocks of 512 bytes in a page */
#define POOLS		200

static const enum pymt_kind atomic_kinds[] = {
	PYMT_PAGES, PYMT_SPLIT, PYMT_CHUNKS, PYMT_PAGES | PYMT_FRONTS,
};

static void kind_desc(const enum pymt_kind *kind, char *desc)
{
	static const char * const names[] = {
		[PYMT_SPLIT] = "split", [PYMT_CHUNKS] = "chunks", [PYMT_PAGES] = "pages",
		[PYMT_PLAIN] = "plain", [PYMT_SPLIT_SLEEPING] = "split-sleeping",
		[PYMT_VMALLOC] = "vmalloc",
	};

	scnprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s%s", names[*kind & PYMT_KIND],
		  *kind & PYMT_FRONTS ? "-fronts" : "");
}

KUNIT_ARRAY_PARAM(atomic_kinds, atomic_kinds, kind_desc);

static const enum pymt_kind sleeping_kinds[] = {
	PYMT_PLAIN, PYMT_SPLIT_SLEEPING, PYMT_VMALLOC,
};

KUNIT_ARRAY_PARAM(sleeping_kinds, sleeping_kinds, kind_desc);

static const enum pymt_kind all_kinds[] = {
	PYMT_PAGES, PYMT_SPLIT, PYMT_CHUNKS, PYMT_PAGES | PYMT_FRONTS, PYMT_PLAIN,
	PYMT_SPLIT_SLEEPING, PYMT_VMALLOC,
};

KUNIT_ARRAY_PARAM(all_kinds, all_kinds, kind_desc);

/* A heap with free pools: pages that hold no block, and some that do. */
struct scene {
	struct pymt_heap *th;
	struct pym_cache *cache;
	void **blocks;
	void *live;
};

static unsigned long free_pages_of(struct pym_heap *heap)
{
	unsigned long pages = 0;
	unsigned int i;

	for (i = 0; i < pym_nr_orders(0); i++)
		if (heap->order[i])
			pages += heap->order[i]->free << (i % PYM_NR_ORDERS);
	return pages;
}

/* Pools that were never used do not go by themselves, as long as there are no ticks. */
static void set_scene(struct kunit *test, struct scene *s, enum pymt_kind kind)
{
	s->th = pymt_open(test, kind, NULL);
	s->cache = pymt_cache(test, s->th->heap, 512);
	s->blocks = pymt_array(test, POOLS * PER_POOL);
	pymt_take_many(test, s->cache, s->blocks, POOLS * PER_POOL);
	pymt_give_many(s->cache, s->blocks + 1, POOLS * PER_POOL - 1);
	s->live = s->blocks[0];
	memset(s->live, 0x42, 512);
	pymt_take_many(test, s->cache, s->blocks + 1, 40 * PER_POOL);
	pymt_give_many(s->cache, s->blocks + 1, 40 * PER_POOL);
	flush_work(&s->th->heap->reap_work);
	KUNIT_EXPECT_GT(test, free_pages_of(s->th->heap), 0);
}

static void end_scene(struct kunit *test, struct scene *s)
{
	KUNIT_EXPECT_NULL(test, memchr_inv(s->live, 0x42, 512));
	pymt_check(test, s->th);
	pym_cache_free(s->cache, s->live);
}

static struct scene *scene_of(struct kunit *test)
{
	struct scene *s = kunit_kzalloc(test, sizeof(*s), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, s);
	set_scene(test, s, *(const enum pymt_kind *)test->param_value);
	return s;
}

/* As reclaim calls it. */
static unsigned long count(void)
{
	struct shrink_control sc = { .gfp_mask = GFP_KERNEL };

	return pym_shrinker->count_objects(pym_shrinker, &sc);
}

static unsigned long scan(unsigned long n)
{
	struct shrink_control sc = {
		.gfp_mask = GFP_KERNEL, .nr_to_scan = n, .nr_scanned = n,
	};

	return pym_shrinker->scan_objects(pym_shrinker, &sc);
}

static void counts_what_is_free(struct kunit *test)
{
	struct scene *s = scene_of(test);
	unsigned long others;

	/* Those of other heaps, which are at rest. */
	others = count() - free_pages_of(s->th->heap);
	pym_heap_shrink(s->th->heap);
	KUNIT_EXPECT_EQ(test, free_pages_of(s->th->heap), 0);
	KUNIT_EXPECT_EQ(test, count(), others ?: SHRINK_EMPTY);
	pym_heap_shrink(NULL);
	KUNIT_EXPECT_EQ_MSG(test, count(), SHRINK_EMPTY, "no heap has a free page");
	end_scene(test, s);
}

static void gives_what_it_counts(struct kunit *test)
{
	struct scene *s = scene_of(test);
	struct pym_heap_stats before, after;
	unsigned long counted;

	pym_heap_shrink(NULL);
	counted = count();
	KUNIT_EXPECT_EQ(test, counted, free_pages_of(s->th->heap));
	pymt_stats(test, s->th->heap, &before);
	KUNIT_EXPECT_GE(test, scan(counted), counted);
	pymt_stats(test, s->th->heap, &after);
	KUNIT_EXPECT_EQ(test, free_pages_of(s->th->heap), 0);
	KUNIT_EXPECT_LT(test, after.held, before.held);
	KUNIT_EXPECT_EQ(test, after.empty_pools, 0);
	KUNIT_EXPECT_EQ_MSG(test, after.in_flight, 0, "at once, not by somebody else");
	KUNIT_EXPECT_EQ(test, count(), SHRINK_EMPTY);
	KUNIT_EXPECT_EQ_MSG(test, scan(100), SHRINK_STOP, "there is no more");
	end_scene(test, s);
}

/* As many heaps as are needed, and others the next time. */
static void stops_when_it_has_enough(struct kunit *test)
{
	struct scene s[3];
	unsigned int i, n = 0;

	pym_heap_shrink(NULL);
	for (i = 0; i < ARRAY_SIZE(s); i++)
		set_scene(test, &s[i], PYMT_PAGES);
	KUNIT_EXPECT_GT(test, scan(1), 0);
	for (i = 0; i < ARRAY_SIZE(s); i++)
		n += !free_pages_of(s[i].th->heap);
	KUNIT_EXPECT_EQ(test, n, 1);
	scan(1);
	for (i = 0, n = 0; i < ARRAY_SIZE(s); i++)
		n += !free_pages_of(s[i].th->heap);
	KUNIT_EXPECT_EQ(test, n, 2);
	scan(ULONG_MAX);
	for (i = 0; i < ARRAY_SIZE(s); i++) {
		KUNIT_EXPECT_EQ(test, free_pages_of(s[i].th->heap), 0);
		end_scene(test, &s[i]);
	}
}

/* A provider that may sleep is not called from there, but soon. */
static void sleeping_ones_are_left_to_a_tick(struct kunit *test)
{
	struct scene *s = scene_of(test);
	unsigned long before;

	pym_heap_shrink(NULL);
	before = free_pages_of(s->th->heap);
	KUNIT_EXPECT_GE(test, count(), before);
	KUNIT_EXPECT_EQ_MSG(test, scan(ULONG_MAX), SHRINK_STOP, "nothing was given back yet");
	/* Also where ticks are switched off. */
	flush_work(&s->th->heap->tick.work);
	if (s->th->heap->provider->flags & PYM_PROVIDER_SPLIT)
		KUNIT_EXPECT_EQ(test, free_pages_of(s->th->heap), 0);
	else
		KUNIT_EXPECT_LT(test, free_pages_of(s->th->heap), 16 + 32);
	KUNIT_EXPECT_FALSE(test, s->th->heap->pressed);
	KUNIT_EXPECT_FALSE_MSG(test, delayed_work_pending(&s->th->heap->tick),
			       "a tick is due though there shall be none");
	end_scene(test, s);
}

/* ------------------------------------------------------------ from reclaim ---- */

#ifdef CONFIG_LOCKDEP
/*
 * Lockdep sees every lock taken in here as one that reclaim needs, and every allocation
 * that might reclaim as a deadlock. Not PF_MEMALLOC, which would hide those.
 */
static void under_fs_reclaim(struct kunit *test)
{
	struct scene *s = scene_of(test);
	unsigned long counted;

	fs_reclaim_acquire(GFP_KERNEL);
	counted = count();
	scan(counted);
	fs_reclaim_release(GFP_KERNEL);
	KUNIT_EXPECT_EQ(test, free_pages_of(s->th->heap), 0);
	KUNIT_EXPECT_TRUE_MSG(test, debug_locks, "lockdep has switched itself off");
	end_scene(test, s);
}

static void under_fs_reclaim_too(struct kunit *test)
{
	struct scene *s = scene_of(test);

	fs_reclaim_acquire(GFP_KERNEL);
	count();
	scan(ULONG_MAX);
	fs_reclaim_release(GFP_KERNEL);
	flush_work(&s->th->heap->tick.work);
	KUNIT_EXPECT_TRUE_MSG(test, debug_locks, "lockdep has switched itself off");
	end_scene(test, s);
}
#else
static void under_fs_reclaim(struct kunit *test)
{
	kunit_skip(test, "needs CONFIG_LOCKDEP");
}

static void under_fs_reclaim_too(struct kunit *test)
{
	kunit_skip(test, "needs CONFIG_LOCKDEP");
}
#endif

/* Allocations of a task, by the kernel's tracepoints, and who made the first. */
struct watch {
	struct task_struct *task;
	unsigned long seen;
	unsigned long trace[24];
	unsigned int depth;
	struct tracepoint *tp[8];
	unsigned int nr;
};

/* What was allocated does not matter: the arguments after the first are left alone. */
static void note_allocation(void *data)
{
	struct watch *w = data;

	if (current != w->task || !in_task())
		return;
	if (!w->seen++)
		w->depth = stack_trace_save(w->trace, ARRAY_SIZE(w->trace), 1);
}

static void find_tracepoint(struct tracepoint *tp, void *priv)
{
	static const char * const names[] = {
		"kmalloc", "kmalloc_node", "kmem_cache_alloc", "kmem_cache_alloc_node",
		"mm_page_alloc",
	};
	struct watch *w = priv;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(tp->name, names[i]) && w->nr < ARRAY_SIZE(w->tp))
			w->tp[w->nr++] = tp;
}

static unsigned int begin_watch(struct watch *w)
{
	unsigned int i, err = 0;

	*w = (struct watch){ };
	for_each_kernel_tracepoint(find_tracepoint, w);
	for (i = 0; i < w->nr; i++)
		err += !!tracepoint_probe_register(w->tp[i], note_allocation, w);
	/* Not before: registering allocates. */
	w->task = current;
	return err;
}

static void end_watch(struct watch *w)
{
	unsigned int i;

	for (i = 0; i < w->nr; i++)
		tracepoint_probe_unregister(w->tp[i], note_allocation, w);
	tracepoint_synchronize_unregister();
}

static unsigned long allocations_of_a_scan(struct kunit *test, enum pymt_kind kind)
{
	unsigned long seen, pages;
	struct watch w;
	struct scene s;
	unsigned int i;

	set_scene(test, &s, kind);
	KUNIT_EXPECT_EQ(test, begin_watch(&w), 0);
	count();
	scan(ULONG_MAX);
	seen = w.seen;
	/* That is how it would show. */
	kfree(kmalloc(100, GFP_NOWAIT));
	pages = __get_free_page(GFP_NOWAIT);
	KUNIT_EXPECT_GE(test, w.seen, seen + 2);
	end_watch(&w);
	for (i = 0; seen && i < w.depth; i++)
		kunit_info(test, "allocates: %pS\n", (void *)w.trace[i]);
	free_page(pages);
	flush_work(&s.th->heap->tick.work);
	end_scene(test, &s);
	return seen;
}

static void allocates_nothing(struct kunit *test)
{
	enum pymt_kind kind = *(const enum pymt_kind *)test->param_value;
	unsigned long least = ULONG_MAX;
	unsigned int i;

	if (!IS_ENABLED(CONFIG_TRACEPOINTS))
		kunit_skip(test, "needs CONFIG_TRACEPOINTS");
	/* Several times: CONFIG_DEBUG_OBJECTS allocates now and then, where it likes. */
	for (i = 0; i < 5 && least; i++)
		least = min(least, allocations_of_a_scan(test, kind));
	KUNIT_EXPECT_EQ_MSG(test, least, 0, "allocations in the shrinker");
}

/* ----------------------------------------------------------- waits for nobody ---- */

static void skips_while_the_registry_is_held(struct kunit *test)
{
	struct scene *s = scene_of(test);
	unsigned long before = free_pages_of(s->th->heap), counted, given;

	mutex_lock(&pym_registry);
	counted = count();
	given = scan(ULONG_MAX);
	mutex_unlock(&pym_registry);
	KUNIT_EXPECT_EQ(test, counted, 0);
	KUNIT_EXPECT_EQ(test, given, SHRINK_STOP);
	KUNIT_EXPECT_EQ(test, free_pages_of(s->th->heap), before);
	KUNIT_EXPECT_GE(test, scan(ULONG_MAX), before);
	end_scene(test, s);
}

static void skips_a_heap_that_is_at_it(struct kunit *test)
{
	struct scene *s = scene_of(test), other;
	unsigned long before = free_pages_of(s->th->heap), given, pages;

	set_scene(test, &other, PYMT_PAGES);
	pages = free_pages_of(other.th->heap);
	mutex_lock(&s->th->heap->reclaim);
	given = scan(ULONG_MAX);
	mutex_unlock(&s->th->heap->reclaim);
	KUNIT_EXPECT_GE(test, given, pages);
	KUNIT_EXPECT_EQ(test, free_pages_of(s->th->heap), before);
	KUNIT_EXPECT_EQ(test, free_pages_of(other.th->heap), 0);
	KUNIT_EXPECT_GE(test, scan(ULONG_MAX), before);
	KUNIT_EXPECT_EQ(test, free_pages_of(s->th->heap), 0);
	end_scene(test, &other);
	end_scene(test, s);
}

/* ------------------------------------------------------------ as others see it ---- */

/* As an administrator would. */
static void drop_caches(struct kunit *test)
{
	struct scene *s = scene_of(test);
	int i;

	pymt_echo(test, "2", "/proc/sys/vm/drop_caches");
	/* Whatever else is under way holds the locks for a moment only. */
	for (i = 0; i < 100 && free_pages_of(s->th->heap); i++)
		msleep(20);
	KUNIT_EXPECT_EQ(test, free_pages_of(s->th->heap), 0);
	end_scene(test, s);
}

struct worker {
	struct pymt_heap *th;
	struct pym_cache *cache;
	struct task_struct *task;
	unsigned long failed, damaged, rounds;
};

static int use(void *arg)
{
	struct worker *w = arg;
	u8 *blocks[100];
	unsigned int i;

	while (!kthread_should_stop()) {
		for (i = 0; i < ARRAY_SIZE(blocks); i++) {
			blocks[i] = pym_cache_alloc(w->cache, GFP_KERNEL);
			if (blocks[i])
				memset(blocks[i], pymt_tag(blocks[i]), 512);
			else
				w->failed++;
		}
		for (i = 0; i < ARRAY_SIZE(blocks); i++) {
			if (blocks[i])
				w->damaged += !!memchr_inv(blocks[i], pymt_tag(blocks[i]), 512);
			pym_cache_free(w->cache, blocks[i]);
		}
		w->rounds++;
		cond_resched();
	}
	return 0;
}

/* Heaps in use, and others that come and go, under one scan after the other. */
static void while_others_work(struct kunit *test)
{
	struct worker workers[2] = {};
	unsigned int i, unsound = 0;
	int cpu = -1;

	for (i = 0; i < ARRAY_SIZE(workers); i++) {
		struct worker *w = &workers[i];

		w->th = i ? workers[0].th :
			    pymt_open(test, *(const enum pymt_kind *)test->param_value, NULL);
		w->cache = pymt_cache(test, w->th->heap, 512);
		cpu = cpumask_next(cpu, cpu_online_mask);
		if (cpu >= nr_cpu_ids)
			cpu = cpumask_first(cpu_online_mask);
		w->task = kthread_create_on_cpu(use, w, cpu, "pymalloc-kunit/%u");
		KUNIT_ASSERT_FALSE(test, IS_ERR(w->task));
		wake_up_process(w->task);
	}
	for (i = 0; i < 300; i++) {
		count();
		scan(ULONG_MAX);
		if (i % 10 == 0) {
			struct pymt_heap *th = pymt_open(test, PYMT_PAGES | PYMT_FRONTS, NULL);

			pym_free(pymt_malloc(test, th->heap, 100));
			scan(1);
			pymt_destroy(test, th);
			unsound += !pymt_is_sound(workers[0].th);
		}
		cond_resched();
	}
	for (i = 0; i < ARRAY_SIZE(workers); i++) {
		kthread_stop(workers[i].task);
		KUNIT_EXPECT_EQ(test, workers[i].failed, 0);
		KUNIT_EXPECT_EQ(test, workers[i].damaged, 0);
		KUNIT_EXPECT_GT(test, workers[i].rounds, 0);
	}
	KUNIT_EXPECT_EQ(test, unsound, 0);
	pymt_check(test, workers[0].th);
}

/* Somebody scans all the time while heaps are made and destroyed. */
static int scan_on(void *arg)
{
	unsigned long *scans = arg;

	while (!kthread_should_stop()) {
		count();
		scan(ULONG_MAX);
		(*scans)++;
		cond_resched();
	}
	return 0;
}

static void ends_race_with_scans(struct kunit *test)
{
	enum pymt_kind kind = *(const enum pymt_kind *)test->param_value;
	int cpu = cpumask_any_but(cpu_online_mask, raw_smp_processor_id());
	unsigned long scans = 0;
	struct task_struct *task;
	unsigned int i, n = 50;
	void **blocks = pymt_array(test, n);

	if (cpu >= nr_cpu_ids)
		cpu = raw_smp_processor_id();
	WRITE_ONCE(pym_decay_ms, 1);
	task = kthread_create_on_cpu(scan_on, &scans, cpu, "pymalloc-kunit/%u");
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	wake_up_process(task);
	for (i = 0; i < 100; i++) {
		struct pymt_heap *th = pymt_open(test, kind, NULL);
		struct pym_cache *cache = pymt_cache(test, th->heap, 512);

		pymt_take_many(test, cache, blocks, n);
		pymt_give_many(cache, blocks, n);
		if (i % 3 == 1)
			pym_heap_reset(th->heap);
		if (i % 3 == 2)
			pym_cache_destroy(cache);
		pymt_destroy(test, th);
	}
	kthread_stop(task);
	KUNIT_EXPECT_GT(test, scans, 10);
}

static const struct kunit_attributes slow = { .speed = KUNIT_SPEED_SLOW };

static struct kunit_case shrinker_cases[] = {
	KUNIT_CASE_PARAM(counts_what_is_free, atomic_kinds_gen_params),
	KUNIT_CASE_PARAM(gives_what_it_counts, atomic_kinds_gen_params),
	KUNIT_CASE(stops_when_it_has_enough),
	KUNIT_CASE_PARAM(sleeping_ones_are_left_to_a_tick, sleeping_kinds_gen_params),
	KUNIT_CASE_PARAM(under_fs_reclaim, atomic_kinds_gen_params),
	KUNIT_CASE_PARAM(under_fs_reclaim_too, sleeping_kinds_gen_params),
	KUNIT_CASE_PARAM(allocates_nothing, all_kinds_gen_params),
	KUNIT_CASE_PARAM(skips_while_the_registry_is_held, atomic_kinds_gen_params),
	KUNIT_CASE_PARAM(skips_a_heap_that_is_at_it, atomic_kinds_gen_params),
	KUNIT_CASE_PARAM(drop_caches, atomic_kinds_gen_params),
	KUNIT_CASE_PARAM_ATTR(while_others_work, atomic_kinds_gen_params, slow),
	KUNIT_CASE_PARAM_ATTR(ends_race_with_scans, all_kinds_gen_params, slow),
	{}
};

static struct kunit_suite shrinker_suite = {
	.name = "pymalloc_shrinker",
	.init = pymt_init_bare,
	.exit = pymt_exit,
	.test_cases = shrinker_cases,
};

kunit_test_suites(&shrinker_suite);
