// SPDX-License-Identifier: GPL-2.0-only
/*
 * Modules that leave caches and heaps behind: named, and not called any more. Here this
 * one plays them.
 */
#include <linux/mm.h>
#include <linux/module.h>
#include "fixture.h"

static unsigned int constructed, limited, given, hooked;

static void count_ctor(void *block)
{
	constructed++;
	memset(block, 0x11, 64);
}

static void count_limit(struct pym_heap *heap, size_t wanted, void *ctx)
{
	limited++;
}

static int init_consumer(struct kunit *test)
{
	constructed = 0;
	limited = 0;
	given = 0;
	hooked = 0;
	return pymt_init_bare(test);
}

static void ctor_is_not_called_again(struct kunit *test)
{
	struct pymt_heap *th = pymt_open(test, PYMT_PAGES, NULL);
	struct pym_cache_args args = { .heap = th->heap, .ctor = count_ctor };
	struct pym_cache *cache = pym_cache_create("left", 64, &args);
	unsigned int before;
	void *p, *blocks[200];

	KUNIT_ASSERT_NOT_NULL(test, cache);
	p = pymt_take(test, cache);
	KUNIT_EXPECT_GT(test, constructed, 0);
	pym_consumer_gone(THIS_MODULE);
	/* The cache, and its heap. */
	pymt_expect_misuse(test, PYM_MISUSE_LEAK, 2);
	before = constructed;
	pymt_take_many(test, cache, blocks, 200);
	KUNIT_EXPECT_EQ(test, constructed, before);
	pymt_give_many(cache, blocks, 200);
	KUNIT_EXPECT_EQ_MSG(test, *(u8 *)p, 0x11, "what is live stays");
	pym_cache_free(cache, p);
	/* Once is enough. */
	pym_consumer_gone(THIS_MODULE);
	pymt_expect_misuse(test, PYM_MISUSE_LEAK, 0);
}

static void limit_is_not_told_any_more(struct kunit *test)
{
	struct pym_heap_args args = { .limit_bytes = SZ_128K, .on_limit = count_limit };
	struct pymt_heap *th = pymt_open(test, PYMT_PAGES, &args);

	KUNIT_EXPECT_NULL(test, pym_malloc(th->heap, SZ_256K, GFP_KERNEL | __GFP_NOWARN));
	KUNIT_EXPECT_EQ(test, limited, 1);
	pym_consumer_gone(THIS_MODULE);
	pymt_expect_misuse(test, PYM_MISUSE_LEAK, 1);
	KUNIT_EXPECT_NULL(test, pym_malloc(th->heap, SZ_256K, GFP_KERNEL | __GFP_NOWARN));
	KUNIT_EXPECT_EQ(test, limited, 1);
}

/* A provider of the module's, which keeps what it gave. */
static struct page *kept;

static void *give_once(void *ctx, size_t size, gfp_t gfp, int node)
{
	given++;
	if (kept || size != PAGE_SIZE)
		return NULL;
	kept = alloc_page(gfp | __GFP_ZERO);
	return kept ? page_address(kept) : NULL;
}

static void take_back(void *ctx, void *addr, size_t size)
{
	given++;
}

static void provider_is_not_called_again(struct kunit *test)
{
	static const struct pym_provider_ops ops = {
		.name = "left", .alloc = give_once, .free = take_back,
	};
	struct pym_heap_args args = { .provider = &ops };
	struct pym_heap *heap = pym_heap_create("left", &args);
	unsigned int before;
	void *p;

	KUNIT_ASSERT_NOT_NULL(test, heap);
	kept = NULL;
	p = pym_malloc(heap, 512, GFP_KERNEL);
	KUNIT_EXPECT_NOT_NULL(test, p);
	pym_consumer_gone(THIS_MODULE);
	pymt_expect_misuse(test, PYM_MISUSE_LEAK, 1);
	before = given;
	KUNIT_EXPECT_NULL(test, pym_malloc(heap, 1024, GFP_KERNEL | __GFP_NOWARN));
	pym_free(p);
	pym_heap_shrink(heap);
	pym_heap_destroy(heap);
	KUNIT_EXPECT_EQ(test, given, before);
	if (kept)
		__free_page(kept);
}

static void *hook_malloc(void *ctx, struct pym_heap *heap, size_t n, gfp_t gfp)
{
	struct pym_heap_ops *base = ctx;

	hooked++;
	return base->malloc(base->ctx, heap, n, gfp);
}

static void hooks_are_dropped(struct kunit *test)
{
	struct pymt_heap *th = pymt_open(test, PYMT_PAGES | PYMT_FRONTS, NULL);
	struct pym_heap_ops base, ops;

	pym_heap_get_ops(th->heap, &base);
	ops = base;
	ops.ctx = &base;
	ops.malloc = hook_malloc;
	KUNIT_ASSERT_EQ(test, pym_heap_set_ops(th->heap, &ops), 0);
	pym_free(pymt_malloc(test, th->heap, 100));
	KUNIT_EXPECT_EQ(test, hooked, 1);
	pym_consumer_gone(THIS_MODULE);
	pymt_expect_misuse(test, PYM_MISUSE_LEAK, 1);
	pym_free(pymt_malloc(test, th->heap, 100));
	KUNIT_EXPECT_EQ(test, hooked, 1);
}

static struct kunit_case consumer_cases[] = {
	KUNIT_CASE(ctor_is_not_called_again),
	KUNIT_CASE(limit_is_not_told_any_more),
	KUNIT_CASE(provider_is_not_called_again),
	KUNIT_CASE(hooks_are_dropped),
	{}
};

static struct kunit_suite consumer_suite = {
	.name = "pymalloc_consumer",
	.init = init_consumer,
	.exit = pymt_exit,
	.test_cases = consumer_cases,
};

kunit_test_suites(&consumer_suite);
