// SPDX-License-Identifier: GPL-2.0-only
/*
 * Caches: blocks of one size. Allocation and free through the pools; the
 * lifecycle of caches with a name of their own and of the hidden ones behind
 * pym_malloc().
 */
#include <linux/ctype.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/string.h>
#include "internal.h"

/* Zone bits choose memory that a shared pool cannot promise. */
#define REFUSED_GFP	GFP_ZONEMASK

/**
 * pym_gfp_ok() - check the flags of a request
 * @gfp: the flags
 * @ip: caller, for the report
 *
 * Context: Any.
 * Return: false if the request must fail.
 */
bool pym_gfp_ok(gfp_t gfp, unsigned long ip)
{
	if (unlikely(gfp & REFUSED_GFP)) {
		gfp_t bad = gfp & REFUSED_GFP;

		pym_report(PYM_MISUSE_BAD_GFP,
			   "gfp %pGg cannot be honoured by a pool; use alloc_pages(); caller %pS",
			   &bad, (void *)ip);
		return false;
	}
	might_alloc(gfp);
	return true;
}

/* ----------------------------------------------------------- allocation -- */

/*
 * Pop up to @n blocks under one hold of the lock. Returns how many; if fewer
 * than @n, *@err says what stopped it: 0 (no free pool) or -EAGAIN (@spare).
 */
static unsigned int pop_blocks(struct pym_cache *cache, unsigned int n,
			       struct pym_popped *popped, struct pym_spare_bits *spare,
			       int *err)
{
	unsigned long flags;
	unsigned int i;

	*err = 0;
	raw_spin_lock_irqsave(&cache->lock, flags);
	for (i = 0; i < n; i++) {
		struct pym_pool *pool;

		pool = list_first_entry_or_null(&cache->used, struct pym_pool, list);
		if (!pool) {
			pool = pym_pool_take(cache, spare);
			if (IS_ERR_OR_NULL(pool)) {
				*err = PTR_ERR_OR_ZERO(pool);
				break;
			}
			list_add(&pool->list, &cache->used);
			cache->nr_pools++;
		}
		pym_pool_pop(pool, cache, &popped[i]);
		if (pool->live == cache->capacity) {
			pool->state = PYM_POOL_FULL;
			list_move(&pool->list, &cache->full);
			cache->nr_full++;
		}
	}
	cache->live += i;
	cache->allocs += i;
	cache->high = max(cache->high, cache->live);
	raw_spin_unlock_irqrestore(&cache->lock, flags);
	return i;
}

static int get_spare_bits(struct pym_cache *cache, struct pym_spare_bits *spare, gfp_t gfp)
{
	size_t size = kmalloc_size_roundup(BITS_TO_LONGS(cache->capacity) * sizeof(long));
	unsigned long *bits;

	if (!pym_may_obtain())
		return -EWOULDBLOCK;
	bits = pym_meta_alloc(cache->heap, size, gfp);
	if (IS_ERR(bits))
		return PTR_ERR(bits);
	spare->bits = bits;
	spare->cap = size * BITS_PER_BYTE;
	return 0;
}

static void count_failures(struct pym_cache *cache, unsigned int n)
{
	struct pym_heap *heap = cache->heap;
	unsigned long flags;

	raw_spin_lock_irqsave(&cache->lock, flags);
	cache->failures += n;
	raw_spin_lock(&heap->lock);
	heap->failures++;
	raw_spin_unlock(&heap->lock);
	raw_spin_unlock_irqrestore(&cache->lock, flags);
}

/* What the caller of an allocation is promised to find in the block. */
static void prepare_block(struct pym_cache *cache, const struct pym_popped *popped, gfp_t gfp)
{
	if (cache->ctor) {
		if (popped->carved)
			cache->ctor(popped->block);
	} else if (want_init_on_alloc(gfp) && !popped->zero) {
		memset(popped->block, 0, cache->size);
	}
}

/*
 * Pop @n blocks, growing the heap as often as that takes. Returns @n, or what
 * could be had; the rest has been counted as failed.
 */
static unsigned int alloc_blocks(struct pym_cache *cache, gfp_t gfp, unsigned int n,
				 struct pym_popped *popped)
{
	struct pym_spare_bits spare = {};
	unsigned int done = 0;
	int err = 0;

	while (!err) {
		done += pop_blocks(cache, n - done, popped + done, &spare, &err);
		if (done == n)
			break;
		if (err == -EAGAIN) {
			pym_meta_free(cache->heap, spare.bits, spare.cap / BITS_PER_BYTE);
			spare = (struct pym_spare_bits){};
			err = get_spare_bits(cache, &spare, gfp);
		} else {
			err = pym_heap_grow(cache->heap, cache->order, gfp);
		}
	}
	pym_meta_free(cache->heap, spare.bits, spare.cap / BITS_PER_BYTE);
	if (unlikely(done < n)) {
		count_failures(cache, n - done);
		if (err == -EDQUOT)
			pym_limit_hit(cache->heap, (size_t)(n - done) * cache->stride);
	}
	return done;
}

