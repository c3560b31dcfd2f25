// SPDX-License-Identifier: GPL-2.0-only
/*
 * The account of what a heap holds: charged before anything is obtained, so that
 * the limit is never passed, and in flight until it is in its place.
 */
#include <linux/gfp.h>
#include <linux/slab.h>
#include "internal.h"
#include "kmemleak.h"

/**
 * pym_charge() - reserve room under the heap's limit
 * @heap: the heap
 * @bytes: about to be obtained; in flight until pym_commit() or pym_uncharge()
 *
 * Context: Any, no lock of ours held.
 * Return: false if the limit forbids it.
 */
bool pym_charge(struct pym_heap *heap, size_t bytes)
{
	struct pym_account *acct = &heap->acct;
	unsigned long flags;
	bool ok;

	if (pym_may_fail(PYM_FAIL_LIMIT, heap->name))
		return false;
	raw_spin_lock_irqsave(&heap->lock, flags);
	ok = !heap->limit || bytes <= heap->limit - min(heap->limit, acct->held);
	if (ok) {
		acct->held += bytes;
		acct->in_flight += bytes;
		acct->high = max(acct->high, acct->held);
		acct->moves++;
	}
	raw_spin_unlock_irqrestore(&heap->lock, flags);
	return ok;
}

/**
 * pym_shift() - bytes held change their part
 * @heap: the heap
 * @bytes: how many
 * @from: the field of heap->acct they belonged to
 * @to: the one they belong to from now on
 *
 * Context: heap->lock.
 */
void pym_shift(struct pym_heap *heap, size_t bytes, size_t *from, size_t *to)
{
	lockdep_assert_held(&heap->lock);
	*from -= bytes;
	*to += bytes;
	heap->acct.moves++;
}

/**
 * pym_commit() - what was charged has been obtained
 * @heap: the heap
 * @bytes: how much of it
 * @part: the field of heap->acct it belongs to from now on
 *
 * Context: Any, no lock of ours held.
 */
void pym_commit(struct pym_heap *heap, size_t bytes, size_t *part)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&heap->lock, flags);
	pym_shift(heap, bytes, &heap->acct.in_flight, part);
	raw_spin_unlock_irqrestore(&heap->lock, flags);
}

/**
 * pym_uncharge_locked() - pym_uncharge() for those who hold the lock
 * @heap: the heap
 * @bytes: how much has been given back
 * @part: the field of heap->acct it belonged to
 *
 * Context: heap->lock.
 */
void pym_uncharge_locked(struct pym_heap *heap, size_t bytes, size_t *part)
{
	lockdep_assert_held(&heap->lock);
	*part -= bytes;
	heap->acct.held -= bytes;
	heap->acct.moves++;
}

/**
 * pym_uncharge() - what was charged has been given back
 * @heap: the heap
 * @bytes: how much of it
 * @part: the field of heap->acct it belonged to
 *
 * Context: Any, no lock of ours held.
 */
void pym_uncharge(struct pym_heap *heap, size_t bytes, size_t *part)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&heap->lock, flags);
	pym_uncharge_locked(heap, bytes, part);
	raw_spin_unlock_irqrestore(&heap->lock, flags);
}

/**
 * pym_meta_gfp() - the part of a request's flags that metadata heeds
 * @gfp: the request's
 *
 * The provider's memory is for blocks alone.
 *
 * Return: flags for kmalloc() and the page allocator.
 */
gfp_t pym_meta_gfp(gfp_t gfp)
{
	return gfp & ~(__GFP_ZERO | __GFP_ACCOUNT | __GFP_THISNODE | __GFP_COMP);
}

/**
 * pym_meta_alloc() - obtain zeroed metadata, charged to the heap
 * @heap: the heap
 * @site: what it is for
 * @size: bytes
 * @gfp: what the request allows
 *
 * Context: No lock of ours held; pym_may_obtain().
 * Return: the memory, ERR_PTR(-EDQUOT) if the limit forbids it, or
 * ERR_PTR(-ENOMEM).
 */
void *pym_meta_alloc(struct pym_heap *heap, enum pym_fail site, size_t size, gfp_t gfp)
{
	void *p = NULL;

	size = kmalloc_size_roundup(size);
	if (!pym_charge(heap, size))
		return ERR_PTR(-EDQUOT);
	if (!pym_may_fail(site, heap->name))
		p = kzalloc(size, pym_meta_gfp(gfp));
	if (p)
		pym_commit(heap, size, &heap->acct.metadata);
	else
		pym_uncharge(heap, size, &heap->acct.in_flight);
	return p ?: ERR_PTR(-ENOMEM);
}

/**
 * pym_meta_free() - give metadata back
 * @heap: the heap
 * @p: from pym_meta_alloc()
 * @size: the size asked for there
 *
 * Context: No lock of ours held; pym_may_obtain().
 */
void pym_meta_free(struct pym_heap *heap, const void *p, size_t size)
{
	if (!p)
		return;
	kfree(p);
	pym_uncharge(heap, kmalloc_size_roundup(size), &heap->acct.metadata);
}

/**
 * pym_pools_are_pages() - are the descriptors of so many pools whole pages
 * @npools: how many
 *
 * Then they come from the page allocator: what is freed to SLUB may stay with it.
 *
 * Return: false if they are kmalloc()ed.
 */
bool pym_pools_are_pages(unsigned int npools)
{
	return !(npools * sizeof(struct pym_pool) % PAGE_SIZE);
}

/**
 * pym_pools_bytes() - memory that the descriptors of pools take
 * @npools: how many
 *
 * Return: bytes to charge.
 */
size_t pym_pools_bytes(unsigned int npools)
{
	size_t bytes = npools * sizeof(struct pym_pool);

	return pym_pools_are_pages(npools) ? bytes : kmalloc_size_roundup(bytes);
}

/**
 * pym_pools_alloc() - obtain zeroed descriptors, whose bytes are charged already
 * @npools: how many
 * @gfp: for metadata
 *
 * Context: No lock of ours held; pym_may_obtain().
 * Return: the descriptors, or NULL.
 */
struct pym_pool *pym_pools_alloc(unsigned int npools, gfp_t gfp)
{
	size_t bytes = pym_pools_bytes(npools);
	struct pym_pool *pools;

	if (pym_pools_are_pages(npools))
		return (void *)__get_free_pages(gfp | __GFP_ZERO, get_order(bytes));
	pools = kzalloc(bytes, gfp);
	pym_kmemleak_ignore(pools);
	return pools;
}

/**
 * pym_pools_free() - free descriptors
 * @pools: from pym_pools_alloc()
 * @npools: how many
 *
 * Context: RCU callback.
 */
void pym_pools_free(struct pym_pool *pools, unsigned int npools)
{
	if (!pym_pools_are_pages(npools)) {
		kfree(pools);
		return;
	}
	free_pages((unsigned long)pools, get_order(pym_pools_bytes(npools)));
}
