/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The hot path of a free: push to this CPU's front. Included by the files whose
 * functions are the fast path, and by front.c. An allocation's is in the header
 * that consumers include.
 */
#ifndef _PYM_FRONT_H
#define _PYM_FRONT_H

#include <linux/mm.h>
#include <linux/jump_label.h>
#include <linux/percpu.h>
#include <linux/topology.h>
#include <linux/preempt.h>
#include <linux/sched/mm.h>
#include <linux/uaccess.h>
#ifdef CONFIG_X86_64
#include <asm/asm.h>
#endif
#include "internal.h"
#include "kmemleak.h"

/* The fronts of a cache, whose depot can be used then too; or NULL. */
static inline struct pym_front __percpu *fronts_of(const struct pym_cache *cache)
{
	/* Pairs with the release in pym_front_create(). */
	return smp_load_acquire(&cache->fronts);
}

#if PYM_X86_64
#define SLOT_IS(plus) ({						\
	bool is;							\
									\
	asm volatile("cmpq	%[block], " __PYM_SLOT			\
		     : "=@cce" (is) : [block] "r" (block), __PYM_SLOT_INPUTS(plus)); \
	is;								\
})

static __always_inline bool slot_is(struct pym_front __percpu *front, unsigned long n,
				    const void *block)
{
	return SLOT_IS(0);
}

/* Below slot[0] is what no block looks like. */
static __always_inline bool slot_below_is(struct pym_front __percpu *front, unsigned long n,
					  const void *block)
{
	return SLOT_IS(-1);
}

static __always_inline void slot_write_above(struct pym_front __percpu *front, unsigned long n,
					     const void *block)
{
	asm volatile("movq	%[block], " __PYM_SLOT
		     : : [block] "r" (block), __PYM_SLOT_INPUTS(1) : "memory");
}
#else
static __always_inline bool slot_is(struct pym_front __percpu *front, unsigned long n,
				    const void *block)
{
	return raw_cpu_read(front->slot[n]) == block;
}

static __always_inline bool slot_below_is(struct pym_front __percpu *front, unsigned long n,
					  const void *block)
{
	return n && raw_cpu_read(front->slot[n - 1]) == block;
}

static __always_inline void slot_write_above(struct pym_front __percpu *front, unsigned long n,
					     const void *block)
{
	raw_cpu_write(front->slot[n + 1], (void *)block);
}
#endif

/*
 * Claim the front of this CPU, with preemption off: false if we interrupted its user.
 * Whoever interrupts us now goes elsewhere. What n is must be read after this, for an
 * interrupt may have used the front just before. Not on the hot path, which sets and
 * tests at once.
 */
static inline bool front_claim(struct pym_front *front)
{
	if (front->busy != PYM_FRONT_IDLE)
		return false;
	front->busy = 0;
	barrier();
	return true;
}

static inline void front_release(struct pym_front *front)
{
	barrier();
	front->busy = PYM_FRONT_IDLE;
}

/*
 * Copy some dozens of words, to a lower address if they overlap. In line: a call
 * that chooses between string instructions costs as much as it saves.
 */
static __always_inline void copy_slots(void **to, void **from, unsigned int n)
{
	for (; n >= 4; n -= 4, to += 4, from += 4) {
		void *a = READ_ONCE(from[0]), *b = READ_ONCE(from[1]);
		void *c = READ_ONCE(from[2]), *d = READ_ONCE(from[3]);

		WRITE_ONCE(to[0], a);
		WRITE_ONCE(to[1], b);
		WRITE_ONCE(to[2], c);
		WRITE_ONCE(to[3], d);
	}
	for (; n; n--)
		WRITE_ONCE(*to++, READ_ONCE(*from++));
}

/* The same for words that change places, into another array, less what @mask is without. */
static __always_inline void reverse_slots(void **to, void **from, unsigned int n,
					  unsigned long mask)
{
	unsigned long *out = (unsigned long *)to, *in = (unsigned long *)from + n;

	for (; n >= 4; n -= 4, out += 4, in -= 4) {
		out[0] = in[-1] & mask;
		out[1] = in[-2] & mask;
		out[2] = in[-3] & mask;
		out[3] = in[-4] & mask;
	}
	for (; n; n--)
		*out++ = *--in & mask;
}

/*
 * Let blocks into a front that is claimed: a closed one has room for none, so that
 * whoever comes with one comes by here. True if pym_decay_arm() is to be called once
 * the front is released.
 */
static inline bool front_open(const struct pym_cache *cache, struct pym_front *front)
{
	if (likely(front->cap))
		return false;
	front->cap = cache->front_cap;
	front->rests = 0;
	return true;
}

/*
 * Push a block of a cache; false if the front is busy or full, or if the block is one of
 * the last two that were freed, which is a double free, or KASAN knows that it is free.
 */
static __always_inline bool front_push(struct pym_cache *cache, struct pym_front __percpu *front,
				       const void *block)
{
	unsigned long n;

	/* Outside of the claim, which must not take long; no harm if it is told twice. */
	if (unlikely(!pym_kmemleak_can_free()))
		return false;
	pym_kmemleak_free(block);
	__pym_preempt_disable();
	if (unlikely(!__pym_front_enter(front)))
		goto busy;
	n = raw_cpu_read(front->n);
	if (unlikely(n >= raw_cpu_read(front->cap)) || unlikely(slot_is(front, n, block)) ||
	    unlikely(slot_below_is(front, n, block)) || unlikely(!pym_kasan_free(cache, block)))
		goto full;
	slot_write_above(front, n, block);
	raw_cpu_write(front->n, n + 1);
	raw_cpu_add(front->frees, 1);
	__pym_front_leave(front);
	__pym_preempt_enable();
	return true;
full:
	__pym_front_leave(front);
	__pym_preempt_enable();
	return false;
busy:
	__pym_front_nested(front);
	__pym_preempt_enable();
	return false;
}

