// SPDX-License-Identifier: GPL-2.0-only
/*
 * Caches: the lifecycle of those with a name of their own and of the hidden ones
 * behind pym_malloc(), and what they hold.
 */
#include <linux/slab.h>
#include <linux/string.h>
#include "internal.h"
#include "kmemleak.h"

/**
 * pym_cache_init() - what a cache is from its sizes
 * @cache: zeroed
 * @heap: its heap
 * @size: bytes in a block
 * @align: of a block
 * @stride: bytes from one block to the next
 *
 * Without fronts: see allow_fronts().
 *
 * Context: Any.
 */
void pym_cache_init(struct pym_cache *cache, struct pym_heap *heap, size_t size,
		    size_t align, size_t stride)
{
	cache->heap = heap;
	cache->size = size;
	cache->align = align;
	cache->stride = stride;
	cache->order = pym_stride_to_order(cache->stride);
	cache->capacity = pym_pool_capacity(cache->stride, cache->order);
	cache->recip = pym_recip(cache->stride);
	cache->slot_factor = pym_slot_factor(cache->stride);
	cache->slot_limit = pym_slot_limit(cache->stride, cache->capacity);
	cache->room = cache->capacity;
	cache->indexed = pym_heap_indexed(heap);
	cache->pool_mask = pym_pool_size(cache->order) - 1;
	cache->clear = DIV_ROUND_UP(size, sizeof(long));
	cache->head.front = &pym_no_front;
	raw_spin_lock_init(&cache->lock);
	pym_cache_init_used(cache);
	pym_rcu_init_cache(cache);
	INIT_LIST_HEAD(&cache->node);
	INIT_LIST_HEAD(&cache->shadows);
}

static void allow_fronts(struct pym_cache *cache)
{
	/* What must be cleared when it is freed is no simple free. */
	if (!cache->indexed && !want_init_on_free())
		cache->hot_limit = cache->slot_limit;
	if (!(cache->heap->flags & PYM_HEAP_NO_FRONTS))
		cache->front_cap = pym_front_cap(cache->stride);
}

static void init_cache(struct pym_cache *cache, struct pym_heap *heap, size_t size,
		       size_t align, bool is_class)
{
	pym_cache_init(cache, heap, size, align, ALIGN(size, align));
	cache->is_class = is_class;
	if (heap->flags & PYM_HEAP_RANDOM) {
		cache->random = true;
		cache->room = 2 * cache->capacity;
	}
	allow_fronts(cache);
}

/* Where pym_malloc() looks for each size that the class serves in its heap. */
static void set_hot(struct pym_cache *cache, struct pym_front __percpu *front)
{
	struct pym_heap *heap = cache->heap;
	unsigned int class = pym_size_to_class(cache->size);
	/* Requests of 0 bytes are served as one of 1. */
	size_t i = class ? pym_class_to_size(class - 1) / PYM_ALIGN + 1 : 0;

	for (; i <= min(cache->size, heap->small_max) / PYM_ALIGN; i++)
		WRITE_ONCE(heap->head.hot[i], front);
}

/**
 * pym_class_publish() - let pym_malloc() use a class without more ado, if it may
 * @cache: the class
 * @n: bytes of a request that it serves in its heap
 *
 * Context: Any.
 */
void pym_class_publish(struct pym_cache *cache, size_t n)
{
	struct pym_heap *heap = cache->heap;
	struct pym_front __percpu *front;

	if (pym_front_hidden(cache))
		return;
	pym_front_publish(cache);
	front = READ_ONCE(cache->head.front);
	if (READ_ONCE(heap->head.hot[DIV_ROUND_UP(n, PYM_ALIGN)]) == front)
		return;
	set_hot(cache, front);
	/* Pairs with who hides it: he sees the front, or we see that it is hidden. */
	smp_mb();
	if (pym_front_hidden(cache))
		set_hot(cache, &pym_no_front);
}

/**
 * pym_cache_hide() - keep the fronts of a cache from the fast path
 * @cache: one that pym_front_hidden() is true of by now
 *
 * Context: Any.
 */
void pym_cache_hide(struct pym_cache *cache)
{
	/* Pairs with pym_class_publish() and pym_front_publish(). */
	smp_mb();
	if (cache->is_class)
		set_hot(cache, &pym_no_front);
	WRITE_ONCE(cache->head.front, &pym_no_front);
}

/**
 * pym_cache_show() - let the fast path use the fronts of a cache again, if it may
 * @cache: the cache
 *
 * Context: Any.
 */
void pym_cache_show(struct pym_cache *cache)
{
	if (cache->is_class)
		pym_class_publish(cache, min(cache->size, cache->heap->small_max));
	else
		pym_front_publish(cache);
}

