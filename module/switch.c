// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shadows: how they are made when something is switched on, and what becomes of them
 * when it is switched off or something else on. See section 12 of internal.h.
 */
#include <linux/slab.h>
#include <linux/srcu.h>
#include <linux/string.h>
#include "shadow.h"

static DEFINE_MUTEX(switching);		/* serializes changes; outside pym_registry */
DEFINE_STATIC_SRCU(switches_srcu);	/* who allocates from a shadow, or makes a class */

/**
 * pym_switches_lock() - cache->shadow and heap->switches are heeded until the unlock
 *
 * Context: Any but NMI.
 * Return: for pym_switches_unlock().
 */
int pym_switches_lock(void)
	__acquires(&switches_srcu)
{
	return srcu_read_lock(&switches_srcu);
}

void pym_switches_unlock(int idx)
	__releases(&switches_srcu)
{
	srcu_read_unlock(&switches_srcu, idx);
}

static bool is_none(const struct pym_switches *sw)
{
	return !sw->on && !sw->quarantine && !sw->guard;
}

static bool is_same(const struct pym_switches *a, const struct pym_switches *b)
{
	return a->on == b->on && a->quarantine == b->quarantine && a->guard == b->guard;
}

/* --------------------------------------------------------------- layout -- */

/* Bytes before a block: as many as its alignment needs, as in SLUB. */
static u32 lead_of(const struct pym_cache *cache, const struct pym_switches *sw)
{
	return sw->on & PYM_REDZONE ? cache->align : 0;
}

static size_t stride_of(const struct pym_cache *cache, const struct pym_switches *sw)
{
	size_t bytes = lead_of(cache, sw) + cache->size;

	if (sw->on & PYM_REDZONE)
		bytes += sizeof(long);
	return ALIGN(max_t(size_t, bytes, PYM_SHADOW_STRIDE), cache->align);
}

/* Take off what a cache cannot have. Returns why, or NULL if it can have all. */
static const char *fit(const struct pym_cache *cache, struct pym_switches *sw)
{
	const char *why = NULL;

	if (sw->on & PYM_POISON && (cache->ctor || cache->typesafe)) {
		sw->on &= ~PYM_POISON;
		why = "no poison: its free blocks keep what is in them";
	}
	if (sw->on & PYM_REDZONE && stride_of(cache, sw) > PYM_CACHE_MAX_SIZE) {
		sw->on &= ~PYM_REDZONE;
		why = "no red zones: its blocks are too large";
	}
	if (sw->guard && cache->typesafe) {
		sw->guard = 0;
		why = "no guard: readers may look at its free blocks";
	}
	return why;
}

static size_t shadow_bytes(const struct pym_switches *sw)
{
	return pym_cache_bytes() + struct_size_t(struct pym_watch, block, sw->quarantine);
}

/* A shadow that is not the cache's yet, or ERR_PTR(). */
static struct pym_cache *make_shadow(struct pym_cache *cache, const struct pym_switches *sw,
				     gfp_t gfp)
{
	struct pym_cache *s = pym_meta_alloc(cache->heap, PYM_FAIL_SHADOW, shadow_bytes(sw), gfp);

	if (IS_ERR(s))
		return s;
	pym_cache_init(s, cache->heap, cache->size, cache->align, stride_of(cache, sw));
	s->base = cache;
	s->partition = cache->partition;
	s->is_class = cache->is_class;
	s->typesafe = cache->typesafe;
	s->ctor = cache->ctor;
	s->clear = cache->clear;
	s->lead = lead_of(cache, sw);
	s->room = pym_record_room(s->capacity);
	s->watch = (void *)s + pym_cache_bytes();
	s->watch->switches = *sw;
	pym_guard_init_shadow(s);
	strscpy(s->name, cache->name, sizeof(s->name));
	return s;
}

/* One without pools, that nobody allocates from. */
static void free_shadow(struct pym_cache *s)
{
	size_t bytes = kmalloc_size_roundup(shadow_bytes(&s->watch->switches));

	list_del_rcu(&s->node);
	pym_uncharge(s->heap, bytes, &s->heap->acct.metadata);
	/* A bad free may be looking at it. */
	kfree_rcu(s, rcu);
}

/* ------------------------------------------------ beginning and end -- */

/**
 * pym_shadow_attach() - give a new cache what is switched on for its heap
 * @cache: nobody knows it yet
 * @gfp: what may be done for it
 *
 * Without memory for it, the cache goes without.
 *
 * Context: pym_registry, or pym_switches_lock().
 */
