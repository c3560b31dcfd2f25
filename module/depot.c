// SPDX-License-Identifier: GPL-2.0-only
/*
 * What moves blocks between the fronts and the rest, many at a time: the depots, by
 * which CPUs of a node exchange half fronts; the outbox at the end of each front, where
 * blocks of other nodes gather; and draining, for whoever wants them all back.
 */
#include <linux/cpuhotplug.h>
#include <linux/percpu.h>
#include <linux/smp.h>
#include "internal.h"
#include "front.h"
#include "kmemleak.h"
#include "trace.h"

DEFINE_STATIC_KEY_FALSE(pym_many_nodes);

/*
 * Take up to @max of the blocks that have been in a front longest; none if it is busy.
 * Runs on its CPU with preemption off, or for a dead one.
 */
static unsigned int take_oldest(struct pym_front *front, void **blocks, unsigned int max)
{
	unsigned int n;

	if (!front_claim(front))
		return 0;
	n = min_t(unsigned long, max, front->n);
	copy_slots(blocks, &front->slot[1], n);
	front->n -= n;
	copy_slots(&front->slot[1], &front->slot[1 + n], front->n);
	front->net -= n;
	front_release(front);
	return n;
}

/* The depot of this CPU's node; elsewhere's at any time, if preemption is on. */
static struct pym_depot *depot_here(struct pym_cache *cache)
{
	return &cache->node_of[numa_mem_id()].depot;
}

/* Take a batch out of a depot, into no front. Returns how many, 0 if it is empty. */
static unsigned int take_from_depot(struct pym_cache *cache, struct pym_depot *depot,
				    void **blocks)
{
	unsigned int n = depot->batch;
	unsigned long flags;

	raw_spin_lock_irqsave(&cache->lock, flags);
	if (depot->nr) {
		copy_slots(blocks, &depot->block[--depot->nr * n], n);
		depot->moves++;
	} else {
		n = 0;
	}
	raw_spin_unlock_irqrestore(&cache->lock, flags);
	return n;
}

/* Both with cache->lock and the front claimed: half a front one way or the other. */
static bool fill_front(struct pym_front *front, struct pym_depot *depot)
{
	if (!depot->nr || front->n > depot->batch)
		return false;
	copy_slots(&front->slot[front->n + 1], &depot->block[--depot->nr * depot->batch],
		   depot->batch);
	depot->moves++;
	front->n += depot->batch;
	front->net += depot->batch;
	return true;
}

static bool fill_depot(struct pym_front *front, struct pym_depot *depot)
{
	if (depot->nr == PYM_DEPOT_BATCHES || front->n < 2 * depot->batch)
		return false;
	copy_slots(&depot->block[depot->nr++ * depot->batch], &front->slot[1], depot->batch);
	front->n -= depot->batch;
	copy_slots(&front->slot[1], &front->slot[1 + depot->batch], front->n);
	front->net -= depot->batch;
	depot->moves++;
	return true;
}

static bool exchange(struct pym_cache *cache,
		     bool (*move)(struct pym_front *front, struct pym_depot *depot))
{
	struct pym_front *front;
	bool ok = false, opened = false;
	unsigned long flags;

	raw_spin_lock_irqsave(&cache->lock, flags);
	front = this_cpu_ptr(cache->fronts);
	/* With interrupts off, only an NMI can find it busy. */
	if (front_claim(front)) {
		opened = front_open(cache, front);
		ok = move(front, depot_here(cache));
		front_release(front);
	}
	raw_spin_unlock_irqrestore(&cache->lock, flags);
	if (opened)
		pym_decay_arm(cache->heap);
	return ok;
}

/**
 * pym_front_from_depot() - put half a front from the depot into this CPU's front
 * @cache: a cache with fronts
 *
 * Context: Any but NMI, no lock of ours held.
 * Return: true if the front has got it.
 */
bool pym_front_from_depot(struct pym_cache *cache)
{
	if (!READ_ONCE(depot_here(cache)->nr) || !exchange(cache, fill_front))
		return false;
	trace_pym_refill(cache, depot_here(cache)->batch, true);
	return true;
}

