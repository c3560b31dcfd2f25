// SPDX-License-Identifier: GPL-2.0-only
/*
 * Hooks around the general-purpose functions of a heap.
 */
#include <linux/delay.h>
#include "within.h"

/* What a hook saw last, and the functions it wraps. */
struct spy {
	struct pym_heap_ops old;
	unsigned int mallocs, callocs, reallocs, frees, null_frees;
	struct pym_heap *heap;
	size_t n, size;
	gfp_t gfp;
	const void *p;
	bool refuse;
};

static void *spy_malloc(void *ctx, struct pym_heap *heap, size_t n, gfp_t gfp)
{
	struct spy *spy = ctx;

	spy->mallocs++;
	spy->heap = heap;
	spy->n = n;
	spy->gfp = gfp;
	return spy->refuse ? NULL : spy->old.malloc(spy->old.ctx, heap, n, gfp);
}

static void *spy_calloc(void *ctx, struct pym_heap *heap, size_t n, size_t size, gfp_t gfp)
{
	struct spy *spy = ctx;

	spy->callocs++;
	spy->heap = heap;
	spy->n = n;
	spy->size = size;
	spy->gfp = gfp;
	return spy->refuse ? NULL : spy->old.calloc(spy->old.ctx, heap, n, size, gfp);
}

static void *spy_realloc(void *ctx, struct pym_heap *heap, void *p, size_t n, gfp_t gfp)
{
	struct spy *spy = ctx;

	spy->reallocs++;
	spy->heap = heap;
	spy->p = p;
	spy->n = n;
	spy->gfp = gfp;
	return spy->refuse ? NULL : spy->old.realloc(spy->old.ctx, heap, p, n, gfp);
}

static void spy_free(void *ctx, struct pym_heap *heap, const void *p)
{
	struct spy *spy = ctx;

	spy->frees++;
	spy->null_frees += !p;
	spy->heap = heap;
	spy->p = p;
	spy->old.free(spy->old.ctx, heap, p);
}

static const struct pym_heap_ops spy_ops = {
	.malloc = spy_malloc,
	.calloc = spy_calloc,
	.realloc = spy_realloc,
	.free = spy_free,
};

static struct spy *install(struct kunit *test, struct pym_heap *heap)
{
	struct spy *spy = kunit_kzalloc(test, sizeof(*spy), GFP_KERNEL);
	struct pym_heap_ops ops = spy_ops;

	KUNIT_ASSERT_NOT_NULL(test, spy);
	pym_heap_get_ops(heap, &spy->old);
	ops.ctx = spy;
	KUNIT_ASSERT_EQ(test, pym_heap_set_ops(heap, &ops), 0);
	return spy;
}

static struct pym_heap *heap_of(struct kunit *test)
{
	return pymt_heap(test)->heap;
}

static void malloc_passes_arguments(struct kunit *test)
{
	struct spy *spy = install(test, heap_of(test));
	void *p = pym_malloc(heap_of(test), 42, GFP_NOWAIT);

	KUNIT_ASSERT_NOT_NULL(test, p);
	KUNIT_EXPECT_EQ(test, spy->mallocs, 1);
	KUNIT_EXPECT_PTR_EQ(test, spy->heap, heap_of(test));
	KUNIT_EXPECT_EQ(test, spy->n, 42);
	KUNIT_EXPECT_TRUE(test, spy->gfp == GFP_NOWAIT);
	pym_free(p);
	KUNIT_EXPECT_EQ(test, spy->frees, 1);
	KUNIT_EXPECT_PTR_EQ(test, spy->p, p);
	KUNIT_EXPECT_PTR_EQ(test, spy->heap, heap_of(test));
}

static void calloc_passes_arguments(struct kunit *test)
{
	struct spy *spy = install(test, heap_of(test));
	void *p = pym_calloc(heap_of(test), 2, 5, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, p);
	KUNIT_EXPECT_EQ(test, spy->callocs, 1);
	KUNIT_EXPECT_EQ_MSG(test, spy->mallocs, 0, "calloc is not malloc to a hook");
	KUNIT_EXPECT_EQ(test, spy->n, 2);
	KUNIT_EXPECT_EQ(test, spy->size, 5);
	KUNIT_EXPECT_TRUE(test, spy->gfp == GFP_KERNEL);
	KUNIT_EXPECT_NULL(test, memchr_inv(p, 0, 10));
	pym_free(p);
}

