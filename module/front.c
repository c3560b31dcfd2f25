// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fronts: the per-CPU arrays of blocks that allocations and frees meet first.
 * The hot functions are in front.h; here are their life, and what takes or gives many
 * blocks at once. What moves blocks on from them is in depot.c.
 */
#include <linux/percpu.h>
#include <linux/slab.h>
#include "internal.h"
#include "front.h"

/* Stands in for a front that may not be used: always busy. */
DEFINE_PER_CPU(struct pym_front, pym_no_front);
static_assert(PYM_FRONT_IDLE);

/* A front holds about this many bytes of blocks, within these bounds. */
#define FRONT_BYTES	8192
#define FRONT_MIN	4
#define FRONT_MAX	64
static_assert(FRONT_MAX <= 2 * PYM_BATCH);

/* A cache that is hardly used must not pay for fronts: from this many on. */
#define FRONT_AFTER	16

/**
 * pym_front_cap() - slots in a front
 * @stride: of the cache
 *
 * Return: an even number.
 */
unsigned int pym_front_cap(size_t stride)
{
	return clamp_t(size_t, FRONT_BYTES / stride, FRONT_MIN, FRONT_MAX) & ~1U;
}

static size_t front_size(const struct pym_cache *cache)
{
	return struct_size_t(struct pym_front, slot,
			     cache->front_cap + 1 + (pym_nr_nodes() > 1 ? PYM_OUTBOX : 0));
}

/* Slots of a depot: in one piece for all nodes, and apart from what else there is. */
static unsigned int depot_slots(const struct pym_cache *cache)
{
	return PYM_DEPOT_BATCHES * cache->front_cap / 2;
}

static size_t depots_size(const struct pym_cache *cache)
{
	return array3_size(pym_nr_nodes(), depot_slots(cache), sizeof(void *));
}

/* Bytes of metadata for the fronts of a cache and its depot. */
static size_t front_bytes(const struct pym_cache *cache)
{
	return ALIGN(front_size(cache), SMP_CACHE_BYTES) * num_possible_cpus() +
	       kmalloc_size_roundup(depots_size(cache));
}

/**
 * pym_front_publish() - let the fast path use the fronts of a cache, if it may
 * @cache: the cache
 *
 * It may not if the cache's pages do not say whose they are, nor while a shadow or
 * hooks are to see every call.
 *
 * Context: Any.
 */
void pym_front_publish(struct pym_cache *cache)
{
	struct pym_front __percpu *fronts = fronts_of(cache);

	if (!fronts || cache->indexed || READ_ONCE(cache->head.front) != &pym_no_front)
		return;
	if (pym_front_hidden(cache))
		return;
	/* After what pym_front_create() wrote; before we look again. */
	smp_store_mb(cache->head.front, fronts);
	/* Pairs with who hides it: he sees the front, or we see that it is hidden. */
	if (pym_front_hidden(cache))
		WRITE_ONCE(cache->head.front, &pym_no_front);
}

/**
 * pym_front_create() - give a cache its fronts, once it has earned them
 * @cache: the cache
 * @gfp: what the request that found none allows
 *
 * Failure is not one: the cache goes on without.
 *
 * Context: No lock of ours held.
 */
void pym_front_create(struct pym_cache *cache, gfp_t gfp)
{
	struct pym_heap *heap = cache->heap;
	struct pym_front __percpu *fronts = NULL;
	struct pym_depot *depot;
	unsigned int nid;
	void **slots = NULL;
	size_t bytes;
	int cpu;

	if (!cache->front_cap || fronts_of(cache) ||
	    READ_ONCE(cache->allocs) < FRONT_AFTER || !pym_may_obtain_for(heap))
		return;
	/* Not before: every slow allocation without fronts comes by here. */
	bytes = front_bytes(cache);
	if (!pym_charge(heap, bytes))
		return;
	gfp = pym_meta_gfp(gfp) | __GFP_NOWARN;
	if (!pym_may_fail(PYM_FAIL_DEPOTS, heap->name))
		slots = kzalloc(depots_size(cache), gfp);
	pym_kmemleak_ignore(slots);
	if (slots && !pym_may_fail(PYM_FAIL_FRONTS, heap->name))
		fronts = __alloc_percpu_gfp(front_size(cache), SMP_CACHE_BYTES, gfp);
	if (!fronts)
		goto free;
	/* What it finds there may be a user's again by now. */
	if (PYM_KMEMLEAK)
		kmemleak_free_percpu(fronts);
	/* Closed, all of them: no slots. */
	for_each_possible_cpu(cpu)
		per_cpu_ptr(fronts, cpu)->busy = PYM_FRONT_IDLE;
	if (cmpxchg(&cache->node_of[0].depot.block, NULL, slots))
		goto free;
	for (nid = 0; nid < pym_nr_nodes(); nid++) {
		depot = &cache->node_of[nid].depot;
		depot->block = slots + nid * depot_slots(cache);
		depot->batch = cache->front_cap / 2;
	}
	/* After the depots and the fronts; pairs with fronts_of(). */
	smp_store_release(&cache->fronts, fronts);
	pym_front_publish(cache);
	pym_commit(heap, bytes, &heap->acct.metadata);
	return;
free:
	free_percpu(fronts);
	kfree(slots);
	pym_uncharge(heap, bytes, &heap->acct.in_flight);
}

