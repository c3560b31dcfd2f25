// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory of guarded blocks: an area for each, from __vmalloc(), which leaves a page behind
 * it unmapped. What may not be done where we are is left to a work item.
 */
#include <linux/llist.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>
#include "guard.h"
#include "kmemleak.h"

/* What may not sleep leaves to a work item: areas to give back, and other CPUs. */
static LLIST_HEAD(leaving);
static atomic_t unflushed;
static void do_work(struct work_struct *work);
static DECLARE_WORK(area_work, do_work);

/**
 * pym_area_bytes() - how large the areas of a cache's blocks are
 * @cache: the cache, or its shadow
 *
 * Context: Any.
 * Return: bytes, without the page behind it.
 */
size_t pym_area_bytes(const struct pym_cache *cache)
{
	return PAGE_ALIGN(ALIGN((size_t)cache->size, cache->align));
}

/* __vmalloc() takes sleeping locks, and is a BUG in an interrupt. */
static bool may_map(gfp_t gfp)
{
	return gfpflags_allow_blocking(gfp) && !(gfp & __GFP_THISNODE) && pym_may_obtain() &&
	       !in_interrupt() && !irqs_disabled();
}

/*
 * Charge an area, unless all of them would take more than a quarter of the heap's limit:
 * what they are larger by is not to make other allocations fail.
 */
static bool try_to_charge(struct pym_heap *heap, size_t bytes)
{
	size_t limit = READ_ONCE(heap->limit);

	return (!limit || READ_ONCE(heap->acct.guards) + bytes <= limit / 4) &&
	       pym_charge(heap, bytes);
}

/* The same; what is free makes room for what is used. */
static bool charge(struct pym_cache *shadow)
{
	size_t bytes = pym_area_bytes(shadow);

	if (likely(try_to_charge(shadow->heap, bytes)))
		return true;
	pym_guard_flush(shadow);
	return try_to_charge(shadow->heap, bytes);
}

/**
 * pym_area_obtain() - a guarded block without a place yet, that nobody knows
 * @shadow: its shadow
 * @gfp: allocation flags
 *
 * Its area is charged, and in flight.
 *
 * Context: as pym_guard_alloc().
 * Return: its record, or NULL.
 */
struct pym_guard *pym_area_obtain(struct pym_cache *shadow, gfp_t gfp)
{
	struct pym_heap *heap = shadow->heap;
	size_t bytes = pym_area_bytes(shadow);
	struct pym_guard *g;

	if (!may_map(gfp))
		return NULL;
	g = pym_meta_alloc(heap, PYM_FAIL_GUARD, sizeof(*g), gfp);
	if (IS_ERR(g))
		return NULL;
	/* Who loses the block has lost the area, which kmemleak knows from vmalloc(). */
	if (PYM_KMEMLEAK)
		pym_kmemleak_ignore(g);
	if (!charge(shadow))
		goto no_room;
	if (!pym_may_fail(PYM_FAIL_AREA, heap->name))
		g->area = __vmalloc(bytes, pym_vmalloc_gfp((gfp | __GFP_NOWARN) &
							   ~(__GFP_ZERO | __GFP_COMP)));
	if (!g->area)
		goto no_area;
	g->shadow = shadow;
	return g;
no_area:
	pym_uncharge(heap, bytes, &heap->acct.in_flight);
no_room:
	pym_meta_free(heap, g, sizeof(*g));
	return NULL;
}

/*
 * Give back an area that nobody finds any more. The shadow may be gone once it has none,
 * hence RCU; the heap waits for us.
 */
static void give_back(struct pym_guard *g)
{
	struct pym_cache *shadow = g->shadow;
	struct pym_heap *heap = shadow->heap;
	size_t bytes = pym_area_bytes(shadow);
	unsigned long flags;
	bool last;

	vfree(g->area);
	kfree(g);
	rcu_read_lock();
	raw_spin_lock_irqsave(&shadow->lock, flags);
	raw_spin_lock(&heap->lock);
	pym_uncharge_locked(heap, bytes, &heap->acct.guards);
	pym_uncharge_locked(heap, kmalloc_size_roundup(sizeof(*g)), &heap->acct.metadata);
	raw_spin_unlock(&heap->lock);
	shadow->watch->guard.nr_leaving--;
	shadow->events++;
	last = READ_ONCE(shadow->watch->retired) && !pym_guard_listed(shadow);
	raw_spin_unlock_irqrestore(&shadow->lock, flags);
	rcu_read_unlock();
	/* The tick frees the shadow. */
	if (last)
		pym_decay_arm(heap);
}

static void do_work(struct work_struct *work)
{
	struct llist_node *first;
	struct pym_guard *g;

	if (atomic_xchg(&unflushed, 0))
		pym_trap_flush();
	first = llist_del_all(&leaving);
	while (first) {
		g = llist_entry(first, struct pym_guard, leaving);
		first = first->next;
		give_back(g);
	}
}

/**
 * pym_area_let_go() - give back an area, here or soon
 * @g: its record, which is in no list and no tree, and counted as leaving
 *
 * Context: Any but NMI, no lock of ours held but mutexes.
 */
void pym_area_let_go(struct pym_guard *g)
{
	if (pym_may_obtain() && pym_may_sleep()) {
		give_back(g);
	} else {
		llist_add(&g->leaving, &leaving);
		schedule_work(&area_work);
	}
}

/**
 * pym_area_close() - nobody is to touch an area: neither here nor, soon, elsewhere
 * @g: its record
 *
 * Context: Any but NMI, no lock of ours held.
 */
void pym_area_close(struct pym_guard *g)
{
	pym_trap_set(g->area, pym_area_bytes(g->shadow));
	if (pym_may_sleep()) {
		pym_trap_flush();
	} else {
		atomic_set(&unflushed, 1);
		schedule_work(&area_work);
	}
}

/**
 * pym_area_sync() - wait until what is to be given back has been
 *
 * And until what is free faults on all CPUs.
 *
 * Context: Task context, may sleep.
 */
void pym_area_sync(void)
{
	flush_work(&area_work);
}
EXPORT_SYMBOL_IF_KUNIT(pym_area_sync);
