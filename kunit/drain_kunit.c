// SPDX-License-Identifier: GPL-2.0-only
/*
 * Draining: sparse pools of a fragmented cache take their blocks back past the fronts,
 * so that churn empties them; nobody else notices, and misuse is seen at once.
 */
#include <linux/cpumask.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/prandom.h>
#include <linux/sched.h>
#include <linux/wait_bit.h>
#include <linux/workqueue.h>
#include "decay.h"
#include "within.h"

#define SIZE		64
#define MANY		20000		/* 313 pools */

/* A cache with fewer pools than this does not drain; see DRAIN_POOLS in batch.c. */
#define FEW_POOLS	16

static const enum pymt_kind kinds[] = {
	PYMT_PAGES | PYMT_FRONTS, PYMT_SPLIT | PYMT_FRONTS, PYMT_VMALLOC | PYMT_FRONTS,
	PYMT_PAGES,
};

static void kind_desc(const enum pymt_kind *kind, char *desc)
{
	char name[16];
	enum pymt_kind fronts = *kind | PYMT_FRONTS;

	pymt_decay_kind_desc(&fronts, name);
	scnprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s%s", name,
		  *kind & PYMT_FRONTS ? "-fronts" : "");
}

KUNIT_ARRAY_PARAM(kinds, kinds, kind_desc);

static struct pymt_heap *open_param(struct kunit *test)
{
	pymt_stay_here(test);
	return pymt_open(test, *(const enum pymt_kind *)test->param_value, NULL);
}

/* Blocks of a cache, or of a class if that is NULL. */
struct herd {
	struct pymt_heap *th;
	struct pym_cache *named;	/* NULL: pym_malloc() */
	void **blocks;
	unsigned int n;
	struct rnd_state rnd;
};

static u32 below(struct herd *h, u32 n)
{
	return prandom_u32_state(&h->rnd) % n;
}

static struct pym_cache *cache_of(struct herd *h)
{
	return h->named ?: h->th->heap->class[pym_size_to_class(SIZE)];
}

static void *take_one(struct kunit *test, struct herd *h)
{
	void *p = h->named ? pymt_take(test, h->named) : pymt_malloc(test, h->th->heap, SIZE);

	memset(p, pymt_tag(p), SIZE);
	return p;
}

static void give_one(struct herd *h, void *p)
{
	if (h->named)
		pym_cache_free(h->named, p);
	else
		pym_free(p);
}

static void add(struct kunit *test, struct herd *h, unsigned int n)
{
	while (n--)
		h->blocks[h->n++] = take_one(test, h);
}

/* Free random ones until @n are left. */
static void drop_to(struct herd *h, unsigned int n)
{
	while (h->n > n) {
		unsigned int victim = below(h, h->n);

		give_one(h, h->blocks[victim]);
		h->blocks[victim] = h->blocks[--h->n];
	}
}

static struct herd *new_herd(struct kunit *test, struct pymt_heap *th, struct pym_cache *named)
{
	struct herd *h = kunit_kzalloc(test, sizeof(*h), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, h);
	h->th = th;
	h->named = named;
	h->blocks = pymt_array(test, MANY);
	prandom_seed_state(&h->rnd, pymt_seed(test));
	return h;
}

/* @n blocks in many pools, each nearly empty. */
static struct herd *scatter(struct kunit *test, struct pymt_heap *th, struct pym_cache *named,
			    unsigned int n)
{
	struct herd *h = new_herd(test, th, named);

	add(test, h, MANY);
	drop_to(h, n);
	return h;
}

static struct herd *scatter_in_param(struct kunit *test, unsigned int n)
{
	struct pymt_heap *th = open_param(test);

	return scatter(test, th, pymt_cache(test, th->heap, SIZE), n);
}

static unsigned int count_damaged(struct herd *h)
{
	unsigned int i, damaged = 0;

	for (i = 0; i < h->n; i++)
		damaged += !!memchr_inv(h->blocks[i], pymt_tag(h->blocks[i]), SIZE);
	return damaged;
}

