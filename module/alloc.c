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

/*
 * Clear what is most often cleared: 4 to 32 words. By fours, the last of which may
 * overlap: there is no string instruction that pays for so little.
 */
static __always_inline void clear_words(unsigned long *p, unsigned int n)
{
	unsigned long *last = p + n - 4;

	for (; p < last; p += 4) {
		WRITE_ONCE(p[0], 0);
		WRITE_ONCE(p[1], 0);
		WRITE_ONCE(p[2], 0);
		WRITE_ONCE(p[3], 0);
	}
	WRITE_ONCE(last[0], 0);
	WRITE_ONCE(last[1], 0);
	WRITE_ONCE(last[2], 0);
	WRITE_ONCE(last[3], 0);
}

/*
 * What the caller of an allocation is promised to find in the block. A constructor
 * has run, or runs when the block leaves its pool: cache->clear is 0 then.
 */
static void *prepare_block(struct pym_cache *cache, void *marked, gfp_t gfp)
{
	void *block = pym_unmarked(marked);

	if (cache->clear && want_init_on_alloc(gfp) && !pym_marked(marked, PYM_ZERO))
		memset(block, 0, cache->clear * sizeof(long));
	return block;
}

/*
 * Take up to @n blocks out of the pools, growing the heap until there are at
 * least @handed. Returns how many; if fewer than @handed, the rest has been
 * counted as failed.
 */