/**
 * pym_class_cache() - the cache behind requests of one size class
 * @heap: the heap
 * @class: which
 * @gfp: what the request allows, to make the cache on first use
 *
 * Context: Any, no lock of ours held.
 * Return: the cache, or ERR_PTR().
 */
struct pym_cache *pym_class_cache(struct pym_heap *heap, unsigned int class, gfp_t gfp)
{
	struct pym_cache *cache = READ_ONCE(heap->class[class]);
	size_t size = pym_class_to_size(class);
	int idx;

	if (likely(cache))
		return cache;
	if (!pym_may_obtain_for(heap))
		return ERR_PTR(-EWOULDBLOCK);
	cache = pym_meta_alloc(heap, PYM_FAIL_CLASS, pym_cache_bytes(), gfp);
	if (IS_ERR(cache))
		return cache;
	init_cache(cache, heap, size, pym_natural_align(size), true);
	snprintf(cache->name, sizeof(cache->name), "size-%zu", size);
	cache->partition = pym_isolates(heap) ? class : 0;
	/* Who changes the switches waits for us, and finds the class. */
	idx = pym_switches_lock();
	pym_shadow_attach(cache, gfp);
	if (cmpxchg(&heap->class[class], NULL, cache)) {
		pym_shadow_detach(cache);
		pym_meta_free(heap, cache, pym_cache_bytes());
	}
	pym_switches_unlock(idx);
	return READ_ONCE(heap->class[class]);
}

static bool name_taken(struct pym_heap *heap, const char *name)
{
	struct pym_cache *cache;

	lockdep_assert_held(&pym_registry);
	list_for_each_entry(cache, &heap->caches, node)
		if (!strcmp(cache->name, name))
			return true;
	return false;
}

static bool has_arenas(struct pym_heap *heap, unsigned int partition)
{
	unsigned int i, n = pym_nr_nodes() * PYM_NR_ORDERS;
	struct pym_order **order = &heap->order[partition * n];

	for (i = 0; i < n; i++)
		if (READ_ONCE(order[i]) && READ_ONCE(order[i]->nr_arenas))
			return true;
	return false;
}

/*
 * Give a new cache a partition, if its heap isolates caches: one without arenas, for
 * those that a cache has left behind are of its kind until they have gone back.
 */
static bool take_partition(struct pym_cache *cache)
{
	struct pym_heap *heap = cache->heap;
	unsigned int i;

	lockdep_assert_held(&pym_registry);
	if (!pym_isolates(heap))
		return true;
	/* Below are those of the classes. */
	for (i = PYM_NR_CLASSES; i < PYM_NR_PARTITIONS; i++) {
		if (test_bit(i, heap->partitions) || has_arenas(heap, i))
			continue;
		__set_bit(i, heap->partitions);
		cache->partition = i;
		return true;
	}
	pr_err("cache %s: heap %s isolates its caches, and cannot have more than %d; destroy some and wait until their arenas have gone back\n",
	       cache->name, heap->name, PYM_NR_PARTITIONS - PYM_NR_CLASSES);
	return false;
}

struct pym_cache *__pym_cache_create(const char *name, size_t size,
				     const struct pym_cache_args *args, struct module *module)
{
	static const struct pym_cache_args defaults;
	struct pym_cache *cache;
	struct pym_heap *heap;
	size_t align;

	args = args ?: &defaults;
	heap = args->heap ?: pym_default_heap;
	if (!pym_heap_ok(heap, "use", _RET_IP_))
		return NULL;
	align = args->align ?: PYM_ALIGN;

	if (!pym_name_ok("cache", name))
		return NULL;
	if (!size || size > PYM_CACHE_MAX_SIZE) {
		pr_err("cache %s: size %zu is not in 1..%d\n", name, size, PYM_CACHE_MAX_SIZE);
		return NULL;
	}
	if (!is_power_of_2(align) || align > PAGE_SIZE) {
		pr_err("cache %s: alignment %zu is not a power of two up to %lu\n",
		       name, align, PAGE_SIZE);
		return NULL;
	}
	if (args->flags & ~(PYM_CACHE_HWALIGN | PYM_CACHE_TYPESAFE_BY_RCU)) {
		pr_err("cache %s: unknown flags in %#x\n", name, args->flags);
		return NULL;
	}
	align = max(align, PYM_ALIGN);
	if (args->flags & PYM_CACHE_HWALIGN)
		align = max_t(size_t, align, cache_line_size());

	cache = pym_meta_alloc(heap, PYM_FAIL_CACHE, pym_cache_bytes(), GFP_KERNEL);
	if (IS_ERR(cache)) {
		if (PTR_ERR(cache) == -EDQUOT)
			pym_limit_hit(heap, pym_cache_bytes());
		return NULL;
	}
	init_cache(cache, heap, size, align, false);
	if (args->ctor) {
		cache->ctor = args->ctor;
		cache->clear = 0;
	}
	if (args->flags & PYM_CACHE_TYPESAFE_BY_RCU) {
		/* Readers may be looking at a block that is allocated anew. */
		cache->typesafe = true;
		cache->clear = 0;
	}
	strscpy(cache->name, name, sizeof(cache->name));
	cache->module = module;

	mutex_lock(&pym_registry);
	if (name_taken(heap, name)) {
		mutex_unlock(&pym_registry);
		pr_err("cache %s: heap %s has a cache of that name already\n", name, heap->name);
		pym_meta_free(heap, cache, pym_cache_bytes());
		return NULL;
	}
	if (!take_partition(cache)) {
		mutex_unlock(&pym_registry);
		pym_meta_free(heap, cache, pym_cache_bytes());
		return NULL;
	}
	/* Who changes the switches finds us, or has changed them before. */
	pym_shadow_attach(cache, GFP_KERNEL);
	list_add_tail(&cache->node, &heap->caches);
	mutex_unlock(&pym_registry);
	pym_observer->cache_add(cache);
	return cache;
}
EXPORT_SYMBOL_GPL(__pym_cache_create);

