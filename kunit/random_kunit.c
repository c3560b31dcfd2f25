// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random operations on everything a heap offers, against a model that is an
 * array of live blocks. The model knows what each block must contain, how many
 * there are and what they sum up to; the invariants and the ledger are checked
 * after every step, or every thousand steps of a longer run.
 */
#include <linux/prandom.h>
#include "fixture.h"

#define NR_CACHES	5
#define BULK		8
#define FROM_MALLOC	NR_CACHES	/* owner of a block that no cache gave */

struct item {
	u8 *p;				/* NULL: none */
	u32 size;			/* bytes asked for, filled with tag */
	u32 usable;			/* bytes there are */
	u8 tag;
	u8 owner;			/* index of its cache, or FROM_MALLOC */
};

enum {
	DID_MALLOC, DID_CALLOC, DID_CACHE, DID_FREE, DID_REALLOC, DID_BULK, DID_BULK_FREE,
	DID_SHRINK, DID_RESET, DID_FAIL, NR_DID
};

struct model {
	struct kunit *test;
	struct pymt_heap *th;
	struct pym_cache *cache[NR_CACHES];
	struct rnd_state rnd;
	struct item *items;
	unsigned int nr_items;
	unsigned int large_percent;	/* of pym_malloc() requests */
	unsigned int step_size;		/* small requests are around its multiples */
	unsigned long live, large;
	size_t in_blocks;
	bool may_fail;			/* this step's allocations */
	const char *wrong;		/* first thing that was */
	unsigned long done[NR_DID];		/* how often what was tried */
};

static u32 below(struct model *m, u32 n)
{
	return prandom_u32_state(&m->rnd) % n;
}

static void wrong(struct model *m, const char *what)
{
	if (!m->wrong)
		m->wrong = what;
}

/* ------------------------------------------------------------- the model ---- */

static void account(struct model *m, const struct item *item, int sign)
{
	m->live += sign;
	if (item->owner == FROM_MALLOC && item->usable > PYM_SMALL_MAX)
		m->large += sign;
	else
		m->in_blocks += sign * (long)item->usable;
}

static void enter(struct model *m, struct item *item, void *p, size_t size, u8 owner)
{
	item->p = p;
	item->size = size;
	item->owner = owner;
	item->tag = below(m, 255) + 1;
	/* A block keeps its class when a request for less leaves it in place. */
	item->usable = pym_usable_size(p);
	if (item->usable < size)
		wrong(m, "usable size is below the size asked for");
	if (item->tag < 16 && pym_owner(p) != m->th->heap)
		wrong(m, "block is not the heap's");
	if (!IS_ALIGNED((unsigned long)p, 8))
		wrong(m, "block is not aligned");
	memset(p, item->tag, size);
	account(m, item, 1);
}

static void check_content(struct model *m, const struct item *item, const u8 *p, size_t n)
{
	if (n && (p[0] != item->tag || p[n / 2] != item->tag || p[n - 1] != item->tag))
		wrong(m, "content of a block changed");
}

static void leave(struct model *m, struct item *item)
{
	check_content(m, item, item->p, item->size);
	account(m, item, -1);
	item->p = NULL;
}

/* ------------------------------------------------------------- the steps ---- */

static gfp_t random_gfp(struct model *m)
{
	switch (below(m, 4)) {
	case 0:
		return GFP_KERNEL | __GFP_NOWARN | __GFP_ZERO;
	case 1:
		m->may_fail = true;
		return GFP_NOWAIT | __GFP_NOWARN;
	default:
		return GFP_KERNEL | __GFP_NOWARN;
	}
}

static size_t random_size(struct model *m)
{
	size_t n;

	if (below(m, 100) < m->large_percent)
		return PYM_SMALL_MAX + 1 + below(m, PYM_SMALL_MAX);
	/*
	 * Every size, or few classes: walking all of them at every step takes long. Half
	 * of the requests are of those that are 8 bytes apart.
	 */
	n = below(m, 2) ? PYM_FINE_MAX : PYM_SMALL_MAX;
	n = below(m, n / m->step_size + 1) * m->step_size;
	return n - min_t(size_t, n, below(m, 8));
}

static void check_zeroed(struct model *m, gfp_t gfp, const void *p, size_t n)
{
	if ((gfp & __GFP_ZERO) && n && memchr_inv(p, 0, n))
		wrong(m, "block is not zeroed");
}

static void step_alloc(struct model *m, struct item *item)
{
	u8 owner = below(m, 2 * NR_CACHES);
	gfp_t gfp = random_gfp(m);
	size_t n;
	void *p;

	if (owner < NR_CACHES) {
		n = m->cache[owner]->size;
		p = pym_cache_alloc(m->cache[owner], gfp);
		m->done[DID_CACHE]++;
	} else if (below(m, 4)) {
		owner = FROM_MALLOC;
		n = random_size(m);
		p = pym_malloc(m->th->heap, n, gfp);
		m->done[DID_MALLOC]++;
	} else {
		owner = FROM_MALLOC;
		n = random_size(m);
		gfp |= __GFP_ZERO;
		p = pym_calloc(m->th->heap, 1, n, gfp);
		m->done[DID_CALLOC]++;
	}
	if (p) {
		check_zeroed(m, gfp, p, n);
		enter(m, item, p, n, owner);
	} else if (!m->may_fail) {
		wrong(m, "allocation failed");
	} else {
		m->done[DID_FAIL]++;
	}
}

