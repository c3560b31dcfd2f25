// SPDX-License-Identifier: GPL-2.0-only
/*
 * Caches as kmem_cache has them, for modules that were written for it: what is not done
 * in line by include/pymalloc/slab_compat.h.
 */
#include <linux/ctype.h>
#include <linux/panic.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <pymalloc/slab_calls.h>
#include "internal.h"

/*
 * A heap that was made because a module asked for its name, and goes with its last
 * cache. The mutex is taken before pym_registry and any lock of a heap.
 */
struct slab_heap {
	struct list_head node;
	struct pym_heap *heap;
	unsigned int caches;
	char name[PYM_NAME_MAX];
};

static DEFINE_MUTEX(slab_mutex);
static LIST_HEAD(slab_heaps);

static struct slab_heap *find_by_name(const char *name)
{
	struct slab_heap *sh;

	lockdep_assert_held(&slab_mutex);
	list_for_each_entry(sh, &slab_heaps, node)
		if (!strcmp(sh->name, name))
			return sh;
	return NULL;
}

static struct slab_heap *find_by_heap(const struct pym_heap *heap)
{
	struct slab_heap *sh;

	lockdep_assert_held(&slab_mutex);
	list_for_each_entry(sh, &slab_heaps, node)
		if (sh->heap == heap)
			return sh;
	return NULL;
}

/* One more cache is going to be in the heap of that name. */
static struct slab_heap *get_heap(const char *name)
{
	struct slab_heap *sh = find_by_name(name);

	if (!sh) {
		sh = kzalloc(sizeof(*sh), GFP_KERNEL);
		if (!sh)
			return NULL;
		/* Ours, as it may outlive the module that is the first in it. */
		sh->heap = pym_heap_create(name, NULL);
		if (!sh->heap) {
			kfree(sh);
			return NULL;
		}
		strscpy(sh->name, name, sizeof(sh->name));
		list_add(&sh->node, &slab_heaps);
	}
	sh->caches++;
	return sh;
}

static void put_heap(struct slab_heap *sh)
{
	lockdep_assert_held(&slab_mutex);
	if (!sh || --sh->caches)
		return;
	list_del(&sh->node);
	pym_heap_destroy(sh->heap);
	kfree(sh);
}

static bool name_in_use(const struct pym_heap *heap, const char *name)
{
	struct pym_cache *cache;
	bool found = false;

	mutex_lock(&pym_registry);
	list_for_each_entry(cache, &heap->caches, node)
		found |= !strcmp(cache->name, name);
	mutex_unlock(&pym_registry);
	return found;
}

/*
 * What kmem_cache takes for a name: anything, twice. Here it is a directory in debugfs:
 * what may not be in it becomes '_', its end is cut off, and the second one gets "#2".
 */
static void choose_name(const struct pym_heap *heap, const char *wanted, char *name)
{
	unsigned int i, len;
	char *p;

	strscpy(name, wanted, PYM_NAME_MAX);
	for (p = name; *p; p++)
		if (!isascii(*p) || !isgraph(*p) || *p == '/' || *p == ':')
			*p = '_';
	if (!strcmp(name, ".") || !strcmp(name, ".."))
		*name = '_';
	len = strlen(name);
	for (i = 2; name_in_use(heap, name); i++) {
		char number[12];
		unsigned int n = snprintf(number, sizeof(number), "#%u", i);

		strscpy(name + min(len, PYM_NAME_MAX - 1 - n), number, n + 1);
	}
	if (strcmp(name, wanted))
		pr_info("cache %s: named so, as \"%*pE\" is in use or no name here\n",
			name, (int)strlen(wanted), wanted);
}

/* SLAB_* flags that ask for what a cache of ours can be. */
static unsigned int cache_flags(slab_flags_t flags)
{
	return (flags & SLAB_HWCACHE_ALIGN ? PYM_CACHE_HWALIGN : 0) |
	       (flags & SLAB_TYPESAFE_BY_RCU ? PYM_CACHE_TYPESAFE_BY_RCU : 0);
}

static struct pym_cache *create(const char *heap, const char *wanted, size_t size,
				struct pym_cache_args *args, struct module *module)
{
	struct slab_heap *sh = NULL;
	struct pym_cache *cache;
	char name[PYM_NAME_MAX];

