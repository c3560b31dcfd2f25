/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * pymalloc: CPython's pool/arena allocator for the Linux kernel.
 *
 * This is the one header a consumer module reads. All types are opaque; every
 * function is documented at its declaration.
 */
#ifndef _PYMALLOC_PYMALLOC_H
#define _PYMALLOC_PYMALLOC_H

#include <linux/bits.h>
#include <linux/gfp.h>
#include <linux/module.h>
#include <linux/overflow.h>
#include <linux/types.h>

/**
 * DOC: Overview
 *
 * A *cache* hands out blocks of one size, like a kmem_cache. A *heap* owns the
 * memory behind caches and behind pym_malloc(): it has a page provider, an
 * optional hard byte limit, and can be destroyed as a whole, live blocks or
 * not. Where a heap is asked for, NULL means the default heap, which always
 * exists, has no limit and takes its memory from alloc_pages().
 *
 * .. code-block:: c
 *
 *	struct pym_heap_args args = { .limit_bytes = SZ_4M };
 *	struct pym_heap *heap = pym_heap_create("mymod", &args);
 *	struct session *s = pym_heap_new(heap, struct session, 1, GFP_KERNEL);
 *
 *	pym_free(s);
 *	pym_heap_destroy(heap);		// frees whatever is still live
 *
 * What is held, where and why is shown in /sys/kernel/debug/pymalloc/.
 */

/**
 * PYM_SMALL_MAX - largest pym_malloc() request, in bytes, served from pools
 *
 * Size classes are 8 bytes apart up to 512, as CPython's threshold is; above, each is
 * 6 to 13 % more than the one before. A heap can have less: see &struct pym_heap_args.
 */
#define PYM_SMALL_MAX		2048

/** PYM_CACHE_MAX_SIZE - largest block of a cache, in bytes, alignment included */
#define PYM_CACHE_MAX_SIZE	(32 * 1024)

/** PYM_NAME_MAX - longest cache or heap name, in bytes, with its final NUL */
#define PYM_NAME_MAX		48

struct pym_cache;
struct pym_heap;

#include <pymalloc/front.h>

/* What the inline functions below go on with. Not for anybody else. */
void *__pym_cache_alloc_slow(struct pym_cache *cache, gfp_t gfp) __malloc;
void *__pym_alloc_finish(struct pym_cache *cache, gfp_t gfp, void *slot);
void *__pym_malloc(struct pym_heap *heap, size_t n, gfp_t gfp) __malloc;
void *__pym_malloc_slow(struct pym_heap *heap, size_t n, gfp_t gfp) __malloc;
void *__pym_malloc_finish(struct pym_heap *heap, size_t n, gfp_t gfp, void *slot);
extern struct pym_heap *pym_default_heap;

/* ------------------------------------------------------------ providers -- */

/**
 * PYM_PROVIDER_ATOMIC - the provider's alloc() honours a non-blocking gfp mask
 * and its free() never sleeps. Without it, alloc() is called from task context
 * with a blocking mask only, and free() from task context only.
 */
#define PYM_PROVIDER_ATOMIC	BIT(0)

/**
 * PYM_PROVIDER_SPLIT - any page-aligned, power-of-two part of what alloc()
 * returned may be given to free() on its own. Without it, a chunk comes back
 * exactly as it was obtained.
 */
#define PYM_PROVIDER_SPLIT	BIT(1)

/** PYM_PROVIDER_ZEROED - alloc() returns memory that reads as zero, always */
#define PYM_PROVIDER_ZEROED	BIT(2)

