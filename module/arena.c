// SPDX-License-Identifier: GPL-2.0-only
/*
 * Arenas: keep them in order, hand out their pools fullest arena first, take
 * pools back. Neither obtains memory nor gives it back: see grow.c, reclaim.c.
 */
#include <linux/slab.h>
#include "internal.h"
#include "kasan.h"

/* Free pools of an order have found another use, or gone. */
static void fewer_free(struct pym_order *order, unsigned int n)
{
	order->free -= n;
	order->low = min(order->low, order->free);
}

/**
 * pym_order_given() - some free pools are on their way back, as there were too many
 * @order: their order
 * @n: how many
 *
 * Context: heap->lock.
 */
void pym_order_given(struct pym_order *order, unsigned int n)
{
	/* What went before something was missed counts less and less. */
	if (order->got)
		order->gone /= 2;
	order->got = 0;
	order->gone += n;
}

/**
 * pym_order_obtained() - some pools were missing
 * @order: their order
 * @n: how many
 *
 * Had as many been kept, they would not have had to be obtained: next time they are.
 * But if little of what was given back lately has been missed so far, giving it back
 * was right.
 *
 * Context: heap->lock.
 */
void pym_order_obtained(struct pym_order *order, unsigned int n)
{
	unsigned long more;

	order->got += n;
	if (4 * order->got <= order->gone)
		return;
	more = min_t(unsigned long, n, order->gone);
	order->gone -= more;
	order->keep += more;
}

/**
 * pym_arena_retire() - take an arena off every list, for its releaser alone
 * @heap: its heap
 * @order: its order
 * @arena: the arena; ends on heap->dead, its bytes in flight
 *
 * Context: heap->lock.
 */
void pym_arena_retire(struct pym_heap *heap, struct pym_order *order, struct pym_arena *arena)
{
	size_t bytes = hweight64(arena->present) * pym_arena_pool_size(arena);

	lockdep_assert_held(&heap->lock);
	if (arena->in_bucket) {
		hlist_del_init(&arena->bucket);
		if (hlist_empty(&order->bucket[arena->in_bucket]))
			__clear_bit(arena->in_bucket, order->mask);
		arena->in_bucket = 0;
	}
	if (!list_empty(&arena->holes)) {
		list_del_init(&arena->holes);
		order->holes_total -= hweight64(pym_arena_all(arena) & ~arena->present &
						~arena->reserved);
	}
	if (arena->is_idle) {
		list_del_init(&arena->idle);
		order->nr_idle--;
		arena->is_idle = false;
	}
	order->present -= hweight64(arena->present);
	fewer_free(order, hweight64(arena->free));
	order->virgin -= hweight64(arena->virgin);
	order->nr_arenas--;
	heap->nr_arenas--;
	list_del_rcu(&arena->all);
	arena->retired = true;
	list_add_tail(&arena->idle, &heap->dead);
	pym_shift(heap, bytes, &heap->acct.pools, &heap->acct.in_flight);
}

/**
 * pym_arena_place() - put an arena where its masks say it belongs; O(1)
 * @heap: its heap
 * @order: its order
 * @arena: the arena, after a change of its masks
 *
 * Context: heap->lock.
 * Return: true if that is heap->dead, and pym_heap_reap() is to be called once
 * the lock is dropped: it has no memory, or is one idle arena too many.
 */
bool pym_arena_place(struct pym_heap *heap, struct pym_order *order, struct pym_arena *arena)
{
	unsigned int n = hweight64(arena->free);
	bool idle = arena->free == arena->present && !arena->reserved;
	bool holes = (arena->present | arena->reserved) != pym_arena_all(arena);

	lockdep_assert_held(&heap->lock);
	if (n != arena->in_bucket) {
		if (arena->in_bucket) {
			hlist_del_init(&arena->bucket);
			if (hlist_empty(&order->bucket[arena->in_bucket]))
				__clear_bit(arena->in_bucket, order->mask);
		}
		if (n) {
			hlist_add_head(&arena->bucket, &order->bucket[n]);
			__set_bit(n, order->mask);
		}
		arena->in_bucket = n;
	}
	if (holes && list_empty(&arena->holes))
		list_add(&arena->holes, &order->holes);
	else if (!holes)
		list_del_init(&arena->holes);

	if (idle != arena->is_idle) {
		arena->is_idle = idle;
		if (idle) {
			arena->idle_since = jiffies;
			list_add(&arena->idle, &order->idle);
			order->nr_idle++;
		} else {
			list_del_init(&arena->idle);
			order->nr_idle--;
		}
	}
	if (!idle)
		return false;
	/* What rests is for pym_heap_give_back(). */
	if (arena->present && (pym_gives_pools(heap) || pym_isolates(heap) ||
			       order->nr_idle <= pym_spare_arenas(order, arena->order)))
		return false;
	pym_order_given(order, hweight64(arena->present));
	pym_arena_retire(heap, order, arena);
	return true;
}

