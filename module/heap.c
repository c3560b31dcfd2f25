// SPDX-License-Identifier: GPL-2.0-only
/*
 * Heaps: their lifecycle, limits and wholesale destruction; and the registry of
 * every heap and cache by name.
 */
#include <linux/ctype.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/stringify.h>
#include "internal.h"
#include "trace.h"

/* Every heap, the caches of each, and their names. */
struct mutex pym_registry = __MUTEX_INITIALIZER(pym_registry);
EXPORT_SYMBOL_IF_KUNIT(pym_registry);
struct list_head pym_heaps = LIST_HEAD_INIT(pym_heaps);
EXPORT_SYMBOL_IF_KUNIT(pym_heaps);
struct pym_heap *pym_default_heap;
EXPORT_SYMBOL_GPL(pym_default_heap);

const struct pym_observer *pym_observer;

/* A heap that pools less than this is not worth its name. */
#define SMALL_MAX_MIN	64

#define HEAP_FLAGS	(PYM_HEAP_NO_FRONTS | PYM_HEAP_RANDOM | PYM_HEAP_ISOLATE)
#define PROVIDER_FLAGS	(PYM_PROVIDER_ATOMIC | PYM_PROVIDER_SPLIT | PYM_PROVIDER_ZEROED)

/**
 * pym_name_ok() - check a name, and say what is wrong with it
 * @what: "cache" or "heap", for the log
 * @name: the name, or NULL
 *
 * Names are columns of debugfs tables and directories there.
 *
 * Context: Any.
 * Return: false if it must be refused.
 */
bool pym_name_ok(const char *what, const char *name)
{
	const char *p;

	if (!name || !*name) {
		pr_err("%s without a name; pass one that is unique and not empty\n", what);
		return false;
	}
	if (strnlen(name, PYM_NAME_MAX) == PYM_NAME_MAX) {
		pr_err("%s name %.*s... is too long; at most %d bytes\n",
		       what, 16, name, PYM_NAME_MAX - 1);
		return false;
	}
	for (p = name; *p; p++)
		if (!isascii(*p) || !isgraph(*p) || *p == '/' || *p == ':')
			break;
	if (*p || !strcmp(name, ".") || !strcmp(name, "..")) {
		pr_err("%s name '%*pE' has a space, a '/', a ':' or an unprintable character, or is a dot name\n",
		       what, (int)strlen(name), name);
		return false;
	}
	return true;
}

/**
 * pym_limit_hit() - a request has failed because of the limit
 * @heap: the heap
 * @wanted: bytes that would have been needed
 *
 * Context: that of the request, no lock of ours held.
 */
void pym_limit_hit(struct pym_heap *heap, size_t wanted)
{
	void (*on_limit)(struct pym_heap *heap, size_t wanted, void *ctx);
	unsigned long flags;

	raw_spin_lock_irqsave(&heap->lock, flags);
	heap->limit_hits++;
	raw_spin_unlock_irqrestore(&heap->lock, flags);
	trace_pym_limit(heap, wanted);
	/* Its module may be unloaded, see consumer.c. */
	on_limit = READ_ONCE(heap->on_limit);
	if (on_limit)
		on_limit(heap, wanted, heap->on_limit_ctx);
}

/* --------------------------------------------------------------- create -- */

static bool small_max_ok(unsigned int n)
{
	return !n || (n >= SMALL_MAX_MIN && n <= PYM_SMALL_MAX && !(n % PYM_ALIGN));
}

static const char *heap_args_error(const struct pym_heap_args *args)
{
	const struct pym_provider_ops *provider = args->provider;

	if (args->flags & ~HEAP_FLAGS)
		return "unknown flags";
	if (args->isolate_ms && !(args->flags & PYM_HEAP_ISOLATE))
		return "isolate_ms without PYM_HEAP_ISOLATE";
	if (!small_max_ok(args->small_max))
		return "small_max is not a multiple of 8 in " __stringify(SMALL_MAX_MIN) ".."
		       __stringify(PYM_SMALL_MAX);
	if (!provider)
		return NULL;
	if (!provider->alloc || !provider->free || !provider->name)
		return "the provider lacks alloc, free or a name";
	if (provider->flags & ~PROVIDER_FLAGS)
		return "unknown provider flags";
	return NULL;
}

static struct pym_heap *find_heap(const char *name)
{
	struct pym_heap *heap;

	lockdep_assert_held(&pym_registry);
	list_for_each_entry(heap, &pym_heaps, node)
		if (!strcmp(heap->name, name))
			return heap;
	return NULL;
}

struct pym_heap *__pym_heap_create(const char *name, const struct pym_heap_args *args,
				   struct module *module)
{
	static const struct pym_heap_args defaults;
	struct pym_heap *heap = NULL;
	const char *error;
	unsigned int i;
	size_t self;

