// SPDX-License-Identifier: GPL-2.0-only
/*
 * Draining of caches of every sort, against a model: what is live keeps its content,
 * what is handed out was free, and the books balance, while pools begin to drain, are
 * emptied and fill again.
 */
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/prandom.h>
#include <linux/sched.h>
#include "decay.h"
#include "within.h"

/* What a run is about. */
struct sort {
	const char *name;
	enum pymt_kind kind;
	size_t size;
	unsigned int flags;		/* of the cache */
	bool ctor;
	bool class;			/* pym_malloc() instead of a cache */
};

static const struct sort sorts[] = {
	{ "pages", PYMT_PAGES | PYMT_FRONTS, 64 },
	{ "split", PYMT_SPLIT | PYMT_FRONTS, 64 },
	{ "chunks", PYMT_CHUNKS | PYMT_FRONTS, 64 },
	{ "plain", PYMT_PLAIN | PYMT_FRONTS, 64 },
	{ "no-fronts", PYMT_PAGES, 64 },
	{ "words", PYMT_PAGES | PYMT_FRONTS, 8 },
	{ "large-pools", PYMT_PAGES | PYMT_FRONTS, 1500 },
	{ "class", PYMT_PAGES | PYMT_FRONTS, 64, .class = true },
	{ "class-indexed", PYMT_SPLIT | PYMT_FRONTS, 64, .class = true },
	{ "typesafe", PYMT_PAGES | PYMT_FRONTS, 64, .flags = PYM_CACHE_TYPESAFE_BY_RCU },
	{ "ctor", PYMT_PAGES | PYMT_FRONTS, 64, .ctor = true },
	{ "typesafe-ctor", PYMT_PAGES | PYMT_FRONTS, 64, .flags = PYM_CACHE_TYPESAFE_BY_RCU,
	  .ctor = true },
};

