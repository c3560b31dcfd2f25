// SPDX-License-Identifier: GPL-2.0-only
/*
 * The shrinker: free pools go back to a system that needs memory, without waiting for
 * the next tick. It allocates nothing and waits for nobody.
 */
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/shrinker.h>
#include "internal.h"

/* Pages that pools without a live block hold. Read without a lock: an estimate. */
static unsigned long free_pages_of(const struct pym_heap *heap)
{
	unsigned long pages = 0;
	unsigned int i;

	for (i = 0; i < pym_nr_orders(heap->flags); i++) {
		const struct pym_order *order = READ_ONCE(heap->order[i]);

		if (order)
			pages += READ_ONCE(order->free) << (i % PYM_NR_ORDERS);
	}
	return pages;
}

static unsigned long count_objects(struct shrinker *shrinker, struct shrink_control *sc)
{
	unsigned long pages = 0;
	struct pym_heap *heap;

	/* Whoever holds it may be waiting for the memory that we are to find. */
	if (!mutex_trylock(&pym_registry))
		return 0;
	list_for_each_entry(heap, &pym_heaps, node)
		pages += free_pages_of(heap);
	mutex_unlock(&pym_registry);
	return pages ?: SHRINK_EMPTY;
}

/* The next heap that has something to give, its reclaim mutex held; or NULL. */
static struct pym_heap *next_heap(unsigned int scan)
{
	struct pym_heap *heap;

	if (!mutex_trylock(&pym_registry))
		return NULL;
	list_for_each_entry(heap, &pym_heaps, node) {
		if (heap->scan == scan)
			continue;
		heap->scan = scan;
		if (!free_pages_of(heap) || !mutex_trylock(&heap->reclaim))
			continue;
		mutex_unlock(&pym_registry);
		return heap;
	}
	mutex_unlock(&pym_registry);
	return NULL;
}

/* What a provider takes back that may sleep goes by way of a tick, and is not counted. */
static unsigned long shrink_heap(struct pym_heap *heap)
{
	if (heap->provider->flags & PYM_PROVIDER_ATOMIC)
		return pym_heap_trim(heap) >> PAGE_SHIFT;
	WRITE_ONCE(heap->pressed, true);
	mod_delayed_work(system_power_efficient_wq, &heap->tick, 0);
	return 0;
}

static unsigned long scan_objects(struct shrinker *shrinker, struct shrink_control *sc)
{
	static atomic_t scans;
	unsigned int scan = atomic_inc_return(&scans);
	unsigned long freed = 0;
	struct pym_heap *heap;

	while (freed < sc->nr_to_scan && (heap = next_heap(scan))) {
		freed += shrink_heap(heap);
		/* Who waits for it to destroy the heap frees it after a grace period. */
		rcu_read_lock();
		mutex_unlock(&heap->reclaim);
		rcu_read_unlock();
	}
	return freed ?: SHRINK_STOP;
}

struct shrinker *pym_shrinker;
EXPORT_SYMBOL_IF_KUNIT(pym_shrinker);

/**
 * pym_shrinker_init() - take part in memory reclaim
 *
 * Context: Task context, may sleep.
 * Return: 0 or an error.
 */
int pym_shrinker_init(void)
{
	pym_shrinker = pym_shrinker_register("pymalloc", count_objects, scan_objects);
	return PTR_ERR_OR_ZERO(pym_shrinker);
}

void pym_shrinker_exit(void)
{
	pym_shrinker_unregister(pym_shrinker);
}
