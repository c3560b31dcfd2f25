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

/* Clear a block of any size. */
static void clear_block(const struct pym_cache *cache, void *block)
{
	memset(block, 0, cache->clear * sizeof(long));
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
static void prepare_block(struct pym_cache *cache, const struct pym_popped *popped, gfp_t gfp)
{
	if (cache->clear && want_init_on_alloc(gfp) && !popped->zero)
		clear_block(cache, popped->block);
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

/* What goes into a front's slot for a block. */
static void *slot_value(const struct pym_cache *cache, const struct pym_popped *popped)
{
	/*
	 * Every allocation looks at the mark then, and takes it off; without
	 * init_on_alloc few would have a use for it.
	 */
	if (popped->zero && cache->clear && want_init_on_alloc(0))
		return popped->block + FRONT_ZERO;
	return popped->block;
}

/* What a front's slot says. */
static struct pym_popped slot_popped(void *slot)
{
	return (struct pym_popped){
		.block = slot_block(slot),
		.zero = (unsigned long)slot & FRONT_ZERO,
	};
}

/* A slot out of the front, after a batch from the depot if there is one. */
static void *pop_again(struct pym_cache *cache)
{
	void *blocks[PYM_BATCH];
	unsigned int n;
	void *slot;

	/* The front of a cache whose pages carry no key is only used from here. */
	slot = __pym_front_pop(cache->fronts);
	if (slot)
		return slot;
	n = pym_depot_take(cache, blocks);
	if (!n)
		return NULL;
	fill_front(cache, blocks, n);
	return __pym_front_pop(cache->fronts);
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
	struct pym_popped popped[PYM_BATCH];
	void *blocks[PYM_BATCH];
	unsigned int n = 1, i;
	void *slot;

	if (!may_alloc(cache, &gfp, ip))
		return NULL;
	if (!fronts_of(cache))
		pym_front_create(cache, gfp);
	if (fronts_of(cache)) {
		pym_front_publish(cache);
		slot = pop_again(cache);
		if (slot) {
			popped[0] = slot_popped(slot);
			goto out;
		}
		n = cache->front_cap / 2;
	}
	n = get_blocks(cache, gfp, n, 1, popped);
	if (!n)
		return NULL;
	if (n > 1) {
		for (i = 1; i < n; i++)
			blocks[i - 1] = slot_value(cache, &popped[i]);
		fill_front(cache, blocks, n - 1);
	}
out:
	prepare_block(cache, popped, gfp);
	return popped[0].block;
}

/* The same for flags that are refused, constructors, and other sizes. */
static noinline void *finish_rare(struct pym_cache *cache, gfp_t gfp, void *slot)
{
	struct pym_popped popped = slot_popped(slot);

	if (gfp & (REFUSED_GFP | __GFP_ZERO) && !may_alloc(cache, &gfp, _RET_IP_)) {
		pym_cache_free(cache, popped.block);
		return NULL;
	}
	prepare_block(cache, &popped, gfp);
	return popped.block;
}

notrace void *__pym_alloc_finish(struct pym_cache *cache, gfp_t gfp, void *slot)
{
	unsigned int n = cache->clear;

	if (unlikely(gfp & REFUSED_GFP) || unlikely(n - 4 > 32 - 4))
		return finish_rare(cache, gfp, slot);
	if (unlikely((unsigned long)slot & FRONT_ZERO))
		return slot_block(slot);
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
	struct pym_popped popped[PYM_BATCH];
	size_t done = 0, i;

	if (!may_alloc(cache, &gfp, _RET_IP_))
		return 0;
	if (n) {
		done = pym_front_take(cache, blocks, n);
		for (i = 0; i < done; i++) {
			popped[0] = slot_popped(blocks[i]);
			prepare_block(cache, popped, gfp);
			blocks[i] = popped[0].block;
		}
	}
	while (done < n) {
		unsigned int want = min_t(size_t, n - done, PYM_BATCH);
		unsigned int got = get_blocks(cache, gfp, want, want, popped);

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
	if (block && may_free(cache, _RET_IP_))
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