/* Checks that precede every allocation from a cache. */
static bool may_alloc(struct pym_cache *cache, gfp_t *gfp, unsigned long ip)
{
	if (unlikely(!cache)) {
		pym_report(PYM_MISUSE_BAD_ARG, "allocation from a NULL cache; caller %pS",
			   (void *)ip);
		return false;
	}
	if (!pym_gfp_ok(*gfp, ip))
		return false;
	if (unlikely(cache->ctor && (*gfp & __GFP_ZERO))) {
		pym_report(PYM_MISUSE_ZERO_CTOR,
			   "cache %s has a constructor, its blocks are not zeroed; caller %pS",
			   cache->name, (void *)ip);
		*gfp &= ~__GFP_ZERO;
	}
	/* Our locks are not taken with trylock: an NMI may have interrupted one. */
	return !in_nmi();
}

/**
 * pym_cache_alloc_ip() - pym_cache_alloc() on behalf of another caller
 * @cache: the cache
 * @gfp: allocation flags
 * @ip: the caller
 *
 * Context: as pym_cache_alloc().
 * Return: a block, or NULL.
 */
void *pym_cache_alloc_ip(struct pym_cache *cache, gfp_t gfp, unsigned long ip)
{
	struct pym_popped popped;

	if (!may_alloc(cache, &gfp, ip) || !alloc_blocks(cache, gfp, 1, &popped))
		return NULL;
	prepare_block(cache, &popped, gfp);
	return popped.block;
}

void *pym_cache_alloc(struct pym_cache *cache, gfp_t gfp)
{
	return pym_cache_alloc_ip(cache, gfp, _RET_IP_);
}
EXPORT_SYMBOL_GPL(pym_cache_alloc);

size_t pym_cache_alloc_bulk(struct pym_cache *cache, gfp_t gfp, size_t n, void **blocks)
{
	struct pym_popped popped[PYM_BATCH];
	size_t done = 0;

	if (!may_alloc(cache, &gfp, _RET_IP_))
		return 0;
	while (done < n) {
		unsigned int want = min_t(size_t, n - done, PYM_BATCH);
		unsigned int got = alloc_blocks(cache, gfp, want, popped);
		unsigned int i;

		for (i = 0; i < got; i++) {
			prepare_block(cache, &popped[i], gfp);
			blocks[done++] = popped[i].block;
		}
		if (got < want) {
			pym_cache_free_bulk(cache, done, blocks);
			return 0;
		}
	}
	return n;
}
EXPORT_SYMBOL_GPL(pym_cache_alloc_bulk);

/* ------------------------------------------------------------------ free -- */

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
	cache->frees++;
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
	if (state == PYM_SLOT_LIVE && !wipe)
		reap = push_block(cache, pool, slot);
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

static void cache_free(struct pym_cache *cache, const void *p, unsigned long ip)
{
	struct pym_heap *reap = NULL;
	struct pym_cache *owner;
	struct pym_pool *pool;

	rcu_read_lock();
	pool = pym_lookup(p);
	if (unlikely(!pool)) {
		if (pym_large_info(p, NULL, NULL))
			pym_report(PYM_MISUSE_WRONG_API,
				   "memory from pym_malloc(); use pym_free(): freed to cache %s; nothing changed; caller %pS",
				   cache->name, (void *)ip);
		else
			pym_report(PYM_MISUSE_FOREIGN,
				   "not a block of ours: freed to cache %s; nothing changed; caller %pS",
				   cache->name, (void *)ip);
		goto unlock;
	}
	owner = READ_ONCE(pool->owner);
	if (likely(owner == cache))
		reap = pym_pool_free(pool, cache, p, ip);
	else if (!owner)
		pym_report_block(PYM_MISUSE_DOUBLE_FREE, "block is free already", pool, p, ip);
	else if (owner->is_class)
		pym_report_block(PYM_MISUSE_WRONG_API,
				 "memory from pym_malloc(); use pym_free()", pool, p, ip);
	else
		pym_report_block(PYM_MISUSE_WRONG_CACHE, "block of another cache", pool, p, ip);
unlock:
	rcu_read_unlock();
	if (reap)
		pym_heap_reap(reap);
}

