// SPDX-License-Identifier: GPL-2.0-only
/*
 * CPUs that come and go while others, and threads that run where they can, allocate
 * and free: nothing is lost, and what a dead CPU had in its fronts is in the pools.
 */
#include <linux/cpu.h>
#include <linux/cpumask.h>
#include <linux/kthread.h>
#include <linux/prandom.h>
#include <linux/random.h>
#include <linux/workqueue.h>
#include "within.h"

#ifdef CONFIG_HOTPLUG_CPU

#define ROUNDS		6
#define NR_WORKERS	3
#define OWN		200
#define SIZE		192

struct shared {
	struct pymt_heap *th;
	struct pym_cache *busy;		/* everybody's */
	struct pym_cache *quiet;	/* of nobody but the CPU that goes */
};

struct worker {
	struct shared *shared;
	struct task_struct *task;
	u8 id;
	struct rnd_state rnd;
	u64 *own[OWN];
	u64 number[OWN];
	u64 allocs, frees;
	unsigned long failed, damaged, visits;
};

static u32 below(struct worker *w, u32 n)
{
	return prandom_u32_state(&w->rnd) % n;
}

static void take(struct worker *w, unsigned int i)
{
	w->own[i] = below(w, 2) ? pym_cache_alloc(w->shared->busy, GFP_KERNEL) :
				  pym_malloc(w->shared->th->heap, SIZE, GFP_KERNEL);
	if (!w->own[i]) {
		w->failed++;
		return;
	}
	w->number[i] = ++w->allocs << 8 | w->id;
	memset64(w->own[i], w->number[i], SIZE / sizeof(u64));
}

static void give(struct worker *w, unsigned int i)
{
	unsigned int word;

	for (word = 0; word < SIZE / sizeof(u64); word++)
		w->damaged += w->own[i][word] != w->number[i];
	/* Which of the two it came from is to be known from the block. */
	rcu_read_lock();
	word = READ_ONCE(pym_lookup(w->own[i])->owner) == w->shared->busy;
	rcu_read_unlock();
	if (word)
		pym_cache_free(w->shared->busy, w->own[i]);
	else
		pym_free(w->own[i]);
	w->frees++;
	w->own[i] = NULL;
}

static int work(void *arg)
{
	struct worker *w = arg;
	unsigned int i;
	int cpu = -1;

	while (!kthread_should_stop()) {
		i = below(w, OWN);
		if (w->own[i])
			give(w, i);
		else
			take(w, i);
		if (cpu != raw_smp_processor_id()) {
			cpu = raw_smp_processor_id();
			w->visits++;
		}
		/* So that there is something to be scheduled elsewhere for. */
		if (!below(w, 500))
			schedule_timeout_interruptible(1);
		cond_resched();
	}
	return 0;
}

/* Caches that come and go as well, for the list that a dead CPU's is drained by. */
static int churn(void *arg)
{
	struct worker *w = arg;
	struct pym_cache_args args = { .heap = w->shared->th->heap };

	while (!kthread_should_stop()) {
		struct pym_cache *cache = pym_cache_create("churn", 64, &args);
		unsigned int i, n = below(w, OWN);

		for (i = 0; cache && i < n; i++)
			w->own[i] = pym_cache_alloc(cache, GFP_KERNEL);
		w->failed += !cache;
		for (i = 0; cache && i < n; i++)
			pym_cache_free(cache, w->own[i]);
		pym_cache_destroy(cache);
		w->allocs++;
		schedule_timeout_interruptible(1);
	}
	return 0;
}

/* Fill the fronts of the CPU that this runs on. */
static long fill_here(void *arg)
{
	struct shared *shared = arg;
	void *blocks[80];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(blocks); i++)
		blocks[i] = pym_cache_alloc(shared->quiet, GFP_KERNEL);
	for (i = 0; i < ARRAY_SIZE(blocks); i++)
		pym_cache_free(shared->quiet, blocks[i]);
	return 0;
}

static u32 cached_at(struct pym_cache *cache, int cpu)
{
	return cache && cache->fronts ? READ_ONCE(per_cpu_ptr(cache->fronts, cpu)->n) : 0;
}

static struct pym_cache *class_of_size(struct shared *shared)
{
	return READ_ONCE(shared->th->heap->class[pym_size_to_class(SIZE)]);
}

static void note_invariant(void *ctx, const char *invariant, const char *where)
{
	pr_err("broken invariant: %s at %s\n", invariant, where);
}