static void detach_pools(struct pym_cache *cache)
{
	struct pym_pool *pool;
	unsigned long flags;

	pym_front_forget(cache);
	/* A hold of the lock for each pool: there may be very many. */
	do {
		raw_spin_lock_irqsave(&cache->lock, flags);
		/* None is in limbo: pym_rcu_sync() has waited for that. */
		pool = pym_cache_any_used(cache) ?:
		       list_first_entry_or_null(&cache->full, struct pym_pool, list);
		if (pool) {
			list_del_init(&pool->list);
			cache->nr_pools--;
			cache->nr_full -= pool->state == PYM_POOL_FULL;
			cache->live -= pool->live;
			cache->carved -= pool->carved;
			pym_kmemleak_lose_pool(pool, cache);
			pym_pool_put(pool);
		}
		raw_spin_unlock_irqrestore(&cache->lock, flags);
	} while (pool);
	cache->held = 0;
	pym_guard_drop(cache);
}

/**
 * pym_cache_detach_pools() - return every pool to its arena, live blocks or not
 * @cache: a cache that nobody uses; pym_heap_reap() is due afterwards
 *
 * Context: Task context, pym_registry.
 */
void pym_cache_detach_pools(struct pym_cache *cache)
{
	struct pym_cache *layer;

	lockdep_assert_held(&pym_registry);
	pym_for_each_layer(layer, cache)
		detach_pools(layer);
}

/**
 * pym_cache_forget() - lose every pool, as their arenas are about to go
 * @cache: a cache that nobody uses
 *
 * Context: Task context, no lock of ours held.
 */
void pym_cache_forget(struct pym_cache *cache)
{
	struct pym_cache *layer;
	unsigned long flags;

	pym_front_forget(cache);
	pym_for_each_layer(layer, cache) {
		raw_spin_lock_irqsave(&layer->lock, flags);
		pym_cache_init_used(layer);
		pym_rcu_init_cache(layer);
		layer->nr_pools = 0;
		layer->nr_full = 0;
		layer->live = 0;
		layer->held = 0;
		layer->carved = 0;
		raw_spin_unlock_irqrestore(&layer->lock, flags);
		pym_guard_drop(layer);
	}
}

/**
 * pym_cache_release() - free a cache without pools, off every list
 * @cache: the cache
 *
 * Context: Task context, no lock of ours held.
 */
void pym_cache_release(struct pym_cache *cache)
{
	pym_front_destroy(cache);
	pym_shadow_detach(cache);
	pym_uncharge(cache->heap, kmalloc_size_roundup(pym_cache_bytes()),
		     &cache->heap->acct.metadata);
	/* A bad free may be looking at it. */
	if (cache->is_class)
		kfree_rcu(cache, rcu);
	else
		pym_cache_bury(cache);
}

/**
 * pym_cache_quiesce() - wait for what has been freed and is on its way yet
 * @cache: a cache that nobody uses
 *
 * Afterwards nobody looks at its blocks either, so that its pages may go.
 *
 * Context: Task context, may sleep.
 */
void pym_cache_quiesce(struct pym_cache *cache)
{
	pym_free_sync();
	pym_rcu_sync(cache);
	if (cache->typesafe)
		synchronize_rcu();
}

/**
 * pym_cache_destroy_from() - pym_cache_destroy() on behalf of somebody else
 * @cache: as for pym_cache_destroy()
 * @ip: caller
 *
 * Context: as pym_cache_destroy().
 */
