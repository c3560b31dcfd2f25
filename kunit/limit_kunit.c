// SPDX-License-Identifier: GPL-2.0-only
/*
 * The hard limit of a heap: pools, metadata and pass-through; the callback; and
 * changes of the limit.
 */
#include <linux/delay.h>
#include <linux/mm.h>
#include "fixture.h"

/* A heap with a limit, and what its callback saw. */
struct limited {
	struct pymt_heap *th;
	unsigned int calls;
	unsigned int bad;		/* called with a lock held or preemption off */
	size_t wanted;
	void *relief;			/* to be freed by the callback */
	bool sleep;
};

static void on_limit(struct pym_heap *heap, size_t wanted, void *ctx)
{
	struct limited *l = ctx;

	l->calls++;
	l->wanted = wanted;
	if (IS_ENABLED(CONFIG_PREEMPT_COUNT) && (!preemptible() || rcu_preempt_depth()))
		l->bad++;
	if (heap != l->th->heap)
		l->bad++;
	pym_free(l->relief);
	l->relief = NULL;
	if (l->sleep)
		usleep_range(1000, 2000);
}

static struct limited *limited_heap(struct kunit *test, size_t limit)
{
	struct limited *l = kunit_kzalloc(test, sizeof(*l), GFP_KERNEL);
	struct pym_heap_args args = {
		.limit_bytes = limit,
		.on_limit = on_limit,
		.on_limit_ctx = l,
	};

	KUNIT_ASSERT_NOT_NULL(test, l);
	l->th = pymt_open(test, PYMT_SPLIT, &args);
	return l;
}

static struct pym_heap_stats stats_of(struct kunit *test, struct limited *l)
{
	struct pym_heap_stats stats;

	pymt_stats(test, l->th->heap, &stats);
	return stats;
}

/* More blocks than any limit here allows: a limit that fails must not hang. */
#define TOO_MANY	5000

/* Allocate until it fails; returns how many. They are not freed. */
static unsigned int exhaust(struct limited *l, size_t n)
{
	unsigned int done = 0;

	while (done < TOO_MANY && pym_malloc(l->th->heap, n, GFP_KERNEL))
		done++;
	return done;
}

static const size_t limits[] = { SZ_16K, SZ_32K, SZ_64K + 12345, SZ_128K, SZ_512K };

static void limit_desc(const size_t *limit, char *desc)
{
	scnprintf(desc, KUNIT_PARAM_DESC_SIZE, "%zu-bytes", *limit);
}

KUNIT_ARRAY_PARAM(limits, limits, limit_desc);

/* Close to the limit, never beyond it: an arena that is too large is halved. */
static void pools_within_limit(struct kunit *test)
{
	size_t limit = *(const size_t *)test->param_value;
	struct limited *l = limited_heap(test, limit);
	unsigned int n = exhaust(l, 512);
	struct pym_heap_stats s = stats_of(test, l);

	KUNIT_EXPECT_LE(test, s.high, limit);
	KUNIT_EXPECT_GT_MSG(test, s.held + PAGE_SIZE + SZ_8K, limit,
			    "not refused while another pool would fit");
	KUNIT_EXPECT_EQ(test, s.live, n);
	KUNIT_EXPECT_EQ(test, s.limit_hits, 1);
	KUNIT_EXPECT_EQ(test, l->calls, 1);
	KUNIT_EXPECT_EQ(test, s.failures, 1);
	KUNIT_EXPECT_EQ(test, s.in_flight, 0);
}

static void pass_through_within_limit(struct kunit *test)
{
	size_t limit = *(const size_t *)test->param_value;
	struct limited *l = limited_heap(test, limit);
	unsigned int n = exhaust(l, 4000);
	struct pym_heap_stats s = stats_of(test, l);

	KUNIT_EXPECT_LE(test, s.high, limit);
	KUNIT_EXPECT_EQ(test, s.pass_through_live, n);
	KUNIT_EXPECT_GT(test, s.held + 4096 + 512, limit);
	KUNIT_EXPECT_EQ(test, s.limit_hits, 1);
	KUNIT_EXPECT_EQ(test, l->calls, 1);
}

static void caches_within_limit(struct kunit *test)
{
	size_t limit = *(const size_t *)test->param_value;
	struct limited *l = limited_heap(test, limit);
	struct pym_cache *cache = pymt_cache(test, l->th->heap, 512);
	unsigned int n = 0;

	while (n < TOO_MANY && pym_cache_alloc(cache, GFP_KERNEL))
		n++;
	KUNIT_EXPECT_LE(test, stats_of(test, l).high, limit);
	KUNIT_EXPECT_EQ(test, stats_of(test, l).live, n);
	KUNIT_EXPECT_EQ(test, l->calls, 1);
	/* The only way out is to free something. */
	pym_heap_reset(l->th->heap);
	KUNIT_EXPECT_NOT_NULL(test, pym_cache_alloc(cache, GFP_KERNEL));
}

