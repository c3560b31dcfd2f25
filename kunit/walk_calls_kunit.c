// SPDX-License-Identifier: GPL-2.0-only
/*
 * The calls of the failure walk, and how each is undone.
 */
#include <linux/shrinker.h>
#include "walk.h"

/* ---------------------------------------------------- what they need first ---- */

static void construct(void *block)
{
	*(u64 *)block = 0;
}

static void with_other(struct walk_scene *s, size_t size, unsigned int flags,
		       void (*ctor)(void *block))
{
	struct pym_cache_args args = { .heap = s->heap, .flags = flags, .ctor = ctor };

	s->other = pym_cache_create("other", size, &args);
	KUNIT_ASSERT_NOT_NULL(s->test, s->other);
}

static void with_wide(struct walk_scene *s)
{
	with_other(s, 8, 0, NULL);
}

/* So many that the next one gives it fronts, in heaps that have them. */
static void with_deserving(struct walk_scene *s)
{
	with_other(s, 96, 0, NULL);
	pymt_take_many(s->test, s->other, s->blocks, 16);
	pymt_give_many(s->other, s->blocks, 16);
}

static void with_ctor(struct walk_scene *s)
{
	with_other(s, WALK_SIZE, 0, construct);
}

static void with_typesafe(struct walk_scene *s)
{
	with_other(s, WALK_SIZE, PYM_CACHE_TYPESAFE_BY_RCU, NULL);
}

static void with_big(struct walk_scene *s)
{
	with_other(s, 20000, 0, NULL);
}

static void with_old(struct walk_scene *s, size_t n)
{
	s->old = pymt_malloc(s->test, s->heap, n);
	s->old_size = n;
	memset(s->old, 0x99, n);
}

static void with_old_40(struct walk_scene *s)
{
	with_old(s, 40);
}

static void with_old_512(struct walk_scene *s)
{
	with_old(s, 512);
}

static void with_old_6000(struct walk_scene *s)
{
	with_old(s, 6000);
}

static void with_old_100000(struct walk_scene *s)
{
	with_old(s, 100000);
}

static void with_block(struct walk_scene *s)
{
	s->p = pymt_take(s->test, s->cache);
	s->size = 0;
}

static void with_blocks(struct walk_scene *s)
{
	pymt_take_many(s->test, s->cache, s->blocks, 40);
}

static void with_hooks(struct walk_scene *s)
{
	struct pym_heap_ops ops;

	pym_heap_get_ops(s->heap, &ops);
	KUNIT_ASSERT_EQ(s->test, pym_heap_set_ops(s->heap, &ops), 0);
}

static void with_doomed(struct walk_scene *s)
{
	with_other(s, 100, 0, NULL);
	pym_cache_free(s->other, pymt_take(s->test, s->other));
}

/* -------------------------------------------------------------- the calls ---- */

static bool returns(struct walk_scene *s, void *p, size_t size)
{
	s->p = p;
	s->size = size;
	s->added = p ? 1 : 0;
	return p;
}

static bool heap_create(struct walk_scene *s)
{
	return (s->p = pym_heap_create("kunit-walk", NULL));
}

static void heap_destroy(struct walk_scene *s)
{
	pym_heap_destroy(s->p);
}

static bool cache_create(struct walk_scene *s)
{
	struct pym_cache_args args = { .heap = s->heap };

	return (s->p = pym_cache_create("walk", 100, &args));
}

static void cache_destroy(struct walk_scene *s)
{
	pym_cache_destroy(s->p);
}

static bool cache_alloc(struct walk_scene *s)
{
	return returns(s, pym_cache_alloc(s->cache, WALK_QUIETLY), WALK_SIZE);
}

static bool cache_zalloc(struct walk_scene *s)
{
	s->zeroed = true;
	return returns(s, pym_cache_zalloc(s->cache, WALK_QUIETLY), WALK_SIZE);
}

static bool cache_alloc_atomic(struct walk_scene *s)
{
	return returns(s, pym_cache_alloc(s->cache, WALK_ATOMIC), WALK_SIZE);
}

static bool cache_alloc_node(struct walk_scene *s)
{
	return returns(s, pym_cache_alloc_node(s->cache, WALK_QUIETLY, first_memory_node),
		       WALK_SIZE);
}