/* Put half of this CPU's front into the depot, if it is full: what is there longest. */
static bool to_depot(struct pym_cache *cache)
{
	if (READ_ONCE(depot_here(cache)->nr) == PYM_DEPOT_BATCHES || !exchange(cache, fill_depot))
		return false;
	trace_pym_flush(cache, depot_here(cache)->batch, true);
	return true;
}

/**
 * pym_front_flush() - make room in this CPU's front
 * @cache: the cache
 *
 * If it is full, half of it goes to the depot, or back to the pools: what has
 * been there longest.
 *
 * Context: Any but NMI, no lock of ours held.
 * Return: as pym_batch_return().
 */
bool pym_front_flush(struct pym_cache *cache)
{
	struct pym_front __percpu *fronts = fronts_of(cache);
	void *blocks[PYM_BATCH] __uninitialized;
	struct pym_front *front;
	unsigned int n = 0;

	if (!fronts || to_depot(cache))
		return false;
	preempt_disable();
	front = this_cpu_ptr(fronts);
	if (READ_ONCE(front->n) == cache->front_cap)
		n = take_oldest(front, blocks, cache->front_cap / 2);
	preempt_enable();
	return n && pym_batch_return(cache, blocks, n);
}

/**
 * pym_front_make_room() - the same for who holds no RCU read lock, with what follows
 * @cache: the cache
 *
 * Context: Any but NMI, no lock of ours held, where a provider may be called.
 * Return: false if the fast path may not use the fronts anyway.
 */
bool pym_front_make_room(struct pym_cache *cache)
{
	if (cache->head.front == &pym_no_front)
		return false;
	if (pym_front_flush(cache))
		pym_heap_reap(cache->heap);
	return true;
}

/* The same for the blocks of other nodes. */
static unsigned int take_out(struct pym_cache *cache, struct pym_front *front, void **blocks)
{
	unsigned int n;

	if (!front_claim(front))
		return 0;
	n = front->out;
	copy_slots(blocks, &front->slot[cache->front_cap + 1], n);
	front->out = 0;
	front->net -= n;
	front_release(front);
	return n;
}

/**
 * pym_front_send_home() - free a block of another node
 * @cache: a cache with fronts
 * @block: a block of it that has been checked as far as can be without its lock
 * @reap: set if pym_heap_reap() is to be called where a provider may be
 *
 * Some are gathered, so that their pools are visited with one hold of the lock.
 *
 * Context: Any but NMI, no lock of ours held.
 * Return: false if the front is busy.
 */
bool pym_front_send_home(struct pym_cache *cache, void *block, bool *reap)
{
	void *blocks[PYM_OUTBOX] __uninitialized;
	struct pym_front *front;
	unsigned int n = 0;
	bool ok = false, opened = false;

	static_assert(PYM_OUTBOX <= PYM_BATCH);
	pym_kmemleak_free(block);
	preempt_disable();
	front = this_cpu_ptr(cache->fronts);
	if (!front_claim(front))
		goto out;
	opened = front_open(cache, front);
	ok = front->out < PYM_OUTBOX;
	if (ok) {
		pym_kasan_free(cache, block);
		front->slot[cache->front_cap + ++front->out] = block;
		front->frees++;
	}
	front_release(front);
	if (front->out == PYM_OUTBOX)
		n = take_out(cache, front, blocks);
out:
	preempt_enable();
	if (opened)
		pym_decay_arm(cache->heap);
	if (n)
		*reap |= pym_batch_return(cache, blocks, n);
	return ok;
}

/* Empties one CPU's front; runs there, with interrupts off, or for a dead one. */
static void drain_front(struct pym_cache *cache, struct pym_front *front)
{
	void *blocks[PYM_BATCH];
	unsigned int n;

	/* None while it is busy: whoever we interrupted comes first, the caller asks again. */
	while ((n = take_oldest(front, blocks, PYM_BATCH)))
		pym_batch_return(cache, blocks, n);
	n = take_out(cache, front, blocks);
	if (n)
		pym_batch_return(cache, blocks, n);
}