/* Descriptors count too: a heap of nothing but caches is bounded. */
static void metadata_within_limit(struct kunit *test)
{
	struct limited *l = limited_heap(test, SZ_16K);
	struct pym_cache_args args = { .heap = l->th->heap };
	char name[16];
	int i;

	for (i = 0; i < 100; i++) {
		scnprintf(name, sizeof(name), "c%d", i);
		if (!pym_cache_create(name, 64, &args))
			break;
	}
	KUNIT_EXPECT_GT(test, i, 0);
	KUNIT_EXPECT_LT_MSG(test, i, 100, "100 caches need more than 16 KiB");
	KUNIT_EXPECT_EQ(test, l->calls, 1);
	KUNIT_EXPECT_EQ(test, stats_of(test, l).limit_hits, 1);
	KUNIT_EXPECT_LE(test, stats_of(test, l).high, SZ_16K);
}

/* Each kind of request that fails calls back once, whatever it tried before. */
static void once_per_failing_request(struct kunit *test)
{
	struct limited *l = limited_heap(test, SZ_64K);
	struct pym_cache *cache = pymt_cache(test, l->th->heap, 512);
	struct pym_heap *heap = l->th->heap;
	void **blocks = pymt_array(test, 200), *p = pymt_malloc(test, heap, 512);

	exhaust(l, 512);
	KUNIT_EXPECT_EQ(test, l->calls, 1);
	KUNIT_EXPECT_NULL(test, pym_malloc(heap, 512, GFP_KERNEL));
	KUNIT_EXPECT_EQ(test, l->calls, 2);
	KUNIT_EXPECT_NULL(test, pym_calloc(heap, 100, 1000, GFP_KERNEL));
	KUNIT_EXPECT_EQ(test, l->calls, 3);
	KUNIT_EXPECT_EQ(test, pym_cache_alloc_bulk(cache, GFP_KERNEL, 200, blocks), 0);
	KUNIT_EXPECT_EQ(test, l->calls, 4);
	KUNIT_EXPECT_NULL(test, pym_realloc(NULL, p, SZ_64K, GFP_KERNEL));
	KUNIT_EXPECT_EQ(test, l->calls, 5);
	KUNIT_EXPECT_EQ(test, l->bad, 0);
	KUNIT_EXPECT_EQ(test, stats_of(test, l).limit_hits, 5);
}

static void callback_may_free_and_sleep(struct kunit *test)
{
	struct limited *l = limited_heap(test, SZ_64K);
	struct pym_heap *heap = l->th->heap;

	l->relief = pymt_malloc(test, heap, 20000);
	l->sleep = true;
	exhaust(l, 512);
	KUNIT_EXPECT_EQ(test, l->calls, 1);
	KUNIT_EXPECT_EQ_MSG(test, l->bad, 0, "called in the context of the request, no lock held");
	KUNIT_EXPECT_GE(test, l->wanted, 512);
	KUNIT_EXPECT_NULL(test, l->relief);
	KUNIT_EXPECT_NOT_NULL_MSG(test, pym_malloc(heap, 512, GFP_KERNEL),
				  "what was freed can be had");
	pymt_check(test, l->th);
}

static void wanted_is_what_is_missing(struct kunit *test)
{
	struct limited *l = limited_heap(test, SZ_64K);

	KUNIT_EXPECT_NULL(test, pym_malloc(l->th->heap, SZ_128K, GFP_KERNEL));
	KUNIT_EXPECT_EQ(test, l->calls, 1);
	KUNIT_EXPECT_GE(test, l->wanted, SZ_128K);
	KUNIT_EXPECT_LT(test, l->wanted, SZ_256K);
}

static void no_callback_without_the_limit(struct kunit *test)
{
	struct limited *l = limited_heap(test, SZ_1M);

	l->th->provider->fail_at = 1;
	l->th->provider->fail_on = true;
	KUNIT_EXPECT_NULL(test, pym_malloc(l->th->heap, 100, GFP_KERNEL));
	KUNIT_EXPECT_NULL(test, pym_malloc(l->th->heap, SIZE_MAX, GFP_KERNEL));
	KUNIT_EXPECT_EQ(test, l->calls, 0);
	KUNIT_EXPECT_EQ(test, stats_of(test, l).limit_hits, 0);
	KUNIT_EXPECT_EQ(test, stats_of(test, l).failures, 2);
}

