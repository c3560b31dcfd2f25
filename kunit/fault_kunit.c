// SPDX-License-Identifier: GPL-2.0-only
/*
 * Failures from below. Every operation is repeated with its first, second,
 * third, ... request to the layer below failing, until none fails: first the
 * requests to the page provider, then every kmalloc() and every page of the
 * kernel, through the kernel's fault injection. After each failure nothing may
 * have changed, and the operation must succeed when tried again.
 */
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include "fixture.h"

#define QUIETLY		(GFP_KERNEL | __GFP_NOWARN)
#define NR_BLOCKS	200		/* of 512 bytes: two arenas */
#define MAX_WALK	2000

struct scene {
	struct pymt_heap *th;
	struct pym_heap *heap;
	struct pym_cache *cache;
	void *old;			/* to be resized */
	size_t old_size;
	void *p;			/* what the operation returned */
	void *blocks[NR_BLOCKS];
};

struct operation {
	const char *name;
	void (*prepare)(struct kunit *test, struct scene *s);
	bool (*run)(struct scene *s);	/* true if it succeeded */
	void (*undo)(struct scene *s);
	bool never_fails;
};

/* ---------------------------------------------------------- operations ---- */

static void with_cache(struct kunit *test, struct scene *s)
{
	s->cache = pymt_cache(test, s->heap, 512);
}

static void with_wide_cache(struct kunit *test, struct scene *s)
{
	s->cache = pymt_cache(test, s->heap, 8);
}

static void with_old(struct kunit *test, struct scene *s, size_t n)
{
	s->old = pymt_malloc(test, s->heap, n);
	s->old_size = n;
	memset(s->old, 0x99, n);
}

static void with_old_40(struct kunit *test, struct scene *s)
{
	with_old(test, s, 40);
}

static void with_old_512(struct kunit *test, struct scene *s)
{
	with_old(test, s, 512);
}

static void with_old_6000(struct kunit *test, struct scene *s)
{
	with_old(test, s, 6000);
}

static bool create_heap(struct scene *s)
{
	s->p = pym_heap_create("kunit-fault", NULL);
	return s->p;
}

static void destroy_heap(struct scene *s)
{
	pym_heap_destroy(s->p);
}

static bool create_cache(struct scene *s)
{
	struct pym_cache_args args = { .heap = s->heap };

	s->p = pym_cache_create("fault", 100, &args);
	return s->p;
}

static void destroy_cache(struct scene *s)
{
	pym_cache_destroy(s->p);
}

static bool cache_alloc(struct scene *s)
{
	s->p = pym_cache_alloc(s->cache, QUIETLY);
	return s->p;
}

static bool cache_zalloc(struct scene *s)
{
	s->p = pym_cache_zalloc(s->cache, QUIETLY);
	return s->p;
}

static void cache_free(struct scene *s)
{
	pym_cache_free(s->cache, s->p);
}

static bool cache_bulk(struct scene *s)
{
	return pym_cache_alloc_bulk(s->cache, QUIETLY, NR_BLOCKS, s->blocks) == NR_BLOCKS;
}

static void cache_free_bulk(struct scene *s)
{
	pym_cache_free_bulk(s->cache, NR_BLOCKS, s->blocks);
}

static bool malloc_small(struct scene *s)
{
	s->p = pym_malloc(s->heap, 100, QUIETLY);
	return s->p;
}

static bool malloc_medium(struct scene *s)
{
	s->p = pym_malloc(s->heap, 1000, QUIETLY);
	return s->p;
}

static bool malloc_large(struct scene *s)
{
	s->p = pym_malloc(s->heap, 5000, QUIETLY);
	return s->p;
}

static bool malloc_huge(struct scene *s)
{
	s->p = pym_malloc(s->heap, 50000, QUIETLY);
	return s->p;
}

static bool calloc_small(struct scene *s)
{
	s->p = pym_calloc(s->heap, 10, 30, QUIETLY);
	return s->p;
}

static void free_p(struct scene *s)
{
	pym_free(s->p);
}

static bool resize(struct scene *s, size_t n)
{
	s->p = pym_realloc(s->heap, s->old, n, QUIETLY);
	if (!s->p)
		return false;
	s->old = s->p;
	s->old_size = min(s->old_size, n);
	return true;
}

