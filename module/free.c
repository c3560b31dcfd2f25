// SPDX-License-Identifier: GPL-2.0-only
/*
 * Frees to a cache that no front has taken: what may be wrong with them, and where
 * they go. In an NMI they wait for an interrupt.
 */
#include <linux/irq_work.h>
#include <linux/mm.h>
#include <linux/string.h>
#include "internal.h"
#include "front.h"
#include "kasan.h"
#include "trace.h"

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
	struct pym_cache *owner = READ_ONCE(pool->owner);
	bool reap = false;

	if (unlikely(owner && owner->base))
		return pym_shadow_free(owner, pool, p, ip);
	if (PYM_KASAN && slot_start(p - pool->base, cache) && pym_kasan_is_free(cache, p)) {
		pym_report_block(PYM_MISUSE_DOUBLE_FREE, "block is free already", pool, p, ip);
		return NULL;
	}
	/* While a shadow serves, fronts are to stay empty. */
	if (!fronts_of(cache) || !slot_start(p - pool->base, cache) ||
	    unlikely(READ_ONCE(cache->shadow)))
		return pym_pool_free(pool, cache, p, ip);
	if (unlikely(pym_front_has_on_top(cache, p))) {
		pym_report_block(PYM_MISUSE_DOUBLE_FREE, "block is free already", pool, p, ip);
		return NULL;
	}
	if (READ_ONCE(pool->draining)) {
		struct pym_heap *heap = pym_pool_free(pool, cache, p, ip);

		return pym_front_refresh(cache) ? cache->heap : heap;
	}
	if (cache->clear && want_init_on_free()) {
		pym_kasan_open(cache, p);
		memset(p, 0, cache->size);
	}
	if (static_branch_unlikely(&pym_many_nodes) && pool->arena->nid != numa_mem_id()) {
		if (pym_front_send_home(cache, p, &reap))
			return reap ? cache->heap : NULL;
		return pym_pool_free(pool, cache, p, ip);
	}
	if (pym_front_push(cache, p))
		return NULL;
	reap = pym_front_flush(cache);
	if (pym_front_push(cache, p))
		return reap ? cache->heap : NULL;
	return pym_pool_free(pool, cache, p, ip) ?: reap ? cache->heap : NULL;
}

/**
 * pym_find_block() - the pool of a block that is to be freed to a cache
 * @cache: the cache
 * @p: any value at all; reported if it is not in a pool of @cache
 * @ip: caller
 *
 * Context: Any but NMI, under rcu_read_lock(), no lock of ours held.
 * Return: the pool, or NULL.
 */
struct pym_pool *pym_find_block(struct pym_cache *cache, const void *p, unsigned long ip)
{
	struct pym_pool *pool = pym_lookup(p);
	struct pym_cache *owner;

	if (unlikely(!pool)) {
		if (pym_large_info(p, NULL, NULL))
			pym_report(PYM_MISUSE_WRONG_API, ip,
				   "memory from pym_malloc() freed to cache %s; use pym_free()",
				   cache->name);
		else
			pym_report(PYM_MISUSE_FOREIGN, ip,
				   "not a block of ours: freed to cache %s",
				   cache->name);
		return NULL;
	}
	owner = READ_ONCE(pool->owner);
	if (likely(owner == cache || (owner && owner->base == cache)))
		return pool;
	if (!owner)
		pym_report_block(PYM_MISUSE_DOUBLE_FREE, "block is free already", pool, p, ip);
	else if (owner->is_class)
		pym_report_block(PYM_MISUSE_WRONG_API,
				 "memory from pym_malloc(); use pym_free()", pool, p, ip);
	else
		pym_report_block(PYM_MISUSE_WRONG_CACHE, "block of another cache", pool, p, ip);
	return NULL;
}

static void free_slow(struct pym_cache *cache, void *p, unsigned long ip)
{
	struct pym_heap *reap = NULL;
	struct pym_pool *pool;

	trace_pym_free(ip, p, cache);
	if (unlikely(pym_guard_free(cache, p, ip)))
		return;
	rcu_read_lock();
	pool = pym_find_block(cache, p, ip);
	if (pool)
		reap = pym_free_to_front(cache, pool, p, ip);
	rcu_read_unlock();
	if (reap)
		pym_heap_reap(reap);
}

/* ------------------------------------------------------------- deferred -- */

/*
 * What was freed in an NMI on this CPU and waits for the interrupt that the NMI has
 * asked for. Filled in NMIs, which may nest; emptied in the interrupt, which they may
 * nest in.
 */
struct deferred {
	unsigned int n;
	struct {
		struct pym_cache *cache;	/* NULL: from pym_free() */
		const void *p;
		unsigned long ip;
	} entry[PYM_DEFERRED];
};

