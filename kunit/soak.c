// SPDX-License-Identifier: GPL-2.0-only
/*
 * A consumer of pymalloc, as another module would be, that does everything right, very
 * often: whatever is switched on meanwhile, nothing may be reported, no block may be
 * changed by another's user, and in the end the heaps must have as many live blocks as
 * the models of all workers together. Nothing here looks inside pymalloc.
 *
 * There is a worker on each CPU, a timer that interrupts it and does the same, and a
 * ring through which they give blocks to each other, so that what was allocated on one
 * CPU is freed on another. There are heaps over pages and over vmalloc, and one that
 * isolates its caches and hands out blocks in any order, each with caches of several kinds.
 *
 * "<name> <operations>" written to the parameter "turn" does so many, with progress
 * under that name in the log, and says when it has ended:
 *
 *	pymalloc_soak: turn <name>: <operations> operations, <refused> refused, <live> live
 *
 * "empty" frees everything. Writing fails with EIO if something was not as it must be.
 */
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/hrtimer.h>
#include <linux/kernel.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/version.h>
#include "soak.h"

static unsigned long seed = 20240229;
module_param(seed, ulong, 0444);
MODULE_PARM_DESC(seed, "of the random numbers: what is done, and to which block");

#define OWN		700		/* blocks of a worker at most */
#define IRQ_OWN		24		/* the same, of the timer that interrupts it */

struct worker {
	struct actor thread, irq;
	struct task_struct *task;
	struct hrtimer timer;
	u64 until;			/* operations of this turn, of both actors */
	struct block own[OWN];
	struct block irq_own[IRQ_OWN];
};

static struct worker *workers;		/* one for each CPU that was online */
static unsigned int nr_workers;
static const char *turn_name;
static struct completion turn_done;
static atomic_t at_work;

/* ---------------------------------------------------------------- workers -- */

static enum hrtimer_restart interrupt(struct hrtimer *timer)
{
	struct worker *w = container_of(timer, struct worker, timer);
	unsigned int n = 1 + below(&w->irq, 8);

	while (n--)
		soak_act(&w->irq);
	hrtimer_forward_now(timer, ns_to_ktime(100000 + below(&w->irq, 300000)));
	return HRTIMER_RESTART;
}

static u64 done_by(const struct worker *w)
{
	return w->thread.operations + READ_ONCE(w->irq.operations);
}

static int work(void *arg)
{
	struct worker *w = arg;
	u64 from = done_by(w), step = max(1ULL, (w->until - from) / 10), told = 0;

	hrtimer_start(&w->timer, ns_to_ktime(100000), HRTIMER_MODE_REL_PINNED);
	while (done_by(w) < w->until) {
		soak_act_in_thread(&w->thread);
		cond_resched();
		if (w == workers && done_by(w) - from >= (told + 1) * step && told < 9)
			pr_info("turn %s: %llu0 %%\n", turn_name, ++told);
	}
	hrtimer_cancel(&w->timer);
	if (atomic_dec_and_test(&at_work))
		complete(&turn_done);
	return 0;
}

/* Nobody is at work. Returns how many blocks are live, all as they must be, or -EIO. */
static long look_at_all(void)
{
	unsigned long live[NR_HEAPS] = { }, wrongs = 0, all = 0;
	struct worker *w;
	unsigned int i;

	soak_count(&workers->thread, soak_ring, RING, live);
	for (w = workers; w < workers + nr_workers; w++) {
		soak_count(&w->thread, w->own, OWN, live);
		soak_count(&w->irq, w->irq_own, IRQ_OWN, live);
		wrongs += w->thread.wrong + w->irq.wrong;
	}
	for (i = 0; i < NR_HEAPS; i++) {
		struct pym_heap *heap = soak_heaps[i].heap;
		struct pym_heap_stats stats;
		unsigned int s = 0;

		/* What pym_cache_free_rcu() was given is freed some time after a grace period. */
		for (pym_heap_stats(heap, &stats); stats.live > live[i] && s < 30; s++) {
			msleep(1000);
			pym_heap_stats(heap, &stats);
		}
		if (stats.live != live[i]) {
			pr_err("wrong: heap %s has %lu live blocks, its users have %lu\n",
			       soak_heaps[i].name, stats.live, live[i]);
			wrongs++;
		}
		all += live[i];
	}
	return wrongs ? -EIO : all;
}