static bool resize_to_8(struct scene *s)
{
	return resize(s, 8);
}

static bool resize_to_400(struct scene *s)
{
	return resize(s, 400);
}

static bool resize_to_1000(struct scene *s)
{
	return resize(s, 1000);
}

static bool resize_to_9000(struct scene *s)
{
	return resize(s, 9000);
}

static bool set_hooks(struct scene *s)
{
	struct pym_heap_ops ops;

	pym_heap_get_ops(s->heap, &ops);
	return !pym_heap_set_ops(s->heap, &ops);
}

static void drop_hooks(struct scene *s)
{
	pym_heap_set_ops(s->heap, NULL);
}

enum {
	HEAP_CREATE, CACHE_CREATE, CACHE_ALLOC, CACHE_ALLOC_WIDE, CACHE_ZALLOC, CACHE_BULK,
	MALLOC_SMALL, MALLOC_MEDIUM, MALLOC_LARGE, MALLOC_HUGE, CALLOC, GROW, GROW_MEDIUM, GROW_OUT,
	GROW_LARGE, SHRINK, SHRINK_IN, SET_OPS, NR_OPERATIONS
};

static const struct operation operations[NR_OPERATIONS] = {
	[HEAP_CREATE]	   = { "heap-create", NULL, create_heap, destroy_heap },
	[CACHE_CREATE]	   = { "cache-create", NULL, create_cache, destroy_cache },
	[CACHE_ALLOC]	   = { "cache-alloc", with_cache, cache_alloc, cache_free },
	[CACHE_ALLOC_WIDE] = { "cache-alloc-wide", with_wide_cache, cache_alloc, cache_free },
	[CACHE_ZALLOC]	   = { "cache-zalloc", with_cache, cache_zalloc, cache_free },
	[CACHE_BULK]	   = { "cache-bulk", with_cache, cache_bulk, cache_free_bulk },
	[MALLOC_SMALL]	   = { "malloc-small", NULL, malloc_small, free_p },
	[MALLOC_MEDIUM]	   = { "malloc-medium", NULL, malloc_medium, free_p },
	[MALLOC_LARGE]	   = { "malloc-large", NULL, malloc_large, free_p },
	[MALLOC_HUGE]	   = { "malloc-huge", NULL, malloc_huge, free_p },
	[CALLOC]	   = { "calloc", NULL, calloc_small, free_p },
	[GROW]		   = { "realloc-grow", with_old_40, resize_to_400 },
	[GROW_MEDIUM]	   = { "realloc-grow-medium", with_old_512, resize_to_1000 },
	[GROW_OUT]	   = { "realloc-grow-out", with_old_512, resize_to_9000 },
	[GROW_LARGE]	   = { "realloc-grow-large", with_old_6000, resize_to_9000 },
	[SHRINK]	   = { "realloc-shrink", with_old_512, resize_to_8, NULL, true },
	[SHRINK_IN]	   = { "realloc-shrink-in", with_old_6000, resize_to_400, NULL, true },
	[SET_OPS]	   = { "set-ops", NULL, set_hooks, drop_hooks },
};

/* --------------------------------------------------------------- walks ---- */

/* What makes the n-th request fail. */
struct trigger {
	void (*arm)(struct scene *s, unsigned int n);
	bool (*disarm)(struct scene *s, unsigned int n); /* true if it was reached */
};

static void fail_once(struct scene *s, unsigned int n)
{
	s->th->provider->fail_on = false;
	s->th->provider->fail_at = pymt_calls(s->th) + n;
}

static void fail_from_then_on(struct scene *s, unsigned int n)
{
	fail_once(s, n);
	s->th->provider->fail_on = true;
}

static bool stop_failing(struct scene *s, unsigned int n)
{
	bool reached = pymt_calls(s->th) >= s->th->provider->fail_at;

	s->th->provider->fail_at = 0;
	return reached;
}

static const struct trigger provider_once = { fail_once, stop_failing };
static const struct trigger provider_on = { fail_from_then_on, stop_failing };

#ifdef CONFIG_FAULT_INJECTION
static void arm_kernel(struct scene *s, unsigned int n)
{
	current->fail_nth = n;
}

