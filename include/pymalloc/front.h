/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * pymalloc: the part of an allocation that is compiled into its caller. Included by
 * pymalloc.h; nothing here is for anybody else, and all of it may change.
 *
 * Out of line an allocation would cost a call, a return and a landing pad more, and
 * could not leave out what a constant size or constant flags decide.
 */
#ifndef _PYMALLOC_FRONT_H
#define _PYMALLOC_FRONT_H

#include <linux/compiler.h>
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/sched/mm.h>
#include <linux/types.h>
#include <linux/version.h>

/*
 * x86-64 as a kernel finds it: per-CPU data behind %gs, exception tables, kernel
 * addresses in the upper half. User-Mode Linux has none of that; where pymalloc is
 * measured in it, kunit/as_x86.h lends it what comes to the same.
 */
#ifndef PYM_X86_64
#define PYM_X86_64 \
	(IS_ENABLED(CONFIG_X86_64) && IS_ENABLED(CONFIG_SMP) && !IS_ENABLED(CONFIG_UML))
#endif

/* Is this an address of the kernel's half? */
#ifndef PYM_UPPER_HALF
#define PYM_UPPER_HALF(address)	((long)(address) < 0)
#endif

/*
 * The per-CPU front of a cache: blocks that are live to their pools and free to
 * everybody else. Only its CPU touches it, with preemption off and busy set, or
 * an IPI there, or whoever drains a CPU that is dead. n is read after busy is
 * set: an interrupt may have used the front between the test and the set.
 * Between setting and clearing busy nothing may fault, sleep or be called; whoever
 * probes that finds the front busy, and goes to the pools.
 */
struct pym_front {
	unsigned long n;		/* blocks, in slot[1] to slot[n] */
	unsigned long cap;		/* most there can be; 0 while it is closed */
	s8 busy;			/* PYM_FRONT_IDLE, else somebody is at it */
	u8 out;				/* blocks of other nodes, behind the slots for its own */
	u8 rests;			/* ticks that have found it untouched; decay.c */
	u64 frees;			/* frees served by the front */
	u64 net;			/* blocks put in by refills less flushes */
	u64 seen;			/* what the last tick has seen; decay.c */
	void *slot[];			/* slot[0] is NULL, always */
};

#define PYM_FRONT_IDLE	(-1)

/* What a cache begins with. */
struct pym_cache_head {
	struct pym_front __percpu *front; /* pym_no_front while it may not be used */
};

/*
 * What a heap begins with: where pym_malloc() looks, by words asked for. That is the
 * front of a class, or pym_no_front if there is none that may be used.
 */
struct pym_heap_head {
	struct pym_front __percpu *hot[PYM_SMALL_MAX / 8 + 1];
};

/*
 * The kernel addresses its preemption count relative to %rip. Processors that keep
 * what was stored at hand for the next load of the same address (Intel's since
 * Sunny Cove) do not do so there, and the four updates of an allocation and its free
 * wait for each other: 26 cycles instead of 4. So the address is a constant here.
 */
#ifndef PYM_PREEMPT_COUNT
#if PYM_X86_64 && defined(CONFIG_PREEMPT_COUNT) && !defined(CONFIG_DEBUG_PREEMPT) && \
	!defined(CONFIG_TRACE_PREEMPT_TOGGLE)
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0) && LINUX_VERSION_CODE < KERNEL_VERSION(6, 15, 0)
#define PYM_PREEMPT_COUNT	pcpu_hot.preempt_count
#else
#define PYM_PREEMPT_COUNT	__preempt_count
#endif
#endif
#endif

/* As wide as the kernel's own updates: a word is not forwarded to a load of two. */
#ifdef CONFIG_HAS_SEPARATE_PREEMPT_RESCHED_BITS
#define __PYM_PREEMPT_SUFFIX	"q"
#else
#define __PYM_PREEMPT_SUFFIX	"l"
#endif

#ifndef __pym_preempt_schedule
#ifdef CONFIG_PREEMPTION
#define __pym_preempt_schedule()	__preempt_schedule()
#else
#define __pym_preempt_schedule()	do { } while (0)
#endif
#endif

#ifdef PYM_PREEMPT_COUNT
static __always_inline void __pym_preempt_disable(void)
{
	asm volatile("add" __PYM_PREEMPT_SUFFIX "	$1, %%gs:%c[count]"
		     : : [count] "i" (&PYM_PREEMPT_COUNT) : "memory");
}

static __always_inline void __pym_preempt_enable(void)
{
	bool resched;

	asm volatile("sub" __PYM_PREEMPT_SUFFIX "	$1, %%gs:%c[count]"
		     : "=@ccz" (resched) : [count] "i" (&PYM_PREEMPT_COUNT) : "memory");
	if (unlikely(resched))
		__pym_preempt_schedule();
}
#else
#define __pym_preempt_disable()	preempt_disable()
#define __pym_preempt_enable()	preempt_enable()
#endif

