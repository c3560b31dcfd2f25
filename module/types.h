/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The structures, and which lock guards each member. The words are explained in
 * internal.h, sections 2 and 3; the locks in section 8.
 */
#ifndef _PYM_TYPES_H
#define _PYM_TYPES_H

#include <linux/atomic.h>
#include <linux/bitmap.h>
#include <linux/cache.h>
#include <linux/jump_label.h>
#include <linux/list.h>
#include <linux/llist.h>
#include <linux/lockdep.h>
#include <linux/mm_types.h>
#include <linux/mutex.h>
#include <linux/nodemask.h>
#include <linux/preempt.h>
#include <linux/rbtree.h>
#include <linux/rcupdate.h>
#include <linux/siphash.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>
#include <pymalloc/pymalloc.h>
#include "compat.h"
#include "sizeclass.h"

/* Wholly free arenas kept at least, per order of a heap, if they cannot be split. */
#define PYM_SPARE_ARENAS	1

/* Blocks handled under one hold of cache->lock by the bulk functions. */
#define PYM_BATCH		32

enum pym_pool_state {
	PYM_POOL_ABSENT,
	PYM_POOL_VIRGIN,
	PYM_POOL_EMPTY,
	PYM_POOL_USED,
	PYM_POOL_FULL,
	PYM_POOL_LIMBO,
};

/*
 * One pool. 64 bytes, so that a full arena's pools are one page.
 * Unless said otherwise: guarded by owner->lock while there is an owner, else
 * by the heap's lock.
 */
struct pym_pool {
	struct list_head list;		/* in a list of used pools or owner->full */
	struct pym_cache *owner;	/* changes under both locks */
	struct pym_arena *arena;	/* constant */
	void *base;			/* constant while not ABSENT */
	union {
		unsigned long word;	/* live slots, if bits_cap is 0 */
		unsigned long *bits;	/* live slots; stays with the pool */
	};
	u16 bits_cap;			/* slots that *bits has room for */
	u16 live;
	u16 carved;
	u8 index;			/* constant: which pool of the arena */
	u8 state;			/* enum pym_pool_state */
	u32 cookie;			/* constant: proves this is a pool */
	bool zeroed;			/* untouched blocks read as zero */
	bool draining;			/* frees come here and meet no front; batch.c */
	bool frozen;			/* nothing of it is reused, for who looks at it */
};
static_assert(sizeof(struct pym_pool) == 64);

/* One arena. Guarded by heap->lock unless said otherwise. */
struct pym_arena {
	struct hlist_node bucket;	/* order->bucket[in_bucket] if that is not 0 */
	struct list_head holes;		/* order->holes if a pool is ABSENT, or empty */
	struct list_head idle;		/* order->idle if idle, else heap->dead, or empty */
	struct list_head all;		/* heap->arenas; readers may use RCU */
	struct pym_heap *heap;		/* constant */
	struct pym_pool *pools;		/* constant: npools of them */
	u64 present;			/* pools with memory behind them */
	u64 free;			/* VIRGIN and EMPTY pools */
	u64 virgin;			/* VIRGIN pools */
	u64 reserved;			/* ABSENT pools being filled or given back */
	void *chunk;			/* what the provider gave in one piece, until it is */
					/* split; NULL if it was in pieces from the first */
	u32 metadata;			/* bytes charged for descriptors and index */
	u32 id;				/* constant: counts up within the heap */
	s16 nid;			/* constant: node it was asked of */
	u16 partition;			/* constant: of the caches it serves */
	u8 npools;			/* constant */
	u8 order;			/* constant */
	u8 in_bucket;			/* hweight64(free) when last placed */
	bool is_idle;			/* no pool in use, none reserved */
	unsigned long idle_since;	/* jiffies */
	bool splitting;			/* the provider is splitting the chunk */
	bool retired;			/* off all lists, on its way to the provider */
	struct rcu_head rcu;
};

