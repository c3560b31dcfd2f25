// SPDX-License-Identifier: GPL-2.0-only
/*
 * Contexts: bottom halves off, interrupts off, softirq, hard interrupt, and
 * what stands for an NMI. In each, a heap whose provider is atomic works, and
 * one whose provider is not refuses to grow and counts that. That GFP_KERNEL in
 * such a context is caught by might_alloc() is not tried: the splat would be in
 * the log of every good run.
 */
#include <linux/bottom_half.h>
#include <linux/completion.h>
#include <linux/hrtimer.h>
#include <linux/interrupt.h>
#include <linux/irq_work.h>
#include <linux/mm.h>
#include <linux/preempt.h>
#include <linux/slab.h>
#include <linux/timer.h>
#include "fixture.h"

enum context {
	PREEMPT_OFF, RCU_READER, BH_OFF, IRQS_OFF, SOFTIRQ_TIMER, SOFTIRQ_TASKLET,
	HARDIRQ_WORK, HARDIRQ_TIMER, NR_CONTEXTS
};

static const enum context contexts[NR_CONTEXTS] = {
	PREEMPT_OFF, RCU_READER, BH_OFF, IRQS_OFF, SOFTIRQ_TIMER, SOFTIRQ_TASKLET,
	HARDIRQ_WORK, HARDIRQ_TIMER,
};

