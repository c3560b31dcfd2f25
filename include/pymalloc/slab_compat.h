/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * pymalloc: for modules that were written for kmem_cache. Including this is all there is
 * to do, after every other header; or, without a change to any source, in their Kbuild:
 *
 *	ccflags-y += -I<pymalloc>/include -include pymalloc/slab_compat.h
 */
#ifndef _PYMALLOC_SLAB_COMPAT_H
#define _PYMALLOC_SLAB_COMPAT_H

/*
 * What kernel headers do with caches of the kernel's stays as it is: those that name
 * struct kmem_cache, or free in line, are read before the names change.
 */
#include <linux/bio.h>
#include <linux/cleanup.h>
#include <linux/delayacct.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/iocontext.h>
#include <linux/jbd2.h>
#include <linux/kernel.h>
#include <linux/lru_cache.h>
#include <linux/mempool.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/taskstats_kern.h>
#include <linux/version.h>
#ifdef CONFIG_INET
#include <net/dst_ops.h>
#include <net/request_sock.h>
#include <net/sock.h>
#endif
#include <pymalloc/pymalloc.h>
#include <pymalloc/slab_calls.h>

/**
 * DOC: Moving a module that uses kmem_cache
 *
 * struct kmem_cache is struct pym_cache from here on, and each function of a cache is
 * pymalloc's. What there is no equivalent of does not compile, and the compiler's message
 * says what to do instead. Objects are in the default heap, or, with
 * -DPYM_COMPAT_HEAP=name, in a heap of that name, which is made with the first cache in it
 * and goes with the last.
 *
 * - kmem_cache_create(), kmem_cache_create_usercopy(), KMEM_CACHE(),
 *   KMEM_CACHE_USERCOPY(): both forms, with arguments or with a struct of them, on any
 *   kernel.
 * - kmem_cache_destroy(): pym_cache_destroy(). NULL is nothing; live blocks are reported
 *   and their memory is freed.
 * - kmem_cache_alloc(), its zalloc, alloc_node and alloc_bulk: pym_cache_alloc() and so on.
 *   A bulk allocation gives all or nothing, as there.
 * - kmem_cache_free(), kmem_cache_free_bulk(): pym_cache_free(); every free is checked.
 * - kmem_cache_shrink(): pym_cache_shrink(), then 0. kmem_cache_size(): the size asked for.
 * - kfree(), kvfree(), kfree_sensitive(), kfree_bulk(), __free(): the block's cache is
 *   found; what is not of pymalloc is the kernel's, and is freed there.
 * - kfree_rcu(), kvfree_rcu(), kfree_rcu_mightsleep(): the same, by pym_cache_free_rcu().
 * - ksize(): pym_usable_size(), or the kernel's.
 * - mempool_create_slab_pool(), mempool_init_slab_pool(): a mempool over a cache of
 *   pymalloc's.
 *
 * Where it is not the same:
 *
 * - Names. kmem_cache takes any name, and the same one again. Here a character that
 *   cannot be in a name of debugfs is '_', a name is cut after 47 bytes, and a second
 *   cache of the same name gets "#2" behind it. The log says so.
 * - Objects are up to PYM_CACHE_MAX_SIZE, aligned up to PAGE_SIZE; a constant above does
 *   not compile, others fail with a line in the log.
 * - A constructor runs once for each block, before it is first handed out, in the context
 *   of that allocation: there it may not sleep if the allocation may not. A cache with one
 *   is never zeroed: kmem_cache_zalloc() reports it.
 * - Free blocks hold nothing of the allocator's: a freeptr_offset is accepted, and there
 *   is nothing to do. Nor for sheaf_capacity: each CPU has a front.
 * - The part of an object that may be copied to and from user space is not bounded.
 *
 * SLAB_* flags:
 *
 * - SLAB_HWCACHE_ALIGN: aligned to a cache line, small objects too, where SLUB puts
 *   several into one.
 * - SLAB_TYPESAFE_BY_RCU: PYM_CACHE_TYPESAFE_BY_RCU, the same promise.
 * - SLAB_PANIC: panics if there is no cache.
 * - SLAB_NO_MERGE: always so.
 * - SLAB_ACCOUNT: accepted, but objects are not charged to anybody's memory cgroup. A heap
 *   can have a limit instead: heap/<name>/limit in debugfs, pym_heap_set_limit().
 * - SLAB_RECLAIM_ACCOUNT, SLAB_TEMPORARY, SLAB_MEM_SPREAD: hints; without effect. The
 *   kernel does not count the pages as reclaimable slab.
 * - SLAB_CONSISTENCY_CHECKS, SLAB_RED_ZONE, SLAB_POISON, SLAB_STORE_USER, SLAB_TRACE,
 *   SLAB_DEBUG_OBJECTS, SLAB_FAILSLAB: without effect. Frees are always checked; the others
 *   are words for cache/<name>/debug in debugfs, which take effect while it runs.
 * - SLAB_NOLEAKTRACE, SLAB_SKIP_KFENCE, SLAB_NO_USER_FLAGS and the allocator's own:
 *   without effect.
 * - SLAB_CACHE_DMA, SLAB_CACHE_DMA32: do not compile.
 *
 * kmalloc() and its kind stay with the kernel, for a module's own memory and the kernel's
 * cannot be told apart by a header: what is given to the kernel to be freed there (the head
 * of an skb, a string, the private data of a file that the kernel frees) must be the
 * kernel's. Where a module does no such thing, -DPYM_COMPAT_KMALLOC moves kmalloc(),
 * kzalloc(), kmalloc_array(), kcalloc(), krealloc() and krealloc_array() too, up to
 * PYM_SMALL_MAX bytes, into the default heap. Above, and for all others (kvmalloc(),
 * kmalloc_node(), kmemdup(), kstrdup(), ...), memory is still the kernel's, and kfree() finds
 * out. kfree_rcu() does not compile then: pym_malloc() has nothing like it.
 *
 * Kernel headers that are read afterwards see the new names as well. Those that use
 * caches in line are read before, here.
 *
 * With -include, this is read before the module's own definition of pr_fmt, and the
 * compiler says that it is defined again. It does not if the same one is given to it first:
 * -D'pr_fmt(fmt)=KBUILD_MODNAME ": " fmt'; or where this is included last.
 */