/* Returns as pym_batch_return() does. */
static bool drain_depot(struct pym_cache *cache, struct pym_depot *depot)
{
	void *blocks[PYM_BATCH];
	bool reap = false;
	unsigned int n;

	while ((n = take_from_depot(cache, depot, blocks)))
		reap |= pym_batch_return(cache, blocks, n);
	return reap;
}

/* Nothing comes into a front any more that is empty, until front_open(). */
static void close_front(struct pym_front *front)
{
	if (!front_claim(front))
		return;
	if (!front->n && !front->out)
		front->cap = 0;
	front_release(front);
}

static void drain_this_cpu(void *data)
{
	struct pym_cache *cache = data;

	drain_front(cache, this_cpu_ptr(cache->fronts));
}

static bool has_blocks(int cpu, void *data)
{
	struct pym_cache *cache = data;
	const struct pym_front *front = per_cpu_ptr(cache->fronts, cpu);

	return READ_ONCE(front->n) || READ_ONCE(front->out);
}

/**
 * pym_front_drain() - empty the fronts of a cache on every CPU, and its depot
 * @cache: the cache; may be in use, and then be filled again at once
 *
 * What becomes releasable is left to the caller: no provider may be called from
 * the other CPUs, nor with pym_registry held.
 *
 * Context: Task context, interrupts on, no lock of ours but pym_registry.
 */
void pym_front_drain(struct pym_cache *cache)
{
	unsigned int nid;

	if (!fronts_of(cache))
		return;
	on_each_cpu_cond_mask(has_blocks, drain_this_cpu, cache, true, cpu_online_mask);
	for (nid = 0; nid < pym_nr_nodes(); nid++)
		drain_depot(cache, &cache->node_of[nid].depot);
}

/**
 * pym_front_drain_cpu() - empty the front of a CPU that is dead
 * @cache: the cache
 * @cpu: the CPU
 *
 * Context: Task context.
 */
void pym_front_drain_cpu(struct pym_cache *cache, unsigned int cpu)
{
	if (!fronts_of(cache))
		return;
	drain_front(cache, per_cpu_ptr(cache->fronts, cpu));
	close_front(per_cpu_ptr(cache->fronts, cpu));
	/* Not here: no provider may be called with pym_registry held. */
	schedule_work(&cache->heap->reap_work);
}

/**
 * pym_front_return() - put what the fronts of a cache hold, and its depots, back
 * @cache: a cache that nobody uses
 *
 * Blocks that were freed twice come to light.
 *
 * Context: Task context.
 */
void pym_front_return(struct pym_cache *cache)
{
	unsigned int nid;
	int cpu;

	if (!fronts_of(cache))
		return;
	for_each_possible_cpu(cpu)
		drain_front(cache, per_cpu_ptr(cache->fronts, cpu));
	for (nid = 0; nid < pym_nr_nodes(); nid++)
		drain_depot(cache, &cache->node_of[nid].depot);
}

/**
 * pym_front_refresh() - let go of blocks whose pools have begun to drain
 * @cache: a cache with fronts
 *
 * If some have: the front of this CPU and the depot of its node are emptied. Other
 * CPUs' fronts are not worth an interrupt: they empty with use, or decay.
 *
 * Context: Any but NMI, no lock of ours held.
 * Return: as pym_batch_return().
 */
bool pym_front_refresh(struct pym_cache *cache)
{
	void *blocks[PYM_BATCH] __uninitialized;
	bool reap = false;
	unsigned int n;

	/* A hint: nothing is wrong if a mark is missed. */
	if (likely(!READ_ONCE(cache->stale)))
		return false;
	WRITE_ONCE(cache->stale, false);
	do {
		preempt_disable();
		n = take_oldest(this_cpu_ptr(cache->fronts), blocks, PYM_BATCH);
		preempt_enable();
		reap |= n && pym_batch_return(cache, blocks, n);
	} while (n);
	return reap | drain_depot(cache, depot_here(cache));
}