static void context_desc(const enum context *context, char *desc)
{
	static const char * const names[NR_CONTEXTS] = {
		"preempt-off", "rcu-reader", "bh-off", "irqs-off", "softirq-timer",
		"softirq-tasklet", "hardirq-work", "hardirq-timer",
	};

	strscpy(desc, names[*context], KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(contexts, contexts, context_desc);

/* One call of fn(ctx) in some context. */
struct call {
	void (*fn)(void *ctx);
	void *ctx;
	struct completion done;
	bool as_wanted;			/* it really was that context */
	struct timer_list timer;
	struct tasklet_struct tasklet;
	struct irq_work work;
	struct hrtimer hrtimer;
};

static void run(struct call *call, bool as_wanted)
{
	call->as_wanted = as_wanted;
	call->fn(call->ctx);
	complete(&call->done);
}

static void timer_fn(struct timer_list *timer)
{
	run(container_of(timer, struct call, timer), in_serving_softirq());
}

static void tasklet_fn(struct tasklet_struct *tasklet)
{
	run(container_of(tasklet, struct call, tasklet), in_serving_softirq());
}

static void work_fn(struct irq_work *work)
{
	run(container_of(work, struct call, work), in_hardirq());
}

static enum hrtimer_restart hrtimer_fn(struct hrtimer *timer)
{
	run(container_of(timer, struct call, hrtimer), in_hardirq());
	return HRTIMER_NORESTART;
}

static void call_with_something_off(struct call *call, enum context context)
{
	unsigned long flags;

	switch (context) {
	case PREEMPT_OFF:
		preempt_disable();
		run(call, !IS_ENABLED(CONFIG_PREEMPT_COUNT) || !preemptible());
		preempt_enable();
		break;
	case RCU_READER:
		rcu_read_lock();
		run(call, true);
		rcu_read_unlock();
		break;
	case BH_OFF:
		local_bh_disable();
		run(call, in_softirq());
		local_bh_enable();
		break;
	default:
		local_irq_save(flags);
		run(call, irqs_disabled());
		local_irq_restore(flags);
		break;
	}
}

static void call_in(struct kunit *test, enum context context, void (*fn)(void *ctx), void *ctx)
{
	struct call *call = kunit_kzalloc(test, sizeof(*call), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, call);
	call->fn = fn;
	call->ctx = ctx;
	init_completion(&call->done);
	switch (context) {
	case SOFTIRQ_TIMER:
		timer_setup(&call->timer, timer_fn, 0);
		mod_timer(&call->timer, jiffies + 1);
		break;
	case SOFTIRQ_TASKLET:
		tasklet_setup(&call->tasklet, tasklet_fn);
		tasklet_schedule(&call->tasklet);
		break;
	case HARDIRQ_WORK:
		call->work = IRQ_WORK_INIT(work_fn);
		irq_work_queue(&call->work);
		break;
	case HARDIRQ_TIMER:
		hrtimer_init(&call->hrtimer, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
		call->hrtimer.function = hrtimer_fn;
		hrtimer_start(&call->hrtimer, ms_to_ktime(1), HRTIMER_MODE_REL);
		break;
	default:
		call_with_something_off(call, context);
		break;
	}
	wait_for_completion(&call->done);
	if (context == SOFTIRQ_TIMER)
		timer_delete_sync(&call->timer);
	else if (context == SOFTIRQ_TASKLET)
		tasklet_kill(&call->tasklet);
	else if (context == HARDIRQ_WORK)
		irq_work_sync(&call->work);
	else if (context == HARDIRQ_TIMER)
		hrtimer_cancel(&call->hrtimer);
	KUNIT_EXPECT_TRUE_MSG(test, call->as_wanted, "not the context that was asked for");
}

/* ----------------------------------------------------------- what is done ---- */

struct job {
	struct pymt_heap *th;
	struct pym_cache *cache;
	void *block, *small, *large, *given[3];
	void *many[40];
	size_t bulk;
};

static struct job *new_job(struct kunit *test, enum pymt_kind kind)
{
	struct job *job = kunit_kzalloc(test, sizeof(*job), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, job);
	job->th = pymt_open(test, kind, NULL);
	job->cache = pymt_cache(test, job->th->heap, 512);
	if (job->th->provider)
		job->th->provider->atomic = true;
	return job;
}

static enum context context_of(struct kunit *test)
{
	return *(const enum context *)test->param_value;
}

static void allocate(void *ctx)
{
	struct job *job = ctx;

	job->block = pym_cache_zalloc(job->cache, GFP_ATOMIC);
	job->bulk = pym_cache_alloc_bulk(job->cache, GFP_ATOMIC, 40, job->many);
	job->small = pym_malloc(job->th->heap, 100, GFP_ATOMIC);
	job->large = pym_malloc(job->th->heap, 5000, GFP_ATOMIC);
}

static void free_all(void *ctx)
{
	struct job *job = ctx;

	pym_cache_free(job->cache, job->block);
	pym_cache_free_bulk(job->cache, job->bulk, job->many);
	pym_free(job->small);
	pym_free(job->large);
}

static void expect_empty(struct kunit *test, struct job *job)
{
	struct pym_heap_stats stats;

	pymt_stats(test, job->th->heap, &stats);
	KUNIT_EXPECT_EQ(test, stats.live, 0);
	KUNIT_EXPECT_EQ(test, stats.pass_through_live, 0);
}

static void pages_heap_works(struct kunit *test)
{
	struct job *job = new_job(test, PYMT_PAGES);

	call_in(test, context_of(test), allocate, job);
	KUNIT_EXPECT_NOT_NULL(test, job->block);
	KUNIT_EXPECT_EQ(test, job->bulk, 40);
	KUNIT_EXPECT_NOT_NULL(test, job->small);
	KUNIT_EXPECT_NOT_NULL(test, job->large);
	pymt_check(test, job->th);
	call_in(test, context_of(test), free_all, job);
	expect_empty(test, job);
}

static void atomic_provider_works(struct kunit *test)
{
	struct job *job = new_job(test, PYMT_SPLIT);

	call_in(test, context_of(test), allocate, job);
	KUNIT_EXPECT_NOT_NULL(test, job->block);
	KUNIT_EXPECT_EQ(test, job->bulk, 40);
	KUNIT_EXPECT_NOT_NULL(test, job->small);
	call_in(test, context_of(test), free_all, job);
	expect_empty(test, job);
	job->th->provider->atomic = false;
}

/* No growth, no BUG in vmalloc(): NULL, and a number in the statistics. */
static struct job *sleeping_provider_is_refused(struct kunit *test, enum pymt_kind kind)
{
	struct job *job = new_job(test, kind);
	struct pym_heap_stats stats;

	call_in(test, context_of(test), allocate, job);
	KUNIT_EXPECT_NULL(test, job->block);
	KUNIT_EXPECT_EQ(test, job->bulk, 0);
	KUNIT_EXPECT_NULL(test, job->small);
	KUNIT_EXPECT_NOT_NULL_MSG(test, job->large, "pass-through does not need the provider");
	pymt_stats(test, job->th->heap, &stats);
	KUNIT_EXPECT_EQ(test, stats.refused, 3);
	KUNIT_EXPECT_EQ(test, stats.failures, 3);
	KUNIT_EXPECT_EQ(test, stats.limit_hits, 0);
	KUNIT_EXPECT_EQ(test, stats.arenas, 0);
	call_in(test, context_of(test), free_all, job);
	expect_empty(test, job);
	return job;
}

static void vmalloc_heap_refuses(struct kunit *test)
{
	struct job *job = sleeping_provider_is_refused(test, PYMT_VMALLOC);

	KUNIT_EXPECT_PTR_EQ(test, job->th->heap->provider, &pym_provider_vmalloc);
}

static void plain_provider_is_not_called(struct kunit *test)
{
	struct job *job = sleeping_provider_is_refused(test, PYMT_PLAIN);

	KUNIT_EXPECT_EQ(test, pymt_calls(job->th), 0);
	job->th->provider->atomic = false;
}

/* What the pools have can be had anywhere. */
static void vmalloc_heap_with_pools(struct kunit *test)
{
	struct job *job = new_job(test, PYMT_VMALLOC);
	void *keep = pymt_take(test, job->cache);
	struct pym_heap_stats stats;

	pym_free(pymt_malloc(test, job->th->heap, 100));
	call_in(test, context_of(test), allocate, job);
	KUNIT_EXPECT_NOT_NULL(test, job->block);
	KUNIT_EXPECT_EQ(test, job->bulk, 40);
	KUNIT_EXPECT_NOT_NULL(test, job->small);
	pymt_stats(test, job->th->heap, &stats);
	KUNIT_EXPECT_EQ(test, stats.refused, 0);
	call_in(test, context_of(test), free_all, job);
	pym_cache_free(job->cache, keep);
	expect_empty(test, job);
}

/* Whole arenas become free there; what may sleep is left to a work item. */
static void free_many(void *ctx)
{
	struct job *job = ctx;
	int i;

	for (i = 0; i < 3; i++)
		pym_free(job->given[i]);
	pym_cache_free_bulk(job->cache, job->bulk, job->many);
}

static void frees_give_back_later(struct kunit *test)
{
	struct job *job = new_job(test, PYMT_VMALLOC);
	void **blocks = pymt_array(test, (16 + 32) * 8);
	struct pym_heap_stats stats;
	int i;

	pymt_take_many(test, job->cache, blocks, (16 + 32) * 8);
	memcpy(job->many, blocks, sizeof(job->many));
	job->bulk = 40;
	/* More than kmalloc() can give. */
	for (i = 0; i < 3; i++)
		job->given[i] = pymt_malloc(test, job->th->heap, KMALLOC_MAX_SIZE + 1);
	KUNIT_EXPECT_TRUE(test, is_vmalloc_addr(job->given[0]));
	/* All but the 40 blocks that the context will free. */
	pymt_give_many(job->cache, blocks + 40, (16 + 32) * 8 - 40);
	call_in(test, context_of(test), free_many, job);
	flush_work(&job->th->heap->reap_work);
	pymt_stats(test, job->th->heap, &stats);
	KUNIT_EXPECT_EQ(test, stats.live, 0);
	KUNIT_EXPECT_LE(test, stats.arenas, PYM_SPARE_ARENAS);
	pymt_check(test, job->th);
}

/* ------------------------------------------------------------------ NMI ---- */

/*
 * Not a real one: interrupts off and the preemption count of an NMI, which is
 * all that in_nmi() looks at.
 */
static void as_in_nmi(void (*fn)(void *ctx), void *ctx)
{
	unsigned long flags;

	local_irq_save(flags);
	__preempt_count_add(NMI_OFFSET + HARDIRQ_OFFSET);
	fn(ctx);
	__preempt_count_sub(NMI_OFFSET + HARDIRQ_OFFSET);
	local_irq_restore(flags);
}

static void nmi_allocation(struct kunit *test)
{
	struct job *job = new_job(test, PYMT_PAGES);
	struct pym_heap_stats before, after;

	pymt_stats(test, job->th->heap, &before);
	as_in_nmi(allocate, job);
	KUNIT_EXPECT_NULL(test, job->block);
	KUNIT_EXPECT_EQ(test, job->bulk, 0);
	KUNIT_EXPECT_NULL(test, job->small);
	KUNIT_EXPECT_NULL(test, job->large);
	pymt_stats(test, job->th->heap, &after);
	pymt_expect_same(test, &before, &after);
}

static void nmi_free(struct kunit *test)
{
	struct job *job = new_job(test, PYMT_PAGES);
	struct pym_heap_stats before, after;

	allocate(job);
	pymt_stats(test, job->th->heap, &before);
	as_in_nmi(free_all, job);
	pymt_expect_misuse(test, PYM_MISUSE_NMI, 4);
	pymt_stats(test, job->th->heap, &after);
	pymt_expect_same(test, &before, &after);
	free_all(job);
	expect_empty(test, job);
}

static struct kunit_case context_cases[] = {
	KUNIT_CASE_PARAM(pages_heap_works, contexts_gen_params),
	KUNIT_CASE_PARAM(atomic_provider_works, contexts_gen_params),
	KUNIT_CASE_PARAM(vmalloc_heap_refuses, contexts_gen_params),
	KUNIT_CASE_PARAM(plain_provider_is_not_called, contexts_gen_params),
	KUNIT_CASE_PARAM(vmalloc_heap_with_pools, contexts_gen_params),
	KUNIT_CASE_PARAM(frees_give_back_later, contexts_gen_params),
	KUNIT_CASE(nmi_allocation),
	KUNIT_CASE(nmi_free),
	{}
};

static struct kunit_suite context_suite = {
	.name = "pymalloc_context",
	.init = pymt_init_bare,
	.exit = pymt_exit,
	.test_cases = context_cases,
};

kunit_test_suites(&context_suite);
