/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What kmemleak is told of blocks, in kernels that have it; elsewhere nothing at all is
 * left of these calls. See section 13 of internal.h.
 */
#ifndef _PYM_KMEMLEAK_H
#define _PYM_KMEMLEAK_H

#include <linux/jump_label.h>
#include <linux/kmemleak.h>
#include <linux/preempt.h>
#include "kasan.h"

#ifdef CONFIG_DEBUG_KMEMLEAK
DECLARE_STATIC_KEY_TRUE(pym_kmemleak_key);
#define PYM_KMEMLEAK	static_branch_likely(&pym_kmemleak_key)
#else
#define PYM_KMEMLEAK	false
#endif

/* Is somebody told of each block that is handed out or freed? */
#define PYM_TOLD	(PYM_KASAN || PYM_KMEMLEAK)

void pym_kmemleak_init(void);
void pym_kmemleak_lose_pool(struct pym_pool *pool, const struct pym_cache *owner);

/* A block, or NULL, has a user. One that gets it in an NMI is trusted. */
static inline void pym_kmemleak_alloc(const void *block, size_t n, gfp_t gfp)
{
	if (PYM_KMEMLEAK && block && !in_nmi())
		kmemleak_alloc(block, n, 1, gfp);
}

/* It has none any more, and may have another from now on. Not in an NMI. */
static __always_inline void pym_kmemleak_free(const void *block)
{
	if (PYM_KMEMLEAK)
		kmemleak_free(block);
}

/* Can it be told of a free where we are? Else it has to wait for an interrupt. */
static __always_inline bool pym_kmemleak_can_free(void)
{
	return !PYM_KMEMLEAK || !in_nmi();
}

/* Memory of ours that points to blocks: no reason for them not to be leaks, nor one. */
static inline void pym_kmemleak_ignore(const void *p)
{
	if (p)
		kmemleak_ignore(p);
}

/* What came from a provider is blocks, and no object of its own. */
static inline void pym_kmemleak_obtained(const void *addr)
{
	if (PYM_KMEMLEAK)
		kmemleak_free(addr);
}

#endif /* _PYM_KMEMLEAK_H */
