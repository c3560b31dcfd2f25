// SPDX-License-Identifier: GPL-2.0-only
/*
 * What kmemleak is told of many blocks at once. See section 13 of internal.h.
 */
#include <linux/moduleparam.h>
#include "internal.h"
#include "kmemleak.h"

#ifdef CONFIG_DEBUG_KMEMLEAK
DEFINE_STATIC_KEY_TRUE(pym_kmemleak_key);

static bool kmemleak = true;
module_param(kmemleak, bool, 0444);
MODULE_PARM_DESC(kmemleak, "tell kmemleak of each block, so that it finds those that are lost (default Y)");

/**
 * pym_kmemleak_init() - is kmemleak to be told at all
 *
 * Context: Task context, before there is a heap.
 */
void pym_kmemleak_init(void)
{
	if (!kmemleak)
		static_branch_disable(&pym_kmemleak_key);
}
#else
void pym_kmemleak_init(void)
{
}
#endif

/**
 * pym_kmemleak_lose_pool() - what is live in a pool is about to go with it
 * @pool: the pool
 * @owner: who it is of; nobody uses it
 *
 * Context: Any but NMI.
 */
void pym_kmemleak_lose_pool(struct pym_pool *pool, const struct pym_cache *owner)
{
	const unsigned long *bits = pym_pool_bits(pool);
	unsigned int slot;

	/* What is live there and in a front is nobody's: that is told already. */
	if (PYM_KMEMLEAK)
		for_each_set_bit(slot, bits, owner->capacity)
			kmemleak_free(pool->base + (size_t)slot * owner->stride + owner->lead);
}
