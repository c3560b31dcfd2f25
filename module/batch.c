// SPDX-License-Identifier: GPL-2.0-only
/*
 * Blocks on their way between the pools of a cache and everybody else, some at a
 * time under one hold of the cache's lock.
 */
#include <linux/mm.h>
#include <linux/string.h>
#include "internal.h"
#include "front.h"
#include "kmemleak.h"
#include "trace.h"

/* The list that a pool with this many blocks free belongs on. */
static unsigned int fullness(const struct pym_cache *cache, const struct pym_pool *pool)
{
	return ilog2((unsigned int)(cache->capacity - pool->live));
}

static struct pym_cache_node *node_of(struct pym_cache *cache, const struct pym_pool *pool)
{
	return &cache->node_of[pool->arena->nid];
}

static void add_used(struct pym_cache *cache, struct pym_pool *pool)
{
	struct pym_cache_node *node = node_of(cache, pool);
	unsigned int nr = fullness(cache, pool);

	list_add(&pool->list, &node->used[nr]);
	__set_bit(nr, &node->mask);
}

static void add_full(struct pym_cache *cache, struct pym_pool *pool)
{
	pool->state = PYM_POOL_FULL;
	list_add(&pool->list, &cache->full);
	cache->nr_full++;
}

/* Off list @nr of the used pools of its node. */
static void del_used(struct pym_cache *cache, struct pym_pool *pool, unsigned int nr)
{
	struct pym_cache_node *node = node_of(cache, pool);

	list_del_init(&pool->list);
	if (list_empty(&node->used[nr]))
		__clear_bit(nr, &node->mask);
}

/**
 * pym_cache_init_used() - make a cache one without pools
 * @cache: the cache
 *
 * Context: As for cache->lock.
 */
void pym_cache_init_used(struct pym_cache *cache)
{
	unsigned int nid, i;

	for (nid = 0; nid < pym_nr_nodes(); nid++) {
		struct pym_cache_node *node = &cache->node_of[nid];

		for (i = 0; i < PYM_NR_FULLNESS; i++)
			INIT_LIST_HEAD(&node->used[i]);
		node->mask = 0;
		node->next = NULL;
	}
	INIT_LIST_HEAD(&cache->full);
}

/**
 * pym_cache_any_used() - a pool of a cache with live and with free blocks
 * @cache: the cache
 *
 * Context: cache->lock; or nobody uses the cache.
 * Return: the pool, or NULL.
 */
struct pym_pool *pym_cache_any_used(struct pym_cache *cache)
{
	unsigned int nid, i;

	for (nid = 0; nid < pym_nr_nodes(); nid++)
		for (i = 0; i < PYM_NR_FULLNESS; i++)
			if (!list_empty(&cache->node_of[nid].used[i]))
				return list_first_entry(&cache->node_of[nid].used[i],
							struct pym_pool, list);
	return NULL;
}
EXPORT_SYMBOL_IF_KUNIT(pym_cache_any_used);

/* ------------------------------------------------------------- draining -- */

/*
 * A front gives again what was freed into it, so of scattered blocks that are freed
 * and allocated all the time none ever leaves its pool empty. Hence sparse pools of a
 * fragmented cache drain: their pages do not name their owner, so that a free fails
 * the test that every free makes, and takes the block to its pool. Allocations come
 * from the fullest pools anyway. No free of another pool pays for that.
 */

/* A cache with fewer pools than this is not worth it. */
#define DRAIN_POOLS	16

static bool is_fragmented(const struct pym_cache *cache)
{
	return cache->nr_pools > DRAIN_POOLS &&
	       2 * cache->live < cache->nr_pools * cache->capacity;
}

/* After a free. */
static void may_drain(struct pym_cache *cache, struct pym_pool *pool)
{
	lockdep_assert_held(&cache->lock);
	if (pool->draining || 2 * pool->live > cache->capacity || !is_fragmented(cache))
		return;
	WRITE_ONCE(pool->draining, true);
	pym_pool_set_owner(pool, NULL);
	/* What fronts hold by now is as scattered. */
	cache->stale = true;
}

/* After allocations. */
static void may_fill(struct pym_cache *cache, struct pym_pool *pool)
{
	lockdep_assert_held(&cache->lock);
	if (4 * pool->live <= 3 * cache->capacity && is_fragmented(cache))
		return;
	WRITE_ONCE(pool->draining, false);
	pym_pool_set_owner(pool, cache);
}

/*
 * The pool to allocate from. Of sparse ones, which fill up from now on, one beside
 * the last: full pools that lie together let other arenas go.
 */
static struct pym_pool *pick_used(const struct pym_cache_node *node, unsigned int nr)
{
	struct pym_pool *pool = list_first_entry(&node->used[nr], struct pym_pool, list);

	return pool->draining && node->next ? node->next : pool;
}

/* A pool of the same arena that drains as well, or NULL. */
static struct pym_pool *find_neighbour(const struct pym_cache *cache,
				       const struct pym_pool *pool)
{
	struct pym_arena *arena = pool->arena;
	unsigned int i;

	lockdep_assert_held(&cache->lock);
	for (i = 0; i < arena->npools; i++) {
		pool = &arena->pools[i];
		/* None becomes ours or ceases to be while we hold the lock. */
		if (READ_ONCE(pool->owner) == cache && pool->state == PYM_POOL_USED &&
		    pool->draining)
			return &arena->pools[i];
	}
	return NULL;
}

