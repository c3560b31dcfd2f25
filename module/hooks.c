// SPDX-License-Identifier: GPL-2.0-only
/*
 * Hooks: functions that a heap is given in place of its own, which they may call. While
 * any heap has some, every call looks for them.
 */
#include <linux/srcu.h>
#include "internal.h"

struct pym_hooks {
	struct pym_heap_ops ops;
};

DEFINE_STATIC_KEY_FALSE(pym_hooks_key);	/* on while any heap has hooks */
static DEFINE_MUTEX(hooks_mutex);		/* serializes changes */
DEFINE_STATIC_SRCU(hooks_srcu);			/* a hook may sleep */

static void *base_malloc(void *ctx, struct pym_heap *heap, size_t n, gfp_t gfp)
{
	return pym_malloc_unhooked(heap, n, gfp, _RET_IP_);
}

static void *base_calloc(void *ctx, struct pym_heap *heap, size_t n, size_t size, gfp_t gfp)
{
	return pym_calloc_unhooked(heap, n, size, gfp, _RET_IP_);
}

static void *base_realloc(void *ctx, struct pym_heap *heap, void *p, size_t n, gfp_t gfp)
{
	return pym_realloc_unhooked(heap, p, n, gfp, _RET_IP_);
}

static void base_free(void *ctx, struct pym_heap *heap, const void *p)
{
	if (p)
		pym_free_unhooked(p, _RET_IP_);
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
	for (i = 0; i < PYM_NR_CLASSES; i++) {
		cache = READ_ONCE(heap->class[i]);
		if (cache)
			pym_cache_hide(cache);
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
			pym_cache_show(cache);
	}
}

static void replace_hooks(struct pym_heap *heap, struct pym_hooks *hooks)
{
	struct pym_hooks *old;

	mutex_lock(&hooks_mutex);
	if (hooks)
		static_branch_inc(&pym_hooks_key);
	old = rcu_replace_pointer(heap->hooks, hooks, lockdep_is_held(&hooks_mutex));
	if (hooks)
		pym_hide_classes(heap);
	synchronize_srcu(&hooks_srcu);
	if (!hooks && old)
		show_classes(heap);
	if (old)
		static_branch_dec(&pym_hooks_key);
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

/* What pym_malloc() and the others do while any heap has hooks; @ip is the caller. */
void *pym_hooked_malloc(struct pym_heap *heap, size_t n, gfp_t gfp, unsigned long ip)
{
	int idx = srcu_read_lock(&hooks_srcu);
	const struct pym_heap_ops *hooks = hooks_of(heap);
	void *p;

	p = hooks ? hooks->malloc(hooks->ctx, heap, n, gfp) :
		    pym_malloc_unhooked(heap, n, gfp, ip);
	srcu_read_unlock(&hooks_srcu, idx);
	return p;
}

void *pym_hooked_calloc(struct pym_heap *heap, size_t n, size_t size, gfp_t gfp,
			unsigned long ip)
{
	int idx = srcu_read_lock(&hooks_srcu);
	const struct pym_heap_ops *hooks = hooks_of(heap);
	void *p;

	p = hooks ? hooks->calloc(hooks->ctx, heap, n, size, gfp) :
		    pym_calloc_unhooked(heap, n, size, gfp, ip);
	srcu_read_unlock(&hooks_srcu, idx);
	return p;
}

void *pym_hooked_realloc(struct pym_heap *heap, void *p, size_t n, gfp_t gfp,
			 unsigned long ip)
{
	struct pym_heap *via = p ? pym_owner(p) : heap ?: pym_default_heap;
	int idx = srcu_read_lock(&hooks_srcu);
	const struct pym_heap_ops *hooks = hooks_of(via);
	void *new;

	new = hooks ? hooks->realloc(hooks->ctx, heap ?: via, p, n, gfp) :
		      pym_realloc_unhooked(heap, p, n, gfp, ip);
	srcu_read_unlock(&hooks_srcu, idx);
	return new;
}

void pym_hooked_free(const void *p, unsigned long ip)
{
	struct pym_heap *via = p ? pym_owner(p) : pym_default_heap;
	int idx = srcu_read_lock(&hooks_srcu);
	const struct pym_heap_ops *hooks = hooks_of(via);

	if (hooks)
		hooks->free(hooks->ctx, via, p);
	else if (p)
		pym_free_unhooked(p, ip);
	srcu_read_unlock(&hooks_srcu, idx);
}
