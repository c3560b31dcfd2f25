// SPDX-License-Identifier: GPL-2.0-only
/*
 * Blocks that readers may still look at: freed after a grace period, or in a cache
 * whose pages stay its own until one has passed.
 *
 * A reader is a thread that stays in its read-side section until it is told to
 * leave, or until its time is up, and looks at a block all the while.
 */
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/prandom.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include "within.h"

#define SIZE		128
#define MARK		0x6d61726bULL

/* ------------------------------------------------------------- the reader ---- */

struct reader {
	struct task_struct *task;
	const u64 *block;		/* MARK in every word */
	struct pym_cache *owner;	/* of its page, if that is to stay; or NULL */
	struct pymt_heap *th;
	unsigned int ms;		/* time it has */
	bool inside, leave, gone;
	unsigned long looks, damaged, strange;
	int frees;			/* of the provider, when it left */
};

static void look(struct reader *r)
{
	struct pym_pool *pool;
	unsigned int i;

	r->looks++;
	for (i = 0; i < SIZE / sizeof(u64); i++)
		r->damaged += READ_ONCE(r->block[i]) != MARK;
	if (r->owner) {
		pool = pym_lookup(r->block);
		r->strange += !pool || (READ_ONCE(pool->owner) && pool->owner != r->owner);
	}
}

static int reader(void *arg)
{
	struct reader *r = arg;
	ktime_t end = ktime_add_ms(ktime_get(), r->ms);

	rcu_read_lock();
	WRITE_ONCE(r->inside, true);
	while (!READ_ONCE(r->leave) && ktime_before(ktime_get(), end)) {
		look(r);
		cpu_relax();
	}
	if (r->th && r->th->provider)
		r->frees = atomic_read(&r->th->provider->frees);
	WRITE_ONCE(r->inside, false);
	WRITE_ONCE(r->gone, true);
	rcu_read_unlock();
	while (!kthread_should_stop())
		schedule_timeout_interruptible(1);
	return 0;
}

/* A reader on another CPU, if there is one, in its section when we return. */
static struct reader *read_elsewhere(struct kunit *test, struct pymt_heap *th,
				     const u64 *block, struct pym_cache *owner,
				     unsigned int ms)
{
	struct reader *r = kunit_kzalloc(test, sizeof(*r), GFP_KERNEL);
	int cpu;

	KUNIT_ASSERT_NOT_NULL(test, r);
	pymt_stay_here(test);
	r->th = th;
	r->block = block;
	r->owner = owner;
	r->ms = ms;
	cpu = cpumask_any_but(cpu_online_mask, raw_smp_processor_id());
	r->task = kthread_create(reader, r, "pymalloc-kunit");
	KUNIT_ASSERT_FALSE(test, IS_ERR(r->task));
	if (cpu < nr_cpu_ids)
		kthread_bind(r->task, cpu);
	wake_up_process(r->task);
	while (!READ_ONCE(r->inside) && !READ_ONCE(r->gone))
		schedule_timeout_interruptible(1);
	return r;
}

static void end_reader(struct kunit *test, struct reader *r)
{
	WRITE_ONCE(r->leave, true);
	kthread_stop(r->task);
	KUNIT_EXPECT_GT(test, r->looks, 0);
	KUNIT_EXPECT_EQ_MSG(test, r->damaged, 0, "words that changed under the reader");
	KUNIT_EXPECT_EQ_MSG(test, r->strange, 0, "looks at a page that was another's");
}

/* -------------------------------------------------------------- shorthands ---- */

static struct pym_cache_stats stats_of(struct pym_cache *cache)
{
	struct pym_cache_stats stats;

	pym_cache_stats(cache, &stats);
	return stats;
}

static u64 *take_marked(struct kunit *test, struct pym_cache *cache)
{
	return memset64(pymt_take(test, cache), MARK, SIZE / sizeof(u64));
}

