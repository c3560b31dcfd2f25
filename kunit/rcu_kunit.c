// SPDX-License-Identifier: GPL-2.0-only
/*
 * Blocks that readers may still look at: freed after a grace period.
 */
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include "reader.h"
#include "within.h"

#define SIZE		PYMT_MARKED
#define MANY		300

static u64 *take_marked(struct kunit *test, struct pym_cache *cache)
{
	u64 *block = pymt_take(test, cache);

	pymt_mark(block);
	return block;
}

KUNIT_ARRAY_PARAM(kinds, pymt_reader_kinds, pymt_reader_kind_desc);

static struct pymt_heap *open_param(struct kunit *test)
{
	return pymt_open_rcu(test, *(const enum pymt_kind *)test->param_value);
}

/* --------------------------------------------------------- freed with a delay ---- */

static void stays_while_read(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, SIZE);
	void **blocks = pymt_array(test, MANY);
	struct pym_cache_stats was;
	u64 *block;
	bool found;

	pymt_is_handed_out(cache, NULL, blocks, MANY, GFP_KERNEL);
	block = take_marked(test, cache);
	was = pymt_stats_of(cache);

	rcu_read_lock();
	pym_cache_free_rcu(cache, block);
	found = pymt_is_handed_out(cache, block, blocks, MANY, GFP_NOWAIT);
	mdelay(20);
	found |= pymt_is_handed_out(cache, block, blocks, MANY, GFP_NOWAIT);
	KUNIT_EXPECT_TRUE_MSG(test, pymt_is_marked(block), "the block was changed");
	rcu_read_unlock();
	KUNIT_EXPECT_FALSE_MSG(test, found, "the block was handed out");

	pymt_settle(test, cache, 0);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).frees - was.frees, 2 * MANY + 1);
	pymt_check(test, th);
}

/* The same, and shrinking does not take the page away. */
static void stays_while_read_elsewhere(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, SIZE);
	void **blocks = pymt_array(test, MANY);
	u64 *block = take_marked(test, cache);
	struct pymt_reader *r = pymt_read_elsewhere(test, th, block, cache, 20000);
	unsigned int i;

	pym_cache_free_rcu(cache, block);
	for (i = 0; i < 5; i++) {
		KUNIT_EXPECT_FALSE(test,
				   pymt_is_handed_out(cache, block, blocks, MANY, GFP_KERNEL));
		pym_heap_shrink(th->heap);
		pymt_check(test, th);
	}
	KUNIT_EXPECT_TRUE_MSG(test, READ_ONCE(r->inside), "the reader left too early");
	pymt_end_reader(test, r);
	pymt_settle(test, cache, 0);
	pym_heap_shrink(th->heap);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).pools, 0);
}

static void comes_back(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, SIZE);
	void **blocks = pymt_array(test, MANY);
	u64 *block = take_marked(test, cache);
	void *keep = pymt_take(test, cache);

	pym_cache_free_rcu(cache, block);
	pymt_settle(test, cache, 1);
	KUNIT_EXPECT_TRUE_MSG(test, pymt_is_handed_out(cache, block, blocks, MANY, GFP_KERNEL),
			      "a block that is never used again");
	pym_cache_free(cache, keep);
}

static void null_is_nothing(struct kunit *test)
{
	struct pym_cache *cache = pymt_cache(test, pymt_heap(test)->heap, SIZE);

	pym_cache_free_rcu(cache, NULL);
	pymt_settle(test, cache, 0);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).frees, 0);
}