/**
 * pym_front_destroy() - free the fronts of a cache, and forget what is in them
 * @cache: a cache that nobody uses
 *
 * Context: Task context.
 */
void pym_front_destroy(struct pym_cache *cache)
{
	struct pym_front __percpu *fronts = cache->fronts;

	if (!fronts)
		return;
	cache->head.front = &pym_no_front;
	cache->fronts = NULL;
	free_percpu(fronts);
	kfree(cache->node_of[0].depot.block);
	pym_uncharge(cache->heap, front_bytes(cache), &cache->heap->acct.metadata);
}

/**
 * pym_front_forget() - lose what is in the fronts of a cache
 * @cache: a cache that nobody uses
 *
 * Context: Task context.
 */
void pym_front_forget(struct pym_cache *cache)
{
	unsigned int nid;
	int cpu;

	if (!cache->fronts)
		return;
	for_each_possible_cpu(cpu) {
		struct pym_front *front = per_cpu_ptr(cache->fronts, cpu);

		front->net -= front->n + front->out;
		front->n = 0;
		front->out = 0;
	}
	for (nid = 0; nid < pym_nr_nodes(); nid++)
		cache->node_of[nid].depot.nr = 0;
}

/**
 * pym_front_sum() - what the fronts of a cache hold and have served
 * @cache: the cache
 * @cached: set to the blocks in them and in the depot
 * @frees: set to the frees they served
 *
 * Exact while the cache rests.
 *
 * Context: Any.
 * Return: the allocations they served.
 */
u64 pym_front_sum(const struct pym_cache *cache, unsigned long *cached, u64 *frees)
{
	struct pym_front __percpu *fronts = fronts_of(cache);
	unsigned int nid;
	u64 net = 0;
	int cpu;

	*cached = 0;
	*frees = 0;
	if (!fronts)
		return 0;
	for_each_possible_cpu(cpu) {
		const struct pym_front *front = per_cpu_ptr(fronts, cpu);

		*cached += READ_ONCE(front->n) + READ_ONCE(front->out);
		*frees += READ_ONCE(front->frees);
		net += READ_ONCE(front->net);
	}
	/* Each block put in or freed here is still here or has been handed out. */
	net += *frees - *cached;
	for (nid = 0; nid < pym_nr_nodes(); nid++) {
		const struct pym_depot *depot = &cache->node_of[nid].depot;

		*cached += READ_ONCE(depot->nr) * depot->batch;
	}
	return net;
}

/**
 * pym_front_put() - put blocks into this CPU's front, without freeing them
 * @cache: the cache
 * @marked: in the order in which they are to be handed out
 * @n: how many
 * @marks: which of their marks they keep
 *
 * Context: Any.
 * Return: how many of the first it took.
 */
unsigned int pym_front_put(struct pym_cache *cache, void **marked, unsigned int n,
			   unsigned long marks)
{
	struct pym_front __percpu *fronts = fronts_of(cache);
	struct pym_front *front;
	bool opened = false;

	if (!fronts)
		return 0;
	preempt_disable();
	front = this_cpu_ptr(fronts);
	if (!front_claim(front)) {
		n = 0;
		goto out;
	}
	opened = front_open(cache, front);
	n = min_t(unsigned long, n, front->cap - front->n);
	reverse_slots(&front->slot[front->n + 1], marked, n, ~PYM_MARKS | marks);
	front->n += n;
	front->net += n;
	front_release(front);
out:
	preempt_enable();
	if (opened)
		pym_decay_arm(cache->heap);
	return n;
}

/**
 * pym_front_take() - take many slots out of this CPU's front
 * @cache: the cache
 * @blocks: filled in, with their marks
 * @n: how many at most
 *
 * Context: Any.
 * Return: how many.
 */
