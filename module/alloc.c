// SPDX-License-Identifier: GPL-2.0-only
/*
 * Allocation from a cache when the front has not served it: from the depot, the
 * pools, new memory.
 */
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/string.h>
#include "internal.h"
#include "front.h"
#include "kmemleak.h"
#include "trace.h"

/* Is it known whether the caller may sleep? Not to the last step of a shutdown. */
#define CAN_TELL	(IS_ENABLED(CONFIG_PREEMPT_COUNT) && system_state == SYSTEM_RUNNING)

/**
 * pym_bad_gfp() - what pym_gfp_ok() has not found good at once
 * @gfp: the flags; that it may sleep is taken from them where it may not
 * @ip: caller, for the report
 *
 * Context: Any.
 * Return: false if the request must fail.
 */
bool pym_bad_gfp(gfp_t *gfp, unsigned long ip)
{
	if (unlikely(*gfp & REFUSED_GFP)) {
		gfp_t bad = *gfp & REFUSED_GFP;

		pym_report(PYM_MISUSE_BAD_GFP, ip,
			   "gfp %pGg cannot be honoured by a pool; use alloc_pages()",
			   &bad);
		return false;
	}
	if (CAN_TELL) {
		pym_report(PYM_MISUSE_BAD_GFP, ip,
			   "gfp %pGg allows to sleep where nobody may; use GFP_ATOMIC; taken for that",
			   gfp);
		*gfp &= ~__GFP_DIRECT_RECLAIM;
	}
	return true;
}

static int get_spare_bits(struct pym_cache *cache, struct pym_spare_bits *spare, gfp_t gfp)
{
	size_t size = kmalloc_size_roundup(BITS_TO_LONGS(cache->room) * sizeof(long));
	unsigned long *bits;

	if (!pym_may_obtain_for(cache->heap))
		return -EWOULDBLOCK;
	/* Those of a shadow have records behind them. */
	bits = pym_meta_alloc(cache->heap, cache->base ? PYM_FAIL_SLOTS : PYM_FAIL_BITMAP,
			      size, gfp);
	if (IS_ERR(bits))
		return PTR_ERR(bits);
	pym_kmemleak_ignore(bits);
	spare->bits = bits;
	spare->cap = size * BITS_PER_BYTE;
	return 0;
}

static void count_failures(struct pym_cache *cache, unsigned int n)
{
	struct pym_heap *heap = cache->heap;
	unsigned long flags;

	raw_spin_lock_irqsave(&cache->lock, flags);
	cache->failures += n;
	raw_spin_lock(&heap->lock);
	heap->failures++;
	raw_spin_unlock(&heap->lock);
	raw_spin_unlock_irqrestore(&cache->lock, flags);
}

/* For clear_words()? */
static __always_inline bool few_words(unsigned int n)
{
	return n - 4 <= 32 - 4;
}

static __always_inline void clear_four(unsigned long *p)
{
	WRITE_ONCE(p[0], 0);
	WRITE_ONCE(p[1], 0);
	WRITE_ONCE(p[2], 0);
	WRITE_ONCE(p[3], 0);
}

/*
 * Clear what is most often cleared: 4 to 32 words. By fours, the last of which may
 * overlap, and no loop for the first eight: there is no string instruction that pays
 * for so little.
 */
static __always_inline void clear_words(unsigned long *p, unsigned int n)
{
	unsigned long *last = p + n - 4;

	clear_four(p);
	if (n > 8)
		for (p += 4; p < last; p += 4)
			clear_four(p);
	clear_four(last);
}

/* Clear any block; those of fewer words are not worth a call, either. */
static void clear_block(unsigned long *p, unsigned int n)
{
	if (few_words(n)) {
		clear_words(p, n);
	} else if (n < 4) {
		WRITE_ONCE(p[0], 0);
		WRITE_ONCE(p[n / 2], 0);
		WRITE_ONCE(p[n - 1], 0);
	} else {
		memset(p, 0, n * sizeof(long));
	}
}

/*
 * What the caller of an allocation is promised to find in the block. A constructor
 * has run, or runs when the block leaves its pool: cache->clear is 0 then.
 */