/* ------------------------------------------------------------ at rest -- */

/* So many ticks untouched, and a front or a depot is emptied. */
#define TICKS_OF_REST	2

/* Changed by every allocation and free, but for an odd sequence of a great many. */
static u64 state_of(const struct pym_front *front)
{
	return READ_ONCE(front->n) + 1021 * READ_ONCE(front->frees) +
	       65537 * READ_ONCE(front->net);
}

/* Is a front to be emptied? Sets @more if it has to be looked at again. */
static bool front_rests(struct pym_front *front, bool *more)
{
	u64 state = state_of(front);

	if (!READ_ONCE(front->cap))
		return false;
	*more = true;
	if (state != front->seen || !front->rests) {
		front->seen = state;
		front->rests = 1;
	} else if (front->rests <= TICKS_OF_REST) {
		front->rests++;
	}
	return front->rests > TICKS_OF_REST;
}

static bool depot_rests(struct pym_depot *depot, bool *more)
{
	u32 moves = READ_ONCE(depot->moves);

	if (!READ_ONCE(depot->nr))
		return false;
	*more = true;
	if (moves != depot->seen || !depot->rests) {
		depot->seen = moves;
		depot->rests = 1;
	} else {
		depot->rests++;
	}
	return depot->rests > TICKS_OF_REST;
}

static bool has_rested(int cpu, void *data)
{
	struct pym_cache *cache = data;
	const struct pym_front *front = per_cpu_ptr(cache->fronts, cpu);

	return READ_ONCE(front->cap) && READ_ONCE(front->rests) > TICKS_OF_REST;
}

static void empty_and_close(void *data)
{
	struct pym_cache *cache = data;
	struct pym_front *front = this_cpu_ptr(cache->fronts);

	/* It may have been used since it was looked at. */
	if (state_of(front) != front->seen)
		return;
	drain_front(cache, front);
	close_front(front);
}

/**
 * pym_front_decay() - a tick: empty what nobody has touched for some ticks
 * @cache: the cache
 *
 * A front is emptied on its CPU, by an interrupt. A CPU whose front is closed, or has
 * been used lately, is not bothered with it.
 *
 * Context: Task context, interrupts on, pym_registry.
 * Return: true if there is something to look at in the next tick.
 */
bool pym_front_decay(struct pym_cache *cache)
{
	bool more = false, rest = false;
	unsigned int nid;
	int cpu;

	lockdep_assert_held(&pym_registry);
	if (!fronts_of(cache))
		return false;
	for_each_online_cpu(cpu)
		rest |= front_rests(per_cpu_ptr(cache->fronts, cpu), &more);
	if (rest)
		on_each_cpu_cond_mask(has_rested, empty_and_close, cache, true,
				      cpu_online_mask);
	for (nid = 0; nid < pym_nr_nodes(); nid++)
		if (depot_rests(&cache->node_of[nid].depot, &more))
			drain_depot(cache, &cache->node_of[nid].depot);
	return more;
}

/* --------------------------------------------------------- dead CPUs -- */

static void (*drain_dead_cpu)(unsigned int cpu);
static int hotplug_state;

static int cpu_dead(unsigned int cpu)
{
	drain_dead_cpu(cpu);
	return 0;
}

/**
 * pym_front_init() - have the fronts of CPUs that go offline emptied
 * @drain_cpu: does it for every cache there is
 *
 * Context: Task context, may sleep.
 * Return: 0 or an error.
 */
int pym_front_init(void (*drain_cpu)(unsigned int cpu))
{
	if (nr_online_nodes > 1)
		static_branch_enable(&pym_many_nodes);
	drain_dead_cpu = drain_cpu;
	hotplug_state = cpuhp_setup_state_nocalls(CPUHP_BP_PREPARE_DYN, "mm/pymalloc:dead",
						  NULL, cpu_dead);
	return min(hotplug_state, 0);
}

void pym_front_exit(void)
{
	cpuhp_remove_state_nocalls(hotplug_state);
}