/* ---------------------------------------------------------- what there is not -- */

/* Never defined: a call that is left in the end is an error, with this text. */
#define __PYM_NOT(name, why) \
	__compiletime_error("pymalloc: " why) unsigned long __pym_not_##name(void)

__PYM_NOT(dma,
	  "no cache has memory of a DMA zone; use a dma_pool, or the kernel's kmem_cache");
__PYM_NOT(zone,
	  "GFP_DMA, GFP_DMA32, __GFP_HIGHMEM, __GFP_MOVABLE are refused; leave them out");
__PYM_NOT(size,
	  "objects are up to PYM_CACHE_MAX_SIZE; use kvmalloc() for larger ones");
__PYM_NOT(align,
	  "alignment is a power of two up to PAGE_SIZE; use alloc_pages() for more");
__PYM_NOT(lru,
	  "kmem_cache_alloc_lru() is for memory cgroups; use the kernel's kmem_cache for it");
__PYM_NOT(charge,
	  "kmem_cache_charge() is for memory cgroups; remove it, or give the heap a limit");
__PYM_NOT(sheaf,
	  "sheaves are SLUB's; use kmem_cache_alloc_bulk() and kmem_cache_free_bulk()");
__PYM_NOT(barrier,
	  "kmem_cache_destroy() waits for kfree_rcu(); remove kvfree_rcu_barrier_on_cache()");
__PYM_NOT(rcu,
	  "no kfree_rcu() with PYM_COMPAT_KMALLOC; use pym_cache_free_rcu() or call_rcu()");

/* ---------------------------------------- functions under names of their own -- */

#define __pym_constant(test)	(__builtin_constant_p(test) && (test))

#define __pym_str1(x)	#x
#define __pym_str(x)	__pym_str1(x)
#ifdef PYM_COMPAT_HEAP
#define __PYM_SLAB_HEAP	__pym_str(PYM_COMPAT_HEAP)
#else
#define __PYM_SLAB_HEAP	NULL
#endif

