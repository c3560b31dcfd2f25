// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ledger of a heap that is never at rest: it adds up all the same.
 */
#include <linux/cpumask.h>
#include <linux/kthread.h>
#include "fixture.h"

/* So many that reading them all takes longer than a pool stays where it is. */
#define CACHES		200
#define LEDGERS		300

/* On another CPU, pools that come and go: each alloc takes one, each free puts it back. */
static int churn(void *arg)
{
	struct pym_cache *cache = arg;
	unsigned long n = 0;

	while (!kthread_should_stop()) {
		pym_cache_free(cache, pym_cache_alloc(cache, GFP_KERNEL));
		if (++n % 64 == 0)
			cond_resched();
	}
	return 0;
}

static void adds_up_while_pools_move(struct kunit *test)
{
	struct pymt_heap *th = pymt_heap(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 512);
	int cpu = cpumask_any_but(cpu_online_mask, raw_smp_processor_id());
	struct pym_heap_stats stats;
	struct task_struct *task;
	unsigned int i, bad = 0;
	u64 moves;

	if (cpu >= nr_cpu_ids)
		kunit_skip(test, "needs CONFIG_SMP and two CPUs");
	for (i = 0; i < CACHES; i++)
		pymt_take(test, pymt_cache(test, th->heap, 64));
	task = kthread_create(churn, cache, "pymalloc-churn");
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	kthread_bind(task, cpu);
	moves = READ_ONCE(th->heap->acct.moves);
	wake_up_process(task);
	for (i = 0; i < LEDGERS; i++) {
		mutex_lock(&pym_registry);
		bad += !pym_heap_ledger(th->heap, &stats);
		mutex_unlock(&pym_registry);
		bad += stats.live < CACHES || stats.live > CACHES + 1;
	}
	kthread_stop(task);
	KUNIT_EXPECT_EQ(test, bad, 0);
	KUNIT_EXPECT_GT_MSG(test, th->heap->acct.moves - moves, LEDGERS, "pools have moved");
	pymt_check(test, th);
}

static struct kunit_case ledger_cases[] = {
	KUNIT_CASE(adds_up_while_pools_move),
	{}
};

static struct kunit_suite ledger_suite = {
	.name = "pymalloc_ledger",
	.init = pymt_init,
	.exit = pymt_exit,
	.test_cases = ledger_cases,
};

kunit_test_suites(&ledger_suite);