static void *prepare_block(struct pym_cache *cache, void *marked, gfp_t gfp)
{
	void *block = pym_unmarked(marked);

	/* Up to the last word, which may be more than its user may touch. */
	pym_kasan_open(cache, block);
	if (cache->clear && want_init_on_alloc(gfp) && !pym_marked(marked, PYM_ZERO))
		clear_block(block, cache->clear);
	else if (unlikely(cache->typesafe && !cache->ctor && gfp & __GFP_ZERO))
		memset(block, 0, cache->size);
	pym_kmemleak_alloc(block, cache->size, gfp);
	return pym_kasan_hand_out(cache, block, cache->size);
}

/* Of a block that is prepared, the user has asked for @n bytes, or all if that is 0. */
static __always_inline void *narrow(struct pym_cache *cache, void *block, size_t n)
{
	return n ? pym_kasan_hand_out(cache, block, n) : block;
}

/* The same for many, most of which need clearing if any does. */
static void prepare_blocks(struct pym_cache *cache, void **marked, size_t n, gfp_t gfp)
{
	unsigned int words = cache->clear;
	size_t i;

	if (PYM_TOLD || !few_words(words) || !want_init_on_alloc(gfp)) {
		for (i = 0; i < n; i++)
			marked[i] = prepare_block(cache, marked[i], gfp);
		return;
	}
	for (i = 0; i < n; i++) {
		void *block = marked[i];

		if (unlikely(pym_marked(block, PYM_MARKS)))
			marked[i] = prepare_block(cache, block, gfp);
		else
			clear_words(block, words);
	}
}

/* Most of them go to a front. */
static void construct(struct pym_cache *cache, void *block)
{
	pym_kasan_open(cache, block);
	cache->ctor(block);
	pym_kasan_shut(cache, block);
}

/* What one request for blocks of a cache has got so far, and how it may go on. */
struct request {
	struct pym_cache *cache;
	gfp_t gfp;
	unsigned int handed;		/* as many are needed */
	unsigned int done;
	void **marked;
	struct pym_spare_bits spare;
};

/*
 * Take blocks out of the pools of a node, growing the heap there if @grow, until
 * there are as many as are needed. Returns 0 if there are, or why not.
 */
static int get_from_node(struct request *r, int nid, unsigned int n, bool grow)
{
	struct pym_cache *cache = r->cache;
	int err = 0;

	while (!err) {
		r->done += pym_batch_pop(cache, nid, n - r->done,
					 r->handed - min(r->done, r->handed),
					 r->marked + r->done, &r->spare, &err);
		if (r->done >= r->handed)
			return 0;
		if (err == -EAGAIN) {
			pym_meta_free(cache->heap, r->spare.bits, r->spare.cap / BITS_PER_BYTE);
			r->spare = (struct pym_spare_bits){};
			err = get_spare_bits(cache, &r->spare, r->gfp);
		} else {
			err = -ENOMEM;
			if (grow)
				err = pym_heap_grow(cache->heap, cache->partition, cache->order,
						    r->gfp, nid);
		}
	}
	return err;
}

/* The same on the nodes but @nid, of which none is better than another. */
static int get_elsewhere(struct request *r, int nid, bool grow)
{
	int err = -ENOMEM, other;

	for_each_node_state(other, N_MEMORY) {
		if (other == nid)
			continue;
		/* No more than are handed out: the front is for blocks from here. */
		err = get_from_node(r, other, r->handed, grow);
		if (!err)
			break;
	}
	return err;
}

/*
 * Take up to @n blocks out of the pools, growing the heap until there are at
 * least @handed: of node @nid, and if none can be had there and @gfp allows it, of
 * others, what they have first. Returns how many; if fewer than @handed, @why is set.
 */
static __always_inline unsigned int
take_blocks(struct pym_cache *cache, gfp_t gfp, int nid, unsigned int n, unsigned int handed,
	    void **marked, int *why)
{
	struct request r = {
		.cache = cache, .gfp = gfp, .handed = handed, .marked = marked,
	};
	int err;

	err = get_from_node(&r, nid, n, true);
	if (unlikely(err) && nr_online_nodes > 1 && !(gfp & __GFP_THISNODE)) {
		if (!get_elsewhere(&r, nid, false))
			err = 0;
		/* Other providers have looked elsewhere themselves. */
		else if (err == -ENOMEM && !pym_heap_indexed(cache->heap))
			err = get_elsewhere(&r, nid, true);
	}
	if (r.spare.bits)
		pym_meta_free(cache->heap, r.spare.bits, r.spare.cap / BITS_PER_BYTE);
	*why = err;
	return r.done;
}