/* The same in a kernel that has no such thing yet. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 12, 0)
struct kmem_cache_args {
	unsigned int align;
	unsigned int useroffset;
	unsigned int usersize;
	unsigned int freeptr_offset;
	bool use_freeptr_offset;
	void (*ctor)(void *object);
};
#endif

static __always_inline struct pym_cache *
__pym_slab_new(const char *name, unsigned int size, unsigned int align, slab_flags_t flags,
	       void (*ctor)(void *object))
{
	if (__pym_constant(size > PYM_CACHE_MAX_SIZE))
		__pym_not_size();
	if (__pym_constant(align > PAGE_SIZE || (align & (align - 1))))
		__pym_not_align();
	return __pym_slab_create(__PYM_SLAB_HEAP, name, size, align, flags, ctor, THIS_MODULE);
}

static __always_inline struct pym_cache *
__pym_slab_new_args(const char *name, unsigned int size, struct kmem_cache_args *args,
		    slab_flags_t flags)
{
	return __pym_slab_new(name, size, args->align, flags, args->ctor);
}

/* NULL instead of arguments. */
static __always_inline struct pym_cache *
__pym_slab_new_plain(const char *name, unsigned int size, const void *none, slab_flags_t flags)
{
	return __pym_slab_new(name, size, 0, flags, NULL);
}

static __always_inline struct pym_cache *
__pym_slab_new_usercopy(const char *name, unsigned int size, unsigned int align,
			slab_flags_t flags, unsigned int useroffset, unsigned int usersize,
			void (*ctor)(void *object))
{
	return __pym_slab_new(name, size, align, flags, ctor);
}

static __always_inline gfp_t __pym_slab_gfp(gfp_t gfp)
{
	if (__pym_constant(gfp & GFP_ZONEMASK))
		__pym_not_zone();
	return gfp;
}

static __always_inline void *__pym_slab_alloc(struct pym_cache *cache, gfp_t gfp)
{
	return pym_cache_alloc(cache, __pym_slab_gfp(gfp));
}

static __always_inline void *__pym_slab_alloc_node(struct pym_cache *cache, gfp_t gfp, int node)
{
	return pym_cache_alloc_node(cache, __pym_slab_gfp(gfp), node);
}

static __always_inline int __pym_slab_alloc_bulk(struct pym_cache *cache, gfp_t gfp, size_t n,
						 void **blocks)
{
	return pym_cache_alloc_bulk(cache, __pym_slab_gfp(gfp), n, blocks);
}

static inline int __pym_slab_shrink(struct pym_cache *cache)
{
	pym_cache_shrink(cache);
	return 0;
}

static inline unsigned int __pym_slab_size(struct pym_cache *cache)
{
	struct pym_cache_stats stats;

	pym_cache_stats(cache, &stats);
	return stats.size;
}

/* What the kernel has allocated is freed there. */
static inline void __pym_kfree(const void *p)
{
	if (!__pym_slab_free(p))
		kfree(p);
}

static inline void __pym_kvfree(const void *p)
{
	if (!__pym_slab_free(p))
		kvfree(p);
}

static inline void __pym_kfree_sensitive(const void *p)
{
	size_t size = pym_usable_size(p);

	if (size) {
		memzero_explicit((void *)p, size);
		__pym_slab_free(p);
	} else {
		kfree_sensitive(p);
	}
}

static inline void __pym_kfree_bulk(size_t n, void **blocks)
{
	while (n--)
		__pym_kfree(blocks[n]);
}

/* Without a cache it is kfree_bulk(). */
static inline void __pym_slab_free_bulk(struct pym_cache *cache, size_t n, void **blocks)
{
	if (cache)
		pym_cache_free_bulk(cache, n, blocks);
	else
		__pym_kfree_bulk(n, blocks);
}

static inline size_t __pym_ksize(const void *p)
{
	return pym_usable_size(p) ?: ksize(p);
}

/* What __free(kfree) and its like call. */
static inline void __pym_cleanup_kfree(void *at)
{
	void *p = *(void **)at;

	if (!IS_ERR_OR_NULL(p))
		__pym_kfree(p);
}

static inline void __pym_cleanup_kvfree(void *at)
{
	void *p = *(void **)at;

	if (!IS_ERR_OR_NULL(p))
		__pym_kvfree(p);
}

static inline void __pym_cleanup_kfree_sensitive(void *at)
{
	void *p = *(void **)at;

	if (p)
		__pym_kfree_sensitive(p);
}

