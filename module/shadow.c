// SPDX-License-Identifier: GPL-2.0-only
/*
 * Allocation from a shadow and free to it; its quarantine. See section 12 of internal.h.
 */
#include <linux/mm.h>
#include <linux/poison.h>
#include <linux/string.h>
#include "kmemleak.h"
#include "shadow.h"

/* ------------------------------------------------------------- records -- */

static void set_watched(struct pym_watched *w, struct pym_cache *shadow, struct pym_pool *pool,
			unsigned int slot)
{
	*w = (struct pym_watched){
		.shadow = shadow, .pool = pool, .slot = slot,
		.record = pym_record_of(shadow, pool, slot),
	};
}

/* The slot at an address, which the caller has. */
static void find_watched(struct pym_watched *w, struct pym_cache *shadow, void *slot)
{
	struct pym_pool *pool;

	/* It stays, for one of its slots is live. */
	rcu_read_lock();
	pool = pym_lookup(slot);
	rcu_read_unlock();
	set_watched(w, shadow, pool, pym_offset_to_slot(slot - pool->base, shadow->recip));
}

/* What is in the slot of a block, for its user? Sets @w if it ever was one. */
static enum pym_slot user_slot(struct pym_watched *w, struct pym_cache *shadow,
			       struct pym_pool *pool, const void *p)
{
	enum pym_slot state;
	unsigned int slot;

	lockdep_assert_held(&shadow->lock);
	/* The pool may have been emptied and taken since we looked. */
	if (pool->owner != shadow)
		return PYM_SLOT_FREE;
	state = pym_pool_slot(pool, shadow, p - shadow->lead, &slot);
	/* Of what may not be freed it is of interest whose it is, or who freed it. */
	if (state == PYM_SLOT_VIRGIN || slot >= pool->carved)
		return state;
	set_watched(w, shadow, pool, slot);
	if (state == PYM_SLOT_LIVE && w->record->state != PYM_RECORD_LIVE)
		return PYM_SLOT_FREE;
	return state;
}

/**
 * pym_shadow_find() - is this a live block of a shadow
 * @shadow: owner of the pool when last seen
 * @pool: what @p is in
 * @p: the address
 * @size: set to how many bytes its user may use
 *
 * Context: Any but NMI, under rcu_read_lock().
 * Return: true if it is.
 */
bool pym_shadow_find(struct pym_cache *shadow, struct pym_pool *pool, const void *p,
		     size_t *size)
{
	struct pym_watched w;
	unsigned long flags;
	bool live;

	raw_spin_lock_irqsave(&shadow->lock, flags);
	live = user_slot(&w, shadow, pool, p) == PYM_SLOT_LIVE;
	*size = live ? w.record->asked : 0;
	raw_spin_unlock_irqrestore(&shadow->lock, flags);
	return live;
}

/**
 * pym_shadow_tell() - print what is known of the owners of a block
 * @shadow: owner of the pool when last seen
 * @pool: what @p is in
 * @p: any address in the block
 *
 * Context: as pym_report_block().
 */
void pym_shadow_tell(struct pym_cache *shadow, struct pym_pool *pool, const void *p)
{
	struct pym_record record = {};
	struct pym_watched w = {};
	unsigned long flags;

	raw_spin_lock_irqsave(&shadow->lock, flags);
	user_slot(&w, shadow, pool, p);
	if (w.record)
		record = *w.record;
	raw_spin_unlock_irqrestore(&shadow->lock, flags);
	if (record.asked)
		pym_owner_tell(shadow, &record);
}

/**
 * pym_at_slot() - is this where a block of a pool begins
 * @pool: what @p is in
 * @cache: owner of the pool, or the cache that the owner is a shadow of
 * @p: the address
 *
 * Context: Any, under rcu_read_lock().
 * Return: true if it is.
 */
bool pym_at_slot(struct pym_pool *pool, struct pym_cache *cache, const void *p)
{
	struct pym_cache *owner = READ_ONCE(pool->owner);
	unsigned int slot;
	size_t offset;

	if (owner && owner->base == cache)
		cache = owner;
	offset = p - pool->base - cache->lead;
	slot = pym_offset_to_slot(offset, cache->recip);
	return slot < cache->capacity && (size_t)slot * cache->stride == offset;
}

/* --------------------------------------------------------------- checks -- */

/* Is a slot as it should be? If not, it is made so, as in SLUB. Of who has it, or the lock. */
static bool check_slot(const struct pym_watched *w, bool live, struct pym_bad_byte *bad)
{
	if (live ? pym_zones_check(w, true, bad) :
		   pym_zones_check(w, false, bad) && pym_poison_check(w, bad))
		return true;
	/* It is evidence. */
	if (pym_watches(w->shadow, PYM_FREEZE))
		return false;
	pym_zones_fill(w, live);
	if (!live)
		pym_poison_fill(w);
	return false;
}

