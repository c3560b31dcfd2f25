// SPDX-License-Identifier: GPL-2.0-only
/*
 * Page providers, and the way back from an address to its pool. The only file
 * that calls the page allocator.
 */
#include <linux/mm.h>
#include <linux/random.h>
#include <linux/siphash.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <linux/xarray.h>
#include "internal.h"
#include "kmemleak.h"

/* --------------------------------------------------------------- pages -- */

/*
 * One aligned block, split before the first of its pages goes back alone: most go back
 * as one, which is much cheaper. No __GFP_COMP: a compound page cannot be split, and
 * its tail pages have no private word.
 */
static void *pages_alloc(void *ctx, size_t size, gfp_t gfp, int node)
{
	struct page *page = alloc_pages_node(node, gfp, get_order(size));

	return page ? page_address(page) : NULL;
}

static void pages_split(void *ctx, void *addr, size_t size)
{
	split_page(virt_to_page(addr), get_order(size));
}

static void pages_free(void *ctx, void *addr, size_t size)
{
	struct page *page = virt_to_page(addr);
	unsigned int i;

	/* The second page has a reference of its own only if it was split off. */
	if (size == PAGE_SIZE || !page_count(page + 1)) {
		__free_pages(page, get_order(size));
		return;
	}
	for (i = 0; i < size >> PAGE_SHIFT; i++)
		__free_page(page + i);
}

const struct pym_provider_ops pym_provider_pages = {
	.name	= "pages",
	.flags	= PYM_PROVIDER_ATOMIC | PYM_PROVIDER_SPLIT,
	.alloc	= pages_alloc,
	.free	= pages_free,
	.split	= pages_split,
};
EXPORT_SYMBOL_GPL(pym_provider_pages);

/* ------------------------------------------------------------- vmalloc -- */

static void *vmalloc_alloc(void *ctx, size_t size, gfp_t gfp, int node)
{
	/*
	 * __vmalloc() honours the mask and places its pages by the memory policy;
	 * vmalloc_node() would be the other way round.
	 */
	return __vmalloc(size, pym_vmalloc_gfp(gfp & ~__GFP_THISNODE));
}

static void vmalloc_free(void *ctx, void *addr, size_t size)
{
	vfree(addr);
}

const struct pym_provider_ops pym_provider_vmalloc = {
	.name	= "vmalloc",
	.alloc	= vmalloc_alloc,
	.free	= vmalloc_free,
};
EXPORT_SYMBOL_GPL(pym_provider_vmalloc);

/* ------------------------------------------------------- calling them -- */

/**
 * pym_provider_allowed() - may the heap's provider be called here
 * @heap: the heap
 * @gfp: what the request allows
 *
 * vmalloc() does not return NULL in interrupt context, it is a BUG there, and
 * that includes sections with bottom halves off.
 *
 * Context: Any.
 * Return: true if it may.
 */
bool pym_provider_allowed(const struct pym_heap *heap, gfp_t gfp)
{
	if (!pym_may_obtain_for(heap))
		return false;
	if (heap->provider->flags & PYM_PROVIDER_ATOMIC)
		return true;
	return gfpflags_allow_blocking(gfp) && !in_interrupt() && !irqs_disabled();
}

/* Bytes that all providers have given us, for the message at unload. */
static atomic_long_t outstanding;

/**
 * pym_provider_outstanding() - bytes obtained from providers, not given back
 *
 * Context: Any.
 * Return: the sum over all providers.
 */
long pym_provider_outstanding(void)
{
	return atomic_long_read(&outstanding);
}
EXPORT_SYMBOL_IF_KUNIT(pym_provider_outstanding);

/**
 * pym_provider_alloc() - obtain memory from the heap's provider
 * @heap: the heap
 * @size: bytes, a power of two, at least PAGE_SIZE
 * @gfp: what the request allows
 * @nid: the node to ask for
 * @zeroed: set to whether the memory reads as zero
 *
 * Context: No lock; pym_provider_allowed().
 * Return: page-aligned memory, or NULL.
 */