static int start_worker(struct worker *w)
{
	w->task = kthread_create_on_cpu(work, w, w->thread.id / 2, "soak/%u");
	if (IS_ERR(w->task))
		return PTR_ERR(w->task);
	get_task_struct(w->task);
	return 0;
}

static void stop_worker(struct worker *w)
{
	kthread_stop(w->task);
	put_task_struct(w->task);
}

static int run_turn(const char *name, u64 operations)
{
	u64 refused = 0, operated = 0;
	struct worker *w;
	int err = 0;
	long live;

	for (w = workers; w < workers + nr_workers; w++) {
		w->until = done_by(w) + operations / nr_workers;
		refused -= w->thread.refused + w->irq.refused;
		operated -= done_by(w);
		err = start_worker(w);
		if (err)
			break;
	}
	if (err) {
		while (w-- > workers)
			stop_worker(w);
		return err;
	}
	turn_name = name;
	init_completion(&turn_done);
	atomic_set(&at_work, nr_workers);
	for (w = workers; w < workers + nr_workers; w++)
		wake_up_process(w->task);
	/* So that hours of it are no hung task; nothing may be interrupted, though. */
	while (!wait_for_completion_timeout(&turn_done, HZ))
		;
	for (w = workers; w < workers + nr_workers; w++) {
		stop_worker(w);
		refused += w->thread.refused + w->irq.refused;
		operated += done_by(w);
	}
	live = look_at_all();
	if (live < 0)
		return live;
	pr_info("turn %s: %llu operations, %llu refused, %ld live\n", name, operated, refused,
		live);
	return 0;
}

static int empty(void)
{
	struct worker *w;
	long live;

	soak_release_all(&workers->thread, soak_ring, RING);
	for (w = workers; w < workers + nr_workers; w++) {
		soak_release_all(&w->thread, w->own, OWN);
		soak_release_all(&w->thread, w->irq_own, IRQ_OWN);
	}
	live = look_at_all();
	return live < 0 ? live : live ? -EIO : 0;
}

/* Writers are serialized by the lock of the module's parameters. */
static int turn_set(const char *value, const struct kernel_param *unused)
{
	char name[64];
	u64 operations;

	/* On the command line: there are no heaps yet. */
	if (!workers)
		return -EINVAL;
	if (sysfs_streq(value, "empty"))
		return empty();
	if (sscanf(value, "%63s %llu", name, &operations) != 2)
		return -EINVAL;
	return run_turn(name, operations);
}

static const struct kernel_param_ops turn_ops = { .set = turn_set };
module_param_cb(turn, &turn_ops, NULL, 0200);
MODULE_PARM_DESC(turn, "a name and how many operations to do, or \"empty\"");

/* ----------------------------------------------------------------- module -- */

static void init_actor(struct actor *a, unsigned int cpu, struct block *own, unsigned int nr_own,
		       gfp_t gfp)
{
	a->own = own;
	a->nr_own = nr_own;
	a->id = 2 * cpu + (gfp == GFP_KERNEL);
	a->gfp = gfp;
	prandom_seed_state(&a->rnd, seed + a->id);
}

static int __init soak_init(void)
{
	unsigned int cpu;
	int err;

	workers = kvcalloc(num_online_cpus(), sizeof(*workers), GFP_KERNEL);
	if (!workers)
		return -ENOMEM;
	err = soak_create_heaps();
	if (err) {
		soak_destroy_heaps();
		kvfree(workers);
		return err;
	}
	for_each_online_cpu(cpu) {
		struct worker *w = &workers[nr_workers++];

		init_actor(&w->thread, cpu, w->own, OWN, GFP_KERNEL);
		init_actor(&w->irq, cpu, w->irq_own, IRQ_OWN, GFP_ATOMIC);
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
		hrtimer_setup(&w->timer, interrupt, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED);
#else
		hrtimer_init(&w->timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED);
		w->timer.function = interrupt;
#endif
		if (nr_workers == num_online_cpus())
			break;
	}
	pr_info("seed %lu, %u workers\n", seed, nr_workers);
	return 0;
}
module_init(soak_init);

static void __exit soak_exit(void)
{
	soak_destroy_heaps();
	kvfree(workers);
}
module_exit(soak_exit);

MODULE_DESCRIPTION("a consumer of pymalloc that does nothing wrong, for a long time");
MODULE_LICENSE("GPL");