/* Checks that precede every free. */
static bool may_free(struct pym_cache *cache, unsigned long ip)
{
	if (unlikely(!cache)) {
		pym_report(PYM_MISUSE_BAD_ARG, "free to a NULL cache; nothing changed; caller %pS",
			   (void *)ip);
		return false;
	}
	if (unlikely(in_nmi())) {
		pym_report(PYM_MISUSE_NMI, "free to cache %s in NMI; block kept; caller %pS",
			   cache->name, (void *)ip);
		return false;
	}
	return true;
}

void pym_cache_free(struct pym_cache *cache, void *block)
{
	if (block && may_free(cache, _RET_IP_))
		cache_free(cache, block, _RET_IP_);
}
EXPORT_SYMBOL_GPL(pym_cache_free);

void pym_cache_free_bulk(struct pym_cache *cache, size_t n, void **blocks)
{
	size_t i;

	if (!n || !may_free(cache, _RET_IP_))
		return;
	for (i = 0; i < n; i++)
		if (blocks[i])
			cache_free(cache, blocks[i], _RET_IP_);
}
EXPORT_SYMBOL_GPL(pym_cache_free_bulk);

/* ------------------------------------------------------------- lifecycle -- */

static void init_cache(struct pym_cache *cache, struct pym_heap *heap, size_t size, size_t align)
{
	cache->heap = heap;
	cache->size = size;
	cache->align = align;
	cache->stride = ALIGN(size, align);
	cache->order = pym_stride_to_order(cache->stride);
	cache->capacity = pym_pool_capacity(cache->stride, cache->order);
	cache->recip = pym_recip(cache->stride);
	raw_spin_lock_init(&cache->lock);
	INIT_LIST_HEAD(&cache->used);
	INIT_LIST_HEAD(&cache->full);
	INIT_LIST_HEAD(&cache->node);
}

/**
 * pym_class_cache() - the cache behind requests of one size class
 * @heap: the heap
 * @class: which
 * @gfp: what the request allows, to make the cache on first use
 *
 * Context: Any, no lock of ours held.
 * Return: the cache, or ERR_PTR().
 */
struct pym_cache *pym_class_cache(struct pym_heap *heap, unsigned int class, gfp_t gfp)
{
	struct pym_cache *cache = READ_ONCE(heap->class[class]);
	size_t size = pym_class_to_size(class);

	if (likely(cache))
		return cache;
	if (!pym_may_obtain())
		return ERR_PTR(-EWOULDBLOCK);
	cache = pym_meta_alloc(heap, sizeof(*cache), gfp);
	if (IS_ERR(cache))
		return cache;
	init_cache(cache, heap, size, pym_natural_align(size));
	cache->is_class = true;
	snprintf(cache->name, sizeof(cache->name), "size-%zu", size);
	if (cmpxchg(&heap->class[class], NULL, cache))
		pym_meta_free(heap, cache, sizeof(*cache));
	return READ_ONCE(heap->class[class]);
}

static bool name_taken(struct pym_heap *heap, const char *name)
{
	struct pym_cache *cache;

	lockdep_assert_held(&pym_registry);
	list_for_each_entry(cache, &heap->caches, node)
		if (!strcmp(cache->name, name))
			return true;
	return false;
}

struct pym_cache *pym_cache_create(const char *name, size_t size,
				   const struct pym_cache_args *args)
{
	static const struct pym_cache_args defaults;
	struct pym_cache *cache;
	struct pym_heap *heap;
	size_t align;

	args = args ?: &defaults;
	heap = args->heap ?: pym_default_heap;
	align = args->align ?: PYM_ALIGN;

	if (!pym_name_ok("cache", name))
		return NULL;
	if (!size || size > PYM_CACHE_MAX_SIZE) {
		pr_err("cache %s: size %zu is not in 1..%d\n", name, size, PYM_CACHE_MAX_SIZE);
		return NULL;
	}
	if (!is_power_of_2(align) || align > PAGE_SIZE) {
		pr_err("cache %s: alignment %zu is not a power of two up to %lu\n",
		       name, align, PAGE_SIZE);
		return NULL;
	}
	if (args->flags & ~PYM_CACHE_HWALIGN) {
		pr_err("cache %s: unknown flags in %#x\n", name, args->flags);
		return NULL;
	}
	align = max(align, PYM_ALIGN);
	if (args->flags & PYM_CACHE_HWALIGN)
		align = max_t(size_t, align, cache_line_size());

	cache = pym_meta_alloc(heap, sizeof(*cache), GFP_KERNEL);
	if (IS_ERR(cache)) {
		if (PTR_ERR(cache) == -EDQUOT)
			pym_limit_hit(heap, sizeof(*cache));
		return NULL;
	}
	init_cache(cache, heap, size, align);
	cache->ctor = args->ctor;
	strscpy(cache->name, name, sizeof(cache->name));

	mutex_lock(&pym_registry);
	if (name_taken(heap, name)) {
		mutex_unlock(&pym_registry);
		pr_err("cache %s: heap %s has a cache of that name already\n", name, heap->name);
		pym_meta_free(heap, cache, sizeof(*cache));
		return NULL;
	}
	list_add_tail(&cache->node, &heap->caches);
	mutex_unlock(&pym_registry);
	pym_observer->cache_add(cache);
	return cache;
}
EXPORT_SYMBOL_GPL(pym_cache_create);

