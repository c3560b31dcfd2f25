// SPDX-License-Identifier: GPL-2.0-only
/*
 * What kmemleak is told of many blocks at once. See section 13 of internal.h.
 */
#include "internal.h"
#include "kmemleak.h"

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
