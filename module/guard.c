// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guarded blocks: some of a shadow's are served from an area of their own, so that the
 * instruction that touches what is behind them, or what has been freed, faults. See
 * section 12 of internal.h.
 */
#include <linux/mm.h>
#include <linux/poison.h>
#include <linux/random.h>
#include <linux/rbtree.h>
#include <linux/string.h>
#include "guard.h"
#include "kmemleak.h"

/* Areas of freed blocks that a shadow keeps, so that whoever goes on using them faults. */
#define FREED_MAX	(PYM_TRAPS ? 32 : 0)

/* All there are, by address. A leaf: inside the shadows' locks. */
static struct {
	raw_spinlock_t lock;
	struct rb_root root;
} guards = { .lock = __RAW_SPIN_LOCK_UNLOCKED(guards.lock), .root = RB_ROOT };

atomic_t pym_guards;			/* how many */

/* --------------------------------------------------------------- lookup -- */

static struct pym_guard *guard_of(struct rb_node *node)
{
	return rb_entry(node, struct pym_guard, node);
}

static bool area_less(struct rb_node *a, const struct rb_node *b)
{
	return guard_of(a)->area < rb_entry(b, struct pym_guard, node)->area;
}

/* Where is an address: before the area, in it or in the guard page, behind? */
static int area_cmp(const void *p, const struct rb_node *node)
{
	const struct pym_guard *g = rb_entry(node, struct pym_guard, node);

	if (p < g->area)
		return -1;
	return p >= g->area + pym_area_bytes(g->shadow) + PAGE_SIZE;
}

static struct pym_guard *find(const void *p)
{
	struct rb_node *node;

	lockdep_assert_held(&guards.lock);
	node = rb_find(p, &guards.root, area_cmp);
	return node ? guard_of(node) : NULL;
}

/**
 * pym_guard_find() - is this a live guarded block
 * @p: the address
 * @shadow: set to its shadow
 * @size: set to how many bytes its user may use
 *
 * Context: Any but NMI.
 * Return: true if it is.
 */
bool pym_guard_find(const void *p, struct pym_cache **shadow, size_t *size)
{
	struct pym_guard *g = NULL;
	unsigned long flags;

	if (likely(!pym_may_be_guarded(p)))
		return false;
	raw_spin_lock_irqsave(&guards.lock, flags);
	g = find(p);
	if (g && (g->block != p || g->record.state != PYM_RECORD_LIVE))
		g = NULL;
	if (g) {
		*shadow = g->shadow;
		*size = g->record.asked;
	}
	raw_spin_unlock_irqrestore(&guards.lock, flags);
	return g;
}

/**
 * pym_guard_owner() - whose guarded block, live or free, is or was at an address
 * @p: the address
 *
 * Context: Any but NMI.
 * Return: its cache, or NULL.
 */
struct pym_cache *pym_guard_owner(const void *p)
{
	struct pym_cache *owner = NULL;
	struct pym_guard *g;
	unsigned long flags;

	if (likely(!pym_may_be_guarded(p)))
		return NULL;
	raw_spin_lock_irqsave(&guards.lock, flags);
	g = find(p);
	if (g)
		owner = g->shadow->base;
	raw_spin_unlock_irqrestore(&guards.lock, flags);
	return owner;
}

/**
 * pym_guard_next() - look at one area after the other
 * @at: where the last one was, or NULL to begin with; set to the next
 * @shadow: set to whose it is
 * @record: a copy of its record
 *
 * A hold of the lock for each: there may be many.
 *
 * Context: Any but NMI, under pym_registry or rcu_read_lock(), which keep shadows.
 * Return: false if there are no more.
 */
bool pym_guard_next(void **at, struct pym_cache **shadow, struct pym_record *record)
{
	struct pym_guard *next = NULL;
	struct rb_node *node;
	unsigned long flags;

	raw_spin_lock_irqsave(&guards.lock, flags);
	for (node = guards.root.rb_node; node;) {
		if (guard_of(node)->area > *at) {
			next = guard_of(node);
			node = node->rb_left;
		} else {
			node = node->rb_right;
		}
	}
	if (next) {
		*at = next->area;
		*shadow = next->shadow;
		*record = next->record;
	}
	raw_spin_unlock_irqrestore(&guards.lock, flags);
	return next;
}

/* -------------------------------------------------------------- reports -- */

/* The same as if it were of a pool, for who looks after the record only. */
static struct pym_watched watched(struct pym_guard *g)
{
	return (struct pym_watched){ .shadow = g->shadow, .record = &g->record };
}

/* @g: a copy, unless the caller has the block. */
static void report(enum pym_misuse kind, const char *what, const struct pym_guard *g,
		   const void *p, unsigned long ip)
{
	if (pym_report(kind, ip, "%s: heap %s, cache %s, byte %zd of a guarded block of %u bytes",
		       what, g->shadow->heap->name, g->shadow->name, p - g->block,
		       g->record.asked))
		pym_owner_tell(g->shadow, &g->record);
}