/**
 * struct pym_provider_ops - where a heap's arenas come from
 * @name: shown in debugfs
 * @flags: PYM_PROVIDER_* bits
 * @alloc: obtain @size bytes (a power of two, at least PAGE_SIZE), aligned to
 *	PAGE_SIZE. @gfp is what the allocation allows: no zone bits, and no
 *	__GFP_ZERO unless the provider may skip it. @node is a NUMA node or
 *	NUMA_NO_NODE. Returns NULL on failure; the heap then tries smaller
 *	sizes before it fails the request.
 * @free: give @size bytes at @addr back
 * @split: called once for what @alloc returned, @size bytes, before parts of it are
 *	given back alone; NULL if there is nothing to do. Only with PYM_PROVIDER_SPLIT
 *
 * On machines with several nodes the provider `pages' is asked with __GFP_THISNODE.
 * @gfp can have flags that __vmalloc() does not take, such as __GFP_NOMEMALLOC. Since
 * Linux 6.19 it warns of them: a provider that hands @gfp on to it removes them first.
 * No function is ever called with preemption disabled by the allocator, or with a lock
 * of it held that an allocation or a free could want. @free and @split may be called with
 * a mutex held that pym_heap_reset() and pym_heap_destroy() of that heap take. The
 * structure and everything it points to must outlive every heap that uses it.
 */
struct pym_provider_ops {
	const char *name;
	unsigned int flags;
	void *(*alloc)(void *ctx, size_t size, gfp_t gfp, int node);
	void (*free)(void *ctx, void *addr, size_t size);
	void (*split)(void *ctx, void *addr, size_t size);
};

/** pym_provider_pages - arenas from alloc_pages(); the default; any context */
extern const struct pym_provider_ops pym_provider_pages;

/** pym_provider_vmalloc - arenas from vmalloc(); grows in task context only */
extern const struct pym_provider_ops pym_provider_vmalloc;

/* ---------------------------------------------------------------- heaps -- */

/**
 * PYM_HEAP_NO_FRONTS - keep no free blocks on CPUs
 *
 * Else an allocation and a checked free touch one per-CPU array, the front of the
 * cache, and take no lock. Every free proves that its block is one of the cache; a
 * double free is found at once if it is of the block freed last on this CPU, or of
 * one whose pool has another owner by then. Others are found when the front gives
 * its blocks back, and until then the block may be handed out twice. Without fronts
 * every call takes the cache's lock, and every double free is found at once.
 */
#define PYM_HEAP_NO_FRONTS	BIT(0)

/**
 * PYM_HEAP_RANDOM - hand out the free blocks of a pool in random order
 *
 * So nobody can tell which blocks will be neighbours. What was freed last on a CPU is
 * still what is allocated next there, and a cache that is looked after by switches in
 * debugfs goes by ascending addresses meanwhile. Pools are counted as used throughout
 * from their first block on: nothing of them is virgin. Costs some instructions when a
 * front is refilled, nothing else.
 */
#define PYM_HEAP_RANDOM		BIT(1)

/**
 * PYM_HEAP_ISOLATE - an arena serves one cache, or one size class, alone
 *
 * So an address is never a block of one cache now and of another a moment later. When
 * the last block of an arena has been freed, the arena rests for isolate_ms at least
 * before its pages may become anybody else's; not even pym_heap_shrink(), the limit or
 * a system without memory shortens that. Destroying or resetting the heap does. Arenas
 * stay whole, so that pages come back later and fewer of them, and each cache has an
 * arena at least. A heap of this kind can have 176 caches.
 */
#define PYM_HEAP_ISOLATE	BIT(2)

/**
 * struct pym_heap_args - how to make a heap; zero means the default everywhere
 * @provider: page provider; NULL for &pym_provider_pages
 * @provider_ctx: first argument of the provider's functions
 * @limit_bytes: hard limit on bytes held: pools, metadata and pass-through;
 *	0 for none
 * @flags: PYM_HEAP_* bits
 * @isolate_ms: milliseconds that an idle arena rests, with PYM_HEAP_ISOLATE only
 * @small_max: largest pym_malloc() request served from pools, a multiple of 8 in
 *	64..PYM_SMALL_MAX; 0 for PYM_SMALL_MAX. Above 512, pools take 8 or 16 KiB in one
 *	piece. CPython has 512
 * @on_limit: called once for every request that fails because of the limit, in
 *	the context of that request and with no lock held; may free blocks. @wanted
 *	is the number of bytes the heap would have had to obtain
 * @on_limit_ctx: last argument of @on_limit
 */
