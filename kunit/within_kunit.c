// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calling a function in a given context, and proof that it was that one.
 */
#include <linux/bottom_half.h>
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/hrtimer.h>
#include <linux/interrupt.h>
#include <linux/irq_work.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/smp.h>
#include <linux/timer.h>
#include <linux/workqueue.h>
#include "within.h"
#if PYMT_HAS_NMI
#include <asm/nmi.h>
#endif

const char * const pymt_context_names[PYMT_NR_CONTEXTS] = {
	[PYMT_TASK]		= "task",
	[PYMT_PREEMPT_OFF]	= "preempt-off",
	[PYMT_RCU_READER]	= "rcu-reader",
	[PYMT_BH_OFF]		= "bh-off",
	[PYMT_IRQS_OFF]		= "irqs-off",
	[PYMT_SOFTIRQ_TIMER]	= "softirq-timer",
	[PYMT_SOFTIRQ_TASKLET]	= "softirq-tasklet",
	[PYMT_HARDIRQ_WORK]	= "hardirq-work",
	[PYMT_HARDIRQ_TIMER]	= "hardirq-timer",
	[PYMT_RCU_CALLBACK]	= "rcu-callback",
	[PYMT_WORKQUEUE]	= "workqueue",
	[PYMT_NMI]		= "nmi",
};

/* One call of fn(arg) in some context. */
struct call {
	void (*fn)(void *arg);
	void *arg;
	struct completion done;
	bool as_wanted;			/* it really was that context */
	unsigned int runs;
	struct timer_list timer;
	struct tasklet_struct tasklet;
	struct irq_work irq_work;
	struct hrtimer hrtimer;
	struct rcu_head rcu;
	struct work_struct work;
};

static void run(struct call *call, bool as_wanted)
{
	call->as_wanted = as_wanted;
	call->runs++;
	call->fn(call->arg);
}

static void run_there(struct call *call, bool as_wanted)
{
	run(call, as_wanted);
	complete(&call->done);
}

static void timer_fn(struct timer_list *timer)
{
	run_there(container_of(timer, struct call, timer), in_serving_softirq());
}

static void tasklet_fn(struct tasklet_struct *tasklet)
{
	run_there(container_of(tasklet, struct call, tasklet), in_serving_softirq());
}

static void irq_work_fn(struct irq_work *work)
{
	run_there(container_of(work, struct call, irq_work), in_hardirq());
}

static enum hrtimer_restart hrtimer_fn(struct hrtimer *timer)
{
	run_there(container_of(timer, struct call, hrtimer), in_hardirq());
	return HRTIMER_NORESTART;
}

static void rcu_fn(struct rcu_head *rcu)
{
	/* In softirq, or in a thread of RCU's with bottom halves off. */
	run_there(container_of(rcu, struct call, rcu), in_softirq());
}

static void workqueue_fn(struct work_struct *work)
{
	run_there(container_of(work, struct call, work), current->flags & PF_WQ_WORKER);
}

/* ------------------------------------------------------------------ NMI ---- */

#if PYMT_HAS_NMI

#define NMI_NAME	"pymalloc_kunit"

static struct call *nmi_call;		/* the one under way, on nmi_cpu */
static int nmi_cpu;

static int nmi_fn(unsigned int type, struct pt_regs *regs)
{
	struct call *call = READ_ONCE(nmi_call);

	/* Others are not ours to claim. */
	if (!call || nmi_cpu != raw_smp_processor_id())
		return NMI_DONE;
	WRITE_ONCE(nmi_call, NULL);
	run(call, in_nmi());
	return NMI_HANDLED;
}

/* The vector's own number: its entry, its stack, its context, at once. */
static void call_in_nmi(struct kunit *test, struct call *call)
{
	KUNIT_ASSERT_EQ(test, register_nmi_handler(NMI_LOCAL, nmi_fn, 0, NMI_NAME), 0);
	preempt_disable();
	nmi_cpu = smp_processor_id();
	WRITE_ONCE(nmi_call, call);
	asm volatile("int	$2" : : : "memory");
	WRITE_ONCE(nmi_call, NULL);
	preempt_enable();
	unregister_nmi_handler(NMI_LOCAL, NMI_NAME);
}

#else

/* All that in_nmi() looks at. */
static void call_in_nmi(struct kunit *test, struct call *call)
{
	unsigned long flags;

	local_irq_save(flags);
	__preempt_count_add(NMI_OFFSET + HARDIRQ_OFFSET);
	run(call, in_nmi());
	__preempt_count_sub(NMI_OFFSET + HARDIRQ_OFFSET);
	local_irq_restore(flags);
}

