// SPDX-License-Identifier: GPL-2.0-only
/*
 * Blocks inside one pool. Knows no arena, takes no lock: every function here is
 * called with the lock of the pool's owner held.
 */
#include <linux/prandom.h>
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
	pool->carved = cache->random ? cache->capacity : 0;
	cache->carved += pool->carved;
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

/* Has a slot of a random cache's pool been handed out before? */
static bool was_used(struct pym_pool *pool, const struct pym_cache *cache, unsigned int slot)
{
	return test_bit(cache->capacity + slot, pym_pool_bits(pool));
}

static unsigned long mark_of(struct pym_pool *pool, const struct pym_cache *cache,
			     unsigned int slot)
{
	if (__test_and_set_bit(cache->capacity + slot, pym_pool_bits(pool)))
		return 0;
	return PYM_CARVED | (pool->zeroed ? PYM_ZERO : 0);
}

/*
 * Hand out any slots, in any order. All of the pool counts as carved, so that each free
 * slot may be next; in as many bits again, behind those of the live slots, are those that
 * have been handed out. Every choice of @n free slots is as likely as any other (Knuth,
 * The Art of Computer Programming, 3.4.2, algorithm S), and so is every order of them
 * (algorithm P). A generator that is not cryptographic draws for one call, from a seed
 * that is: what one call gave does not tell what the next one will.
 */
static unsigned int pop_random(struct pym_pool *pool, struct pym_cache *cache, void **marked,
			       unsigned int n)
{
	unsigned long *bits = pym_pool_bits(pool);
	unsigned int left = cache->capacity - pool->live, done = 0, slot, other, i;
	u64 seed = siphash_2u64((unsigned long)cache, cache->draws++, &cache->heap->key);
	struct rnd_state rnd;

	n = min(n, left);
	prandom_seed_state(&rnd, seed);
	for_each_clear_bit(slot, bits, cache->capacity) {
		if (done == n)
			break;
		if (reciprocal_scale(prandom_u32_state(&rnd), left--) >= n - done)
			continue;
		__set_bit(slot, bits);
		marked[done++] = pool->base + (size_t)slot * cache->stride +
				 mark_of(pool, cache, slot);
	}
	for (i = done; i > 1; i--) {
		other = reciprocal_scale(prandom_u32_state(&rnd), i);
		swap(marked[i - 1], marked[other]);
	}
	pool->live += done;
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
 * was never needed is never touched. Or any, if the cache is random. The caller keeps
 * state and lists.
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
	if (unlikely(cache->random))
		return pop_random(pool, cache, marked, n);
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
	if (*slot >= pool->carved || (cache->random && !was_used(pool, cache, *slot)))
		return PYM_SLOT_VIRGIN;
	if (!test_bit(*slot, pym_pool_bits(pool)))
		return PYM_SLOT_FREE;
	return PYM_SLOT_LIVE;
}
