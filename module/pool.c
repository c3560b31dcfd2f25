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
	bitmap_zero(pym_pool_bits(pool), cache->room);
	pool->live = 0;
	pool->carved = 0;
	WRITE_ONCE(pool->owner, cache);
}

/* Hand out up to @n slots that were used before, lowest first. */
static unsigned int pop_used(struct pym_pool *pool, struct pym_cache *cache, void **marked,
			     unsigned int n)
{
	unsigned long *bits = pym_pool_bits(pool);
	unsigned int done = 0, word;

	for (word = 0; done < n; word++) {
		unsigned int first = word * BITS_PER_LONG;
		unsigned long free = ~bits[word], taken = 0;

		if (pool->carved - first < BITS_PER_LONG)
			free &= BIT(pool->carved - first) - 1;
		while (free && done < n) {
			unsigned int bit = __ffs(free);

			marked[done++] = pool->base + (size_t)(first + bit) * cache->stride;
			taken |= BIT(bit);
			free &= free - 1;
		}
		bits[word] |= taken;
	}
	return done;
}

/**
 * pym_pool_pop() - hand out blocks of a pool
 * @pool: a pool of @cache
 * @cache: its owner
 * @marked: the blocks, and what is known of them
 * @n: how many at most
 *
 * The lowest slots that were used before, then the next virgin ones: memory that
 * was never needed is never touched. The caller keeps state and lists.
 *
 * Context: cache->lock.
 * Return: how many.
 */
unsigned int pym_pool_pop(struct pym_pool *pool, struct pym_cache *cache, void **marked,
			  unsigned int n)
{
	unsigned long *bits = pym_pool_bits(pool);
	unsigned int done, marks, virgin;

	lockdep_assert_held(&cache->lock);
	done = pop_used(pool, cache, marked, min_t(unsigned int, n, pool->carved - pool->live));
	virgin = min_t(unsigned int, n - done, cache->capacity - pool->carved);
	if (virgin) {
		size_t stride = cache->stride;
		void *block = pool->base + pool->carved * stride;

		marks = PYM_CARVED | (pool->zeroed ? PYM_ZERO : 0);
		bitmap_set(bits, pool->carved, virgin);
		pool->carved += virgin;
		cache->carved += virgin;
		for (n = done + virgin, block += marks; done + 4 <= n; done += 4) {
			marked[done] = block;
			marked[done + 1] = block + stride;
			marked[done + 2] = block + 2 * stride;
			marked[done + 3] = block + 3 * stride;
			block += 4 * stride;
		}
		for (; done < n; block += stride)
			marked[done++] = block;
	}
	pool->live += done;
	return done;
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