/**
 * pym_take_block() - take a block out of the pools, with all that this may take
 * @cache: the cache
 * @gfp: allocation flags
 * @nid: which node is best
 *
 * Nothing is counted if there is none, and no constructor called.
 *
 * Context: Any but NMI, no lock of ours held.
 * Return: the block and what is known of it, or NULL.
 */
void *pym_take_block(struct pym_cache *cache, gfp_t gfp, int nid)
{
	void *marked;
	int why;

	return take_blocks(cache, gfp, nid, 1, 1, &marked, &why) ? marked : NULL;
}

/* The same for a caller: blocks that are constructed, or counted as failed. */
static unsigned int get_blocks(struct pym_cache *cache, gfp_t gfp, int nid, unsigned int n,
			       unsigned int handed, void **marked)
{
	unsigned int done, i;
	int err;

	done = take_blocks(cache, gfp, nid, n, handed, marked, &err);
	if (cache->ctor)
		for (i = 0; i < done; i++)
			if (pym_marked(marked[i], PYM_CARVED))
				construct(cache, pym_unmarked(marked[i]));
	if (unlikely(done < handed)) {
		count_failures(cache, handed - done);
		if (err == -EDQUOT)
			pym_limit_hit(cache->heap, (size_t)(handed - done) * cache->stride);
	}
	return done;
}

/* Checks that precede every allocation which the front has not served. */
static bool may_alloc(struct pym_cache *cache, gfp_t *gfp, unsigned long ip)
{
	if (!pym_cache_ok(cache, "use", ip) || !pym_gfp_ok(gfp, ip))
		return false;
	if (unlikely(cache->ctor && (*gfp & __GFP_ZERO))) {
		pym_report(PYM_MISUSE_ZERO_CTOR, ip,
			   "cache %s has a constructor, its blocks are not zeroed",
			   cache->name);
		*gfp &= ~__GFP_ZERO;
	}
	return true;
}

/*
 * In an NMI, which may have interrupted anything of ours: what a front has that the
 * fast path does not use, else a block of a pool in use if the lock is free. A
 * failure is not counted, as that would need the lock.
 */
static void *alloc_in_nmi(struct pym_cache *cache, gfp_t gfp)
{
	struct pym_front __percpu *fronts = fronts_of(cache);
	void *marked = NULL;

	if (fronts && cache->head.front == &pym_no_front)
		marked = __pym_front_pop(fronts);
	if (!marked && !pym_batch_trypop(cache, numa_mem_id(), &marked))
		return NULL;
	if (cache->ctor && pym_marked(marked, PYM_CARVED))
		construct(cache, pym_unmarked(marked));
	return prepare_block(cache, marked, gfp);
}

/* Into the front what it can take, back to the pools what it cannot. */
static void fill_front(struct pym_cache *cache, void **marked, unsigned int n)
{
	/*
	 * With init_on_alloc every allocation looks at that mark and takes it off;
	 * without, few would have a use for it.
	 */
	unsigned long marks = cache->clear && want_init_on_alloc(0) ? PYM_ZERO : 0;
	unsigned int taken = pym_front_put(cache, marked, n, marks);

	if (unlikely(taken < n) && pym_batch_return(cache, marked + taken, n - taken))
		pym_heap_reap(cache->heap);
}

/* Allocate a block out of the pools, and half a front with it. */
static noinline void *alloc_from_pools(struct pym_cache *cache, gfp_t gfp)
{
	void *marked[PYM_BATCH] __uninitialized;
	unsigned int n;

	n = fronts_of(cache) ? cache->front_cap / 2 : 1;
	n = get_blocks(cache, gfp, numa_mem_id(), n, 1, marked);
	if (!n)
		return NULL;
	trace_pym_refill(cache, n, false);
	if (n > 1)
		fill_front(cache, marked + 1, n - 1);
	return prepare_block(cache, marked[0], gfp);
}