static bool is_marked(const u64 *block)
{
	unsigned int i;

	for (i = 0; i < SIZE / sizeof(u64); i++)
		if (block[i] != MARK)
			return false;
	return true;
}

/* Every callback that was pending has been; what they freed is free. */
static void settle(struct kunit *test, struct pym_cache *cache, unsigned long live)
{
	unsigned int ms;

	for (ms = 0; ms < 20000 && atomic_read(&cache->waiting); ms += 5)
		usleep_range(5000, 5100);
	KUNIT_EXPECT_EQ_MSG(test, stats_of(cache).live, live, "live after a grace period");
}

static const enum pymt_kind kinds[] = {
	PYMT_PAGES | PYMT_FRONTS, PYMT_VMALLOC | PYMT_FRONTS, PYMT_SPLIT | PYMT_FRONTS,
	PYMT_PAGES, PYMT_PLAIN,
};

static void kind_desc(const enum pymt_kind *kind, char *desc)
{
	static const char * const names[] = {
		[PYMT_SPLIT] = "split", [PYMT_PLAIN] = "plain",
		[PYMT_PAGES] = "pages", [PYMT_VMALLOC] = "vmalloc",
	};

	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s%s", names[*kind & PYMT_KIND],
		 *kind & PYMT_FRONTS ? "-fronts" : "");
}

KUNIT_ARRAY_PARAM(kinds, kinds, kind_desc);

static struct pymt_heap *open_param(struct kunit *test)
{
	return pymt_open(test, *(const enum pymt_kind *)test->param_value, NULL);
}

/* --------------------------------------------------------- freed with a delay ---- */

#define MANY		300

/* Allocate much and free it again: none of it may be @block. Returns whether one was. */
static bool is_handed_out(struct pym_cache *cache, void *block, void **blocks, gfp_t gfp)
{
	unsigned int i, n = 0;
	bool found = false;

	for (i = 0; i < MANY; i++) {
		blocks[n] = pym_cache_alloc(cache, gfp | __GFP_NOWARN);
		if (!blocks[n])
			continue;
		found |= blocks[n] == block;
		memset(blocks[n++], 0x11, SIZE);
	}
	for (i = 0; i < n; i++)
		pym_cache_free(cache, blocks[i]);
	return found;
}

static void stays_while_read(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, SIZE);
	void **blocks = pymt_array(test, MANY);
	struct pym_cache_stats was;
	u64 *block;
	bool found;

	is_handed_out(cache, NULL, blocks, GFP_KERNEL);
	block = take_marked(test, cache);
	was = stats_of(cache);

	rcu_read_lock();
	pym_cache_free_rcu(cache, block);
	found = is_handed_out(cache, block, blocks, GFP_NOWAIT);
	mdelay(20);
	found |= is_handed_out(cache, block, blocks, GFP_NOWAIT);
	KUNIT_EXPECT_TRUE_MSG(test, is_marked(block), "the block was changed");
	rcu_read_unlock();
	KUNIT_EXPECT_FALSE_MSG(test, found, "the block was handed out");

	settle(test, cache, 0);
	KUNIT_EXPECT_EQ(test, stats_of(cache).frees - was.frees, 2 * MANY + 1);
	pymt_check(test, th);
}

/* The same, and shrinking does not take the page away. */
static void stays_while_read_elsewhere(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, SIZE);
	void **blocks = pymt_array(test, MANY);
	u64 *block = take_marked(test, cache);
	struct reader *r = read_elsewhere(test, th, block, cache, 20000);
	unsigned int i;

	pym_cache_free_rcu(cache, block);
	for (i = 0; i < 5; i++) {
		KUNIT_EXPECT_FALSE(test, is_handed_out(cache, block, blocks, GFP_KERNEL));
		pym_heap_shrink(th->heap);
		pymt_check(test, th);
	}
	KUNIT_EXPECT_TRUE_MSG(test, READ_ONCE(r->inside), "the reader left too early");
	end_reader(test, r);
	settle(test, cache, 0);
	pym_heap_shrink(th->heap);
	KUNIT_EXPECT_EQ(test, stats_of(cache).pools, 0);
}