	args = args ?: &defaults;
	if (!pym_name_ok("heap", name))
		return NULL;
	error = heap_args_error(args);
	if (error) {
		pr_err("heap %s: %s\n", name, error);
		return NULL;
	}
	self = kmalloc_size_roundup(pym_heap_bytes(args->flags));
	if (args->limit_bytes && args->limit_bytes < self) {
		pr_err("heap %s: limit of %zu bytes is below the %zu that the heap itself needs\n",
		       name, args->limit_bytes, self);
		return NULL;
	}

	if (!pym_may_fail(PYM_FAIL_HEAP, name))
		heap = kzalloc(self, GFP_KERNEL);
	if (!heap)
		return NULL;
	heap->provider = args->provider ?: &pym_provider_pages;
	heap->provider_ctx = args->provider_ctx;
	heap->flags = args->flags;
	heap->isolate_ms = args->isolate_ms;
	/* Here and not with each class, which may be made in an interrupt. */
	if (heap->flags & PYM_HEAP_RANDOM)
		get_random_bytes(&heap->key, sizeof(heap->key));
	heap->module = module;
	heap->small_max = args->small_max ?: PYM_SMALL_MAX;
	heap->limit = args->limit_bytes;
	heap->on_limit = args->on_limit;
	heap->on_limit_ctx = args->on_limit_ctx;
	heap->acct.held = self;
	heap->acct.metadata = self;
	heap->acct.high = self;
	INIT_LIST_HEAD(&heap->caches);
	for (i = 0; i < ARRAY_SIZE(heap->head.hot); i++)
		heap->head.hot[i] = &pym_no_front;
	strscpy(heap->name, name, sizeof(heap->name));
	pym_heap_init_arenas(heap);

	mutex_lock(&pym_registry);
	if (find_heap(name)) {
		mutex_unlock(&pym_registry);
		pr_err("heap %s: there is a heap of that name already\n", name);
		kfree(heap);
		return NULL;
	}
	list_add_tail(&heap->node, &pym_heaps);
	mutex_unlock(&pym_registry);
	pym_observer->heap_add(heap);
	return heap;
}
EXPORT_SYMBOL_GPL(__pym_heap_create);

/* -------------------------------------------------------------- destroy -- */

static void visit_caches(struct pym_heap *heap, void (*fn)(struct pym_cache *cache))
{
	struct pym_cache *cache, *next;
	unsigned int i;

	for (i = 0; i < PYM_NR_CLASSES; i++)
		if (heap->class[i])
			fn(heap->class[i]);
	list_for_each_entry_safe(cache, next, &heap->caches, node)
		fn(cache);
}

/* No cache has a pool any more, and no arena is the heap's. */
static void forget_everything(struct pym_heap *heap)
{
	visit_caches(heap, pym_cache_forget);
	pym_heap_retire_arenas(heap);
}

static void release_everything(struct pym_heap *heap)
{
	pym_heap_release_arenas(heap);
	pym_large_free_all(heap);
}

static void destroy_heap(struct pym_heap *heap)
{
	struct pym_cache *cache;

	/* Observers wait for their readers, who may want the registry. */
	list_for_each_entry(cache, &heap->caches, node)
		pym_observer->cache_del(cache);
	pym_observer->heap_del(heap);
	mutex_lock(&pym_registry);
	list_del(&heap->node);
	/* Nobody gives back on his own accord any more what is forgotten now. */
	mutex_lock(&heap->reclaim);
	heap->dying = true;
	mutex_unlock(&heap->reclaim);
	mutex_unlock(&pym_registry);

	pym_hooks_drop(heap);
	pym_hide_classes(heap);
	visit_caches(heap, pym_cache_quiesce);
	visit_caches(heap, pym_shadow_quiesce);
	visit_caches(heap, pym_shadow_leaks);
	forget_everything(heap);
	release_everything(heap);
	visit_caches(heap, pym_cache_release);
	pym_heap_exit_arenas(heap);
	WARN_ON(heap->acct.held != kmalloc_size_roundup(pym_heap_bytes(heap->flags)));
	/* A bad free may be looking at it through a descriptor. */
	pym_heap_bury(heap);
}

/* NULL means the default heap everywhere but where that makes no sense. */
static bool is_default(struct pym_heap *heap, const char *what, unsigned long ip)
{
	if (heap && heap != pym_default_heap)
		return false;
	pym_report(PYM_MISUSE_BAD_ARG, ip, "the default heap cannot be %s",
		   what);
	return true;
}

void pym_heap_destroy(struct pym_heap *heap)
{
	might_sleep();
	if (heap && pym_heap_ok(heap, "destruction", _RET_IP_) &&
	    !is_default(heap, "destroyed", _RET_IP_))
		destroy_heap(heap);
}
EXPORT_SYMBOL_GPL(pym_heap_destroy);