/* Take up to @n blocks out of the fullest used pools of a node. Returns how many. */
static unsigned int pop_used_pools(struct pym_cache *cache, struct pym_cache_node *node,
				   void **marked, unsigned int n)
{
	unsigned int done = 0;

	lockdep_assert_held(&cache->lock);
	while (done < n && node->mask) {
		struct pym_pool *pool = pick_used(node, __ffs(node->mask));
		unsigned int nr = fullness(cache, pool);

		done += pym_pool_pop(pool, cache, marked + done, n - done);
		if (unlikely(pool->draining)) {
			may_fill(cache, pool);
			node->next = pool->draining ? pool : find_neighbour(cache, pool);
		}
		if (pool->live == cache->capacity) {
			del_used(cache, pool, nr);
			add_full(cache, pool);
		} else if (fullness(cache, pool) != nr) {
			del_used(cache, pool, nr);
			add_used(cache, pool);
		}
	}
	return done;
}

static void count_popped(struct pym_cache *cache, unsigned int n, unsigned int handed)
{
	lockdep_assert_held(&cache->lock);
	cache->live += n;
	cache->allocs += min(n, handed);
	cache->events += n;
	cache->high = max(cache->high, cache->live);
}

/**
 * pym_batch_pop() - take blocks out of the pools under one hold of the lock
 * @cache: the cache
 * @nid: out of pools of this node, the fullest first
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
unsigned int pym_batch_pop(struct pym_cache *cache, int nid, unsigned int n, unsigned int handed,
			   void **marked, struct pym_spare_bits *spare, int *err)
{
	struct pym_cache_node *node = &cache->node_of[nid];
	struct pym_pool *pool;
	unsigned long flags;
	unsigned int done;

	*err = 0;
	raw_spin_lock_irqsave(&cache->lock, flags);
	done = pop_used_pools(cache, node, marked, n);
	while (done < handed) {
		pool = pym_limbo_take(cache, nid);
		if (!pool) {
			pool = pym_pool_take(cache, nid, spare);
			if (IS_ERR_OR_NULL(pool)) {
				*err = PTR_ERR_OR_ZERO(pool);
				break;
			}
			cache->nr_pools++;
		}
		/* On a list first, for where it belongs depends on what is left in it. */
		add_used(cache, pool);
		done += pop_used_pools(cache, node, marked + done, n - done);
	}
	count_popped(cache, done, handed);
	raw_spin_unlock_irqrestore(&cache->lock, flags);
	return done;
}

/**
 * pym_batch_trypop() - take a block out of a used pool, if the lock is free
 * @cache: the cache
 * @nid: the node
 * @marked: the block, and what is known of it
 *
 * Context: Any.
 * Return: true if there was one.
 */
bool pym_batch_trypop(struct pym_cache *cache, int nid, void **marked)
{
	unsigned long flags;
	unsigned int n;

	if (!raw_spin_trylock_irqsave(&cache->lock, flags))
		return false;
	n = pop_used_pools(cache, &cache->node_of[nid], marked, 1);
	count_popped(cache, n, n);
	raw_spin_unlock_irqrestore(&cache->lock, flags);
	return n;
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
	static const char * const states[] = { "absent", "virgin", "empty", "used", "full",
					       "limbo" };
	struct pym_cache *owner = READ_ONCE(pool->owner);
	size_t offset = p - READ_ONCE(pool->base);
	unsigned int block = owner ? offset / owner->stride : 0;
	ssize_t byte = owner ? offset % owner->stride - owner->lead : offset;
	bool told;

	told = pym_report(kind, ip,
			  "%s: heap %s, arena %u, pool %u (%s), cache %s, byte %zd of block %u",
			  what, pool->arena->heap->name, pool->arena->id, pool->index,
			  states[READ_ONCE(pool->state)], owner ? owner->name : "none",
			  byte, block);
	if (told && owner && owner->base)
		pym_shadow_tell(owner, pool, p);
	if (kind == PYM_MISUSE_DOUBLE_FREE)
		pym_kasan_tell(pool, p);
}

/*
 * A pool of which @n slots have been freed goes where it belongs. Returns true if the
 * heap should be reaped.
 */
static bool settle(struct pym_cache *cache, struct pym_pool *pool, unsigned int n)
{
	bool full = pool->state == PYM_POOL_FULL;
	unsigned int nr = full ? 0 : fullness(cache, pool);

	lockdep_assert_held(&cache->lock);
	pool->live -= n;
	cache->live -= n;
	cache->events += n;
	if (likely(pool->live)) {
		may_drain(cache, pool);
		if (full) {
			pool->state = PYM_POOL_USED;
			list_del(&pool->list);
			cache->nr_full--;
			add_used(cache, pool);
		} else if (fullness(cache, pool) != nr) {
			del_used(cache, pool, nr);
			add_used(cache, pool);
		}
		return false;
	}
	if (full) {
		list_del_init(&pool->list);
		cache->nr_full--;
	} else {
		del_used(cache, pool, nr);
	}
	if (node_of(cache, pool)->next == pool)
		node_of(cache, pool)->next = NULL;
	if (cache->typesafe) {
		pym_limbo_add(cache, pool);
		return false;
	}
	cache->nr_pools--;
	cache->carved -= pool->carved;
	return pym_pool_put(pool);
}