/* The arenas of a heap on one node whose pools are 1 << order pages. Guarded by heap->lock. */
struct pym_order {
	DECLARE_BITMAP(mask, PYM_ARENA_MAX_POOLS + 1);	/* buckets not empty */
	struct hlist_head bucket[PYM_ARENA_MAX_POOLS + 1]; /* by free pools; [0] unused */
	struct list_head holes;		/* arenas with an ABSENT pool to fill */
	struct list_head idle;		/* arenas with no pool in use */
	int nid;			/* constant, as is partition */
	unsigned int partition;
	unsigned int nr_arenas;
	unsigned int nr_idle;
	unsigned long holes_total;	/* ABSENT pools not reserved: sum over holes */
	unsigned long present;		/* pools: sums over the arenas */
	unsigned long free;
	unsigned long virgin;
	unsigned long low;		/* fewest free since the last tick; decay.c */
	unsigned long keep;		/* free pools that are not given back at once */
	unsigned long gone;		/* given back lately, for being more */
	unsigned long got;		/* obtained since */
	struct {			/* scratch of verify.c, guarded by pym_registry */
		unsigned long arenas, present, free, virgin, idle, holes;
	} seen;
};

/*
 * Half fronts that CPUs exchange through one hold of cache->lock each, so that
 * blocks freed on one CPU and allocated on another never meet their pools.
 */
#define PYM_DEPOT_BATCHES	8

struct pym_depot {
	u32 nr;				/* batches; guarded by cache->lock */
	u32 batch;			/* blocks in each: half a front; constant */
	u32 moves;			/* batches that came or went; guarded by cache->lock */
	u32 seen;			/* what the last tick has seen of it; decay.c */
	u32 rests;			/* ticks that have found it untouched; decay.c */
	void **block;			/* set once, with the fronts; batch i at i * batch */
};

/*
 * Pools in use are ordered by how many free blocks they have, to within a factor of
 * two: bucket n has those with 1 << n to (2 << n) - 1.
 */
#define PYM_NR_FULLNESS		(ilog2(PYM_POOL_MAX_BLOCKS) + 1)

/* What a cache has of one node. Guarded by cache->lock. */
struct pym_cache_node {
	struct list_head used[PYM_NR_FULLNESS];
	unsigned long mask;		/* lists of used that are not empty */
	struct pym_pool *next;		/* which sparse pool to fill next, or NULL */
	struct pym_depot depot;
};

/* What is switched on for a cache: the words of debugfs' file `debug'. */
struct pym_switches {
	unsigned int on;		/* PYM_REDZONE and others */
	unsigned int quarantine;	/* blocks; 0 for none */
	unsigned int guard;		/* one allocation in so many; 0 for none */
};

#define PYM_REDZONE	BIT(0)		/* bytes around the block are checked when it is freed */
#define PYM_POISON	BIT(1)		/* and a free block when it is used again */
#define PYM_OWNER	BIT(2)		/* who allocated it and who freed it is known */
#define PYM_FREEZE	BIT(3)		/* after a report its pool is left as it is */

struct pym_cache {
	/* The first line is what the fast path reads. */
	struct pym_cache_head head;
	/* Constant after creation. */
	unsigned long pool_mask;	/* pool size - 1 */
	u64 slot_factor;		/* see slot_start() */
	u64 hot_limit;			/* slot_limit, or 0: no free is simple here */
	u64 slot_limit;
	u32 size;
	u32 stride;
	u32 align;
	u32 clear;			/* words to clear, 0: never */
	u16 capacity;
	u16 front_cap;			/* 0: the heap does without fronts */
	u8 order;
	u16 partition;			/* its arenas serve no other, if the heap isolates */
	bool random;			/* pools hand out any slot; PYM_HEAP_RANDOM */
	bool is_class;			/* hidden, behind pym_malloc() */
	bool indexed;			/* its pages carry no key: slow lookup */
	bool typesafe;			/* PYM_CACHE_TYPESAFE_BY_RCU */
	struct pym_heap *heap;
	u64 recip;
	void (*ctor)(void *block);
	u32 room;			/* bits it needs with each pool: see pool.c, shadow.h */
	u64 draws;			/* by pop_random(); guarded by lock */
	u32 lead;			/* bytes of a slot before its block; shadows only */
	struct pym_cache *base;		/* NULL, or the cache that this is a shadow of */
	struct pym_watch *watch;	/* what it looks after; shadows only */