/**
 * pym_cache_detach_pools() - return every pool to its arena, live blocks or not
 * @cache: a cache that nobody uses
 *
 * Context: Task context, no lock of ours held.
 */
void pym_cache_detach_pools(struct pym_cache *cache)
{
	struct pym_pool *pool;
	unsigned long flags;

	/* A hold of the lock for each pool: there may be very many. */
	do {
		raw_spin_lock_irqsave(&cache->lock, flags);
		pool = list_first_entry_or_null(&cache->used, struct pym_pool, list) ?:
		       list_first_entry_or_null(&cache->full, struct pym_pool, list);
		if (pool) {
			list_del_init(&pool->list);
			cache->nr_pools--;
			cache->nr_full -= pool->state == PYM_POOL_FULL;
			cache->live -= pool->live;
			cache->carved -= pool->carved;
			pym_pool_put(pool);
		}
		raw_spin_unlock_irqrestore(&cache->lock, flags);
	} while (pool);
	pym_heap_reap(cache->heap);
}

/**
 * pym_cache_forget() - lose every pool, as their arenas are about to go
 * @cache: a cache that nobody uses
 *
 * Context: Task context, no lock of ours held.
 */
void pym_cache_forget(struct pym_cache *cache)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&cache->lock, flags);
	INIT_LIST_HEAD(&cache->used);
	INIT_LIST_HEAD(&cache->full);
	cache->nr_pools = 0;
	cache->nr_full = 0;
	cache->live = 0;
	cache->carved = 0;
	raw_spin_unlock_irqrestore(&cache->lock, flags);
}

/**
 * pym_cache_release() - free a cache without pools, off every list
 * @cache: the cache
 *
 * Context: Task context, no lock of ours held.
 */
void pym_cache_release(struct pym_cache *cache)
{
	/* A bad free may be looking at it. */
	pym_uncharge(cache->heap, kmalloc_size_roundup(sizeof(*cache)),
		     &cache->heap->acct.metadata);
	kfree_rcu(cache, rcu);
}

void pym_cache_destroy(struct pym_cache *cache)
{
	if (!cache)
		return;
	if (cache->is_class) {
		pym_report(PYM_MISUSE_BAD_ARG, "destroy of size class %s of heap %s; caller %pS",
			   cache->name, cache->heap->name, (void *)_RET_IP_);
		return;
	}
	pym_observer->cache_del(cache);
	mutex_lock(&pym_registry);
	list_del(&cache->node);
	mutex_unlock(&pym_registry);
	if (cache->live)
		pym_report(PYM_MISUSE_LEAK,
			   "cache %s of heap %s destroyed with %lu live blocks; memory freed; caller %pS",
			   cache->name, cache->heap->name, cache->live, (void *)_RET_IP_);
	pym_cache_detach_pools(cache);
	pym_cache_release(cache);
}
EXPORT_SYMBOL_GPL(pym_cache_destroy);

size_t pym_cache_shrink(struct pym_cache *cache)
{
	might_sleep();
	return cache ? pym_heap_trim(cache->heap) : 0;
}
EXPORT_SYMBOL_GPL(pym_cache_shrink);

void pym_cache_stats(struct pym_cache *cache, struct pym_cache_stats *stats)
{
	unsigned long flags;

	if (!cache) {
		memset(stats, 0, sizeof(*stats));
		pym_report(PYM_MISUSE_BAD_ARG, "statistics of a NULL cache; caller %pS",
			   (void *)_RET_IP_);
		return;
	}
	raw_spin_lock_irqsave(&cache->lock, flags);
	*stats = (struct pym_cache_stats){
		.size = cache->size,
		.stride = cache->stride,
		.pool_size = pym_pool_size(cache->order),
		.capacity = cache->capacity,
		.live = cache->live,
		.high = cache->high,
		.free = cache->carved - cache->live,
		.virgin = cache->nr_pools * cache->capacity - cache->carved,
		.pools = cache->nr_pools,
		.full = cache->nr_full,
		.allocs = cache->allocs,
		.frees = cache->frees,
		.failures = cache->failures,
	};
	raw_spin_unlock_irqrestore(&cache->lock, flags);
}
EXPORT_SYMBOL_GPL(pym_cache_stats);
