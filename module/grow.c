// SPDX-License-Identifier: GPL-2.0-only
/*
 * Obtaining memory: an arena as one chunk where there is one, else fewer pools at
 * a time, one at last. The provider is called with no lock held.
 */
#include <linux/slab.h>
#include "internal.h"
#include "kmemleak.h"
#include "trace.h"

/*
 * The first arena of an order has this many pages. Pools of a page are for so many
 * classes that what is virgin of them is soon used: the next arena has twice as many,
 * and the one after it all that an arena can have. Larger pools are for four classes or
 * five: there it is a share of what there is, so that no more than that is virgin.
 */
#define FIRST_ARENA_PAGES	16U
#define ARENA_SHARE		8

/* The order's descriptor, made on first use. Returns it or ERR_PTR(). */
static struct pym_order *get_pool_order(struct pym_heap *heap, unsigned int partition,
					unsigned int nr, int nid, gfp_t gfp)
{
	struct pym_order **slot = pym_order_of(heap, partition, nid, nr);
	struct pym_order *order = READ_ONCE(*slot);

	if (order)
		return order;
	order = pym_meta_alloc(heap, PYM_FAIL_ORDER, sizeof(*order), gfp);
	if (IS_ERR(order))
		return order;
	INIT_LIST_HEAD(&order->holes);
	INIT_LIST_HEAD(&order->idle);
	order->nid = nid;
	order->partition = partition;
	if (cmpxchg(slot, NULL, order))
		pym_meta_free(heap, order, sizeof(*order));
	return READ_ONCE(*slot);
}

static size_t arena_metadata(struct pym_heap *heap, unsigned int nr, unsigned int npools)
{
	return kmalloc_size_roundup(sizeof(struct pym_arena)) + pym_pools_bytes(npools) +
	       pym_index_cost(heap, npools * pym_pool_size(nr));
}

/* An arena descriptor with every pool ABSENT; its bytes are charged already. */
static struct pym_arena *new_arena(struct pym_heap *heap, unsigned int nr,
				   unsigned int npools, gfp_t gfp)
{
	struct pym_arena *arena = NULL;
	unsigned int i;

	if (!pym_may_fail(PYM_FAIL_ARENA, heap->name))
		arena = kzalloc(sizeof(*arena), pym_meta_gfp(gfp));
	if (!arena)
		return NULL;
	if (!pym_may_fail(PYM_FAIL_POOLS, heap->name))
		arena->pools = pym_pools_alloc(npools, pym_meta_gfp(gfp));
	if (!arena->pools) {
		kfree(arena);
		return NULL;
	}
	pym_kmemleak_ignore(arena);
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
	arena->nid = order->nid;
	arena->partition = order->partition;
	arena->id = heap->next_id++;
	list_add_tail_rcu(&arena->all, &heap->arenas);
	heap->nr_arenas++;
	order->nr_arenas++;
	pym_shift(heap, arena->metadata, &heap->acct.in_flight, &heap->acct.metadata);
	if (pym_pools_are_pages(arena->npools))
		heap->acct.metadata_pages += pym_pools_bytes(arena->npools);
	trace_pym_arena_new(arena, hweight64(arena->present));
}

/* Obtain an arena of @npools pools as one chunk. Returns 0 or an error. */
static int grow_arena(struct pym_heap *heap, struct pym_order *order, unsigned int nr,
		      unsigned int npools, gfp_t gfp)
{
	size_t pool_size = pym_pool_size(nr);
	size_t bytes = npools * pool_size;
	size_t charged = bytes + arena_metadata(heap, nr, npools);
	struct pym_arena *arena;
	unsigned long flags;
	bool zeroed, reap;
	unsigned int i;
	void *chunk = NULL;

	if (!pym_charge(heap, charged))
		return -EDQUOT;
	arena = new_arena(heap, nr, npools, gfp);
	if (!arena)
		goto uncharge;
	if (!pym_may_fail(PYM_FAIL_CHUNK, heap->name))
		chunk = pym_provider_alloc(heap, bytes, gfp, order->nid, &zeroed);
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
	arena->chunk = chunk;
	arena->present = pym_arena_all(arena);
	arena->free = arena->present;
	arena->virgin = arena->present;

	raw_spin_lock_irqsave(&heap->lock, flags);
	insert_arena(heap, order, arena);
	pym_order_obtained(order, npools);
	order->present += npools;
	order->free += npools;
	order->virgin += npools;
	pym_shift(heap, bytes, &heap->acct.in_flight, &heap->acct.pools);
	/* Retired at once if others brought an idle arena meanwhile. */
	reap = pym_arena_place(heap, order, arena);
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
	call_rcu(&arena->rcu, pym_arena_free_rcu);
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
		pool = &arena->pools[__ffs64(pym_arena_all(arena) & ~arena->present &
					     ~arena->reserved)];
		arena->reserved |= BIT_ULL(pool->index);
		order->holes_total--;
		heap->acct.moves++;
		pym_arena_place(heap, order, arena);
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
	heap->acct.moves++;
	pym_arena_place(heap, order, arena);
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
	void *base = NULL;
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
	if (!pym_may_fail(PYM_FAIL_POOL, heap->name))
		base = pym_provider_alloc(heap, bytes, gfp, order->nid, &zeroed);
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
	pym_order_obtained(order, 1);
	order->present++;
	order->free++;
	order->virgin++;
	pym_shift(heap, bytes, &heap->acct.in_flight, &heap->acct.pools);
	trace_pym_pools_new(arena, 1);
	reap = pym_arena_place(heap, order, arena);
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
	heap->acct.moves++;
	pym_arena_place(heap, order, arena);
	raw_spin_unlock_irqrestore(&heap->lock, flags);
	pym_heap_reap(heap);
	return err;
}

