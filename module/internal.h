/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * pymalloc: theory of operation, lock order, and what each file offers to the
 * others. The structures are in types.h.
 *
 * 1. What it is for
 * -----------------
 * Small blocks, many of them, for kernel modules: blocks of one type from a
 * cache, blocks of any size from a heap. It follows CPython's object allocator
 * (Objects/obmalloc.c): arenas are cut into pools, a pool holds blocks of one
 * size, and memory is taken from the fullest arena first, so that sparse arenas
 * empty out and can be given back. It is the wrong tool for blocks above 32 KiB,
 * for memory that must be physically contiguous beyond one pool, and for blocks
 * that hardened usercopy should bound: single-page pools are not bounded.
 *
 * 2. Vocabulary
 * -------------
 *	block	one allocation unit handed to a caller
 *	pool	1 << order pages holding blocks of exactly one cache
 *	arena	up to 64 pools that came from one page provider
 *	class	the hidden cache behind pym_malloc() requests of one rounded size
 *	cache	fixed-size allocator: some pools, and a constructor or none
 *	front	the per-CPU array of free blocks of one cache
 *	depot	half fronts that CPUs of a node exchange through the cache
 *	heap	arenas, a page provider, a limit, classes and caches
 *	virgin	never handed out since its page was obtained: not even written
 *	drain	of a sparse pool: take blocks back, and keep them from the fronts
 *	decay	give back what has been free since the last tick
 *	shadow	serves in a cache's place while something is switched on for it
 *
 *	heap -+- order 0 -+- arena 3  [ pool 0 | pool 1 | ... | pool 63 ]
 *	      |           |              |        |
 *	      |           |              |        `- owner: cache "size-64"
 *	      |           |              `- empty: any cache of order 0 may take it
 *	      |           `- arena 7  [ ... ]
 *	      `- order 1 ... larger blocks have larger pools, at least 8 blocks each
 *
 * 3. Life of a pool
 * -----------------
 *	state	owner	on which list		bit in its arena's masks
 *	ABSENT	none	none			none: no memory behind it
 *	VIRGIN	none	none			present, free, virgin
 *	EMPTY	none	none			present, free
 *	USED	cache	used, of its node	present
 *	FULL	cache	cache->full		present
 *	LIMBO	cache	cache->limbo or _next	present
 *
 *	ABSENT -> VIRGIN	the arena was obtained, or one pool was put in a hole
 *	VIRGIN, EMPTY -> USED	a cache with no used pool takes it from the fullest
 *				arena; pools used before go first
 *	USED <-> FULL		the last block is handed out, the first is freed; a
 *				pool that was full goes to the head of the list
 *	USED, FULL -> EMPTY	the last live blocks are freed; of a full pool all, by one
 *				flush of a front
 *	USED -> LIMBO -> EMPTY	instead, if readers may still look at its blocks, which
 *				keep their type that way; after a grace period, or
 *				back to USED before
 *	VIRGIN, EMPTY -> ABSENT	the pool's pages are given back on their own
 *
 * Blocks [0, carved) of a pool have been handed out since the pool got its
 * owner, and a bitmap says which are live now. Blocks [carved, capacity) have
 * not been touched. A free slot below `carved' is always preferred, lowest
 * address first; CPython is last-in-first-out here, through a list inside the
 * free blocks. Ours must not be touched, so a bitmap takes its place, and
 * ascending addresses keep neighbours together.
 *
 * A heap made with PYM_HEAP_RANDOM hands out any free slot instead: its pools count as
 * carved from the first, and a second bitmap behind the first says which slots have been
 * handed out, for constructors and for memory that is known to be zero. What is drawn is
 * a set of slots for a whole refill, so that fronts pay nothing.
 *
 * One made with PYM_HEAP_ISOLATE has a set of orders for each cache, its partition, and
 * with that arenas that serve no other. They stay whole, and an idle one is given back by
 * nobody before it has been idle for isolate_ms: pick_rested(). Only the end of the heap,
 * or its reset, does not ask. The partition of a cache that is gone is nobody's until its
 * last arena has gone back.
 *
 * 4. One allocation, one free
 * ---------------------------
 * pym_cache_alloc(), and pym_malloc() of a constant size, are compiled into their
 * caller: the front of this CPU gives the block on its top, with preemption off. No
 * lock, no atomic operation, and the block is not touched. If the front is empty, the
 * depot of this node gives half a front; if that is empty too, the pools give as
 * many: under the cache's lock the fullest pool of this node gives its lowest slots.
 * If none is in use, the heap's lock is taken too, the fullest arena of this node and
 * the cache's order gives a pool, and the pool becomes USED. If no arena has one, both
 * locks are dropped, the provider is asked for a new arena (fewer pools at a time
 * when that fails, one at last), and we start again. If the node has no more, others
 * give what is asked for now and nothing for the front. The constructor, or clearing,
 * comes after the lock.
 *
 * What is in line costs 8 of 59 guest instructions less, of an allocation and a free
 * of 64 bytes (Linux 7.3, without mitigations), which is why struct pym_front is in
 * a public header. The free stays out of line: it is three times as long.
 *
 * pym_cache_free(c, p) proves that p is exactly the start of a slot, and that the
 * struct page of p names c as its owner, and pushes p onto the front of this CPU,
 * whichever CPU it came from, unless it is one of the two blocks on its top: the second
 * of them costs two instructions, and tells A, B, A, which is what paths for errors do
 * that free what others have freed. pym_free(p) does the same with the class that struct
 * page names. If the front is full, half of it, the older one, goes to the depot; if
 * that is full too, back to the pools, all under one hold of the lock, where each
 * block must be live or was freed twice. A block of another node goes into the outbox
 * at the end of the front, and from there to its pool with 15 others.
 *
 * A heap without fronts, and a nested user that finds the front busy, takes this way
 * at once: find the pool of p (section 7), take the lock of the cache that owns it,
 * check the slot, clear its bit. The last block of a pool sends the pool back to its
 * arena; the last pool of an arena makes the arena releasable (section 5).
 *
 * Costs that were weighed: busy is counted from -1, as an increment both sets and
 * tests it; slots are checked before the owner, so that the frees of a heap without
 * words in struct page fail without touching it; what is rare (clearing on free, other
 * pages than the provider's, hooks) is no test of its own but a limit of 0 slots or a
 * front that is always busy.
 *
 * Clearing: with init_on_alloc every block is cleared when it is handed out, unless it
 * is virgin and its page came cleared. That is known of a block in a front too: its
 * slot is marked (PYM_ZERO), which costs nothing as every allocation looks then.
 *
 * 5. How memory comes back
 * ------------------------
 * The fullest pools give blocks and the fullest arenas give pools, so that sparse ones
 * are left alone and empty out. A front by itself would defeat that: a free followed
 * by an allocation gives the same scattered block again, for ever. So the pools of a
 * cache that uses less than half of what it holds drain once they are half empty
 * (batch.c): their pages name no owner, and the test that every free makes anyway
 * sends their blocks to the slow path and to their pools. What is not drained pays
 * nothing. Of sparse pools, those of one arena are filled first.
 *
 * Free pools go back at once if there are more than order->keep by a 32nd part of all
 * there are: whole arenas first, then single pages of the sparsest. Nothing is kept to
 * begin with, and one pool more for each that was given back and then missed, so a
 * working set that comes and goes meets no cliff. A provider that cannot take single
 * pools back gets idle arenas, by the same rule. What is free otherwise is looked at by
 * the heap's tick (decay.c), every pym_decay_ms as long as there is anything: pools that
 * were free all the time since the last tick go, down to pym_kept_pools(), and are not
 * kept any more. The low-water mark needs no other constant: what a period of use has
 * needed stays for the next one. Fronts and depots that nobody has
 * touched for two ticks are emptied, each front by an interrupt on its CPU, and closed:
 * a closed front has no slots, so that the first block that is to go into it takes the
 * slow path, opens it and has a tick again. Hence neither the fast path nor an idle
 * CPU whose front is closed ever hears of ticks.
 * The shrinker does not wait for ticks. On its own accord nobody but those two gives
 * back; both hold heap->reclaim, as destroy and reset do for what they forget.
 *
 * 6. Invariants (verify.c checks them by these names)
 * ---------------------------------------------------
 *	pool-state	section 3's table holds for state, owner, lists, masks
 *	pool-count	popcount(bits) = live; no bit at or above carved;
 *			live + free + virgin = capacity
 *	pool-used	0 < live < capacity, on the list of its node and fullness
 *	pool-full	live = carved = capacity, on cache->full once
 *	pool-empty	live = 0
 *	pool-limbo	live = 0, and the cache is typesafe
 *	pool-drain	a pool that drains is used, or in limbo, and its pages name no
 *			owner; those of another name who owns it, NULL if nobody
 *	arena-order	an arena with n > 0 free pools is in bucket n of its order
 *			and nowhere else, with none it is in no bucket; a bucket's
 *			bit is set exactly when the bucket is not empty
 *	arena-free	virgin is in free, free is in present, and the free mask
 *			agrees with the pools
 *	arena-spare	at most pym_spare_arenas() wholly free arenas per order, where
 *			pools cannot go back alone
 *	order-low	low <= free
 *	arena-partition	a cache's pools are in arenas of its partition
 *	lookup		first and last byte of every pool lead to it, and the
 *			bytes around it do not
 *	cache-count	the cache's pools, live and carved are sums over its pools
 *	heap-count	the heap's present, free and virgin pools are sums over
 *			its arenas; pass-through bytes are the sum over its records
 *			(a block in a front or the depot is live to its pool)
 *	front		a closed front is empty, another has at most front_cap blocks;
 *			a depot has at most PYM_DEPOT_BATCHES batches
 *	shadow		a free slot of a shadow has no record of a block; the slots held
 *			back are the sum over the records; a frozen pool is full; its
 *			guarded blocks and free areas are as many as the tree has
 *	ledger		in blocks + rounding + free + virgin + empty pools +
 *			metadata + pass-through + in flight = held
 *	limit		held <= limit
 * That virgin memory stays untouched, and that a failing provider leaves nothing
 * behind, cannot be seen from a state; tests with their own provider prove both.
 *
 * 7. From an address to its pool
 * ------------------------------
 * The pages of the `pages' provider name their owner in struct page's private word,
 * and their pool in lru.next beside it. So a free that passes costs one cache line of
 * metadata. A foreign page may hold anything in both words. The fast path of a cache
 * compares the first with the cache it was told. That of pym_free() was told nothing:
 * there the word is the class mixed with a secret, and lru.prev must be the class
 * itself, before anything behind it is believed. The slow path believes the pointer to
 * the pool if what it names can be read (fault-safely, as all of this is) and carries
 * a cookie made from its own address and a secret, and if that pool contains the
 * address. An address must be in the kernel's half before its struct page is looked
 * for: a fault on an address of user space is an oops in spite of an exception table.
 * Memory of any other provider, vmalloc included, is in an xarray indexed by page
 * number: it needs no struct page and no walk of page tables that others may be
 * changing. The memory a foreign pointer points at is never read.
 * Descriptors are freed after an RCU grace period, and every lookup is made
 * under rcu_read_lock(), so a bad free may race with anything.
 *
 * 8. Locks, outermost first
 * -------------------------
 *	slab_mutex	mutex: heaps made for kmem_cache's names, and the caches in them
 *	pym_registry	mutex: the list of heaps, the caches of each, names;
 *			never taken by allocation or free
 *	heap->reclaim	mutex: the heap does not forget or lose its arenas meanwhile, nor
 *			gives anything back but through who holds it. The shrinker
 *			only tries for both mutexes
 *	cache->lock	raw spinlock, irqs off: the cache's lists, counters, and the
 *			insides of the pools it owns
 *	shard->lock	raw spinlock, irqs off: pass-through records by address
 *	filling.lock	raw spinlock, irqs off: the blocks freed on a CPU that wait for
 *			RCU readers; a leaf
 *	guards.lock	raw spinlock, irqs off: the tree of guarded blocks, and who has
 *			each; inside cache->lock, a leaf
 *	heap->lock	raw spinlock, irqs off: arenas, masks, buckets, the ledger,
 *			pass-through records by heap
 * cache->lock and shard->lock are never held together. A pool's owner changes
 * with both cache->lock and heap->lock held, so either is enough to read it
 * reliably; after a lockless read it is read again under cache->lock.
 * With any of the raw locks held: no provider, no kmalloc, no constructor, no
 * callback, no printing. Each is held for a bounded number of steps, which is
 * why they may be raw on PREEMPT_RT.
 *
 * 9. Contexts
 * -----------
 * Task, softirq and hardirq may allocate and free. What a free makes
 * releasable is given back at once if the provider is atomic, else by a work
 * item. NMI: allocation gives what the front has, or a block of a used pool if the
 * cache's lock is free, else NULL; a free goes to the front, or waits for an irq_work
 * that the NMI raises.
 * A front is used by its CPU alone, with preemption off and its busy byte set. An
 * interrupt that finds the byte set goes to the pools instead; one that comes
 * before it is set is done before we go on, which is why n is read after. Between
 * setting and clearing it nothing faults or calls out, but in kernels with KASAN, whose
 * own memory is read, with care, and written there. Other CPUs ask for a front
 * to be emptied by an IPI, or empty it themselves when its CPU is dead.
 * PREEMPT_RT with preemption off: what the pools have, never new memory, since
 * the page allocator takes sleeping locks there.
 *
 * 10. Differences from CPython, and why
 * -------------------------------------
 * - 8-byte classes (the kernel's minimum alignment), 4 KiB pools, 256 KiB
 *   arenas: a pool is a page, so it can be given back alone.
 * - State is out of line, nothing of ours is in a block: an overflow cannot
 *   steer the allocator, powers of two pack fully and are naturally aligned.
 * - Ordered buckets and a bitmap instead of a list with search fingers: the same
 *   O(1), fewer invariants.
 * - An arena may have holes (ABSENT pools): without a high-order block an arena
 *   is populated pool by pool, so fragmentation never fails an allocation.
 * - First arenas are small (16 pages, then 32, then 64): a heap with one block
 *   must not cost 256 KiB. Those of larger pools are an eighth of what there is.
 * - Classes go on to 2 KiB in larger steps, see sizeclass.h: above 512 bytes kmalloc()
 *   rounds up most, and a block that passes through needs a record. CPython's threshold
 *   is an option of the heap.
 * - Ownership is proved through struct page or the index, never by reading
 *   memory that may be somebody else's.
 * - Within a cache the fullest pool gives first, to within a factor of two; CPython
 *   takes the last one that was full.
 * - The limit is hard and counts everything; pass-through blocks are known.
 * - A failing shrinking realloc returns the old block: it is large enough.
 *
 * 11. Which file shows which number: see debugfs.c; the sums are ledger.c's.
 *
 * 12. Shadows: what can be switched on while a cache is in use
 * -------------------------------------------------------------
 * Red zones need another layout than the blocks that are live already have, and a
 * test on the fast path is what nobody would pay for. So a cache for which something
 * is switched on gets a shadow: a hidden cache of the same heap, with a stride, pools
 * and records of its own, and without fronts. From then on cache->shadow serves every
 * allocation. The fronts of the cache are hidden from the fast path, as hooks hide
 * those of classes, and drained, so that every call takes the slow path, which asks
 * for the shadow. Frees need no switch: each pool knows whose it is, and the pages of a
 * shadow's pools name no owner, as those of a pool that drains, which the fast path
 * fails at. So blocks of all layouts are live beside each other, each is freed by the
 * rules it was made under, and a race with a switch decides no more than under which
 * one a block is made. Another set of switches is another shadow; the old one is freed
 * once it has no pool (pym_shadow_sweep(), by ticks and switches).
 *
 * A record for each slot is in one piece with the bitmap of its pool: state, bytes asked
 * for, stacks and tasks. Nothing of it is near the block, so no overflow reaches it.
 *	FREE	the bit is clear, or an allocation has just set it
 *	LIVE	a user's; the only one that may be freed: a second free of a block that is
 *		in quarantine, or being freed, is a double free at once
 *	GOING	of whoever frees or checks it: bytes are looked at and written without a
 *		lock, as the bit that is set keeps the pool
 *	HELD	in quarantine, or of a frozen pool; live to its pool, and `cached' in
 *		statistics, as what is in fronts is
 * Free blocks are checked when they are to be used again, when they leave the quarantine,
 * and when their pool is left: by the free of its last block, before it (let_go()). That
 * is done slot by slot under the lock, as an allocation may come meanwhile.
 * Freezing a pool is to make all of its slots live, and nobody's: then it is a full
 * pool like others, and what is freed in it is HELD.
 *
 * What is different under a shadow: blocks of pym_malloc() have the size that was asked
 * for, if there are red zones, and pym_realloc() moves them always. If a shadow gets
 * no memory, its quarantine is let out, and then the cache's own pools serve: switches
 * make no allocation fail. They serve in an NMI as well; such blocks are not watched.
 * A cache with a constructor, or a typesafe one, cannot have poison, as in SLUB: its free
 * blocks keep what is in them. Red zones are refused where the stride would be above
 * PYM_CACHE_MAX_SIZE. What a heap switches on is for those of its caches that can have
 * it; a class is made with it, or if there is no memory for that, without.
 *
 * With guard=1/N, one allocation in N gets a block at the end of an area of its own from
 * __vmalloc(), who leaves a page behind each area unmapped. A counter with a random start
 * says whose turn it is. What is between the area and the block is filled, and looked at
 * by the free, which also knows a guarded block that is freed twice, not at its start or
 * to another cache. Then the area's pages are taken out of the page tables (trap.c) while
 * the addresses stay the area's: at once for this CPU, for others by an interrupt if the
 * context allows it, else by a work item. The last 32 areas freed are kept so, and given
 * back by vfree() (area.c), in the work item if need be. A guarded block is of no pool:
 * who does not find a pool asks for one (guard.c, a tree by address). It counts as live,
 * in the ledger as `in blocks', the rest of its area as rounding, that of a free one as free, its
 * record as metadata. An allocation that may not sleep, that insists on a node or that
 * there is no area for is served from the pools, and counted; all areas together take no
 * more than a quarter of the heap's limit. The memory is not
 * the provider's, nor in one piece. Without means to do so (not x86-64) nothing is taken
 * out of page tables: the area is given back at its free. If the kernel stops with an
 * oops over a guarded block, a die notifier reports which (pym_guard_tell()). A
 * typesafe cache can have none: readers look at its free blocks.
 *
 * cache->shadow and heap->switches are heeded under an SRCU read lock, by who
 * allocates and by who makes a class; who changes them waits for both. A mutex outside
 * pym_registry serializes changes, and is held over that wait; the registry is not,
 * as an allocation that is waited for may be in a provider who wants it.
 *
 * 13. KASAN and kmemleak
 * ----------------------
 * A kernel with KASAN_GENERIC knows each block of the `pages' and the vmalloc provider.
 * What nobody may touch has 0xfb in KASAN's own memory where a block is free, and 0xfc
 * where there is none: behind the bytes that were asked for, and in what was never
 * handed out. Blocks are opened before we touch them, a constructor included, and cut to
 * size when they are handed out; they are shut before anybody else can have them. An
 * allocation is never finished in line there, as that is where it happens. A free block
 * of a typesafe cache stays open until its pool goes. Strides are those of other
 * kernels: a block that fills its slot has no red zone behind it, so what reaches into
 * the next one is seen if that is not live. The pools of shadows are open: red zones
 * and poison can be switched on there.
 *
 * One with DEBUG_KMEMLEAK knows each block that has a user, whichever provider it is of:
 * from the moment it is handed out until it is freed, or its pool is lost at the end of
 * its cache or heap. So what only such a block points to is no leak, and a block that
 * nobody points to is one. What of ours points to blocks that have users is not looked at:
 * arenas and pools, for the first block is where the pool is; fronts and depots, whose
 * unused slots still have the addresses of what was there; records of what passes
 * through. The area of a vmalloc arena is taken out, as two objects must not overlap. An
 * NMI can tell nobody: frees wait for an interrupt there, and what is allocated is trusted.
 *
 * 14. What outlives its use
 * -------------------------
 * The descriptors of the last caches and heaps that were destroyed are kept (dead.c), and
 * are nothing but a name and a flag: no fronts, no pools, no arenas. The fast path finds
 * pym_no_front there, and every slow path asks for the flag before anything else. So
 * cache->heap is not to be followed before pym_cache_ok() has been asked.
 * A module that is unloaded may leave caches and heaps behind (consumer.c). Whatever
 * points into it is replaced before its memory goes; blocks may be somebody's yet, so
 * they stay. Hooks are dropped without pym_registry, as their SRCU waits for hooks that
 * may want it.
 *
 * 15. Failures on demand
 * ----------------------
 * Wherever memory is obtained, or may be refused, pym_may_fail() is asked first: a static
 * branch, on while the file `fail' in debugfs says that something is to fail. What it says
 * is one object, replaced as a whole under a mutex of fail.c's own and read under RCU; its
 * counts are atomic. No path that a front serves has a site. A site is where the kernel
 * could have said no, so that what follows is what would follow then.
 *
 * 16. Trace events
 * ----------------
 * Each is a tracepoint with its own static key. Those of allocations and frees are on the
 * slow paths only: while one of them is on, pym_front_hidden() is true of every cache, as
 * it is of one with a shadow, and the fast path finds pym_no_front. The fronts themselves
 * go on serving, by the slow paths. The kernel calls pym_trace_calls() and
 * pym_trace_no_calls() with its own mutex of tracepoints held, which is outside of
 * pym_registry.
 *
 * 17. kmem_cache's names
 * ----------------------
 * slab_compat.h gives a module that was written for kmem_cache our functions under those
 * names; slab.c is what of that is not in line. kfree() of such a module may have a block
 * of ours or the kernel's memory: the index tells, as it does of any address, and a free
 * in our pools of what is not live is a report, never the kernel's. What has passed
 * through is ours while it is live only. A heap that was named and not made is counted
 * by its caches.
 *
 * 18. Files, in dependency order
 * ------------------------------
 * What looks upward is the limit's callback, the names and observers of heap.c for caches,
 * and the hooks that a dying heap drops:
 *
 *	sizeclass.h types.h fail.h kasan.h kmemleak.h kasan.c kmemleak.c report.c fail.c
 *	dead.c pool.c provider.c account.c arena.c reclaim.c grow.c front.h batch.c front.c
 *	depot.c decay.c alloc.c free.c rcu.c shadow.h guard.h owner.c pattern.c trap.c area.c
 *	guard.c shadow.c switch.c debug.c cache.c large.c heap.c shrinker.c hooks.c malloc.c slab.c
 *	ledger.c verify.c map.c debugfs.c trace.c consumer.c main.c
 *
 * Shadows look downward, at pools and at alloc.c; the slow paths, caches and ticks
 * look up at them and at guards.
 */
#ifndef _PYM_INTERNAL_H
#define _PYM_INTERNAL_H

#include <linux/mm.h>
#include "fail.h"
#include "types.h"

#undef pr_fmt
#define pr_fmt(fmt) "pymalloc: " fmt

/* ------------------------------------------------------------- report.c -- */

enum pym_misuse {
	PYM_MISUSE_DOUBLE_FREE,		/* a slot of ours that is not live */
	PYM_MISUSE_INTERIOR,		/* inside a block, not at its start */
	PYM_MISUSE_FOREIGN,		/* not an address of ours */
	PYM_MISUSE_WRONG_CACHE,
	PYM_MISUSE_WRONG_HEAP,
	PYM_MISUSE_WRONG_API,		/* cache block to pym_free() or vice versa */
	PYM_MISUSE_BAD_GFP,
	PYM_MISUSE_ZERO_CTOR,
	PYM_MISUSE_BAD_ARG,
	PYM_MISUSE_LEAK,
	PYM_MISUSE_NMI,			/* too many frees in one NMI */
	PYM_MISUSE_PROVIDER,		/* a provider broke its contract */
	PYM_MISUSE_OVERFLOW,		/* bytes beside a block were written */
	PYM_MISUSE_USE_AFTER,		/* a block was written after its free */
	PYM_NR_MISUSE
};

extern const char * const pym_misuse_names[PYM_NR_MISUSE];
unsigned long pym_misuse_count(enum pym_misuse kind);
__printf(3, 4) bool pym_report(enum pym_misuse kind, unsigned long ip, const char *fmt, ...);

/* --------------------------------------------------------------- pool.c -- */

/* Slots of a pool that are live. Lock: as the pool's insides. */
static inline unsigned long *pym_pool_bits(struct pym_pool *pool)
{
	return pool->bits_cap ? pool->bits : &pool->word;
}

static inline bool pym_pool_has_room(const struct pym_pool *pool, unsigned int capacity)
{
	return pool->bits_cap ? capacity <= pool->bits_cap : capacity <= BITS_PER_LONG;
}

/*
 * A block that nobody has yet, and what is known of it, in one word; blocks are
 * aligned to 8 bytes. PYM_ZERO says that it reads as zero; in a front and its depot
 * it is used only with init_on_alloc, when every allocation looks at it, and
 * PYM_CARVED never.
 */
#define PYM_CARVED	2UL		/* it is handed out for the first time */
#define PYM_MARKS	3UL

static inline void *pym_unmarked(const void *marked)
{
	return (void *)((unsigned long)marked & ~PYM_MARKS);
}

static inline bool pym_marked(const void *marked, unsigned long mark)
{
	return (unsigned long)marked & mark;
}

/* Why an address cannot be freed. */
enum pym_slot {
	PYM_SLOT_LIVE,
	PYM_SLOT_FREE,
	PYM_SLOT_VIRGIN,
	PYM_SLOT_INTERIOR,
};

void pym_pool_assign(struct pym_pool *pool, struct pym_cache *cache);
unsigned int pym_pool_pop(struct pym_pool *pool, struct pym_cache *cache, void **marked,
			  unsigned int n);
enum pym_slot pym_pool_slot(struct pym_pool *pool, const struct pym_cache *cache,
			    const void *p, unsigned int *slot);

/* ----------------------------------------------------------- provider.c -- */

bool pym_provider_allowed(const struct pym_heap *heap, gfp_t gfp);
void *pym_provider_alloc(struct pym_heap *heap, size_t size, gfp_t gfp, int nid, bool *zeroed);
void pym_provider_free(struct pym_heap *heap, void *addr, size_t size);
void pym_provider_split(struct pym_heap *heap, void *addr, size_t size);
int pym_pool_map(struct pym_pool *pool, gfp_t gfp);
void pym_pool_unmap(struct pym_pool *pool);
struct pym_pool *pym_lookup(const void *p);
u32 pym_pool_cookie(const struct pym_pool *pool);
size_t pym_index_cost(const struct pym_heap *heap, size_t bytes);
long pym_provider_outstanding(void);
void pym_provider_init(void);
void pym_provider_exit(void);

static inline size_t pym_arena_pool_size(const struct pym_arena *arena)
{
	return pym_pool_size(arena->order);
}

/* Memory may be obtained: the allocators below us take sleeping locks on RT. */
static inline bool pym_may_obtain(void)
{
	return !in_nmi() && (!IS_ENABLED(CONFIG_PREEMPT_RT) || preemptible());
}

/* The same for who is about to, who may be told otherwise. */
static inline bool pym_may_obtain_for(const struct pym_heap *heap)
{
	return pym_may_obtain() && !pym_may_fail(PYM_FAIL_CONTEXT, heap->name);
}

/* Sleeping is allowed here, as far as can be known without a gfp mask. */
static inline bool pym_may_sleep(void)
{
	return preemptible() && !rcu_preempt_depth();
}

/*
 * What is in struct page of our pages, besides the pool in lru.next:
 *
 *	owner		private			lru.prev
 *	none		PYM_NO_OWNER		NULL
 *	named cache	the cache		NULL
 *	size class	the cache ^ secret	the cache
 *
 * A foreign page may have any of that but the last.
 */
#define PYM_NO_OWNER	1UL

/* See page_of(). */
#define PYM_LINEAR_PAGES \
	(PYM_X86_64 && sizeof(struct page) == 64 && \
	 (IS_ENABLED(CONFIG_SPARSEMEM_VMEMMAP) || IS_ENABLED(CONFIG_FLATMEM)))

/* Constants of the running kernel, in one line. */
struct pym_direct {
	unsigned long start;		/* of the direct map */
	unsigned long size;		/* of the part that may have a struct page */
	unsigned long first;		/* struct page of start */
	unsigned long base;		/* the same for address 0, would it be mapped */
	unsigned long secret;		/* see above */
};
extern struct pym_direct pym_direct;
bool pym_heap_indexed(const struct pym_heap *heap);
void pym_pool_set_owner(struct pym_pool *pool, struct pym_cache *owner);

/* ------------------------------------------------------------ account.c -- */

bool pym_charge(struct pym_heap *heap, size_t bytes);
void pym_shift(struct pym_heap *heap, size_t bytes, size_t *from, size_t *to);
void pym_commit(struct pym_heap *heap, size_t bytes, size_t *part);
void pym_uncharge(struct pym_heap *heap, size_t bytes, size_t *part);
void pym_uncharge_locked(struct pym_heap *heap, size_t bytes, size_t *part);
gfp_t pym_meta_gfp(gfp_t gfp);
/* or ERR_PTR() */
void *pym_meta_alloc(struct pym_heap *heap, enum pym_fail site, size_t size, gfp_t gfp);
void pym_meta_free(struct pym_heap *heap, const void *p, size_t size);
bool pym_pools_are_pages(unsigned int npools);
size_t pym_pools_bytes(unsigned int npools);
struct pym_pool *pym_pools_alloc(unsigned int npools, gfp_t gfp);
void pym_pools_free(struct pym_pool *pools, unsigned int npools);

/* -------------------------------------------------------------- arena.c -- */

/* A bitmap in hand, for a pool that needs more than a word. */
struct pym_spare_bits {
	unsigned long *bits;
	u16 cap;
};

static inline u64 pym_arena_all(const struct pym_arena *arena)
{
	return GENMASK_ULL(arena->npools - 1, 0);
}

bool pym_arena_place(struct pym_heap *heap, struct pym_order *order, struct pym_arena *arena);
void pym_arena_retire(struct pym_heap *heap, struct pym_order *order,
		      struct pym_arena *arena);
void pym_arena_free_rcu(struct rcu_head *rcu);
/* Can free pools go back alone? Those of an isolated cache rest together. */
static inline bool pym_can_split(const struct pym_heap *heap)
{
	return heap->provider->flags & PYM_PROVIDER_SPLIT && !pym_isolates(heap);
}

extern unsigned int pym_decay_ms;

/* And do they, if there are too many? Else idle arenas do. */
static inline bool pym_gives_pools(const struct pym_heap *heap)
{
	return pym_can_split(heap) && READ_ONCE(pym_decay_ms);
}

/* Free pools of an order that are never given back but when asked for: 16 KiB. */
static inline unsigned int pym_kept_pools(unsigned int order)
{
	return max(SZ_16K / pym_pool_size(order), 1UL);
}

/*
 * Are there so many free pools that some go back at once? Not counting those that have
 * not been used yet, and by so much more than what is kept that it is mostly arenas
 * that have become idle by then. Read without a lock too: an estimate.
 */
static inline bool pym_order_excess(const struct pym_order *order)
{
	return READ_ONCE(order->free) - READ_ONCE(order->virgin) >
	       READ_ONCE(order->keep) + clamp(READ_ONCE(order->present) / 32, 4UL, 64UL);
}

/* Idle arenas that are kept where pools do not go back alone. */
static inline unsigned int pym_spare_arenas(const struct pym_order *order, unsigned int nr)
{
	return PYM_SPARE_ARENAS + order->keep / pym_arena_pools(nr);
}

void pym_order_given(struct pym_order *order, unsigned int n);
void pym_order_obtained(struct pym_order *order, unsigned int n);

struct pym_pool *pym_pool_take(struct pym_cache *cache, int nid, struct pym_spare_bits *spare);
bool pym_pool_put(struct pym_pool *pool);

/* ------------------------------------------------------------ reclaim.c -- */

void pym_heap_reap(struct pym_heap *heap);
size_t pym_heap_trim(struct pym_heap *heap);
void pym_heap_retire_arenas(struct pym_heap *heap);
void pym_heap_release_arenas(struct pym_heap *heap);
void pym_heap_init_arenas(struct pym_heap *heap);
void pym_heap_exit_arenas(struct pym_heap *heap);

size_t pym_heap_give_back(struct pym_heap *heap, struct pym_order *order, unsigned int n,
			  bool virgin);
bool pym_heap_can_give(const struct pym_heap *heap, struct pym_order *order, unsigned int n);
size_t pym_heap_reap_now(struct pym_heap *heap);

/* --------------------------------------------------------------- grow.c -- */

int pym_heap_grow(struct pym_heap *heap, unsigned int partition, unsigned int order, gfp_t gfp,
		  int nid);

/* -------------------------------------------------------------- decay.c -- */

void pym_decay_arm(struct pym_heap *heap);
void pym_decay_init_heap(struct pym_heap *heap);
void pym_decay_exit_heap(struct pym_heap *heap);

/* ----------------------------------------------------------- consumer.c -- */

void pym_consumer_gone(const struct module *mod);
int pym_consumer_init(void);
void pym_consumer_exit(void);

/* --------------------------------------------------------------- dead.c -- */

void pym_cache_bury(struct pym_cache *cache);
void pym_heap_bury(struct pym_heap *heap);
bool pym_bad_cache(const struct pym_cache *cache, const char *what, unsigned long ip);

/* Is this a cache that can be used for @what? If not, it is told. */
static inline bool pym_cache_ok(const struct pym_cache *cache, const char *what, unsigned long ip)
{
	return likely(cache && !READ_ONCE(cache->gone)) || pym_bad_cache(cache, what, ip);
}


bool pym_heap_ok(const struct pym_heap *heap, const char *what, unsigned long ip);
void pym_dead_exit(void);

/* ------------------------------------------------------------- shrinker.c -- */

extern struct shrinker *pym_shrinker;
int pym_shrinker_init(void);
void pym_shrinker_exit(void);

/* -------------------------------------------------------------- batch.c -- */

unsigned int pym_batch_pop(struct pym_cache *cache, int nid, unsigned int n, unsigned int handed,
			   void **marked, struct pym_spare_bits *spare, int *err);
bool pym_batch_trypop(struct pym_cache *cache, int nid, void **marked);
struct pym_pool *pym_cache_any_used(struct pym_cache *cache);
void pym_cache_init_used(struct pym_cache *cache);
bool pym_pool_clear(struct pym_pool *pool, struct pym_cache *cache, unsigned int slot);
void pym_pool_fill(struct pym_pool *pool, struct pym_cache *cache);
bool pym_batch_return(struct pym_cache *cache, void **blocks, unsigned int n);
struct pym_heap *pym_pool_free(struct pym_pool *pool, struct pym_cache *cache,
			       const void *p, unsigned long ip);
void pym_report_block(enum pym_misuse kind, const char *what, struct pym_pool *pool,
		      const void *p, unsigned long ip);

/* -------------------------------------------------------------- trace.c -- */

#ifdef CONFIG_TRACEPOINTS
extern unsigned int pym_trace_users;	/* of events of calls; guarded by pym_registry */

/* Must every allocation and free come by its event? */
static inline bool pym_traced(void)
{
	return unlikely(READ_ONCE(pym_trace_users));
}
#else
static inline bool pym_traced(void)
{
	return false;
}
#endif

int pym_trace_calls(void);
void pym_trace_no_calls(void);

/* -------------------------------------------------------------- front.c -- */

DECLARE_PER_CPU(struct pym_front, pym_no_front);
unsigned int pym_front_cap(size_t stride);

/* Must the fast path keep away from the fronts of a cache? */
static inline bool pym_front_hidden(const struct pym_cache *cache)
{
	return READ_ONCE(cache->shadow) || pym_traced() ||
	       (cache->is_class && READ_ONCE(cache->heap->hooked));
}

void pym_front_create(struct pym_cache *cache, gfp_t gfp);
void pym_front_publish(struct pym_cache *cache);
void pym_front_destroy(struct pym_cache *cache);
void pym_front_forget(struct pym_cache *cache);
u64 pym_front_sum(const struct pym_cache *cache, unsigned long *cached, u64 *frees);
unsigned int pym_front_put(struct pym_cache *cache, void **marked, unsigned int n,
			   unsigned long marks);
size_t pym_front_take(struct pym_cache *cache, void **blocks, size_t n);
unsigned int pym_front_give(struct pym_cache *cache, void **blocks, unsigned int n);
bool pym_front_push(struct pym_cache *cache, void *block);
bool pym_front_has_on_top(struct pym_cache *cache, const void *block);

/* -------------------------------------------------------------- depot.c -- */

/* Blocks of other nodes that are gathered before they go home. */
#define PYM_OUTBOX		16

bool pym_front_from_depot(struct pym_cache *cache);
bool pym_front_flush(struct pym_cache *cache);
bool pym_front_make_room(struct pym_cache *cache);
bool pym_front_send_home(struct pym_cache *cache, void *block, bool *reap);
void pym_front_drain(struct pym_cache *cache);
bool pym_front_decay(struct pym_cache *cache);
bool pym_front_refresh(struct pym_cache *cache);
void pym_front_return(struct pym_cache *cache);
void pym_front_drain_cpu(struct pym_cache *cache, unsigned int cpu);
int pym_front_init(void (*drain_cpu)(unsigned int cpu));
void pym_front_exit(void);

/* -------------------------------------------------------------- alloc.c -- */

/* Zone bits choose memory that a shared pool cannot promise. */
#define REFUSED_GFP	GFP_ZONEMASK

bool pym_bad_gfp(gfp_t *gfp, unsigned long ip);

/* Are the flags of a request good? If not, it is told, and they may be changed. */
static inline bool pym_gfp_ok(gfp_t *gfp, unsigned long ip)
{
	might_alloc(*gfp);
	if (likely(!(*gfp & REFUSED_GFP)) &&
	    (!gfpflags_allow_blocking(*gfp) || likely(preemptible())))
		return true;
	return pym_bad_gfp(gfp, ip);
}


void *pym_take_block(struct pym_cache *cache, gfp_t gfp, int nid);
void *pym_alloc_slow(struct pym_cache *cache, size_t n, gfp_t gfp, unsigned long ip);
void *pym_alloc_finish(struct pym_cache *cache, gfp_t gfp, void *marked, unsigned long ip);

/* --------------------------------------------------------------- free.c -- */

/* Frees in NMIs that can wait on a CPU at a time. */
#define PYM_DEFERRED		64

struct pym_pool *pym_find_block(struct pym_cache *cache, const void *p, unsigned long ip);
void pym_cache_free_from(struct pym_cache *cache, void *block, unsigned long ip);
void pym_free_later(struct pym_cache *cache, const void *p, unsigned long ip);
void pym_free_sync(void);
void pym_free_init(void);
struct pym_heap *pym_free_to_front(struct pym_cache *cache, struct pym_pool *pool,
				   void *p, unsigned long ip);

/* ---------------------------------------------------------------- rcu.c -- */

void pym_limbo_add(struct pym_cache *cache, struct pym_pool *pool);
struct pym_pool *pym_limbo_take(struct pym_cache *cache, int nid);
void pym_cache_free_rcu_from(struct pym_cache *cache, void *block, unsigned long ip);
void pym_rcu_init_cache(struct pym_cache *cache);
void pym_rcu_sync(struct pym_cache *cache);
int pym_rcu_init(void);
void pym_rcu_exit(void);

/* ------------------------------------------------------------- shadow.c -- */

void *pym_shadow_alloc(struct pym_cache *cache, size_t n, gfp_t gfp, int nid,
		       unsigned long ip);
struct pym_heap *pym_shadow_free(struct pym_cache *shadow, struct pym_pool *pool,
				 const void *p, unsigned long ip);
bool pym_shadow_find(struct pym_cache *shadow, struct pym_pool *pool, const void *p,
		     size_t *size);
void pym_shadow_tell(struct pym_cache *shadow, struct pym_pool *pool, const void *p);
bool pym_at_slot(struct pym_pool *pool, struct pym_cache *cache, const void *p);
bool pym_shadow_flush(struct pym_cache *shadow);
void pym_shadow_check(struct pym_cache *shadow);
const char *pym_shadow_verify(struct pym_cache *shadow, struct pym_pool *pool);
unsigned int pym_shadow_held(struct pym_cache *shadow, struct pym_pool *pool);

/* -------------------------------------------------------------- guard.c -- */

struct pym_record;
extern atomic_t pym_guards;

/* Is it worth looking whether an address is of a guarded block? */
static inline bool pym_may_be_guarded(const void *p)
{
	return unlikely(atomic_read(&pym_guards)) && is_vmalloc_addr(p);
}

struct pym_cache *pym_guard_owner(const void *p);
bool pym_guard_find(const void *p, struct pym_cache **shadow, size_t *size);
bool pym_guard_check(const struct pym_cache *cache, const void *p, unsigned long ip, bool *ok);
bool pym_guard_free(struct pym_cache *cache, const void *p, unsigned long ip);
void pym_guard_drop(struct pym_cache *cache);
bool pym_guard_next(void **at, struct pym_cache **shadow, struct pym_record *record);
void pym_guard_count(const struct pym_cache *shadow, struct pym_cache_stats *stats);
void pym_guard_sum(struct pym_heap *heap);
unsigned long pym_guard_listed(const struct pym_cache *shadow);
int pym_guard_init(void);
void pym_guard_exit(void);

/* ------------------------------------------------------------- switch.c -- */

int pym_switches_lock(void);
void pym_switches_unlock(int idx);
void pym_cache_switches(struct pym_cache *cache, struct pym_switches *switches);
int pym_switch_cache(struct pym_cache *cache, const struct pym_switches *switches);
int pym_switch_heap(struct pym_heap *heap, const struct pym_switches *switches);
void pym_shadow_attach(struct pym_cache *cache, gfp_t gfp);
void pym_shadow_detach(struct pym_cache *cache);
void pym_shadow_quiesce(struct pym_cache *cache);
void pym_shadow_leaks(struct pym_cache *cache);
unsigned long pym_shadow_live(struct pym_cache *cache);
void pym_shadow_sweep(struct pym_cache *cache);

/* -------------------------------------------------------------- owner.c -- */

struct seq_file;
int pym_owner_show(struct seq_file *m, struct pym_heap *heap, struct pym_cache *cache);
unsigned long pym_owner_leaks(struct pym_heap *heap, struct pym_cache *cache);

/* -------------------------------------------------------------- debug.c -- */

/* Longest text of all switches. */
#define PYM_SWITCHES_TEXT	96

int pym_switches_parse(char *text, struct pym_switches *switches);
int pym_switches_print(const struct pym_switches *switches, char *text, size_t size);
extern const struct file_operations pym_debug_cache_fops, pym_debug_heap_fops;

/* -------------------------------------------------------------- cache.c -- */

void pym_cache_init(struct pym_cache *cache, struct pym_heap *heap, size_t size,
		    size_t align, size_t stride);
void pym_cache_hide(struct pym_cache *cache);
void pym_cache_read(struct pym_cache *cache, struct pym_cache_stats *stats);
struct pym_cache *pym_class_cache(struct pym_heap *heap, unsigned int class, gfp_t gfp);
void pym_class_publish(struct pym_cache *cache, size_t n);
void pym_cache_show(struct pym_cache *cache);
void pym_cache_quiesce(struct pym_cache *cache);
void pym_cache_count(struct pym_cache *cache, struct pym_cache_stats *stats);
void pym_cache_detach_pools(struct pym_cache *cache);
void pym_cache_forget(struct pym_cache *cache);
void pym_cache_release(struct pym_cache *cache);
void pym_cache_destroy_from(struct pym_cache *cache, unsigned long ip);

/* -------------------------------------------------------------- large.c -- */

void *pym_large_alloc(struct pym_heap *heap, size_t n, gfp_t gfp);
bool pym_large_free(const void *p);
bool pym_large_info(const void *p, struct pym_heap **heap, size_t *size);
bool pym_large_encloses(const void *p, size_t *offset);
unsigned long pym_large_count(struct pym_heap *heap, size_t *bytes);
void pym_large_free_all(struct pym_heap *heap);
void pym_large_init(void);
void pym_large_exit(void);

/* --------------------------------------------------------------- heap.c -- */

extern struct mutex pym_registry;
extern struct list_head pym_heaps;

/* Told of every heap and cache that comes and goes, outside all locks but */
/* never twice at once for the same one; set before the first heap is made. */
struct pym_observer {
	void (*heap_add)(struct pym_heap *heap);
	void (*heap_del)(struct pym_heap *heap);
	void (*cache_add)(struct pym_cache *cache);
	void (*cache_del)(struct pym_cache *cache);
};
extern const struct pym_observer *pym_observer;

bool pym_name_ok(const char *what, const char *name);
int pym_heap_init(void);
size_t pym_heap_exit(void);
void pym_heap_drain_cpu(unsigned int cpu);
void pym_limit_hit(struct pym_heap *heap, size_t wanted);

/* ------------------------------------------------------------- malloc.c -- */

void pym_free_from(const void *p, unsigned long ip);
void *pym_malloc_unhooked(struct pym_heap *heap, size_t n, gfp_t gfp, unsigned long ip);
void *pym_calloc_unhooked(struct pym_heap *heap, size_t n, size_t size, gfp_t gfp,
			  unsigned long ip);
void *pym_realloc_unhooked(struct pym_heap *heap, void *p, size_t n, gfp_t gfp,
			   unsigned long ip);
void pym_free_unhooked(const void *p, unsigned long ip);
void pym_malloc_init(void);

/* -------------------------------------------------------------- hooks.c -- */

DECLARE_STATIC_KEY_FALSE(pym_hooks_key);

/* Does any heap have hooks, and may they be called? SRCU is not for NMI. */
static __always_inline bool pym_has_hooks(void)
{
	return static_branch_unlikely(&pym_hooks_key) && !in_nmi();
}

void *pym_hooked_malloc(struct pym_heap *heap, size_t n, gfp_t gfp, unsigned long ip);
void *pym_hooked_calloc(struct pym_heap *heap, size_t n, size_t size, gfp_t gfp,
			unsigned long ip);
void *pym_hooked_realloc(struct pym_heap *heap, void *p, size_t n, gfp_t gfp,
			 unsigned long ip);
void pym_hooked_free(const void *p, unsigned long ip);
void pym_hooks_drop(struct pym_heap *heap);
void pym_hide_classes(struct pym_heap *heap);

/* --------------------------------------------------------------- slab.c -- */

void pym_slab_exit(void);

/* ------------------------------------------------------------- ledger.c -- */

bool pym_heap_ledger(struct pym_heap *heap, struct pym_heap_stats *stats);

/* ------------------------------------------------------------- verify.c -- */

typedef void (*pym_verify_fn)(void *ctx, const char *invariant, const char *where);
unsigned int pym_heap_verify(struct pym_heap *heap, pym_verify_fn broken, void *ctx);
unsigned int pym_verify_all(pym_verify_fn broken, void *ctx);

/* ------------------------------------------------------------ debugfs.c -- */

extern const struct pym_observer pym_debugfs_observer;
void pym_debugfs_header(struct seq_file *m, const char *file);
void pym_debugfs_init(void);
void pym_debugfs_exit(void);

/* ---------------------------------------------------------------- map.c -- */

int pym_arenas_show(struct seq_file *m, void *unused);
int pym_map_show(struct seq_file *m, void *unused);
int pym_pools_show(struct seq_file *m, void *unused);

#endif /* _PYM_INTERNAL_H */