struct pym_heap_args {
	const struct pym_provider_ops *provider;
	void *provider_ctx;
	size_t limit_bytes;
	unsigned int flags;
	unsigned int isolate_ms;
	unsigned int small_max;
	void (*on_limit)(struct pym_heap *heap, size_t wanted, void *ctx);
	void *on_limit_ctx;
};

/**
 * struct pym_heap_stats - what a heap holds, all in bytes unless said
 * @limit: hard limit, 0 for none
 * @held: everything held: the sum of what follows up to @in_flight, but for
 *	@metadata_pages
 * @in_blocks: live blocks, at the size the cache was created with
 * @rounding: alignment padding of live blocks and the tails of pools that no
 *	block fits in
 * @free_blocks: blocks that were used and are free, in pools in use and fronts
 * @virgin: blocks never handed out, in pools in use, and pools never used
 * @empty_pools: pools used before, now without a block
 * @metadata: descriptors, bitmaps, index
 * @metadata_pages: the part of @metadata that is whole pages; the rest is kmalloc()ed
 * @pass_through: requests above the heap's small_max, as the kernel rounds them
 * @in_flight: obtained or being given back at this moment
 * @high: highest value @held ever had
 * @arenas: number of arenas
 * @live: number of live blocks, pass-through included
 * @pass_through_live: number of live pass-through blocks
 * @limit_hits: requests that the limit failed; a pym_realloc() that keeps its old
 *	block because no smaller one can be had counts here and in @failures too
 * @failures: requests that failed for any reason
 * @refused: times the provider was not called because the context forbade it
 */
struct pym_heap_stats {
	size_t limit;
	size_t held;
	size_t in_blocks;
	size_t rounding;
	size_t free_blocks;
	size_t virgin;
	size_t empty_pools;
	size_t metadata;
	size_t metadata_pages;
	size_t pass_through;
	size_t in_flight;
	size_t high;
	unsigned long arenas;
	unsigned long live;
	unsigned long pass_through_live;
	unsigned long limit_hits;
	unsigned long failures;
	unsigned long refused;
};

struct pym_heap *__pym_heap_create(const char *name, const struct pym_heap_args *args,
				   struct module *module);

/**
 * pym_heap_create() - create a heap
 * @name: unique among heaps; printable, without spaces, '/' and ':', shorter than
 *	PYM_NAME_MAX; copied
 * @args: options, or NULL for the defaults; copied
 *
 * Bad arguments and a name in use are refused with one line in the log that
 * says which and why. A module that is unloaded without destroying its heaps is named
 * in the log; they are kept, and its functions are not called any more.
 *
 * Context: Task context, may sleep.
 * Return: the heap, or NULL.
 */
static inline struct pym_heap *pym_heap_create(const char *name,
					       const struct pym_heap_args *args)
{
	return __pym_heap_create(name, args, THIS_MODULE);
}

/**
 * pym_heap_destroy() - free a heap and everything in it
 * @heap: a heap from pym_heap_create(), or NULL
 *
 * Destroys the heap's caches, gives every arena back and frees every
 * pass-through block, in time proportional to arenas and pass-through blocks.
 * No block or cache of the heap may be used during or after the call. The
 * default heap cannot be destroyed.
 *
 * Context: Task context, may sleep.
 */
void pym_heap_destroy(struct pym_heap *heap);

/**
 * pym_heap_reset() - free every block of a heap at once
 * @heap: a heap from pym_heap_create()
 *
 * The heap, its limit, hooks and caches stay usable. No block of the heap may
 * be used during or after the call.
 *
 * Context: Task context, may sleep.
 */
void pym_heap_reset(struct pym_heap *heap);

/**
 * pym_heap_shrink() - give unused memory back now
 * @heap: a heap, or NULL for the default heap
 *
 * Gives back every arena without a live block and, where the provider can
 * split, every pool without one.
 *
 * Context: Task context, may sleep.
 * Return: bytes given back.
 */
size_t pym_heap_shrink(struct pym_heap *heap);