void pym_shadow_attach(struct pym_cache *cache, gfp_t gfp)
{
	struct pym_switches sw = cache->heap->switches;
	struct pym_cache *s;

	fit(cache, &sw);
	if (likely(is_none(&sw)))
		return;
	s = make_shadow(cache, &sw, gfp);
	if (IS_ERR(s)) {
		pr_warn_ratelimited("cache %s of heap %s: no memory for its switches\n",
				    cache->name, cache->heap->name);
		return;
	}
	list_add_rcu(&s->node, &cache->shadows);
	cache->shadow = s;
}

/**
 * pym_shadow_detach() - free the shadows of a cache
 * @cache: neither it nor they have pools, and nobody uses it
 *
 * Context: Task context, or nobody has known the cache yet.
 */
void pym_shadow_detach(struct pym_cache *cache)
{
	struct pym_cache *s, *next;

	cache->shadow = NULL;
	list_for_each_entry_safe(s, next, &cache->shadows, node)
		free_shadow(s);
}

/**
 * pym_shadow_quiesce() - a last look at the free blocks of a cache's shadows
 * @cache: nobody uses it, and pym_cache_quiesce() has been called
 *
 * Context: Task context, pym_registry, or the heap is on no list any more.
 */
void pym_shadow_quiesce(struct pym_cache *cache)
{
	struct pym_cache *s;

	list_for_each_entry(s, &cache->shadows, node) {
		pym_shadow_flush(s);
		pym_shadow_check(s);
		pym_rcu_sync(s);
	}
}

/**
 * pym_shadow_live() - live blocks of a cache that shadows have
 * @cache: nobody uses it
 *
 * Context: as pym_shadow_quiesce().
 * Return: how many.
 */
unsigned long pym_shadow_live(struct pym_cache *cache)
{
	struct pym_cache *s;
	unsigned long live = 0;

	list_for_each_entry(s, &cache->shadows, node)
		live += s->live - s->held + s->watch->guard.nr_live;
	return live;
}

/**
 * pym_shadow_leaks() - print who allocated what is live of a cache, if that is known
 * @cache: nobody uses it
 *
 * Context: as pym_shadow_quiesce().
 */
void pym_shadow_leaks(struct pym_cache *cache)
{
	struct pym_cache *s;

	list_for_each_entry(s, &cache->shadows, node) {
		if (pym_watches(s, PYM_OWNER)) {
			pym_owner_leaks(cache->heap, cache);
			return;
		}
	}
}

/* Is nothing of a shadow left that somebody could have? */
static bool is_empty(struct pym_cache *s)
{
	unsigned long flags;
	bool empty;

	raw_spin_lock_irqsave(&s->lock, flags);
	empty = !s->nr_pools && !s->watch->guard.nr_live && !pym_guard_held(&s->watch->guard);
	raw_spin_unlock_irqrestore(&s->lock, flags);
	return empty && !atomic_read(&s->waiting);
}

/**
 * pym_shadow_sweep() - free the shadows of a cache that are empty by now
 * @cache: the cache
 *
 * Context: Task context, pym_registry.
 */
void pym_shadow_sweep(struct pym_cache *cache)
{
	struct pym_cache *s, *next;

	lockdep_assert_held(&pym_registry);
	list_for_each_entry_safe(s, next, &cache->shadows, node) {
		if (!s->watch->retired)
			continue;
		/* Somebody may have put a block there just after it was flushed. */
		pym_shadow_flush(s);
		if (is_empty(s))
			free_shadow(s);
	}
}

/* -------------------------------------------------------------- changes -- */

/* From now on, or soon, a shadow with these switches serves. Returns 0 or an error. */
static int replace_shadow(struct pym_cache *cache, const struct pym_switches *sw)
{
	struct pym_cache *s = NULL;

	lockdep_assert_held(&pym_registry);
	if (cache->shadow ? is_same(sw, &cache->shadow->watch->switches) : is_none(sw))
		return 0;
	if (!is_none(sw)) {
		s = make_shadow(cache, sw, GFP_KERNEL);
		if (IS_ERR(s))
			return PTR_ERR(s) == -EDQUOT ? -EDQUOT : -ENOMEM;
		list_add_rcu(&s->node, &cache->shadows);
	}
	/* It is whole before anybody finds it. */
	smp_store_release(&cache->shadow, s);
	if (s)
		pym_cache_hide(cache);
	return 0;
}

/* Nobody has found the shadow before by now, nor put anything into a front. */
static void wait_for_users(void)
{
	synchronize_rcu();
	synchronize_srcu(&switches_srcu);
}