static bool cache_alloc_thisnode(struct walk_scene *s)
{
	return returns(s, pym_cache_alloc_node(s->cache, WALK_QUIETLY | __GFP_THISNODE,
					       first_memory_node), WALK_SIZE);
}

static void cache_free(struct walk_scene *s)
{
	pym_cache_free(s->cache, s->p);
}

static bool other_alloc(struct walk_scene *s)
{
	return returns(s, pym_cache_alloc(s->other, WALK_QUIETLY), 8);
}

static void other_free(struct walk_scene *s)
{
	/* As constructed, if it was. */
	*(u64 *)s->p = 0;
	pym_cache_free(s->other, s->p);
}

static bool bulk(struct walk_scene *s, struct pym_cache *cache, unsigned int n)
{
	size_t got = pym_cache_alloc_bulk(cache, WALK_QUIETLY, n, s->blocks);

	KUNIT_EXPECT_TRUE_MSG(s->test, got == n || !got, "%zu of %u blocks", got, n);
	s->added = got;
	return got;
}

static bool bulk_5(struct walk_scene *s)
{
	return bulk(s, s->cache, 5);
}

static bool bulk_40(struct walk_scene *s)
{
	return bulk(s, s->cache, 40);
}

static bool bulk_200(struct walk_scene *s)
{
	return bulk(s, s->cache, 200);
}

static bool bulk_big(struct walk_scene *s)
{
	return bulk(s, s->other, 12);
}

static bool bulk_40_of_other(struct walk_scene *s)
{
	return bulk(s, s->other, 40);
}

static bool bulk_wide(struct walk_scene *s)
{
	return bulk(s, s->other, 200);
}

static void bulk_free(struct walk_scene *s)
{
	pym_cache_free_bulk(s->cache, s->added, s->blocks);
}

static void bulk_other_free(struct walk_scene *s)
{
	pym_cache_free_bulk(s->other, s->added, s->blocks);
}

static bool free_block(struct walk_scene *s)
{
	pym_cache_free(s->cache, s->p);
	s->added = -1;
	return true;
}

static bool free_blocks(struct walk_scene *s)
{
	pym_cache_free_bulk(s->cache, 40, s->blocks);
	s->added = -40;
	return true;
}

static bool free_rcu(struct walk_scene *s)
{
	pym_cache_free_rcu(s->cache, s->p);
	s->added = -1;
	return true;
}

static bool malloc_of(struct walk_scene *s, size_t n, gfp_t gfp)
{
	return returns(s, pym_malloc(s->heap, n, gfp), n);
}

static bool malloc_1(struct walk_scene *s)
{
	return malloc_of(s, 1, WALK_QUIETLY);
}

static bool malloc_24(struct walk_scene *s)
{
	return malloc_of(s, 24, WALK_QUIETLY);
}

static bool malloc_512(struct walk_scene *s)
{
	return malloc_of(s, 512, WALK_QUIETLY);
}

static bool malloc_1000(struct walk_scene *s)
{
	return malloc_of(s, 1000, WALK_QUIETLY);
}

static bool malloc_2048(struct walk_scene *s)
{
	return malloc_of(s, 2048, WALK_QUIETLY);
}

static bool malloc_2049(struct walk_scene *s)
{
	return malloc_of(s, 2049, WALK_QUIETLY);
}

static bool malloc_50000(struct walk_scene *s)
{
	return malloc_of(s, 50000, WALK_QUIETLY);
}

static bool malloc_atomic_512(struct walk_scene *s)
{
	return malloc_of(s, 512, WALK_ATOMIC);
}

static bool malloc_atomic_1000(struct walk_scene *s)
{
	return malloc_of(s, 1000, WALK_ATOMIC);
}

static bool malloc_atomic_24(struct walk_scene *s)
{
	return malloc_of(s, 24, WALK_ATOMIC);
}

static bool malloc_atomic_5000(struct walk_scene *s)
{
	return malloc_of(s, 5000, WALK_ATOMIC);
}

static bool calloc_small(struct walk_scene *s)
{
	s->zeroed = true;
	return returns(s, pym_calloc(s->heap, 10, 30, WALK_QUIETLY), 300);
}

static bool calloc_medium(struct walk_scene *s)
{
	s->zeroed = true;
	return returns(s, pym_calloc(s->heap, 5, 300, WALK_QUIETLY), 1500);
}

static bool calloc_large(struct walk_scene *s)
{
	s->zeroed = true;
	return returns(s, pym_calloc(s->heap, 3, 3000, WALK_QUIETLY), 9000);
}