void pym_cache_destroy_from(struct pym_cache *cache, unsigned long ip)
{
	unsigned long live;

	if (!cache || !pym_cache_ok(cache, "destruction", ip))
		return;
	if (cache->is_class) {
		pym_report(PYM_MISUSE_BAD_ARG, ip, "destroy of size class %s of heap %s",
			   cache->name, cache->heap->name);
		return;
	}
	pym_observer->cache_del(cache);
	pym_cache_quiesce(cache);
	/* Blocks that were freed twice come to light, and some pools wait for readers. */
	pym_front_return(cache);
	pym_rcu_sync(cache);
	/* At once, for who reads the ledger: pools are a cache's or an arena's. */
	mutex_lock(&pym_registry);
	pym_shadow_quiesce(cache);
	live = cache->live + pym_shadow_live(cache);
	if (live) {
		pym_report(PYM_MISUSE_LEAK, ip,
			   "cache %s of heap %s destroyed with %lu live blocks; memory freed",
			   cache->name, cache->heap->name, live);
		pym_shadow_leaks(cache);
	}
	list_del(&cache->node);
	pym_cache_detach_pools(cache);
	__clear_bit(cache->partition, cache->heap->partitions);
	mutex_unlock(&pym_registry);
	pym_heap_reap(cache->heap);
	pym_cache_release(cache);
}

void pym_cache_destroy(struct pym_cache *cache)
{
	pym_cache_destroy_from(cache, _RET_IP_);
}
EXPORT_SYMBOL_GPL(pym_cache_destroy);

size_t pym_cache_shrink(struct pym_cache *cache)
{
	might_sleep();
	if (!cache || !pym_cache_ok(cache, "shrinking", _RET_IP_))
		return 0;
	return pym_heap_shrink(cache->heap);
}
EXPORT_SYMBOL_GPL(pym_cache_shrink);

/**
 * pym_cache_count() - what a cache holds
 * @cache: the cache
 * @stats: filled in
 *
 * Context: cache->lock.
 */
void pym_cache_count(struct pym_cache *cache, struct pym_cache_stats *stats)
{
	u64 front_allocs, front_frees;
	unsigned long cached;

	lockdep_assert_held(&cache->lock);
	front_allocs = pym_front_sum(cache, &cached, &front_frees);
	/* Other CPUs go on meanwhile: what is read of them may be more than there is. */
	cached = min(cached + cache->held, cache->live);
	*stats = (struct pym_cache_stats){
		.size = cache->size,
		.stride = cache->stride,
		.pool_size = pym_pool_size(cache->order),
		.capacity = cache->capacity,
		.live = cache->live - cached,
		.cached = cached,
		.high = cache->high,
		.free = cache->carved - cache->live,
		.virgin = cache->nr_pools * cache->capacity - cache->carved,
		.pools = cache->nr_pools,
		.full = cache->nr_full,
		.allocs = cache->allocs + front_allocs,
		.frees = cache->frees + front_frees,
		.failures = cache->failures,
	};
	if (cache->base)
		pym_guard_count(cache, stats);
}

/**
 * pym_cache_read() - what a cache holds, without its shadows; or what a shadow does
 * @cache: the one or the other
 * @stats: filled in
 *
 * Context: Any but NMI, no lock of ours held but pym_registry.
 */
void pym_cache_read(struct pym_cache *cache, struct pym_cache_stats *stats)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&cache->lock, flags);
	pym_cache_count(cache, stats);
	raw_spin_unlock_irqrestore(&cache->lock, flags);
}

void pym_cache_stats(struct pym_cache *cache, struct pym_cache_stats *stats)
{
	struct pym_cache_stats s;
	struct pym_cache *layer;

	if (!pym_cache_ok(cache, "statistics", _RET_IP_)) {
		memset(stats, 0, sizeof(*stats));
		return;
	}
	pym_cache_read(cache, stats);
	rcu_read_lock();
	for (layer = pym_next_layer(cache, cache); layer; layer = pym_next_layer(cache, layer)) {
		pym_cache_read(layer, &s);
		stats->live += s.live;
		stats->cached += s.cached;
		stats->high += s.high;
		stats->free += s.free;
		stats->virgin += s.virgin;
		stats->pools += s.pools;
		stats->full += s.full;
		stats->allocs += s.allocs;
		stats->frees += s.frees;
		stats->failures += s.failures;
		stats->guarded += s.guarded;
		stats->guard_held += s.guard_held;
		stats->guard_area = s.guard_area;
		stats->unguarded += s.unguarded;
	}
	rcu_read_unlock();
}
EXPORT_SYMBOL_GPL(pym_cache_stats);
