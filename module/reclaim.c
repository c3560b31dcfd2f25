// SPDX-License-Identifier: GPL-2.0-only
/*
 * Giving memory back: retired arenas, idle arenas and free pools, and all of a
 * heap at its end.
 */
#include <linux/slab.h>
#include "internal.h"
#include "kmemleak.h"
#include "trace.h"

static size_t bits_bytes(const struct pym_pool *pool)
{
	return pool->bits_cap ? kmalloc_size_roundup(pool->bits_cap / BITS_PER_BYTE) : 0;
}

/* Give a retired arena back. Returns the bytes. */
static size_t release_arena(struct pym_arena *arena)
{
	struct pym_heap *heap = arena->heap;
	size_t pool_size = pym_arena_pool_size(arena);
	size_t bytes = hweight64(arena->present) * pool_size;
	size_t metadata = arena->metadata;
	unsigned long flags;
	unsigned int i;

	trace_pym_arena_free(arena, hweight64(arena->present));
	for (i = 0; i < arena->npools; i++) {
		metadata += bits_bytes(&arena->pools[i]);
		if (!(arena->present & BIT_ULL(i)))
			continue;
		/* At the end of a heap only. */
		if (arena->pools[i].owner)
			pym_kmemleak_lose_pool(&arena->pools[i], arena->pools[i].owner);
		pym_pool_unmap(&arena->pools[i]);
		if (!arena->chunk)
			pym_provider_free(heap, arena->pools[i].base, pool_size);
	}
	if (arena->chunk)
		pym_provider_free(heap, arena->chunk, arena->npools * pool_size);

	raw_spin_lock_irqsave(&heap->lock, flags);
	pym_uncharge_locked(heap, bytes, &heap->acct.in_flight);
	pym_uncharge_locked(heap, metadata, &heap->acct.metadata);
	if (pym_pools_are_pages(arena->npools))
		heap->acct.metadata_pages -= pym_pools_bytes(arena->npools);
	raw_spin_unlock_irqrestore(&heap->lock, flags);
	/* A bad free may be looking at the descriptors. */
	call_rcu(&arena->rcu, pym_arena_free_rcu);
	return bytes + metadata;
}

/**
 * pym_heap_reap_now() - give retired arenas back
 * @heap: the heap
 *
 * Context: No lock of ours held; the provider's free() must be allowed.
 * Return: bytes given back.
 */
size_t pym_heap_reap_now(struct pym_heap *heap)
{
	struct pym_arena *arena;
	unsigned long flags;
	size_t bytes = 0;

	for (;;) {
		raw_spin_lock_irqsave(&heap->lock, flags);
		arena = list_first_entry_or_null(&heap->dead, struct pym_arena, idle);
		if (arena)
			list_del_init(&arena->idle);
		raw_spin_unlock_irqrestore(&heap->lock, flags);
		if (!arena)
			return bytes;
		bytes += release_arena(arena);
	}
}

/* @n of a set of pools: those that would be used last. */
static u64 last_pools(u64 pools, unsigned int n)
{
	unsigned int drop = hweight64(pools) - min(n, hweight64(pools));

	for (; drop; drop--)
		pools &= pools - 1;
	return pools;
}

/* Every bit of a mask, lowest first. */
#define for_each_pool(i, mask)						\
	for (u64 __left = (mask); __left && ((i) = __ffs64(__left), 1); __left &= __left - 1)

/* Say that free pools of an arena are on their way back, so that it is not retired. */
static void reserve_free(struct pym_heap *heap, struct pym_order *order,
			 struct pym_arena *arena, u64 pools)
{
	unsigned int i;

	lockdep_assert_held(&heap->lock);
	for_each_pool(i, pools)
		arena->pools[i].state = PYM_POOL_ABSENT;
	order->present -= hweight64(pools);
	order->free -= hweight64(pools);
	order->low = min(order->low, order->free);
	order->virgin -= hweight64(arena->virgin & pools);
	arena->present &= ~pools;
	arena->free &= ~pools;
	arena->virgin &= ~pools;
	arena->reserved |= pools;
	pym_shift(heap, hweight64(pools) * pym_arena_pool_size(arena), &heap->acct.pools,
		  &heap->acct.in_flight);
	pym_arena_place(heap, order, arena);
}

/*
 * Make @pools of one arena, which are free, ABSENT and give their pages back. Called
 * with heap->lock held, which is dropped. Returns the bytes.
 */