static void end_herd(struct kunit *test, struct herd *h)
{
	KUNIT_EXPECT_EQ_MSG(test, count_damaged(h), 0, "blocks whose content changed");
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache_of(h)).live, h->n);
	pymt_check(test, h->th);
	drop_to(h, 0);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache_of(h)).live, 0);
	pym_heap_shrink(h->th->heap);
	if (!cache_of(h)->typesafe)
		KUNIT_EXPECT_EQ(test, pymt_stats_of(cache_of(h)).pools, 0);
}

static bool drains(struct kunit *test, const void *block)
{
	return pymt_pool(test, block)->draining;
}

static unsigned int count_draining(struct kunit *test, struct herd *h)
{
	unsigned int i, n = 0;

	for (i = 0; i < h->n; i++)
		n += drains(test, h->blocks[i]);
	return n;
}

/* Some block whose pool drains; taken out of the herd. */
static void *pick_draining(struct kunit *test, struct herd *h)
{
	unsigned int i;
	void *p = NULL;

	for (i = 0; i < h->n && !p; i++)
		if (drains(test, h->blocks[i]))
			p = h->blocks[i];
	KUNIT_ASSERT_NOT_NULL_MSG(test, p, "no pool drains");
	h->blocks[i - 1] = h->blocks[--h->n];
	return p;
}

static unsigned long word_of(const void *block)
{
	return page_private(is_vmalloc_addr(block) ? vmalloc_to_page(block) :
						     virt_to_page(block));
}

/* ------------------------------------------------------------- which drain ---- */

static void sparse_pools_drain(struct kunit *test)
{
	struct herd *h = scatter_in_param(test, MANY / 50);
	struct pym_cache *cache = h->named;
	unsigned int i, live;
	struct pym_pool *pool;
	void *p;

	KUNIT_EXPECT_GT_MSG(test, count_draining(test, h), h->n * 9 / 10, "of %u blocks", h->n);
	for (i = 0; i < 20; i++) {
		p = pick_draining(test, h);
		pool = pymt_pool(test, p);
		live = pool->live;
		KUNIT_EXPECT_EQ(test, pool->state, PYM_POOL_USED);
		if (!cache->indexed)
			KUNIT_EXPECT_EQ(test, word_of(p), PYM_NO_OWNER);
		pym_cache_free(cache, p);
		if (live > 1)
			KUNIT_EXPECT_EQ_MSG(test, pool->live, live - 1, "its pool has it back");
		else
			KUNIT_EXPECT_FALSE(test, pool->draining);
	}
	pymt_check(test, h->th);
	end_herd(test, h);
}

/* More than half of what the cache holds is in use: no pool drains, however it churns. */
static void dense_ones_never_drain(struct kunit *test)
{
	struct herd *h = scatter_in_param(test, MANY * 6 / 10);
	unsigned int i;

	KUNIT_EXPECT_EQ(test, count_draining(test, h), 0);
	for (i = 0; i < 5000; i++) {
		unsigned int victim = below(h, h->n);

		give_one(h, h->blocks[victim]);
		h->blocks[victim] = take_one(test, h);
	}
	KUNIT_EXPECT_EQ(test, count_draining(test, h), 0);
	end_herd(test, h);
}

static unsigned int draining_of(struct kunit *test, unsigned int pools)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, SIZE);
	struct herd *h = new_herd(test, th, cache);
	unsigned int i, draining;
	void *p;

	add(test, h, pools * cache->capacity);
	/* In order, so that every pool keeps one. */
	for (i = 0; i < pools * cache->capacity; i++)
		if (i % cache->capacity) {
			p = h->blocks[i];
			h->blocks[i] = NULL;
			give_one(h, p);
		}
	for (i = 0, h->n = 0; i < pools * cache->capacity; i++)
		if (h->blocks[i])
			h->blocks[h->n++] = h->blocks[i];
	draining = count_draining(test, h);
	end_herd(test, h);
	return draining;
}

static void small_ones_never_drain(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, draining_of(test, 2), 0);
	KUNIT_EXPECT_EQ(test, draining_of(test, FEW_POOLS), 0);
	KUNIT_EXPECT_GT_MSG(test, draining_of(test, 2 * FEW_POOLS), 0, "and these are too many");
}

