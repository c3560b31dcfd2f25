// SPDX-License-Identifier: GPL-2.0-only
/*
 * The trace events, and how allocations and frees come by theirs. An observer.
 *
 * A front serves most of them, in code that is compiled into consumers; not even a
 * no-op is there for us. While pym_alloc or pym_free is on, the fast path finds no
 * front instead, as with hooks and switches, and every call takes the way that has the
 * event, through the same fronts. What is under way when one is switched on may pass
 * unseen.
 */
#include "internal.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

unsigned int pym_trace_users;

EXPORT_TRACEPOINT_SYMBOL_GPL(pym_alloc);
EXPORT_TRACEPOINT_SYMBOL_GPL(pym_free);
EXPORT_TRACEPOINT_SYMBOL_GPL(pym_refill);
EXPORT_TRACEPOINT_SYMBOL_GPL(pym_flush);
EXPORT_TRACEPOINT_SYMBOL_GPL(pym_arena_new);
EXPORT_TRACEPOINT_SYMBOL_GPL(pym_arena_free);
EXPORT_TRACEPOINT_SYMBOL_GPL(pym_pools_new);
EXPORT_TRACEPOINT_SYMBOL_GPL(pym_pools_free);
EXPORT_TRACEPOINT_SYMBOL_GPL(pym_limit);
EXPORT_TRACEPOINT_SYMBOL_GPL(pym_misuse);

/* Call a function for every cache and size class there is. */
static void visit_caches(void (*fn)(struct pym_cache *cache))
{
	struct pym_cache *cache;
	struct pym_heap *heap;
	unsigned int i;

	lockdep_assert_held(&pym_registry);
	list_for_each_entry(heap, &pym_heaps, node) {
		for (i = 0; i < PYM_NR_CLASSES; i++) {
			cache = READ_ONCE(heap->class[i]);
			if (cache)
				fn(cache);
		}
		list_for_each_entry(cache, &heap->caches, node)
			fn(cache);
	}
}

/**
 * pym_trace_calls() - from now on every allocation and free comes by its event
 *
 * Called by the kernel before it switches pym_alloc or pym_free on.
 *
 * Context: Task context, may sleep.
 * Return: 0.
 */
int pym_trace_calls(void)
{
	mutex_lock(&pym_registry);
	/* Before pym_cache_hide(), which has the barrier. */
	WRITE_ONCE(pym_trace_users, pym_trace_users + 1);
	visit_caches(pym_cache_hide);
	mutex_unlock(&pym_registry);
	return 0;
}
EXPORT_SYMBOL_IF_KUNIT(pym_trace_calls);

/**
 * pym_trace_no_calls() - one of the two events needs them no more
 *
 * Called by the kernel after it has switched it off, also when the module goes and
 * there are no heaps any more.
 *
 * Context: Task context, may sleep.
 */
void pym_trace_no_calls(void)
{
	mutex_lock(&pym_registry);
	WRITE_ONCE(pym_trace_users, pym_trace_users - 1);
	if (!pym_traced())
		visit_caches(pym_cache_show);
	mutex_unlock(&pym_registry);
}
EXPORT_SYMBOL_IF_KUNIT(pym_trace_no_calls);
