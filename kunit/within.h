/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Calling a function in a given context: with something off, in a bottom half, in
 * an interrupt, in a real NMI, from RCU, from a work item. Each call is checked to
 * have been in the context asked for.
 */
#ifndef _PYMALLOC_KUNIT_WITHIN_H
#define _PYMALLOC_KUNIT_WITHIN_H

#include <linux/kconfig.h>
#include "fixture.h"

/* A real NMI is had by the vector's number, which needs the CPU's say. */
#define PYMT_HAS_NMI	(IS_ENABLED(CONFIG_X86_64) && !IS_ENABLED(CONFIG_UML))

enum pymt_context {
	PYMT_TASK,
	PYMT_PREEMPT_OFF,
	PYMT_RCU_READER,
	PYMT_BH_OFF,
	PYMT_IRQS_OFF,
	PYMT_SOFTIRQ_TIMER,
	PYMT_SOFTIRQ_TASKLET,
	PYMT_HARDIRQ_WORK,
	PYMT_HARDIRQ_TIMER,
	PYMT_RCU_CALLBACK,
	PYMT_WORKQUEUE,
	PYMT_NMI,
	PYMT_NR_CONTEXTS
};

extern const char * const pymt_context_names[PYMT_NR_CONTEXTS];

void pymt_call_in(struct kunit *test, enum pymt_context context, void (*fn)(void *arg),
		  void *arg);
void pymt_stay_here(struct kunit *test);

/*
 * Where a hard interrupt is meant, RT must be told. Elsewhere it must not: lockdep
 * would ask there too that only what RT allows be done.
 */
#ifdef CONFIG_PREEMPT_RT
#define PYMT_IRQ_WORK_INIT(fn)	IRQ_WORK_INIT_HARD(fn)
#define PYMT_HRTIMER_MODE	HRTIMER_MODE_REL_PINNED_HARD
#else
#define PYMT_IRQ_WORK_INIT(fn)	IRQ_WORK_INIT(fn)
#define PYMT_HRTIMER_MODE	HRTIMER_MODE_REL_PINNED
#endif

/* Sleeping is allowed there, so GFP_KERNEL is right. */
static inline bool pymt_may_sleep_in(enum pymt_context context)
{
	return context == PYMT_TASK || context == PYMT_WORKQUEUE;
}

/* A provider that is atomic may be called there: on RT the page allocator sleeps. */
static inline bool pymt_may_obtain_in(enum pymt_context context)
{
	switch (context) {
	case PYMT_NMI:
		return false;
	case PYMT_PREEMPT_OFF:
	case PYMT_IRQS_OFF:
	case PYMT_HARDIRQ_WORK:
	case PYMT_HARDIRQ_TIMER:
		return !IS_ENABLED(CONFIG_PREEMPT_RT);
	default:
		return true;
	}
}

#endif /* _PYMALLOC_KUNIT_WITHIN_H */