/**
 * pym_pool_clear() - a live slot of a pool becomes free
 * @pool: the pool
 * @cache: its owner
 * @slot: which
 *
 * Context: cache->lock.
 * Return: true if pym_heap_reap() should be called.
 */
bool pym_pool_clear(struct pym_pool *pool, struct pym_cache *cache, unsigned int slot)
{
	__clear_bit(slot, pym_pool_bits(pool));
	return settle(cache, pool, 1);
}

/**
 * pym_pool_fill() - what is free of a pool becomes live, and nobody's
 * @pool: the pool, with a live block
 * @cache: its owner
 *
 * Context: cache->lock.
 */
void pym_pool_fill(struct pym_pool *pool, struct pym_cache *cache)
{
	unsigned int n = cache->capacity - pool->live;
	struct pym_cache_node *node = node_of(cache, pool);

	lockdep_assert_held(&cache->lock);
	if (!n)
		return;
	del_used(cache, pool, fullness(cache, pool));
	if (node->next == pool)
		node->next = NULL;
	WRITE_ONCE(pool->draining, false);
	bitmap_set(pym_pool_bits(pool), 0, cache->capacity);
	cache->carved += cache->capacity - pool->carved;
	cache->live += n;
	cache->events += n;
	pool->carved = cache->capacity;
	pool->live = cache->capacity;
	add_full(cache, pool);
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
	bool wipe = cache->clear && want_init_on_free();
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
		pym_kasan_free(cache, p);
		pym_kmemleak_free(p);
		reap = pym_pool_clear(pool, cache, slot);
	}
	raw_spin_unlock_irqrestore(&cache->lock, flags);

	switch (state) {
	case PYM_SLOT_LIVE:
		if (wipe) {
			/* Outside the lock: the block is the caller's still. */
			pym_kasan_open(cache, (void *)p);
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

/* Pool of a block of the cache; NULL or another's if it is not one any more. Under RCU. */
static struct pym_pool *owned_pool(struct pym_cache *cache, const void *p)
{
	unsigned long word = (unsigned long)cache;

	if (cache->indexed)
		return pym_lookup(p);
	if (cache->is_class)
		word ^= pym_direct.secret;
	/* With its owner's word on it the page is ours, and names its pool. */
	if (!plausible(cache, p) || !word_is(&page_of(p)->private, word))
		return pym_lookup(p);
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
		pym_report(PYM_MISUSE_DOUBLE_FREE, 0,
			   "block of cache %s found free when it left a front", cache->name);
}

/*
 * Free the first of the blocks before @end, as many as are in @pool. What is not live
 * or no block moves to *@bad, which never is ahead. Returns the first of another pool.
 */
static void **push_run(struct pym_cache *cache, struct pym_pool *pool, void **block, void **end,
		       void ***bad, bool *reap)
{
	unsigned long *bits = pym_pool_bits(pool);
	size_t size = pym_pool_size(cache->order);
	unsigned int carved = pool->carved, slot, freed;
	void **first = block, **failed = *bad;
	const void *base = pool->base;

	lockdep_assert_held(&cache->lock);
	for (; block < end; block++) {
		size_t offset = pym_unmarked(*block) - base;

		if (offset >= size)
			break;
		slot = pym_offset_to_slot(offset, cache->recip);
		if (unlikely(!slot_start(offset, cache)) || unlikely(slot >= carved) ||
		    unlikely(!__test_and_clear_bit(slot, bits)))
			*failed++ = *block;
	}
	freed = (block - first) - (failed - *bad);
	*bad = failed;
	if (freed)
		*reap |= settle(cache, pool, freed);
	return block;
}

/**
 * pym_batch_return() - put blocks that were in a front back into their pools
 * @cache: the cache
 * @blocks: as they were in it; changed
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
	void **block = blocks, **end = blocks + n, **bad = blocks, **next;
	struct pym_pool *pool;
	unsigned long flags;
	bool reap = false;

	trace_pym_flush(cache, n, false);
	rcu_read_lock();
	raw_spin_lock_irqsave(&cache->lock, flags);
	/* They come in the order in which they were freed: often many of a pool. */
	while (block < end) {
		next = block;
		pool = owned_pool(cache, pym_unmarked(*block));
		if (likely(pool && pool->owner == cache))
			next = push_run(cache, pool, block, end, &bad, &reap);
		/* Not a block of ours. */
		if (unlikely(next == block))
			*bad++ = *next++;
		block = next;
	}
	raw_spin_unlock_irqrestore(&cache->lock, flags);
	for (block = blocks; unlikely(block < bad); block++)
		report_late(cache, pym_unmarked(*block));
	rcu_read_unlock();
	return reap;
}
