// SPDX-License-Identifier: GPL-2.0-only
/*
 * What KASAN is told of blocks. Built only where it is, and without its checks: what is
 * written here is KASAN's own memory. See section 13 of internal.h.
 */
#include <linux/kasan.h>
#include <linux/kasan-checks.h>
#include <linux/mm.h>
#include <linux/uaccess.h>
#include "internal.h"
#include "kasan.h"

/* Exported for this, but declared in a header of mm/ only; as are the two values. */
void kasan_poison(const void *addr, size_t size, u8 value, bool init);

#define SHADOW_FREE	0xFB
#define SHADOW_REDZONE	0xFC

#define GRANULE		BIT(KASAN_SHADOW_SCALE_SHIFT)
static_assert(PYM_ALIGN % GRANULE == 0);

/* Is a double free told to KASAN as well? */
static bool tell_double_free = true;

/**
 * pym_kasan_tell_double_free() - let KASAN report double frees, or leave it at a report
 * of ours
 * @on: do
 *
 * For tests, which free twice what they like.
 *
 * Context: Any.
 */
void pym_kasan_tell_double_free(bool on)
{
	WRITE_ONCE(tell_double_free, on);
}
EXPORT_SYMBOL_IF_KUNIT(pym_kasan_tell_double_free);

/* What others provide may have no shadow, and their tests look at it. */
static bool has_shadow(const struct pym_heap *heap)
{
	return heap->provider == &pym_provider_pages ||
	       (heap->provider == &pym_provider_vmalloc && IS_ENABLED(CONFIG_KASAN_VMALLOC));
}

/* What is switched on at run time has red zones and poison of its own. */
static bool is_covered(const struct pym_cache *cache)
{
	return !cache->base && has_shadow(cache->heap);
}

/**
 * pym_kasan_obtained() - memory has come from a provider: nobody may touch it
 * @heap: the heap
 * @addr: the memory
 * @size: bytes
 *
 * Context: Any.
 */
void pym_kasan_obtained(struct pym_heap *heap, void *addr, size_t size)
{
	if (has_shadow(heap))
		kasan_poison(addr, size, SHADOW_REDZONE, false);
}

/**
 * pym_kasan_give_back() - memory goes to its provider, who may touch it
 * @heap: the heap
 * @addr: the memory
 * @size: bytes
 *
 * Context: Any.
 */
void pym_kasan_give_back(struct pym_heap *heap, void *addr, size_t size)
{
	if (has_shadow(heap))
		kasan_poison(addr, size, 0, false);
}

/**
 * pym_kasan_take_pool() - a pool has an owner: what was a free block is none any more
 * @pool: the pool
 * @cache: the owner
 *
 * Context: cache->lock.
 */
void pym_kasan_take_pool(struct pym_pool *pool, struct pym_cache *cache)
{
	if (has_shadow(cache->heap))
		kasan_poison(pool->base, pym_pool_size(cache->order),
			     cache->base ? 0 : SHADOW_REDZONE, false);
}

/**
 * pym_kasan_put_pool() - a pool has no owner: all of its blocks are free
 * @pool: the pool
 *
 * Those that were live when their cache was destroyed, and those that RCU readers could
 * look at, too.
 *
 * Context: the lock of its last owner.
 */
void pym_kasan_put_pool(struct pym_pool *pool)
{
	struct pym_arena *arena = pool->arena;

	if (has_shadow(arena->heap))
		kasan_poison(pool->base, pym_pool_size(arena->order), SHADOW_FREE, false);
}

/**
 * pym_kasan_open() - let a block be touched, all of it
 * @cache: its cache
 * @block: a block that is ours, or its user's
 *
 * Context: Any.
 */
void pym_kasan_open(struct pym_cache *cache, void *block)
{
	if (is_covered(cache))
		kasan_poison(block, cache->stride, 0, false);
}

/**
 * pym_kasan_shut() - let a block not be touched that has been opened and is not handed out
 * @cache: its cache
 * @block: the block
 *
 * Context: Any.
 */
void pym_kasan_shut(struct pym_cache *cache, void *block)
{
	if (is_covered(cache) && !cache->typesafe)
		kasan_poison(block, cache->stride, SHADOW_REDZONE, false);
}

/**
 * pym_kasan_hand_out() - a block is a user's, as far as he has asked for it
 * @cache: its cache
 * @block: the block, or NULL
 * @n: bytes
 *
 * Context: Any.
 * Return: @block.
 */
void *pym_kasan_hand_out(struct pym_cache *cache, void *block, size_t n)
{
	size_t whole = round_down(n, GRANULE), rest = n - whole, end = round_up(n, GRANULE);

	if (!block || !is_covered(cache))
		return block;
	kasan_poison(block, whole, 0, false);
	if (rest)
		*(u8 *)kasan_mem_to_shadow(block + whole) = rest;
	kasan_poison(block + end, cache->stride - end, SHADOW_REDZONE, false);
	return block;
}

/* Its memory may be its provider's again if it is free indeed. */
static bool shadow_says_free(const void *block)
{
	u8 shadow;

	return !get_kernel_nofault(shadow, (u8 *)kasan_mem_to_shadow(block)) &&
	       shadow == SHADOW_FREE;
}

/**
 * pym_kasan_is_free() - does KASAN know a block as free
 * @cache: its cache
 * @block: where a block of it begins
 *
 * Context: Any.
 * Return: true if it does, and is to be told of double frees.
 */
bool pym_kasan_is_free(const struct pym_cache *cache, const void *block)
{
	return READ_ONCE(tell_double_free) && is_covered(cache) && shadow_says_free(block);
}

/**
 * pym_kasan_free() - a block is free: nobody may touch it
 * @cache: its cache
 * @block: the block; readers may look at it still if it is typesafe
 *
 * Before anybody else can have it.
 *
 * Context: Any.
 * Return: false if it is free already, and nothing has been done.
 */
bool pym_kasan_free(struct pym_cache *cache, const void *block)
{
	if (!is_covered(cache) || cache->typesafe)
		return true;
	if (pym_kasan_is_free(cache, block))
		return false;
	kasan_poison(block, cache->stride, SHADOW_FREE, false);
	return true;
}

/**
 * pym_kasan_free_many() - the same for many, until one is free already
 * @cache: their cache
 * @blocks: they
 * @n: how many
 *
 * Context: Any.
 * Return: how many of the first it was done for.
 */
unsigned int pym_kasan_free_many(struct pym_cache *cache, void **blocks, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		if (!pym_kasan_free(cache, blocks[i]))
			break;
	return i;
}

/* KASAN names its caller as who did it. It has no report of invalid frees for modules. */
static noinline void pym_double_free(const void *block)
{
	__kasan_check_write(block, 1);
	/* No tail call. */
	barrier();
}

/**
 * pym_kasan_tell() - have KASAN report a double free, with the stack that led here
 * @pool: what the block is in
 * @p: the block
 *
 * Context: Any, under rcu_read_lock().
 */
void pym_kasan_tell(const struct pym_pool *pool, const void *p)
{
	if (READ_ONCE(tell_double_free) && has_shadow(pool->arena->heap) && shadow_says_free(p))
		pym_double_free(p);
}