/*
 * Let nobody have a block of a pool any more: what is free of it becomes nobody's, and
 * what is freed from now on, too. It is full then, so it needs no list of its own.
 */
static void freeze(struct pym_cache *shadow, struct pym_pool *pool)
{
	unsigned long flags;
	unsigned int slot;

	if (!pym_watches(shadow, PYM_FREEZE))
		return;
	raw_spin_lock_irqsave(&shadow->lock, flags);
	if (pool->owner == shadow && pool->live && !pool->frozen) {
		WRITE_ONCE(pool->frozen, true);
		for (slot = 0; slot < shadow->capacity; slot++) {
			if (test_bit(slot, pym_pool_bits(pool)))
				continue;
			pym_record_of(shadow, pool, slot)->state = PYM_RECORD_HELD;
			shadow->held++;
		}
		pym_pool_fill(pool, shadow);
	}
	raw_spin_unlock_irqrestore(&shadow->lock, flags);
}

/* A bad byte has been found: say so, and leave the pool to who looks at it. */
static void report_byte(const struct pym_watched *w, const struct pym_bad_byte *bad,
			const char *when, unsigned long ip)
{
	struct pym_record record = *w->record;

	if (pym_report_byte(w, bad, when, ip))
		pym_owner_tell(w->shadow, &record);
	freeze(w->shadow, w->pool);
}

/* The slots of a pool that are free. One hold of the lock for each. */
static void check_pool(struct pym_cache *shadow, struct pym_pool *pool)
{
	struct pym_bad_byte bad;
	struct pym_watched w;
	unsigned long flags;
	unsigned int slot;
	bool ok;

	for (slot = 0; slot < shadow->capacity; slot++) {
		raw_spin_lock_irqsave(&shadow->lock, flags);
		ok = pool->owner != shadow || slot >= pool->carved ||
		     test_bit(slot, pym_pool_bits(pool));
		if (!ok) {
			set_watched(&w, shadow, pool, slot);
			ok = check_slot(&w, false, &bad);
		}
		raw_spin_unlock_irqrestore(&shadow->lock, flags);
		if (unlikely(!ok))
			report_byte(&w, &bad, PYM_FOUND_POOL, 0);
	}
}

/**
 * pym_shadow_check() - are the free blocks of a shadow as they were left
 * @shadow: the shadow
 *
 * Context: Any but NMI, no lock of ours held but pym_registry.
 */
void pym_shadow_check(struct pym_cache *shadow)
{
	struct pym_arena *arena;
	unsigned int i;

	rcu_read_lock();
	list_for_each_entry_rcu(arena, &shadow->heap->arenas, all)
		for (i = 0; i < arena->npools; i++)
			if (READ_ONCE(arena->pools[i].owner) == shadow)
				check_pool(shadow, &arena->pools[i]);
	rcu_read_unlock();
}

/**
 * pym_shadow_verify() - what is wrong with the records of a pool
 * @shadow: its owner
 * @pool: the pool
 *
 * Context: shadow->lock.
 * Return: that, or NULL.
 */
const char *pym_shadow_verify(struct pym_cache *shadow, struct pym_pool *pool)
{
	unsigned int slot;

	lockdep_assert_held(&shadow->lock);
	for (slot = 0; slot < pool->carved; slot++)
		if (!test_bit(slot, pym_pool_bits(pool)) &&
		    pym_record_of(shadow, pool, slot)->state != PYM_RECORD_FREE)
			return "a free slot has a record of a block";
	if (pool->frozen && pool->live != shadow->capacity)
		return "a frozen pool has a slot to give";
	return NULL;
}

/**
 * pym_shadow_held() - slots of a pool that are nobody's, and not free yet
 * @shadow: its owner
 * @pool: the pool
 *
 * Context: shadow->lock.
 * Return: how many.
 */
unsigned int pym_shadow_held(struct pym_cache *shadow, struct pym_pool *pool)
{
	unsigned int slot, n = 0;

	lockdep_assert_held(&shadow->lock);
	for (slot = 0; slot < pool->carved; slot++)
		n += pym_record_of(shadow, pool, slot)->state == PYM_RECORD_HELD;
	return n;
}

/* ----------------------------------------------------------- quarantine -- */

/* Both: a slot that is GOING. With the lock. */
static void hold(const struct pym_watched *w)
{
	lockdep_assert_held(&w->shadow->lock);
	w->record->state = PYM_RECORD_HELD;
	w->shadow->held++;
	w->shadow->events++;
}

static void unhold(const struct pym_watched *w)
{
	lockdep_assert_held(&w->shadow->lock);
	w->record->state = PYM_RECORD_GOING;
	w->shadow->held--;
	w->shadow->events++;
}