/**
 * pym_heap_set_limit() - change the hard limit of a heap
 * @heap: a heap, or NULL for the default heap
 * @limit_bytes: new limit, 0 for none
 *
 * Unused memory is given back first if that is needed to get below the limit.
 *
 * Context: Task context, may sleep.
 * Return: 0, or -EBUSY if the heap holds more than that; the limit is then
 * unchanged.
 */
int pym_heap_set_limit(struct pym_heap *heap, size_t limit_bytes);

/**
 * pym_heap_stats() - what a heap holds
 * @heap: a heap, or NULL for the default heap
 * @stats: filled in
 *
 * Context: Task context, may sleep.
 */
void pym_heap_stats(struct pym_heap *heap, struct pym_heap_stats *stats);

/* --------------------------------------------------------------- caches -- */

/** PYM_CACHE_HWALIGN - align blocks to the hardware cache line, at least */
#define PYM_CACHE_HWALIGN	BIT(0)

/**
 * PYM_CACHE_TYPESAFE_BY_RCU - keep memory of this cache of its type for RCU readers
 *
 * A reader under rcu_read_lock() may look at a block that is freed meanwhile: it may
 * be allocated again at once, by this cache, but its memory is nothing else before a
 * grace period has passed. As the reader may find another object than it looked for,
 * it must check. Blocks are not cleared unless __GFP_ZERO asks for it; a lock in them
 * is best initialised by a constructor.
 */
#define PYM_CACHE_TYPESAFE_BY_RCU BIT(1)

/**
 * struct pym_cache_args - how to make a cache; zero means the default everywhere
 * @heap: heap to take memory from; NULL for the default heap
 * @align: alignment in bytes, a power of two up to PAGE_SIZE; 0 for 8
 * @flags: PYM_CACHE_* bits
 * @ctor: called once for each block when it is carved, before it is first
 *	handed out, in the context of the allocation and with no lock held. A block
 *	must be freed in its constructed state, which the next user then finds.
 *	Blocks of such a cache are never zeroed
 */
struct pym_cache_args {
	struct pym_heap *heap;
	size_t align;
	unsigned int flags;
	void (*ctor)(void *block);
};

/**
 * struct pym_cache_stats - what a cache holds
 * @size: block size asked for, bytes
 * @stride: distance between blocks, bytes
 * @pool_size: bytes in a pool
 * @capacity: blocks in a pool
 * @live: live blocks
 * @high: most blocks that were ever live or in fronts
 * @cached: free blocks in the fronts of CPUs
 * @free: free blocks in pools that were used before
 * @virgin: blocks never handed out
 * @pools: pools in use, full ones included
 * @full: full pools
 * @allocs: allocations so far
 * @frees: frees so far
 * @failures: failed allocations so far
 * @guarded: live blocks before a guard page of their own
 * @guard_held: areas of such blocks that are kept, or on their way back, after their free
 * @guard_area: bytes in an area, 0 if there is no guard
 * @unguarded: allocations whose turn it was, but that got another block
 */
struct pym_cache_stats {
	size_t size;
	size_t stride;
	size_t pool_size;
	unsigned long capacity;
	unsigned long live;
	unsigned long high;
	unsigned long cached;
	unsigned long free;
	unsigned long virgin;
	unsigned long pools;
	unsigned long full;
	u64 allocs;
	u64 frees;
	u64 failures;
	unsigned long guarded;
	unsigned long guard_held;
	size_t guard_area;
	u64 unguarded;
};

struct pym_cache *__pym_cache_create(const char *name, size_t size,
				     const struct pym_cache_args *args, struct module *module);

/**
 * pym_cache_create() - create a cache
 * @name: unique among the caches of its heap; printable, without spaces, '/' and ':',
 *	shorter than PYM_NAME_MAX; copied
 * @size: block size in bytes, 1..PYM_CACHE_MAX_SIZE
 * @args: options, or NULL for the defaults; copied
 *
 * Caches are never merged. Bad arguments and a name in use are refused with one
 * line in the log that says which and why. For modules that leave them behind it is as
 * for heaps.
 *
 * Context: Task context, may sleep.
 * Return: the cache, or NULL.
 */