/* Once it is wanted again it is a pool like any other. */
static void ordinary_when_full_again(struct kunit *test)
{
	struct herd *h = scatter_in_param(test, MANY / 50);
	unsigned int i, wrong = 0;

	KUNIT_EXPECT_GT(test, count_draining(test, h), 0);
	add(test, h, MANY * 19 / 20 - h->n);
	KUNIT_EXPECT_LT(test, count_draining(test, h), h->n / 10);
	for (i = 0; i < h->n; i++) {
		const struct pym_pool *pool = pymt_pool(test, h->blocks[i]);

		if (pool->state == PYM_POOL_FULL)
			wrong += pool->draining ||
				 (!h->named->indexed && word_of(h->blocks[i]) !=
							(unsigned long)h->named);
	}
	KUNIT_EXPECT_EQ_MSG(test, wrong, 0, "blocks of full pools that drain or name no owner");
	/* A front takes their blocks again. */
	if (h->named->fronts && !h->named->indexed) {
		struct pym_front *front = pymt_front_of(h->named, raw_smp_processor_id());

		while (front->n > 10)
			h->blocks[h->n++] = take_one(test, h);
		for (i = 0; i < h->n; i++)
			if (pymt_pool(test, h->blocks[i])->state == PYM_POOL_FULL)
				break;
		KUNIT_ASSERT_LT(test, i, h->n);
		wrong = front->n;
		give_one(h, h->blocks[i]);
		KUNIT_EXPECT_EQ(test, front->n, wrong + 1);
		h->blocks[i] = h->blocks[--h->n];
	}
	end_herd(test, h);
}

/* Full pools that lie together let arenas go: one after the other is filled. */
static void filled_one_by_one(struct kunit *test)
{
	struct herd *h = scatter_in_param(test, MANY / 50);
	unsigned int i, pools = 0, first = h->n, n = 3 * h->named->capacity;
	struct pym_pool *pool, *last = NULL;

	pym_heap_shrink(h->th->heap);
	add(test, h, n);
	for (i = first; i < h->n; i++) {
		pool = pymt_pool(test, h->blocks[i]);
		pools += pool != last;
		last = pool;
	}
	KUNIT_EXPECT_LE_MSG(test, pools, 8, "changes of pool in %u allocations", n);
	end_herd(test, h);
}

/* ------------------------------------------------------------------ turnover ---- */

static void turn_over(struct kunit *test, struct herd *h, unsigned int turnovers)
{
	unsigned int i, n = h->n * turnovers;

	for (i = 0; i < n; i++) {
		unsigned int victim = below(h, h->n);

		give_one(h, h->blocks[victim]);
		h->blocks[victim] = take_one(test, h);
	}
}

static void expect_compact(struct kunit *test, struct herd *h)
{
	unsigned int before = cache_of(h)->nr_pools, after;
	unsigned int least = DIV_ROUND_UP(h->n, cache_of(h)->capacity);

	turn_over(test, h, 20);
	after = cache_of(h)->nr_pools;
	kunit_info(test, "%u live blocks in %u pools at first, in %u after 20 turnovers, in %u at best\n",
		   h->n, before, after, least);
	/* And what fronts and the depot hold. */
	KUNIT_EXPECT_LE(test, after, least * 6 / 5 + 3);
	end_herd(test, h);
}

static void churn_empties_them(struct kunit *test)
{
	expect_compact(test, scatter_in_param(test, MANY / 50));
}

static void churn_of_a_tenth(struct kunit *test)
{
	expect_compact(test, scatter_in_param(test, MANY / 10));
}

static void churn_of_a_class(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);

	expect_compact(test, scatter(test, th, NULL, MANY / 10));
}

/* ---------------------------------------------------------------------- misuse ---- */