/* The slot that is in quarantine longest, for the caller; NULL if there is none. */
static void *take_oldest(struct pym_cache *shadow)
{
	struct pym_watch *watch = shadow->watch;
	void *slot;

	lockdep_assert_held(&shadow->lock);
	if (!watch->n)
		return NULL;
	slot = watch->block[watch->first];
	watch->first = (watch->first + 1) % watch->switches.quarantine;
	watch->n--;
	return slot;
}

/* Give a slot that is GOING back to its pool. Returns true if the heap is to be reaped. */
static bool let_go(const struct pym_watched *w)
{
	struct pym_cache *shadow = w->shadow;
	bool checked = false, reap = false;
	unsigned long flags;

	for (;;) {
		raw_spin_lock_irqsave(&shadow->lock, flags);
		/* With its last block the pool goes: a look at what is in it. */
		if (w->pool->live > 1 || checked)
			break;
		raw_spin_unlock_irqrestore(&shadow->lock, flags);
		check_pool(shadow, w->pool);
		checked = true;
	}
	if (w->pool->frozen) {
		hold(w);
	} else {
		w->record->state = PYM_RECORD_FREE;
		reap = pym_pool_clear(w->pool, shadow, w->slot);
	}
	raw_spin_unlock_irqrestore(&shadow->lock, flags);
	return reap;
}

/* The same for one that has been in quarantine, and has been taken out. */
static bool release(struct pym_cache *shadow, void *slot)
{
	struct pym_bad_byte bad;
	struct pym_watched w;

	find_watched(&w, shadow, slot);
	if (!READ_ONCE(w.pool->frozen) && unlikely(!check_slot(&w, false, &bad)))
		report_byte(&w, &bad, PYM_FOUND_RELEASED, 0);
	return let_go(&w);
}

static void *take_for_release(struct pym_cache *shadow)
{
	struct pym_watched w;
	void *slot;

	slot = take_oldest(shadow);
	if (slot) {
		find_watched(&w, shadow, slot);
		unhold(&w);
	}
	return slot;
}

/* Put a slot that is GOING into quarantine, and free what leaves it for that. */
static bool quarantine(const struct pym_watched *w)
{
	struct pym_cache *shadow = w->shadow;
	struct pym_watch *watch = shadow->watch;
	unsigned int size = watch->switches.quarantine;
	unsigned long flags;
	void *out = NULL;

	raw_spin_lock_irqsave(&shadow->lock, flags);
	if (watch->n == size)
		out = take_for_release(shadow);
	watch->block[(watch->first + watch->n++) % size] = pym_watched_slot(w);
	hold(w);
	raw_spin_unlock_irqrestore(&shadow->lock, flags);
	return out && release(shadow, out);
}

/**
 * pym_shadow_flush() - let everything out of a shadow's quarantine, and its free areas go
 * @shadow: the shadow
 *
 * Context: Any but NMI, no lock of ours held but pym_registry.
 * Return: true if pym_heap_reap() is to be called where a provider may be.
 */
bool pym_shadow_flush(struct pym_cache *shadow)
{
	unsigned long flags;
	bool reap = false;
	void *slot;

	pym_guard_flush(shadow);
	for (;;) {
		raw_spin_lock_irqsave(&shadow->lock, flags);
		slot = take_for_release(shadow);
		raw_spin_unlock_irqrestore(&shadow->lock, flags);
		if (!slot)
			return reap;
		reap |= release(shadow, slot);
	}
}

/* ----------------------------------------------------------- allocation -- */

/* A slot for a user, with its right contents but for its red zones; or false. */
static bool take_slot(struct pym_watched *w, struct pym_cache *shadow, gfp_t gfp, int nid,
		      bool *fresh, unsigned long ip)
{
	struct pym_bad_byte bad;
	void *marked;

again:
	marked = pym_take_block(shadow, gfp, nid);
	if (unlikely(!marked) && READ_ONCE(shadow->watch->n) +
				 READ_ONCE(shadow->watch->guard.nr_freed)) {
		if (pym_shadow_flush(shadow))
			pym_heap_reap(shadow->heap);
		marked = pym_take_block(shadow, gfp, nid);
	}
	if (unlikely(!marked))
		return false;
	find_watched(w, shadow, pym_unmarked(marked));
	*fresh = pym_marked(marked, PYM_CARVED);
	if (!*fresh && unlikely(!check_slot(w, false, &bad)))
		report_byte(w, &bad, PYM_FOUND_REUSED, ip);
	if (likely(!READ_ONCE(w->pool->frozen)))
		return true;
	let_go(w);
	goto again;
}