/* A block out of a front that the fast path may not use, or else from the depot. */
static void *pop_again(struct pym_cache *cache)
{
	struct pym_front __percpu *fronts = fronts_of(cache);
	void *marked;

	if (cache->head.front == &pym_no_front) {
		marked = __pym_front_pop(fronts);
		if (marked)
			return marked;
	}
	return pym_front_from_depot(cache) ? __pym_front_pop(fronts) : NULL;
}

/* Allocate one that is looked after, or if that cannot be, any. */
static noinline void *alloc_watched(struct pym_cache *cache, size_t n, gfp_t gfp, int nid,
				    unsigned long ip)
{
	void *block = pym_shadow_alloc(cache, n, gfp, nid, ip), *marked;

	if (block)
		return block;
	if (!get_blocks(cache, gfp, nid, 1, 1, &marked))
		return NULL;
	return narrow(cache, prepare_block(cache, marked, gfp), n);
}

static __always_inline void *alloc_slow(struct pym_cache *cache, size_t n, gfp_t gfp,
					unsigned long ip)
{
	void *marked;

	if (unlikely(in_nmi()))
		return narrow(cache, alloc_in_nmi(cache, gfp), n);
	if (unlikely(READ_ONCE(cache->shadow)))
		return alloc_watched(cache, n, gfp, numa_mem_id(), ip);
	if (!fronts_of(cache))
		pym_front_create(cache, gfp);
	if (fronts_of(cache)) {
		marked = pop_again(cache);
		if (marked)
			return narrow(cache, prepare_block(cache, marked, gfp), n);
	}
	return narrow(cache, alloc_from_pools(cache, gfp), n);
}

static __always_inline void trace_alloc(struct pym_cache *cache, const void *block, size_t n,
					gfp_t gfp, unsigned long ip)
{
	trace_pym_alloc(ip, block, cache->heap, cache, n ?: cache->size, cache->size, gfp);
}

/**
 * pym_alloc_slow() - allocate a block when the front has none
 * @cache: the cache
 * @n: bytes of it that are needed, or 0 for all
 * @gfp: allocation flags
 * @ip: the caller
 *
 * Context: as pym_cache_alloc().
 * Return: a block, or NULL.
 */
void *pym_alloc_slow(struct pym_cache *cache, size_t n, gfp_t gfp, unsigned long ip)
{
	void *block;

	if (!may_alloc(cache, &gfp, ip))
		return NULL;
	block = alloc_slow(cache, n, gfp, ip);
	trace_alloc(cache, block, n, gfp, ip);
	return block;
}

static void *alloc_on_node(struct pym_cache *cache, gfp_t gfp, int node, unsigned long ip)
{
	void *marked;

	if (unlikely(READ_ONCE(cache->shadow)))
		return alloc_watched(cache, 0, gfp, node, ip);
	if (!get_blocks(cache, gfp, node, 1, 1, &marked))
		return NULL;
	return prepare_block(cache, marked, gfp);
}

void *pym_cache_alloc_node(struct pym_cache *cache, gfp_t gfp, int node)
{
	void *marked, *block;

	if (cache && (node == NUMA_NO_NODE || node == numa_mem_id())) {
		/* We may move meanwhile, as the caller may have before. */
		marked = __pym_front_pop(cache->head.front);
		if (marked)
			return __pym_unfinished(gfp) ?
			       pym_alloc_finish(cache, gfp, marked, _RET_IP_) : marked;
		return pym_alloc_slow(cache, 0, gfp, _RET_IP_);
	}
	if (!may_alloc(cache, &gfp, _RET_IP_) || in_nmi())
		return NULL;
	if (node < 0 || node >= pym_nr_nodes()) {
		pym_report(PYM_MISUSE_BAD_ARG, _RET_IP_, "allocation on node %d of %u",
			   node, pym_nr_nodes());
		return NULL;
	}
	if (!node_state(node, N_MEMORY) && gfp & __GFP_THISNODE)
		return NULL;
	if (!node_state(node, N_MEMORY))
		node = first_memory_node;
	block = alloc_on_node(cache, gfp, node, _RET_IP_);
	trace_alloc(cache, block, 0, gfp, _RET_IP_);
	return block;
}
EXPORT_SYMBOL_GPL(pym_cache_alloc_node);