static void comes_back(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, SIZE);
	void **blocks = pymt_array(test, MANY);
	u64 *block = take_marked(test, cache);
	void *keep = pymt_take(test, cache);

	pym_cache_free_rcu(cache, block);
	settle(test, cache, 1);
	KUNIT_EXPECT_TRUE_MSG(test, is_handed_out(cache, block, blocks, GFP_KERNEL),
			      "a block that is never used again");
	pym_cache_free(cache, keep);
}

static void null_is_nothing(struct kunit *test)
{
	struct pym_cache *cache = pymt_cache(test, pymt_heap(test)->heap, SIZE);

	pym_cache_free_rcu(cache, NULL);
	settle(test, cache, 0);
	KUNIT_EXPECT_EQ(test, stats_of(cache).frees, 0);
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
	settle(test, cache, 0);
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
	settle(test, cache, 0);
	KUNIT_EXPECT_EQ(test, stats_of(cache).frees, n);
	pym_heap_shrink(th->heap);
	KUNIT_EXPECT_EQ(test, stats_of(cache).pools, 0);
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
			job->changed |= !is_marked(job->blocks[i]);
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
		settle(test, job->cache, 0);
		KUNIT_EXPECT_EQ(test, stats_of(job->cache).frees, ARRAY_SIZE(job->blocks));
		pymt_close(test, th);
	}
}

/* ----------------------------------------------------------------- the end ---- */

#define PENDING		500

/* With a reader inside nothing that is pending can have come to its end. */
static struct reader *have_pending(struct kunit *test, struct pymt_heap *th,
				   struct pym_cache *cache, unsigned int ms)
{
	void **blocks = pymt_array(test, PENDING);
	struct reader *r;
	unsigned int i;

	for (i = 0; i < PENDING; i++)
		blocks[i] = take_marked(test, cache);
	r = read_elsewhere(test, th, blocks[PENDING / 2], NULL, ms);
	for (i = 0; i < PENDING; i++)
		pym_cache_free_rcu(cache, blocks[i]);
	return r;
}

static void cache_waits_for_its_own(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, SIZE);
	struct reader *r = have_pending(test, th, cache, 300);

	/* Nothing is left: what is pending is free. */
	pym_cache_destroy(cache);
	KUNIT_EXPECT_TRUE_MSG(test, READ_ONCE(r->gone), "destroyed under a reader");
	end_reader(test, r);
	pymt_check(test, th);
}

static void heap_waits_for_its_own(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, SIZE);
	struct reader *r = have_pending(test, th, cache, 300);

	r->th = NULL;
	pymt_close(test, th);
	KUNIT_EXPECT_TRUE_MSG(test, READ_ONCE(r->gone), "destroyed under a reader");
	end_reader(test, r);
}

/* A heap that is reset forgets its blocks, but not under a reader. */
static void reset_waits_for_its_own(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, SIZE);
	struct reader *r = have_pending(test, th, cache, 300);

	pym_heap_reset(th->heap);
	KUNIT_EXPECT_TRUE_MSG(test, READ_ONCE(r->gone), "reset under a reader");
	end_reader(test, r);
	pymt_check(test, th);
	pym_cache_free_rcu(cache, take_marked(test, cache));
	settle(test, cache, 0);
}

/* Who has nothing pending waits for nobody. */
static void others_do_not_wait(struct kunit *test)
{
	struct pymt_heap *th = open_param(test), *other = open_param(test);
	struct pym_cache *pending = pymt_cache(test, th->heap, SIZE);
	struct pym_cache *cache = pymt_cache(test, other->heap, SIZE);
	struct reader *r;

	pym_cache_free(cache, pymt_take(test, cache));
	r = have_pending(test, th, pending, 20000);
	pym_cache_destroy(cache);
	KUNIT_EXPECT_TRUE_MSG(test, READ_ONCE(r->inside), "waited for what is another's");
	end_reader(test, r);
	settle(test, pending, 0);
}