static size_t depopulate(struct pym_heap *heap, struct pym_order *order,
			 struct pym_arena *arena, u64 pools, unsigned long flags)
	__releases(&heap->lock)
{
	size_t pool_size = pym_arena_pool_size(arena);
	size_t bytes = hweight64(pools) * pool_size;
	void *chunk = arena->chunk;
	unsigned int i;

	reserve_free(heap, order, arena, pools);
	arena->splitting = chunk;
	arena->chunk = NULL;
	raw_spin_unlock_irqrestore(&heap->lock, flags);

	if (chunk)
		pym_provider_split(heap, chunk, arena->npools * pool_size);
	for_each_pool(i, pools) {
		struct pym_pool *pool = &arena->pools[i];
		void *base = pool->base;

		pym_pool_unmap(pool);
		WRITE_ONCE(pool->base, NULL);
		pym_provider_free(heap, base, pool_size);
	}

	raw_spin_lock_irqsave(&heap->lock, flags);
	arena->splitting &= !chunk;
	arena->reserved &= ~pools;
	order->holes_total += hweight64(pools);
	pym_uncharge_locked(heap, bytes, &heap->acct.in_flight);
	trace_pym_pools_free(arena, hweight64(pools));
	pym_arena_place(heap, order, arena);
	raw_spin_unlock_irqrestore(&heap->lock, flags);
	return bytes;
}

/* The free pools of an arena that may go. */
static u64 free_pools(const struct pym_arena *arena, bool virgin)
{
	return virgin ? arena->free : arena->free & ~arena->virgin;
}

/* So many idle arenas are looked at under the lock. */
#define PICK_IDLE	16

/*
 * An idle arena with at most @n such pools, and one at least; or NULL. Most arenas are
 * of one size, so that those behind the first few do not fit either.
 */
static struct pym_arena *pick_idle(struct pym_order *order, unsigned int n, bool virgin)
{
	struct pym_arena *arena;
	unsigned int pools, left = PICK_IDLE;

	list_for_each_entry(arena, &order->idle, idle) {
		pools = hweight64(free_pools(arena, virgin));
		if (pools && pools <= n)
			return arena;
		if (!--left)
			break;
	}
	return NULL;
}

/*
 * The same in a heap that isolates: the arena that has been idle for longest, if that is
 * long enough. Those that became idle before are behind those that did so later.
 */
static struct pym_arena *pick_rested(const struct pym_heap *heap, struct pym_order *order,
				     unsigned int n, bool virgin)
{
	struct pym_arena *arena;
	unsigned int pools;

	lockdep_assert_held(&heap->lock);
	if (list_empty(&order->idle))
		return NULL;
	arena = list_last_entry(&order->idle, struct pym_arena, idle);
	pools = hweight64(free_pools(arena, virgin));
	if (!pools || pools > n ||
	    time_before(jiffies, arena->idle_since + msecs_to_jiffies(heap->isolate_ms)))
		return NULL;
	return arena;
}

/* The arena with the most free pools, of which one may go; or NULL. */
static struct pym_arena *pick_sparse(struct pym_order *order, bool virgin)
{
	unsigned int nr = PYM_ARENA_MAX_POOLS + 1, end;
	struct pym_arena *arena;

	for (;;) {
		end = nr;
		nr = find_last_bit(order->mask, end);
		if (nr == end)
			return NULL;
		/* Whoever splits one is at the same as we are. */
		hlist_for_each_entry(arena, &order->bucket[nr], bucket)
			if (free_pools(arena, virgin) && !arena->splitting)
				return arena;
	}
}

/**
 * pym_heap_can_give() - could pym_heap_give_back() give anything back
 * @heap: the heap
 * @order: an order of it
 * @n: how many pools at most
 *
 * Context: heap->lock.
 * Return: false if what is free is in arenas that must stay whole, and do. What only
 * has to wait for a while can be given back.
 */
bool pym_heap_can_give(const struct pym_heap *heap, struct pym_order *order, unsigned int n)
{
	lockdep_assert_held(&heap->lock);
	return n && (pym_can_split(heap) || pick_idle(order, n, true));
}

/**
 * pym_heap_give_back() - give free pools back
 * @heap: the heap
 * @order: their order
 * @n: how many at most
 * @virgin: also those that have not been used yet
 *
 * Whole arenas first, then single pools, out of the sparsest arenas, if the provider
 * takes them back alone.
 *
 * Context: No lock of ours held; the provider's free() must be allowed.
 * Return: bytes of single pools; those of arenas are pym_heap_reap_now()'s.
 */
size_t pym_heap_give_back(struct pym_heap *heap, struct pym_order *order, unsigned int n,
			  bool virgin)
{
	struct pym_arena *arena;
	unsigned long flags;
	size_t bytes = 0;
	u64 pools;

	while (n) {
		raw_spin_lock_irqsave(&heap->lock, flags);
		arena = pym_isolates(heap) ? pick_rested(heap, order, n, virgin) :
					     pick_idle(order, n, virgin);
		if (arena) {
			n -= hweight64(free_pools(arena, virgin));
			pym_arena_retire(heap, order, arena);
			raw_spin_unlock_irqrestore(&heap->lock, flags);
			continue;
		}
		arena = pym_can_split(heap) ? pick_sparse(order, virgin) : NULL;
		if (!arena) {
			raw_spin_unlock_irqrestore(&heap->lock, flags);
			break;
		}
		pools = last_pools(free_pools(arena, virgin), n);
		n -= hweight64(pools);
		bytes += depopulate(heap, order, arena, pools, flags);
	}
	return bytes;
}