static unsigned int get_blocks(struct pym_cache *cache, gfp_t gfp, unsigned int n,
			       unsigned int handed, void **marked)
{
	struct pym_spare_bits spare = {};
	unsigned int done = 0, i;
	int err = 0;

	while (!err) {
		done += pym_batch_pop(cache, n - done, handed - min(done, handed),
				      marked + done, &spare, &err);
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
	if (spare.bits)
		pym_meta_free(cache->heap, spare.bits, spare.cap / BITS_PER_BYTE);
	if (cache->ctor)
		for (i = 0; i < done; i++)
			if (pym_marked(marked[i], PYM_CARVED))
				cache->ctor(pym_unmarked(marked[i]));
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
static void fill_front(struct pym_cache *cache, void **marked, unsigned int n)
{
	/*
	 * With init_on_alloc every allocation looks at that mark and takes it off;
	 * without, few would have a use for it.
	 */
	unsigned long marks = cache->clear && want_init_on_alloc(0) ? PYM_ZERO : 0;
	unsigned int taken, i;

	for (i = 0; i < n; i++)
		marked[i] = (void *)((unsigned long)marked[i] & ~(PYM_MARKS & ~marks));
	taken = pym_front_put(cache, marked, n);
	if (unlikely(taken < n) && pym_batch_return(cache, marked + taken, n - taken))
		pym_heap_reap(cache->heap);
}

/* Allocate a block out of the pools, and half a front with it. */
static noinline void *alloc_from_pools(struct pym_cache *cache, gfp_t gfp)
{
	void *marked[PYM_BATCH] __uninitialized;
	unsigned int n;

	n = fronts_of(cache) ? cache->front_cap / 2 : 1;
	n = get_blocks(cache, gfp, n, 1, marked);
	if (!n)
		return NULL;
	if (n > 1)
		fill_front(cache, marked + 1, n - 1);
	return prepare_block(cache, marked[0], gfp);
}

/* A block out of a front that the fast path may not use, or else from the depot. */
static void *pop_again(struct pym_cache *cache)
{
	struct pym_front __percpu *fronts = fronts_of(cache);
	void *marked;

	if (cache->head.front == &pym_no_front) {
		marked = __pym_front_pop(fronts);
		if (marked)
			return marked;
	}
	return pym_front_from_depot(cache) ? __pym_front_pop(fronts) : NULL;
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
void *pym_alloc_slow(struct pym_cache *cache, gfp_t gfp, unsigned long ip)
{
	void *marked;

	if (!may_alloc(cache, &gfp, ip))
		return NULL;
	if (!fronts_of(cache))
		pym_front_create(cache, gfp);
	if (fronts_of(cache)) {
		marked = pop_again(cache);
		if (marked)
			return prepare_block(cache, marked, gfp);
	}
	return alloc_from_pools(cache, gfp);
}

/* The same for flags that are refused, constructors, and other sizes. */
static noinline void *finish_rare(struct pym_cache *cache, gfp_t gfp, void *marked)
{
	if (gfp & (REFUSED_GFP | __GFP_ZERO) && !may_alloc(cache, &gfp, _RET_IP_)) {
		pym_cache_free(cache, pym_unmarked(marked));
		return NULL;
	}
	return prepare_block(cache, marked, gfp);
}

notrace void *__pym_alloc_finish(struct pym_cache *cache, gfp_t gfp, void *slot)
{
	unsigned int n = cache->clear;

	if (unlikely(gfp & REFUSED_GFP) || unlikely(n - 4 > 32 - 4))
		return finish_rare(cache, gfp, slot);
	if (unlikely(pym_marked(slot, PYM_ZERO)))
		return pym_unmarked(slot);
	clear_words(slot, n);
	return slot;
}
EXPORT_SYMBOL_GPL(__pym_alloc_finish);

void *__pym_cache_alloc_slow(struct pym_cache *cache, gfp_t gfp)
{
	return pym_alloc_slow(cache, gfp, _RET_IP_);
}
EXPORT_SYMBOL_GPL(__pym_cache_alloc_slow);

size_t pym_cache_alloc_bulk(struct pym_cache *cache, gfp_t gfp, size_t n, void **blocks)
{
	size_t done = 0, i;

	if (!may_alloc(cache, &gfp, _RET_IP_))
		return 0;
	if (!fronts_of(cache))
		pym_front_create(cache, gfp);
	while (done < n) {
		size_t first = done;
		unsigned int want = 0, got = 0;

		done += pym_front_take(cache, blocks + done, n - done);
		if (done < n && !(fronts_of(cache) && pym_front_from_depot(cache))) {
			want = min_t(size_t, n - done, PYM_BATCH);
			got = get_blocks(cache, gfp, want, want, blocks + done);
			done += got;
		}
		/* What the front gives has no marks without init_on_alloc. */
		if (got || want_init_on_alloc(gfp))
			for (i = first; i < done; i++)
				blocks[i] = prepare_block(cache, blocks[i], gfp);
		if (unlikely(got < want)) {
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

	if (!fronts_of(cache) || !slot_start(p - pool->base, cache))
		return pym_pool_free(pool, cache, p, ip);
	if (unlikely(pym_front_has_on_top(cache, p))) {
		pym_report_block(PYM_MISUSE_DOUBLE_FREE, "block is free already", pool, p, ip);
		return NULL;
	}
	if (cache->clear && want_init_on_free())
		memset(p, 0, cache->size);
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

static noinline void cache_free_slow(struct pym_cache *cache, void *block)
{
	if (!block || !may_free(cache, _RET_IP_))
		return;
	/* Most often the front was full, and nothing else was the matter. */
	if (!simple_free(cache, block) || cache->head.front == &pym_no_front ||
	    !pym_front_to_depot(cache) || !front_push(cache->head.front, block))
		free_slow(cache, block, _RET_IP_);
}

notrace void pym_cache_free(struct pym_cache *cache, void *block)
{
	if (!front_free(cache, block))
		cache_free_slow(cache, block);
}
EXPORT_SYMBOL_GPL(pym_cache_free);

void pym_cache_free_bulk(struct pym_cache *cache, size_t n, void **blocks)
{
	size_t i = 0;

	if (!n || !may_free(cache, _RET_IP_))
		return;
	while (i < n) {
		unsigned int good = pym_front_give(cache, blocks + i,
						   min_t(size_t, n - i, PYM_BATCH));

		i += good;
		/* The first that is not simple: no room, no block, not ours, ... */
		if (i < n) {
			if (blocks[i])
				free_slow(cache, blocks[i], _RET_IP_);
			i++;
		}
	}
}
EXPORT_SYMBOL_GPL(pym_cache_free_bulk);