/* The same for flags that are refused, constructors, and other sizes. */
static noinline void *finish_rare(struct pym_cache *cache, gfp_t gfp, void *marked,
				  unsigned long ip)
{
	if (gfp & (REFUSED_GFP | __GFP_ZERO) && !may_alloc(cache, &gfp, ip)) {
		/* As it was, it is free to KASAN. */
		pym_kasan_open(cache, pym_unmarked(marked));
		pym_cache_free(cache, pym_unmarked(marked));
		return NULL;
	}
	return prepare_block(cache, marked, gfp);
}

/**
 * pym_alloc_finish() - what a block from a front may need before it is used
 * @cache: the cache
 * @gfp: allocation flags, of which some are out of the ordinary, unless everything
 *	is to be cleared
 * @marked: the block, as it was in the front
 * @ip: the caller
 *
 * Context: as pym_cache_alloc().
 * Return: the block, or NULL if the flags are refused.
 */
notrace void *pym_alloc_finish(struct pym_cache *cache, gfp_t gfp, void *marked,
			       unsigned long ip)
{
	unsigned int n = cache->clear;

	if (PYM_TOLD || unlikely(gfp & REFUSED_GFP) || unlikely(!few_words(n)))
		return finish_rare(cache, gfp, marked, ip);
	if (unlikely(pym_marked(marked, PYM_ZERO)))
		return pym_unmarked(marked);
	clear_words(marked, n);
	return marked;
}

notrace void *__pym_alloc_finish(struct pym_cache *cache, gfp_t gfp, void *marked)
{
	return pym_alloc_finish(cache, gfp, marked, _RET_IP_);
}
EXPORT_SYMBOL_GPL(__pym_alloc_finish);

void *__pym_cache_alloc_slow(struct pym_cache *cache, gfp_t gfp)
{
	return pym_alloc_slow(cache, 0, gfp, _RET_IP_);
}
EXPORT_SYMBOL_GPL(__pym_cache_alloc_slow);

size_t pym_cache_alloc_bulk(struct pym_cache *cache, gfp_t gfp, size_t n, void **blocks)
{
	size_t done = 0, first;

	/* Nothing but what the front has, and may be cleared? */
	if (likely(cache) && !pym_traced() &&
	    (!__pym_unfinished(gfp) || !(gfp & PYM_GFP_MORE))) {
		done = pym_front_take(cache, blocks, n);
		if (PYM_TOLD || want_init_on_alloc(0))
			prepare_blocks(cache, blocks, done, gfp);
		if (likely(done == n))
			return n;
	}
	if (!may_alloc(cache, &gfp, _RET_IP_))
		goto undo;
	if (unlikely(in_nmi())) {
		for (; done < n; done++) {
			blocks[done] = pym_cache_alloc(cache, gfp);
			if (!blocks[done])
				goto undo;
		}
		return n;
	}
	if (unlikely(READ_ONCE(cache->shadow)) || pym_traced()) {
		for (; done < n; done++) {
			blocks[done] = pym_alloc_slow(cache, 0, gfp, _RET_IP_);
			if (!blocks[done])
				goto undo;
		}
		return n;
	}
	if (!fronts_of(cache))
		pym_front_create(cache, gfp);
	while (done < n) {
		unsigned int want = 0, got = 0;

		first = done;
		done += pym_front_take(cache, blocks + done, n - done);
		if (done < n && !(fronts_of(cache) && pym_front_from_depot(cache))) {
			want = min_t(size_t, n - done, PYM_BATCH);
			got = get_blocks(cache, gfp, numa_mem_id(), want, want,
					 blocks + done);
			done += got;
		}
		/* What the front gives has no marks without init_on_alloc. */
		if (PYM_TOLD || got || want_init_on_alloc(gfp))
			prepare_blocks(cache, blocks + first, done - first, gfp);
		if (unlikely(got < want))
			goto undo;
	}
	return n;
undo:
	pym_cache_free_bulk(cache, done, blocks);
	return 0;
}
EXPORT_SYMBOL_GPL(pym_cache_alloc_bulk);