static bool has_excess(struct pym_heap *heap)
{
	const struct pym_order *order;
	unsigned int i;

	if (!pym_gives_pools(heap))
		return false;
	for (i = 0; i < pym_nr_orders(heap->flags); i++) {
		order = READ_ONCE(heap->order[i]);
		if (order && pym_order_excess(order))
			return true;
	}
	return false;
}

/* How many free pools of an order go back now: down to what is kept. */
static unsigned int take_excess(struct pym_heap *heap, struct pym_order *order)
{
	unsigned long flags, n = 0;

	raw_spin_lock_irqsave(&heap->lock, flags);
	/* Exact this time. */
	if (pym_order_excess(order)) {
		n = order->free - order->virgin - order->keep;
		pym_order_given(order, n);
	}
	raw_spin_unlock_irqrestore(&heap->lock, flags);
	return n;
}

/* Give the free pools back of which there are too many. */
static void give_excess(struct pym_heap *heap)
{
	struct pym_order *order;
	unsigned int i;

	for (i = 0; i < pym_nr_orders(heap->flags); i++) {
		order = READ_ONCE(heap->order[i]);
		if (order && pym_order_excess(order))
			pym_heap_give_back(heap, order, take_excess(heap, order), false);
	}
}

static void reap_work(struct work_struct *work)
{
	struct pym_heap *heap = container_of(work, struct pym_heap, reap_work);

	/* Who holds it waits for us, or gives back himself. */
	if (has_excess(heap) && mutex_trylock(&heap->reclaim)) {
		if (!heap->dying)
			give_excess(heap);
		mutex_unlock(&heap->reclaim);
	}
	pym_heap_reap_now(heap);
}

/**
 * pym_heap_reap() - see to what has become free, now if the context allows
 * @heap: the heap
 *
 * Retired arenas are given back; what else is free waits for a tick.
 *
 * Context: Any but NMI, no lock of ours held.
 */
void pym_heap_reap(struct pym_heap *heap)
{
	bool excess = has_excess(heap);

	if (excess || !list_empty(&heap->dead)) {
		if (heap->provider->flags & PYM_PROVIDER_ATOMIC && pym_may_obtain() &&
		    !pym_may_fail(PYM_FAIL_DEFER, heap->name)) {
			if (excess)
				give_excess(heap);
			pym_heap_reap_now(heap);
		} else {
			schedule_work(&heap->reap_work);
		}
	}
	pym_decay_arm(heap);
}
EXPORT_SYMBOL_IF_KUNIT(pym_heap_reap);

/**
 * pym_heap_trim() - give everything back that holds no live block
 * @heap: the heap
 *
 * Context: No lock of ours held; the provider's free() must be allowed.
 * Return: bytes given back.
 */
size_t pym_heap_trim(struct pym_heap *heap)
{
	struct pym_order *order;
	unsigned int i;
	size_t bytes = 0;

	for (i = 0; i < pym_nr_orders(heap->flags); i++) {
		order = READ_ONCE(heap->order[i]);
		if (order)
			bytes += pym_heap_give_back(heap, order, UINT_MAX, true);
	}
	return bytes + pym_heap_reap_now(heap);
}
EXPORT_SYMBOL_IF_KUNIT(pym_heap_trim);

/**
 * pym_heap_retire_arenas() - take every arena off the lists, whatever is in it
 * @heap: a heap that nobody uses
 *
 * Context: Task context. pym_heap_release_arenas() must follow.
 */
void pym_heap_retire_arenas(struct pym_heap *heap)
{
	struct pym_arena *arena;
	unsigned long flags;

	do {
		raw_spin_lock_irqsave(&heap->lock, flags);
		arena = list_first_entry_or_null(&heap->arenas, struct pym_arena, all);
		if (arena)
			pym_arena_retire(heap, pym_arena_order(arena), arena);
		raw_spin_unlock_irqrestore(&heap->lock, flags);
	} while (arena);
}

/**
 * pym_heap_release_arenas() - give every retired arena back, now
 * @heap: a heap that nobody uses
 *
 * Context: Task context, may sleep, no lock of ours held.
 */
void pym_heap_release_arenas(struct pym_heap *heap)
{
	pym_heap_reap_now(heap);
	flush_work(&heap->reap_work);
}

void pym_heap_init_arenas(struct pym_heap *heap)
{
	raw_spin_lock_init(&heap->lock);
	INIT_LIST_HEAD(&heap->arenas);
	INIT_LIST_HEAD(&heap->dead);
	INIT_LIST_HEAD(&heap->large);
	INIT_WORK(&heap->reap_work, reap_work);
	pym_decay_init_heap(heap);
}

/**
 * pym_heap_exit_arenas() - give the order descriptors back
 * @heap: a heap without arenas
 *
 * Context: Task context, may sleep.
 */
void pym_heap_exit_arenas(struct pym_heap *heap)
{
	unsigned int i;

	pym_decay_exit_heap(heap);
	cancel_work_sync(&heap->reap_work);
	for (i = 0; i < pym_nr_orders(heap->flags); i++)
		pym_meta_free(heap, heap->order[i], sizeof(*heap->order[i]));
}
