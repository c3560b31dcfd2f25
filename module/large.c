// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pass-through: requests too large for a pool. kvmalloc() serves them; a record
 * for each says which heap it counts against and lets the heap free it. Records
 * are found by address, in red-black trees sharded by a hash of it.
 */
#include <linux/hash.h>
#include <linux/llist.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include "internal.h"
#include "kmemleak.h"

#define SHARD_BITS	6

static struct shard {
	raw_spinlock_t lock;
	struct rb_root root;		/* struct pym_large by ptr; guarded by lock */
} ____cacheline_aligned_in_smp shards[1 << SHARD_BITS];

/* Freed where vfree() is not allowed; a work item frees them. */
static LLIST_HEAD(deferred);
static void free_deferred(struct work_struct *work);
static DECLARE_WORK(deferred_work, free_deferred);

static struct shard *shard_of(const void *p)
{
	return &shards[hash_ptr(p, SHARD_BITS)];
}

static bool ptr_less(struct rb_node *a, const struct rb_node *b)
{
	return rb_entry(a, struct pym_large, node)->ptr < rb_entry(b, struct pym_large, node)->ptr;
}

static int ptr_cmp(const void *key, const struct rb_node *node)
{
	const void *ptr = rb_entry(node, struct pym_large, node)->ptr;

	return key < ptr ? -1 : key > ptr;
}

/* Bytes a block of @n is given: what kvmalloc() would round it to anyway. */
static size_t usable(size_t n)
{
	return n <= KMALLOC_MAX_CACHE_SIZE ? kmalloc_size_roundup(n) : PAGE_ALIGN(n);
}

/* Bytes the kernel spends on a block. */
static size_t held(const struct pym_large *large)
{
	return is_vmalloc_addr(large->ptr) ? PAGE_ALIGN(large->size) : ksize(large->ptr);
}

/* The same before the block is there: the larger of the two it can be. */
static size_t held_at_most(size_t size)
{
	return max_t(size_t, kmalloc_size_roundup(size), PAGE_ALIGN(size));
}

static size_t record_bytes(void)
{
	return kmalloc_size_roundup(sizeof(struct pym_large));
}

/**
 * pym_large_alloc() - serve a request above the heap's small_max
 * @heap: the heap
 * @n: bytes, at most INT_MAX
 * @gfp: allocation flags, checked
 *
 * Context: Any that @gfp allows, no lock of ours held.
 * Return: the block, or ERR_PTR(-EDQUOT, -EWOULDBLOCK, -ENOMEM).
 */
void *pym_large_alloc(struct pym_heap *heap, size_t n, gfp_t gfp)
{
	size_t charged = held_at_most(usable(n));
	struct pym_large *large;
	struct shard *shard;
	unsigned long flags;
	size_t bytes;

	if (!pym_may_obtain_for(heap))
		return ERR_PTR(-EWOULDBLOCK);
	large = pym_meta_alloc(heap, PYM_FAIL_RECORD, sizeof(*large), gfp);
	if (IS_ERR(large))
		return large;
	if (!pym_charge(heap, charged)) {
		pym_meta_free(heap, large, sizeof(*large));
		return ERR_PTR(-EDQUOT);
	}
	if (PYM_KMEMLEAK)
		pym_kmemleak_ignore(large);
	large->heap = heap;
	large->size = usable(n);
	if (!pym_may_fail(PYM_FAIL_LARGE, heap->name))
		large->ptr = kvmalloc(large->size, gfp);
	if (!large->ptr) {
		pym_uncharge(heap, charged, &heap->acct.in_flight);
		pym_meta_free(heap, large, sizeof(*large));
		return ERR_PTR(-ENOMEM);
	}
	bytes = held(large);

	/* Both at once, so that a count of the records is the heap's count. */
	shard = shard_of(large->ptr);
	raw_spin_lock_irqsave(&shard->lock, flags);
	rb_add(&large->node, &shard->root, ptr_less);
	raw_spin_lock(&heap->lock);
	heap->acct.in_flight -= charged;
	heap->acct.held -= charged - bytes;
	heap->acct.pass_through += bytes;
	heap->acct.moves++;
	heap->nr_large++;
	list_add(&large->list, &heap->large);
	raw_spin_unlock(&heap->lock);
	raw_spin_unlock_irqrestore(&shard->lock, flags);
	return large->ptr;
}

static struct pym_large *find_locked(struct shard *shard, const void *p)
{
	struct rb_node *node;

	lockdep_assert_held(&shard->lock);
	node = rb_find(p, &shard->root, ptr_cmp);
	return node ? rb_entry(node, struct pym_large, node) : NULL;
}

/**
 * pym_large_info() - what is known of a pass-through block
 * @p: any value
 * @heap: set to its heap, unless NULL
 * @size: set to its usable bytes, unless NULL
 *
 * Context: Any but NMI.
 * Return: false if @p is not the start of such a block.
 */
bool pym_large_info(const void *p, struct pym_heap **heap, size_t *size)
{
	struct shard *shard = shard_of(p);
	struct pym_large *large;
	unsigned long flags;

	raw_spin_lock_irqsave(&shard->lock, flags);
	large = find_locked(shard, p);
	if (large && heap)
		*heap = large->heap;
	if (large && size)
		*size = large->size;
	raw_spin_unlock_irqrestore(&shard->lock, flags);
	return large;
}

/**
 * pym_large_encloses() - is an address inside a pass-through block
 * @p: any value
 * @offset: set to its offset there
 *
 * Looks through every shard: for reports only.
 *
 * Context: Any but NMI.
 * Return: true if it is.
 */
