/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Pure arithmetic: request size <-> size class <-> blocks per pool.
 * No state, no locks; everything here is a function of its arguments.
 */
#ifndef _PYM_SIZECLASS_H
#define _PYM_SIZECLASS_H

#include <linux/build_bug.h>
#include <linux/kernel.h>
#include <linux/log2.h>
#include <linux/math64.h>
#include <linux/mm.h>
#include <pymalloc/pymalloc.h>

#define PYM_ALIGN_SHIFT		3
#define PYM_ALIGN		8UL

/*
 * A pool holds at least this many blocks, and is the smallest power-of-two
 * number of pages that does. 8 blocks of 512 bytes are one page exactly.
 */
#define PYM_POOL_MIN_BLOCKS	8
#define PYM_NR_ORDERS		7

/*
 * Size classes are 8 bytes apart up to PYM_FINE_MAX. Above, they are the sizes of
 * which 15, 14, ... 8 make a pool, whose size doubles as theirs does:
 *
 *	544  584  624  680  744  816  904 1024		in 8 KiB
 *	1088 1168 1256 1360 1488 1632 1816 2048		in 16 KiB
 *
 * So what a block is rounded up by is all that is lost, 5 % on average: a pool's
 * tail is 1 % at most. Steps of 1/16 would round up by half of that, but their pools
 * would have tails of 5 %, or be larger, and twice as many of them be half empty.
 */
#define PYM_FINE_MAX		512
#define PYM_NR_FINE		(PYM_FINE_MAX >> PYM_ALIGN_SHIFT)
#define PYM_NR_CLASSES \
	(PYM_NR_FINE + PYM_POOL_MIN_BLOCKS * ilog2(PYM_SMALL_MAX / PYM_FINE_MAX))

/* Caches of a heap that isolates them: its classes, and those with names. */
#define PYM_NR_PARTITIONS	256	/* what PYM_HEAP_ISOLATE promises */
static_assert(PYM_NR_CLASSES < PYM_NR_PARTITIONS);

/* Bytes that the classes after PYM_FINE_MAX << n divide. */
#define PYM_CLASS_POOL(n)	((size_t)2 * PYM_POOL_MIN_BLOCKS * PYM_FINE_MAX << (n))

/* More blocks than this do not occur: 8-byte blocks in a one-page pool. */
#define PYM_POOL_MAX_BLOCKS	(PAGE_SIZE >> PYM_ALIGN_SHIFT)

/* An arena is at most this many pools, so that a set of pools is one word. */
#define PYM_ARENA_MAX_POOLS	64
#define PYM_ARENA_MAX_PAGES	256

static_assert(PYM_ALIGN >> PYM_ALIGN_SHIFT == 1);
static_assert(PYM_SMALL_MAX == PYM_FINE_MAX << ilog2(PYM_SMALL_MAX / PYM_FINE_MAX));
static_assert((PAGE_SIZE << (PYM_NR_ORDERS - 1)) >=
	      (unsigned long)PYM_CACHE_MAX_SIZE * PYM_POOL_MIN_BLOCKS);

/* Class of a request of 0..PYM_SMALL_MAX bytes; 0 bytes are served as 1. */
static inline unsigned int pym_size_to_class(size_t n)
{
	unsigned int doubling, fit;

	if (n <= PYM_FINE_MAX)
		return (n - (n != 0)) >> PYM_ALIGN_SHIFT;
	doubling = ilog2((n - 1) / PYM_FINE_MAX);
	fit = PYM_CLASS_POOL(doubling) / ALIGN(n, PYM_ALIGN);
	return PYM_NR_FINE + (doubling + 2) * PYM_POOL_MIN_BLOCKS - 1 - fit;
}

/* Block size of a class, bytes. */
static inline size_t pym_class_to_size(unsigned int class)
{
	unsigned int doubling, step;

	if (class < PYM_NR_FINE)
		return ((size_t)class + 1) << PYM_ALIGN_SHIFT;
	doubling = (class - PYM_NR_FINE) / PYM_POOL_MIN_BLOCKS;
	step = (class - PYM_NR_FINE) % PYM_POOL_MIN_BLOCKS;
	return ALIGN_DOWN(PYM_CLASS_POOL(doubling) / (2 * PYM_POOL_MIN_BLOCKS - 1 - step),
			  PYM_ALIGN);
}

/*
 * Alignment that a general-purpose block of @size bytes is promised: powers of
 * two are aligned to themselves, as kmalloc()'s are.
 */
static inline size_t pym_natural_align(size_t size)
{
	return is_power_of_2(size) && size > PYM_ALIGN ? size : PYM_ALIGN;
}

static inline size_t pym_pool_size(unsigned int order)
{
	return PAGE_SIZE << order;
}

/* Page order of the pools that hold blocks @stride bytes apart. */
static inline unsigned int pym_stride_to_order(size_t stride)
{
	return get_order(stride * PYM_POOL_MIN_BLOCKS);
}

static inline unsigned int pym_pool_capacity(size_t stride, unsigned int order)
{
	return pym_pool_size(order) / stride;
}

/* Pools in the largest arena of pools of @order; a power of two. */
static inline unsigned int pym_arena_pools(unsigned int order)
{
	return min_t(unsigned int, PYM_ARENA_MAX_POOLS, PYM_ARENA_MAX_PAGES >> order);
}

/*
 * Division by a constant stride: slot = offset * recip >> 40, with
 * recip = ceil(2^40 / stride). Exact for every offset within a pool, because
 * the error offset * (recip * stride - 2^40) is below 2^18 * 2^15 < 2^40.
 * (T. Granlund, P. Montgomery: Division by Invariant Integers, PLDI 1994.)
 */
#define PYM_RECIP_SHIFT		40

static inline u64 pym_recip(size_t stride)
{
	return DIV64_U64_ROUND_UP(1ULL << PYM_RECIP_SHIFT, stride);
}

static inline unsigned int pym_offset_to_slot(size_t offset, u64 recip)
{
	return (offset * recip) >> PYM_RECIP_SHIFT;
}

/*
 * A test for multiples without division: with m = ceil(2^64 / stride) and
 * e = m * stride - 2^64, the product q * stride * m is q * e modulo 2^64, which is
 * small, and for anything that is not a multiple it is at least m. So comparing it
 * with (capacity - 1) * e + 1 proves both that an offset is a multiple and that it
 * is that of a block.
 * (D. Lemire, O. Kaser, N. Kurz: Faster Remainder by Direct Computation, 2019.)
 */
static inline u64 pym_slot_factor(size_t stride)
{
	if (is_power_of_2(stride))
		return 1ULL << (64 - ilog2(stride));
	return div64_u64(U64_MAX, stride) + 1;
}

static inline u64 pym_slot_limit(size_t stride, unsigned int capacity)
{
	return (capacity - 1) * (pym_slot_factor(stride) * stride) + 1;
}

#endif /* _PYM_SIZECLASS_H */
