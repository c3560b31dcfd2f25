// SPDX-License-Identifier: GPL-2.0-only
/*
 * Allocation from a cache and free to it: the front first, the pools when it is
 * empty, full or busy.
 */
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/string.h>
#include "internal.h"
#include "front.h"

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

/* ------------------------------------------------------- slow allocation -- */

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
	/* A constructor has run, or runs when the block leaves its pool. */
	if (!cache->ctor && want_init_on_alloc(gfp) && !popped->zero)
		memset(popped->block, 0, cache->size);
}

/*
 * Take up to @n blocks out of the pools, growing the heap until there are at
 * least @handed. Returns how many; if fewer than @handed, the rest has been
 * counted as failed.
 */
static unsigned int get_blocks(struct pym_cache *cache, gfp_t gfp, unsigned int n,
			       unsigned int handed, struct pym_popped *popped)
{
	struct pym_spare_bits spare = {};
	unsigned int done = 0, i;
	int err = 0;

	while (!err) {
		done += pym_batch_pop(cache, n - done, handed - min(done, handed),
				      popped + done, &spare, &err);
		if (done >= handed)
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
	if (cache->ctor)
		for (i = 0; i < done; i++)
			if (popped[i].carved)
				cache->ctor(popped[i].block);
	if (unlikely(done < handed)) {
		count_failures(cache, handed - done);
		if (err == -EDQUOT)
			pym_limit_hit(cache->heap, (size_t)(handed - done) * cache->stride);
	}
	return done;
}

/* Checks that precede every allocation which the front has not served. */
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

/* Into the front what it can take, back to the pools what it cannot. */
static void fill_front(struct pym_cache *cache, void **blocks, unsigned int n)
{
	unsigned int taken = pym_front_put(cache, blocks, n);

	if (unlikely(taken < n) && pym_batch_return(cache, blocks + taken, n - taken))
		pym_heap_reap(cache->heap);
}

/* A block out of the front, after a batch from the depot if there is one. */
static void *pop_again(struct pym_cache *cache)
{
	void *blocks[PYM_BATCH];
	unsigned int n;
	void *block;

	/* The front of a cache whose pages carry no key is only used from here. */
	block = front_pop(cache->fronts);
	if (block)
		return block;
	n = pym_depot_take(cache, blocks);
	if (!n)
		return NULL;
	fill_front(cache, blocks, n);
	return front_pop(cache->fronts);
}

/**
 * pym_alloc_slow() - allocate a block when the front has none
 * @cache: the cache
 * @gfp: allocation flags
 * @ip: the caller
 *
 * Context: as pym_cache_alloc().
 * Return: a block, or NULL.
 */
noinline void *pym_alloc_slow(struct pym_cache *cache, gfp_t gfp, unsigned long ip)
{
	struct pym_popped popped[PYM_BATCH];
	void *blocks[PYM_BATCH];
	unsigned int n = 1, i;

	if (!may_alloc(cache, &gfp, ip))
		return NULL;
	if (!fronts_of(cache))
		pym_front_create(cache, gfp);
	if (fronts_of(cache)) {
		popped[0] = (struct pym_popped){ .block = pop_again(cache) };
		if (popped[0].block)
			goto out;
		n = cache->front_cap / 2;
	}
	n = get_blocks(cache, gfp, n, 1, popped);
	if (!n)
		return NULL;
	if (n > 1) {
		for (i = 1; i < n; i++)
			blocks[i - 1] = popped[i].block;
		fill_front(cache, blocks, n - 1);
	}
out:
	prepare_block(cache, popped, gfp);
	return popped[0].block;
}

/**
 * pym_alloc_finish() - what a block from a front may need before it is used
 * @cache: the cache
 * @block: the block
 * @gfp: allocation flags, of which some are out of the ordinary
 * @ip: the caller
 *
 * Context: as pym_cache_alloc().
 * Return: @block, or NULL if the flags are refused.
 */
noinline void *pym_alloc_finish(struct pym_cache *cache, void *block, gfp_t gfp,
				unsigned long ip)
{
	struct pym_popped popped = { .block = block };

	if (unlikely(gfp & REFUSED_GFP) || unlikely(cache->ctor && (gfp & __GFP_ZERO))) {
		if (!may_alloc(cache, &gfp, ip)) {
			pym_cache_free(cache, block);
			return NULL;
		}
	}
	prepare_block(cache, &popped, gfp);
	return block;
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
		unsigned int got = get_blocks(cache, gfp, want, want, popped);
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
 * pym_free_to_front() - free a block whose pool and cache are known, if it is one
 * @cache: owner of the pool when last seen
 * @pool: pool that @p is in, from pym_lookup()
 * @p: the block
 * @ip: caller
 *
 * Into the front if it can take it, after making room there, else to its pool.
 *
 * Context: Any but NMI, under rcu_read_lock(), no lock of ours held.
 * Return: as pym_pool_free().
 */
struct pym_heap *pym_free_to_front(struct pym_cache *cache, struct pym_pool *pool,
				   void *p, unsigned long ip)
{
	bool reap;

	if (!fronts_of(cache) || want_init_on_free() ||
	    !slot_start(p - pool->base, cache))
		return pym_pool_free(pool, cache, p, ip);
	if (unlikely(pym_front_has_on_top(cache, p))) {
		pym_report_block(PYM_MISUSE_DOUBLE_FREE, "block is free already", pool, p, ip);
		return NULL;
	}
	if (pym_front_push(cache, p))
		return NULL;
	reap = pym_front_flush(cache);
	if (pym_front_push(cache, p))
		return reap ? cache->heap : NULL;
	return pym_pool_free(pool, cache, p, ip) ?: reap ? cache->heap : NULL;
}

static void free_slow(struct pym_cache *cache, void *p, unsigned long ip)
{
	struct pym_heap *reap = NULL;
	struct pym_cache *owner;
	struct pym_pool *pool;

	rcu_read_lock();
	pool = pym_lookup(p);
	if (unlikely(!pool)) {
		if (pym_large_info(p, NULL, NULL))
			pym_report(PYM_MISUSE_WRONG_API,
				   "memory from pym_malloc() freed to cache %s; use pym_free(); caller %pS",
				   cache->name, (void *)ip);
		else
			pym_report(PYM_MISUSE_FOREIGN,
				   "not a block of ours: freed to cache %s; caller %pS",
				   cache->name, (void *)ip);
		goto unlock;
	}
	owner = READ_ONCE(pool->owner);
	if (likely(owner == cache))
		reap = pym_free_to_front(cache, pool, p, ip);
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

/* Checks that precede every free which the front has not taken. */
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

static noinline void cache_free_slow(struct pym_cache *cache, void *block, unsigned long ip)
{
	if (block && may_free(cache, ip))
		free_slow(cache, block, ip);
}

void pym_cache_free(struct pym_cache *cache, void *block)
{
	if (unlikely(!cache) || !front_free(cache, block))
		cache_free_slow(cache, block, _RET_IP_);
}
EXPORT_SYMBOL_GPL(pym_cache_free);

void pym_cache_free_bulk(struct pym_cache *cache, size_t n, void **blocks)
{
	size_t i;

	if (!n || !may_free(cache, _RET_IP_))
		return;
	for (i = 0; i < n; i++)
		if (!front_free(cache, blocks[i]) && blocks[i])
			free_slow(cache, blocks[i], _RET_IP_);
}
EXPORT_SYMBOL_GPL(pym_cache_free_bulk);