static void realloc_passes_arguments(struct kunit *test)
{
	struct spy *spy = install(test, heap_of(test));
	void *p = pymt_malloc(test, heap_of(test), 42), *q;

	q = pym_realloc(NULL, p, 200, GFP_KERNEL | __GFP_ZERO);
	KUNIT_ASSERT_NOT_NULL(test, q);
	KUNIT_EXPECT_EQ(test, spy->reallocs, 1);
	KUNIT_EXPECT_PTR_EQ(test, spy->heap, heap_of(test));
	KUNIT_EXPECT_PTR_EQ(test, spy->p, p);
	KUNIT_EXPECT_EQ(test, spy->n, 200);
	KUNIT_EXPECT_TRUE(test, spy->gfp == (GFP_KERNEL | __GFP_ZERO));
	KUNIT_EXPECT_EQ_MSG(test, spy->mallocs, 1, "what realloc does inside is its own");
	KUNIT_EXPECT_EQ(test, spy->frees, 0);
	pym_free(q);
	KUNIT_EXPECT_PTR_EQ(test, spy->p, q);
}

static void realloc_of_null(struct kunit *test)
{
	struct spy *spy = install(test, heap_of(test));
	void *p = pym_realloc(heap_of(test), NULL, 30, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, p);
	KUNIT_EXPECT_EQ(test, spy->reallocs, 1);
	KUNIT_EXPECT_NULL(test, spy->p);
	pym_free(p);
}

static void pass_through_is_hooked(struct kunit *test)
{
	struct spy *spy = install(test, heap_of(test));
	void *p = pymt_malloc(test, heap_of(test), 50000);

	KUNIT_EXPECT_EQ(test, spy->mallocs, 1);
	KUNIT_EXPECT_EQ(test, spy->n, 50000);
	pym_free(p);
	KUNIT_EXPECT_EQ(test, spy->frees, 1);
}

/* Blocks from before the hooks are freed through them, and the other way round. */
static void blocks_outlive_hooks(struct kunit *test)
{
	void *before = pymt_malloc(test, heap_of(test), 10), *during;
	struct spy *spy = install(test, heap_of(test));

	during = pymt_malloc(test, heap_of(test), 10);
	pym_free(before);
	KUNIT_EXPECT_EQ(test, spy->frees, 1);
	KUNIT_EXPECT_EQ(test, pym_heap_set_ops(heap_of(test), NULL), 0);
	pym_free(during);
	KUNIT_EXPECT_EQ_MSG(test, spy->frees, 1, "the hooks are gone");
}

/*
 * Does the fast path serve requests of @from to @to bytes and none beside them? Nor
 * of 8, in a heap that has not been asked for them.
 */
static void expect_hot(struct kunit *test, struct pym_heap *heap, size_t from, size_t to, bool are)
{
	struct pym_front __percpu **hot = heap->head.hot;
	size_t n;

	for (n = from - 8; n <= to + 8; n += 8) {
		bool is = hot[n / 8] != hot[1];

		KUNIT_EXPECT_EQ_MSG(test, is, are && n >= from && n <= to, "%zu bytes", n);
	}
}

/* A class of several sizes leaves the fast path and comes back with all of them. */
static void every_size_of_a_class_is_hooked(struct kunit *test)
{
	struct pym_heap *heap = pymt_open(test, PYMT_PAGES | PYMT_FRONTS, NULL)->heap;
	struct spy *spy;
	size_t n;
	int i;

	expect_hot(test, heap, 632, 680, false);
	for (i = 0; i < 64; i++)
		pym_free(pymt_malloc(test, heap, 650));
	expect_hot(test, heap, 632, 680, true);
	spy = install(test, heap);
	expect_hot(test, heap, 632, 680, false);
	for (n = 625; n <= 680; n++)
		pym_free(pymt_malloc(test, heap, n));
	KUNIT_EXPECT_EQ(test, spy->mallocs, 680 - 624);
	KUNIT_EXPECT_EQ(test, pym_heap_set_ops(heap, NULL), 0);
	expect_hot(test, heap, 632, 680, true);
}

static void null_restores(struct kunit *test)
{
	struct pym_heap_ops before, after;
	struct spy *spy;

	pym_heap_get_ops(heap_of(test), &before);
	spy = install(test, heap_of(test));
	pym_heap_get_ops(heap_of(test), &after);
	KUNIT_EXPECT_TRUE(test, after.malloc == spy_malloc);
	KUNIT_EXPECT_PTR_EQ(test, after.ctx, spy);
	KUNIT_EXPECT_EQ(test, pym_heap_set_ops(heap_of(test), NULL), 0);
	pym_heap_get_ops(heap_of(test), &after);
	KUNIT_EXPECT_MEMEQ(test, &before, &after, sizeof(before));
	pym_free(pymt_malloc(test, heap_of(test), 10));
	KUNIT_EXPECT_EQ(test, spy->mallocs, 0);
	KUNIT_EXPECT_EQ(test, spy->frees, 0);
}