static void sort_desc(const struct sort *sort, char *desc)
{
	strscpy(desc, sort->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(sorts, sorts, sort_desc);

static const struct sort some_sorts[] = {
	{ "pages", PYMT_PAGES | PYMT_FRONTS, 64 },
	{ "split", PYMT_SPLIT | PYMT_FRONTS, 64 },
	{ "class", PYMT_PAGES | PYMT_FRONTS, 64, .class = true },
};

KUNIT_ARRAY_PARAM(some, some_sorts, sort_desc);

#define CONSTRUCTED	0x5c
#define MOST		3000

struct model {
	struct kunit *test;
	const struct sort *sort;
	struct pymt_heap *th;
	struct pym_cache *cache;
	struct rnd_state rnd;
	u8 **own;
	unsigned int n, most;
	const char *wrong;
	unsigned long takes, drained, waits;
};

static u32 below(struct model *m, u32 n)
{
	return prandom_u32_state(&m->rnd) % n;
}

static void construct_64(void *block)
{
	memset(block, CONSTRUCTED, 64);
}

/* The tag of a block is in all of it, or in its first word if the rest is constructed. */
static void enter(struct model *m, u8 *p, bool zeroed)
{
	if (!p) {
		m->wrong = "allocation failed";
		return;
	}
	if (m->sort->ctor && memchr_inv(p, CONSTRUCTED, 64))
		m->wrong = "not as it was constructed";
	if (zeroed && memchr_inv(p, 0, m->sort->size))
		m->wrong = "not zeroed";
	memset(p, pymt_tag(p), m->sort->size);
	m->own[m->n++] = p;
	m->takes++;
}

/* Take a block out of the model, as its user would before he frees it. */
static u8 *leave(struct model *m, unsigned int i)
{
	u8 *p = m->own[i];

	if (memchr_inv(p, pymt_tag(p), m->sort->size))
		m->wrong = "the content of a live block changed";
	if (m->sort->ctor)
		construct_64(p);
	m->own[i] = m->own[--m->n];
	m->drained += pymt_pool(m->test, p)->draining;
	return p;
}

static void take(struct model *m)
{
	bool zeroed = !m->sort->ctor && below(m, 4) == 0;
	gfp_t gfp = GFP_KERNEL | (zeroed ? __GFP_ZERO : 0);

	if (m->sort->class)
		enter(m, pym_malloc(m->th->heap, m->sort->size, gfp), zeroed);
	else if (below(m, 8))
		enter(m, pym_cache_alloc(m->cache, gfp), zeroed);
	else
		enter(m, pym_cache_alloc_node(m->cache, gfp, numa_mem_id()), zeroed);
}

static void give(struct model *m)
{
	u8 *p = leave(m, below(m, m->n));

	if (m->sort->class)
		pym_free(p);
	else if (below(m, 200))
		pym_cache_free(m->cache, p);
	else
		pym_cache_free_rcu(m->cache, p);
}

static void many(struct model *m, bool take)
{
	unsigned int n = below(m, 40) + 1, i;
	void *blocks[40];

	if (m->sort->class)
		return;
	if (take && m->n + n <= m->most) {
		if (pym_cache_alloc_bulk(m->cache, GFP_KERNEL, n, blocks) != n) {
			m->wrong = "bulk allocation failed";
			return;
		}
		for (i = 0; i < n; i++)
			enter(m, blocks[i], false);
	} else if (!take && m->n >= n) {
		for (i = 0; i < n; i++)
			blocks[i] = leave(m, below(m, m->n));
		pym_cache_free_bulk(m->cache, n, blocks);
	}
}

static struct pym_cache *cache_of(struct model *m)
{
	return m->cache ?: READ_ONCE(m->th->heap->class[pym_size_to_class(m->sort->size)]);
}

static void step(struct model *m, bool grow)
{
	unsigned int what = below(m, 1000);

	if (what == 0)
		pym_heap_shrink(m->th->heap);
	else if (what < 5)
		pymt_tick(m->th);
	else if (what < 30)
		many(m, grow);
	else if (below(m, 100) < (grow ? 90 : 10) && m->n < m->most)
		take(m);
	else if (m->n)
		give(m);
}

/* Nothing waits for readers any more: then what is live is what the model has. */
static void compare(struct model *m)
{
	struct pym_cache *cache = cache_of(m);

	if (!pymt_is_sound(m->th))
		m->wrong = "invariants, see the log";
	if (!cache || atomic_read(&cache->waiting))
		return;
	m->waits++;
	if (pymt_stats_of(cache).live != m->n)
		m->wrong = "number of live blocks";
}

static void make_cache(struct kunit *test, struct model *m)
{
	struct pym_cache_args args = {
		.heap = m->th->heap, .flags = m->sort->flags,
		.ctor = m->sort->ctor ? construct_64 : NULL,
	};

	if (m->sort->class)
		return;
	m->cache = pym_cache_create("drained", m->sort->size, &args);
	KUNIT_ASSERT_NOT_NULL(test, m->cache);
}

static struct model *new_model(struct kunit *test)
{
	struct model *m = kunit_kzalloc(test, sizeof(*m), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, m);
	pymt_stay_here(test);
	m->test = test;
	m->sort = test->param_value;
	m->th = pymt_open_rcu(test, m->sort->kind);
	/* Some dozens of pools, whatever their capacity is. */
	m->most = m->sort->size < 64 ? 4 * MOST : m->sort->size > 512 ? MOST / 4 : MOST;
	m->own = (u8 **)pymt_array(test, m->most);
	prandom_seed_state(&m->rnd, pymt_seed(test));
	make_cache(test, m);
	return m;
}

/* Until readers are done with all that waits for them. */
static void wait_for_readers(struct model *m)
{
	while (atomic_read(&cache_of(m)->waiting)) {
		pymt_tick(m->th);
		msleep(20);
	}
}

static void end_model(struct kunit *test, struct model *m)
{
	while (m->n)
		give(m);
	/* With what waits for readers: some frees, and then some pools. */
	wait_for_readers(m);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache_of(m)).live, 0);
	pymt_check(test, m->th);
}

/* Waves: up to many blocks, down to few, and some churn of those. */
static void checked_at_every_step(struct kunit *test)
{
	struct model *m = new_model(test);
	unsigned int wave, i, n = 0;

	for (wave = 0; wave < 3 && !m->wrong; wave++) {
		/* The way up is not what this is about. */
		while (m->n + 40 < m->most && !m->wrong) {
			step(m, true);
			if (m->n % 50 == 0)
				compare(m);
		}
		while (m->n > m->most / 30 && !m->wrong) {
			step(m, false);
			if (++n % 8 == 0)
				compare(m);
		}
		for (i = 0; i < 1000 && !m->wrong; i++) {
			step(m, below(m, 2));
			compare(m);
		}
		cond_resched();
	}
	KUNIT_EXPECT_NULL_MSG(test, m->wrong, "%s, wave %u, %u live", m->wrong, wave, m->n);
	KUNIT_EXPECT_GT_MSG(test, m->drained, 300, "blocks freed to pools that drain");
	/* How often nothing waited is a matter of time: now, at least. */
	wait_for_readers(m);
	compare(m);
	KUNIT_EXPECT_NULL_MSG(test, m->wrong, "%s, at the end", m->wrong);
	KUNIT_EXPECT_GT(test, m->waits, 0);
	kunit_info(test, "%lu allocations, %lu frees to pools that drain\n", m->takes, m->drained);
	end_model(test, m);
}

/* ------------------------------------------------------------------ two CPUs ---- */

#define NR_WORKERS	2
#define OWN		2500