static inline struct pym_cache *pym_cache_create(const char *name, size_t size,
						 const struct pym_cache_args *args)
{
	return __pym_cache_create(name, size, args, THIS_MODULE);
}

/**
 * pym_cache_destroy() - free a cache
 * @cache: a cache, or NULL
 *
 * Blocks still live are reported, with their number and the cache's name, and
 * their memory is freed. No block of the cache may be used during or after the
 * call.
 *
 * Context: Task context, may sleep.
 */
void pym_cache_destroy(struct pym_cache *cache);

/**
 * pym_cache_alloc() - allocate one block
 * @cache: the cache
 * @gfp: allocation flags. __GFP_ZERO is honoured, except that a cache with a
 *	constructor reports it and ignores it; zone modifiers are refused with a
 *	report
 *
 * Context: Any context @gfp allows. A cache in a heap whose provider is not atomic
 * grows in task context only. In an NMI it gives what this CPU's front has, else a
 * block of a pool in use if nobody is at it, else NULL; never new memory, and what
 * fails there is not counted.
 * Return: a block aligned as the cache was created, or NULL.
 */
static __always_inline void *pym_cache_alloc(struct pym_cache *cache, gfp_t gfp)
{
	void *block;

	if (unlikely(!cache))
		return __pym_cache_alloc_slow(cache, gfp);
	block = __pym_front_pop(((struct pym_cache_head *)cache)->front);
	if (unlikely(!block))
		return __pym_cache_alloc_slow(cache, gfp);
	return __pym_unfinished(gfp) ? __pym_alloc_finish(cache, gfp, block) : block;
}

/**
 * pym_cache_zalloc() - allocate one zeroed block
 * @cache: the cache
 * @gfp: allocation flags
 *
 * Context: as pym_cache_alloc().
 * Return: a block of zeroes, or NULL.
 */
static inline void *pym_cache_zalloc(struct pym_cache *cache, gfp_t gfp)
{
	return pym_cache_alloc(cache, gfp | __GFP_ZERO);
}

/**
 * pym_cache_alloc_node() - allocate one block on a NUMA node
 * @cache: the cache
 * @gfp: allocation flags; with __GFP_THISNODE no other node will do
 * @node: the node, or NUMA_NO_NODE for pym_cache_alloc()
 *
 * Blocks of other nodes than the caller's come from pools, never from a front. Which
 * node memory is on is known of &pym_provider_pages; of other providers it is the
 * node that they were asked for.
 *
 * Context: as pym_cache_alloc().
 * Return: a block, or NULL.
 */
void *pym_cache_alloc_node(struct pym_cache *cache, gfp_t gfp, int node) __malloc;

/**
 * pym_cache_free() - free one block
 * @cache: the cache it came from
 * @block: a block from @cache, or NULL
 *
 * A pointer that is not a live block of @cache is reported and counted; nothing
 * else happens then.
 *
 * Context: Any. What the front does not take in an NMI is freed by an interrupt right
 * after it; up to 64 blocks can wait for that on a CPU, more are reported and kept.
 */
void pym_cache_free(struct pym_cache *cache, void *block);

/**
 * pym_cache_free_rcu() - free one block once RCU readers are done with it
 * @cache: the cache it came from, of those with a name
 * @block: a block from @cache, or NULL
 *
 * The block stays as it is until a grace period has passed. Blocks wait in batches,
 * so that may take some hundredths of a second more. pym_cache_destroy() and
 * pym_heap_destroy() wait for blocks of their caches, and for no others. Where no
 * memory can be had for a batch, the call sleeps until readers are done; if it must
 * not and the reserve is used up too, the block is reported and lost until the cache
 * is destroyed.
 *
 * Context: Any, except NMI. May sleep if it is called where that is allowed.
 */
void pym_cache_free_rcu(struct pym_cache *cache, void *block);

/**
 * pym_cache_alloc_bulk() - allocate many blocks, all or none
 * @cache: the cache
 * @gfp: allocation flags
 * @n: how many; 0 is allowed
 * @blocks: filled in
 *
 * Context: as pym_cache_alloc().
 * Return: @n, or 0 if not all could be had; @blocks is undefined then.
 */