static void free_p(struct walk_scene *s)
{
	pym_free(s->p);
}

static bool free_old(struct walk_scene *s)
{
	pym_free(s->old);
	s->old = NULL;
	s->added = -1;
	return true;
}

static bool realloc_null(struct walk_scene *s)
{
	return returns(s, pym_realloc(s->heap, NULL, 100, WALK_QUIETLY), 100);
}

static bool resize(struct walk_scene *s, size_t n)
{
	void *p = pym_realloc(s->heap, s->old, n, WALK_QUIETLY);

	if (!p)
		return false;
	s->old = p;
	s->old_size = min(s->old_size, n);
	return true;
}

static bool resize_to_8(struct walk_scene *s)
{
	return resize(s, 8);
}

static bool resize_to_400(struct walk_scene *s)
{
	return resize(s, 400);
}

static bool resize_to_500(struct walk_scene *s)
{
	return resize(s, 500);
}

static bool resize_to_1000(struct walk_scene *s)
{
	return resize(s, 1000);
}

static bool resize_to_9000(struct walk_scene *s)
{
	return resize(s, 9000);
}

static bool set_ops(struct walk_scene *s)
{
	struct pym_heap_ops ops;

	pym_heap_get_ops(s->heap, &ops);
	return !pym_heap_set_ops(s->heap, &ops);
}

static bool drop_ops(struct walk_scene *s)
{
	return !pym_heap_set_ops(s->heap, NULL);
}

static void undo_ops(struct walk_scene *s)
{
	drop_ops(s);
}

/* Lower than what a heap with live blocks holds: -EBUSY then. */
static bool set_limit_low(struct walk_scene *s)
{
	return !pym_heap_set_limit(s->heap, SZ_64K);
}

static bool set_limit_high(struct walk_scene *s)
{
	return !pym_heap_set_limit(s->heap, SZ_16M);
}

static bool shrink(struct walk_scene *s)
{
	pym_heap_shrink(s->heap);
	return true;
}

static bool cache_shrink(struct walk_scene *s)
{
	pym_cache_shrink(s->cache);
	return true;
}

/* What pressure on memory does, and not only to this heap. */
static bool scan(struct walk_scene *s)
{
	struct shrink_control sc = { .gfp_mask = GFP_KERNEL, .nr_to_scan = 1000 };

	pym_shrinker->scan_objects(pym_shrinker, &sc);
	return true;
}

static bool reset(struct walk_scene *s)
{
	pym_heap_reset(s->heap);
	return true;
}

static bool destroy_other(struct walk_scene *s)
{
	pym_cache_destroy(s->other);
	return true;
}

#define SURE	WALK_NEVER_FAILS
#define ONE	WALK_COUNTED