/* A second wrapper wraps the first. */
static void wrappers_nest(struct kunit *test)
{
	struct spy *inner = install(test, heap_of(test)), *outer = install(test, heap_of(test));
	struct pym_heap_ops back = outer->old;

	pym_free(pymt_malloc(test, heap_of(test), 10));
	KUNIT_EXPECT_EQ(test, outer->mallocs, 1);
	KUNIT_EXPECT_EQ(test, inner->mallocs, 1);
	KUNIT_EXPECT_EQ(test, outer->frees, 1);
	KUNIT_EXPECT_EQ(test, inner->frees, 1);
	KUNIT_EXPECT_EQ(test, pym_heap_set_ops(heap_of(test), &back), 0);
	pym_free(pymt_malloc(test, heap_of(test), 10));
	KUNIT_EXPECT_EQ(test, outer->mallocs, 1);
	KUNIT_EXPECT_EQ(test, inner->mallocs, 2);
}

static void missing_function(struct kunit *test)
{
	struct pym_heap_ops ops, now;
	struct pym_heap_stats before, after;
	int i;

	pymt_stats(test, heap_of(test), &before);
	for (i = 0; i < 4; i++) {
		ops = spy_ops;
		switch (i) {
		case 0:
			ops.malloc = NULL;
			break;
		case 1:
			ops.calloc = NULL;
			break;
		case 2:
			ops.realloc = NULL;
			break;
		case 3:
			ops.free = NULL;
			break;
		}
		KUNIT_EXPECT_EQ(test, pym_heap_set_ops(heap_of(test), &ops), -EINVAL);
	}
	pym_heap_get_ops(heap_of(test), &now);
	KUNIT_EXPECT_TRUE(test, now.malloc != spy_malloc);
	pymt_stats(test, heap_of(test), &after);
	pymt_expect_same(test, &before, &after);
}

static void hooks_are_per_heap(struct kunit *test)
{
	struct pym_heap *other = pymt_open(test, PYMT_SPLIT, NULL)->heap;
	struct spy *spy = install(test, heap_of(test));
	void *p = pymt_malloc(test, other, 10), *q = pymt_malloc(test, NULL, 10);

	p = pym_realloc(NULL, p, 100, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, p);
	pym_free(p);
	pym_free(q);
	KUNIT_EXPECT_EQ(test, spy->mallocs + spy->callocs + spy->reallocs + spy->frees, 0);
	pym_free(pymt_malloc(test, heap_of(test), 10));
	KUNIT_EXPECT_EQ(test, spy->mallocs, 1);
	KUNIT_EXPECT_EQ(test, spy->frees, 1);
}

static void caches_are_not_hooked(struct kunit *test)
{
	struct spy *spy = install(test, heap_of(test));
	struct pym_cache *cache = pymt_cache(test, heap_of(test), 64);

	pym_cache_free(cache, pymt_take(test, cache));
	KUNIT_EXPECT_EQ(test, spy->mallocs, 0);
	KUNIT_EXPECT_EQ(test, spy->frees, 0);
}

static void default_heap_hooks(struct kunit *test)
{
	struct spy *spy = install(test, NULL);
	void *p = pymt_malloc(test, NULL, 10);

	pym_free(p);
	KUNIT_EXPECT_EQ(test, spy->mallocs, 1);
	KUNIT_EXPECT_EQ(test, spy->frees, 1);
	KUNIT_EXPECT_PTR_EQ(test, spy->heap, pym_default_heap);
	KUNIT_EXPECT_EQ(test, pym_heap_set_ops(NULL, NULL), 0);
}

/* NULL belongs to no heap: the default heap's hook is told. */
static void free_of_null_is_hooked(struct kunit *test)
{
	struct spy *spy = install(test, NULL);

	pym_free(NULL);
	KUNIT_EXPECT_EQ(test, spy->null_frees, 1);
	KUNIT_EXPECT_EQ(test, pym_heap_set_ops(NULL, NULL), 0);
	pym_free(NULL);
	KUNIT_EXPECT_EQ(test, spy->null_frees, 1);
}

#if PYMT_HAS_NMI
static void free_it(void *p)
{
	pym_free(p);
}