static void step_free(struct model *m, struct item *item)
{
	void *p = item->p;

	leave(m, item);
	if (item->owner == FROM_MALLOC)
		pym_free(p);
	else
		pym_cache_free(m->cache[item->owner], p);
	m->done[DID_FREE]++;
}

static void step_realloc(struct model *m, struct item *item)
{
	size_t n = random_size(m), kept = min_t(size_t, n, item->size);
	struct item old = *item;
	gfp_t gfp = random_gfp(m);
	u8 *p;

	leave(m, item);
	p = pym_realloc(below(m, 2) ? m->th->heap : NULL, old.p, n, gfp);
	m->done[DID_REALLOC]++;
	if (p) {
		check_content(m, &old, p, kept);
		enter(m, item, p, n, FROM_MALLOC);
		return;
	}
	if (!m->may_fail || n <= old.size)
		wrong(m, "realloc failed");
	*item = old;
	check_content(m, item, item->p, item->size);
	account(m, item, 1);
}

static void step_bulk(struct model *m)
{
	u8 owner = below(m, NR_CACHES);
	size_t want = below(m, BULK + 1), i, n = 0;
	struct item *free[BULK];
	void *blocks[BULK];
	gfp_t gfp = random_gfp(m);

	for (i = 0; i < m->nr_items && n < want; i++)
		if (!m->items[i].p)
			free[n++] = &m->items[i];
	m->done[DID_BULK]++;
	if (pym_cache_alloc_bulk(m->cache[owner], gfp, n, blocks) != n) {
		if (!m->may_fail)
			wrong(m, "bulk allocation failed");
		return;
	}
	for (i = 0; i < n; i++) {
		check_zeroed(m, gfp, blocks[i], m->cache[owner]->size);
		enter(m, free[i], blocks[i], m->cache[owner]->size, owner);
	}
}

static void step_bulk_free(struct model *m)
{
	u8 owner = below(m, NR_CACHES);
	void *blocks[BULK] = { };
	unsigned int i, n = 0;

	for (i = below(m, m->nr_items); i < m->nr_items && n < BULK; i++) {
		struct item *item = &m->items[i];

		if (!item->p || item->owner != owner)
			continue;
		blocks[n++] = item->p;
		leave(m, item);
	}
	m->done[DID_BULK_FREE]++;
	/* The rest of the array is NULL, to be skipped. */
	pym_cache_free_bulk(m->cache[owner], BULK, blocks);
}

static void step_reset(struct model *m)
{
	unsigned int i;

	for (i = 0; i < m->nr_items; i++)
		if (m->items[i].p)
			leave(m, &m->items[i]);
	pym_heap_reset(m->th->heap);
	m->done[DID_RESET]++;
	if (m->live || m->in_blocks || m->large)
		wrong(m, "the model does not balance");
}

static void step(struct model *m)
{
	u32 what = below(m, 4000);
	struct item *item = &m->items[below(m, m->nr_items)];
	struct pymt_provider *provider = m->th->provider;

	m->may_fail = false;
	if (provider && what % 64 == 7) {
		/* A step without a provider. */
		provider->fail_at = pymt_calls(m->th) + 1;
		provider->fail_on = true;
		m->may_fail = true;
	}
	if (what < 8) {
		pym_heap_shrink(m->th->heap);
		m->done[DID_SHRINK]++;
	} else if (what == 8) {
		step_reset(m);
	} else if (what < 100) {
		step_bulk(m);
	} else if (what < 160) {
		step_bulk_free(m);
	} else if (!item->p) {
		step_alloc(m, item);
	} else if (item->owner == FROM_MALLOC && what % 3) {
		step_realloc(m, item);
	} else {
		step_free(m, item);
	}
	if (provider)
		provider->fail_at = 0;
}

/* --------------------------------------------------------------- the runs ---- */

static void note_invariant(void *ctx, const char *invariant, const char *where)
{
	pr_err("broken invariant: %s at %s\n", invariant, where);
}

/* As pymt_check(), but quick and without an expectation for each number. */
static void compare(struct model *m)
{
	struct pym_heap *heap = m->th->heap;
	struct pym_heap_stats s;

	flush_work(&heap->reap_work);
	mutex_lock(&pym_registry);
	if (pym_heap_verify(heap, note_invariant, NULL))
		wrong(m, "invariants, see the log");
	if (!pym_heap_ledger(heap, &s))
		wrong(m, "ledger");
	mutex_unlock(&pym_registry);
	if (s.in_blocks + s.rounding + s.free_blocks + s.virgin + s.empty_pools + s.metadata +
	    s.pass_through + s.in_flight != s.held)
		wrong(m, "sum of the statistics");
	if (m->th->provider && pymt_bytes(m->th) + s.metadata + s.pass_through != s.held)
		wrong(m, "bytes obtained from the provider");
	if (s.live != m->live)
		wrong(m, "number of live blocks");
	if (s.pass_through_live != m->large)
		wrong(m, "number of pass-through blocks");
	if (s.in_blocks != m->in_blocks)
		wrong(m, "bytes in blocks");
}

