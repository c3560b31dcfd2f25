// SPDX-License-Identifier: GPL-2.0-only
/*
 * Arenas: obtain them, hand out pools fullest arena first, give them back.
 */
#include <linux/slab.h>
#include "internal.h"

/* The first arena of an order has this many pools; the next twice, then four times. */
#define FIRST_ARENA_POOLS	16

/* ------------------------------------------------------ order of arenas -- */

static u64 all_pools(const struct pym_arena *arena)
{
	return GENMASK_ULL(arena->npools - 1, 0);
}

/* Take the arena off every list; from now on only its releaser knows it. */
static void retire(struct pym_heap *heap, struct pym_order *order, struct pym_arena *arena)
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
		order->holes_total -= hweight64(all_pools(arena) & ~arena->present &
						~arena->reserved);
	}
	if (arena->is_idle) {
		list_del_init(&arena->idle);
		order->nr_idle--;
		arena->is_idle = false;
	}
	order->present -= hweight64(arena->present);
	order->free -= hweight64(arena->free);
	order->virgin -= hweight64(arena->virgin);
	order->nr_arenas--;
	heap->nr_arenas--;
	list_del_rcu(&arena->all);
	arena->retired = true;
	list_add_tail(&arena->idle, &heap->dead);
	pym_shift(heap, bytes, &heap->acct.pools, &heap->acct.in_flight);
}

/*
 * Put the arena where its masks say it belongs; O(1). Returns true if that is
 * on heap->dead: an arena without memory, or one idle arena too many.
 */
static bool place(struct pym_heap *heap, struct pym_order *order, struct pym_arena *arena)
{
	unsigned int n = hweight64(arena->free);
	bool idle = arena->free == arena->present && !arena->reserved;
	bool holes = (arena->present | arena->reserved) != all_pools(arena);

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
			list_add(&arena->idle, &order->idle);
			order->nr_idle++;
		} else {
			list_del_init(&arena->idle);
			order->nr_idle--;
		}
	}
	if (!idle || (arena->present && order->nr_idle <= PYM_SPARE_ARENAS))
		return false;
	retire(heap, order, arena);
	return true;
}

/**
 * pym_pool_take() - take a pool for a cache, from the fullest arena
 * @cache: the new owner
 * @spare: a bitmap to use if the pool needs one; exchanged for the pool's old
 *	one then
 *
 * Context: cache->lock.
 * Return: the pool, USED but on no list, NULL if there is none, or
 * ERR_PTR(-EAGAIN) if @spare is needed and too small.
 */
struct pym_pool *pym_pool_take(struct pym_cache *cache, struct pym_spare_bits *spare)
{
	struct pym_heap *heap = cache->heap;
	struct pym_order *order = READ_ONCE(heap->order[cache->order]);
	struct pym_arena *arena;
	struct pym_pool *pool = NULL;
	unsigned int n;
	u64 bit;

	lockdep_assert_held(&cache->lock);
	if (!order)
		return NULL;

