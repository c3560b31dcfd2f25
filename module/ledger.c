// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ledger: where every byte that a heap holds is. Each cache is read under
 * its own lock and the arenas under the heap's, one after the other; a pool
 * that changes its owner in between would be counted twice or not at all, so
 * the heap counts such moves and the ledger is made again if there was one. On a
 * heap that never rests, no pool is let move meanwhile.
 */
#include <linux/delay.h>
#include <linux/sched.h>
#include "internal.h"

/*
 * Attempts before pools are stopped, and to do so: with a pause in between, for who
 * holds a lock may be a virtual CPU that does not run.
 */
#define TRIES		16
#define STOPPING_TRIES	1000
#define PAUSE_US	100

static void add_cache_stats(const struct pym_cache_stats *s, struct pym_heap_stats *stats)
{
	unsigned long in_pools = s->live - s->guarded;

	stats->live += s->live;
	stats->in_blocks += s->live * s->size;
	stats->rounding += in_pools * (s->stride - s->size) +
			   s->guarded * (s->guard_area - s->size) +
			   s->pools * (s->pool_size - s->capacity * s->stride);
	stats->free_blocks += (s->free + s->cached) * s->stride + s->guard_held * s->guard_area;
	stats->virgin += s->virgin * s->stride;
}

static bool add_cache(struct pym_cache *cache, struct pym_heap_stats *stats)
{
	struct pym_cache_stats s;

	pym_cache_read(cache, &s);
	add_cache_stats(&s, stats);
	return true;
}

/* The same with the heap's lock held, against the order of locks: false if it cannot be. */
static bool try_add_cache(struct pym_cache *cache, struct pym_heap_stats *stats)
{
	struct pym_cache_stats s = {};

	lockdep_assert_held(&cache->heap->lock);
	if (raw_spin_trylock(&cache->lock)) {
		pym_cache_count(cache, &s);
		raw_spin_unlock(&cache->lock);
	}
	/* No cache has blocks of no size: this one was not counted. */
	if (!s.size)
		return false;
	add_cache_stats(&s, stats);
	return true;
}

static bool add_caches(struct pym_heap *heap, struct pym_heap_stats *stats,
		       bool (*add)(struct pym_cache *cache, struct pym_heap_stats *stats))
{
	struct pym_cache *cache, *layer;
	unsigned int i;

	for (i = 0; i < PYM_NR_CLASSES; i++) {
		cache = READ_ONCE(heap->class[i]);
		pym_for_each_layer(layer, cache)
			if (!add(layer, stats))
				return false;
	}
	list_for_each_entry(cache, &heap->caches, node)
		pym_for_each_layer(layer, cache)
			if (!add(layer, stats))
				return false;
	return true;
}

static void add_arenas(struct pym_heap *heap, struct pym_heap_stats *stats)
{
	unsigned int i;
	size_t size;

	lockdep_assert_held(&heap->lock);
	for (i = 0; i < pym_nr_orders(heap->flags); i++) {
		struct pym_order *order = heap->order[i];

		if (!order)
			continue;
		size = pym_pool_size(i % PYM_NR_ORDERS);
		stats->virgin += order->virgin * size;
		stats->empty_pools += (order->free - order->virgin) * size;
	}
	stats->limit = heap->limit;
	stats->held = heap->acct.held;
	stats->high = heap->acct.high;
	stats->metadata = heap->acct.metadata;
	stats->metadata_pages = heap->acct.metadata_pages;
	stats->pass_through = heap->acct.pass_through;
	stats->in_flight = heap->acct.in_flight;
	stats->arenas = heap->nr_arenas;
	stats->live += heap->nr_large;
	stats->pass_through_live = heap->nr_large;
	stats->limit_hits = heap->limit_hits;
	stats->failures = heap->failures;
	stats->refused = heap->refused;
}

/* Returns the heap's count of moves at the time of its part. */
static u64 add_heap(struct pym_heap *heap, struct pym_heap_stats *stats)
{
	unsigned long flags;
	u64 moves;

	raw_spin_lock_irqsave(&heap->lock, flags);
	add_arenas(heap, stats);
	moves = heap->acct.moves;
	raw_spin_unlock_irqrestore(&heap->lock, flags);
	return moves;
}

/*
 * The whole ledger under the heap's lock, without which no pool moves. Whoever is
 * about to move one holds a cache's lock and waits for ours: then we give way.
 */
static bool add_stopped(struct pym_heap *heap, struct pym_heap_stats *stats)
{
	unsigned long flags;
	bool done;

	raw_spin_lock_irqsave(&heap->lock, flags);
	add_arenas(heap, stats);
	done = add_caches(heap, stats, try_add_cache);
	raw_spin_unlock_irqrestore(&heap->lock, flags);
	return done;
}

static bool moved_since(struct pym_heap *heap, u64 moves)
{
	unsigned long flags;
	bool moved;

	raw_spin_lock_irqsave(&heap->lock, flags);
	moved = heap->acct.moves != moves;
	raw_spin_unlock_irqrestore(&heap->lock, flags);
	return moved;
}

/**
 * pym_heap_ledger() - what a heap holds, and whether it adds up
 * @heap: the heap
 * @stats: filled in
 *
 * Context: Task context, pym_registry held.
 * Return: true if the parts sum to what is held. False is a bug of ours, unless
 * pools never stopped moving for long enough, which takes much more than work.
 */
bool pym_heap_ledger(struct pym_heap *heap, struct pym_heap_stats *stats)
{
	unsigned int tries;
	u64 moves;

	lockdep_assert_held(&pym_registry);
	for (tries = 0; tries < TRIES; tries++) {
		memset(stats, 0, sizeof(*stats));
		moves = add_heap(heap, stats);
		add_caches(heap, stats, add_cache);
		if (!moved_since(heap, moves))
			goto out;
		cond_resched();
	}
	for (tries = 0; tries < STOPPING_TRIES; tries++) {
		memset(stats, 0, sizeof(*stats));
		if (add_stopped(heap, stats))
			break;
		usleep_range(PAUSE_US, 2 * PAUSE_US);
	}
out:
	return stats->held == stats->in_blocks + stats->rounding + stats->free_blocks +
			      stats->virgin + stats->empty_pools + stats->metadata +
			      stats->pass_through + stats->in_flight;
}
EXPORT_SYMBOL_IF_KUNIT(pym_heap_ledger);