/* A heap that is full can give back all the same. */
static void needs_no_memory(struct kunit *test)
{
	struct pym_heap_args args = { .limit_bytes = SZ_128K };
	struct pymt_heap *th = pymt_open(test, PYMT_SPLIT | PYMT_FRONTS, &args);
	struct pym_cache *cache = pymt_cache(test, th->heap, SIZE);
	void **blocks = pymt_array(test, SZ_128K / SIZE);
	unsigned int n = 0, i;

	while ((blocks[n] = pym_cache_alloc(cache, GFP_KERNEL | __GFP_NOWARN)))
		n++;
	th->provider->fail_at = 1;
	th->provider->fail_on = true;
	for (i = 0; i < n; i++)
		pym_cache_free_rcu(cache, blocks[i]);
	pymt_settle(test, cache, 0);
	th->provider->fail_at = 0;
	/* The fronts of others may have some. */
	pym_heap_shrink(th->heap);
	for (i = 0; i < n; i++) {
		blocks[i] = pym_cache_alloc(cache, GFP_KERNEL | __GFP_NOWARN);
		if (!blocks[i])
			break;
	}
	KUNIT_EXPECT_EQ_MSG(test, i, n, "what there was can be had again");
	pym_cache_free_bulk(cache, i, blocks);
}

static void many(struct kunit *test)
{
	struct pymt_heap *th = pymt_open(test, PYMT_PAGES | PYMT_FRONTS, NULL);
	struct pym_cache *cache = pymt_cache(test, th->heap, 64);
	unsigned int n = 100000, i;
	struct pym_heap_stats stats;
	void **blocks = kvmalloc_array(n, sizeof(*blocks), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, blocks);
	for (i = 0; i < n; i++) {
		blocks[i] = pym_cache_alloc(cache, GFP_KERNEL);
		if (!blocks[i])
			break;
		*(unsigned int *)blocks[i] = i;
	}
	KUNIT_EXPECT_EQ(test, i, n);
	n = i;
	for (i = 0; i < n; i++) {
		pym_cache_free_rcu(cache, blocks[i]);
		if (i % 1000 == 0) {
			pymt_stats(test, th->heap, &stats);
			cond_resched();
		}
	}
	kvfree(blocks);
	pymt_settle(test, cache, 0);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).frees, n);
	pym_heap_shrink(th->heap);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).pools, 0);
	pymt_check(test, th);
}

/* --------------------------------------------------------------- contexts ---- */

static const enum pymt_context contexts[] = {
	PYMT_TASK, PYMT_PREEMPT_OFF, PYMT_RCU_READER, PYMT_BH_OFF, PYMT_IRQS_OFF,
	PYMT_SOFTIRQ_TIMER, PYMT_SOFTIRQ_TASKLET, PYMT_HARDIRQ_WORK, PYMT_HARDIRQ_TIMER,
	PYMT_RCU_CALLBACK, PYMT_WORKQUEUE,
};

static void context_desc(const enum pymt_context *context, char *desc)
{
	strscpy(desc, pymt_context_names[*context], KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(contexts, contexts, context_desc);

struct job {
	struct pym_cache *cache;
	u64 *blocks[100];
	bool changed;
};

static void free_in_context(void *arg)
{
	struct job *job = arg;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(job->blocks); i++) {
		pym_cache_free_rcu(job->cache, job->blocks[i]);
		/* Grace periods are over when this one is, at the earliest. */
		if (in_hardirq() || irqs_disabled())
			job->changed |= !pymt_is_marked(job->blocks[i]);
	}
}

static void from_any_context(struct kunit *test)
{
	enum pymt_context context = *(const enum pymt_context *)test->param_value;
	static const enum pymt_kind each[] = { PYMT_PAGES, PYMT_VMALLOC };
	struct job *job = kunit_kzalloc(test, sizeof(*job), GFP_KERNEL);
	unsigned int i, j;

	KUNIT_ASSERT_NOT_NULL(test, job);
	pymt_stay_here(test);
	for (i = 0; i < ARRAY_SIZE(each); i++) {
		struct pymt_heap *th = pymt_open(test, each[i] | PYMT_FRONTS, NULL);

		job->cache = pymt_cache(test, th->heap, SIZE);
		for (j = 0; j < ARRAY_SIZE(job->blocks); j++)
			job->blocks[j] = take_marked(test, job->cache);
		pymt_call_in(test, context, free_in_context, job);
		KUNIT_EXPECT_FALSE_MSG(test, job->changed, "a block was changed at once");
		pymt_settle(test, job->cache, 0);
		KUNIT_EXPECT_EQ(test, pymt_stats_of(job->cache).frees, ARRAY_SIZE(job->blocks));
		pymt_close(test, th);
	}
}

/* ----------------------------------------------------------------- the end ---- */

#define PENDING		500

/* With a reader inside nothing that is pending can have come to its end. */
static struct pymt_reader *have_pending(struct kunit *test, struct pymt_heap *th,
					struct pym_cache *cache, unsigned int ms)
{
	void **blocks = pymt_array(test, PENDING);
	struct pymt_reader *r;
	unsigned int i;

	for (i = 0; i < PENDING; i++)
		blocks[i] = take_marked(test, cache);
	r = pymt_read_elsewhere(test, th, blocks[PENDING / 2], NULL, ms);
	for (i = 0; i < PENDING; i++)
		pym_cache_free_rcu(cache, blocks[i]);
	return r;
}

static void cache_waits_for_its_own(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, SIZE);
	struct pymt_reader *r = have_pending(test, th, cache, 300);

	/* Nothing is left: what is pending is free. */
	pym_cache_destroy(cache);
	KUNIT_EXPECT_TRUE_MSG(test, READ_ONCE(r->gone), "destroyed under a reader");
	pymt_end_reader(test, r);
	pymt_check(test, th);
}