static void misuse_is_seen_at_once(struct kunit *test)
{
	struct herd *h = scatter_in_param(test, MANY / 50);
	struct pym_cache *other = pymt_cache(test, h->th->heap, SIZE);
	void *p;

	/* Its pool is to stay, with another block of it live. */
	do
		p = pick_draining(test, h);
	while (pymt_pool(test, p)->live < 2);
	pym_cache_free(other, p);
	pymt_expect_misuse(test, PYM_MISUSE_WRONG_CACHE, 1);
	pym_free(p);
	pymt_expect_misuse(test, PYM_MISUSE_WRONG_API, 1);
	pym_cache_free(h->named, p + 8);
	pymt_expect_misuse(test, PYM_MISUSE_INTERIOR, 1);
	pym_cache_free(h->named, p + 1);
	pymt_expect_misuse(test, PYM_MISUSE_INTERIOR, 1);
	KUNIT_EXPECT_TRUE_MSG(test, drains(test, p), "all of that changed nothing");
	pym_cache_free(h->named, p);
	pym_cache_free(h->named, p);
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 1);
	pym_cache_free_bulk(h->named, 1, &p);
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 1);
	pym_cache_free_rcu(h->named, p);
	wait_var_event(&h->named->waiting, !atomic_read(&h->named->waiting));
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 1);
	pymt_forget_misuse(test);
	h->n = 0;
	pym_heap_reset(h->th->heap);
}

static void misuse_of_a_class(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *named = pymt_cache(test, th->heap, SIZE);
	struct herd *h = scatter(test, th, NULL, MANY / 50);
	void *p = pick_draining(test, h);

	pym_cache_free(named, p);
	pymt_expect_misuse(test, PYM_MISUSE_WRONG_API, 1);
	pym_free(p + 8);
	pymt_expect_misuse(test, PYM_MISUSE_INTERIOR, 1);
	KUNIT_EXPECT_EQ(test, pym_usable_size(p), SIZE);
	KUNIT_EXPECT_PTR_EQ(test, pym_owner(p), th->heap);
	pym_free(p);
	pym_free(p);
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 1);
	end_herd(test, h);
}

/* ------------------------------------------------------------------- in fronts ---- */

/* What this CPU's front holds when pools begin to drain goes back to them. */
static void fronts_let_go(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, SIZE);
	struct herd *h = new_herd(test, th, cache);
	struct pym_front *front;
	unsigned int i, held = 0;

	add(test, h, MANY);
	if (!cache->fronts)
		return drop_to(h, 0);
	drop_to(h, MANY / 50);
	front = pymt_front_of(cache, raw_smp_processor_id());
	/* The free that finds its pool draining takes the others with it. */
	give_one(h, pick_draining(test, h));
	for (i = 1; i <= front->n; i++)
		held += drains(test, pym_unmarked(front->slot[i]));
	KUNIT_EXPECT_EQ_MSG(test, held, 0, "of %lu blocks in the front", front->n);
	end_herd(test, h);
}

/* Blocks that are in the front of another CPU meanwhile; and its depot. */
static void other_fronts_are_no_trap(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, SIZE);
	struct herd *h = new_herd(test, th, cache);
	void *blocks[100];
	struct pymt_errand e = { .cache = cache, .blocks = blocks, .n = ARRAY_SIZE(blocks) };
	unsigned int i;

	add(test, h, MANY - ARRAY_SIZE(blocks));
	KUNIT_ASSERT_EQ(test, work_on_cpu(pymt_other_cpu(), pymt_take_there, &e), 0);
	work_on_cpu(pymt_other_cpu(), pymt_give_there, &e);
	drop_to(h, MANY / 50);
	pymt_check(test, th);
	/* They are handed out again there, and freed here and there. */
	for (i = 0; i < 10; i++) {
		KUNIT_ASSERT_EQ(test, work_on_cpu(pymt_other_cpu(), pymt_take_there, &e), 0);
		if (i % 2)
			pymt_give_there(&e);
		else
			work_on_cpu(pymt_other_cpu(), pymt_give_there, &e);
		KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).live, h->n);
	}
	end_herd(test, h);
}

static void freed_elsewhere(struct kunit *test)
{
	struct herd *h = scatter_in_param(test, MANY / 50);
	struct pymt_errand e = { .cache = h->named, .blocks = h->blocks, .n = h->n / 2 };
	unsigned int left = h->n - e.n;

	KUNIT_EXPECT_GT(test, count_draining(test, h), 0);
	work_on_cpu(pymt_other_cpu(), pymt_give_there, &e);
	h->blocks += e.n;
	h->n = left;
	KUNIT_EXPECT_EQ(test, pymt_stats_of(h->named).live, left);
	pymt_check(test, h->th);
	turn_over(test, h, 2);
	end_herd(test, h);
}