static DEFINE_PER_CPU(struct deferred, deferred);

static void free_deferred(struct irq_work *work)
{
	struct deferred *d = this_cpu_ptr(&deferred);
	unsigned int done = 0, n;

	do {
		n = READ_ONCE(d->n);
		for (; done < n; done++) {
			if (d->entry[done].cache)
				free_slow(d->entry[done].cache, (void *)d->entry[done].p,
					  d->entry[done].ip);
			else
				pym_free_from(d->entry[done].p, d->entry[done].ip);
		}
	} while (this_cpu_cmpxchg(deferred.n, n, 0) != n);
}

static DEFINE_PER_CPU(struct irq_work, deferred_work);

/**
 * pym_free_later() - free something once the NMI that we are in is over
 * @cache: the cache it is of, or NULL for pym_free()
 * @p: any value at all
 * @ip: caller
 *
 * Context: NMI.
 */
void pym_free_later(struct pym_cache *cache, const void *p, unsigned long ip)
{
	struct deferred *d = this_cpu_ptr(&deferred);
	unsigned int n = this_cpu_inc_return(deferred.n) - 1;

	if (n >= PYM_DEFERRED) {
		this_cpu_dec(deferred.n);
		pym_report(PYM_MISUSE_NMI, ip,
			   "more than %d frees wait for the end of an NMI; block kept",
			   PYM_DEFERRED);
		return;
	}
	d->entry[n].cache = cache;
	d->entry[n].p = p;
	d->entry[n].ip = ip;
	irq_work_queue(this_cpu_ptr(&deferred_work));
}

/**
 * pym_free_sync() - wait for what was freed in NMIs
 *
 * Context: Task context, may sleep.
 */
void pym_free_sync(void)
{
	int cpu;

	for_each_possible_cpu(cpu)
		irq_work_sync(per_cpu_ptr(&deferred_work, cpu));
}

/**
 * pym_free_init() - be ready for frees in NMIs
 *
 * At run time: the module loader of these kernels leaves pointers in initial values
 * of per-CPU variables unrelocated.
 *
 * Context: Task context, before the first free.
 */
void pym_free_init(void)
{
	int cpu;

	/* In a hard interrupt on PREEMPT_RT, too: it may be what the NMI interrupted. */
	for_each_possible_cpu(cpu) {
		struct irq_work *work = per_cpu_ptr(&deferred_work, cpu);

		*work = IRQ_WORK_INIT_HARD(free_deferred);
	}
}

/* ----------------------------------------------------------- public API -- */

static noinline void cache_free_slow(struct pym_cache *cache, void *block, unsigned long ip)
{
	if (!block || !pym_cache_ok(cache, "use", ip))
		return;
	if (unlikely(in_nmi())) {
		pym_free_later(cache, block, ip);
		return;
	}
	/* Most often the front was full, and nothing else was the matter. */
	if (!simple_free(cache, block) || is_remote(block) || !pym_front_make_room(cache) ||
	    !front_push(cache, cache->head.front, block))
		free_slow(cache, block, ip);
}

notrace void pym_cache_free(struct pym_cache *cache, void *block)
{
	if (!front_free(cache, block))
		cache_free_slow(cache, block, _RET_IP_);
}
EXPORT_SYMBOL_GPL(pym_cache_free);

/**
 * pym_cache_free_from() - pym_cache_free() on behalf of somebody else
 * @cache: as for pym_cache_free()
 * @block: as for pym_cache_free()
 * @ip: caller
 *
 * Context: as pym_cache_free().
 */
void pym_cache_free_from(struct pym_cache *cache, void *block, unsigned long ip)
{
	if (!front_free(cache, block))
		cache_free_slow(cache, block, ip);
}

void pym_cache_free_bulk(struct pym_cache *cache, size_t n, void **blocks)
{
	size_t i = 0;

	if (likely(cache && n <= PYM_BATCH) && !pym_traced())
		i = pym_front_give(cache, blocks, n);
	if (i == n || !pym_cache_ok(cache, "use", _RET_IP_))
		return;
	while (i < n) {
		if (!pym_traced())
			i += pym_front_give(cache, blocks + i, min_t(size_t, n - i, PYM_BATCH));
		/* The first that is not simple: no room, no block, not ours, ... */
		if (i < n) {
			if (blocks[i] && unlikely(in_nmi()))
				pym_free_later(cache, blocks[i], _RET_IP_);
			else if (blocks[i])
				free_slow(cache, blocks[i], _RET_IP_);
			i++;
		}
	}
}
EXPORT_SYMBOL_GPL(pym_cache_free_bulk);