	raw_spin_lock(&heap->lock);
	n = find_first_bit(order->mask, PYM_ARENA_MAX_POOLS + 1);
	if (n > PYM_ARENA_MAX_POOLS)
		goto unlock;
	arena = hlist_entry(order->bucket[n].first, struct pym_arena, bucket);
	/* Used before means cached, and leaves the virgin ones untouched. */
	pool = &arena->pools[__ffs64(arena->free & ~arena->virgin ?: arena->free)];
	if (!pym_pool_has_room(pool, cache->capacity)) {
		if (spare->cap < cache->capacity) {
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
	order->free--;
	if (arena->virgin & bit) {
		arena->virgin &= ~bit;
		order->virgin--;
	}
	pym_pool_assign(pool, cache);
	pool->state = PYM_POOL_USED;
	heap->acct.moves++;
	place(heap, order, arena);
unlock:
	raw_spin_unlock(&heap->lock);
	return pool;
}

/**
 * pym_pool_put() - return a pool without live blocks to its arena
 * @pool: owned, on no list
 *
 * Context: the lock of its owner.
 * Return: true if pym_heap_reap() should be called once the lock is dropped.
 */
bool pym_pool_put(struct pym_pool *pool)
{
	struct pym_arena *arena = pool->arena;
	struct pym_heap *heap = arena->heap;
	struct pym_order *order = heap->order[arena->order];
	bool reap;

	lockdep_assert_held(&pool->owner->lock);
	raw_spin_lock(&heap->lock);
	WRITE_ONCE(pool->owner, NULL);
	pool->state = PYM_POOL_EMPTY;
	pool->zeroed = false;
	pool->live = 0;
	pool->carved = 0;
	arena->free |= BIT_ULL(pool->index);
	order->free++;
	heap->acct.moves++;
	reap = place(heap, order, arena);
	raw_spin_unlock(&heap->lock);
	return reap;
}

/* -------------------------------------------------------- giving back -- */

static size_t bits_bytes(const struct pym_pool *pool)
{
	return pool->bits_cap ? kmalloc_size_roundup(pool->bits_cap / BITS_PER_BYTE) : 0;
}

static void free_arena_rcu(struct rcu_head *rcu)
{
	struct pym_arena *arena = container_of(rcu, struct pym_arena, rcu);
	unsigned int i;

	for (i = 0; i < arena->npools; i++) {
		arena->pools[i].cookie = 0;
		if (arena->pools[i].bits_cap)
			kfree(arena->pools[i].bits);
	}
	kfree(arena->pools);
	kfree(arena);
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
	call_rcu(&arena->rcu, free_arena_rcu);
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
PYM_EXPORT_FOR_TESTS(pym_heap_reap);

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
	place(heap, order, arena);
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
	place(heap, order, arena);
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

	for (i = 0; i < PYM_NR_ORDERS; i++) {
		order = READ_ONCE(heap->order[i]);
		while (order) {
			raw_spin_lock_irqsave(&heap->lock, flags);
			arena = list_first_entry_or_null(&order->idle, struct pym_arena, idle);
			if (arena) {
				retire(heap, order, arena);
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
PYM_EXPORT_FOR_TESTS(pym_heap_trim);

/* ----------------------------------------------------------- obtaining -- */

/* The order's descriptor, made on first use. Returns it or ERR_PTR(). */
static struct pym_order *get_pool_order(struct pym_heap *heap, unsigned int nr, gfp_t gfp)
{
	struct pym_order *order = READ_ONCE(heap->order[nr]);

	if (order)
		return order;
	order = pym_meta_alloc(heap, sizeof(*order), gfp);
	if (IS_ERR(order))
		return order;
	INIT_LIST_HEAD(&order->holes);
	INIT_LIST_HEAD(&order->idle);
	if (cmpxchg(&heap->order[nr], NULL, order))
		pym_meta_free(heap, order, sizeof(*order));
	return READ_ONCE(heap->order[nr]);
}

static size_t arena_metadata(struct pym_heap *heap, unsigned int nr, unsigned int npools)
{
	return kmalloc_size_roundup(sizeof(struct pym_arena)) +
	       kmalloc_size_roundup(npools * sizeof(struct pym_pool)) +
	       pym_index_cost(heap, npools * pym_pool_size(nr));
}

/* An arena descriptor with every pool ABSENT; its bytes are charged already. */
static struct pym_arena *new_arena(struct pym_heap *heap, unsigned int nr,
				   unsigned int npools, gfp_t gfp)
{
	struct pym_arena *arena = kzalloc(sizeof(*arena), pym_meta_gfp(gfp));
	unsigned int i;

	if (!arena)
		return NULL;
	arena->pools = kcalloc(npools, sizeof(*arena->pools), pym_meta_gfp(gfp));
	if (!arena->pools) {
		kfree(arena);
		return NULL;
	}
	INIT_HLIST_NODE(&arena->bucket);
	INIT_LIST_HEAD(&arena->holes);
	INIT_LIST_HEAD(&arena->idle);
	arena->heap = heap;
	arena->npools = npools;
	arena->order = nr;
	arena->metadata = arena_metadata(heap, nr, npools);
	for (i = 0; i < npools; i++) {
		struct pym_pool *pool = &arena->pools[i];

		INIT_LIST_HEAD(&pool->list);
		pool->arena = arena;
		pool->index = i;
		pool->cookie = pym_pool_cookie(pool);
	}
	return arena;
}

/* Add an arena to the heap's lists; its metadata is committed. */
static void insert_arena(struct pym_heap *heap, struct pym_order *order, struct pym_arena *arena)
{
	lockdep_assert_held(&heap->lock);
	arena->id = heap->next_id++;
	list_add_tail_rcu(&arena->all, &heap->arenas);
	heap->nr_arenas++;
	order->nr_arenas++;
	pym_shift(heap, arena->metadata, &heap->acct.in_flight, &heap->acct.metadata);
}

/* Obtain an arena of @npools pools as one chunk. Returns 0 or an error. */
static int grow_arena(struct pym_heap *heap, struct pym_order *order, unsigned int nr,
		      unsigned int npools, gfp_t gfp)
{
	bool split = heap->provider->flags & PYM_PROVIDER_SPLIT;
	size_t pool_size = pym_pool_size(nr);
	size_t bytes = npools * pool_size;
	size_t charged = bytes + arena_metadata(heap, nr, npools);
	struct pym_arena *arena;
	unsigned long flags;
	bool zeroed, reap;
	unsigned int i;
	void *chunk;

	if (!pym_charge(heap, charged))
		return -EDQUOT;
	arena = new_arena(heap, nr, npools, gfp);
	if (!arena)
		goto uncharge;
	chunk = pym_provider_alloc(heap, bytes, gfp, &zeroed);
	if (!chunk)
		goto free_arena;

	for (i = 0; i < npools; i++) {
		struct pym_pool *pool = &arena->pools[i];

		pool->base = chunk + i * pool_size;
		pool->state = PYM_POOL_VIRGIN;
		pool->zeroed = zeroed;
		if (pym_pool_map(pool, pym_meta_gfp(gfp)))
			goto unmap;
	}
	arena->chunk = split ? NULL : chunk;
	arena->present = all_pools(arena);
	arena->free = arena->present;
	arena->virgin = arena->present;

	raw_spin_lock_irqsave(&heap->lock, flags);
	insert_arena(heap, order, arena);
	order->present += npools;
	order->free += npools;
	order->virgin += npools;
	pym_shift(heap, bytes, &heap->acct.in_flight, &heap->acct.pools);
	/* Retired at once if others brought an idle arena meanwhile. */
	reap = place(heap, order, arena);
	raw_spin_unlock_irqrestore(&heap->lock, flags);
	if (reap)
		pym_heap_reap(heap);
	return 0;

unmap:
	while (i--)
		pym_pool_unmap(&arena->pools[i]);
	pym_provider_free(heap, chunk, bytes);
free_arena:
	/* A lookup may have seen a pool that was mapped. */
	call_rcu(&arena->rcu, free_arena_rcu);
uncharge:
	pym_uncharge(heap, charged, &heap->acct.in_flight);
	return -ENOMEM;
}

/* Find an ABSENT pool and reserve it. NULL if there is none. */
static struct pym_pool *reserve_hole(struct pym_heap *heap, struct pym_order *order)
{
	struct pym_arena *arena;
	struct pym_pool *pool = NULL;
	unsigned long flags;

	raw_spin_lock_irqsave(&heap->lock, flags);
	arena = list_first_entry_or_null(&order->holes, struct pym_arena, holes);
	if (arena) {
		pool = &arena->pools[__ffs64(all_pools(arena) & ~arena->present &
					     ~arena->reserved)];
		arena->reserved |= BIT_ULL(pool->index);
		order->holes_total--;
		place(heap, order, arena);
	}
	raw_spin_unlock_irqrestore(&heap->lock, flags);
	return pool;
}

/* Make an arena of ABSENT pools, one of them reserved, and return that one. */
static struct pym_pool *reserve_new(struct pym_heap *heap, struct pym_order *order,
				    unsigned int nr, unsigned int npools, gfp_t gfp)
{
	size_t metadata = arena_metadata(heap, nr, npools);
	struct pym_arena *arena;
	unsigned long flags;

	if (!pym_charge(heap, metadata))
		return ERR_PTR(-EDQUOT);
	arena = new_arena(heap, nr, npools, gfp);
	if (!arena) {
		pym_uncharge(heap, metadata, &heap->acct.in_flight);
		return ERR_PTR(-ENOMEM);
	}
	raw_spin_lock_irqsave(&heap->lock, flags);
	insert_arena(heap, order, arena);
	arena->reserved = 1;
	order->holes_total += npools - 1;
	place(heap, order, arena);
	raw_spin_unlock_irqrestore(&heap->lock, flags);
	return &arena->pools[0];
}

/* Obtain the memory of one pool and put it in a hole. Returns 0 or an error. */
static int grow_pool(struct pym_heap *heap, struct pym_order *order, unsigned int nr,
		     unsigned int npools, gfp_t gfp)
{
	size_t bytes = pym_pool_size(nr);
	struct pym_arena *arena;
	struct pym_pool *pool;
	unsigned long flags;
	bool zeroed, reap;
	int err = -EDQUOT;
	void *base;
	u64 bit;

	pool = reserve_hole(heap, order);
	if (!pool)
		pool = reserve_new(heap, order, nr, npools, gfp);
	if (IS_ERR(pool))
		return PTR_ERR(pool);
	arena = pool->arena;
	bit = BIT_ULL(pool->index);
	if (!pym_charge(heap, bytes))
		goto unreserve;
	err = -ENOMEM;
	base = pym_provider_alloc(heap, bytes, gfp, &zeroed);
	if (!base)
		goto uncharge;
	WRITE_ONCE(pool->base, base);
	if (pym_pool_map(pool, pym_meta_gfp(gfp))) {
		WRITE_ONCE(pool->base, NULL);
		pym_provider_free(heap, base, bytes);
		goto uncharge;
	}

	raw_spin_lock_irqsave(&heap->lock, flags);
	pool->state = PYM_POOL_VIRGIN;
	pool->zeroed = zeroed;
	arena->reserved &= ~bit;
	arena->present |= bit;
	arena->free |= bit;
	arena->virgin |= bit;
	order->present++;
	order->free++;
	order->virgin++;
	pym_shift(heap, bytes, &heap->acct.in_flight, &heap->acct.pools);
	reap = place(heap, order, arena);
	raw_spin_unlock_irqrestore(&heap->lock, flags);
	if (reap)
		pym_heap_reap(heap);
	return 0;

uncharge:
	pym_uncharge(heap, bytes, &heap->acct.in_flight);
unreserve:
	raw_spin_lock_irqsave(&heap->lock, flags);
	arena->reserved &= ~bit;
	order->holes_total++;
	place(heap, order, arena);
	raw_spin_unlock_irqrestore(&heap->lock, flags);
	pym_heap_reap(heap);
	return err;
}

/* How the provider is asked when there is something else to try. */
static gfp_t opportunistic(gfp_t gfp)
{
	return (gfp | __GFP_NORETRY | __GFP_NOWARN | __GFP_NOMEMALLOC) &
	       ~(__GFP_NOFAIL | __GFP_HIGH | __GFP_RECLAIM);
}

static int try_grow(struct pym_heap *heap, unsigned int nr, gfp_t gfp)
{
	unsigned int flags = heap->provider->flags;
	unsigned int npools = pym_arena_pools(nr);
	bool blocking = gfpflags_allow_blocking(gfp);
	struct pym_order *order;

	order = get_pool_order(heap, nr, gfp);
	if (IS_ERR(order))
		return PTR_ERR(order);
	npools = min(npools, FIRST_ARENA_POOLS << min(READ_ONCE(order->nr_arenas), 2U));

	if (!(flags & PYM_PROVIDER_SPLIT)) {
		for (; npools > 1; npools /= 2) {
			gfp_t one = opportunistic(gfp);

			/* Only blocking masks may reach such a provider. */
			if (blocking && !(flags & PYM_PROVIDER_ATOMIC))
				one |= __GFP_DIRECT_RECLAIM;
			if (!grow_arena(heap, order, nr, npools, one))
				return 0;
		}
		return grow_arena(heap, order, nr, 1, gfp);
	}
	/* As many holes as an arena has pools: fill them rather than add more. */
	if (READ_ONCE(order->holes_total) < pym_arena_pools(nr) &&
	    !grow_arena(heap, order, nr, npools, opportunistic(gfp)))
		return 0;
	return grow_pool(heap, order, nr, npools, gfp);
}

/**
 * pym_heap_grow() - obtain at least one free pool
 * @heap: the heap
 * @nr: page order of the pool
 * @gfp: what the request allows
 *
 * Another CPU may take the pool first, so the caller looks again.
 *
 * Context: No lock of ours held.
 * Return: 0, -EWOULDBLOCK if the context forbids it, -EDQUOT if the limit does,
 * or -ENOMEM.
 */
int pym_heap_grow(struct pym_heap *heap, unsigned int nr, gfp_t gfp)
{
	unsigned long flags;
	int err;

	if (!pym_provider_allowed(heap, gfp)) {
		raw_spin_lock_irqsave(&heap->lock, flags);
		heap->refused++;
		raw_spin_unlock_irqrestore(&heap->lock, flags);
		return -EWOULDBLOCK;
	}
	err = try_grow(heap, nr, gfp);
	/* Pools of other orders may be what fills the heap. */
	if (err == -EDQUOT && pym_heap_trim(heap))
		err = try_grow(heap, nr, gfp);
	return err;
}

/* ----------------------------------------------------------- lifecycle -- */

/**
 * pym_heap_release_arenas() - give every arena back, whatever is in it
 * @heap: a heap that nobody uses
 *
 * Context: Task context, may sleep.
 */
void pym_heap_release_arenas(struct pym_heap *heap)
{
	struct pym_arena *arena;
	unsigned long flags;

	for (;;) {
		raw_spin_lock_irqsave(&heap->lock, flags);
		arena = list_first_entry_or_null(&heap->arenas, struct pym_arena, all);
		if (arena)
			retire(heap, heap->order[arena->order], arena);
		raw_spin_unlock_irqrestore(&heap->lock, flags);
		if (!arena)
			break;
		reap_now(heap);
	}
	flush_work(&heap->reap_work);
	reap_now(heap);
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
	for (i = 0; i < PYM_NR_ORDERS; i++)
		pym_meta_free(heap, heap->order[i], sizeof(*heap->order[i]));
}