/**
 * pym_shadow_prepare() - what a user is promised to find in a block, or should not rely on
 * @s: the shadow
 * @block: the block
 * @n: its bytes
 * @gfp: allocation flags
 * @fresh: nobody has had it
 *
 * Context: as pym_shadow_alloc().
 */
void pym_shadow_prepare(const struct pym_cache *s, void *block, size_t n, gfp_t gfp, bool fresh)
{
	if (s->ctor && fresh)
		s->ctor(block);
	else if (s->clear ? want_init_on_alloc(gfp) : !s->ctor && gfp & __GFP_ZERO)
		memset(block, 0, n);
	else if (fresh && pym_watches(s, PYM_POISON))
		memset(block, POISON_INUSE, n);
}

/**
 * pym_shadow_alloc() - allocate from the shadow of a cache
 * @cache: the cache
 * @n: bytes needed, or 0 for all of a block
 * @gfp: allocation flags, which have been checked
 * @nid: which node is best
 * @ip: caller
 *
 * Context: as pym_cache_alloc(), but NMI.
 * Return: a block, or NULL if there is none or no shadow: the cache's own pools are to be
 * asked then, so that switches make no allocation fail.
 */
void *pym_shadow_alloc(struct pym_cache *cache, size_t n, gfp_t gfp, int nid,
		       unsigned long ip)
{
	int idx = pym_switches_lock();
	struct pym_cache *shadow = READ_ONCE(cache->shadow);
	struct pym_watched w;
	unsigned long flags;
	void *block = NULL;
	bool fresh;

	if (!shadow)
		goto out;
	block = pym_guard_alloc(shadow, n, gfp);
	if (block || !take_slot(&w, shadow, gfp, nid, &fresh, ip))
		goto out;
	w.record->asked = n && pym_watches(shadow, PYM_REDZONE) ? n : shadow->size;
	pym_owner_alloc(&w, gfp);
	block = pym_watched_block(&w);
	pym_shadow_prepare(shadow, block, shadow->size, gfp, fresh);
	pym_zones_fill(&w, true);
	raw_spin_lock_irqsave(&shadow->lock, flags);
	w.record->state = PYM_RECORD_LIVE;
	raw_spin_unlock_irqrestore(&shadow->lock, flags);
	pym_kmemleak_alloc(block, w.record->asked, gfp);
out:
	pym_switches_unlock(idx);
	return block;
}

/* ----------------------------------------------------------------- free -- */

/* Take a block from its user; false, and reported, if it is not one. */
static bool take_back(struct pym_watched *w, struct pym_cache *shadow, struct pym_pool *pool,
		      const void *p, unsigned long ip)
{
	enum pym_slot state;
	unsigned long flags;

	raw_spin_lock_irqsave(&shadow->lock, flags);
	state = user_slot(w, shadow, pool, p);
	if (state == PYM_SLOT_LIVE) {
		w->record->state = PYM_RECORD_GOING;
		shadow->frees++;
	}
	raw_spin_unlock_irqrestore(&shadow->lock, flags);
	if (likely(state == PYM_SLOT_LIVE))
		return true;
	if (state == PYM_SLOT_INTERIOR)
		pym_report_block(PYM_MISUSE_INTERIOR, "not the start of a block", pool, p, ip);
	else
		pym_report_block(PYM_MISUSE_DOUBLE_FREE,
				 state == PYM_SLOT_VIRGIN ? "block was never handed out" :
							    "block is free already", pool, p, ip);
	freeze(shadow, pool);
	return false;
}

/**
 * pym_shadow_free() - free a block to its shadow, if it is one
 * @shadow: owner of the pool when last seen
 * @pool: what @p is in
 * @p: the block
 * @ip: caller
 *
 * Context: Any but NMI, under rcu_read_lock(), no lock of ours held.
 * Return: as pym_pool_free().
 */
struct pym_heap *pym_shadow_free(struct pym_cache *shadow, struct pym_pool *pool,
				 const void *p, unsigned long ip)
{
	struct pym_bad_byte bad;
	struct pym_watched w;
	bool reap;

	if (!take_back(&w, shadow, pool, p, ip))
		return NULL;
	pym_kmemleak_free(p);
	if (unlikely(!check_slot(&w, true, &bad)))
		report_byte(&w, &bad, PYM_FOUND_FREED, ip);
	pym_owner_free(&w);
	if (unlikely(READ_ONCE(pool->frozen))) {
		let_go(&w);
		return NULL;
	}
	pym_zones_fill(&w, false);
	if (shadow->clear && want_init_on_free())
		memset(pym_watched_block(&w), 0, shadow->size);
	pym_poison_fill(&w);
	if (shadow->watch->switches.quarantine && !READ_ONCE(shadow->watch->retired))
		reap = quarantine(&w);
	else
		reap = let_go(&w);
	return reap ? shadow->heap : NULL;
}