struct dying {
	struct pym_cache *cache;
	bool gone;
};

static int destroy_cache(void *data)
{
	struct dying *dying = data;

	pym_cache_destroy(dying->cache);
	WRITE_ONCE(dying->gone, true);
	while (!kthread_should_stop())
		usleep_range(1000, 2000);
	return 0;
}

/* Every byte is accounted for while a cache waits for its end, and after. */
static void ledger_balances_meanwhile(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct dying dying = { .cache = pymt_cache(test, th->heap, SIZE) };
	struct pymt_reader *r = have_pending(test, th, dying.cache, 300);
	struct task_struct *task = kthread_run(destroy_cache, &dying, "destroy");
	unsigned int looks = 0;

	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	for (; !READ_ONCE(dying.gone); looks++) {
		pymt_check(test, th);
		usleep_range(1000, 2000);
	}
	kthread_stop(task);
	KUNIT_EXPECT_GT(test, looks, 1);
	pymt_end_reader(test, r);
	pymt_check(test, th);
}

static void heap_waits_for_its_own(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, SIZE);
	struct pymt_reader *r = have_pending(test, th, cache, 300);

	r->th = NULL;
	pymt_close(test, th);
	KUNIT_EXPECT_TRUE_MSG(test, READ_ONCE(r->gone), "destroyed under a reader");
	pymt_end_reader(test, r);
}

/* A heap that is reset forgets its blocks, but not under a reader. */
static void reset_waits_for_its_own(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, SIZE);
	struct pymt_reader *r = have_pending(test, th, cache, 300);

	pym_heap_reset(th->heap);
	KUNIT_EXPECT_TRUE_MSG(test, READ_ONCE(r->gone), "reset under a reader");
	pymt_end_reader(test, r);
	pymt_check(test, th);
	pym_cache_free_rcu(cache, take_marked(test, cache));
	pymt_settle(test, cache, 0);
}

/* Who has nothing pending waits for nobody. */
static void others_do_not_wait(struct kunit *test)
{
	struct pymt_heap *th = open_param(test), *other = open_param(test);
	struct pym_cache *pending = pymt_cache(test, th->heap, SIZE);
	struct pym_cache *cache = pymt_cache(test, other->heap, SIZE);
	struct pymt_reader *r;

	pym_cache_free(cache, pymt_take(test, cache));
	r = have_pending(test, th, pending, 20000);
	pym_cache_destroy(cache);
	KUNIT_EXPECT_TRUE_MSG(test, READ_ONCE(r->inside), "waited for what is another's");
	pymt_end_reader(test, r);
	pymt_settle(test, pending, 0);
}

