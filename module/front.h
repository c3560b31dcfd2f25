/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The hot path: pop from and push to this CPU's front. Included by the files
 * whose functions are the fast path, and by front.c.
 */
#ifndef _PYM_FRONT_H
#define _PYM_FRONT_H

#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/sched/mm.h>
#include <linux/uaccess.h>
#ifdef CONFIG_X86_64
#include <asm/asm.h>
#endif
#include "internal.h"

/* The fronts of a cache, whose depot can be used then too; or NULL. */
static inline struct pym_front __percpu *fronts_of(const struct pym_cache *cache)
{
	/* Pairs with the release in pym_front_create(). */
	return smp_load_acquire(&cache->fronts);
}

/*
 * Pop a block, or NULL if the front is busy or empty. The fields are accessed
 * through the per-CPU segment one by one, which is cheaper than forming the
 * address of the front.
 */
static __always_inline void *front_pop(struct pym_front __percpu *front)
{
	void *block;
	u32 n;

	preempt_disable();
	if (unlikely(raw_cpu_read_1(front->busy)))
		goto busy;
	raw_cpu_write_1(front->busy, 1);
	barrier();
	n = raw_cpu_read_4(front->n);
	if (unlikely(!n))
		goto empty;
	block = raw_cpu_read_8(front->slot[n]);
	raw_cpu_add_4(front->n, -1);
	barrier();
	raw_cpu_write_1(front->busy, 0);
	preempt_enable();
	return block;
empty:
	raw_cpu_write_1(front->busy, 0);
busy:
	preempt_enable();
	return NULL;
}

/*
 * Push a block; false if the front is busy or full, or has the block on top
 * already, which is a double free.
 */
static __always_inline bool front_push(struct pym_front __percpu *front, void *block)
{
	u32 n;

	preempt_disable();
	if (unlikely(raw_cpu_read_1(front->busy)))
		goto busy;
	raw_cpu_write_1(front->busy, 1);
	barrier();
	n = raw_cpu_read_4(front->n);
	if (unlikely(n >= raw_cpu_read_4(front->cap)) ||
	    unlikely(raw_cpu_read_8(front->slot[n]) == block))
		goto full;
	raw_cpu_write_8(front->slot[n + 1], block);
	raw_cpu_add_4(front->n, 1);
	raw_cpu_add_8(front->frees, 1);
	barrier();
	raw_cpu_write_1(front->busy, 0);
	preempt_enable();
	return true;
full:
	raw_cpu_write_1(front->busy, 0);
busy:
	preempt_enable();
	return false;
}

/*
 * May the address be one of the direct map, so that page_of() may be read, if only
 * with care? Where pages are linear it says yes too often, but never where page_of()
 * would be in user space: a fault there is an oops, whatever the exception table
 * says. The direct map is the lowest part of the kernel's half there, and vmalloc's
 * area is above.
 */
static __always_inline bool in_direct_map(const void *p)
{
	if (PYM_LINEAR_PAGES)
		return (unsigned long)p < VMALLOC_START;
	return virt_addr_valid(p);
}

/*
 * struct page of an address of the direct map. Where both are linear all the way,
 * as on x86-64, one constant does: pym_page_base makes up for where they begin.
 */
static __always_inline struct page *page_of(const void *p)
{
	if (PYM_LINEAR_PAGES)
		return (struct page *)(((unsigned long)p >> PAGE_SHIFT << 6) + pym_page_base);
	return virt_to_page(p);
}

/*
 * Does the page of an address carry this key? The address may be any value at
 * all, so the read may fault; that is a no.
 */
static __always_inline bool has_key(const void *p, unsigned long key)
{
	struct page *page = page_of(p);
#ifdef CONFIG_X86_64
	/* Compares in place and jumps on a fault: gcc 12 has no outputs here. */
	asm goto("1:	cmpq	%[key], %[word]\n"
		 "	jne	%l[no]\n"
		 _ASM_EXTABLE(1b, %l[no])
		 : : [key] "r" (key), [word] "m" (page->private) : "cc" : no);
	return true;
#else
	unsigned long word;

	__get_kernel_nofault(&word, &page->private, unsigned long, no);
	return word == key;
#endif
no:
	return false;
}