/**
 * pym_guard_tell() - report a fault, if it was that of a guarded block
 * @p: what was touched
 * @ip: by this instruction
 *
 * Context: Any, an NMI and with our locks held included, as the kernel is to stop.
 */
void pym_guard_tell(const void *p, unsigned long ip)
{
	struct pym_guard *g, copy;
	unsigned long flags;

	if (!pym_may_be_guarded(p) || !raw_spin_trylock_irqsave(&guards.lock, flags))
		return;
	g = find(p);
	if (g)
		copy = *g;
	raw_spin_unlock(&guards.lock);
	/* The shadow stays until interrupts are on. */
	if (g && copy.record.state != PYM_RECORD_LIVE)
		report(PYM_MISUSE_USE_AFTER, "block is free", &copy, p, ip);
	else if (g && p >= copy.area + pym_area_bytes(copy.shadow))
		report(PYM_MISUSE_OVERFLOW, "touched behind its end", &copy, p, ip);
	local_irq_restore(flags);
}
EXPORT_SYMBOL_IF_KUNIT(pym_guard_tell);

/* Why may @p not be freed to a cache, or by pym_free() if that is NULL? Or NULL. */
static const char *refusal(const struct pym_guard *g, const struct pym_cache *cache,
			   const void *p, enum pym_misuse *kind)
{
	const struct pym_cache *owner = g->shadow->base;

	lockdep_assert_held(&guards.lock);
	*kind = PYM_MISUSE_WRONG_API;
	if (!cache && !owner->is_class)
		return "block of a cache; use pym_cache_free()";
	if (cache && owner->is_class)
		return "memory from pym_malloc(); use pym_free()";
	*kind = PYM_MISUSE_WRONG_CACHE;
	if (cache && owner != cache)
		return "block of another cache";
	*kind = PYM_MISUSE_INTERIOR;
	if (p != g->block)
		return "not the start of a block";
	*kind = PYM_MISUSE_DOUBLE_FREE;
	return g->record.state == PYM_RECORD_LIVE ? NULL : "block is free already";
}

/*
 * The guarded block at @p, or NULL if it is of none, or one that may not be freed and
 * has been reported; *@of says which. With @take it is the caller's, if there is one.
 */
static struct pym_guard *judge(const struct pym_cache *cache, const void *p, unsigned long ip,
			       bool take, bool *of)
{
	const char *why = NULL;
	struct pym_guard *g, copy;
	enum pym_misuse kind;
	unsigned long flags;

	/* Its shadow is looked at when it may be gone. */
	rcu_read_lock();
	raw_spin_lock_irqsave(&guards.lock, flags);
	g = find(p);
	if (g) {
		why = refusal(g, cache, p, &kind);
		copy = *g;
		if (!why && take)
			g->record.state = PYM_RECORD_GOING;
	}
	raw_spin_unlock_irqrestore(&guards.lock, flags);
	*of = g;
	if (why)
		report(kind, why, &copy, p, ip);
	rcu_read_unlock();
	return why ? NULL : g;
}

/**
 * pym_guard_check() - may this be freed to a cache
 * @cache: the cache
 * @p: any value; reported if it is of a guarded block and may not be freed
 * @ip: caller
 * @ok: set to whether it may
 *
 * Context: Any but NMI, no lock of ours held.
 * Return: true if it is an address of a guarded block.
 */
bool pym_guard_check(const struct pym_cache *cache, const void *p, unsigned long ip, bool *ok)
{
	bool of = false;

	*ok = pym_may_be_guarded(p) && judge(cache, p, ip, false, &of);
	return of;
}

/* ------------------------------------------------------------ giving back -- */

/* Take an area away from where it is found, and off its shadow's list. */
static void forget(struct pym_guard *g)
{
	struct pym_guarding *guard = &g->shadow->watch->guard;

	lockdep_assert_held(&g->shadow->lock);
	list_del_init(&g->list);
	guard->nr_leaving++;
	g->shadow->events++;
	raw_spin_lock(&guards.lock);
	rb_erase(&g->node, &guards.root);
	raw_spin_unlock(&guards.lock);
	atomic_dec(&pym_guards);
}

/* The area of the block that was freed first, for the caller to let go; or NULL. */
static struct pym_guard *take_oldest(struct pym_cache *shadow)
{
	struct pym_guarding *guard = &shadow->watch->guard;
	struct pym_guard *g;

	lockdep_assert_held(&shadow->lock);
	g = list_first_entry_or_null(&guard->freed, struct pym_guard, list);
	if (g) {
		guard->nr_freed--;
		forget(g);
	}
	return g;
}