/* Flags that make an allocation more than a block from the front. */
#define PYM_GFP_MORE	(GFP_ZONEMASK | __GFP_ZERO)

#if PYM_X86_64
/*
 * This CPU's front, through the segment, one field at a time: cheaper than forming
 * its address. A slot is addressed as it is here, because the compiler would compute
 * the address of two neighbours with two instructions more.
 */
#define __PYM_SLOT		"%%gs:%c[slot](%[front],%[n],8)"
#define __PYM_SLOT_INPUTS(plus)						\
	[front] "r" (front), [n] "r" (n),				\
	[slot] "i" (offsetof(struct pym_front, slot) + (plus) * sizeof(void *))

/*
 * Set busy; false if it was set already. An increment from -1, for that is one
 * instruction, and whoever it is not for takes it back before we go on.
 */
static __always_inline bool __pym_front_enter(struct pym_front __percpu *front)
{
	bool first;

	asm volatile("addb	$1, %%gs:%c[busy](%[front])"
		     : "=@ccz" (first)
		     : [front] "r" (front), [busy] "i" (offsetof(struct pym_front, busy))
		     : "memory");
	return first;
}

static __always_inline void *
__pym_slot_read_above(struct pym_front __percpu *front, unsigned long n)
{
	void *block;

	asm volatile("movq	" __PYM_SLOT ", %[block]"
		     : [block] "=r" (block) : __PYM_SLOT_INPUTS(1));
	return block;
}
#else
static __always_inline bool __pym_front_enter(struct pym_front __percpu *front)
{
	bool first = !raw_cpu_inc_return(front->busy);

	barrier();
	return first;
}

static __always_inline void *
__pym_slot_read_above(struct pym_front __percpu *front, unsigned long n)
{
	return raw_cpu_read(front->slot[n + 1]);
}
#endif

static __always_inline void __pym_front_leave(struct pym_front __percpu *front)
{
	barrier();
	raw_cpu_write(front->busy, PYM_FRONT_IDLE);
}

/* After __pym_front_enter() has said no. */
static __always_inline void __pym_front_nested(struct pym_front __percpu *front)
{
	raw_cpu_add(front->busy, -1);
}

/* Pop what is in the top slot, or NULL if the front is busy or empty. */
static __always_inline void *__pym_front_pop(struct pym_front __percpu *front)
{
	unsigned long n;
	void *block;

	__pym_preempt_disable();
	if (unlikely(!__pym_front_enter(front)))
		goto busy;
	n = raw_cpu_read(front->n);
	if (unlikely(__builtin_sub_overflow(n, 1UL, &n)))
		goto empty;
	block = __pym_slot_read_above(front, n);
	/* Not by a decrement in memory: loads wait longer for what one has stored. */
	raw_cpu_write(front->n, n);
	__pym_front_leave(front);
	__pym_preempt_enable();
	/* So that the caller's test of what we return is no second test. */
	if (!block)
		__builtin_unreachable();
	return block;
empty:
	__pym_front_leave(front);
	__pym_preempt_enable();
	return NULL;
busy:
	__pym_front_nested(front);
	__pym_preempt_enable();
	return NULL;
}

/* The mark of a slot whose block is known to read as zero; with init_on_alloc only. */
#define PYM_ZERO	1UL

/* Up to so many bytes are cleared in line if their number is a constant. */
#define PYM_CLEAR_IN_LINE	128

/* Clear what a front gave, which is PYM_CLEAR_IN_LINE bytes at most. */
static __always_inline void *__pym_cleared(void *marked, size_t n)
{
	unsigned long *p = marked;
	size_t i;

	if (unlikely((unsigned long)marked & PYM_ZERO))
		return marked - PYM_ZERO;
#pragma GCC unroll 16
	for (i = 0; i < DIV_ROUND_UP(n, sizeof(long)); i++)
		WRITE_ONCE(p[i], 0);
	return marked;
}

/* Must KASAN or kmemleak be told of each block? That cannot be done in line. */
#define PYM_TOLD_INLINE \
	(IS_ENABLED(CONFIG_KASAN_GENERIC) || IS_ENABLED(CONFIG_DEBUG_KMEMLEAK))

/* Is a block from the front not all there is to an allocation? */
static __always_inline bool __pym_unfinished(gfp_t gfp)
{
	/* The front never sleeps; what may sleep says so when it is reached. */
	if (IS_ENABLED(CONFIG_DEBUG_ATOMIC_SLEEP) || IS_ENABLED(CONFIG_LOCKDEP))
		might_alloc(gfp);
	return PYM_TOLD_INLINE || unlikely(gfp & PYM_GFP_MORE) ||
	       want_init_on_alloc(0);
}

#endif /* _PYMALLOC_FRONT_H */
