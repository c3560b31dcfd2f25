// SPDX-License-Identifier: GPL-2.0-only
/*
 * Blocks on their way between the pools of a cache and everybody else, some at a
 * time under one hold of the cache's lock.
 */
#include <linux/mm.h>
#include <linux/string.h>
#include "internal.h"
#include "front.h"

/**
 * pym_batch_pop() - take blocks out of the pools under one hold of the lock
 * @cache: the cache
 * @n: how many at most
 * @handed: how many of them, at least, the caller hands out itself; the rest are
 *	for a front, and no pool that is free is taken for their sake
 * @marked: the blocks, and what is known of them
 * @spare: see pym_pool_take()
 * @err: if there are fewer than @handed: 0 if no pool is free, else -EAGAIN
 *
 * Context: Any but NMI, no lock of ours held.
 * Return: how many.
 */
unsigned int pym_batch_pop(struct pym_cache *cache, unsigned int n, unsigned int handed,
			   void **marked, struct pym_spare_bits *spare, int *err)
{
	unsigned long flags;
	unsigned int done = 0;

	*err = 0;
	raw_spin_lock_irqsave(&cache->lock, flags);
	while (done < n) {
		struct pym_pool *pool;

		pool = list_first_entry_or_null(&cache->used, struct pym_pool, list);
		if (!pool) {
			if (done >= handed)
				break;
			pool = pym_pool_take(cache, spare);
			if (IS_ERR_OR_NULL(pool)) {
				*err = PTR_ERR_OR_ZERO(pool);
				break;
			}
			list_add(&pool->list, &cache->used);
			cache->nr_pools++;
		}
		done += pym_pool_pop(pool, cache, marked + done, n - done);
		if (pool->live == cache->capacity) {
			pool->state = PYM_POOL_FULL;
			list_move(&pool->list, &cache->full);
			cache->nr_full++;
		}
	}
	cache->live += done;
	cache->allocs += min(done, handed);
	cache->events += done;
	cache->high = max(cache->high, cache->live);
	raw_spin_unlock_irqrestore(&cache->lock, flags);
	return done;
}

/**
 * pym_report_block() - report a bad free of an address in one of our pools
 * @kind: what is wrong
 * @what: the same, for a person
 * @pool: the pool the address is in
 * @p: the address
 * @ip: caller
 *
 * What it prints is read without a lock, so in a race it is what was.
 *
 * Context: Any, under rcu_read_lock(), no lock of ours held.
 */
void pym_report_block(enum pym_misuse kind, const char *what, struct pym_pool *pool,
		      const void *p, unsigned long ip)
{
	static const char * const states[] = { "absent", "virgin", "empty", "used", "full" };
	struct pym_cache *owner = READ_ONCE(pool->owner);
	size_t offset = p - READ_ONCE(pool->base);

	pym_report(kind,
		   "%s: heap %s, arena %u, pool %u (%s), cache %s, byte %zu of block %u; caller %pS",
		   what, pool->arena->heap->name, pool->arena->id, pool->index,
		   states[READ_ONCE(pool->state)], owner ? owner->name : "none",
		   owner ? offset % owner->stride : offset,
		   owner ? (unsigned int)(offset / owner->stride) : 0, (void *)ip);
}

/* Free one slot that is live. Returns true if the heap should be reaped. */
static bool push_block(struct pym_cache *cache, struct pym_pool *pool, unsigned int slot)
{
	lockdep_assert_held(&cache->lock);
	pym_pool_push(pool, cache, slot);
	cache->live--;
	cache->events++;
	if (pool->state == PYM_POOL_FULL) {
		pool->state = PYM_POOL_USED;
		list_move(&pool->list, &cache->used);
		cache->nr_full--;
	}
	if (pool->live)
		return false;
	list_del_init(&pool->list);
	cache->nr_pools--;
	cache->carved -= pool->carved;
	return pym_pool_put(pool);
}

/**
 * pym_pool_free() - free a block whose pool and cache are known, if it is one
 * @pool: pool that @p is in, from pym_lookup()
 * @cache: its owner when last seen
 * @p: the block
 * @ip: caller
 *
 * Context: Any but NMI, under rcu_read_lock(), no lock of ours held.
 * Return: the heap if pym_heap_reap() is to be called after rcu_read_unlock(), so
 * that no provider is called with preemption off; else NULL.
 */