size_t pym_cache_alloc_bulk(struct pym_cache *cache, gfp_t gfp, size_t n, void **blocks);

/**
 * pym_cache_free_bulk() - free many blocks
 * @cache: the cache they came from
 * @n: how many; 0 is allowed
 * @blocks: the blocks; entries that are NULL are skipped
 *
 * Each entry is checked as by pym_cache_free(): a bad one is reported and does
 * not keep the others from being freed.
 *
 * Context: as pym_cache_free().
 */
void pym_cache_free_bulk(struct pym_cache *cache, size_t n, void **blocks);

/**
 * pym_cache_shrink() - give memory the cache does not use back now
 * @cache: the cache
 *
 * Caches of one heap share its empty pools, so this shrinks the heap.
 *
 * Context: Task context, may sleep.
 * Return: bytes given back.
 */
size_t pym_cache_shrink(struct pym_cache *cache);

/**
 * pym_cache_stats() - what a cache holds
 * @cache: the cache
 * @stats: filled in
 *
 * Context: Any, except NMI.
 */
void pym_cache_stats(struct pym_cache *cache, struct pym_cache_stats *stats);

/* -------------------------------------------------------- general purpose -- */

/**
 * pym_malloc() - allocate memory of any size
 * @heap: a heap, or NULL for the default heap
 * @n: bytes; 0 gives a distinct block that must be freed
 * @gfp: allocation flags, as for pym_cache_alloc()
 *
 * Requests above PYM_SMALL_MAX, or what the heap has been given instead, pass
 * through to kvmalloc() and belong to the heap all the same.
 *
 * Context: as pym_cache_alloc(). What passes through does not in an NMI.
 * Return: memory aligned to 8 bytes (powers of two up to PYM_SMALL_MAX: to
 * their size, whatever the heap's small_max), or NULL.
 */
static __always_inline void *pym_malloc(struct pym_heap *heap, size_t n, gfp_t gfp)
{
	void *block;

	if (!__builtin_constant_p(n) || n > PYM_SMALL_MAX)
		return __pym_malloc(heap, n, gfp);
	if (!heap)
		heap = pym_default_heap;
	block = __pym_front_pop(((struct pym_heap_head *)heap)->hot[DIV_ROUND_UP(n, 8)]);
	if (unlikely(!block))
		return __pym_malloc_slow(heap, n, gfp);
	if (!__pym_unfinished(gfp))
		return block;
	if (n && n <= PYM_CLEAR_IN_LINE && !(gfp & GFP_ZONEMASK) &&
	    !PYM_TOLD_INLINE)
		return __pym_cleared(block, n);
	return __pym_malloc_finish(heap, n, gfp, block);
}

/**
 * pym_calloc() - allocate a zeroed array
 * @heap: a heap, or NULL for the default heap
 * @n: number of elements
 * @size: bytes of one element
 * @gfp: allocation flags
 *
 * Context: as pym_malloc().
 * Return: zeroed memory, or NULL, also when @n * @size overflows.
 */
void *pym_calloc(struct pym_heap *heap, size_t n, size_t size, gfp_t gfp) __malloc;

/**
 * pym_realloc() - change the size of a block
 * @heap: where to allocate when @p is NULL; else NULL or the heap of @p
 * @p: memory from pym_malloc() and friends, or NULL
 * @n: bytes wanted; 0 shrinks the block and does not free it
 * @gfp: allocation flags; __GFP_ZERO clears what a growing block gains
 *
 * A block that shrinks stays in place while 4 * @n is more than 3 times its
 * size, and also when no smaller one can be had.
 *
 * Context: as pym_malloc().
 * Return: the block, moved or not, or NULL; @p is still valid then.
 */
void *pym_realloc(struct pym_heap *heap, void *p, size_t n, gfp_t gfp) __must_check;

/**
 * pym_free() - free memory from pym_malloc() and friends
 * @p: the memory, or NULL
 *
 * A pointer that is not a live block from pym_malloc() is reported and counted;
 * nothing else happens then.
 *
 * Context: as pym_cache_free().
 */
