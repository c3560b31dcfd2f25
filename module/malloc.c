// SPDX-License-Identifier: GPL-2.0-only
/* General-purpose allocation: any size, by class or passed through. */
#include <linux/limits.h>
#include <linux/slab.h>
#include <linux/string.h>
#include "internal.h"
#include "front.h"
#include "kasan.h"
#include "trace.h"

/* kvmalloc() takes no more, and an int's worth is what its callers expect. */
#define LARGEST_REQUEST	((size_t)INT_MAX)

/*
 * pym_size_to_class() of as many words as the index says, which would divide. Written
 * once, before there is a heap.
 */
static u8 class_of_words[PYM_SMALL_MAX / PYM_ALIGN + 1] __ro_after_init;
static_assert(PYM_NR_CLASSES <= U8_MAX);

static __always_inline unsigned int class_of_size(size_t n)
{
	const u8 *class = class_of_words;	/* by a pointer: no bounds */

	return class[DIV_ROUND_UP(n, PYM_ALIGN)];
}

/* Count a request that no cache has counted, and say so if it was the limit. */
static void *fail(struct pym_heap *heap, long err, size_t wanted)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&heap->lock, flags);
	heap->failures++;
	if (err == -EWOULDBLOCK)
		heap->refused++;
	raw_spin_unlock_irqrestore(&heap->lock, flags);
	if (err == -EDQUOT)
		pym_limit_hit(heap, wanted);
	return NULL;
}

/**
 * pym_malloc_unhooked() - any request, not through hooks
 * @heap: the heap, not NULL
 * @n: bytes
 * @gfp: allocation flags
 * @ip: caller
 *
 * Context: as pym_malloc().
 * Return: a block, or NULL.
 */
noinline void *pym_malloc_unhooked(struct pym_heap *heap, size_t n, gfp_t gfp,
				   unsigned long ip)
{
	struct pym_cache *cache;
	unsigned int class;
	void *p;

	if (!pym_heap_ok(heap, "use", ip) || !pym_gfp_ok(&gfp, ip))
		return NULL;
	if (n > heap->small_max) {
		if (in_nmi())
			return NULL;
		if (n > LARGEST_REQUEST)
			return fail(heap, -ENOMEM, n);
		p = pym_large_alloc(heap, n, gfp);
		trace_pym_alloc(ip, IS_ERR(p) ? NULL : p, heap, NULL, n, n, gfp);
		return IS_ERR(p) ? fail(heap, PTR_ERR(p), n) : p;
	}
	class = class_of_size(n);
	cache = READ_ONCE(heap->class[class]);
	if (unlikely(!cache)) {
		if (in_nmi())
			return NULL;
		cache = pym_class_cache(heap, class, gfp);
		if (IS_ERR(cache))
			return fail(heap, PTR_ERR(cache), pym_cache_bytes());
	}
	pym_class_publish(cache, n);
	return pym_alloc_slow(cache, n ?: 1, gfp, ip);
}

static noinline void *malloc_slow(struct pym_heap *heap, size_t n, gfp_t gfp, unsigned long ip)
{
	heap = heap ?: pym_default_heap;
	if (pym_has_hooks())
		return pym_hooked_malloc(heap, n, gfp, ip);
	return pym_malloc_unhooked(heap, n, gfp, ip);
}

void *__pym_malloc_slow(struct pym_heap *heap, size_t n, gfp_t gfp)
{
	return malloc_slow(heap, n, gfp, _RET_IP_);
}
EXPORT_SYMBOL_GPL(__pym_malloc_slow);

static noinline notrace void *malloc_finish(struct pym_heap *heap, size_t n, gfp_t gfp, void *slot,
					    unsigned long ip)
{
	/* A heap that gives from a front has the class, and keeps it. By a pointer: no bounds. */
	struct pym_cache **class = heap->class, *cache = class[class_of_size(n)];

	return pym_kasan_hand_out(cache, pym_alloc_finish(cache, gfp, slot, ip), n ?: 1);
}

void *__pym_malloc_finish(struct pym_heap *heap, size_t n, gfp_t gfp, void *slot)
{
	return malloc_finish(heap, n, gfp, slot, _RET_IP_);
}
EXPORT_SYMBOL_GPL(__pym_malloc_finish);

/* The same for pym_calloc(). */
void *pym_calloc_unhooked(struct pym_heap *heap, size_t n, size_t size, gfp_t gfp,
			  unsigned long ip)
{
	size_t bytes;

	if (check_mul_overflow(n, size, &bytes))
		return fail(heap, -ENOMEM, SIZE_MAX);
	return pym_malloc_unhooked(heap, bytes, gfp | __GFP_ZERO, ip);
}

