// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ledger: where every byte that a heap holds is. Each cache is read under
 * its own lock and the arenas under the heap's, one after the other; a pool
 * that changes its owner in between would be counted twice or not at all, so
 * the heap counts such moves and the ledger is made again if there was one.
 */
#include <linux/sched.h>
#include "internal.h"

/* Attempts before the sums are given as they are, on a heap that never rests. */
#define TRIES	200

static void add_cache(struct pym_cache *cache, struct pym_heap_stats *stats)
{
	struct pym_cache_stats s;

	pym_cache_stats(cache, &s);
	stats->live += s.live;
	stats->in_blocks += s.live * s.size;
	stats->rounding += s.live * (s.stride - s.size) +
			   s.pools * (s.pool_size - s.capacity * s.stride);
	stats->free_blocks += (s.free + s.cached) * s.stride;
	stats->virgin += s.virgin * s.stride;
}

/* Returns the heap's count of moves at the time of its part. */
static u64 add_heap(struct pym_heap *heap, struct pym_heap_stats *stats)
{
	unsigned long flags;
	unsigned int i;
	size_t size;
	u64 moves;

	raw_spin_lock_irqsave(&heap->lock, flags);
	for (i = 0; i < pym_nr_orders(); i++) {
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
	stats->pass_through = heap->acct.pass_through;
	stats->in_flight = heap->acct.in_flight;
	stats->arenas = heap->nr_arenas;
	stats->live += heap->nr_large;
	stats->pass_through_live = heap->nr_large;
	stats->limit_hits = heap->limit_hits;
	stats->failures = heap->failures;
	stats->refused = heap->refused;
	moves = heap->acct.moves;
	raw_spin_unlock_irqrestore(&heap->lock, flags);
	return moves;
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
 * Return: true if the parts sum to what is held. False while nothing moves is
 * a bug of ours; on a heap that never rests it may be the reader's misfortune.
 */
bool pym_heap_ledger(struct pym_heap *heap, struct pym_heap_stats *stats)
{
	struct pym_cache *cache;
	unsigned int tries, i;
	u64 moves;

	lockdep_assert_held(&pym_registry);
	for (tries = 0; tries < TRIES; tries++) {
		memset(stats, 0, sizeof(*stats));
		moves = add_heap(heap, stats);
		for (i = 0; i < PYM_NR_CLASSES; i++) {
			cache = READ_ONCE(heap->class[i]);
			if (cache)
				add_cache(cache, stats);
		}
		list_for_each_entry(cache, &heap->caches, node)
			add_cache(cache, stats);
		if (!moved_since(heap, moves))
			break;
		cond_resched();
	}
	return stats->held == stats->in_blocks + stats->rounding + stats->free_blocks +
			      stats->virgin + stats->empty_pools + stats->metadata +
			      stats->pass_through + stats->in_flight;
}
EXPORT_SYMBOL_IF_KUNIT(pym_heap_ledger);
