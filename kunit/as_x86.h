/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Lends User-Mode Linux the primitives of a kernel on x86-64, so that what is measured
 * there is made of the same instructions as in a real one. Included before everything
 * else by scripts/bench-native; in no other build.
 *
 * - Per-CPU data is addressed through %gs. A process has a base of 0 there, and UML has
 *   one CPU, whose data is where the variable is: the address comes out right.
 * - The preemption count is one increment, one decrement and a branch on memory. UML
 *   is built without preemption and has no use for a count, so this one is nobody's.
 * - Static keys are a nop of five bytes or a jump. They cannot be switched.
 * - Exception table entries are two absolute addresses, as arch/um searches them.
 * - Kernel addresses are in the lower half: what tests an address for the upper half
 *   tests it for 0 here, with the same two instructions.
 */
#ifndef _PYM_AS_X86_H
#define _PYM_AS_X86_H

#include <linux/compiler.h>
#include <linux/jump_label.h>
#include <linux/percpu-defs.h>
#include <linux/preempt.h>
#include <asm/asm.h>
#include <asm/percpu.h>

#if !defined(CONFIG_UML) || !defined(CONFIG_X86_64)
#error "for User-Mode Linux on x86-64"
#endif
#if defined(CONFIG_SMP) || defined(CONFIG_PREEMPT_COUNT) || defined(CONFIG_JUMP_LABEL)
#error "this kernel has a CPU count, a preemption count or static keys of its own"
#endif

/* What module/compat.h asks for. */
#define PYM_X86_64			1
#define PYM_UPPER_HALF(address)		((address) != 0)

/* ------------------------------------------------------- per-CPU data -- */

/* As the compiler's address space, so that it is folded into other instructions. */
#define as_x86_variable(variable)	(*(typeof(variable) __seg_gs *)(unsigned long)&(variable))

#define as_x86_add(suffix, variable, value)				\
do {									\
	if (__builtin_constant_p(value) && (value) == 1)		\
		asm("inc" suffix "	%[var]"			\
		    : [var] "+m" (as_x86_variable(variable)));		\
	else if (__builtin_constant_p(value) && (value) == -1)		\
		asm("dec" suffix "	%[var]"			\
		    : [var] "+m" (as_x86_variable(variable)));		\
	else								\
		asm("add" suffix "	%[val], %[var]"		\
		    : [var] "+m" (as_x86_variable(variable)) \
		    : [val] "ri" ((typeof(variable))(value)));		\
} while (0)

#undef raw_cpu_read_1
#undef raw_cpu_read_4
#undef raw_cpu_read_8
#undef raw_cpu_write_1
#undef raw_cpu_write_4
#undef raw_cpu_write_8
#undef raw_cpu_add_1
#undef raw_cpu_add_4
#undef raw_cpu_add_8
#define raw_cpu_read_1(v)	as_x86_variable(v)
#define raw_cpu_read_4(v)	as_x86_variable(v)
#define raw_cpu_read_8(v)	as_x86_variable(v)
#define raw_cpu_write_1(v, x)	(as_x86_variable(v) = (x))
#define raw_cpu_write_4(v, x)	(as_x86_variable(v) = (x))
#define raw_cpu_write_8(v, x)	(as_x86_variable(v) = (x))
#define raw_cpu_add_1(v, x)	as_x86_add("b", v, x)
#define raw_cpu_add_4(v, x)	as_x86_add("l", v, x)
#define raw_cpu_add_8(v, x)	as_x86_add("q", v, x)

/* --------------------------------------------------------- preemption -- */

/* In pymalloc.ko, one for all modules. Far from 0, where somebody would have to be called. */
extern int as_x86_preempt_count;

#undef preempt_disable
#define preempt_disable()						\
	asm volatile("incl	%%gs:%[count]"				\
		     : [count] "+m" (as_x86_preempt_count) : : "memory")

#undef preempt_enable
#define preempt_enable()						\
do {									\
	bool as_x86_zero;						\
									\
	asm volatile("decl	%%gs:%[count]"				\
		     : [count] "+m" (as_x86_preempt_count), "=@ccz" (as_x86_zero) \
		     : : "memory");					\
	if (unlikely(as_x86_zero))					\
		asm volatile("ud2");					\
} while (0)

/* What the header of consumers asks for. Nobody is ever to be called. */
#define PYM_PREEMPT_COUNT		as_x86_preempt_count
#define __pym_preempt_schedule()	asm volatile("ud2")

/* -------------------------------------------------------- static keys -- */

static __always_inline bool as_x86_branch(void)
{
	asm goto(".byte	0x0f, 0x1f, 0x44, 0x00, 0x00" : : : : yes);
	return false;
yes:
	return true;
}

#define as_x86_starts_true(key)	\
	__builtin_types_compatible_p(typeof(*(key)), struct static_key_true)

#undef static_branch_likely
#undef static_branch_unlikely
#undef static_branch_inc
#undef static_branch_enable
#define static_branch_likely(key)	likely(as_x86_branch() ^ as_x86_starts_true(key))
#define static_branch_unlikely(key)	unlikely(as_x86_branch() ^ as_x86_starts_true(key))
#define static_branch_inc(key)		panic("static key %p cannot be switched here", key)
#define static_branch_enable(key)	static_branch_inc(key)

/* --------------------------------------------------------- exceptions -- */

/* The header of x86-64 has its format. */
#undef _ASM_EXTABLE
#define _ASM_EXTABLE(from, to)						\
	" .pushsection \"__ex_table\",\"a\"\n"				\
	" .balign 8\n"							\
	" .quad " #from ", " #to "\n"					\
	" .popsection\n"

#endif /* _PYM_AS_X86_H */
