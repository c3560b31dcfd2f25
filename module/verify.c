// SPDX-License-Identifier: GPL-2.0-only
/*
 * The invariant walker. Checks what section 6 of internal.h states, by the same
 * names, on a running heap: every pool under its owner's lock, every arena under
 * the heap's, one at a time. Sums over many of them are only compared where the
 * counters prove that nothing changed meanwhile.
 */
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include "internal.h"

struct walk {
	struct pym_heap *heap;
	pym_verify_fn broken;
	void *ctx;
	unsigned int nr_broken;
};

__printf(3, 4) static void broken(struct walk *w, const char *invariant, const char *fmt, ...)
{
	char where[160];
	va_list args;
	int n;

	n = scnprintf(where, sizeof(where), "heap %s: ", w->heap->name);
	va_start(args, fmt);
	vscnprintf(where + n, sizeof(where) - n, fmt, args);
	va_end(args);
	w->nr_broken++;
	if (w->broken)
		w->broken(w->ctx, invariant, where);
}

/* ----------------------------------------------------------------- pools -- */

/* Do the pages of a pool say that it is @owner's, or nobody's if that is NULL? */
static bool pages_name(const struct pym_pool *pool, const struct pym_cache *owner)
{
	unsigned long word = (unsigned long)owner, prev = 0;
	unsigned int i;

	if (pym_heap_indexed(pool->arena->heap))
		return true;
	if (!owner || owner->base) {
		word = PYM_NO_OWNER;
	} else if (owner->is_class) {
		prev = word;
		word ^= pym_direct.secret;
	}
	for (i = 0; i < 1U << pool->arena->order; i++) {
		const struct page *page = virt_to_page(pool->base + i * PAGE_SIZE);

		if (page->private != word || (unsigned long)page->lru.prev != prev ||
		    page->lru.next != (const void *)pool)
			return false;
	}
	return true;
}

/* Is each live slot one that has been handed out? */
static bool all_handed_out(struct pym_pool *pool, const struct pym_cache *cache)
{
	unsigned long *bits = pym_pool_bits(pool);
	unsigned int slot;

	for_each_set_bit(slot, bits, cache->capacity)
		if (!test_bit(cache->capacity + slot, bits))
			return false;
	return true;
}

/* What is wrong with an owned pool, or NULL. Sets @invariant to its name. */
static const char *check_owned(struct pym_pool *pool, struct pym_cache *cache,
			       const char **invariant)
{
	unsigned long *bits = pym_pool_bits(pool);

	lockdep_assert_held(&cache->lock);
	*invariant = "pool-count";
	if (!pym_pool_has_room(pool, cache->room))
		return "bitmap too small";
	if (pool->carved > cache->capacity || pool->live > pool->carved)
		return "live <= carved <= capacity does not hold";
	if (bitmap_weight(bits, pool->carved) != pool->live)
		return "bits set are not the live blocks";
	if (cache->random && !all_handed_out(pool, cache))
		return "a live block was never handed out";
	if (find_next_bit(bits, cache->capacity, pool->carved) < cache->capacity)
		return "a virgin block is marked live";
	if (pool->state == PYM_POOL_USED) {
		*invariant = "pool-used";
		if (!pool->live || pool->live == cache->capacity)
			return "used, but empty or full";
		if (!test_bit(ilog2((unsigned int)(cache->capacity - pool->live)),
			      &cache->node_of[pool->arena->nid].mask))
			return "its list is marked empty";
	} else if (pool->state == PYM_POOL_FULL) {
		*invariant = "pool-full";
		if (pool->live != cache->capacity)
			return "full, but has a free block";
	} else if (pool->state == PYM_POOL_LIMBO) {
		*invariant = "pool-limbo";
		if (pool->live || !cache->typesafe)
			return "waits for readers, but has a live block or need not";
	} else {
		*invariant = "pool-state";
		return "has an owner, but is neither used nor full";
	}
	if (list_empty(&pool->list) || pool->list.next->prev != &pool->list ||
	    pool->list.prev->next != &pool->list)
		return "not on its cache's list";
	*invariant = "pool-state";
	if (cache->heap != pool->arena->heap || cache->order != pool->arena->order)
		return "owner is of another heap or order";
	*invariant = "pool-drain";
	if (pool->draining && pool->state == PYM_POOL_FULL)
		return "full, and drains";
	if (!pages_name(pool, pool->draining ? NULL : cache))
		return "its pages do not name who takes its blocks";
	*invariant = "shadow";
	return cache->base ? pym_shadow_verify(cache, pool) : NULL;
}

