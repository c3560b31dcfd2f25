// SPDX-License-Identifier: GPL-2.0-only
/*
 * What callers do wrong. Every case: one report of the right kind, nothing
 * changed, and the allocator works as before.
 */
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include "fixture.h"

static struct pym_heap *heap_of(struct kunit *test)
{
	return pymt_heap(test)->heap;
}

/* A heap in use: live, free and virgin blocks, in a cache and in a class. */
struct scene {
	struct pym_cache *cache;
	void *blocks[6];		/* of the cache; [3] and [5] are free */
	void *small;			/* from pym_malloc() */
	void *large;
	void *got;			/* what a bad call returned */
	struct pym_heap_stats before;
};

static struct scene *set_scene(struct kunit *test)
{
	struct scene *s = kunit_kzalloc(test, sizeof(*s), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, s);
	s->cache = pymt_cache(test, heap_of(test), 24);
	pymt_take_many(test, s->cache, s->blocks, 6);
	s->small = pymt_malloc(test, heap_of(test), 40);
	s->large = pymt_malloc(test, heap_of(test), 6000);
	pym_cache_free(s->cache, s->blocks[3]);
	pym_cache_free(s->cache, s->blocks[5]);
	pymt_stats(test, heap_of(test), &s->before);
	return s;
}

/* One report of @kind, and everything is as it was; then the scene is cleared. */
static void expect_nothing_else(struct kunit *test, struct scene *s, enum pym_misuse kind,
				unsigned long n)
{
	struct pym_heap_stats after;

	pymt_expect_misuse(test, kind, n);
	KUNIT_EXPECT_NULL(test, s->got);
	pymt_stats(test, heap_of(test), &after);
	pymt_expect_same(test, &s->before, &after);
	pymt_check(test, pymt_heap(test));
	KUNIT_EXPECT_PTR_EQ_MSG(test, pymt_take(test, s->cache), s->blocks[3],
				"allocation goes on as if nothing had happened");
	pymt_give_many(s->cache, s->blocks, 5);
	pym_free(s->small);
	pym_free(s->large);
	pymt_stats(test, heap_of(test), &after);
	KUNIT_EXPECT_EQ(test, after.live, s->before.live - 6);
	pymt_expect_misuse(test, kind, 0);
}

/* --------------------------------------------------------- double free ---- */

static void double_free_of_cache_block(struct kunit *test)
{
	struct scene *s = set_scene(test);

	pym_cache_free(s->cache, s->blocks[3]);
	expect_nothing_else(test, s, PYM_MISUSE_DOUBLE_FREE, 1);
}

static void double_free_of_small(struct kunit *test)
{
	void *p = pymt_malloc(test, heap_of(test), 100);
	void *keep = pymt_malloc(test, heap_of(test), 100);
	struct scene *s;

	pym_free(p);
	s = set_scene(test);
	pym_free(p);
	expect_nothing_else(test, s, PYM_MISUSE_DOUBLE_FREE, 1);
	pym_free(keep);
}

static void double_free_of_pass_through(struct kunit *test)
{
	void *p = pymt_malloc(test, heap_of(test), 9000);
	struct scene *s;

	pym_free(p);
	s = set_scene(test);
	pym_free(p);
	expect_nothing_else(test, s, PYM_MISUSE_FOREIGN, 1);
}

/* The pool is empty by then and has no owner. */
static void double_free_in_empty_pool(struct kunit *test)
{
	void *p = pymt_malloc(test, heap_of(test), 200);
	struct pym_heap_stats before, after;

	pym_free(p);
	pymt_stats(test, heap_of(test), &before);
	pym_free(p);
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 1);
	pymt_stats(test, heap_of(test), &after);
	pymt_expect_same(test, &before, &after);
}

static void double_free_to_cache_in_empty_pool(struct kunit *test)
{
	struct pym_cache *cache = pymt_cache(test, heap_of(test), 200);
	void *p = pymt_take(test, cache);

	pym_cache_free(cache, p);
	pym_cache_free(cache, p);
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 1);
	KUNIT_EXPECT_PTR_EQ(test, pymt_take(test, cache), p);
	pym_cache_free(cache, p);
}

/* Its page went back to the provider: it is nobody's now. */
static void double_free_after_shrink(struct kunit *test)
{
	void *p = pymt_malloc(test, heap_of(test), 200);

	pym_free(p);
	KUNIT_EXPECT_GT(test, pym_heap_shrink(heap_of(test)), 0);
	pym_free(p);
	pymt_expect_misuse(test, PYM_MISUSE_FOREIGN, 1);
}