/**
 * pym_guard_flush() - give back the areas of a shadow's freed blocks
 * @shadow: the shadow
 *
 * Soon, if this is no context to do so: see pym_area_sync().
 *
 * Context: Any but NMI, no lock of ours held but pym_registry.
 */
void pym_guard_flush(struct pym_cache *shadow)
{
	struct pym_guard *g;
	unsigned long flags;

	do {
		raw_spin_lock_irqsave(&shadow->lock, flags);
		g = take_oldest(shadow);
		raw_spin_unlock_irqrestore(&shadow->lock, flags);
		if (g)
			pym_area_let_go(g);
	} while (g);
}

/**
 * pym_guard_drop() - give back all areas of a shadow, those of live blocks as well
 * @cache: the shadow, or a cache, which has none
 *
 * Context: Task context, may sleep; nobody uses the cache.
 */
void pym_guard_drop(struct pym_cache *cache)
{
	struct pym_guarding *guard;
	struct pym_guard *g;
	unsigned long flags;

	if (!cache->base)
		return;
	pym_guard_flush(cache);
	guard = &cache->watch->guard;
	do {
		raw_spin_lock_irqsave(&cache->lock, flags);
		g = list_first_entry_or_null(&guard->live, struct pym_guard, list);
		if (g) {
			if (g->record.state == PYM_RECORD_LIVE)
				guard->nr_live--;
			else
				guard->nr_kept--;
			forget(g);
		}
		raw_spin_unlock_irqrestore(&cache->lock, flags);
		if (g)
			pym_area_let_go(g);
	} while (g);
	pym_area_sync();
}

/**
 * pym_guard_count() - add the guarded blocks of a shadow
 * @shadow: the shadow
 * @stats: what it has in pools
 *
 * Context: shadow->lock.
 */
void pym_guard_count(const struct pym_cache *shadow, struct pym_cache_stats *stats)
{
	const struct pym_guarding *guard = &shadow->watch->guard;

	lockdep_assert_held(&shadow->lock);
	stats->live += guard->nr_live;
	stats->guarded = guard->nr_live;
	stats->guard_held = pym_guard_held(guard);
	stats->guard_area = pym_area_bytes(shadow);
	stats->unguarded = atomic_long_read(&guard->unguarded);
}

/**
 * pym_guard_sum() - count for verify.c the areas of each shadow of a heap
 * @heap: the heap
 *
 * Context: Task context, pym_registry.
 */
void pym_guard_sum(struct pym_heap *heap)
{
	struct pym_cache *shadow;
	struct pym_record record;
	void *at = NULL;

	while (pym_guard_next(&at, &shadow, &record))
		if (shadow->heap == heap)
			shadow->seen.guards++;
}

/**
 * pym_guard_listed() - areas that pym_guard_sum() should find
 * @shadow: the shadow
 *
 * Context: shadow->lock.
 * Return: how many.
 */
unsigned long pym_guard_listed(const struct pym_cache *shadow)
{
	const struct pym_guarding *guard = &shadow->watch->guard;

	return guard->nr_live + guard->nr_kept + guard->nr_freed;
}
EXPORT_SYMBOL_IF_KUNIT(pym_guard_listed);

/* ----------------------------------------------------------- allocation -- */

/* Is it the turn of this allocation? */
static bool chosen(struct pym_watch *watch)
{
	unsigned int one_in = watch->switches.guard;

	return one_in && !((unsigned int)atomic_inc_return(&watch->guard.turn) % one_in);
}

/* Put the block where its end meets the guard page, as far as its alignment lets it. */
static void place(struct pym_guard *g, size_t asked)
{
	void *end = g->area + pym_area_bytes(g->shadow);

	g->record.asked = asked;
	g->block = end - ALIGN(asked, g->shadow->align);
	memset(g->area, SLUB_RED_ACTIVE, g->block - g->area);
	memset(g->block + asked, SLUB_RED_ACTIVE, end - g->block - asked);
}

/* From now on it is found, and counted. */
static void publish(struct pym_guard *g)
{
	struct pym_cache *shadow = g->shadow;
	struct pym_guarding *guard = &shadow->watch->guard;
	struct pym_heap *heap = shadow->heap;
	unsigned long flags;

	g->record.state = PYM_RECORD_LIVE;
	raw_spin_lock_irqsave(&shadow->lock, flags);
	raw_spin_lock(&heap->lock);
	pym_shift(heap, pym_area_bytes(shadow), &heap->acct.in_flight, &heap->acct.guards);
	raw_spin_unlock(&heap->lock);
	list_add_tail(&g->list, &guard->live);
	guard->nr_live++;
	shadow->allocs++;
	shadow->high = max(shadow->high, shadow->live + guard->nr_live);
	shadow->events++;
	raw_spin_lock(&guards.lock);
	rb_add(&g->node, &guards.root, area_less);
	raw_spin_unlock(&guards.lock);
	raw_spin_unlock_irqrestore(&shadow->lock, flags);
	atomic_inc(&pym_guards);
}