static bool leads_to(const void *p, const struct pym_pool *pool)
{
	return pym_lookup(p) == pool;
}

/* The addresses of a pool and those around it; owned, so it stays what it is. */
static const char *check_lookup(struct pym_pool *pool)
{
	size_t size = pym_arena_pool_size(pool->arena);
	const void *base = pool->base;

	if (!leads_to(base, pool) || !leads_to(base + size - 1, pool))
		return "its addresses do not lead to it";
	if (leads_to(base - 1, pool) || leads_to(base + size, pool))
		return "an address outside leads to it";
	return NULL;
}

static void walk_owned(struct walk *w, struct pym_pool *pool, struct pym_cache *cache)
{
	const char *invariant, *what = NULL;
	unsigned long flags;

	raw_spin_lock_irqsave(&cache->lock, flags);
	if (pool->owner == cache) {
		what = check_owned(pool, cache, &invariant);
		if (!what) {
			invariant = "lookup";
			what = check_lookup(pool);
		}
		cache->seen.pools++;
		cache->seen.full += pool->state == PYM_POOL_FULL;
		cache->seen.live += pool->live;
		cache->seen.carved += pool->carved;
		if (cache->base)
			cache->seen.held += pym_shadow_held(cache, pool);
	}
	raw_spin_unlock_irqrestore(&cache->lock, flags);
	if (what)
		broken(w, invariant, "arena %u, pool %u, cache %s: %s",
		       pool->arena->id, pool->index, cache->name, what);
}

/* ---------------------------------------------------------------- arenas -- */

/* What is wrong with an arena's masks and place, or NULL. */
static const char *check_arena(struct pym_heap *heap, struct pym_order *order,
			       struct pym_arena *arena, const char **invariant)
{
	u64 all = GENMASK_ULL(arena->npools - 1, 0);
	unsigned int n = hweight64(arena->free);
	unsigned int i;

	lockdep_assert_held(&heap->lock);
	*invariant = "arena-free";
	if ((arena->virgin & ~arena->free) || (arena->free & ~arena->present) ||
	    (arena->present & ~all) || (arena->present & arena->reserved))
		return "masks are not nested";
	for (i = 0; i < arena->npools; i++) {
		struct pym_pool *pool = &arena->pools[i];
		u64 bit = BIT_ULL(i);
		u8 want = !(arena->present & bit) ? PYM_POOL_ABSENT :
			  arena->virgin & bit ? PYM_POOL_VIRGIN :
			  arena->free & bit ? PYM_POOL_EMPTY : PYM_POOL_USED;

		*invariant = "pool-state";
		if (want == PYM_POOL_USED ? !pool->owner : pool->owner || pool->state != want)
			return "a pool's state or owner is not what the masks say";
		if (pool->arena != arena || pool->index != i ||
		    pool->cookie != pym_pool_cookie(pool))
			return "a pool's constants have changed";
		*invariant = "pool-empty";
		if (!pool->owner && (pool->live || pool->carved || !list_empty(&pool->list)))
			return "a free pool has blocks or is on a list";
		*invariant = "pool-drain";
		if (!pool->owner && pool->draining)
			return "a free pool drains";
		if (!pool->owner && want != PYM_POOL_ABSENT && !pages_name(pool, NULL))
			return "the pages of a free pool name an owner";
	}
	*invariant = "arena-order";
	if (arena->in_bucket != n || hlist_unhashed(&arena->bucket) != !n)
		return "not in the bucket of its number of free pools";
	if (n && (!test_bit(n, order->mask) || hlist_empty(&order->bucket[n])))
		return "its bucket is marked empty";
	if (arena->is_idle != (arena->free == arena->present && !arena->reserved))
		return "idle mark is wrong";
	if (list_empty(&arena->holes) != ((arena->present | arena->reserved) == all))
		return "not on the list of arenas with holes, or wrongly so";
	return NULL;
}