static void twice_in_one_bulk_free(struct kunit *test)
{
	struct scene *s = set_scene(test);
	void *twice[4] = { s->blocks[3], s->blocks[0], s->blocks[0], s->blocks[1] };
	struct pym_cache_stats stats;

	pymt_take(test, s->cache);
	pym_cache_free_bulk(s->cache, 4, twice);
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 1);
	pym_cache_stats(s->cache, &stats);
	KUNIT_EXPECT_EQ_MSG(test, stats.live, 2, "the good entries are freed all the same");
	KUNIT_EXPECT_PTR_EQ(test, pymt_take(test, s->cache), s->blocks[0]);
	KUNIT_EXPECT_PTR_EQ(test, pymt_take(test, s->cache), s->blocks[1]);
	expect_nothing_else(test, s, PYM_MISUSE_DOUBLE_FREE, 0);
}

static void virgin_block(struct kunit *test)
{
	struct scene *s = set_scene(test);

	pym_cache_free(s->cache, s->blocks[5] + 24);
	expect_nothing_else(test, s, PYM_MISUSE_DOUBLE_FREE, 1);
}

static void virgin_pool(struct kunit *test)
{
	struct scene *s = set_scene(test);
	struct pym_pool *pool = pymt_pool(test, s->blocks[0]);

	pool = &pool->arena->pools[pool->arena->npools - 1];
	KUNIT_EXPECT_EQ(test, pool->state, PYM_POOL_VIRGIN);
	pym_free(pool->base);
	expect_nothing_else(test, s, PYM_MISUSE_DOUBLE_FREE, 1);
}

/* ------------------------------------------------------------ interior ---- */

static const size_t insides[] = { 1, 7, 8, 16, 23 };

static void inside_desc(const size_t *offset, char *desc)
{
	scnprintf(desc, KUNIT_PARAM_DESC_SIZE, "plus-%zu", *offset);
}

KUNIT_ARRAY_PARAM(insides, insides, inside_desc);

static void interior_of_cache_block(struct kunit *test)
{
	struct scene *s = set_scene(test);

	pym_cache_free(s->cache, s->blocks[1] + *(const size_t *)test->param_value);
	expect_nothing_else(test, s, PYM_MISUSE_INTERIOR, 1);
}

static void interior_of_small(struct kunit *test)
{
	struct scene *s = set_scene(test);

	pym_free(s->small + *(const size_t *)test->param_value);
	expect_nothing_else(test, s, PYM_MISUSE_INTERIOR, 1);
}

static void interior_of_pass_through(struct kunit *test)
{
	struct scene *s = set_scene(test);

	pym_free(s->large + *(const size_t *)test->param_value);
	expect_nothing_else(test, s, PYM_MISUSE_INTERIOR, 1);
}

/* 170 blocks of 24 bytes, and 16 bytes that belong to none. */
static void tail_of_pool(struct kunit *test)
{
	struct scene *s = set_scene(test);
	struct pym_pool *pool = pymt_pool(test, s->blocks[0]);

	pym_cache_free(s->cache, pool->base + 170 * 24);
	expect_nothing_else(test, s, PYM_MISUSE_INTERIOR, 1);
}

/* ------------------------------------------------------------- foreign ---- */

static char static_data[64];

enum foreign {
	STACK, STATIC_DATA, CODE, KMALLOCED, VMALLOCED, PAGE, USER, LOW, WILD,
	NON_CANONICAL, ALL_ONES, ONE, NR_FOREIGN
};

static const enum foreign foreigns[NR_FOREIGN] = {
	STACK, STATIC_DATA, CODE, KMALLOCED, VMALLOCED, PAGE, USER, LOW, WILD, NON_CANONICAL,
	ALL_ONES, ONE,
};