/* Free pools of other orders are given back before a request fails. */
static void idle_memory_makes_room(struct kunit *test)
{
	struct limited *l = limited_heap(test, SZ_128K);
	void **p = pymt_array(test, 150);
	int i;

	for (i = 0; i < 150; i++)
		p[i] = pymt_malloc(test, l->th->heap, 512);
	for (i = 0; i < 150; i++)
		pym_free(p[i]);
	p[0] = pym_cache_alloc(pymt_cache(test, l->th->heap, 4096), GFP_KERNEL);
	KUNIT_EXPECT_NOT_NULL(test, p[0]);
	KUNIT_EXPECT_EQ(test, l->calls, 0);
	pymt_check(test, l->th);
}

/* -------------------------------------------------------- changing it ---- */

static void set_limit(struct kunit *test)
{
	struct pym_heap *heap = pymt_heap(test)->heap;
	void *p = pymt_malloc(test, heap, 100000);
	struct pym_heap_stats s;

	pymt_stats(test, heap, &s);
	KUNIT_EXPECT_EQ(test, pym_heap_set_limit(heap, s.held - 1), -EBUSY);
	pymt_stats(test, heap, &s);
	KUNIT_EXPECT_EQ_MSG(test, s.limit, 0, "unchanged after -EBUSY");
	KUNIT_EXPECT_EQ(test, pym_heap_set_limit(heap, s.held), 0);
	KUNIT_EXPECT_NULL_MSG(test, pym_malloc(heap, 100, GFP_KERNEL), "no room at all");
	KUNIT_EXPECT_EQ(test, pym_heap_set_limit(heap, s.held + SZ_64K), 0);
	pym_free(pymt_malloc(test, heap, 100));
	KUNIT_EXPECT_EQ(test, pym_heap_set_limit(heap, 0), 0);
	pym_free(pymt_malloc(test, heap, SZ_1M));
	pym_free(p);
}

static void set_limit_shrinks_first(struct kunit *test)
{
	struct pymt_heap *th = pymt_heap(test);
	void *p = pymt_malloc(test, th->heap, 100);
	struct pym_heap_stats s;

	pymt_stats(test, th->heap, &s);
	KUNIT_EXPECT_EQ(test, pymt_bytes(th), 16 * PAGE_SIZE);
	KUNIT_EXPECT_EQ_MSG(test, pym_heap_set_limit(th->heap, s.held - 15 * PAGE_SIZE), 0,
			    "15 pools are unused");
	KUNIT_EXPECT_EQ(test, pymt_bytes(th), PAGE_SIZE);
	pym_free(p);
}

static void set_limit_below_the_heap(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, pym_heap_set_limit(pymt_heap(test)->heap, 1), -EBUSY);
	pym_free(pymt_malloc(test, pymt_heap(test)->heap, 100));
}

static void default_heap_limit(struct kunit *test)
{
	struct pym_heap_stats s;

	pym_heap_shrink(NULL);
	pymt_stats(test, NULL, &s);
	KUNIT_EXPECT_EQ(test, pym_heap_set_limit(NULL, s.held), 0);
	KUNIT_EXPECT_NULL(test, pym_malloc(NULL, 5000, GFP_KERNEL));
	KUNIT_EXPECT_EQ(test, pym_heap_set_limit(NULL, 0), 0);
	pym_free(pymt_malloc(test, NULL, 5000));
}

static struct kunit_case limit_cases[] = {
	KUNIT_CASE_PARAM(pools_within_limit, limits_gen_params),
	KUNIT_CASE_PARAM(pass_through_within_limit, limits_gen_params),
	KUNIT_CASE_PARAM(caches_within_limit, limits_gen_params),
	KUNIT_CASE(metadata_within_limit),
	KUNIT_CASE(once_per_failing_request),
	KUNIT_CASE(callback_may_free_and_sleep),
	KUNIT_CASE(wanted_is_what_is_missing),
	KUNIT_CASE(no_callback_without_the_limit),
	KUNIT_CASE(idle_memory_makes_room),
	KUNIT_CASE(set_limit),
	KUNIT_CASE(set_limit_shrinks_first),
	KUNIT_CASE(set_limit_below_the_heap),
	KUNIT_CASE(default_heap_limit),
	{}
};

static struct kunit_suite limit_suite = {
	.name = "pymalloc_limit",
	.init = pymt_init,
	.exit = pymt_exit,
	.test_cases = limit_cases,
};

kunit_test_suites(&limit_suite);
