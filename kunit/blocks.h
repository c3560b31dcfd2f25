/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A heap on each of the kernel's own providers, with and without fronts, and blocks of
 * it, for suites that are about the bytes in blocks.
 */
#ifndef _PYMALLOC_KUNIT_BLOCKS_H
#define _PYMALLOC_KUNIT_BLOCKS_H

#include "fixture.h"

static const struct kind {
	const char *name;
	const struct pym_provider_ops *provider;
	unsigned int flags;
} kinds[] = {
	{ "pages", &pym_provider_pages },
	{ "pages-no-fronts", &pym_provider_pages, PYM_HEAP_NO_FRONTS },
	{ "vmalloc", &pym_provider_vmalloc },
	{ "vmalloc-no-fronts", &pym_provider_vmalloc, PYM_HEAP_NO_FRONTS },
};

static inline void kind_name(const struct kind *kind, char *name)
{
	strscpy(name, kind->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(kind, kinds, kind_name);

static inline struct pym_heap *heap_of_test(struct kunit *test)
{
	return test->priv;
}

static inline int open_heap(struct kunit *test)
{
	const struct kind *kind = test->param_value;
	struct pym_heap_args args = { .provider = kind->provider, .flags = kind->flags };

	test->priv = pym_heap_create("blocks", &args);
	return test->priv ? 0 : -ENOMEM;
}

static inline void close_heap(struct kunit *test)
{
	struct pym_heap *heap = heap_of_test(test);

	mutex_lock(&pym_registry);
	KUNIT_EXPECT_EQ(test, pym_heap_verify(heap, NULL, NULL), 0);
	mutex_unlock(&pym_registry);
	pym_heap_destroy(heap);
}

/* A cache that has its fronts, if it is to have any. */
static inline struct pym_cache *warm_cache(struct kunit *test, size_t size,
					   const struct pym_cache_args *with)
{
	struct pym_cache_args args = with ? *with : (struct pym_cache_args){};
	void *blocks[PYMT_WARM];
	struct pym_cache *cache;
	unsigned int turn, i;

	args.heap = heap_of_test(test);
	cache = pym_cache_create("blocks", size, &args);
	KUNIT_ASSERT_NOT_NULL(test, cache);
	for (turn = 0; turn < 2; turn++) {
		for (i = 0; i < ARRAY_SIZE(blocks); i++) {
			blocks[i] = pym_cache_alloc(cache, GFP_KERNEL);
			KUNIT_ASSERT_NOT_NULL(test, blocks[i]);
		}
		for (i = 0; i < ARRAY_SIZE(blocks); i++)
			pym_cache_free(cache, blocks[i]);
	}
	return cache;
}

static inline void *take(struct kunit *test, struct pym_cache *cache)
{
	void *block = pym_cache_alloc(cache, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, block);
	return block;
}

static inline void *take_n(struct kunit *test, size_t n)
{
	void *p = pym_malloc(heap_of_test(test), n, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, p);
	return p;
}

#endif /* _PYMALLOC_KUNIT_BLOCKS_H */