#endif

/* ---------------------------------------------------------- the others ---- */

static void call_with_something_off(struct call *call, enum pymt_context context)
{
	unsigned long flags;

	switch (context) {
	case PYMT_PREEMPT_OFF:
		preempt_disable();
		run(call, !IS_ENABLED(CONFIG_PREEMPT_COUNT) || !preemptible());
		preempt_enable();
		break;
	case PYMT_RCU_READER:
		rcu_read_lock();
		run(call, true);
		rcu_read_unlock();
		break;
	case PYMT_BH_OFF:
		local_bh_disable();
		run(call, in_softirq());
		local_bh_enable();
		break;
	case PYMT_IRQS_OFF:
		local_irq_save(flags);
		run(call, irqs_disabled());
		local_irq_restore(flags);
		break;
	default:
		run(call, !in_interrupt() && !irqs_disabled());
		break;
	}
}

static void start_hrtimer(struct hrtimer *timer)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
	hrtimer_setup(timer, hrtimer_fn, CLOCK_MONOTONIC, PYMT_HRTIMER_MODE);
#else
	hrtimer_init(timer, CLOCK_MONOTONIC, PYMT_HRTIMER_MODE);
	timer->function = hrtimer_fn;
#endif
	hrtimer_start(timer, ms_to_ktime(1), PYMT_HRTIMER_MODE);
}

static void wait_for(struct kunit *test, struct call *call)
{
	unsigned long left = wait_for_completion_timeout(&call->done, 60 * HZ);

	KUNIT_EXPECT_NE_MSG(test, left, 0, "the call did not happen within a minute");
}

/**
 * pymt_call_in() - call a function in a context, once, and wait for it
 * @test: the case
 * @context: where
 * @fn: the function; it must not use what the context forbids
 * @arg: its argument
 *
 * It runs on the CPU of the caller, if that one stays where it is.
 */
void pymt_call_in(struct kunit *test, enum pymt_context context, void (*fn)(void *arg),
		  void *arg)
{
	struct call *call = kunit_kzalloc(test, sizeof(*call), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, call);
	call->fn = fn;
	call->arg = arg;
	init_completion(&call->done);
	switch (context) {
	case PYMT_SOFTIRQ_TIMER:
		timer_setup(&call->timer, timer_fn, TIMER_PINNED);
		mod_timer(&call->timer, jiffies + 1);
		wait_for(test, call);
		timer_delete_sync(&call->timer);
		break;
	case PYMT_SOFTIRQ_TASKLET:
		tasklet_setup(&call->tasklet, tasklet_fn);
		tasklet_schedule(&call->tasklet);
		wait_for(test, call);
		tasklet_kill(&call->tasklet);
		break;
	case PYMT_HARDIRQ_WORK:
		call->irq_work = PYMT_IRQ_WORK_INIT(irq_work_fn);
		irq_work_queue(&call->irq_work);
		wait_for(test, call);
		irq_work_sync(&call->irq_work);
		break;
	case PYMT_HARDIRQ_TIMER:
		start_hrtimer(&call->hrtimer);
		wait_for(test, call);
		hrtimer_cancel(&call->hrtimer);
		break;
	case PYMT_RCU_CALLBACK:
		init_rcu_head(&call->rcu);
		call_rcu(&call->rcu, rcu_fn);
		rcu_barrier();
		wait_for(test, call);
		destroy_rcu_head(&call->rcu);
		break;
	case PYMT_WORKQUEUE:
		INIT_WORK(&call->work, workqueue_fn);
		schedule_work_on(raw_smp_processor_id(), &call->work);
		wait_for(test, call);
		flush_work(&call->work);
		break;
	case PYMT_NMI:
		call_in_nmi(test, call);
		break;
	default:
		call_with_something_off(call, context);
		break;
	}
	KUNIT_EXPECT_EQ_MSG(test, call->runs, 1, "calls in %s", pymt_context_names[context]);
	KUNIT_EXPECT_TRUE_MSG(test, call->as_wanted, "the context was not %s",
			      pymt_context_names[context]);
}

/* Bind the thread of the case to the CPU it is on: every case has its own thread. */
void pymt_stay_here(struct kunit *test)
{
	KUNIT_ASSERT_EQ(test, set_cpus_allowed_ptr(current, cpumask_of(raw_smp_processor_id())),
			0);
}