static void walk_arena(struct walk *w, struct pym_arena *arena)
{
	struct pym_heap *heap = w->heap;
	struct pym_order *order = pym_arena_order(arena);
	const char *invariant, *what;
	unsigned long flags;
	unsigned int i;
	u64 present;

	raw_spin_lock_irqsave(&heap->lock, flags);
	if (arena->retired) {
		raw_spin_unlock_irqrestore(&heap->lock, flags);
		return;
	}
	what = check_arena(heap, order, arena, &invariant);
	present = arena->present;
	order->seen.arenas++;
	order->seen.present += hweight64(present);
	order->seen.free += hweight64(arena->free);
	order->seen.virgin += hweight64(arena->virgin);
	order->seen.idle += arena->is_idle;
	order->seen.holes += arena->npools - hweight64(present | arena->reserved);
	raw_spin_unlock_irqrestore(&heap->lock, flags);
	if (what)
		broken(w, invariant, "arena %u: %s", arena->id, what);

	for (i = 0; i < arena->npools; i++) {
		struct pym_pool *pool = &arena->pools[i];
		struct pym_cache *owner = READ_ONCE(pool->owner);

		/* A free pool may be given back at any time, one in use is not. */
		if (!owner)
			continue;
		if (owner->partition != arena->partition)
			broken(w, "arena-partition", "arena %u: pool %u is of another cache",
			       arena->id, i);
		walk_owned(w, pool, owner);
	}
}

static unsigned int node_of_order(unsigned int nr)
{
	return nr / PYM_NR_ORDERS % pym_nr_nodes();
}

static void check_buckets(struct walk *w, unsigned int nr)
{
	struct pym_heap *heap = w->heap;
	struct pym_order *order = heap->order[nr];
	unsigned long flags;
	bool bad = false, idle, low;
	unsigned int n;

	raw_spin_lock_irqsave(&heap->lock, flags);
	for (n = 0; n <= PYM_ARENA_MAX_POOLS; n++) {
		struct hlist_node *first = order->bucket[n].first;

		bad |= test_bit(n, order->mask) != !!first;
		bad |= first && hweight64(hlist_entry(first, struct pym_arena, bucket)->free) != n;
	}
	idle = !pym_can_split(heap) && !pym_isolates(heap) &&
	       order->nr_idle > pym_spare_arenas(order, nr % PYM_NR_ORDERS);
	low = order->low > order->free;
	raw_spin_unlock_irqrestore(&heap->lock, flags);
	if (low)
		broken(w, "order-low", "node %u, order %u: fewer are free than ever were",
		       node_of_order(nr), nr % PYM_NR_ORDERS);
	if (bad || idle)
		broken(w, idle ? "arena-spare" : "arena-order",
		       "node %u, order %u: buckets, their bits or the spare arenas are wrong",
		       node_of_order(nr), nr % PYM_NR_ORDERS);
}

/* ------------------------------------------------------------------ sums -- */

static void check_order_sums(struct walk *w, unsigned int nr, u64 moves)
{
	struct pym_heap *heap = w->heap;
	struct pym_order *order = heap->order[nr];
	unsigned long flags;
	bool bad;

	raw_spin_lock_irqsave(&heap->lock, flags);
	bad = moves == heap->acct.moves &&
	      (order->nr_arenas != order->seen.arenas || order->present != order->seen.present ||
	       order->free != order->seen.free || order->virgin != order->seen.virgin ||
	       order->nr_idle != order->seen.idle || order->holes_total != order->seen.holes);
	raw_spin_unlock_irqrestore(&heap->lock, flags);
	if (bad)
		broken(w, "heap-count",
		       "node %u, order %u: arenas %u/%lu, present %lu/%lu, free %lu/%lu, virgin %lu/%lu, idle %u/%lu, holes %lu/%lu (counter/sum)",
		       node_of_order(nr), nr % PYM_NR_ORDERS, order->nr_arenas,
		       order->seen.arenas, order->present, order->seen.present, order->free,
		       order->seen.free, order->virgin, order->seen.virgin, order->nr_idle,
		       order->seen.idle, order->holes_total, order->seen.holes);
}