/* Some in a row that drain, and some that do not; and what is no block at all. */
static void in_bulk(struct kunit *test)
{
	struct herd *h = scatter_in_param(test, MANY / 50);
	unsigned int round, i, n;
	void *blocks[80];

	for (round = 0; round < 20; round++) {
		n = ARRAY_SIZE(blocks) / 2;
		KUNIT_ASSERT_EQ(test, pym_cache_alloc_bulk(h->named, GFP_KERNEL, n, blocks), n);
		/* Beside those that were just had, ones that have been there for long. */
		for (i = 0; i < n; i++)
			blocks[n + i] = h->blocks[--h->n];
		for (i = 0; i < n; i++) {
			unsigned int other = n + below(h, n);

			swap(blocks[i], blocks[other]);
		}
		pym_cache_free(h->named, blocks[round]);
		blocks[round] = NULL;
		pym_cache_free_bulk(h->named, 2 * n, blocks);
		KUNIT_EXPECT_EQ(test, pymt_stats_of(h->named).live, h->n);
		add(test, h, n);
	}
	end_herd(test, h);
}

struct gift {
	struct pym_cache *cache;
	void *blocks[3];
};

static void give(void *arg)
{
	struct gift *g = arg;

	pymt_give_many(g->cache, g->blocks, ARRAY_SIZE(g->blocks));
}

static void in_any_context(struct kunit *test)
{
	struct herd *h = scatter_in_param(test, MANY / 50);
	struct gift g = { .cache = h->named };
	unsigned int context, i;

	/* Called with preemption off where we are. */
	if (h->th->provider)
		h->th->provider->atomic = true;
	for (context = 0; context < PYMT_NR_CONTEXTS; context++) {
		if (context == PYMT_NMI && !PYMT_HAS_NMI)
			continue;
		for (i = 0; i < ARRAY_SIZE(g.blocks); i++)
			g.blocks[i] = pick_draining(test, h);
		pymt_call_in(test, context, give, &g);
		KUNIT_EXPECT_EQ_MSG(test, pymt_stats_of(h->named).live, h->n, "%s",
				    pymt_context_names[context]);
	}
	end_herd(test, h);
}

static struct kunit_case drain_cases[] = {
	KUNIT_CASE_PARAM(sparse_pools_drain, kinds_gen_params),
	KUNIT_CASE_PARAM(dense_ones_never_drain, kinds_gen_params),
	KUNIT_CASE_PARAM(small_ones_never_drain, kinds_gen_params),
	KUNIT_CASE_PARAM(ordinary_when_full_again, kinds_gen_params),
	KUNIT_CASE_PARAM(filled_one_by_one, kinds_gen_params),
	KUNIT_CASE_PARAM(churn_empties_them, kinds_gen_params),
	KUNIT_CASE_PARAM(churn_of_a_tenth, kinds_gen_params),
	KUNIT_CASE_PARAM(churn_of_a_class, kinds_gen_params),
	KUNIT_CASE_PARAM(misuse_is_seen_at_once, kinds_gen_params),
	KUNIT_CASE_PARAM(misuse_of_a_class, kinds_gen_params),
	KUNIT_CASE_PARAM(fronts_let_go, kinds_gen_params),
	KUNIT_CASE_PARAM(other_fronts_are_no_trap, kinds_gen_params),
	KUNIT_CASE_PARAM(freed_elsewhere, kinds_gen_params),
	KUNIT_CASE_PARAM(in_bulk, kinds_gen_params),
	KUNIT_CASE_PARAM(in_any_context, kinds_gen_params),
	{}
};

static struct kunit_suite drain_suite = {
	.name = "pymalloc_drain",
	.init = pymt_init_bare,
	.exit = pymt_exit,
	.test_cases = drain_cases,
};

kunit_test_suites(&drain_suite);