/* Hooks are not called there, but are told of the free when it is done, a moment later. */
static void free_in_nmi_is_hooked(struct kunit *test)
{
	struct spy *spy = install(test, heap_of(test));
	void *p = pymt_malloc(test, heap_of(test), 10);
	unsigned int ms;

	pymt_call_in(test, PYMT_NMI, free_it, p);
	for (ms = 0; ms < 2000 && !READ_ONCE(spy->frees); ms++)
		usleep_range(1000, 1100);
	KUNIT_EXPECT_EQ(test, spy->frees, 1);
	KUNIT_EXPECT_PTR_EQ(test, spy->p, p);
}
#endif

/* As CPython's set_nomemory(): failures on demand, on and off again. */
static void hook_may_refuse(struct kunit *test)
{
	struct spy *spy = install(test, heap_of(test));
	void *p = pymt_malloc(test, heap_of(test), 10);
	int i;

	for (i = 0; i < 3; i++) {
		spy->refuse = true;
		KUNIT_EXPECT_NULL(test, pym_malloc(heap_of(test), 10, GFP_KERNEL));
		KUNIT_EXPECT_NULL(test, pym_calloc(heap_of(test), 1, 10, GFP_KERNEL));
		KUNIT_EXPECT_NULL(test, pym_realloc(NULL, p, 100, GFP_KERNEL));
		spy->refuse = false;
		pym_free(pymt_malloc(test, heap_of(test), 10));
	}
	KUNIT_EXPECT_EQ(test, pym_usable_size(p), 16);
	pym_free(p);
}

/* A product that no size_t holds: told to hooks, refused below them and beside them. */
static void calloc_overflow(struct kunit *test)
{
	struct pymt_heap *other = pymt_open(test, PYMT_SPLIT, NULL);
	struct spy *spy = install(test, heap_of(test));
	struct pym_heap_stats before, after;

	pymt_stats(test, heap_of(test), &before);
	KUNIT_EXPECT_NULL(test, pym_calloc(heap_of(test), SIZE_MAX / 2, 3, GFP_KERNEL));
	KUNIT_EXPECT_EQ(test, spy->callocs, 1);
	KUNIT_EXPECT_EQ(test, spy->n, SIZE_MAX / 2);
	pymt_stats(test, heap_of(test), &after);
	KUNIT_EXPECT_EQ(test, after.failures, before.failures + 1);
	KUNIT_EXPECT_EQ(test, after.live, before.live);

	pymt_stats(test, other->heap, &before);
	KUNIT_EXPECT_NULL(test, pym_calloc(other->heap, 3, SIZE_MAX / 2, GFP_KERNEL));
	KUNIT_EXPECT_EQ(test, spy->callocs, 1);
	pymt_stats(test, other->heap, &after);
	KUNIT_EXPECT_EQ(test, after.failures, before.failures + 1);
}

static void destroy_drops_hooks(struct kunit *test)
{
	struct pymt_heap *th = pymt_open(test, PYMT_SPLIT, NULL);
	struct spy *spy = install(test, th->heap);

	pymt_malloc(test, th->heap, 10);
	pymt_close(test, th);
	KUNIT_EXPECT_EQ_MSG(test, spy->frees, 0, "wholesale: no block is freed on its own");
	KUNIT_EXPECT_EQ(test, spy->mallocs, 1);
}

static struct kunit_case hooks_cases[] = {
	KUNIT_CASE(malloc_passes_arguments),
	KUNIT_CASE(calloc_passes_arguments),
	KUNIT_CASE(realloc_passes_arguments),
	KUNIT_CASE(realloc_of_null),
	KUNIT_CASE(pass_through_is_hooked),
	KUNIT_CASE(blocks_outlive_hooks),
	KUNIT_CASE(every_size_of_a_class_is_hooked),
	KUNIT_CASE(null_restores),
	KUNIT_CASE(wrappers_nest),
	KUNIT_CASE(missing_function),
	KUNIT_CASE(hooks_are_per_heap),
	KUNIT_CASE(caches_are_not_hooked),
	KUNIT_CASE(default_heap_hooks),
	KUNIT_CASE(free_of_null_is_hooked),
#if PYMT_HAS_NMI
	KUNIT_CASE(free_in_nmi_is_hooked),
#endif
	KUNIT_CASE(hook_may_refuse),
	KUNIT_CASE(calloc_overflow),
	KUNIT_CASE(destroy_drops_hooks),
	{}
};

static struct kunit_suite hooks_suite = {
	.name = "pymalloc_hooks",
	.init = pymt_init,
	.exit = pymt_exit,
	.test_cases = hooks_cases,
};

kunit_test_suites(&hooks_suite);