struct pym_heap *pym_pool_free(struct pym_pool *pool, struct pym_cache *cache,
			       const void *p, unsigned long ip)
{
	bool wipe = !cache->ctor && want_init_on_free();
	enum pym_slot state;
	unsigned int slot;
	unsigned long flags;
	bool reap = false;

again:
	raw_spin_lock_irqsave(&cache->lock, flags);
	/* The pool may have been emptied and taken since we looked. */
	state = PYM_SLOT_FREE;
	if (pool->owner == cache)
		state = pym_pool_slot(pool, cache, p, &slot);
	if (state == PYM_SLOT_LIVE && !wipe) {
		cache->frees++;
		reap = push_block(cache, pool, slot);
	}
	raw_spin_unlock_irqrestore(&cache->lock, flags);

	switch (state) {
	case PYM_SLOT_LIVE:
		if (wipe) {
			/* Outside the lock: the block is the caller's still. */
			memset((void *)p, 0, cache->size);
			wipe = false;
			goto again;
		}
		break;
	case PYM_SLOT_FREE:
		pym_report_block(PYM_MISUSE_DOUBLE_FREE, "block is free already", pool, p, ip);
		break;
	case PYM_SLOT_VIRGIN:
		pym_report_block(PYM_MISUSE_DOUBLE_FREE, "block was never handed out",
				 pool, p, ip);
		break;
	case PYM_SLOT_INTERIOR:
		pym_report_block(PYM_MISUSE_INTERIOR, "not the start of a block", pool, p, ip);
		break;
	}
	return reap ? cache->heap : NULL;
}

/* Pool of a block of the cache; NULL or another's if it is not one any more. */
static struct pym_pool *owned_pool(struct pym_cache *cache, const void *p)
{
	unsigned long word = (unsigned long)cache;

	if (cache->indexed)
		return pym_lookup(p);
	if (cache->is_class)
		word ^= pym_direct.secret;
	/* With its owner's word on it the page is ours, and names its pool. */
	if (!plausible(cache, p) || !word_is(&page_of(p)->private, word))
		return NULL;
	return (struct pym_pool *)page_of(p)->lru.next;
}

/* A block that a front took is not live: it was freed twice, or not aligned. */
static void report_late(struct pym_cache *cache, const void *p)
{
	struct pym_pool *pool = pym_lookup(p);

	if (pool)
		pym_report_block(PYM_MISUSE_DOUBLE_FREE,
				 "found free, or no block, when it left a front", pool, p, 0);
	else
		pym_report(PYM_MISUSE_DOUBLE_FREE,
			   "block of cache %s found free when it left a front", cache->name);
}

/**
 * pym_batch_return() - put blocks that were in a front back into their pools
 * @cache: the cache
 * @blocks: as they were in it; NULL afterwards where there is nothing to report
 * @n: how many, at most PYM_BATCH
 *
 * Here at the latest a double free comes to light: the second of two entries
 * finds its slot free.
 *
 * Context: Any but NMI, no lock of ours held.
 * Return: true if pym_heap_reap() is to be called where a provider may be.
 */
bool pym_batch_return(struct pym_cache *cache, void **blocks, unsigned int n)
{
	struct pym_pool *pool;
	unsigned long flags;
	unsigned int i, slot;
	bool reap = false;

	rcu_read_lock();
	raw_spin_lock_irqsave(&cache->lock, flags);
	for (i = 0; i < n; i++) {
		blocks[i] = pym_unmarked(blocks[i]);
		pool = owned_pool(cache, blocks[i]);
		if (likely(pool && pool->owner == cache &&
			   pym_pool_slot(pool, cache, blocks[i], &slot) == PYM_SLOT_LIVE)) {
			reap |= push_block(cache, pool, slot);
			blocks[i] = NULL;
		}
	}
	raw_spin_unlock_irqrestore(&cache->lock, flags);
	for (i = 0; i < n; i++)
		if (unlikely(blocks[i]))
			report_late(cache, blocks[i]);
	rcu_read_unlock();
	return reap;
}