/* The rest, after that wait; pym_heap_reap() is due afterwards. */
static int settle_cache(struct pym_cache *cache)
{
	struct pym_cache *s;

	lockdep_assert_held(&pym_registry);
	list_for_each_entry(s, &cache->shadows, node)
		if (s != cache->shadow)
			WRITE_ONCE(s->watch->retired, true);
	pym_shadow_sweep(cache);
	if (cache->shadow)
		pym_front_drain(cache);
	else
		pym_cache_show(cache);
	return 0;
}

/**
 * pym_cache_switches() - what is switched on for a cache
 * @cache: the cache
 * @switches: filled in
 *
 * Context: Any but NMI.
 */
void pym_cache_switches(struct pym_cache *cache, struct pym_switches *switches)
{
	int idx = pym_switches_lock();
	struct pym_cache *s = READ_ONCE(cache->shadow);

	*switches = s ? s->watch->switches : (struct pym_switches){};
	pym_switches_unlock(idx);
}
EXPORT_SYMBOL_IF_KUNIT(pym_cache_switches);

/* What has to be there before. */
static int begin(const struct pym_heap *heap, const struct pym_switches *switches)
{
	int err = switches->on & PYM_OWNER ? pym_owner_init(heap) : 0;

	if (err)
		pr_err("debug: no owners: %s\n", err == -ENOMEM ?
		       "no memory for stacks" : "this kernel has no depot for stacks");
	return err;
}

/**
 * pym_switch_cache() - change what is switched on for a cache
 * @cache: one with a name; it stays meanwhile
 * @switches: what is to be on
 *
 * Context: Task context, may sleep, no lock of ours held.
 * Return: 0, -EINVAL if the cache cannot have that, -EDQUOT or -ENOMEM.
 */
int pym_switch_cache(struct pym_cache *cache, const struct pym_switches *switches)
{
	struct pym_switches sw = *switches;
	const char *why = fit(cache, &sw);
	int err = begin(cache->heap, switches);

	if (err)
		return err;
	if (why) {
		pr_err("debug: cache %s can have %s\n", cache->name, why);
		return -EINVAL;
	}
	mutex_lock(&switching);
	mutex_lock(&pym_registry);
	err = replace_shadow(cache, &sw);
	mutex_unlock(&pym_registry);
	if (!err) {
		wait_for_users();
		mutex_lock(&pym_registry);
		settle_cache(cache);
		mutex_unlock(&pym_registry);
		pym_heap_reap(cache->heap);
	}
	mutex_unlock(&switching);
	return err;
}
EXPORT_SYMBOL_IF_KUNIT(pym_switch_cache);

/* What a cache can have of its heap's switches. */
static int replace_fitting(struct pym_cache *cache)
{
	struct pym_switches sw = cache->heap->switches;
	const char *why = fit(cache, &sw);

	if (why)
		pr_info("debug: cache %s can have %s\n", cache->name, why);
	return replace_shadow(cache, &sw);
}

static int visit_caches(struct pym_heap *heap, int (*fn)(struct pym_cache *cache))
{
	struct pym_cache *cache;
	unsigned int i;
	int err = 0;

	lockdep_assert_held(&pym_registry);
	for (i = 0; i < PYM_NR_CLASSES; i++) {
		cache = READ_ONCE(heap->class[i]);
		if (cache)
			err = fn(cache) ?: err;
	}
	list_for_each_entry(cache, &heap->caches, node)
		err = fn(cache) ?: err;
	return err;
}

/**
 * pym_switch_heap() - change what is switched on for all caches and classes of a heap
 * @heap: it stays meanwhile
 * @switches: what is to be on, as far as each cache can have it
 *
 * Context: Task context, may sleep, no lock of ours held.
 * Return: 0, or -EDQUOT or -ENOMEM if some caches have stayed as they were.
 */
int pym_switch_heap(struct pym_heap *heap, const struct pym_switches *switches)
{
	int err = begin(heap, switches);

	if (err)
		return err;
	mutex_lock(&switching);
	mutex_lock(&pym_registry);
	heap->switches = *switches;
	mutex_unlock(&pym_registry);
	/* Whoever makes a class with the old ones is done then, and it is found. */
	synchronize_srcu(&switches_srcu);
	mutex_lock(&pym_registry);
	err = visit_caches(heap, replace_fitting);
	mutex_unlock(&pym_registry);
	wait_for_users();
	mutex_lock(&pym_registry);
	visit_caches(heap, settle_cache);
	mutex_unlock(&pym_registry);
	pym_heap_reap(heap);
	mutex_unlock(&switching);
	return err;
}
EXPORT_SYMBOL_IF_KUNIT(pym_switch_heap);