void *pym_provider_alloc(struct pym_heap *heap, size_t size, gfp_t gfp, int nid, bool *zeroed)
{
	const struct pym_provider_ops *provider = heap->provider;
	void *addr;

	/*
	 * The caller's block is cleared when it is handed out, so that an arena
	 * need not be. The kernel's own providers clear it under init_on_alloc.
	 */
	gfp &= ~(__GFP_ZERO | __GFP_COMP);
	if (pym_nr_nodes() == 1)
		nid = NUMA_NO_NODE;
	else if (provider == &pym_provider_pages)
		/* What is on another node must not be taken for this one's. */
		gfp |= __GFP_THISNODE;
	addr = provider->alloc(heap->provider_ctx, size, gfp, nid);
	if (!addr)
		return NULL;
	if (!PAGE_ALIGNED(addr)) {
		pym_report(PYM_MISUSE_PROVIDER, 0,
			   "provider %s of heap %s returned memory that is not page-aligned; given back",
			   provider->name, heap->name);
		provider->free(heap->provider_ctx, addr, size);
		return NULL;
	}
	*zeroed = provider->flags & PYM_PROVIDER_ZEROED;
	if (provider == &pym_provider_pages || provider == &pym_provider_vmalloc)
		*zeroed = want_init_on_alloc(gfp);
	pym_kmemleak_obtained(addr);
	pym_kasan_obtained(heap, addr, size);
	atomic_long_add(size, &outstanding);
	return addr;
}

/**
 * pym_provider_free() - give memory back to the heap's provider
 * @heap: the heap
 * @addr: what pym_provider_alloc() returned, or part of it if it can split
 * @size: bytes
 *
 * Context: No lock. May sleep unless the provider is atomic.
 */
void pym_provider_free(struct pym_heap *heap, void *addr, size_t size)
{
	atomic_long_sub(size, &outstanding);
	pym_kasan_give_back(heap, addr, size);
	heap->provider->free(heap->provider_ctx, addr, size);
}

/**
 * pym_provider_split() - parts of a chunk are about to be given back alone
 * @heap: the heap
 * @addr: what pym_provider_alloc() returned
 * @size: bytes
 *
 * Context: as pym_provider_free().
 */
void pym_provider_split(struct pym_heap *heap, void *addr, size_t size)
{
	if (heap->provider->split && size > PAGE_SIZE)
		heap->provider->split(heap->provider_ctx, addr, size);
}

/* ------------------------------------------------- address to pool -- */

static siphash_key_t secret;

/* Pools of all providers but `pages', by page number. */
static DEFINE_XARRAY_FLAGS(pym_index, XA_FLAGS_LOCK_IRQ);

/**
 * pym_heap_indexed() - are the heap's pages in the index
 * @heap: the heap
 *
 * Context: Any.
 * Return: false if their struct page leads to their pool.
 */
bool pym_heap_indexed(const struct pym_heap *heap)
{
	return heap->provider != &pym_provider_pages;
}

/**
 * pym_pool_cookie() - what proves that an address is that of a pool
 * @pool: the pool
 *
 * Context: Any.
 * Return: a keyed hash of the address.
 */
u32 pym_pool_cookie(const struct pym_pool *pool)
{
	return siphash_1u64((unsigned long)pool, &secret);
}

/**
 * pym_index_cost() - bytes the index needs for an arena
 * @heap: the heap
 * @bytes: size of the arena
 *
 * An xarray's leaf node covers 64 pages in sizeof(struct xa_node) bytes; the
 * levels above add a 63rd of that, which is not counted.
 *
 * Context: Any.
 * Return: bytes to charge as metadata.
 */
size_t pym_index_cost(const struct pym_heap *heap, size_t bytes)
{
	if (!pym_heap_indexed(heap))
		return 0;
	return DIV_ROUND_UP((bytes >> PAGE_SHIFT) * sizeof(struct xa_node), XA_CHUNK_SIZE);
}

static int index_store(struct pym_pool *pool, unsigned long page, void *entry, gfp_t gfp)
{
	unsigned long flags;
	void *old;

	xa_lock_irqsave(&pym_index, flags);
	/* Drops the lock to allocate only if @gfp blocks: then irqs were on. */
	old = __xa_store(&pym_index, page, entry, gfp);
	xa_unlock_irqrestore(&pym_index, flags);
	return xa_err(old);
}

static void set_page_owner_words(struct page *page, struct pym_cache *owner)
{
	unsigned long word = (unsigned long)owner;

	/* Never both of a class and of the pool's last owner: the second word last. */
	WRITE_ONCE(page->lru.prev, NULL);
	if (!owner)
		word = PYM_NO_OWNER;
	else if (owner->is_class)
		word ^= pym_direct.secret;
	WRITE_ONCE(page->private, word);
	if (owner && owner->is_class)
		WRITE_ONCE(page->lru.prev, (void *)owner);
}

/**
 * pym_pool_set_owner() - say on a pool's pages who owns it
 * @pool: has its base
 * @owner: a cache or NULL
 *
 * Context: as for a change of the owner.
 */
void pym_pool_set_owner(struct pym_pool *pool, struct pym_cache *owner)
{
	unsigned long nr = 1UL << pool->arena->order;
	unsigned long i;

	if (pym_heap_indexed(pool->arena->heap))
		return;
	/* What a shadow looks after must not be freed by the fast path. */
	if (owner && owner->base)
		owner = NULL;
	for (i = 0; i < nr; i++)
		set_page_owner_words(virt_to_page(pool->base + i * PAGE_SIZE), owner);
}

