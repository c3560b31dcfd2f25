// SPDX-License-Identifier: GPL-2.0-only
/*
 * General-purpose allocation: any size, by class or passed through; and the
 * hooks that wrap it.
 */
#include <linux/jump_label.h>
#include <linux/limits.h>
#include <linux/slab.h>
#include <linux/srcu.h>
#include <linux/string.h>
#include "internal.h"
#include "front.h"

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

struct pym_hooks {
	struct pym_heap_ops ops;
};

static DEFINE_STATIC_KEY_FALSE(hooks_key);	/* on while any heap has hooks */
static DEFINE_MUTEX(hooks_mutex);		/* serializes changes */
DEFINE_STATIC_SRCU(hooks_srcu);			/* a hook may sleep */

/* Does any heap have hooks, and may they be called? SRCU is not for NMI. */
static __always_inline bool has_hooks(void)
{
	return static_branch_unlikely(&hooks_key) && !in_nmi();
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

/* Any request, not through hooks. */
static noinline void *malloc_unhooked(struct pym_heap *heap, size_t n, gfp_t gfp,
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
	return pym_alloc_slow(cache, gfp, ip);
}

static void *hooked_malloc(struct pym_heap *heap, size_t n, gfp_t gfp, unsigned long ip);

static noinline void *malloc_slow(struct pym_heap *heap, size_t n, gfp_t gfp, unsigned long ip)
{
	heap = heap ?: pym_default_heap;
	if (has_hooks())
		return hooked_malloc(heap, n, gfp, ip);
	return malloc_unhooked(heap, n, gfp, ip);
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
	struct pym_cache **class = heap->class;

	return pym_alloc_finish(class[class_of_size(n)], gfp, slot, ip);
}
void *__pym_malloc_finish(struct pym_heap *heap, size_t n, gfp_t gfp, void *slot)
{
	return malloc_finish(heap, n, gfp, slot, _RET_IP_);
}
EXPORT_SYMBOL_GPL(__pym_malloc_finish);

static void *calloc_unhooked(struct pym_heap *heap, size_t n, size_t size, gfp_t gfp,
			     unsigned long ip)
{
	size_t bytes;

	if (check_mul_overflow(n, size, &bytes))
		return fail(heap, -ENOMEM, SIZE_MAX);
	return malloc_unhooked(heap, bytes, gfp | __GFP_ZERO, ip);
}

static noinline void free_unhooked(const void *p, unsigned long ip)
{
	struct pym_heap *reap = NULL;
	struct pym_cache *owner;
	struct pym_pool *pool;
	size_t offset;

	rcu_read_lock();
	pool = pym_lookup(p);
	if (likely(pool)) {
		owner = READ_ONCE(pool->owner);
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
	if (pool || pym_large_free(p))
		return;
	if (pym_large_encloses(p, &offset))
		pym_report(PYM_MISUSE_INTERIOR,
			   "byte %zu of a pass-through block, not its start; nothing changed; caller %pS",
			   offset, (void *)ip);
	else
		pym_report(PYM_MISUSE_FOREIGN,
			   "not a block of ours, or one that passed through and is free already; nothing changed; caller %pS",
			   (void *)ip);
}

static void hooked_free(const void *p, unsigned long ip);

/**
 * pym_free_from() - pym_free() on behalf of somebody else
 * @p: as for pym_free()
 * @ip: caller
 *
 * Context: as pym_free(), but NMI.
 */
void pym_free_from(const void *p, unsigned long ip)
{
	if (has_hooks())
		hooked_free(p, ip);
	else
		free_unhooked(p, ip);
}

/* What no front takes at once. */
static noinline void free_slow(const void *p, unsigned long ip)
{
	struct pym_cache *cache;

	if (has_hooks()) {
		hooked_free(p, ip);
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
	    !pym_front_make_room(cache) || !front_push(cache->head.front, p))
		free_unhooked(p, ip);
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
	if (owner) {
		raw_spin_lock_irqsave(&owner->lock, flags);
		found = pool->owner == owner &&
			pym_pool_slot(pool, owner, p, &slot) == PYM_SLOT_LIVE;
		raw_spin_unlock_irqrestore(&owner->lock, flags);
		block->heap = owner->heap;
		block->owner = owner;
		block->size = owner->size;
	}
	rcu_read_unlock();
	if (pool)
		return found;
	block->owner = NULL;
	return pym_large_info(p, &block->heap, &block->size);
}

/* Does a block of @size stay where it is when @n bytes are wanted of it? */
static bool stays(size_t n, const struct block *block)
{
	if (n > block->size)
		return false;
	if (4 * n > 3 * block->size)
		return true;
	return block->owner && class_of_size(n) == class_of_size(block->size);
}

static void *realloc_unhooked(struct pym_heap *heap, void *p, size_t n, gfp_t gfp,
			      unsigned long ip)
{
	struct block block;
	void *new;

	if (!p)
		return malloc_unhooked(heap ?: pym_default_heap, n, gfp, ip);
	if (!find_block(p, &block)) {
		pym_report(PYM_MISUSE_FOREIGN,
			   "realloc of what is not a live block of ours; nothing changed; caller %pS",
			   (void *)ip);
		return NULL;
	}
	if (block.owner && !block.owner->is_class) {
		pym_report(PYM_MISUSE_WRONG_API,
			   "realloc of a block of cache %s; nothing changed; caller %pS",
			   block.owner->name, (void *)ip);
		return NULL;
	}
	if (heap && heap != block.heap) {
		pym_report(PYM_MISUSE_WRONG_HEAP,
			   "realloc in heap %s of a block of heap %s; nothing changed; caller %pS",
			   heap->name, block.heap->name, (void *)ip);
		return NULL;
	}
	if (!pym_gfp_ok(&gfp, ip))
		return NULL;
	if (stays(n, &block))
		return p;
	new = malloc_unhooked(block.heap, n, gfp, ip);
	if (!new)
		return n <= block.size ? p : NULL;
	memcpy(new, p, min(n, block.size));
	free_unhooked(p, ip);
	return new;
}

/* ---------------------------------------------------------------- hooks -- */

static void *base_malloc(void *ctx, struct pym_heap *heap, size_t n, gfp_t gfp)
{
	return malloc_unhooked(heap, n, gfp, _RET_IP_);
}

static void *base_calloc(void *ctx, struct pym_heap *heap, size_t n, size_t size, gfp_t gfp)
{
	return calloc_unhooked(heap, n, size, gfp, _RET_IP_);
}

static void *base_realloc(void *ctx, struct pym_heap *heap, void *p, size_t n, gfp_t gfp)
{
	return realloc_unhooked(heap, p, n, gfp, _RET_IP_);
}

static void base_free(void *ctx, struct pym_heap *heap, const void *p)
{
	if (p)
		free_unhooked(p, _RET_IP_);
}

static const struct pym_heap_ops base_ops = {
	.malloc	 = base_malloc,
	.calloc	 = base_calloc,
	.realloc = base_realloc,
	.free	 = base_free,
};

/* The heap's hooks, or NULL; under hooks_srcu. */
static const struct pym_heap_ops *hooks_of(struct pym_heap *heap)
{
	struct pym_hooks *hooks;

	if (!heap)
		return NULL;
	hooks = srcu_dereference(heap->hooks, &hooks_srcu);
	return hooks ? &hooks->ops : NULL;
}

void pym_heap_get_ops(struct pym_heap *heap, struct pym_heap_ops *ops)
{
	int idx = srcu_read_lock(&hooks_srcu);
	/* A heap that has been destroyed has none, either. */
	const struct pym_heap_ops *hooks = hooks_of(heap ?: pym_default_heap);

	*ops = hooks ? *hooks : base_ops;
	srcu_read_unlock(&hooks_srcu, idx);
}
EXPORT_SYMBOL_GPL(pym_heap_get_ops);

/**
 * pym_hide_classes() - keep the classes of a heap, and their fronts, from the fast path
 * @heap: the heap
 *
 * Pairs with pym_class_publish() and pym_front_publish(): they see the flag, or we come
 * later.
 *
 * Context: Task context.
 */
void pym_hide_classes(struct pym_heap *heap)
{
	struct pym_cache *cache;
	unsigned int i;

	/* Pairs with pym_class_publish() and pym_front_publish(). */
	smp_store_mb(heap->hooked, true);
	for (i = 0; i < ARRAY_SIZE(heap->head.hot); i++)
		WRITE_ONCE(heap->head.hot[i], &pym_no_front);
	for (i = 0; i < PYM_NR_CLASSES; i++) {
		cache = READ_ONCE(heap->class[i]);
		if (cache)
			WRITE_ONCE(cache->head.front, &pym_no_front);
	}
}

static void show_classes(struct pym_heap *heap)
{
	struct pym_cache *cache;
	unsigned int i;

	WRITE_ONCE(heap->hooked, false);
	for (i = 0; i < PYM_NR_CLASSES; i++) {
		cache = READ_ONCE(heap->class[i]);
		if (cache)
			pym_class_publish(cache, min(cache->size, heap->small_max));
	}
}

static void replace_hooks(struct pym_heap *heap, struct pym_hooks *hooks)
{
	struct pym_hooks *old;

	mutex_lock(&hooks_mutex);
	if (hooks)
		static_branch_inc(&hooks_key);
	old = rcu_replace_pointer(heap->hooks, hooks, lockdep_is_held(&hooks_mutex));
	if (hooks)
		pym_hide_classes(heap);
	synchronize_srcu(&hooks_srcu);
	if (!hooks && old)
		show_classes(heap);
	if (old)
		static_branch_dec(&hooks_key);
	mutex_unlock(&hooks_mutex);
	pym_meta_free(heap, old, sizeof(*old));
}

int pym_heap_set_ops(struct pym_heap *heap, const struct pym_heap_ops *ops)
{
	struct pym_hooks *hooks = NULL;

	might_sleep();
	heap = heap ?: pym_default_heap;
	if (!pym_heap_ok(heap, "hooks", _RET_IP_))
		return -EINVAL;
	if (ops) {
		if (!ops->malloc || !ops->calloc || !ops->realloc || !ops->free)
			return -EINVAL;
		hooks = pym_meta_alloc(heap, PYM_FAIL_HOOKS, sizeof(*hooks), GFP_KERNEL);
		if (IS_ERR(hooks)) {
			if (PTR_ERR(hooks) == -EDQUOT)
				pym_limit_hit(heap, sizeof(*hooks));
			return -ENOMEM;
		}
		hooks->ops = *ops;
	}
	replace_hooks(heap, hooks);
	return 0;
}
EXPORT_SYMBOL_GPL(pym_heap_set_ops);

/**
 * pym_hooks_drop() - remove the hooks of a heap that is being destroyed
 * @heap: the heap
 *
 * Context: Task context, may sleep.
 */
void pym_hooks_drop(struct pym_heap *heap)
{
	if (rcu_access_pointer(heap->hooks))
		replace_hooks(heap, NULL);
}

/* The heap whose hooks an operation on @p goes through. */
static struct pym_heap *heap_of(const void *p)
{
	struct block block;

	return find_block(p, &block) ? block.heap : NULL;
}

/* What the functions below do while any heap has hooks. */
static void *hooked_malloc(struct pym_heap *heap, size_t n, gfp_t gfp, unsigned long ip)
{
	int idx = srcu_read_lock(&hooks_srcu);
	const struct pym_heap_ops *hooks = hooks_of(heap);
	void *p;

	p = hooks ? hooks->malloc(hooks->ctx, heap, n, gfp) :
		    malloc_unhooked(heap, n, gfp, ip);
	srcu_read_unlock(&hooks_srcu, idx);
	return p;
}

static void *hooked_calloc(struct pym_heap *heap, size_t n, size_t size, gfp_t gfp,
			   unsigned long ip)
{
	int idx = srcu_read_lock(&hooks_srcu);
	const struct pym_heap_ops *hooks = hooks_of(heap);
	void *p;

	p = hooks ? hooks->calloc(hooks->ctx, heap, n, size, gfp) :
		    calloc_unhooked(heap, n, size, gfp, ip);
	srcu_read_unlock(&hooks_srcu, idx);
	return p;
}

static void *hooked_realloc(struct pym_heap *heap, void *p, size_t n, gfp_t gfp,
			    unsigned long ip)
{
	struct pym_heap *via = p ? heap_of(p) : heap ?: pym_default_heap;
	int idx = srcu_read_lock(&hooks_srcu);
	const struct pym_heap_ops *hooks = hooks_of(via);
	void *new;

	new = hooks ? hooks->realloc(hooks->ctx, heap ?: via, p, n, gfp) :
		      realloc_unhooked(heap, p, n, gfp, ip);
	srcu_read_unlock(&hooks_srcu, idx);
	return new;
}

static void hooked_free(const void *p, unsigned long ip)
{
	struct pym_heap *via = p ? heap_of(p) : pym_default_heap;
	int idx = srcu_read_lock(&hooks_srcu);
	const struct pym_heap_ops *hooks = hooks_of(via);

	if (hooks)
		hooks->free(hooks->ctx, via, p);
	else if (p)
		free_unhooked(p, ip);
	srcu_read_unlock(&hooks_srcu, idx);
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
	if (has_hooks())
		return hooked_calloc(heap ?: pym_default_heap, n, size, gfp, _RET_IP_);
	if (check_mul_overflow(n, size, &bytes))
		return fail(heap ?: pym_default_heap, -ENOMEM, SIZE_MAX);
	return do_malloc(heap, bytes, gfp | __GFP_ZERO, _RET_IP_);
}
EXPORT_SYMBOL_GPL(pym_calloc);

void *pym_realloc(struct pym_heap *heap, void *p, size_t n, gfp_t gfp)
{
	if (has_hooks())
		return hooked_realloc(heap, p, n, gfp, _RET_IP_);
	return realloc_unhooked(heap, p, n, gfp, _RET_IP_);
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
	       front_push(cache->head.front, p);
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

	return find_block(p, &block) ? block.size : 0;
}
EXPORT_SYMBOL_GPL(pym_usable_size);

struct pym_heap *pym_owner(const void *p)
{
	return heap_of(p);
}
EXPORT_SYMBOL_GPL(pym_owner);