void pym_free(const void *p);

/**
 * pym_usable_size() - how large a block really is
 * @p: memory from pym_malloc(), a cache block, or NULL
 *
 * Context: Any, except NMI.
 * Return: bytes that may be used, at least those asked for; 0 if @p is NULL or
 * not a live block of ours.
 */
size_t pym_usable_size(const void *p);

/**
 * pym_owner() - which heap a block belongs to
 * @p: any pointer at all
 *
 * Context: Any, except NMI.
 * Return: the heap, or NULL if @p is not the start of a live block.
 */
struct pym_heap *pym_owner(const void *p);

/**
 * pym_heap_new() - allocate an array of a type from a heap
 * @heap: a heap, or NULL for the default heap
 * @type: element type
 * @n: number of elements
 * @gfp: allocation flags
 *
 * Return: a pointer to @type, or NULL, also when the size overflows.
 */
#define pym_heap_new(heap, type, n, gfp) \
	((type *)pym_malloc((heap), size_mul((n), sizeof(type)), (gfp)))

/**
 * pym_new() - allocate an array of a type from the default heap
 * @type: element type
 * @n: number of elements
 * @gfp: allocation flags
 *
 * Return: a pointer to @type, or NULL, also when the size overflows.
 */
#define pym_new(type, n, gfp)	pym_heap_new(NULL, type, n, gfp)

/**
 * pym_resize() - change the length of an array of a type
 * @p: lvalue, pointer to the array; always assigned the result, so save it
 *	first if the old array is needed after a failure
 * @type: element type
 * @n: new number of elements
 * @gfp: allocation flags
 *
 * Return: the new value of @p, NULL on failure.
 */
#define pym_resize(p, type, n, gfp) ({					\
	type **__pym_p = &(p);						\
									\
	*__pym_p = pym_realloc(NULL, *__pym_p, size_mul((n), sizeof(type)), (gfp)); \
})

/**
 * pym_del() - free what pym_new() or pym_resize() returned
 * @p: the array, or NULL
 */
#define pym_del(p)		pym_free(p)

/* ---------------------------------------------------------------- hooks -- */

/**
 * struct pym_heap_ops - the general-purpose functions of a heap, to be wrapped
 * @ctx: first argument of each function
 * @malloc: as pym_malloc()
 * @calloc: as pym_calloc()
 * @realloc: as pym_realloc()
 * @free: as pym_free(); NULL, which has no heap, is given to the default heap's
 *
 * A wrapper does its own work and calls the function it replaced, with the
 * replaced @ctx. It returns the very block that function returned: blocks are
 * told apart by their address, so a wrapper may not add a header. It must not
 * call pym_malloc() and friends on the same heap.
 */
struct pym_heap_ops {
	void *ctx;
	void *(*malloc)(void *ctx, struct pym_heap *heap, size_t n, gfp_t gfp);
	void *(*calloc)(void *ctx, struct pym_heap *heap, size_t n, size_t size, gfp_t gfp);
	void *(*realloc)(void *ctx, struct pym_heap *heap, void *p, size_t n, gfp_t gfp);
	void (*free)(void *ctx, struct pym_heap *heap, const void *p);
};

/**
 * pym_heap_get_ops() - the functions in force on a heap
 * @heap: a heap, or NULL for the default heap
 * @ops: filled in
 *
 * Context: Any, except NMI.
 */
void pym_heap_get_ops(struct pym_heap *heap, struct pym_heap_ops *ops);

/**
 * pym_heap_set_ops() - wrap or restore the functions of a heap
 * @heap: a heap, or NULL for the default heap
 * @ops: all five fields are used, copied; NULL restores the heap's own
 *
 * When the function returns, no call of the functions replaced is under way.
 * A heap without hooks pays nothing for them while no heap has any.
 *
 * Context: Task context, may sleep; not from within a hook.
 * Return: 0, -EINVAL if a function is missing, or -ENOMEM.
 */
int pym_heap_set_ops(struct pym_heap *heap, const struct pym_heap_ops *ops);

#endif /* _PYMALLOC_PYMALLOC_H */