/* Is every list of used pools marked as it is, and begins with what belongs there? */
static bool lists_agree(struct pym_cache *cache)
{
	unsigned int nid, i;

	lockdep_assert_held(&cache->lock);
	for (nid = 0; nid < pym_nr_nodes(); nid++) {
		struct pym_cache_node *node = &cache->node_of[nid];

		for (i = 0; i < PYM_NR_FULLNESS; i++) {
			struct pym_pool *pool;

			pool = list_first_entry_or_null(&node->used[i], struct pym_pool, list);
			if (test_bit(i, &node->mask) != !!pool)
				return false;
			if (pool && (pool->arena->nid != nid ||
				     ilog2((unsigned int)(cache->capacity - pool->live)) != i))
				return false;
		}
	}
	return true;
}

/* Nobody else closes one, for that takes the registry. */
static bool front_is_sound(const struct pym_cache *cache, const struct pym_front *front)
{
	unsigned long n = READ_ONCE(front->n), out = READ_ONCE(front->out), cap;

	/* One may be opened meanwhile, which comes before its first block. */
	smp_rmb();
	cap = READ_ONCE(front->cap);
	if (!cap)
		return !n && !out;
	return cap == cache->front_cap && n <= cap && out <= PYM_OUTBOX;
}

static void check_fronts(struct walk *w, struct pym_cache *cache)
{
	/* Pairs with the release in pym_front_create(). */
	struct pym_front __percpu *fronts = smp_load_acquire(&cache->fronts);
	unsigned int nid;
	int cpu;

	if (!fronts)
		return;
	for_each_possible_cpu(cpu)
		if (!front_is_sound(cache, per_cpu_ptr(fronts, cpu)))
			broken(w, "front", "cache %s, CPU %d: %lu slots, %lu blocks, %u of others",
			       cache->name, cpu, per_cpu_ptr(fronts, cpu)->cap,
			       per_cpu_ptr(fronts, cpu)->n, per_cpu_ptr(fronts, cpu)->out);
	for (nid = 0; nid < pym_nr_nodes(); nid++)
		if (READ_ONCE(cache->node_of[nid].depot.nr) > PYM_DEPOT_BATCHES)
			broken(w, "front", "cache %s, depot of node %u has %u batches",
			       cache->name, nid, cache->node_of[nid].depot.nr);
}

static void check_cache_sums(struct walk *w, struct pym_cache *cache)
{
	unsigned long flags;
	bool bad, held, guards;

	raw_spin_lock_irqsave(&cache->lock, flags);
	bad = cache->events == cache->seen.events && !lists_agree(cache);
	bad |= cache->events == cache->seen.events &&
	      (cache->nr_pools != cache->seen.pools || cache->nr_full != cache->seen.full ||
	       cache->live != cache->seen.live || cache->carved != cache->seen.carved);
	held = cache->events == cache->seen.events && cache->held != cache->seen.held;
	guards = cache->events == cache->seen.events && cache->base &&
		 pym_guard_listed(cache) != cache->seen.guards;
	raw_spin_unlock_irqrestore(&cache->lock, flags);
	/* What is on its way from a user to the pool is neither. */
	if (held)
		broken(w, "shadow", "shadow of cache %s holds %lu blocks back, its pools %u",
		       cache->name, cache->held, cache->seen.held);
	if (guards)
		broken(w, "shadow", "cache %s: guarded blocks and free areas are not %u",
		       cache->name, cache->seen.guards);
	if (bad)
		broken(w, "cache-count",
		       "cache %s: pools %lu/%u, full %lu/%u, live %lu/%u, carved %lu/%u (counter/sum)",
		       cache->name, cache->nr_pools, cache->seen.pools, cache->nr_full,
		       cache->seen.full, cache->live, cache->seen.live, cache->carved,
		       cache->seen.carved);
}

static void begin_cache(struct walk *w, struct pym_cache *cache)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&cache->lock, flags);
	memset(&cache->seen, 0, sizeof(cache->seen));
	cache->seen.events = cache->events;
	raw_spin_unlock_irqrestore(&cache->lock, flags);
}

static void begin_orders(struct pym_heap *heap)
{
	unsigned int i;

	for (i = 0; i < pym_nr_orders(heap->flags); i++) {
		struct pym_order *order = READ_ONCE(heap->order[i]);

		if (order)
			memset(&order->seen, 0, sizeof(order->seen));
	}
}