static void make_caches(struct model *m)
{
	static const struct {
		size_t size, align;
	} make[NR_CACHES] = { { 8 }, { 24 }, { 64, 64 }, { 200, 32 }, { 1500 } };
	char name[16];
	int i;

	for (i = 0; i < NR_CACHES; i++) {
		struct pym_cache_args args = { .heap = m->th->heap, .align = make[i].align };

		scnprintf(name, sizeof(name), "random-%d", i);
		m->cache[i] = pym_cache_create(name, make[i].size, &args);
		KUNIT_ASSERT_NOT_NULL(m->test, m->cache[i]);
	}
}

static void run(struct kunit *test, enum pymt_kind kind, unsigned int nr_items,
		unsigned int large_percent, unsigned int step_size, unsigned long steps,
		unsigned long every)
{
	struct model *m = kunit_kzalloc(test, sizeof(*m), GFP_KERNEL);
	u64 start = pymt_seed(test);
	unsigned long i;

	KUNIT_ASSERT_NOT_NULL(test, m);
	m->test = test;
	m->th = pymt_open(test, kind, NULL);
	m->nr_items = nr_items;
	m->large_percent = large_percent;
	m->step_size = step_size;
	m->items = kunit_kcalloc(test, nr_items, sizeof(*m->items), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, m->items);
	prandom_seed_state(&m->rnd, start);
	make_caches(m);

	for (i = 0; i < steps && !m->wrong; i++) {
		step(m);
		if (i % every == 0)
			compare(m);
		cond_resched();
	}
	KUNIT_EXPECT_NULL_MSG(test, m->wrong, "%s, at step %lu of seed %llu", m->wrong, i, start);
	KUNIT_EXPECT_EQ_MSG(test, i, steps, "stopped at step %lu of seed %llu", i, start);
	compare(m);
	KUNIT_EXPECT_NULL_MSG(test, m->wrong, "%s, at the end of seed %llu", m->wrong, start);
	kunit_info(test, "malloc %lu, calloc %lu, cache %lu, free %lu, realloc %lu, bulk %lu/%lu, shrink %lu, reset %lu, failed %lu\n",
		   m->done[DID_MALLOC], m->done[DID_CALLOC], m->done[DID_CACHE],
		   m->done[DID_FREE], m->done[DID_REALLOC], m->done[DID_BULK],
		   m->done[DID_BULK_FREE], m->done[DID_SHRINK], m->done[DID_RESET],
		   m->done[DID_FAIL]);
}

static const enum pymt_kind kinds[] = {
	PYMT_SPLIT, PYMT_PLAIN, PYMT_PAGES, PYMT_PLAIN | PYMT_FRONTS, PYMT_PAGES | PYMT_FRONTS,
	PYMT_PAGES | PYMT_FRONTS | PYMT_RANDOM, PYMT_PLAIN | PYMT_ISOLATE,
	PYMT_SPLIT | PYMT_RANDOM | PYMT_ISOLATE,
};

static void kind_desc(const enum pymt_kind *kind, char *desc)
{
	static const char * const names[] = {
		[PYMT_SPLIT] = "split", [PYMT_PLAIN] = "plain", [PYMT_PAGES] = "pages",
	};

	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s%s%s%s", names[*kind & PYMT_KIND],
		 *kind & PYMT_FRONTS ? "-fronts" : "", *kind & PYMT_RANDOM ? "-random" : "",
		 *kind & PYMT_ISOLATE ? "-isolate" : "");
}

KUNIT_ARRAY_PARAM(kinds, kinds, kind_desc);

static void checked_at_every_step(struct kunit *test)
{
	enum pymt_kind kind = *(const enum pymt_kind *)test->param_value;

	run(test, kind, 48, 15, 40, kind == PYMT_SPLIT ? 10000 : 2000, 1);
	KUNIT_EXPECT_NE(test, test->status, KUNIT_FAILURE);
}

static void a_million_steps(struct kunit *test)
{
	run(test, PYMT_PAGES | PYMT_FRONTS, 2000, 3, 1, 1000000, 1000);
	KUNIT_EXPECT_NE(test, test->status, KUNIT_FAILURE);
}

static const struct kunit_attributes slow = { .speed = KUNIT_SPEED_SLOW };

static struct kunit_case random_cases[] = {
	KUNIT_CASE_PARAM_ATTR(checked_at_every_step, kinds_gen_params, slow),
	KUNIT_CASE_SLOW(a_million_steps),
	{}
};

static struct kunit_suite random_suite = {
	.name = "pymalloc_random",
	.init = pymt_init_bare,
	.exit = pymt_exit,
	.test_cases = random_cases,
};

kunit_test_suites(&random_suite);