	/* See section 12 of internal.h. */
	struct pym_cache *shadow;	/* serves in the cache's place, or NULL; SRCU */
	struct list_head shadows;	/* that one and older ones; readers may use RCU */

	/* Pools and counters, guarded by lock. */
	raw_spinlock_t lock;
	struct list_head full;
	unsigned long nr_pools;
	unsigned long nr_full;
	unsigned long live;
	unsigned long carved;		/* sum over the pools */
	unsigned long high;
	unsigned long held;		/* of live: nobody's, but not reused yet; shadows only */
	u64 allocs;			/* those that no front served */
	u64 frees;			/* those that no front served */
	u64 failures;
	u32 events;			/* blocks that left or entered pools */
	bool stale;			/* fronts hold blocks of pools that drain by now */
	struct pym_front __percpu *fronts; /* set once; NULL until there are any */

	/* What waits for readers, see rcu.c. */
	atomic_t waiting;		/* blocks and callbacks */
	struct list_head limbo;		/* guarded by lock, as the next two */
	struct list_head limbo_next;	/* for the next grace period */
	bool limbo_busy;		/* the callback is under way */
	struct rcu_head limbo_rcu;

	/* Lifecycle, guarded by pym_registry. */
	struct list_head node;		/* heap->caches, or base->shadows */
	struct module *module;		/* that made it; NULL once it is gone */
	struct dentry *dir;
	bool gone;			/* destroyed: kept for who goes on using it; dead.c */
	struct rcu_head rcu;
	struct {			/* scratch of verify.c */
		u32 pools, full, live, carved, held, guards, events;
	} seen;
	char name[PYM_NAME_MAX];
	struct pym_cache_node node_of[];	/* by node, pym_nr_nodes() of them */
};

static_assert(!offsetof(struct pym_cache, head));

/* Next after @layer of a cache and its shadows. Under pym_registry, or RCU. */
static inline struct pym_cache *pym_next_layer(struct pym_cache *cache, struct pym_cache *layer)
{
	struct list_head *at = layer == cache ? &cache->shadows : &layer->node;
	struct list_head *next = READ_ONCE(at->next);

	return next == &cache->shadows ? NULL : list_entry(next, struct pym_cache, node);
}

/* The cache itself, and each of its shadows. */
#define pym_for_each_layer(layer, cache) \
	for ((layer) = (cache); (layer); (layer) = pym_next_layer(cache, layer))

/* Where the bytes a heap holds are. Sums to `held'. Guarded by heap->lock. */
struct pym_account {
	size_t held;
	size_t pools;			/* present pools */
	size_t metadata;
	size_t metadata_pages;		/* part of it: descriptors that are pages */
	size_t pass_through;
	size_t guards;			/* areas of guarded blocks */
	size_t in_flight;		/* charged, not yet one of the others */
	size_t high;			/* highest held */
	u64 moves;			/* changes of these, of owners, of holes */
};

struct pym_heap {
	struct pym_heap_head head;	/* the fast path reads it */

	/* Constant after creation. */
	const struct pym_provider_ops *provider; /* but for what consumer.c does */
	struct pym_provider_ops lost;	/* in place of one whose module is gone */
	void *provider_ctx;
	unsigned int flags;		/* PYM_HEAP_* */
	siphash_key_t key;		/* of what pop_random() draws */
	unsigned int isolate_ms;	/* an idle arena goes back after that, not before */
	unsigned int small_max;		/* larger requests pass through */
	void (*on_limit)(struct pym_heap *heap, size_t wanted, void *ctx);
	void *on_limit_ctx;