static bool disarm_kernel(struct scene *s, unsigned int n)
{
	bool reached = !current->fail_nth;

	current->fail_nth = 0;
	return reached;
}

static const struct trigger kernel_once = { arm_kernel, disarm_kernel };
#endif

/* Unused memory and deferred work do not count. */
static void settle(struct kunit *test, struct scene *s, struct pym_heap_stats *stats)
{
	flush_work(&s->heap->reap_work);
	pym_heap_shrink(s->heap);
	pymt_stats(test, s->heap, stats);
}

/* What a heap makes on first use and keeps: a class, the descriptor of an order. */
static size_t kept_at_most(void)
{
	return kmalloc_size_roundup(pym_cache_bytes()) +
	       kmalloc_size_roundup(sizeof(struct pym_order));
}

static void expect_unchanged(struct kunit *test, struct scene *s, unsigned int n,
			     struct pym_heap_stats *before)
{
	struct pym_heap_stats after;

	settle(test, s, &after);
	KUNIT_EXPECT_LE_MSG(test, after.metadata, before->metadata + kept_at_most(),
			    "metadata leaked when request %u failed", n);
	KUNIT_EXPECT_GE(test, after.metadata, before->metadata);
	/* The rest is all of the rest. */
	after.held -= after.metadata - before->metadata;
	after.metadata = before->metadata;
	pymt_expect_same(test, before, &after);
	if (s->old)
		KUNIT_EXPECT_NULL_MSG(test, memchr_inv(s->old, 0x99, s->old_size),
				      "the old block changed when request %u failed", n);
}

/* One attempt with the n-th request failing; false if there were fewer than n. */
static bool attempt(struct kunit *test, const struct operation *op, enum pymt_kind kind,
		    const struct trigger *trigger, unsigned int n, unsigned int *failures)
{
	struct scene *s = kunit_kzalloc(test, sizeof(*s), GFP_KERNEL);
	struct pym_heap_stats before, again;
	bool ok, reached;

	KUNIT_ASSERT_NOT_NULL(test, s);
	s->th = pymt_open(test, kind, NULL);
	s->heap = s->th->heap;
	if (op->prepare)
		op->prepare(test, s);
	settle(test, s, &before);

	trigger->arm(s, n);
	ok = op->run(s);
	reached = trigger->disarm(s, n);
	if (!ok) {
		(*failures)++;
		KUNIT_EXPECT_TRUE_MSG(test, reached, "failed though nothing below did");
		KUNIT_EXPECT_FALSE_MSG(test, op->never_fails, "this need not fail");
		expect_unchanged(test, s, n, &before);
		/* What is kept is kept once: the same failure again adds nothing. */
		settle(test, s, &before);
		trigger->arm(s, n);
		ok = op->run(s);
		trigger->disarm(s, n);
		if (!ok) {
			settle(test, s, &again);
			KUNIT_EXPECT_LE(test, again.held, before.held + kept_at_most());
			ok = op->run(s);
		}
		KUNIT_EXPECT_TRUE_MSG(test, ok, "must succeed when nothing fails any more");
	}
	if (ok && op->undo)
		op->undo(s);
	if (s->old)
		KUNIT_EXPECT_NULL(test, memchr_inv(s->old, 0x99, s->old_size));
	pym_free(s->old);
	pymt_close(test, s->th);
	kunit_kfree(test, s);
	return reached;
}

static void walk(struct kunit *test, unsigned int nr, enum pymt_kind kind,
		 const struct trigger *trigger, unsigned int *failures)
{
	unsigned int n = 0;

	do {
		n++;
		KUNIT_ASSERT_LT_MSG(test, n, MAX_WALK, "there is no end to it");
	} while (attempt(test, &operations[nr], kind, trigger, n, failures));
	kunit_info(test, "%u requests, %u failed the operation\n", n - 1, *failures);
}

struct fault_case {
	u8 operation;
	u8 kind;
};

static void fault_desc(const struct fault_case *c, char *desc)
{
	static const char * const kinds[] = {
		[PYMT_SPLIT] = "split", [PYMT_PLAIN] = "plain", [PYMT_PAGES] = "pages",
		[PYMT_VMALLOC] = "vmalloc",
	};

	scnprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s-%s", operations[c->operation].name,
		  kinds[c->kind]);
}