/* One CPU goes and comes back, and is looked at in between. */
static void one_round(struct kunit *test, struct shared *shared, int cpu)
{
	struct pym_heap_stats stats;
	int err;

	KUNIT_EXPECT_EQ(test, work_on_cpu(cpu, fill_here, shared), 0);
	KUNIT_EXPECT_GT_MSG(test, cached_at(shared->quiet, cpu), 0, "there is something to lose");
	err = remove_cpu(cpu);
	KUNIT_EXPECT_EQ(test, err, 0);
	if (err)
		return;
	KUNIT_EXPECT_EQ(test, cached_at(shared->quiet, cpu), 0);
	KUNIT_EXPECT_EQ(test, cached_at(shared->busy, cpu), 0);
	KUNIT_EXPECT_EQ(test, cached_at(class_of_size(shared), cpu), 0);
	pym_heap_shrink(shared->th->heap);
	pymt_stats(test, shared->th->heap, &stats);
	mutex_lock(&pym_registry);
	KUNIT_EXPECT_EQ(test, pym_heap_verify(shared->th->heap, note_invariant, NULL), 0);
	mutex_unlock(&pym_registry);
	KUNIT_EXPECT_EQ(test, add_cpu(cpu), 0);
}

static struct worker *start(struct kunit *test, struct shared *shared)
{
	struct worker *workers = kunit_kcalloc(test, NR_WORKERS + 1, sizeof(*workers), GFP_KERNEL);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, workers);
	for (i = 0; i <= NR_WORKERS; i++) {
		struct worker *w = &workers[i];

		w->shared = shared;
		w->id = i;
		prandom_seed_state(&w->rnd, get_random_u64());
		w->task = kthread_run(i < NR_WORKERS ? work : churn, w, "pymalloc-kunit/%u", i);
		if (IS_ERR(w->task))
			KUNIT_FAIL(test, "no thread: %ld", PTR_ERR(w->task));
	}
	return workers;
}

static void finish(struct kunit *test, struct shared *shared, struct worker *workers)
{
	struct pym_cache_stats busy = { }, class = { };
	u64 allocs = 0, frees = 0;
	struct worker *w;
	unsigned int i;

	for (w = workers; w <= workers + NR_WORKERS; w++)
		if (!IS_ERR(w->task))
			kthread_stop(w->task);
	for (w = workers; w < workers + NR_WORKERS; w++) {
		for (i = 0; i < OWN; i++)
			if (w->own[i])
				give(w, i);
		allocs += w->allocs;
		frees += w->frees;
		KUNIT_EXPECT_EQ(test, w->failed, 0);
		KUNIT_EXPECT_EQ_MSG(test, w->damaged, 0, "words of blocks that changed");
		kunit_info(test, "%llu allocations, %lu visits of a CPU\n", w->allocs, w->visits);
	}
	kunit_info(test, "%llu caches came and went\n", workers[NR_WORKERS].allocs);
	KUNIT_EXPECT_EQ(test, workers[NR_WORKERS].failed, 0);
	KUNIT_EXPECT_EQ(test, allocs, frees);
	pym_cache_stats(shared->busy, &busy);
	pym_cache_stats(class_of_size(shared), &class);
	KUNIT_EXPECT_EQ_MSG(test, busy.allocs + class.allocs, allocs, "allocations, exactly");
	KUNIT_EXPECT_EQ_MSG(test, busy.frees + class.frees, frees, "frees, exactly");
	KUNIT_EXPECT_EQ(test, busy.live + class.live, 0);
	pymt_check(test, shared->th);
	pym_heap_shrink(shared->th->heap);
	pym_cache_stats(shared->busy, &busy);
	KUNIT_EXPECT_EQ(test, busy.pools, 0);
	KUNIT_EXPECT_EQ(test, busy.cached, 0);
}

static const enum pymt_kind kinds[] = { PYMT_PAGES, PYMT_VMALLOC };

static void kind_desc(const enum pymt_kind *kind, char *desc)
{
	strscpy(desc, *kind == PYMT_PAGES ? "pages" : "vmalloc", KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(kinds, kinds, kind_desc);

static void while_others_work(struct kunit *test)
{
	enum pymt_kind kind = *(const enum pymt_kind *)test->param_value;
	struct shared *shared = kunit_kzalloc(test, sizeof(*shared), GFP_KERNEL);
	int cpu = cpumask_last(cpu_online_mask);
	struct worker *workers;
	unsigned int i;

	if (cpu == cpumask_first(cpu_online_mask))
		kunit_skip(test, "needs two CPUs");
	KUNIT_ASSERT_NOT_NULL(test, shared);
	shared->th = pymt_open(test, kind | PYMT_FRONTS, NULL);
	shared->busy = pymt_cache(test, shared->th->heap, SIZE);
	shared->quiet = pymt_cache(test, shared->th->heap, SIZE);
	workers = start(test, shared);
	for (i = 0; i < ROUNDS; i++)
		one_round(test, shared, cpu);
	finish(test, shared, workers);
}

static const struct kunit_attributes slow = { .speed = KUNIT_SPEED_SLOW };

static struct kunit_case hotplug_cases[] = {
	KUNIT_CASE_PARAM_ATTR(while_others_work, kinds_gen_params, slow),
	{}
};

static struct kunit_suite hotplug_suite = {
	.name = "pymalloc_hotplug",
	.init = pymt_init_bare,
	.exit = pymt_exit,
	.test_cases = hotplug_cases,
};

kunit_test_suites(&hotplug_suite);

#endif /* CONFIG_HOTPLUG_CPU */