/**
 * pym_guard_alloc() - allocate a guarded block, if one is due
 * @shadow: the shadow
 * @n: bytes needed, or 0 for all of a block
 * @gfp: allocation flags, which have been checked
 *
 * Context: as pym_shadow_alloc().
 * Return: a block, or NULL if this one is to be served as others are.
 */
void *pym_guard_alloc(struct pym_cache *shadow, size_t n, gfp_t gfp)
{
	struct pym_watched w;
	struct pym_guard *g;
	void *block;

	if (!chosen(shadow->watch))
		return NULL;
	g = pym_area_obtain(shadow, gfp);
	if (!g) {
		atomic_long_inc(&shadow->watch->guard.unguarded);
		return NULL;
	}
	place(g, n ?: shadow->size);
	w = watched(g);
	pym_owner_alloc(&w, gfp);
	pym_shadow_prepare(shadow, g->block, g->record.asked, gfp, true);
	block = g->block;
	publish(g);
	return block;
}

/* ----------------------------------------------------------------- free -- */

/* The first byte around a block that is not what it was, or NULL. */
static const void *bad_byte(const struct pym_guard *g)
{
	const void *end = g->block + g->record.asked;

	return memchr_inv(g->area, SLUB_RED_ACTIVE, g->block - g->area) ?:
	       memchr_inv(end, SLUB_RED_ACTIVE, g->area + pym_area_bytes(g->shadow) - end);
}

/*
 * A block is nobody's any more. @keep: as it is, until its cache is destroyed. Returns
 * the area to let go for it, or NULL. The shadow may be gone then if it is retired, but
 * for that area.
 */
static struct pym_guard *retire(struct pym_guard *g, bool keep)
{
	struct pym_cache *shadow = g->shadow;
	struct pym_guarding *guard = &shadow->watch->guard;
	struct pym_guard *oldest = NULL;
	unsigned long flags;

	raw_spin_lock_irqsave(&shadow->lock, flags);
	guard->nr_live--;
	shadow->frees++;
	shadow->events++;
	if (keep) {
		guard->nr_kept++;
	} else {
		list_move_tail(&g->list, &guard->freed);
		guard->nr_freed++;
	}
	raw_spin_lock(&guards.lock);
	g->record.state = PYM_RECORD_HELD;
	raw_spin_unlock(&guards.lock);
	if (guard->nr_freed > (READ_ONCE(shadow->watch->retired) ? 0 : FREED_MAX))
		oldest = take_oldest(shadow);
	raw_spin_unlock_irqrestore(&shadow->lock, flags);
	return oldest;
}

/**
 * pym_guard_free() - free a guarded block, or tell why not
 * @cache: to this one, or NULL for pym_free()
 * @p: any value
 * @ip: caller
 *
 * Context: Any but NMI, no lock of ours held.
 * Return: false if @p is no address of a guarded block; nothing happened then.
 */
bool pym_guard_free(struct pym_cache *cache, const void *p, unsigned long ip)
{
	struct pym_cache *shadow;
	struct pym_watched w;
	struct pym_guard *g;
	const void *bad;
	bool of, keep;

	if (likely(!pym_may_be_guarded(p)))
		return false;
	g = judge(cache, p, ip, true, &of);
	if (!g)
		return of;
	shadow = g->shadow;
	bad = bad_byte(g);
	if (unlikely(bad))
		report(PYM_MISUSE_OVERFLOW, "written beside the block, " PYM_FOUND_FREED, g, bad,
		       ip);
	w = watched(g);
	pym_owner_free(&w);
	keep = bad && pym_watches(shadow, PYM_FREEZE);
	/* What is kept is nobody's, and not lost. */
	if (keep)
		pym_kmemleak_ignore(g->area);
	else
		pym_area_close(g);
	g = retire(g, keep);
	if (g)
		pym_area_let_go(g);
	return true;
}

/* ------------------------------------------------------------- lifetime -- */

/**
 * pym_guard_init_shadow() - make a shadow one without guarded blocks
 * @shadow: the shadow; its switches are set
 *
 * Context: Any.
 */
void pym_guard_init_shadow(struct pym_cache *shadow)
{
	struct pym_guarding *guard = &shadow->watch->guard;

	INIT_LIST_HEAD(&guard->live);
	INIT_LIST_HEAD(&guard->freed);
	/* Which of so many is as good as any. */
	atomic_set(&guard->turn, get_random_u32());
}

int pym_guard_init(void)
{
	return pym_trap_init();
}

void pym_guard_exit(void)
{
	pym_trap_exit();
	pym_area_sync();
}
