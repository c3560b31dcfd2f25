// SPDX-License-Identifier: GPL-2.0-only
/*
 * The watchpoint on what an operation does to the front of its CPU, and what is done
 * at the access that it is ordered to stop at.
 */
#include <linux/delay.h>
#include <linux/hw_breakpoint.h>
#include <linux/kthread.h>
#include <linux/perf_event.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include "nest.h"

#if PYMT_HAS_WATCH

/* What is done in the middle of another operation, by an interrupt of some kind. */
static void do_deed(struct nest *nest, enum deed deed)
{
	unsigned long n = READ_ONCE(nest->front->n);
	s8 busy = READ_ONCE(nest->front->busy);
	void *blocks[3];
	unsigned int i;

	if (deed == TAKE) {
		for (i = 0; i < 2; i++) {
			void *block = nest_take_one(nest, GFP_ATOMIC | __GFP_NOWARN);

			if (block)
				nest_enter(nest, block);
			else
				nest->refused++;
		}
		if (pym_cache_alloc_bulk(nest->cache, GFP_ATOMIC | __GFP_NOWARN, 3, blocks))
			for (i = 0; i < 3; i++)
				nest_enter(nest, blocks[i]);
		else
			nest->broken_bulks += 2;
	} else {
		for (i = 0; i < 2; i++)
			nest_give_one(nest, nest_leave(nest));
		for (i = 0; i < 3; i++)
			blocks[i] = nest_leave(nest);
		if (nest->general)
			for (i = 0; i < 3; i++)
				pym_free(blocks[i]);
		else
			pym_cache_free_bulk(nest->cache, 3, blocks);
	}
	if (nest_is_busy(nest) && READ_ONCE(nest->front->n) != n)
		nest_wrong(nest, "a busy front was changed");
	if (READ_ONCE(nest->front->busy) != busy)
		nest_wrong(nest, "busy was changed for the interrupted operation");
}

static void act(struct nest *nest)
{
	nest->acting = true;
	nest->acted = true;
	nest->acted_inside = nest->armed;
	nest->acted_busy = nest_is_busy(nest);
	do_deed(nest, nest->deed);
	nest->acting = false;
}

static void act_in_softirq(struct tasklet_struct *tasklet)
{
	act(container_of(tasklet, struct nest, tasklet));
}

static void act_in_hardirq(struct irq_work *work)
{
	struct nest *nest = container_of(work, struct nest, work);

	if (nest->via == SOFTIRQ)
		tasklet_schedule(&nest->tasklet);
	else
		act(nest);
}

static void act_again(struct irq_work *work)
{
	struct nest *nest = container_of(work, struct nest, work2);

	nest->acting2 = true;
	nest->twice += nest->acting;
	do_deed(nest, nest->deed2);
	nest->acting2 = false;
}

/*
 * Have another CPU drain this one: its call waits to be taken here when we return,
 * for it cannot have come to its end without.
 */
static void be_drained(struct nest *nest)
{
	unsigned int us;

	nest->acted = true;
	nest->acted_inside = true;
	nest->acted_busy = nest_is_busy(nest);
	WRITE_ONCE(nest->drain, true);
	for (us = 0; us < 20000 && !READ_ONCE(nest->draining); us += 5)
		udelay(5);
	/* Until it gets to where it calls us. */
	for (us = 0; us < 1000 && !READ_ONCE(nest->drained); us += 5)
		udelay(5);
	nest->remote += READ_ONCE(nest->draining) && !READ_ONCE(nest->drained);
}

int nest_drainer(void *arg)
{
	struct nest *nest = arg;

	while (!kthread_should_stop()) {
		if (READ_ONCE(nest->drain)) {
			WRITE_ONCE(nest->draining, true);
			pym_heap_shrink(nest->th->heap);
			WRITE_ONCE(nest->drained, true);
			WRITE_ONCE(nest->drain, false);
		}
		cpu_relax();
		cond_resched();
	}
	return 0;
}

