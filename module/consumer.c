// SPDX-License-Identifier: GPL-2.0-only
/*
 * Modules that are unloaded and leave caches or heaps behind. Their memory is kept, for
 * somebody may have it yet, until pymalloc is unloaded; their functions are not called
 * any more.
 */
#include <linux/module.h>
#include <linux/notifier.h>
#include "internal.h"

/* A provider that is gone can give nothing, and what it gave is lost. */
static void *lost_alloc(void *ctx, size_t size, gfp_t gfp, int node)
{
	return NULL;
}

static void lost_free(void *ctx, void *addr, size_t size)
{
}

static void lose_provider(struct pym_heap *heap)
{
	heap->lost = (struct pym_provider_ops){
		.name = "lost", .flags = heap->provider->flags,
		.alloc = lost_alloc, .free = lost_free,
	};
	/* Whoever reads it now finds the one or the other whole. */
	smp_store_release(&heap->provider, &heap->lost);
}

/* In place of a constructor that is gone, for a cache that has one is never zeroed. */
static void no_ctor(void *block)
{
}

static void leave_cache(struct pym_cache *cache, const struct module *mod)
{
	struct pym_cache_stats stats;
	struct pym_cache *layer;

	lockdep_assert_held(&pym_registry);
	pym_cache_stats(cache, &stats);
	pym_report(PYM_MISUSE_LEAK, 0,
		   "module %s is unloaded without cache %s of heap %s being destroyed, %lu blocks live; kept until pymalloc is unloaded; call pym_cache_destroy() before",
		   mod->name, cache->name, cache->heap->name, stats.live);
	cache->module = NULL;
	rcu_read_lock();
	for (layer = cache; layer; layer = pym_next_layer(cache, layer))
		if (layer->ctor && within_module((unsigned long)layer->ctor, mod))
			WRITE_ONCE(layer->ctor, no_ctor);
	rcu_read_unlock();
}

static void leave_heap(struct pym_heap *heap, const struct module *mod)
{
	lockdep_assert_held(&pym_registry);
	pym_report(PYM_MISUSE_LEAK, 0,
		   "module %s is unloaded without heap %s being destroyed; kept until pymalloc is unloaded; call pym_heap_destroy() before",
		   mod->name, heap->name);
	heap->module = NULL;
	WRITE_ONCE(heap->on_limit, NULL);
	if (within_module((unsigned long)heap->provider->alloc, mod) ||
	    within_module((unsigned long)heap->provider->free, mod))
		lose_provider(heap);
}

/* The next heap that a module has left; its callbacks are its own no more. */
static struct pym_heap *next_left(const struct module *mod)
{
	struct pym_heap *heap;

	mutex_lock(&pym_registry);
	list_for_each_entry(heap, &pym_heaps, node) {
		if (heap->module != mod)
			continue;
		leave_heap(heap, mod);
		mutex_unlock(&pym_registry);
		return heap;
	}
	mutex_unlock(&pym_registry);
	return NULL;
}

/**
 * pym_consumer_gone() - a module is being unloaded, and has done what it does then
 * @mod: the module
 *
 * What it made it alone could destroy, so that nothing goes away meanwhile.
 *
 * Context: Task context, may sleep.
 */
void pym_consumer_gone(const struct module *mod)
{
	struct pym_cache *cache;
	struct pym_heap *heap;

	while ((heap = next_left(mod)))
		pym_hooks_drop(heap);
	mutex_lock(&pym_registry);
	list_for_each_entry(heap, &pym_heaps, node)
		list_for_each_entry(cache, &heap->caches, node)
			if (cache->module == mod)
				leave_cache(cache, mod);
	mutex_unlock(&pym_registry);
}
EXPORT_SYMBOL_IF_KUNIT(pym_consumer_gone);

static int module_event(struct notifier_block *nb, unsigned long event, void *mod)
{
	if (event == MODULE_STATE_GOING && mod != THIS_MODULE)
		pym_consumer_gone(mod);
	return NOTIFY_DONE;
}

static struct notifier_block module_nb = { .notifier_call = module_event };

/**
 * pym_consumer_init() - hear of modules that are unloaded
 *
 * Context: Task context, may sleep.
 * Return: 0 or an error.
 */
int pym_consumer_init(void)
{
	return register_module_notifier(&module_nb);
}

void pym_consumer_exit(void)
{
	unregister_module_notifier(&module_nb);
}
