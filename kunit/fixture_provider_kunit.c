// SPDX-License-Identifier: GPL-2.0-only
/*
 * A provider that watches its caller: what it is asked for and from where, what comes
 * back and in which pieces. It fails when it is told to.
 */
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/vmalloc.h>
#include "fixture.h"

static u8 misaligned[2 * PAGE_SIZE] __aligned(PAGE_SIZE);

static void breach(struct pymt_provider *tp, enum pymt_breach kind)
{
	set_bit(kind, &tp->breaches);
}

static void check_caller(struct pymt_provider *tp, size_t size, bool may_sleep)
{
	if (!is_power_of_2(size) || size < PAGE_SIZE)
		breach(tp, PYMT_BAD_SIZE);
	if (IS_ENABLED(CONFIG_PREEMPT_COUNT) && !tp->atomic &&
	    (!preemptible() || (may_sleep && rcu_preempt_depth())))
		breach(tp, PYMT_BAD_CONTEXT);
#ifdef CONFIG_LOCKDEP
	if (tp->heap && lockdep_is_held(&tp->heap->lock))
		breach(tp, PYMT_BAD_CONTEXT);
	if (lockdep_is_held(&pym_registry))
		tp->in_registry++;
#endif
}

static void check_gfp(struct pymt_provider *tp, gfp_t gfp)
{
	if (gfp & GFP_ZONEMASK)
		breach(tp, PYMT_BAD_GFP);
	if (gfpflags_allow_blocking(gfp))
		might_sleep();
	else if (!(tp->ops.flags & PYM_PROVIDER_ATOMIC))
		breach(tp, PYMT_BAD_GFP);
}

static bool shall_fail(struct pymt_provider *tp, unsigned int call, size_t size)
{
	if (tp->max_size && size > tp->max_size)
		return true;
	return tp->fail_at && (call == tp->fail_at || (tp->fail_on && call > tp->fail_at));
}

static void *obtain(struct pymt_provider *tp, size_t size, gfp_t gfp, int node)
{
	unsigned int order = get_order(size);
	struct page *page;

	gfp = (gfp & ~__GFP_ZERO) | __GFP_NOWARN;
	if (!(tp->ops.flags & PYM_PROVIDER_SPLIT))
		return __vmalloc(size, pym_vmalloc_gfp(gfp));
	page = alloc_pages_node(node, gfp, order);
	if (!page)
		return NULL;
	if (order && tp->ops.split)
		set_page_private(page, order);
	else if (order)
		split_page(page, order);
	return page_address(page);
}

/* The first page of a chunk has its order until it is split, the others nothing. */
static void provider_split(void *ctx, void *addr, size_t size)
{
	struct pymt_provider *tp = ctx;
	struct page *page = virt_to_page(addr);

	atomic_inc(&tp->splits);
	check_caller(tp, size, !(tp->ops.flags & PYM_PROVIDER_ATOMIC));
	if (size == PAGE_SIZE || page_private(page) != get_order(size)) {
		breach(tp, PYMT_BAD_SPLIT);
		return;
	}
	set_page_private(page, 0);
	split_page(page, get_order(size));
}

static void *provider_alloc(void *ctx, size_t size, gfp_t gfp, int node)
{
	struct pymt_provider *tp = ctx;
	unsigned int call = atomic_inc_return(&tp->calls);
	void *p;

	check_caller(tp, size, gfpflags_allow_blocking(gfp));
	check_gfp(tp, gfp);
	if (call <= PYMT_LOG) {
		tp->size[call - 1] = size;
		tp->gfp[call - 1] = gfp;
	}
	if (shall_fail(tp, call, size))
		return NULL;
	if (tp->misalign)
		return misaligned + 8;
	p = obtain(tp, size, gfp, node);
	if (!p)
		return NULL;
	atomic_long_add(size, &tp->bytes);
	memset(p, tp->ops.flags & PYM_PROVIDER_ZEROED ? 0 : PYMT_FILL, size);
	return p;
}

/* Give back a chunk that is still whole. True if the pages are their own by now. */
static bool give_chunk(struct pymt_provider *tp, struct page *page, unsigned int order)
{
	unsigned long whole = page_private(page);

	if (!whole && page_count(page))
		return true;
	/* A part of what was not split, or another size than was obtained. */
	if (whole != order || !whole) {
		breach(tp, PYMT_BAD_FREE);
		return false;
	}
	set_page_private(page, 0);
	__free_pages(page, order);
	return false;
}

static void provider_free(void *ctx, void *addr, size_t size)
{
	struct pymt_provider *tp = ctx;
	size_t i;

	if (addr == misaligned + 8)
		return;
	atomic_inc(&tp->frees);
	check_caller(tp, size, !(tp->ops.flags & PYM_PROVIDER_ATOMIC));
	if (!addr || !PAGE_ALIGNED(addr) || atomic_long_sub_return(size, &tp->bytes) < 0) {
		breach(tp, PYMT_BAD_FREE);
		return;
	}
	if (!(tp->ops.flags & PYM_PROVIDER_SPLIT)) {
		/* A part must not be given back: vmalloc() adds one guard page. */
		if (!is_vmalloc_addr(addr))
			breach(tp, PYMT_BAD_FREE);
		vfree(addr);
		return;
	}
	if (tp->ops.split && !give_chunk(tp, virt_to_page(addr), get_order(size)))
		return;
	for (i = 0; i < size; i += PAGE_SIZE)
		__free_page(virt_to_page(addr + i));
}

struct pymt_provider *pymt_provider_new(struct kunit *test, unsigned int flags, bool chunks)
{
	struct pymt_provider *tp = kunit_kzalloc(test, sizeof(*tp), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, tp);
	tp->ops.name = "test";
	tp->ops.flags = flags;
	tp->ops.alloc = provider_alloc;
	tp->ops.free = provider_free;
	if (chunks)
		tp->ops.split = provider_split;
	return tp;
}