size_t pym_front_take(struct pym_cache *cache, void **blocks, size_t n)
{
	struct pym_front __percpu *fronts = fronts_of(cache);
	struct pym_front *front;

	if (!fronts)
		return 0;
	preempt_disable();
	front = this_cpu_ptr(fronts);
	if (!front_claim(front)) {
		n = 0;
		goto out;
	}
	n = min(n, front->n);
	front->n -= n;
	copy_slots(blocks, &front->slot[front->n + 1], n);
	front_release(front);
out:
	preempt_enable();
	return n;
}

/* Is a block one of the last @n slots up to @top? Their front may change meanwhile. */
static bool is_among(void *const *top, unsigned int n, const void *block)
{
	for (; n; n--)
		if (pym_unmarked(READ_ONCE(*top--)) == block)
			return true;
	return false;
}

static __always_inline bool is_simple(const struct pym_cache *cache, const void *block)
{
	return simple_free(cache, block) && !is_remote(block);
}

/*
 * How many of the first can go to this CPU's front as they are, none of them being one
 * of the two before it.
 */
static __always_inline unsigned int simple_run(const struct pym_cache *cache, void **blocks,
					       unsigned int n)
{
	void **block = blocks, **end = blocks + n;

	for (; block < end && block < blocks + 2; block++)
		if (!is_simple(cache, *block) || (block > blocks && *block == block[-1]))
			return block - blocks;
	for (; block < end; block++)
		if (!is_simple(cache, *block) || unlikely(*block == block[-1]) ||
		    unlikely(*block == block[-2]))
			break;
	return block - blocks;
}

/**
 * pym_front_give() - free many blocks into this CPU's front
 * @cache: a cache
 * @blocks: what is to be freed, any values
 * @n: how many, at most PYM_BATCH
 *
 * Stops at the first that pym_cache_free() would not put there either.
 *
 * Context: Any.
 * Return: how many of the first it took.
 */
unsigned int pym_front_give(struct pym_cache *cache, void **blocks, unsigned int n)
{
	struct pym_front __percpu *fronts = cache->head.front;
	struct pym_front *front;
	unsigned int i;
	void **top;

	/* What may fault comes first; a block in our hands stays what it is. */
	n = simple_run(cache, blocks, n);
	if (!pym_kmemleak_can_free())
		return 0;
	for (i = 0; PYM_KMEMLEAK && i < n; i++)
		pym_kmemleak_free(blocks[i]);
	preempt_disable();
	front = this_cpu_ptr(fronts);
	if (!front_claim(front)) {
		n = 0;
		goto out;
	}
	n = min_t(unsigned long, n, front->cap - front->n);
	/* slot[0] is NULL, which no block is. */
	top = &front->slot[front->n];
	if (n && (unlikely(blocks[0] == top[0]) || (front->n && unlikely(blocks[0] == top[-1]))))
		n = 0;
	else if (n > 1 && unlikely(blocks[1] == top[0]))
		n = 1;
	n = pym_kasan_free_many(cache, blocks, n);
	copy_slots(&front->slot[front->n + 1], blocks, n);
	front->n += n;
	front->frees += n;
	front_release(front);
out:
	preempt_enable();
	return n;
}

/**
 * pym_front_push() - free a block into this CPU's front, if it can
 * @cache: the cache
 * @block: a block of it that has been checked as far as can be without its lock
 *
 * Opens the front if it was closed.
 *
 * Context: Any but NMI.
 * Return: false if the front is full, busy, or holds @block on top already.
 */
bool pym_front_push(struct pym_cache *cache, void *block)
{
	struct pym_front __percpu *fronts = fronts_of(cache);

	if (!fronts)
		return false;
	/* Should we move to another CPU meanwhile, the push does without. */
	if (unlikely(!raw_cpu_read(fronts->cap)))
		pym_front_put(cache, NULL, 0, 0);
	return front_push(cache, fronts, block);
}

/**
 * pym_front_has_on_top() - was this block freed here just before, of this node or others
 * @cache: the cache
 * @block: the block
 *
 * Context: Any.
 * Return: true if it is one of the two on top of this CPU's front, or in its outbox.
 */
bool pym_front_has_on_top(struct pym_cache *cache, const void *block)
{
	struct pym_front __percpu *fronts = fronts_of(cache);
	struct pym_front *front;
	unsigned int n, out;
	bool has;

	if (!fronts)
		return false;
	preempt_disable();
	front = this_cpu_ptr(fronts);
	n = READ_ONCE(front->n);
	out = READ_ONCE(front->out);
	has = is_among(&front->slot[n], min(n, 2U), block) ||
	      is_among(&front->slot[cache->front_cap + out], out, block);
	preempt_enable();
	return has;
}