/* The same for pym_free(), but in an NMI. */
noinline void pym_free_unhooked(const void *p, unsigned long ip)
{
	struct pym_heap *reap = NULL;
	struct pym_cache *owner;
	struct pym_pool *pool;
	size_t offset;

	rcu_read_lock();
	pool = pym_lookup(p);
	owner = likely(pool) ? READ_ONCE(pool->owner) : NULL;
	trace_pym_free(ip, p, owner);
	if (likely(pool)) {
		if (unlikely(!owner))
			pym_report_block(PYM_MISUSE_DOUBLE_FREE, "block is free already",
					 pool, p, ip);
		else if (unlikely(!owner->is_class))
			pym_report_block(PYM_MISUSE_WRONG_API,
					 "block of a cache; use pym_cache_free()", pool, p, ip);
		else
			reap = pym_free_to_front(owner, pool, (void *)p, ip);
	}
	rcu_read_unlock();
	if (reap)
		pym_heap_reap(reap);
	if (pool || pym_guard_free(NULL, p, ip) || pym_large_free(p))
		return;
	if (pym_large_encloses(p, &offset))
		pym_report(PYM_MISUSE_INTERIOR, ip,
			   "byte %zu of a pass-through block, not its start; nothing changed",
			   offset);
	else
		pym_report(PYM_MISUSE_FOREIGN, ip,
			   "not a block of ours, or one that passed through and is free already; nothing changed");
}

/**
 * pym_free_from() - pym_free() on behalf of somebody else
 * @p: as for pym_free()
 * @ip: caller
 *
 * Context: as pym_free(), but NMI.
 */
void pym_free_from(const void *p, unsigned long ip)
{
	if (pym_has_hooks())
		pym_hooked_free(p, ip);
	else
		pym_free_unhooked(p, ip);
}

/* What no front takes at once. */
static noinline void free_slow(const void *p, unsigned long ip)
{
	struct pym_cache *cache;

	if (pym_has_hooks()) {
		pym_hooked_free(p, ip);
		return;
	}
	if (!p)
		return;
	if (unlikely(in_nmi())) {
		pym_free_later(NULL, p, ip);
		return;
	}
	/* Most often the front was full, and nothing else was the matter. */
	cache = class_of(p);
	if (!cache || !at_hot_slot(p, cache) || is_remote(p) ||
	    !pym_front_make_room(cache) || !front_push(cache, cache->head.front, p))
		pym_free_unhooked(p, ip);
}

/* What a live block is; @owner is NULL for a pass-through block. */
struct block {
	struct pym_heap *heap;
	struct pym_cache *owner;
	size_t size;
};

static bool find_block(const void *p, struct block *block)
{
	struct pym_pool *pool;
	struct pym_cache *owner;
	unsigned long flags;
	unsigned int slot;
	bool found = false;

	if (!p || in_nmi())
		return false;
	rcu_read_lock();
	pool = pym_lookup(p);
	owner = pool ? READ_ONCE(pool->owner) : NULL;
	if (owner && unlikely(owner->base)) {
		found = pym_shadow_find(owner, pool, p, &block->size);
	} else if (owner) {
		raw_spin_lock_irqsave(&owner->lock, flags);
		found = pool->owner == owner &&
			pym_pool_slot(pool, owner, p, &slot) == PYM_SLOT_LIVE &&
			!pym_kasan_is_free(owner, p);
		raw_spin_unlock_irqrestore(&owner->lock, flags);
		block->size = owner->size;
	}
	block->heap = owner ? owner->heap : NULL;
	block->owner = owner;
	rcu_read_unlock();
	if (pool)
		return found;
	if (unlikely(pym_guard_find(p, &block->owner, &block->size))) {
		block->heap = block->owner->heap;
		return true;
	}
	return pym_large_info(p, &block->heap, &block->size);
}

/* Does a block of @size stay where it is when @n bytes are wanted of it? */
static bool stays(size_t n, const struct block *block)
{
	/* A block that is looked after is so for the size that it was asked for. */
	if (n > block->size || (block->owner && block->owner->base))
		return false;
	if (4 * n > 3 * block->size)
		return true;
	return block->owner && class_of_size(n) == class_of_size(block->size);
}

/* Its user wants @n bytes of a block that stays. */
static void *resized(const struct block *block, void *p, size_t n)
{
	return block->owner ? pym_kasan_hand_out(block->owner, p, n ?: 1) : p;
}

/* The same for pym_realloc(). */
void *pym_realloc_unhooked(struct pym_heap *heap, void *p, size_t n, gfp_t gfp,
			   unsigned long ip)
{
	struct block block;
	void *new;

	if (!p)
		return pym_malloc_unhooked(heap ?: pym_default_heap, n, gfp, ip);
	if (!find_block(p, &block)) {
		pym_report(PYM_MISUSE_FOREIGN, ip,
			   "realloc of what is not a live block of ours; nothing changed");
		return NULL;
	}
	if (block.owner && !block.owner->is_class) {
		pym_report(PYM_MISUSE_WRONG_API, ip,
			   "realloc of a block of cache %s; nothing changed",
			   block.owner->name);
		return NULL;
	}
	if (heap && heap != block.heap) {
		pym_report(PYM_MISUSE_WRONG_HEAP, ip,
			   "realloc in heap %s of a block of heap %s; nothing changed",
			   heap->name, block.heap->name);
		return NULL;
	}
	if (!pym_gfp_ok(&gfp, ip))
		return NULL;
	if (stays(n, &block))
		return resized(&block, p, n);
	new = pym_malloc_unhooked(block.heap, n, gfp, ip);
	if (!new)
		return n <= block.size ? resized(&block, p, n) : NULL;
	/* How much of it was asked for is not known; it is freed next. */
	if (block.owner)
		pym_kasan_open(block.owner, p);
	memcpy(new, p, min(n, block.size));
	pym_free_unhooked(p, ip);
	return new;
}