	lockdep_assert_held(&slab_mutex);
	if (heap) {
		sh = get_heap(heap);
		if (!sh)
			return NULL;
		args->heap = sh->heap;
	}
	choose_name(args->heap ?: pym_default_heap, wanted, name);
	cache = __pym_cache_create(name, size, args, module);
	if (!cache)
		put_heap(sh);
	return cache;
}

struct pym_cache *__pym_slab_create(const char *heap, const char *name, unsigned int size,
				    unsigned int align, slab_flags_t flags,
				    void (*ctor)(void *), struct module *module)
{
	struct pym_cache_args args = {
		.align	= align,
		.flags	= cache_flags(flags),
		.ctor	= ctor,
	};
	struct pym_cache *cache = NULL;

	/* The header has refused them, where they were known at compile time. */
	if (flags & (SLAB_CACHE_DMA | SLAB_CACHE_DMA32)) {
		pr_err("cache %s: memory of a DMA zone is not to be had here\n", name);
	} else if (!name || !*name) {
		pr_err("cache without a name\n");
	} else {
		mutex_lock(&slab_mutex);
		cache = create(heap, name, size, &args, module);
		mutex_unlock(&slab_mutex);
	}
	if (!cache && (flags & SLAB_PANIC))
		panic("pymalloc: cache %s cannot be created", name);
	return cache;
}
EXPORT_SYMBOL_GPL(__pym_slab_create);

void __pym_slab_destroy(struct pym_cache *cache)
{
	struct slab_heap *sh = NULL;

	if (!cache)
		return;
	mutex_lock(&slab_mutex);
	if (!READ_ONCE(cache->gone))
		sh = find_by_heap(cache->heap);
	pym_cache_destroy_from(cache, _RET_IP_);
	put_heap(sh);
	mutex_unlock(&slab_mutex);
}
EXPORT_SYMBOL_GPL(__pym_slab_destroy);

/* What is at an address, as far as it is ours. */
enum what {
	NOT_OURS,
	CACHE_BLOCK,		/* in a pool of a cache with a name */
	OTHER_BLOCK,		/* pym_free() knows, or says what is wrong with it */
};

/* A block of a cache keeps that one alive, and in a pool of its own. */
static enum what look_up(const void *p, struct pym_cache **cache)
{
	struct pym_cache *owner;
	struct pym_pool *pool;

	if (ZERO_OR_NULL_PTR(p))
		return NOT_OURS;
	rcu_read_lock();
	pool = pym_lookup(p);
	owner = pool ? READ_ONCE(pool->owner) : pym_guard_owner(p);
	if (owner && owner->base)
		owner = owner->base;
	rcu_read_unlock();
	if (!pool && !owner)
		return pym_large_info(p, NULL, NULL) ? OTHER_BLOCK : NOT_OURS;
	if (!owner || owner->is_class)
		return OTHER_BLOCK;
	*cache = owner;
	return CACHE_BLOCK;
}

bool __pym_slab_free(const void *p)
{
	struct pym_cache *cache;
	enum what what = look_up(p, &cache);

	if (what == CACHE_BLOCK)
		pym_cache_free_from(cache, (void *)p, _RET_IP_);
	else if (what == OTHER_BLOCK)
		pym_free_from(p, _RET_IP_);
	return what != NOT_OURS;
}
EXPORT_SYMBOL_GPL(__pym_slab_free);

bool __pym_slab_free_rcu(void *p)
{
	struct pym_cache *cache;
	enum what what = look_up(p, &cache);

	if (what == CACHE_BLOCK)
		pym_cache_free_rcu_from(cache, p, _RET_IP_);
	else if (what == OTHER_BLOCK)
		pym_report(PYM_MISUSE_WRONG_API, _RET_IP_,
			   "kfree_rcu() of what is no live block of a cache; nothing changed");
	return what != NOT_OURS;
}
EXPORT_SYMBOL_GPL(__pym_slab_free_rcu);

/**
 * pym_slab_exit() - forget the heaps whose caches nobody has destroyed
 *
 * Context: Task context; nobody uses anything of ours any more.
 */
void pym_slab_exit(void)
{
	struct slab_heap *sh, *next;

	list_for_each_entry_safe(sh, next, &slab_heaps, node)
		kfree(sh);
}
