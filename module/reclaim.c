// SPDX-License-Identifier: GPL-2.0-only
/*
 * Giving memory back: retired arenas, idle arenas and free pools, and all of a
 * heap at its end.
 */
#include <linux/slab.h>
#include "internal.h"

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

	for (i = 0; i < arena->npools; i++) {
		metadata += bits_bytes(&arena->pools[i]);
		if (!(arena->present & BIT_ULL(i)))
			continue;
		pym_pool_unmap(&arena->pools[i]);
		if (!arena->chunk)
			pym_provider_free(heap, arena->pools[i].base, pool_size);
	}
	if (arena->chunk)
		pym_provider_free(heap, arena->chunk, arena->npools * pool_size);

	raw_spin_lock_irqsave(&heap->lock, flags);
	pym_uncharge_locked(heap, bytes, &heap->acct.in_flight);
	pym_uncharge_locked(heap, metadata, &heap->acct.metadata);
	raw_spin_unlock_irqrestore(&heap->lock, flags);
	/* A bad free may be looking at the descriptors. */
	call_rcu(&arena->rcu, pym_arena_free_rcu);
	return bytes + metadata;
}

static size_t reap_now(struct pym_heap *heap)
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

static void reap_work(struct work_struct *work)
{
	reap_now(container_of(work, struct pym_heap, reap_work));
}

/**
 * pym_heap_reap() - give retired arenas back, here if the context allows
 * @heap: the heap
 *
 * Context: Any, no lock of ours held.
 */
void pym_heap_reap(struct pym_heap *heap)
{
	if ((heap->provider->flags & PYM_PROVIDER_ATOMIC) && pym_may_obtain())
		reap_now(heap);
	else
		schedule_work(&heap->reap_work);
}
EXPORT_SYMBOL_IF_KUNIT(pym_heap_reap);

/*
 * Make the free pools of one arena ABSENT and give their pages back. The arena
 * cannot be retired meanwhile, as its pools are reserved. Called with
 * heap->lock held, which is dropped. Returns the bytes.
 */
static size_t depopulate(struct pym_heap *heap, struct pym_order *order,
			 struct pym_arena *arena, unsigned long flags)
	__releases(&heap->lock)
{
	size_t pool_size = pym_arena_pool_size(arena);
	u64 pools = arena->free;
	size_t bytes = hweight64(pools) * pool_size;
	unsigned int i;

	for (i = 0; i < arena->npools; i++)
		if (pools & BIT_ULL(i))
			arena->pools[i].state = PYM_POOL_ABSENT;
	order->present -= hweight64(pools);
	order->free -= hweight64(pools);
	order->virgin -= hweight64(arena->virgin);
	arena->present &= ~pools;
	arena->free = 0;
	arena->virgin = 0;
	arena->reserved |= pools;
	pym_shift(heap, bytes, &heap->acct.pools, &heap->acct.in_flight);
	pym_arena_place(heap, order, arena);
	raw_spin_unlock_irqrestore(&heap->lock, flags);

	for (i = 0; i < arena->npools; i++) {
		struct pym_pool *pool = &arena->pools[i];
		void *base = pool->base;

		if (!(pools & BIT_ULL(i)))
			continue;
		pym_pool_unmap(pool);
		WRITE_ONCE(pool->base, NULL);
		pym_provider_free(heap, base, pool_size);
	}

	raw_spin_lock_irqsave(&heap->lock, flags);
	arena->reserved &= ~pools;
	order->holes_total += hweight64(pools);
	pym_uncharge_locked(heap, bytes, &heap->acct.in_flight);
	pym_arena_place(heap, order, arena);
	raw_spin_unlock_irqrestore(&heap->lock, flags);
	return bytes;
}

/**
 * pym_heap_trim() - give everything back that holds no live block
 * @heap: the heap
 *
 * Context: No lock of ours held; the provider's free() must be allowed.
 * Return: bytes given back.
 */
size_t pym_heap_trim(struct pym_heap *heap)
{
	bool split = heap->provider->flags & PYM_PROVIDER_SPLIT;
	struct pym_arena *arena;
	struct pym_order *order;
	unsigned int i, n;
	unsigned long flags;
	size_t bytes = 0;

	for (i = 0; i < pym_nr_orders(); i++) {
		order = READ_ONCE(heap->order[i]);
		while (order) {
			raw_spin_lock_irqsave(&heap->lock, flags);
			arena = list_first_entry_or_null(&order->idle, struct pym_arena, idle);
			if (arena) {
				pym_arena_retire(heap, order, arena);
				raw_spin_unlock_irqrestore(&heap->lock, flags);
				continue;
			}
			n = find_first_bit(order->mask, PYM_ARENA_MAX_POOLS + 1);
			if (!split || n > PYM_ARENA_MAX_POOLS) {
				raw_spin_unlock_irqrestore(&heap->lock, flags);
				break;
			}
			arena = hlist_entry(order->bucket[n].first, struct pym_arena, bucket);
			bytes += depopulate(heap, order, arena, flags);
		}
	}
	return bytes + reap_now(heap);
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
			pym_arena_retire(heap, *pym_order_of(heap, arena->nid, arena->order),
					 arena);
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
	reap_now(heap);
	flush_work(&heap->reap_work);
}

void pym_heap_init_arenas(struct pym_heap *heap)
{
	raw_spin_lock_init(&heap->lock);
	INIT_LIST_HEAD(&heap->arenas);
	INIT_LIST_HEAD(&heap->dead);
	INIT_LIST_HEAD(&heap->large);
	INIT_WORK(&heap->reap_work, reap_work);
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

	cancel_work_sync(&heap->reap_work);
	for (i = 0; i < pym_nr_orders(); i++)
		pym_meta_free(heap, heap->order[i], sizeof(*heap->order[i]));
}