static void leaks_are_told_apart(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, SIZE);
	u64 *leaked = take_marked(test, cache);

	pym_cache_free_rcu(cache, take_marked(test, cache));
	KUNIT_EXPECT_TRUE(test, is_marked(leaked));
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
	settle(test, cache, 1);
	pym_heap_shrink(th->heap);
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 1);
	KUNIT_EXPECT_EQ(test, stats_of(cache).live, 1);
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
	settle(test, cache, 1);
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

/* ------------------------------------------------------------ typesafe caches ---- */

static struct pym_cache *typesafe_cache(struct kunit *test, struct pym_heap *heap,
					void (*ctor)(void *block))
{
	struct pym_cache_args args = {
		.heap = heap, .flags = PYM_CACHE_TYPESAFE_BY_RCU, .ctor = ctor,
	};
	struct pym_cache *cache = pym_cache_create("typesafe", SIZE, &args);

	KUNIT_ASSERT_NOT_NULL(test, cache);
	return cache;
}

static void mark(void *block)
{
	memset64(block, MARK, SIZE / sizeof(u64));
}

/* What fronts have goes to the pools first, and those wait then. */
static void expect_given_back(struct kunit *test, struct pymt_heap *th, struct pym_cache *cache)
{
	pym_heap_shrink(th->heap);
	settle(test, cache, 0);
	flush_work(&th->heap->reap_work);
	pym_heap_shrink(th->heap);
	KUNIT_EXPECT_EQ(test, stats_of(cache).pools, 0);
	KUNIT_EXPECT_EQ(test, stats_of(cache).cached, 0);
}

/* No delay for the cache itself. */
static void reused_at_once(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = typesafe_cache(test, th->heap, NULL);
	void **blocks = pymt_array(test, MANY);
	void *block = pymt_take(test, cache), *keep = pymt_take(test, cache);
	bool found;

	rcu_read_lock();
	pym_cache_free(cache, block);
	found = is_handed_out(cache, block, blocks, GFP_NOWAIT);
	rcu_read_unlock();
	KUNIT_EXPECT_TRUE(test, found);
	pym_cache_free(cache, keep);
}

/* Free everything and shrink, with a reader inside: its page stays the cache's. */
static void page_stays_while_read(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = typesafe_cache(test, th->heap, mark);
	void **blocks = pymt_array(test, MANY);
	struct reader *r;
	int frees = 0;

	pymt_take_many(test, cache, blocks, MANY);
	/* Without what may be given back at any time. */
	pym_heap_shrink(th->heap);
	if (th->provider)
		frees = atomic_read(&th->provider->frees);
	r = read_elsewhere(test, th, blocks[MANY / 2], cache, 500);
	pymt_give_many(cache, blocks, MANY);
	pym_heap_shrink(th->heap);
	flush_work(&th->heap->reap_work);
	pymt_check(test, th);
	while (!READ_ONCE(r->gone))
		schedule_timeout_interruptible(1);
	end_reader(test, r);
	if (th->provider)
		KUNIT_EXPECT_EQ_MSG(test, r->frees, frees, "given back under the reader");
	/* And not for ever. */
	expect_given_back(test, th, cache);
	if (th->provider)
		KUNIT_EXPECT_EQ(test, pymt_bytes(th), 0);
}

/* Another cache of the heap that wants pools does not get that one. */
static void page_is_not_taken_while_read(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = typesafe_cache(test, th->heap, mark);
	struct pym_cache *other = pymt_cache(test, th->heap, SIZE);
	void **blocks = pymt_array(test, MANY), **others = pymt_array(test, MANY);
	struct reader *r;
	unsigned int i;

	pymt_take_many(test, cache, blocks, MANY);
	r = read_elsewhere(test, th, blocks[MANY / 2], cache, 20000);
	pymt_give_many(cache, blocks, MANY);
	pymt_take_many(test, other, others, MANY);
	for (i = 0; i < MANY; i++)
		memset(others[i], 0x22, SIZE);
	KUNIT_EXPECT_TRUE_MSG(test, READ_ONCE(r->inside), "the reader left too early");
	end_reader(test, r);
	pymt_check(test, th);
	pymt_give_many(other, others, MANY);
	expect_given_back(test, th, cache);
}