/* An access was made; its instruction has been completed. */
static void on_access(struct perf_event *watch, struct perf_sample_data *data,
		      struct pt_regs *regs)
{
	struct nest *nest = watch->overflow_handler_context;

	if (!nest->armed || nest->acting2)
		return;
	if (nest->acting) {
		if (++nest->hits2 == nest->at2) {
			nest->hit2 = true;
			irq_work_queue(&nest->work2);
		}
		return;
	}
	if (++nest->hits != nest->at)
		return;
	nest->hit = true;
	nest->in_nmi = in_nmi();
	nest->irqs_on = regs->flags & X86_EFLAGS_IF;
	nest->preempt_off = preempt_count() & PREEMPT_MASK;
	nest->busy = nest_is_busy(nest);
	switch (nest->via) {
	case NMI:
		act(nest);
		break;
	case OTHER_CPU:
		be_drained(nest);
		break;
	default:
		irq_work_queue(&nest->work);
		break;
	}
}

void nest_watch(struct kunit *test, struct nest *nest, enum field field)
{
	struct perf_event_attr attr;

	nest->work = PYMT_IRQ_WORK_INIT(act_in_hardirq);
	nest->work2 = PYMT_IRQ_WORK_INIT(act_again);
	tasklet_setup(&nest->tasklet, act_in_softirq);
	hw_breakpoint_init(&attr);
	attr.bp_type = HW_BREAKPOINT_RW;
	switch (field) {
	case BUSY:
		attr.bp_addr = (unsigned long)&nest->front->busy;
		attr.bp_len = sizeof(nest->front->busy);
		break;
	case COUNT:
		attr.bp_addr = (unsigned long)&nest->front->n;
		attr.bp_len = sizeof(nest->front->n);
		break;
	case LIVE:
		attr.bp_addr = (unsigned long)&nest->cache->live;
		attr.bp_len = sizeof(nest->cache->live);
		break;
	default:
		attr.bp_addr = (unsigned long)&nest->th->heap->acct.moves;
		attr.bp_len = sizeof(nest->th->heap->acct.moves);
		break;
	}
	nest->watch = perf_event_create_kernel_counter(&attr, raw_smp_processor_id(), NULL,
						       on_access, nest);
	KUNIT_ASSERT_FALSE_MSG(test, IS_ERR(nest->watch), "watchpoint: %ld",
			       PTR_ERR(nest->watch));
}

void nest_unwatch(struct nest *nest)
{
	perf_event_release_kernel(nest->watch);
}

/* The watchpoint works at all, and preemption is seen to be on where it is. */
void nest_check_watch(struct kunit *test, struct nest *nest, enum field field)
{
	nest->via = HARDIRQ;
	nest->deed = TAKE;
	nest->at = 1;
	WRITE_ONCE(nest->armed, true);
	switch (field) {
	case BUSY:
		READ_ONCE(nest->front->busy);
		break;
	case COUNT:
		READ_ONCE(nest->front->n);
		break;
	case LIVE:
		READ_ONCE(nest->cache->live);
		break;
	default:
		READ_ONCE(nest->th->heap->acct.moves);
		break;
	}
	barrier();
	WRITE_ONCE(nest->armed, false);
	irq_work_sync(&nest->work);
	KUNIT_ASSERT_TRUE_MSG(test, nest->hit, "the watchpoint is not hit");
	KUNIT_EXPECT_TRUE(test, nest->in_nmi);
	KUNIT_EXPECT_TRUE(test, nest->irqs_on);
	KUNIT_EXPECT_FALSE(test, nest->preempt_off);
	KUNIT_EXPECT_TRUE_MSG(test, nest->acted_inside, "the interrupt did not come at once");
	KUNIT_EXPECT_NULL_MSG(test, nest->wrong, "%s", nest->wrong);
}

#endif /* PYMT_HAS_WATCH */