/**
 * pym_pool_map() - make the addresses of a pool lead to it
 * @pool: has its base; no lookup can want it yet
 * @gfp: for the index
 *
 * Context: No lock.
 * Return: 0 or -ENOMEM; nothing is left behind then.
 */
int pym_pool_map(struct pym_pool *pool, gfp_t gfp)
{
	unsigned long nr = 1UL << pool->arena->order;
	unsigned long first = (unsigned long)pool->base >> PAGE_SHIFT;
	unsigned long i;
	int err;

	if (!pym_heap_indexed(pool->arena->heap)) {
		for (i = 0; i < nr; i++)
			virt_to_page(pool->base + i * PAGE_SIZE)->lru.next = (void *)pool;
		pym_pool_set_owner(pool, NULL);
		return 0;
	}
	for (i = 0; i < nr; i++) {
		err = -ENOMEM;
		if (!pym_may_fail(PYM_FAIL_INDEX, pool->arena->heap->name))
			err = index_store(pool, first + i, pool, gfp);
		if (err) {
			while (i--)
				index_store(pool, first + i, NULL, 0);
			return err;
		}
	}
	return 0;
}

/**
 * pym_pool_unmap() - make the addresses of a pool foreign again
 * @pool: still has its base
 *
 * Context: No lock.
 */
void pym_pool_unmap(struct pym_pool *pool)
{
	unsigned long nr = 1UL << pool->arena->order;
	unsigned long first = (unsigned long)pool->base >> PAGE_SHIFT;
	struct page *page;
	unsigned long i;

	if (pym_heap_indexed(pool->arena->heap)) {
		for (i = 0; i < nr; i++)
			index_store(pool, first + i, NULL, 0);
		return;
	}
	/* All of a pool's pages are of one block of the page allocator. */
	for (page = virt_to_page(pool->base); nr; nr--, page++) {
		WRITE_ONCE(page->private, 0);
		WRITE_ONCE(page->lru.prev, NULL);
	}
}

static bool pool_contains(const struct pym_pool *pool, const void *p)
{
	const void *base = READ_ONCE(pool->base);

	return base && p >= base && p < base + pym_arena_pool_size(pool->arena);
}

/*
 * Pool of a direct-map address, from struct page. The page may be anybody's, so
 * its private word is a hint until the cookie behind it has been read.
 */
static struct pym_pool *lookup_page(const void *p)
{
	struct pym_pool *pool;
	struct page *page;
	u32 cookie;

	if (!virt_addr_valid(p))
		return NULL;
	page = virt_to_page(p);
	if (!READ_ONCE(page->private))
		return NULL;
	pool = (struct pym_pool *)READ_ONCE(page->lru.next);
	if (get_kernel_nofault(cookie, &pool->cookie))
		return NULL;
	if (cookie != pym_pool_cookie(pool))
		return NULL;
	return pool_contains(pool, p) ? pool : NULL;
}

/**
 * pym_lookup() - the pool that an address is in
 * @p: any value at all; the memory there is not read
 *
 * Context: Any, under rcu_read_lock(), which keeps the descriptor.
 * Return: a pool with memory behind it, or NULL.
 */
struct pym_pool *pym_lookup(const void *p)
{
	struct pym_pool *pool;

	RCU_LOCKDEP_WARN(!rcu_read_lock_held(), "pym_lookup() without rcu_read_lock()");
	pool = lookup_page(p);
	if (pool)
		return pool;
	pool = xa_load(&pym_index, (unsigned long)p >> PAGE_SHIFT);
	return pool && pool_contains(pool, p) ? pool : NULL;
}
EXPORT_SYMBOL_IF_KUNIT(pym_lookup);

struct pym_direct pym_direct __ro_after_init;

void pym_provider_init(void)
{
	if (PYM_LINEAR_PAGES) {
		pym_direct.start = PAGE_OFFSET;
		/* Below vmalloc's area, whose pages have no place in the table. */
		pym_direct.size = VMALLOC_START - PAGE_OFFSET;
		pym_direct.first = (unsigned long)virt_to_page((void *)PAGE_OFFSET);
		pym_direct.base = pym_direct.first - (PAGE_OFFSET >> PAGE_SHIFT << 6);
	}
	/* 0 would make every page with two equal words one of ours. */
	do
		pym_direct.secret = get_random_long();
	while (!pym_direct.secret);
	get_random_bytes(&secret, sizeof(secret));
}

void pym_provider_exit(void)
{
	WARN_ON(!xa_empty(&pym_index));
	xa_destroy(&pym_index);
}