/* How the provider is asked when there is something else to try. */
static gfp_t opportunistic(const struct pym_heap *heap, gfp_t gfp)
{
	gfp |= __GFP_NORETRY | __GFP_NOWARN | __GFP_NOMEMALLOC;
	gfp &= ~(__GFP_NOFAIL | __GFP_HIGH);
	/* One that is not atomic has been promised masks that block. */
	if (heap->provider->flags & PYM_PROVIDER_ATOMIC)
		gfp &= ~__GFP_RECLAIM;
	return gfp;
}

/* How many pools the next arena has. */
static unsigned int next_arena(const struct pym_order *order, unsigned int nr)
{
	unsigned int pages;

	if (!nr)
		pages = FIRST_ARENA_PAGES << min(READ_ONCE(order->nr_arenas), 4U);
	else
		pages = rounddown_pow_of_two((READ_ONCE(order->present) << nr) / ARENA_SHARE | 1);
	return clamp(max(pages, FIRST_ARENA_PAGES) >> nr, 1U, pym_arena_pools(nr));
}

/* Obtain pools on one node. Returns 0 or an error. */
static int grow_node(struct pym_heap *heap, unsigned int partition, unsigned int nr, gfp_t gfp,
		     int nid)
{
	gfp_t first = opportunistic(heap, gfp);
	struct pym_order *order;
	unsigned int npools;

	order = get_pool_order(heap, partition, nr, nid, gfp);
	if (IS_ERR(order))
		return PTR_ERR(order);
	npools = next_arena(order, nr);

	if (!pym_can_split(heap)) {
		for (; npools > 1; npools /= 2)
			if (!grow_arena(heap, order, nr, npools, first))
				return 0;
		return grow_arena(heap, order, nr, 1, gfp);
	}
	/* As many holes as an arena has pools: fill them rather than add more. */
	if (READ_ONCE(order->holes_total) < pym_arena_pools(nr) &&
	    !grow_arena(heap, order, nr, npools, first))
		return 0;
	return grow_pool(heap, order, nr, npools, gfp);
}

/**
 * pym_heap_grow() - obtain at least one free pool
 * @heap: the heap
 * @partition: of the cache that wants it
 * @nr: page order of the pool
 * @gfp: what the request allows
 * @nid: on which node
 *
 * Another CPU may take the pool first, so the caller looks again.
 *
 * Context: No lock of ours held.
 * Return: 0, -EWOULDBLOCK if the context forbids it, -EDQUOT if the limit does,
 * or -ENOMEM.
 */
int pym_heap_grow(struct pym_heap *heap, unsigned int partition, unsigned int nr, gfp_t gfp,
		  int nid)
{
	unsigned long flags;
	int err;

	if (!pym_provider_allowed(heap, gfp)) {
		raw_spin_lock_irqsave(&heap->lock, flags);
		heap->refused++;
		raw_spin_unlock_irqrestore(&heap->lock, flags);
		return -EWOULDBLOCK;
	}
	err = grow_node(heap, partition, nr, gfp, nid);
	if (!err)
		pym_decay_arm(heap);
	/* Pools of other orders may be what fills the heap. */
	if (err == -EDQUOT && pym_heap_trim(heap))
		err = grow_node(heap, partition, nr, gfp, nid);
	return err;
}