/**
 * pym_pool_take() - take a pool for a cache, from the fullest arena
 * @cache: the new owner
 * @nid: of this node
 * @spare: a bitmap to use if the pool needs one; exchanged for the pool's old
 *	one then
 *
 * Context: cache->lock.
 * Return: the pool, USED but on no list, NULL if there is none, or
 * ERR_PTR(-EAGAIN) if @spare is needed and too small.
 */
struct pym_pool *pym_pool_take(struct pym_cache *cache, int nid, struct pym_spare_bits *spare)
{
	struct pym_heap *heap = cache->heap;
	struct pym_arena *arena;
	struct pym_pool *pool = NULL;
	struct pym_order *order;
	unsigned int n;
	u64 bit;

	lockdep_assert_held(&cache->lock);
	order = READ_ONCE(*pym_order_of(heap, cache->partition, nid, cache->order));
	if (!order)
		return NULL;

	raw_spin_lock(&heap->lock);
	n = find_first_bit(order->mask, PYM_ARENA_MAX_POOLS + 1);
	if (n > PYM_ARENA_MAX_POOLS)
		goto unlock;
	arena = hlist_entry(order->bucket[n].first, struct pym_arena, bucket);
	/* Used before means cached, and leaves the virgin ones untouched. */
	pool = &arena->pools[__ffs64(arena->free & ~arena->virgin ?: arena->free)];
	if (!pym_pool_has_room(pool, cache->room)) {
		if (spare->cap < cache->room) {
			pool = ERR_PTR(-EAGAIN);
			goto unlock;
		}
		if (pool->bits_cap) {
			swap(pool->bits, spare->bits);
			swap(pool->bits_cap, spare->cap);
		} else {
			pool->bits = spare->bits;
			pool->bits_cap = spare->cap;
			spare->bits = NULL;
			spare->cap = 0;
		}
	}

	bit = BIT_ULL(pool->index);
	arena->free &= ~bit;
	fewer_free(order, 1);
	if (arena->virgin & bit) {
		arena->virgin &= ~bit;
		order->virgin--;
	}
	pym_pool_assign(pool, cache);
	pym_kasan_take_pool(pool, cache);
	pym_pool_set_owner(pool, cache);
	pool->state = PYM_POOL_USED;
	heap->acct.moves++;
	pym_arena_place(heap, order, arena);
unlock:
	raw_spin_unlock(&heap->lock);
	return pool;
}

/**
 * pym_pool_put() - return a pool without live blocks to its arena
 * @pool: owned, on no list
 *
 * Context: the lock of its owner.
 * Return: true if pym_heap_reap() should be called once the lock is dropped: there is
 * something to give back, now or later.
 */
bool pym_pool_put(struct pym_pool *pool)
{
	struct pym_arena *arena = pool->arena;
	struct pym_heap *heap = arena->heap;
	struct pym_order *order = pym_arena_order(arena);
	bool reap;

	lockdep_assert_held(&pool->owner->lock);
	raw_spin_lock(&heap->lock);
	WRITE_ONCE(pool->owner, NULL);
	pym_pool_set_owner(pool, NULL);
	pym_kasan_put_pool(pool);
	pool->state = PYM_POOL_EMPTY;
	pool->zeroed = false;
	pool->draining = false;
	pool->frozen = false;
	pool->live = 0;
	pool->carved = 0;
	arena->free |= BIT_ULL(pool->index);
	/* Above that many a tick is due until there are fewer again. */
	reap = order->free++ == pym_kept_pools(arena->order) ||
	       (pym_order_excess(order) && pym_gives_pools(heap));
	heap->acct.moves++;
	reap |= pym_arena_place(heap, order, arena);
	/* Where arenas stay whole, an idle one is what a tick can give back. */
	reap |= arena->is_idle && !pym_can_split(heap);
	raw_spin_unlock(&heap->lock);
	return reap;
}

/**
 * pym_arena_free_rcu() - free an arena's descriptors, as an RCU callback
 * @rcu: in the arena, whose memory is with the provider again
 *
 * A bad free may be looking at them until then.
 *
 * Context: RCU callback.
 */
void pym_arena_free_rcu(struct rcu_head *rcu)
{
	struct pym_arena *arena = container_of(rcu, struct pym_arena, rcu);
	unsigned int i;

	for (i = 0; i < arena->npools; i++) {
		arena->pools[i].cookie = 0;
		if (arena->pools[i].bits_cap)
			kfree(arena->pools[i].bits);
	}
	pym_pools_free(arena->pools, arena->npools);
	kfree(arena);
}