static void leaks_are_told_apart(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, SIZE);
	u64 *leaked = take_marked(test, cache);

	pym_cache_free_rcu(cache, take_marked(test, cache));
	KUNIT_EXPECT_TRUE(test, pymt_is_marked(leaked));
	pym_cache_destroy(cache);
	pymt_expect_misuse(test, PYM_MISUSE_LEAK, 1);
}

/* ----------------------------------------------------------------- misuse ---- */

static void freed_twice(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, SIZE);
	void *block = pymt_take(test, cache), *keep = pymt_take(test, cache);

	pymt_stay_here(test);
	rcu_read_lock();
	pym_cache_free_rcu(cache, block);
	pym_cache_free_rcu(cache, block);
	rcu_read_unlock();
	pymt_settle(test, cache, 1);
	pym_heap_shrink(th->heap);
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 1);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).live, 1);
	pym_cache_free(cache, keep);
	pymt_check(test, th);
}

static void freed_now_and_later(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, SIZE);
	void *block = pymt_take(test, cache), *keep = pymt_take(test, cache);

	pymt_stay_here(test);
	pym_cache_free(cache, block);
	pym_cache_free_rcu(cache, block);
	pymt_settle(test, cache, 1);
	pym_heap_shrink(th->heap);
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 1);
	pym_cache_free(cache, keep);
	pymt_check(test, th);
}

static void of_no_cache(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, SIZE);
	struct pym_cache *other = pymt_cache(test, th->heap, SIZE);
	void *block = pymt_take(test, cache), *general = pymt_malloc(test, th->heap, SIZE);

	pym_cache_free_rcu(cache, &cache);
	rcu_barrier();
	pymt_expect_misuse(test, PYM_MISUSE_FOREIGN, 1);
	pym_cache_free_rcu(cache, block + 8);
	rcu_barrier();
	pymt_expect_misuse(test, PYM_MISUSE_INTERIOR, 1);
	pym_cache_free_rcu(other, block);
	rcu_barrier();
	pymt_expect_misuse(test, PYM_MISUSE_WRONG_CACHE, 1);
	pym_cache_free_rcu(cache, general);
	rcu_barrier();
	pymt_expect_misuse(test, PYM_MISUSE_WRONG_API, 1);
	pym_free(general);
	pym_cache_free(cache, block);
}

static struct kunit_case rcu_cases[] = {
	KUNIT_CASE_PARAM(stays_while_read, kinds_gen_params),
	KUNIT_CASE_PARAM(stays_while_read_elsewhere, kinds_gen_params),
	KUNIT_CASE_PARAM(comes_back, kinds_gen_params),
	KUNIT_CASE(null_is_nothing),
	KUNIT_CASE(needs_no_memory),
	KUNIT_CASE_SLOW(many),
	KUNIT_CASE_PARAM(from_any_context, contexts_gen_params),
	KUNIT_CASE_PARAM(cache_waits_for_its_own, kinds_gen_params),
	KUNIT_CASE_PARAM(ledger_balances_meanwhile, kinds_gen_params),
	KUNIT_CASE_PARAM(heap_waits_for_its_own, kinds_gen_params),
	KUNIT_CASE_PARAM(reset_waits_for_its_own, kinds_gen_params),
	KUNIT_CASE_PARAM(others_do_not_wait, kinds_gen_params),
	KUNIT_CASE_PARAM(leaks_are_told_apart, kinds_gen_params),
	KUNIT_CASE_PARAM(freed_twice, kinds_gen_params),
	KUNIT_CASE_PARAM(freed_now_and_later, kinds_gen_params),
	KUNIT_CASE_PARAM(of_no_cache, kinds_gen_params),
	{}
};

static struct kunit_suite rcu_suite = {
	.name = "pymalloc_rcu",
	.init = pymt_init,
	.exit = pymt_exit,
	.test_cases = rcu_cases,
};

kunit_test_suites(&rcu_suite);
