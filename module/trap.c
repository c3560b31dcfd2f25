// SPDX-License-Identifier: GPL-2.0-only
/*
 * What guards need of the processor: pages that are there for nobody, though their
 * addresses are still taken; and a word about the fault of who touches them.
 */
#include <linux/kdebug.h>
#include <linux/kmemleak.h>
#include <linux/mm.h>
#include <linux/notifier.h>
#include <linux/ptrace.h>
#include <linux/smp.h>
#include <linux/string.h>
#include "guard.h"

#if PYM_TRAPS
#include <asm/cpufeature.h>
#include <asm/invpcid.h>
#include <asm/processor-flags.h>
#include <asm/special_insns.h>

/*
 * Forget all translations on this CPU, global ones and those of other contexts too: what
 * __flush_tlb_all() does, which is not for modules. Either way is the processor's own;
 * bits of CR4 that must not change do not.
 */
static void flush_here(void *unused)
{
	unsigned long flags, cr4;

	if (boot_cpu_has(X86_FEATURE_INVPCID)) {
		invpcid_flush_all();
		return;
	}
	/* Who else changes CR4 is not in between. */
	local_irq_save(flags);
	asm volatile("mov	%%cr4, %0" : "=r" (cr4));
	asm volatile("mov	%0, %%cr4" : : "r" (cr4 ^ X86_CR4_PGE) : "memory");
	asm volatile("mov	%0, %%cr4" : : "r" (cr4) : "memory");
	local_irq_restore(flags);
}

/**
 * pym_trap_set() - take the pages of an area away, until it is given back
 * @area: from __vmalloc(), in pages of the smallest size
 * @bytes: its size
 *
 * From now on it faults on this CPU, and on others unless they have touched it lately:
 * see pym_trap_flush(). vfree() does not mind.
 *
 * Context: Any but NMI; nobody else maps or unmaps it.
 */
void pym_trap_set(void *area, size_t bytes)
{
	unsigned int level;
	size_t at;
	pte_t *pte;

	/* Which would read it. */
	kmemleak_free(area);
	for (at = 0; at < bytes; at += PAGE_SIZE) {
		pte = lookup_address((unsigned long)area + at, &level);
		if (!WARN_ON_ONCE(!pte || level != PG_LEVEL_4K))
			set_pte(pte, __pte(0));
	}
	flush_here(NULL);
}

/**
 * pym_trap_flush() - what pym_trap_set() has taken away is so on all CPUs
 *
 * Context: Task context, may sleep.
 */
void pym_trap_flush(void)
{
	on_each_cpu(flush_here, NULL, 1);
}

/* The kernel is about to stop with an oops. Of a page fault: was it one of our areas? */
static int on_die(struct notifier_block *nb, unsigned long what, void *data)
{
	struct die_args *args = data;

	if (what == DIE_OOPS && !strcmp(args->str, "Oops"))
		pym_guard_tell((const void *)read_cr2(), instruction_pointer(args->regs));
	return NOTIFY_DONE;
}

static struct notifier_block die_notifier = { .notifier_call = on_die };

int pym_trap_init(void)
{
	return register_die_notifier(&die_notifier);
}

void pym_trap_exit(void)
{
	unregister_die_notifier(&die_notifier);
}
#else
void pym_trap_set(void *area, size_t bytes)
{
}

void pym_trap_flush(void)
{
}

int pym_trap_init(void)
{
	return 0;
}

void pym_trap_exit(void)
{
}
#endif