#define BOTH(op)	{ op, PYMT_SPLIT }, { op, PYMT_PLAIN }
#define ALL(op)		BOTH(op), { op, PYMT_PAGES }, { op, PYMT_VMALLOC }

static const struct fault_case provider_walks[] = {
	BOTH(HEAP_CREATE), BOTH(CACHE_CREATE), BOTH(CACHE_ALLOC), BOTH(CACHE_ALLOC_WIDE),
	BOTH(CACHE_ZALLOC), BOTH(CACHE_BULK), BOTH(MALLOC_SMALL), BOTH(MALLOC_MEDIUM),
	BOTH(MALLOC_LARGE), BOTH(CALLOC), BOTH(GROW), BOTH(GROW_MEDIUM), BOTH(GROW_OUT),
	BOTH(SHRINK), BOTH(SHRINK_IN), BOTH(SET_OPS),
};

KUNIT_ARRAY_PARAM(provider_walks, provider_walks, fault_desc);

static bool uses_provider(const struct fault_case *c)
{
	switch (c->operation) {
	case HEAP_CREATE:
	case CACHE_CREATE:
	case MALLOC_LARGE:
	case GROW_OUT:
	case SET_OPS:
		return false;
	case GROW:
		/* Pools that cannot be given back alone are there to be used. */
		return c->kind != PYMT_PLAIN;
	default:
		return true;
	}
}

static void provider_fails(struct kunit *test)
{
	const struct fault_case *c = test->param_value;
	unsigned int once = 0, on = 0;

	walk(test, c->operation, c->kind, &provider_once, &once);
	walk(test, c->operation, c->kind, &provider_on, &on);
	KUNIT_EXPECT_EQ_MSG(test, once, 0, "one failure is made up for by a smaller request");
	if (operations[c->operation].never_fails || !uses_provider(c))
		KUNIT_EXPECT_EQ(test, on, 0);
	else
		KUNIT_EXPECT_GT_MSG(test, on, 0, "without memory it must fail");
}

static const struct fault_case kernel_walks[] = {
	ALL(HEAP_CREATE), ALL(CACHE_CREATE), ALL(CACHE_ALLOC), ALL(CACHE_ALLOC_WIDE),
	ALL(CACHE_ZALLOC), ALL(CACHE_BULK), ALL(MALLOC_SMALL), ALL(MALLOC_MEDIUM),
	ALL(MALLOC_LARGE), ALL(MALLOC_HUGE), ALL(CALLOC), ALL(GROW), ALL(GROW_MEDIUM),
	ALL(GROW_OUT), ALL(GROW_LARGE), ALL(SHRINK),
	ALL(SHRINK_IN), ALL(SET_OPS),
};

KUNIT_ARRAY_PARAM(kernel_walks, kernel_walks, fault_desc);

#ifdef CONFIG_FAULT_INJECTION
static bool injection_works(void)
{
	void *p;
	struct page *page;

	current->fail_nth = 1;
	p = kmalloc(100, GFP_KERNEL);
	current->fail_nth = 1;
	page = alloc_page(GFP_KERNEL);
	current->fail_nth = 0;
	kfree(p);
	if (page)
		__free_page(page);
	return !p && !page;
}

static void kernel_fails(struct kunit *test)
{
	const struct fault_case *c = test->param_value;
	unsigned int failures = 0;

	if (!injection_works())
		kunit_skip(test, "GFP_KERNEL is spared: set ignore-gfp-wait of both to N");
	walk(test, c->operation, c->kind, &kernel_once, &failures);
	if (operations[c->operation].never_fails)
		KUNIT_EXPECT_EQ(test, failures, 0);
}
#else
static void kernel_fails(struct kunit *test)
{
	kunit_skip(test, "needs CONFIG_FAULT_INJECTION");
}
#endif

static struct kunit_case fault_cases[] = {
	KUNIT_CASE_PARAM(provider_fails, provider_walks_gen_params),
	KUNIT_CASE_PARAM(kernel_fails, kernel_walks_gen_params),
	{}
};

static struct kunit_suite fault_suite = {
	.name = "pymalloc_fault",
	.init = pymt_init_bare,
	.exit = pymt_exit,
	.test_cases = fault_cases,
};

kunit_test_suites(&fault_suite);