void pym_heap_reset(struct pym_heap *heap)
{
	might_sleep();
	if (is_default(heap, "reset", _RET_IP_) || !pym_heap_ok(heap, "reset", _RET_IP_))
		return;
	/* In between, caches and arenas contradict each other: no reader then. */
	mutex_lock(&pym_registry);
	mutex_lock(&heap->reclaim);
	visit_caches(heap, pym_cache_quiesce);
	visit_caches(heap, pym_shadow_quiesce);
	forget_everything(heap);
	mutex_unlock(&pym_registry);
	release_everything(heap);
	mutex_unlock(&heap->reclaim);
}
EXPORT_SYMBOL_GPL(pym_heap_reset);

/* ------------------------------------------------------ limit, shrink -- */

static void drain(struct pym_heap *heap)
{
	mutex_lock(&pym_registry);
	visit_caches(heap, pym_front_drain);
	mutex_unlock(&pym_registry);
}

size_t pym_heap_shrink(struct pym_heap *heap)
{
	size_t bytes;

	might_sleep();
	heap = heap ?: pym_default_heap;
	if (!pym_heap_ok(heap, "shrinking", _RET_IP_))
		return 0;
	drain(heap);
	bytes = pym_heap_trim(heap);
	/* What frees before us have left to it is given back now, too. */
	flush_work(&heap->reap_work);
	return bytes;
}
EXPORT_SYMBOL_GPL(pym_heap_shrink);

int pym_heap_set_limit(struct pym_heap *heap, size_t limit_bytes)
{
	unsigned long flags;
	bool trimmed = false;
	int err;

	might_sleep();
	heap = heap ?: pym_default_heap;
	if (!pym_heap_ok(heap, "limit", _RET_IP_))
		return -EINVAL;
	for (;;) {
		raw_spin_lock_irqsave(&heap->lock, flags);
		err = limit_bytes && heap->acct.held > limit_bytes ? -EBUSY : 0;
		if (!err)
			heap->limit = limit_bytes;
		raw_spin_unlock_irqrestore(&heap->lock, flags);
		if (!err || trimmed)
			return err;
		flush_work(&heap->reap_work);
		pym_heap_shrink(heap);
		trimmed = true;
	}
}
EXPORT_SYMBOL_GPL(pym_heap_set_limit);

void pym_heap_stats(struct pym_heap *heap, struct pym_heap_stats *stats)
{
	might_sleep();
	heap = heap ?: pym_default_heap;
	memset(stats, 0, sizeof(*stats));
	if (!pym_heap_ok(heap, "statistics", _RET_IP_))
		return;
	mutex_lock(&pym_registry);
	pym_heap_ledger(heap, stats);
	mutex_unlock(&pym_registry);
}
EXPORT_SYMBOL_GPL(pym_heap_stats);

/**
 * pym_heap_drain_cpu() - empty the fronts of a CPU that is dead
 * @cpu: the CPU
 *
 * Context: Task context, may sleep.
 */
void pym_heap_drain_cpu(unsigned int cpu)
{
	struct pym_cache *cache;
	struct pym_heap *heap;
	unsigned int i;

	mutex_lock(&pym_registry);
	list_for_each_entry(heap, &pym_heaps, node) {
		for (i = 0; i < PYM_NR_CLASSES; i++) {
			cache = READ_ONCE(heap->class[i]);
			if (cache)
				pym_front_drain_cpu(cache, cpu);
		}
		list_for_each_entry(cache, &heap->caches, node)
			pym_front_drain_cpu(cache, cpu);
	}
	mutex_unlock(&pym_registry);
}

/* ------------------------------------------------------ module lifetime -- */

int pym_heap_init(void)
{
	pym_default_heap = pym_heap_create("default", NULL);
	return pym_default_heap ? 0 : -ENOMEM;
}

/**
 * pym_heap_exit() - destroy every heap there is
 *
 * Consumers hold references to our symbols, so all of them are gone; what they
 * left behind is reported.
 *
 * Context: Task context, may sleep.
 * Return: bytes that were still in live blocks.
 */
size_t pym_heap_exit(void)
{
	struct pym_heap *heap, *next;
	size_t left = 0;

	list_for_each_entry_safe(heap, next, &pym_heaps, node) {
		struct pym_heap_stats stats;

		pym_heap_stats(heap, &stats);
		if (stats.live)
			pym_report(PYM_MISUSE_LEAK, 0,
				   "heap %s still had %lu live blocks at unload; memory freed",
				   heap->name, stats.live);
		left += stats.in_blocks + stats.pass_through;
		destroy_heap(heap);
	}
	return left;
}
