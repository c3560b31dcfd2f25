// SPDX-License-Identifier: GPL-2.0-only
/*
 * Descriptors of what has been destroyed. The last ones are kept, so that whoever goes
 * on using a cache or a heap is told so, and finds no memory of somebody else's.
 */
#include <linux/atomic.h>
#include <linux/slab.h>
#include "internal.h"

#define DEAD_CACHES	32
#define DEAD_HEAPS	8

static struct pym_cache *caches[DEAD_CACHES];
static struct pym_heap *heaps[DEAD_HEAPS];

/* The one that it takes the place of is freed; a bad free may be looking at it. */
static void keep_cache(unsigned int i, struct pym_cache *cache)
{
	cache = xchg(&caches[i], cache);
	if (cache)
		kfree_rcu(cache, rcu);
}

static void keep_heap(unsigned int i, struct pym_heap *heap)
{
	heap = xchg(&heaps[i], heap);
	if (heap)
		kfree_rcu(heap, rcu);
}

/**
 * pym_cache_bury() - free the descriptor of a cache, by and by
 * @cache: destroyed: it has no pools and no fronts, and nobody finds it
 *
 * Context: Any but NMI.
 */
void pym_cache_bury(struct pym_cache *cache)
{
	static atomic_t buried;

	WRITE_ONCE(cache->gone, true);
	keep_cache((unsigned int)atomic_inc_return(&buried) % DEAD_CACHES, cache);
}

/**
 * pym_heap_bury() - free the descriptor of a heap, by and by
 * @heap: destroyed: it has no arenas, and its fronts are hidden
 *
 * Context: Any but NMI.
 */
void pym_heap_bury(struct pym_heap *heap)
{
	static atomic_t buried;

	WRITE_ONCE(heap->gone, true);
	keep_heap((unsigned int)atomic_inc_return(&buried) % DEAD_HEAPS, heap);
}

/**
 * pym_bad_cache() - tell of a cache that pym_cache_ok() has found to be none
 * @cache: NULL, or one that has been destroyed
 * @what: what it was used for
 * @ip: caller
 *
 * Context: Any.
 * Return: false.
 */
bool pym_bad_cache(const struct pym_cache *cache, const char *what, unsigned long ip)
{
	if (cache)
		pym_report(PYM_MISUSE_BAD_ARG, ip,
			   "%s of cache %s, which has been destroyed; nothing changed",
			   what, cache->name);
	else
		pym_report(PYM_MISUSE_BAD_ARG, ip, "%s of a NULL cache; nothing changed", what);
	return false;
}

/**
 * pym_heap_ok() - is this a heap that can be used
 * @heap: the heap, not NULL
 * @what: what with, for the report
 * @ip: caller
 *
 * Context: Any.
 * Return: false, and a report, if it has been destroyed.
 */
bool pym_heap_ok(const struct pym_heap *heap, const char *what, unsigned long ip)
{
	if (likely(!READ_ONCE(heap->gone)))
		return true;
	pym_report(PYM_MISUSE_BAD_ARG, ip,
		   "%s of heap %s, which has been destroyed; nothing changed",
		   what, heap->name);
	return false;
}

/**
 * pym_dead_exit() - free what is kept
 *
 * Context: Task context; nobody uses anything of ours any more.
 */
void pym_dead_exit(void)
{
	unsigned int i;

	for (i = 0; i < DEAD_CACHES; i++)
		keep_cache(i, NULL);
	for (i = 0; i < DEAD_HEAPS; i++)
		keep_heap(i, NULL);
}