bool pym_large_encloses(const void *p, size_t *offset)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(shards); i++) {
		struct pym_large *below = NULL;
		unsigned long flags;
		struct rb_node *node;
		bool found;

		raw_spin_lock_irqsave(&shards[i].lock, flags);
		for (node = shards[i].root.rb_node; node;) {
			struct pym_large *large = rb_entry(node, struct pym_large, node);

			if (p < large->ptr) {
				node = node->rb_left;
			} else {
				below = large;
				node = node->rb_right;
			}
		}
		found = below && p < below->ptr + below->size;
		if (found)
			*offset = p - below->ptr;
		raw_spin_unlock_irqrestore(&shards[i].lock, flags);
		if (found)
			return true;
	}
	return false;
}

/**
 * pym_large_count() - count the records of a heap, for verification
 * @heap: the heap
 * @bytes: set to the bytes the kernel spends on their blocks
 *
 * Context: Any but NMI.
 * Return: the number of records; only exact while the heap rests.
 */
unsigned long pym_large_count(struct pym_heap *heap, size_t *bytes)
{
	unsigned long n = 0;
	unsigned int i;

	*bytes = 0;
	for (i = 0; i < ARRAY_SIZE(shards); i++) {
		struct rb_node *node;
		unsigned long flags;

		raw_spin_lock_irqsave(&shards[i].lock, flags);
		for (node = rb_first(&shards[i].root); node; node = rb_next(node)) {
			struct pym_large *large = rb_entry(node, struct pym_large, node);

			if (large->heap == heap) {
				n++;
				*bytes += held(large);
			}
		}
		raw_spin_unlock_irqrestore(&shards[i].lock, flags);
	}
	return n;
}

/* Give back a block that is on no list any more and in no tree. */
static void release(struct pym_large *large)
{
	struct pym_heap *heap = large->heap;
	size_t bytes = held(large);

	kvfree(large->ptr);
	kfree(large);
	pym_uncharge(heap, bytes, &heap->acct.in_flight);
	pym_uncharge(heap, record_bytes(), &heap->acct.metadata);
}

/*
 * The deferred list links records through their rb_node, which is out of its
 * tree by then and is large enough.
 */
static struct llist_node *deferred_link(struct pym_large *large)
{
	BUILD_BUG_ON(sizeof(struct llist_node) > sizeof(large->node));
	return (struct llist_node *)&large->node;
}

static void free_deferred(struct work_struct *work)
{
	struct llist_node *first = llist_del_all(&deferred);

	while (first) {
		struct llist_node *next = first->next;

		release((struct pym_large *)first);
		first = next;
	}
}

/* Off both lists; its bytes are in flight from now on. */
static void unlist(struct shard *shard, struct pym_large *large)
{
	struct pym_heap *heap = large->heap;
	size_t bytes = held(large);

	lockdep_assert_held(&shard->lock);
	rb_erase(&large->node, &shard->root);
	raw_spin_lock(&heap->lock);
	list_del(&large->list);
	heap->nr_large--;
	heap->acct.pass_through -= bytes;
	heap->acct.in_flight += bytes;
	heap->acct.moves++;
	raw_spin_unlock(&heap->lock);
}

/**
 * pym_large_free() - free a pass-through block, if it is one
 * @p: any value
 *
 * Context: Any but NMI, no lock of ours held.
 * Return: false if @p is not the start of such a block; nothing happened then.
 */
bool pym_large_free(const void *p)
{
	struct shard *shard = shard_of(p);
	struct pym_large *large;
	unsigned long flags;

	raw_spin_lock_irqsave(&shard->lock, flags);
	large = find_locked(shard, p);
	if (large)
		unlist(shard, large);
	raw_spin_unlock_irqrestore(&shard->lock, flags);
	if (!large)
		return false;

	if (pym_may_obtain() && (!is_vmalloc_addr(p) || pym_may_sleep()) &&
	    !pym_may_fail(PYM_FAIL_DEFER, large->heap->name)) {
		release(large);
	} else {
		llist_add(deferred_link(large), &deferred);
		schedule_work(&deferred_work);
	}
	return true;
}

/**
 * pym_large_free_all() - free every pass-through block of a heap
 * @heap: a heap that nobody uses
 *
 * Context: Task context, may sleep.
 */
void pym_large_free_all(struct pym_heap *heap)
{
	struct pym_large *large;
	struct shard *shard;
	unsigned long flags;

	for (;;) {
		raw_spin_lock_irqsave(&heap->lock, flags);
		large = list_first_entry_or_null(&heap->large, struct pym_large, list);
		raw_spin_unlock_irqrestore(&heap->lock, flags);
		if (!large)
			break;
		shard = shard_of(large->ptr);
		raw_spin_lock_irqsave(&shard->lock, flags);
		unlist(shard, large);
		raw_spin_unlock_irqrestore(&shard->lock, flags);
		release(large);
	}
	/* Those freed before, from a context that could not, name the heap. */
	flush_work(&deferred_work);
}

void pym_large_init(void)
{
	unsigned int i;

	BUILD_BUG_ON(offsetof(struct pym_large, node) != 0);
	for (i = 0; i < ARRAY_SIZE(shards); i++) {
		raw_spin_lock_init(&shards[i].lock);
		shards[i].root = RB_ROOT;
	}
}

void pym_large_exit(void)
{
	flush_work(&deferred_work);
}