/* Constructed once, and nothing of the allocator's is ever in it. */
static void content_survives(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = typesafe_cache(test, th->heap, mark);
	void **blocks = pymt_array(test, MANY);
	unsigned int round, i, bad = 0;

	for (round = 0; round < 4; round++) {
		pymt_take_many(test, cache, blocks, MANY);
		for (i = 0; i < MANY; i++)
			bad += !is_marked(blocks[i]);
		pymt_give_many(cache, blocks, MANY);
		for (i = 0; i < MANY && round < 2; i++)
			bad += !is_marked(blocks[i]);
		if (round == 1)
			pym_heap_shrink(th->heap);
	}
	KUNIT_EXPECT_EQ_MSG(test, bad, 0, "blocks without what the constructor wrote");
}

static void zeroing(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *plain = typesafe_cache(test, th->heap, NULL), *ctor;
	struct pym_cache_args args = {
		.heap = th->heap, .flags = PYM_CACHE_TYPESAFE_BY_RCU, .ctor = mark,
	};
	unsigned int i, bad = 0, kept = 0;
	void *block = NULL, *last;

	ctor = pym_cache_create("typesafe-ctor", SIZE, &args);
	KUNIT_ASSERT_NOT_NULL(test, ctor);
	pymt_stay_here(test);
	for (i = 0; i < 100; i++) {
		block = pym_cache_zalloc(plain, GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, block);
		bad += !!memchr_inv(block, 0, SIZE);
		mark(block);
		pym_cache_free(plain, block);
	}
	KUNIT_EXPECT_EQ_MSG(test, bad, 0, "zeroed on request, without a constructor");
	/* And on no other occasion, whatever the kernel was told: a reader may look. */
	for (i = 0; i < 100; i++) {
		last = block;
		block = pymt_take(test, plain);
		kept += block == last;
		bad += block == last && !is_marked(block);
		mark(block);
		pym_cache_free(plain, block);
		bad += !is_marked(block);
	}
	KUNIT_EXPECT_GT(test, kept, 0);
	KUNIT_EXPECT_EQ(test, bad, 0);
	block = pym_cache_zalloc(ctor, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, block);
	KUNIT_EXPECT_TRUE_MSG(test, is_marked(block), "a constructor's work is kept");
	pymt_expect_misuse(test, PYM_MISUSE_ZERO_CTOR, 1);
	pym_cache_free(ctor, block);
}

static void is_destroyed(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = typesafe_cache(test, th->heap, mark);
	void **blocks = pymt_array(test, MANY);
	struct reader *r;

	pymt_take_many(test, cache, blocks, MANY);
	r = read_elsewhere(test, th, blocks[0], NULL, 300);
	pymt_give_many(cache, blocks, MANY);
	pym_cache_destroy(cache);
	end_reader(test, r);
	pymt_check(test, th);
}

/*
 * What such caches are for: a reader that holds no reference finds an object through
 * a pointer that may be stale, and it is one of its type at every moment, though not
 * always the same.
 */
#define SLOTS		16

struct lookup {
	struct pym_cache *cache;
	u64 *slot[SLOTS];
	struct task_struct *task;
	unsigned long looks, strange;
};

static int look_up(void *arg)
{
	struct lookup *l = arg;
	unsigned int i = 0;

	while (!kthread_should_stop()) {
		const u64 *object;
		struct pym_pool *pool;

		rcu_read_lock();
		object = READ_ONCE(l->slot[i++ % SLOTS]);
		if (object) {
			unsigned int spin = i % 64;

			while (spin--)
				cpu_relax();
			pool = pym_lookup(object);
			l->strange += READ_ONCE(object[1]) != MARK || !pool ||
				      (READ_ONCE(pool->owner) && pool->owner != l->cache);
			l->looks++;
		}
		rcu_read_unlock();
		cond_resched();
	}
	return 0;
}