const struct walk_call walk_calls[] = {
	{ "heap-create", heap_create, heap_destroy, NULL, WALK_ALONE },
	{ "cache-create", cache_create, cache_destroy },
	{ "cache-alloc", cache_alloc, cache_free, NULL, ONE },
	{ "cache-zalloc", cache_zalloc, cache_free, NULL, ONE },
	{ "cache-alloc-atomic", cache_alloc_atomic, cache_free, NULL, ONE | WALK_NO_SLEEP },
	{ "cache-alloc-node", cache_alloc_node, cache_free, NULL, ONE },
	{ "cache-alloc-thisnode", cache_alloc_thisnode, cache_free, NULL, ONE },
	{ "cache-alloc-wide", other_alloc, other_free, with_wide, ONE },
	{ "cache-alloc-ctor", other_alloc, other_free, with_ctor, ONE },
	{ "cache-alloc-typesafe", other_alloc, other_free, with_typesafe, ONE | WALK_WAITS },
	{ "cache-alloc-fronts", other_alloc, other_free, with_deserving, ONE },
	{ "cache-alloc-big", other_alloc, other_free, with_big, ONE | WALK_LARGER },
	{ "bulk-5", bulk_5, bulk_free, NULL, ONE },
	{ "bulk-40", bulk_40, bulk_free, NULL, ONE },
	{ "bulk-200", bulk_200, bulk_free, NULL, ONE },
	{ "bulk-wide", bulk_wide, bulk_other_free, with_wide, ONE },
	{ "bulk-big", bulk_big, bulk_other_free, with_big, ONE | WALK_LARGER },
	{ "bulk-watched", bulk_40_of_other, bulk_other_free, walk_with_watched, ONE },
	{ "cache-free", free_block, NULL, with_block, SURE },
	{ "free-bulk", free_blocks, NULL, with_blocks, SURE },
	{ "free-rcu", free_rcu, NULL, with_block, SURE | WALK_WAITS },
	{ "malloc-1", malloc_1, free_p, NULL, ONE },
	{ "malloc-24", malloc_24, free_p, NULL, ONE },
	{ "malloc-512", malloc_512, free_p, NULL, ONE },
	{ "malloc-1000", malloc_1000, free_p, NULL, ONE | WALK_LARGER },
	{ "malloc-2048", malloc_2048, free_p, NULL, ONE | WALK_LARGER },
	{ "malloc-2049", malloc_2049, free_p, NULL, ONE },
	{ "malloc-50000", malloc_50000, free_p, NULL, ONE },
	{ "malloc-atomic-512", malloc_atomic_512, free_p, NULL, ONE | WALK_NO_SLEEP },
	{ "malloc-atomic-24", malloc_atomic_24, free_p, NULL, ONE | WALK_NO_SLEEP },
	{ "malloc-atomic-5000", malloc_atomic_5000, free_p, NULL, ONE },
	{ "calloc", calloc_small, free_p, NULL, ONE },
	{ "calloc-large", calloc_large, free_p, NULL, ONE },
	{ "free-small", free_old, NULL, with_old_512, SURE },
	{ "free-large", free_old, NULL, with_old_100000, SURE },
	{ "realloc-null", realloc_null, free_p, NULL, ONE },
	{ "realloc-grow", resize_to_400, NULL, with_old_40, ONE },
	{ "realloc-grow-medium", resize_to_1000, NULL, with_old_512, ONE | WALK_LARGER },
	{ "realloc-grow-out", resize_to_9000, NULL, with_old_512, ONE },
	{ "realloc-grow-large", resize_to_9000, NULL, with_old_6000, ONE },
	{ "realloc-shrink", resize_to_8, NULL, with_old_512, SURE },
	{ "realloc-shrink-in", resize_to_400, NULL, with_old_6000, SURE },
	{ "realloc-stay", resize_to_500, NULL, with_old_512, SURE },
	{ "set-ops", set_ops, undo_ops },
	{ "drop-ops", drop_ops, NULL, with_hooks, SURE },
	{ "set-limit-low", set_limit_low, NULL, NULL, WALK_BY_FILL },
	{ "set-limit-high", set_limit_high, NULL, NULL, SURE },
	{ "heap-shrink", shrink, NULL, NULL, SURE },
	{ "cache-shrink", cache_shrink, NULL, NULL, SURE },
	{ "heap-reset", reset, NULL, NULL, SURE | WALK_FORGETS },
	{ "cache-destroy", destroy_other, NULL, with_doomed, SURE },
	{ "scan", scan, NULL, NULL, SURE },
	{ "watched-alloc", other_alloc, other_free, walk_with_watched, ONE },
	{ "guarded-alloc", other_alloc, other_free, walk_with_guarded, ONE },
	{ "watched-free", walk_free_watched, NULL, walk_with_watched_block, SURE },
	{ "switch-on", walk_switch_on, walk_switch_back, NULL, WALK_UNTOLD },
	{ "switch-other", walk_switch_other, NULL, walk_with_watched_block,
	  WALK_UNTOLD | WALK_KEEPS },
	{ "switch-off", walk_switch_off, NULL, walk_with_watched_block, SURE | WALK_KEEPS },
	{ "switch-heap-on", walk_switch_heap_on, walk_switch_heap_back, NULL, WALK_UNTOLD },
	{ "switch-heap-off", walk_switch_heap_off, NULL, NULL, SURE },
	{ "owners", walk_owners, NULL, walk_with_watched_block, WALK_KEEPS },
	{ "bulk-ctor", bulk_40_of_other, bulk_other_free, with_ctor, ONE },
	{ "calloc-medium", calloc_medium, free_p, NULL, ONE | WALK_LARGER },
	{ "malloc-atomic-1000", malloc_atomic_1000, free_p, NULL,
	  ONE | WALK_NO_SLEEP | WALK_LARGER },
};
const unsigned int walk_nr_calls = ARRAY_SIZE(walk_calls);