/*
 * May page_of(@p) be read, if only with care, and is @cache not NULL? Where pages
 * are linear it must only not be an address of user space, for a fault there is an
 * oops, whatever the exception table says; and page_of() of what the kernel's half
 * has is in the kernel's half, or not canonical.
 */
static __always_inline bool plausible(const struct pym_cache *cache, const void *p)
{
	if (PYM_LINEAR_PAGES)
		return PYM_UPPER_HALF((unsigned long)cache & (unsigned long)p);
	return cache && virt_addr_valid(p);
}

/*
 * struct page of an address of the direct map. Where both are linear all the way,
 * as on x86-64, one constant does: pym_direct.base makes up for where they begin.
 */
static __always_inline struct page *page_of(const void *p)
{
	if (PYM_LINEAR_PAGES)
		return (struct page *)(((unsigned long)p >> PAGE_SHIFT << 6) + pym_direct.base);
	return virt_to_page(p);
}

/*
 * Does a word that may not be there at all have this value? Nowhere but where pages
 * are linear: elsewhere plausible() says no to addresses without a struct page.
 */
static __always_inline bool word_is(const unsigned long *p, unsigned long value)
{
#if PYM_X86_64
	/* Compares in place and jumps on a fault: gcc 12 has no outputs here. */
	asm goto("1:	cmpq	%[value], %[word]\n"
		 "	jne	%l[no]\n"
		 _ASM_EXTABLE(1b, %l[no])
		 : : [value] "r" (value), [word] "m" (*p) : "cc" : no);
	return true;
no:
	return false;
#else
	return READ_ONCE(*p) == value;
#endif
}

/* Read such a word; anything if it is not there. */
static __always_inline unsigned long read_word(const unsigned long *p)
{
	unsigned long word;
#if PYM_X86_64
	/* Whatever is in the register. */
	asm("" : "=r" (word));
	asm volatile("1:	movq	%[p], %[word]\n"
		     "2:\n"
		     _ASM_EXTABLE(1b, 2b)
		     : [word] "+r" (word) : [p] "m" (*p));
#else
	word = READ_ONCE(*p);
#endif
	return word;
}

/* Is the page of @p one of a pool of @cache, which has a name of its own? */
static __always_inline bool is_owner(const struct pym_cache *cache, const void *p)
{
	return word_is(&page_of(p)->private, (unsigned long)cache);
}

/* struct page of an address that may be any value at all, to be read with care; or NULL. */
static __always_inline struct page *direct_page(const void *p)
{
	if (PYM_LINEAR_PAGES) {
		unsigned long offset = (unsigned long)p - pym_direct.start;
		struct page *page;

#ifdef CONFIG_X86_64
		/* Not in the register that the first word is read into. */
		asm("" : "+d" (offset));
#endif
		if (unlikely(offset >= pym_direct.size))
			return NULL;
		page = (struct page *)((offset >> (PAGE_SHIFT - 6) & ~63UL) + pym_direct.first);
		/* For the caller's test. */
		if (!page)
			__builtin_unreachable();
		return page;
	}
	return virt_addr_valid(p) ? virt_to_page(p) : NULL;
}

/*
 * The size class that a page is of, or NULL: two words of it must fit each other,
 * which nothing but a page of ours does without knowing the secret.
 */
static __always_inline struct pym_cache *class_of_page(struct page *page)
{
	unsigned long word = read_word(&page->private) ^ pym_direct.secret;

	if (unlikely(!word_is((unsigned long *)&page->lru.prev, word)))
		return NULL;
	/* A foreign page that has NULL there has not the secret beside it. */
	if (!word)
		__builtin_unreachable();
	return (struct pym_cache *)word;
}

/* The size class behind a block from pym_malloc(), or NULL if its page does not say so. */
static __always_inline struct pym_cache *class_of(const void *p)
{
	struct page *page = direct_page(p);

	return page ? class_of_page(page) : NULL;
}

/* Is this offset in a pool the start of a block? See pym_slot_factor(). */
static __always_inline bool slot_start(size_t offset, const struct pym_cache *cache)
{
	return offset * cache->slot_factor < cache->slot_limit;
}

/*
 * The same for an address in a pool of @cache, whose pools are aligned; and may the
 * front be used without more ado?
 */
static __always_inline bool at_hot_slot(const void *p, const struct pym_cache *cache)
{
	return ((unsigned long)p & cache->pool_mask) * cache->slot_factor < cache->hot_limit;
}

/* Is @block a block of @cache, as far as can be told without its lock? */
static __always_inline bool simple_free(const struct pym_cache *cache, const void *block)
{
	return likely(plausible(cache, block)) && likely(at_hot_slot(block, cache)) &&
	       likely(is_owner(cache, block));
}

/* On while there is more than one node. */
DECLARE_STATIC_KEY_FALSE(pym_many_nodes);

/* Is the block of another node than this CPU's, if there is any other? */
static __always_inline bool is_remote(const void *block)
{
	return static_branch_unlikely(&pym_many_nodes) &&
	       page_to_nid(page_of(block)) != numa_mem_id();
}

/* Free to the front, if that can be done and @block is a block of @cache. */
static __always_inline bool front_free(struct pym_cache *cache, void *block)
{
	return simple_free(cache, block) && !is_remote(block) &&
	       front_push(cache, cache->head.front, block);
}

#endif /* _PYM_FRONT_H */