static void objects_keep_their_type(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct lookup *l = kunit_kzalloc(test, sizeof(*l), GFP_KERNEL);
	struct pym_cache *other = pymt_cache(test, th->heap, SIZE);
	void **blocks = pymt_array(test, 64);
	unsigned long end = jiffies + 30 * HZ;
	struct rnd_state rnd;
	unsigned int i, j;

	KUNIT_ASSERT_NOT_NULL(test, l);
	prandom_seed_state(&rnd, pymt_seed(test));
	l->cache = typesafe_cache(test, th->heap, mark);
	l->task = kthread_run(look_up, l, "pymalloc-kunit");
	KUNIT_ASSERT_FALSE(test, IS_ERR(l->task));
	/* And until the reader has seen something of it. */
	for (i = 0; i < 3000 || (READ_ONCE(l->looks) < 500 && time_before(jiffies, end)); i++) {
		unsigned int at = prandom_u32_state(&rnd) % SLOTS;
		u64 *object = l->slot[at];

		if (object) {
			WRITE_ONCE(l->slot[at], NULL);
			pym_cache_free(l->cache, object);
		} else {
			object = pym_cache_alloc(l->cache, GFP_KERNEL);
			if (!object)
				break;
			/* The first word is the user's, the others the type's. */
			WRITE_ONCE(object[0], i);
			/* After its words; pairs with the reader's dependency. */
			smp_store_release(&l->slot[at], object);
		}
		if (i % 100 == 0) {
			/* Empty the pools, and give others an appetite for them. */
			for (j = 0; j < SLOTS; j++) {
				object = xchg(&l->slot[j], NULL);
				if (object)
					pym_cache_free(l->cache, object);
			}
			if (i % 200)
				pym_heap_shrink(th->heap);
			for (j = 0; j < 64; j++) {
				blocks[j] = pym_cache_alloc(other, GFP_KERNEL);
				if (blocks[j])
					memset(blocks[j], 0x33, SIZE);
			}
			for (j = 0; j < 64; j++)
				pym_cache_free(other, blocks[j]);
		}
		cond_resched();
	}
	kthread_stop(l->task);
	KUNIT_EXPECT_GE(test, i, 3000);
	for (j = 0; j < SLOTS; j++)
		pym_cache_free(l->cache, l->slot[j]);
	kunit_info(test, "%lu looks\n", l->looks);
	KUNIT_EXPECT_GT(test, l->looks, 100);
	KUNIT_EXPECT_EQ_MSG(test, l->strange, 0, "objects that were none");
	pymt_check(test, th);
}

static const struct kunit_attributes slow = { .speed = KUNIT_SPEED_SLOW };

static struct kunit_case typesafe_cases[] = {
	KUNIT_CASE_PARAM(reused_at_once, kinds_gen_params),
	KUNIT_CASE_PARAM_ATTR(page_stays_while_read, kinds_gen_params, slow),
	KUNIT_CASE_PARAM(page_is_not_taken_while_read, kinds_gen_params),
	KUNIT_CASE_PARAM(content_survives, kinds_gen_params),
	KUNIT_CASE_PARAM(zeroing, kinds_gen_params),
	KUNIT_CASE_PARAM(is_destroyed, kinds_gen_params),
	KUNIT_CASE_PARAM_ATTR(objects_keep_their_type, kinds_gen_params, slow),
	{}
};

static struct kunit_suite typesafe_suite = {
	.name = "pymalloc_typesafe",
	.init = pymt_init_bare,
	.exit = pymt_exit,
	.test_cases = typesafe_cases,
};

kunit_test_suites(&rcu_suite, &typesafe_suite);
