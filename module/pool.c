// SPDX-License-Identifier: GPL-2.0-only
/*
 * Blocks inside one pool. Knows no arena, takes no lock: every function here is
 * called with the lock of the pool's owner held.
 */
#include "internal.h"

/**
 * pym_pool_assign() - make a free pool one of @cache's
 * @pool: VIRGIN or EMPTY, with a bitmap large enough for @cache
 * @cache: the new owner
 *
 * Context: cache->lock and the heap's lock.
 */
void pym_pool_assign(struct pym_pool *pool, struct pym_cache *cache)
{
	lockdep_assert_held(&cache->lock);
	bitmap_zero(pym_pool_bits(pool), cache->capacity);
	pool->live = 0;
	pool->carved = 0;
	WRITE_ONCE(pool->owner, cache);
}

/**
 * pym_pool_pop() - hand out one block of a pool that has one
 * @pool: a pool of @cache with live < capacity
 * @cache: its owner
 * @popped: the block, and what is known of it
 *
 * The lowest slot that was used before, else the next virgin one: memory that
 * was never needed is never touched. The caller keeps state and lists.
 *
 * Context: cache->lock.
 */
void pym_pool_pop(struct pym_pool *pool, struct pym_cache *cache, struct pym_popped *popped)
{
	unsigned long *bits = pym_pool_bits(pool);
	unsigned int slot = pool->carved;

	lockdep_assert_held(&cache->lock);
	if (pool->live < pool->carved)
		slot = find_first_zero_bit(bits, pool->carved);

	popped->block = pool->base + (size_t)slot * cache->stride;
	popped->carved = slot == pool->carved;
	popped->zero = popped->carved && pool->zeroed;
	if (popped->carved) {
		pool->carved++;
		cache->carved++;
	}
	__set_bit(slot, bits);
	pool->live++;
}

/**
 * pym_pool_slot() - which slot an address is, and what is in it
 * @pool: a pool of @cache that contains @p
 * @cache: its owner
 * @p: the address
 * @slot: set to the slot that @p is in, or at the start of
 *
 * Context: cache->lock.
 * Return: PYM_SLOT_LIVE if @p may be freed, else why not.
 */
enum pym_slot pym_pool_slot(struct pym_pool *pool, const struct pym_cache *cache,
			    const void *p, unsigned int *slot)
{
	size_t offset = p - pool->base;

	lockdep_assert_held(&cache->lock);
	*slot = pym_offset_to_slot(offset, cache->recip);
	if (*slot >= cache->capacity || (size_t)*slot * cache->stride != offset)
		return PYM_SLOT_INTERIOR;
	if (*slot >= pool->carved)
		return PYM_SLOT_VIRGIN;
	if (!test_bit(*slot, pym_pool_bits(pool)))
		return PYM_SLOT_FREE;
	return PYM_SLOT_LIVE;
}

/**
 * pym_pool_push() - take one block back
 * @pool: a pool of @cache
 * @cache: its owner
 * @slot: a slot that pym_pool_slot() found to be live
 *
 * The caller keeps state and lists.
 *
 * Context: cache->lock.
 */
void pym_pool_push(struct pym_pool *pool, struct pym_cache *cache, unsigned int slot)
{
	lockdep_assert_held(&cache->lock);
	__clear_bit(slot, pym_pool_bits(pool));
	pool->live--;
}