static inline void *__pym_mempool_alloc(gfp_t gfp, void *cache)
{
	return pym_cache_alloc(cache, gfp);
}

static inline void __pym_mempool_free(void *block, void *cache)
{
	pym_cache_free(cache, block);
}

/* Of this type, and no other. */
static inline void *__pym_pool_data(struct pym_cache *cache)
{
	return cache;
}

#ifdef PYM_COMPAT_KMALLOC
static __always_inline void *__pym_kmalloc(size_t n, gfp_t gfp)
{
	return n <= PYM_SMALL_MAX ? pym_malloc(NULL, n, __pym_slab_gfp(gfp)) : kmalloc(n, gfp);
}

static __always_inline void *__pym_kzalloc(size_t n, gfp_t gfp)
{
	return __pym_kmalloc(n, gfp | __GFP_ZERO);
}

/* What does not fit is too much for either. */
static __always_inline void *__pym_kmalloc_array(size_t n, size_t size, gfp_t gfp)
{
	return __pym_kmalloc(size_mul(n, size), gfp);
}

static __always_inline void *__pym_kcalloc(size_t n, size_t size, gfp_t gfp)
{
	return __pym_kmalloc_array(n, size, gfp | __GFP_ZERO);
}

/* Where what there is came from does not decide where it goes. */
static inline void *__must_check __pym_krealloc(const void *p, size_t n, gfp_t gfp)
{
	size_t old = pym_usable_size(p);
	void *new;

	if (p && !n) {
		__pym_kfree(p);
		return ZERO_SIZE_PTR;
	}
	if (ZERO_OR_NULL_PTR(p))
		return __pym_kmalloc(n, gfp);
	if (!old)
		return krealloc(p, n, gfp);
	if (n <= PYM_SMALL_MAX)
		return pym_realloc(NULL, (void *)p, n, gfp);
	new = kmalloc(n, gfp);
	if (new) {
		memcpy(new, p, min(old, n));
		__pym_kfree(p);
	}
	return new;
}

static inline void *__must_check __pym_krealloc_array(void *p, size_t n, size_t size, gfp_t gfp)
{
	size_t bytes = size_mul(n, size);

	return bytes == SIZE_MAX ? NULL : __pym_krealloc(p, bytes, gfp);
}
#endif

/* ------------------------------------------------------- and under the usual -- */

#define kmem_cache	pym_cache

#undef kmem_cache_create
#define kmem_cache_create(name, size, args, ...)			\
	__builtin_choose_expr(__same_type((args), struct kmem_cache_args *),	\
			      __pym_slab_new_args,			\
	__builtin_choose_expr(__same_type((args), void *),		\
			      __pym_slab_new_plain,			\
			      __pym_slab_new))((name), (size), args, __VA_ARGS__)