	bool hooked;			/* calls go through hooks: no class is hot */

	struct pym_cache *class[PYM_NR_CLASSES];	/* set once, by cmpxchg */
	struct pym_hooks __rcu *hooks;	/* SRCU; NULL: the heap's own functions */

	raw_spinlock_t lock ____cacheline_aligned_in_smp;
	struct list_head arenas;	/* by id; readers may use RCU */
	struct list_head dead;		/* arenas on their way to the provider */
	struct list_head large;		/* pass-through records */
	struct pym_account acct;
	size_t limit;
	size_t shrunk;			/* bytes, when debugfs last asked to shrink it */
	unsigned int nr_arenas;
	u32 next_id;
	unsigned long nr_large;
	unsigned long limit_hits;
	unsigned long failures;
	unsigned long refused;

	struct work_struct reap_work;
	struct delayed_work tick;	/* decay.c */
	bool pressed;			/* the next tick gives all it can */
	struct mutex reclaim;		/* see section 8 of internal.h */

	/* Lifecycle, guarded by pym_registry. */
	struct list_head node;		/* pym_heaps */
	struct list_head caches;	/* those with a name of their own */
	struct module *module;		/* that made it; NULL once it is gone */
	struct dentry *dir;
	struct rcu_head rcu;
	bool gone;			/* destroyed: kept for who goes on using it; dead.c */
	bool dying;			/* guarded by reclaim, too */
	unsigned int scan;		/* last that came by; shrinker.c */
	struct pym_switches switches;	/* for caches to come; SRCU, see switch.c */
	char name[PYM_NAME_MAX];

	/* Of a heap that isolates, see pym_partition_take(); guarded by pym_registry. */
	DECLARE_BITMAP(partitions, PYM_NR_PARTITIONS);

	/* By partition, node, page order, see pym_order_of(); each set once, by cmpxchg. */
	struct pym_order *order[];
};

/* Nodes there can be. */
static inline unsigned int pym_nr_nodes(void)
{
	return nr_node_ids;
}

/* Does an arena serve one cache alone? Else all caches are of partition 0. */
static inline bool pym_isolates(const struct pym_heap *heap)
{
	return heap->flags & PYM_HEAP_ISOLATE;
}

/* Entries of heap->order. */
static inline unsigned int pym_nr_orders(unsigned int heap_flags)
{
	unsigned int partitions = heap_flags & PYM_HEAP_ISOLATE ? PYM_NR_PARTITIONS : 1;

	return partitions * pym_nr_nodes() * PYM_NR_ORDERS;
}

static inline struct pym_order **pym_order_of(struct pym_heap *heap, unsigned int partition,
					      int nid, unsigned int order)
{
	return &heap->order[(partition * pym_nr_nodes() + nid) * PYM_NR_ORDERS + order];
}

/* The order that an arena belongs to. */
static inline struct pym_order *pym_arena_order(const struct pym_arena *arena)
{
	return *pym_order_of(arena->heap, arena->partition, arena->nid, arena->order);
}

static inline size_t pym_cache_bytes(void)
{
	return struct_size_t(struct pym_cache, node_of, pym_nr_nodes());
}

static inline size_t pym_heap_bytes(unsigned int heap_flags)
{
	return struct_size_t(struct pym_heap, order, pym_nr_orders(heap_flags));
}

static_assert(!offsetof(struct pym_heap, head));

/* One pass-through block. Guarded by its shard's lock; list by heap->lock. */
struct pym_large {
	struct rb_node node;		/* shard, by ptr */
	struct list_head list;		/* heap->large */
	struct pym_heap *heap;		/* constant */
	void *ptr;			/* constant */
	size_t size;			/* constant: usable bytes */
};

#endif /* _PYM_TYPES_H */