/* ------------------------------------------------------------ public API -- */

static __always_inline void *do_malloc(struct pym_heap *heap, size_t n, gfp_t gfp,
				       unsigned long ip)
{
	struct pym_front __percpu **hot;
	void *block;

	if (unlikely(!heap))
		heap = pym_default_heap;
	if (unlikely(n > PYM_SMALL_MAX))
		return malloc_slow(heap, n, gfp, ip);
	/* By a pointer: the index has been checked. */
	hot = heap->head.hot;
	block = __pym_front_pop(READ_ONCE(hot[DIV_ROUND_UP(n, PYM_ALIGN)]));
	if (unlikely(!block))
		return malloc_slow(heap, n, gfp, ip);
	if (__pym_unfinished(gfp))
		return malloc_finish(heap, n, gfp, block, ip);
	return block;
}

notrace void *__pym_malloc(struct pym_heap *heap, size_t n, gfp_t gfp)
{
	return do_malloc(heap, n, gfp, _RET_IP_);
}
EXPORT_SYMBOL_GPL(__pym_malloc);

void *pym_calloc(struct pym_heap *heap, size_t n, size_t size, gfp_t gfp)
{
	size_t bytes;

	/* Hooks are told both factors. */
	if (pym_has_hooks())
		return pym_hooked_calloc(heap ?: pym_default_heap, n, size, gfp, _RET_IP_);
	if (check_mul_overflow(n, size, &bytes))
		return fail(heap ?: pym_default_heap, -ENOMEM, SIZE_MAX);
	return do_malloc(heap, bytes, gfp | __GFP_ZERO, _RET_IP_);
}
EXPORT_SYMBOL_GPL(pym_calloc);

void *pym_realloc(struct pym_heap *heap, void *p, size_t n, gfp_t gfp)
{
	if (pym_has_hooks())
		return pym_hooked_realloc(heap, p, n, gfp, _RET_IP_);
	return pym_realloc_unhooked(heap, p, n, gfp, _RET_IP_);
}
EXPORT_SYMBOL_GPL(pym_realloc);

/*
 * The first word that class_of() found on this CPU last. A page that has it belongs
 * to the same class, which is then known without having been read from the page: the
 * front, and the next allocation from it, need not wait for that. It may be of a class
 * that is gone; no page has it then.
 */
static DEFINE_PER_CPU(unsigned long, recent_word);

/**
 * pym_malloc_init() - the class of every size; and a word that no page has
 *
 * Context: Before the first heap is made, after pym_provider_init().
 */
void pym_malloc_init(void)
{
	size_t n;
	int cpu;

	for (n = 0; n <= PYM_SMALL_MAX; n += PYM_ALIGN)
		class_of_words[n / PYM_ALIGN] = pym_size_to_class(n);
	/* Of no class: should a page have it, then NULL is what it leads to. */
	for_each_possible_cpu(cpu)
		per_cpu(recent_word, cpu) = pym_direct.secret;
}

/* Free to the front of a class, which @p is a block of if it is at a slot. */
static __always_inline bool free_to_class(struct pym_cache *cache, const void *p)
{
	/* A heap with hooks has no front that would take it. */
	return likely(at_hot_slot(p, cache)) && !is_remote(p) &&
	       front_push(cache, cache->head.front, p);
}

/* Of another class than the block freed before it on this CPU, or not simple. */
static noinline void free_other(const void *p, unsigned long ip)
{
	struct pym_cache *cache = class_of(p);

	if (likely(cache))
		raw_cpu_write(recent_word, (unsigned long)cache ^ pym_direct.secret);
	if (unlikely(!cache) || !free_to_class(cache, p))
		free_slow(p, ip);
}

notrace void pym_free(const void *p)
{
	unsigned long word = raw_cpu_read(recent_word);
	struct page *page = direct_page(p);

	if (unlikely(!page) || !word_is(&page->private, word) ||
	    !free_to_class((struct pym_cache *)(word ^ pym_direct.secret), p))
		free_other(p, _RET_IP_);
}
EXPORT_SYMBOL_GPL(pym_free);

size_t pym_usable_size(const void *p)
{
	struct block block;

	if (!find_block(p, &block))
		return 0;
	if (block.owner)
		pym_kasan_open(block.owner, (void *)p);
	return block.size;
}
EXPORT_SYMBOL_GPL(pym_usable_size);

struct pym_heap *pym_owner(const void *p)
{
	struct block block;

	return find_block(p, &block) ? block.heap : NULL;
}
EXPORT_SYMBOL_GPL(pym_owner);