static void visit_caches(struct walk *w, void (*fn)(struct walk *w, struct pym_cache *cache))
{
	struct pym_cache *cache, *layer;
	unsigned int i;

	for (i = 0; i < PYM_NR_CLASSES; i++) {
		cache = READ_ONCE(w->heap->class[i]);
		pym_for_each_layer(layer, cache)
			fn(w, layer);
	}
	list_for_each_entry(cache, &w->heap->caches, node)
		pym_for_each_layer(layer, cache)
			fn(w, layer);
}

static u64 read_moves(struct pym_heap *heap)
{
	unsigned long flags;
	u64 moves;

	raw_spin_lock_irqsave(&heap->lock, flags);
	moves = heap->acct.moves;
	raw_spin_unlock_irqrestore(&heap->lock, flags);
	return moves;
}

static void check_ledger(struct walk *w)
{
	struct pym_heap *heap = w->heap;
	u64 moves = read_moves(heap);
	struct pym_heap_stats s;
	bool balanced = pym_heap_ledger(heap, &s);

	if (!balanced && moves == read_moves(heap))
		broken(w, "ledger",
		       "blocks %zu + rounding %zu + free %zu + virgin %zu + empty %zu + metadata %zu + pass-through %zu + in flight %zu != held %zu",
		       s.in_blocks, s.rounding, s.free_blocks, s.virgin, s.empty_pools,
		       s.metadata, s.pass_through, s.in_flight, s.held);
	if (s.limit && s.held > s.limit)
		broken(w, "limit", "holds %zu bytes, limit %zu", s.held, s.limit);
}

static void check_large(struct walk *w)
{
	struct pym_heap *heap = w->heap;
	u64 moves = read_moves(heap);
	unsigned long flags, n, counted;
	size_t bytes, held;
	bool bad;

	n = pym_large_count(heap, &bytes);
	raw_spin_lock_irqsave(&heap->lock, flags);
	counted = heap->nr_large;
	held = heap->acct.pass_through;
	bad = moves == heap->acct.moves && (n != counted || bytes != held);
	raw_spin_unlock_irqrestore(&heap->lock, flags);
	if (bad)
		broken(w, "heap-count",
		       "%lu pass-through records of %zu bytes, counted %lu of %zu",
		       n, bytes, counted, held);
}

/**
 * pym_heap_verify() - check every invariant of a heap
 * @heap: the heap; may be in use meanwhile
 * @fn: called for each one that is broken, or NULL
 * @ctx: its first argument
 *
 * Context: Task context, pym_registry held.
 * Return: how many are broken.
 */
unsigned int pym_heap_verify(struct pym_heap *heap, pym_verify_fn fn, void *ctx)
{
	struct walk w = { .heap = heap, .broken = fn, .ctx = ctx };
	struct pym_arena *arena;
	unsigned int i;
	u64 moves;

	lockdep_assert_held(&pym_registry);
	visit_caches(&w, begin_cache);
	begin_orders(heap);
	moves = read_moves(heap);
	pym_guard_sum(heap);
	rcu_read_lock();
	list_for_each_entry_rcu(arena, &heap->arenas, all)
		walk_arena(&w, arena);
	rcu_read_unlock();

	for (i = 0; i < pym_nr_orders(heap->flags); i++)
		if (READ_ONCE(heap->order[i]))
			check_buckets(&w, i);
	for (i = 0; i < pym_nr_orders(heap->flags); i++)
		if (READ_ONCE(heap->order[i]))
			check_order_sums(&w, i, moves);
	if (moves == read_moves(heap))
		visit_caches(&w, check_cache_sums);
	visit_caches(&w, check_fronts);
	check_large(&w);
	check_ledger(&w);
	return w.nr_broken;
}
EXPORT_SYMBOL_IF_KUNIT(pym_heap_verify);

/**
 * pym_verify_all() - check every invariant of every heap
 * @fn: called for each one that is broken, or NULL
 * @ctx: its first argument
 *
 * Context: Task context, may sleep.
 * Return: how many are broken.
 */
unsigned int pym_verify_all(pym_verify_fn fn, void *ctx)
{
	struct pym_heap *heap;
	unsigned int n = 0;

	mutex_lock(&pym_registry);
	list_for_each_entry(heap, &pym_heaps, node)
		n += pym_heap_verify(heap, fn, ctx);
	mutex_unlock(&pym_registry);
	return n;
}
EXPORT_SYMBOL_IF_KUNIT(pym_verify_all);