/* Is this offset in a pool the start of a block? See pym_slot_factor(). */
static __always_inline bool slot_start(size_t offset, const struct pym_cache *cache)
{
	return offset * cache->slot_factor < cache->slot_limit;
}

/* The same for an address in a pool of @cache, whose pools are aligned. */
static __always_inline bool at_slot(const void *p, const struct pym_cache *cache)
{
	return slot_start((unsigned long)p & cache->pool_mask, cache);
}

/* Read a word that may not be there; 0 then. Not 0 in what is ours. */
static __always_inline unsigned long read_or_0(const unsigned long *p)
{
	unsigned long word = 0;
#ifdef CONFIG_X86_64
	asm volatile("1:	movq	%[p], %[word]\n"
		     "2:\n"
		     _ASM_EXTABLE(1b, 2b)
		     : [word] "+r" (word) : [p] "m" (*p));
#else
	__get_kernel_nofault(&word, p, unsigned long, no);
no:
#endif
	return word;
}

/*
 * The size class behind a block from pym_malloc(), or NULL if its page does not
 * say so. @p may be any value at all.
 */
static __always_inline struct pym_cache *class_of(const void *p)
{
	struct pym_cache *cache;
	unsigned long key;

	if (unlikely(!in_direct_map(p)))
		return NULL;
	key = read_or_0(&page_of(p)->private);
	if (unlikely((key & PYM_KEY_BITS) != PYM_KEY_CLASS))
		return NULL;
	cache = (struct pym_cache *)(key - PYM_KEY_CLASS);
	/*
	 * The word may be anybody's: only a cache of ours points at itself there.
	 * It must be an address of the kernel's half to be read at all.
	 */
	if (unlikely((long)cache >= 0))
		return NULL;
	if (unlikely(read_or_0((unsigned long *)&cache->self) != (unsigned long)cache))
		return NULL;
	return cache;
}

/* Free a block to the front, its page's key having been seen. */
static __always_inline bool front_free_keyed(struct pym_cache *cache, void *block)
{
	if (unlikely(!at_slot(block, cache)) || unlikely(want_init_on_free()))
		return false;
	return front_push(cache->front, block);
}

/* Free to the front, if that can be done and @block is a block of @cache. */
static __always_inline bool front_free(struct pym_cache *cache, void *block)
{
	if (unlikely(!in_direct_map(block)) || unlikely(!has_key(block, cache->key)))
		return false;
	return front_free_keyed(cache, block);
}

void *pym_alloc_slow(struct pym_cache *cache, gfp_t gfp, unsigned long ip);
void *pym_alloc_finish(struct pym_cache *cache, void *block, gfp_t gfp, unsigned long ip);

/* pym_cache_alloc() on behalf of the caller at @ip. */
static __always_inline void *pym_cache_alloc_ip(struct pym_cache *cache, gfp_t gfp,
						unsigned long ip)
{
	void *block;

	if (unlikely(!cache))
		return pym_alloc_slow(cache, gfp, ip);
	/* The front never sleeps; what may sleep says so when it is reached. */
	if (IS_ENABLED(CONFIG_DEBUG_ATOMIC_SLEEP) || IS_ENABLED(CONFIG_LOCKDEP))
		might_alloc(gfp);
	block = front_pop(cache->front);
	if (unlikely(!block))
		return pym_alloc_slow(cache, gfp, ip);
	if (unlikely(gfp & (GFP_ZONEMASK | __GFP_ZERO)) || want_init_on_alloc(0))
		return pym_alloc_finish(cache, block, gfp, ip);
	return block;
}

#endif /* _PYM_FRONT_H */