struct worker {
	struct pymt_heap *th;
	struct pym_cache *cache;	/* of both; NULL: pym_malloc() */
	struct task_struct *task;
	struct rnd_state rnd;
	u8 **own, **other;		/* blocks to be freed by the other */
	unsigned int n;
	unsigned long failed, damaged, waves;
};

static void *take_for(struct worker *w)
{
	u8 *p = w->cache ? pym_cache_alloc(w->cache, GFP_KERNEL) :
			   pym_malloc(w->th->heap, 64, GFP_KERNEL);

	if (p)
		memset(p, pymt_tag(p), 64);
	else
		w->failed++;
	return p;
}

static void give_for(struct worker *w, u8 *p)
{
	if (!p)
		return;
	w->damaged += !!memchr_inv(p, pymt_tag(p), 64);
	if (w->cache)
		pym_cache_free(w->cache, p);
	else
		pym_free(p);
}

/* Many, few of them kept, and some turnovers of those with the other one's help. */
static int work(void *arg)
{
	struct worker *w = arg;
	unsigned int i, k;

	while (!kthread_should_stop()) {
		for (i = 0; i < OWN; i++)
			if (!w->own[i])
				xchg(&w->own[i], take_for(w));
		for (i = 0; i < OWN; i++)
			if (prandom_u32_state(&w->rnd) % 40)
				give_for(w, xchg(&w->own[i], NULL));
		for (k = 0; k < 2000; k++) {
			u8 **slot = k % 3 ? w->own : w->other;

			i = prandom_u32_state(&w->rnd) % OWN;
			if (READ_ONCE(slot[i]))
				give_for(w, xchg(&slot[i], take_for(w)));
		}
		w->waves++;
		cond_resched();
	}
	return 0;
}

static void on_two_cpus(struct kunit *test)
{
	const struct sort *sort = test->param_value;
	struct pymt_heap *th = pymt_open(test, sort->kind, NULL);
	struct worker *w = kunit_kcalloc(test, NR_WORKERS, sizeof(*w), GFP_KERNEL);
	struct pym_cache *cache = sort->class ? NULL : pymt_cache(test, th->heap, 64);
	unsigned int i, k, unsound = 0;
	u64 seed = pymt_seed(test);
	int cpu = -1;

	KUNIT_ASSERT_NOT_NULL(test, w);
	WRITE_ONCE(pym_decay_ms, 5);
	for (i = 0; i < NR_WORKERS; i++)
		w[i].own = (u8 **)pymt_array(test, OWN);
	for (i = 0; i < NR_WORKERS; i++) {
		w[i].th = th;
		w[i].cache = cache;
		w[i].other = w[1 - i].own;
		prandom_seed_state(&w[i].rnd, seed + i);
		cpu = cpumask_next(cpu, cpu_online_mask);
		if (cpu >= nr_cpu_ids)
			cpu = cpumask_first(cpu_online_mask);
		w[i].task = kthread_create_on_cpu(work, &w[i], cpu, "pymalloc-kunit/%u");
		KUNIT_ASSERT_FALSE(test, IS_ERR(w[i].task));
		wake_up_process(w[i].task);
	}
	for (i = 0; i < 60; i++) {
		unsound += !pymt_is_sound(th);
		msleep(30);
	}
	for (i = 0; i < NR_WORKERS; i++) {
		kthread_stop(w[i].task);
		KUNIT_EXPECT_EQ(test, w[i].failed, 0);
		KUNIT_EXPECT_EQ_MSG(test, w[i].damaged, 0, "blocks whose content changed");
		KUNIT_EXPECT_GT(test, w[i].waves, 0);
	}
	KUNIT_EXPECT_EQ(test, unsound, 0);
	for (i = 0; i < NR_WORKERS; i++)
		for (k = 0; k < OWN; k++)
			give_for(&w[i], w[i].own[k]);
	WRITE_ONCE(pym_decay_ms, PYMT_BY_HAND);
	pymt_rest(test, th);
	cache = cache ?: th->heap->class[pym_size_to_class(64)];
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).live, 0);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).cached, 0);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).pools, 0);
}

static const struct kunit_attributes slow = { .speed = KUNIT_SPEED_SLOW };

static struct kunit_case drain_model_cases[] = {
	KUNIT_CASE_PARAM_ATTR(checked_at_every_step, sorts_gen_params, slow),
	KUNIT_CASE_PARAM_ATTR(on_two_cpus, some_gen_params, slow),
	{}
};

static struct kunit_suite drain_model_suite = {
	.name = "pymalloc_drain_model",
	.init = pymt_init_by_hand,
	.exit = pymt_exit,
	.test_cases = drain_model_cases,
};

kunit_test_suites(&drain_model_suite);