static void foreign_desc(const enum foreign *kind, char *desc)
{
	static const char * const names[NR_FOREIGN] = {
		"stack", "static-data", "code", "kmalloc", "vmalloc", "alloc_pages",
		"user-address", "dead0000", "wild", "non-canonical", "all-ones", "one",
	};

	strscpy(desc, names[*kind], KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(foreigns, foreigns, foreign_desc);

static void foreign_pointer(struct kunit *test, void (*fn)(struct scene *s, void *p))
{
	enum foreign kind = *(const enum foreign *)test->param_value;
	void *heap = kmalloc(64, GFP_KERNEL), *area = vmalloc(PAGE_SIZE);
	struct page *page = alloc_page(GFP_KERNEL);
	struct scene *s = set_scene(test);
	void *const p[NR_FOREIGN] = {
		[STACK] = &kind,
		[STATIC_DATA] = static_data,
		[CODE] = foreign_pointer,
		[KMALLOCED] = heap,
		[VMALLOCED] = area,
		[PAGE] = page ? page_address(page) : NULL,
		[USER] = (void *)0x00007f0000001000,
		[LOW] = (void *)0xdead0000,
		[WILD] = (void *)0xffff888000000000,
		[NON_CANONICAL] = (void *)0x5a5a5a5a5a5a5a58,
		[ALL_ONES] = (void *)SIZE_MAX,
		[ONE] = (void *)1,
	};

	if (p[kind]) {
		fn(s, p[kind]);
		expect_nothing_else(test, s, PYM_MISUSE_FOREIGN, 1);
	} else {
		KUNIT_FAIL(test, "no memory for the test itself");
	}
	kfree(heap);
	vfree(area);
	if (page)
		__free_page(page);
}

static void free_it(struct scene *s, void *p)
{
	pym_free(p);
}

static void cache_free_it(struct scene *s, void *p)
{
	pym_cache_free(s->cache, p);
}

static void realloc_it(struct scene *s, void *p)
{
	s->got = pym_realloc(NULL, p, 100, GFP_KERNEL);
}

static void foreign_to_free(struct kunit *test)
{
	foreign_pointer(test, free_it);
	KUNIT_EXPECT_NULL_MSG(test, memchr_inv(static_data, 0, sizeof(static_data)),
			      "memory of others is not written");
}

static void foreign_to_cache_free(struct kunit *test)
{
	foreign_pointer(test, cache_free_it);
	KUNIT_EXPECT_NULL(test, memchr_inv(static_data, 0, sizeof(static_data)));
}

static void foreign_to_realloc(struct kunit *test)
{
	foreign_pointer(test, realloc_it);
	KUNIT_EXPECT_NULL(test, memchr_inv(static_data, 0, sizeof(static_data)));
}

/* A page that looks like ours: the tag is there, what it points at is not. */
static void page_with_forged_private(struct kunit *test)
{
	struct page *page = alloc_page(GFP_KERNEL);
	struct scene *s = set_scene(test);
	const unsigned long forged[] = { 3, 0xdead0003, (unsigned long)static_data | 3,
					 SIZE_MAX, 0x5a5a5a5a5a5a5a5b };
	int i;

	KUNIT_ASSERT_NOT_NULL(test, page);
	for (i = 0; i < ARRAY_SIZE(forged); i++) {
		set_page_private(page, forged[i]);
		pym_free(page_address(page));
	}
	set_page_private(page, 0);
	__free_page(page);
	expect_nothing_else(test, s, PYM_MISUSE_FOREIGN, ARRAY_SIZE(forged));
}

/* -------------------------------------------------- wrong cache, wrong API ---- */

static void wrong_cache(struct kunit *test)
{
	struct pym_cache *other = pymt_cache(test, heap_of(test), 24);
	struct scene *s = set_scene(test);

	pym_cache_free(other, s->blocks[0]);
	expect_nothing_else(test, s, PYM_MISUSE_WRONG_CACHE, 1);
}

static void wrong_cache_of_another_heap(struct kunit *test)
{
	struct pym_cache *other = pymt_cache(test, pymt_open(test, PYMT_PAGES, NULL)->heap, 24);
	struct scene *s = set_scene(test);

	pym_cache_free(other, s->blocks[0]);
	expect_nothing_else(test, s, PYM_MISUSE_WRONG_CACHE, 1);
}

static void wrong_cache_in_bulk(struct kunit *test)
{
	struct pym_cache *other = pymt_cache(test, heap_of(test), 24);
	void *mine = pymt_take(test, other);
	struct scene *s = set_scene(test);
	void *mixed[3] = { s->blocks[0], NULL, s->blocks[1] };

	pym_cache_free_bulk(other, 3, mixed);
	expect_nothing_else(test, s, PYM_MISUSE_WRONG_CACHE, 2);
	pym_cache_free(other, mine);
}

static void cache_block_to_pym_free(struct kunit *test)
{
	struct scene *s = set_scene(test);

	pym_free(s->blocks[0]);
	expect_nothing_else(test, s, PYM_MISUSE_WRONG_API, 1);
}

static void cache_block_to_pym_realloc(struct kunit *test)
{
	struct scene *s = set_scene(test);

	KUNIT_EXPECT_NULL(test, pym_realloc(NULL, s->blocks[0], 100, GFP_KERNEL));
	expect_nothing_else(test, s, PYM_MISUSE_WRONG_API, 1);
}

static void small_to_cache_free(struct kunit *test)
{
	struct scene *s = set_scene(test);

	pym_cache_free(s->cache, s->small);
	expect_nothing_else(test, s, PYM_MISUSE_WRONG_API, 1);
}

static void pass_through_to_cache_free(struct kunit *test)
{
	struct scene *s = set_scene(test);

	pym_cache_free(s->cache, s->large);
	expect_nothing_else(test, s, PYM_MISUSE_WRONG_API, 1);
}

static void wrong_heap_in_realloc(struct kunit *test)
{
	struct pym_heap *other = pymt_open(test, PYMT_PAGES, NULL)->heap;
	struct scene *s = set_scene(test);

	KUNIT_EXPECT_NULL(test, pym_realloc(other, s->small, 300, GFP_KERNEL));
	expect_nothing_else(test, s, PYM_MISUSE_WRONG_HEAP, 1);
}

static void no_cache(struct kunit *test)
{
	struct scene *s = set_scene(test);
	void *blocks[2] = { };

	KUNIT_EXPECT_NULL(test, pym_cache_alloc(NULL, GFP_KERNEL));
	KUNIT_EXPECT_EQ(test, pym_cache_alloc_bulk(NULL, GFP_KERNEL, 2, blocks), 0);
	pym_cache_free(NULL, s->blocks[0]);
	pym_cache_free_bulk(NULL, 1, s->blocks);
	expect_nothing_else(test, s, PYM_MISUSE_BAD_ARG, 4);
}

/* ----------------------------------------------------------------- gfp ---- */

static const gfp_t zones[] = { __GFP_DMA, __GFP_DMA32, __GFP_HIGHMEM, __GFP_MOVABLE,
			       __GFP_DMA | __GFP_MOVABLE };

static void zone_desc(const gfp_t *gfp, char *desc)
{
	static const char * const names[] = { "dma", "dma32", "highmem", "movable",
					      "dma-and-movable" };

	strscpy(desc, names[gfp - zones], KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(zones, zones, zone_desc);

static void zone_is_refused(struct kunit *test)
{
	gfp_t gfp = GFP_KERNEL | *(const gfp_t *)test->param_value;
	struct scene *s = set_scene(test);
	void *block;

	KUNIT_EXPECT_NULL(test, pym_cache_alloc(s->cache, gfp));
	pymt_expect_misuse(test, PYM_MISUSE_BAD_GFP, 1);
	KUNIT_EXPECT_EQ(test, pym_cache_alloc_bulk(s->cache, gfp, 1, &block), 0);
	pymt_expect_misuse(test, PYM_MISUSE_BAD_GFP, 1);
	KUNIT_EXPECT_NULL(test, pym_malloc(heap_of(test), 40, gfp));
	pymt_expect_misuse(test, PYM_MISUSE_BAD_GFP, 1);
	KUNIT_EXPECT_NULL(test, pym_malloc(heap_of(test), 4000, gfp));
	pymt_expect_misuse(test, PYM_MISUSE_BAD_GFP, 1);
	KUNIT_EXPECT_NULL(test, pym_calloc(heap_of(test), 333, 1, gfp));
	pymt_expect_misuse(test, PYM_MISUSE_BAD_GFP, 1);
	KUNIT_EXPECT_NULL(test, pym_realloc(NULL, s->small, 4000, gfp));
	expect_nothing_else(test, s, PYM_MISUSE_BAD_GFP, 1);
}

/* When there would be a block in the front: it stays there. */
static void zone_is_refused_by_front(struct kunit *test)
{
	gfp_t gfp = GFP_KERNEL | *(const gfp_t *)test->param_value;
	struct pymt_heap *th = pymt_open(test, PYMT_PAGES | PYMT_FRONTS, NULL);
	struct pym_cache *cache = pymt_warm_cache(test, th->heap, 64);
	struct pym_cache_stats before = pymt_stats_of(cache), after;

	KUNIT_ASSERT_GT(test, before.cached, 0);
	KUNIT_EXPECT_NULL(test, pym_cache_alloc(cache, gfp));
	pymt_expect_misuse(test, PYM_MISUSE_BAD_GFP, 1);
	after = pymt_stats_of(cache);
	KUNIT_EXPECT_EQ(test, after.live, 0);
	KUNIT_EXPECT_EQ(test, after.cached, before.cached);
}

/* Whoever has found out where it is: the hidden caches are the heap's. */
static void class_is_not_destroyed(struct kunit *test)
{
	struct scene *s = set_scene(test);
	struct pym_cache *class = READ_ONCE(heap_of(test)->class[pym_size_to_class(40)]);

	KUNIT_ASSERT_NOT_NULL(test, class);
	pym_cache_destroy(class);
	KUNIT_EXPECT_EQ(test, pym_usable_size(s->small), 40);
	expect_nothing_else(test, s, PYM_MISUSE_BAD_ARG, 1);
}

/* All of them twice: blocks found through the index, and through struct page. */
/* ------------------------------------------------------------- reports ---- */

/* A storm at one site is not printed as a whole, and does not hide another site. */
static void each_site_is_told(struct kunit *test)
{
	unsigned long here = (unsigned long)each_site_is_told;
	unsigned int i, told = 0, others = 0;

	for (i = 0; i < 100; i++)
		told += pym_report(PYM_MISUSE_BAD_ARG, here, "storm of a test");
	for (i = 1; i <= 100; i++)
		others += pym_report(PYM_MISUSE_BAD_ARG, here + i, "another site of a test");
	pymt_expect_misuse(test, PYM_MISUSE_BAD_ARG, 200);
	KUNIT_EXPECT_LE(test, told, 4);
	/* By chance some share the limit of one. */
	KUNIT_EXPECT_GT(test, others, 30);
}

#define MISUSE_CASES \
	KUNIT_CASE(double_free_of_cache_block), \
	KUNIT_CASE(double_free_of_small), \
	KUNIT_CASE(double_free_of_pass_through), \
	KUNIT_CASE(double_free_in_empty_pool), \
	KUNIT_CASE(double_free_to_cache_in_empty_pool), \
	KUNIT_CASE(double_free_after_shrink), \
	KUNIT_CASE(twice_in_one_bulk_free), \
	KUNIT_CASE(virgin_block), \
	KUNIT_CASE(virgin_pool), \
	KUNIT_CASE_PARAM(interior_of_cache_block, insides_gen_params), \
	KUNIT_CASE_PARAM(interior_of_small, insides_gen_params), \
	KUNIT_CASE_PARAM(interior_of_pass_through, insides_gen_params), \
	KUNIT_CASE(tail_of_pool), \
	KUNIT_CASE_PARAM(foreign_to_free, foreigns_gen_params), \
	KUNIT_CASE_PARAM(foreign_to_cache_free, foreigns_gen_params), \
	KUNIT_CASE_PARAM(foreign_to_realloc, foreigns_gen_params), \
	KUNIT_CASE(page_with_forged_private), \
	KUNIT_CASE(wrong_cache), \
	KUNIT_CASE(wrong_cache_of_another_heap), \
	KUNIT_CASE(wrong_cache_in_bulk), \
	KUNIT_CASE(cache_block_to_pym_free), \
	KUNIT_CASE(cache_block_to_pym_realloc), \
	KUNIT_CASE(small_to_cache_free), \
	KUNIT_CASE(pass_through_to_cache_free), \
	KUNIT_CASE(wrong_heap_in_realloc), \
	KUNIT_CASE(no_cache), \
	KUNIT_CASE_PARAM(zone_is_refused, zones_gen_params), \
	KUNIT_CASE_PARAM(zone_is_refused_by_front, zones_gen_params), \
	KUNIT_CASE(class_is_not_destroyed), \
	{}

/* Once: it uses limits up. */
static struct kunit_case index_cases[] = { KUNIT_CASE(each_site_is_told), MISUSE_CASES };
static struct kunit_case pages_cases[] = { MISUSE_CASES };

static int init_pages(struct kunit *test)
{
	int ret = pymt_init_bare(test);

	if (!ret)
		pymt_open(test, PYMT_PAGES, NULL);
	return ret;
}

static struct kunit_suite misuse_index_suite = {
	.name = "pymalloc_misuse_index",
	.init = pymt_init,
	.exit = pymt_exit,
	.test_cases = index_cases,
};

static struct kunit_suite misuse_pages_suite = {
	.name = "pymalloc_misuse_pages",
	.init = init_pages,
	.exit = pymt_exit,
	.test_cases = pages_cases,
};

kunit_test_suites(&misuse_index_suite, &misuse_pages_suite);