#undef kmem_cache_create_usercopy
#define kmem_cache_create_usercopy	__pym_slab_new_usercopy
#undef KMEM_CACHE
#define KMEM_CACHE(type, flags)						\
	__pym_slab_new(#type, sizeof(struct type), __alignof__(struct type), (flags), NULL)
#undef KMEM_CACHE_USERCOPY
#define KMEM_CACHE_USERCOPY(type, flags, field)				\
	((void)offsetof(struct type, field), KMEM_CACHE(type, flags))
#undef kmem_cache_destroy
#define kmem_cache_destroy		__pym_slab_destroy

#undef kmem_cache_alloc
#define kmem_cache_alloc		__pym_slab_alloc
#undef kmem_cache_zalloc
#define kmem_cache_zalloc(cache, gfp)	__pym_slab_alloc((cache), (gfp) | __GFP_ZERO)
#undef kmem_cache_alloc_node
#define kmem_cache_alloc_node		__pym_slab_alloc_node
#undef kmem_cache_alloc_bulk
#define kmem_cache_alloc_bulk		__pym_slab_alloc_bulk
#undef kmem_cache_free
#define kmem_cache_free			pym_cache_free
#undef kmem_cache_free_bulk
#define kmem_cache_free_bulk		__pym_slab_free_bulk
#undef kmem_cache_shrink
#define kmem_cache_shrink		__pym_slab_shrink
#undef kmem_cache_size
#define kmem_cache_size			__pym_slab_size

#undef kfree
#define kfree				__pym_kfree
#undef kvfree
#define kvfree				__pym_kvfree
#undef kfree_sensitive
#define kfree_sensitive			__pym_kfree_sensitive
#undef kfree_bulk
#define kfree_bulk			__pym_kfree_bulk
#undef ksize
#define ksize				__pym_ksize
#define __free_kfree			__pym_cleanup_kfree
#define __free_kvfree			__pym_cleanup_kvfree
#define __free_kfree_sensitive		__pym_cleanup_kfree_sensitive

#undef mempool_create_slab_pool
#define mempool_create_slab_pool(min, cache)				\
	mempool_create((min), __pym_mempool_alloc, __pym_mempool_free,	\
		       __pym_pool_data(cache))
#undef mempool_init_slab_pool
#define mempool_init_slab_pool(pool, min, cache)			\
	mempool_init((pool), (min), __pym_mempool_alloc, __pym_mempool_free,	\
		     __pym_pool_data(cache))
#undef mempool_alloc_slab
#define mempool_alloc_slab		__pym_mempool_alloc
#undef mempool_free_slab
#define mempool_free_slab		__pym_mempool_free

/* With the name of the rcu_head, or without where that may sleep. */
#define __pym_kfree_rcu(p, kernel, ...)					\
do {									\
	typeof(p) __pym_p = (p);					\
									\
	if (__pym_p && !__pym_slab_free_rcu((void *)__pym_p))		\
		kernel(__pym_p, ##__VA_ARGS__);				\
} while (0)

#undef kfree_rcu
#undef kvfree_rcu
#undef kfree_rcu_mightsleep
#undef kvfree_rcu_mightsleep
#ifndef PYM_COMPAT_KMALLOC
#define __pym_kvfree_rcu_1(p)		__pym_kfree_rcu(p, kvfree_rcu_arg_1)
#define __pym_kvfree_rcu_2(p, head)	__pym_kfree_rcu(p, kvfree_rcu_arg_2, head)
#define kfree_rcu(...)							\
	CONCATENATE(__pym_kvfree_rcu_, COUNT_ARGS(__VA_ARGS__))(__VA_ARGS__)
#define kvfree_rcu			kfree_rcu
#define kfree_rcu_mightsleep(p)		__pym_kvfree_rcu_1(p)
#define kvfree_rcu_mightsleep(p)	__pym_kvfree_rcu_1(p)
#else
#define kfree_rcu(...)			__pym_not_rcu()
#define kvfree_rcu(...)			__pym_not_rcu()
#define kfree_rcu_mightsleep(...)	__pym_not_rcu()
#define kvfree_rcu_mightsleep(...)	__pym_not_rcu()

#undef kmalloc
#define kmalloc				__pym_kmalloc
#undef kzalloc
#define kzalloc				__pym_kzalloc
#undef kmalloc_array
#define kmalloc_array			__pym_kmalloc_array
#undef kcalloc
#define kcalloc				__pym_kcalloc
#undef krealloc
#define krealloc			__pym_krealloc
#undef krealloc_array
#define krealloc_array			__pym_krealloc_array
#endif

#undef SLAB_CACHE_DMA
#define SLAB_CACHE_DMA			((__force slab_flags_t)__pym_not_dma())
#undef SLAB_CACHE_DMA32
#define SLAB_CACHE_DMA32		((__force slab_flags_t)__pym_not_dma())

#undef kmem_cache_alloc_lru
#define kmem_cache_alloc_lru(...)	((void *)__pym_not_lru())
#undef kmem_cache_charge
#define kmem_cache_charge(...)		(!!__pym_not_charge())
#undef kmem_cache_prefill_sheaf
#define kmem_cache_prefill_sheaf(...)	((void *)__pym_not_sheaf())
#undef kmem_cache_refill_sheaf
#define kmem_cache_refill_sheaf(...)	((int)__pym_not_sheaf())
#undef kmem_cache_return_sheaf
#define kmem_cache_return_sheaf(...)	((void)__pym_not_sheaf())
#undef kmem_cache_alloc_from_sheaf
#define kmem_cache_alloc_from_sheaf(...)	((void *)__pym_not_sheaf())
#undef kvfree_rcu_barrier_on_cache
#define kvfree_rcu_barrier_on_cache(...)	((void)__pym_not_barrier())

#endif /* _PYMALLOC_SLAB_COMPAT_H */
