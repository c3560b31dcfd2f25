// SPDX-License-Identifier: GPL-2.0-only
/*
 * Decay by itself: the parameter that says how often, ticks that come while others
 * work, and heaps and caches that end under them.
 */
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/prandom.h>
#include <linux/string.h>
#include <linux/workqueue.h>
#include "decay.h"
#include "within.h"

KUNIT_ARRAY_PARAM(kinds, pymt_decay_kinds, pymt_decay_kind_desc);

static struct pymt_heap *open_param(struct kunit *test)
{
	pymt_stay_here(test);
	return pymt_open(test, *(const enum pymt_kind *)test->param_value, NULL);
}

/* ----------------------------------------------------------- the parameter ---- */

static void set_decay_ms(struct kunit *test, const char *value)
{
	pymt_echo(test, value, "/sys/module/pymalloc/parameters/decay_ms");
}

/* Without a tick by hand: up to ten seconds for what takes some 100 ms. */
static void expect_at_rest_soon(struct kunit *test, struct pymt_heap *th,
				struct pym_cache *cache)
{
	unsigned int i;

	for (i = 0; i < 500 && (delayed_work_pending(&th->heap->tick) ||
				pymt_stats_of(cache).cached); i++)
		msleep(20);
	flush_work(&th->heap->tick.work);
	pymt_expect_at_rest(test, th, cache);
}

static void by_itself(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_warm(test, th->heap, 64);
	void *blocks[40];
	struct pymt_errand e = { .cache = cache, .blocks = blocks, .n = ARRAY_SIZE(blocks) };
	int cpu;

	/* What is due in an hour stays so. */
	pymt_rest(test, th);
	WRITE_ONCE(pym_decay_ms, 20);
	for_each_online_cpu(cpu) {
		KUNIT_ASSERT_EQ(test, work_on_cpu(cpu, pymt_take_there, &e), 0);
		work_on_cpu(cpu, pymt_give_there, &e);
	}
	expect_at_rest_soon(test, th, cache);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).pools, 0);
}

static void never_with_0(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache;
	struct pym_heap_stats before, after;

	set_decay_ms(test, "0");
	cache = pymt_warm(test, th->heap, 64);
	KUNIT_EXPECT_FALSE(test, delayed_work_pending(&th->heap->tick));
	pymt_stats(test, th->heap, &before);
	msleep(100);
	pymt_stats(test, th->heap, &after);
	pymt_expect_same(test, &before, &after);
	KUNIT_EXPECT_GT(test, pymt_stats_of(cache).cached, 0);
	/* Nobody touches the heap, and it begins all the same. */
	set_decay_ms(test, "20");
	expect_at_rest_soon(test, th, cache);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).pools, 0);
}

/* Also for the tick that is due already. */
static void changes_take_effect(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_warm(test, th->heap, 64);
	struct pym_heap_stats before, after;

	KUNIT_EXPECT_TRUE(test, delayed_work_pending(&th->heap->tick));
	set_decay_ms(test, "0");
	pymt_stats(test, th->heap, &before);
	KUNIT_EXPECT_LE(test, pymt_rest(test, th), 1);
	pymt_stats(test, th->heap, &after);
	pymt_expect_same(test, &before, &after);
	WRITE_ONCE(pym_decay_ms, PYMT_BY_HAND);
	pym_cache_free(cache, pymt_take(test, cache));
	pymt_use_there(test, cache, pymt_other_cpu());
	pym_heap_reap(th->heap);
	KUNIT_EXPECT_TRUE(test, delayed_work_pending(&th->heap->tick));
	set_decay_ms(test, "20");
	expect_at_rest_soon(test, th, cache);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).pools, 0);
}

/* ------------------------------------------------------------------- races ---- */

#define NR_WORKERS	2
#define OWN		300

struct worker {
	struct pymt_heap *th;
	struct pym_cache *cache[2];
	struct task_struct *task;
	struct rnd_state rnd;
	u8 *own[OWN];
	u8 from[OWN];
	unsigned long failed, damaged, bursts;
};

static u32 below(struct worker *w, u32 n)
{
	return prandom_u32_state(&w->rnd) % n;
}

static void change(struct worker *w, unsigned int i, bool take)
{
	unsigned int from = below(w, 3);

	if (w->own[i]) {
		w->damaged += !!memchr_inv(w->own[i], pymt_tag(w->own[i]), 64);
		if (w->from[i] < 2)
			pym_cache_free(w->cache[w->from[i]], w->own[i]);
		else
			pym_free(w->own[i]);
		w->own[i] = NULL;
	} else if (take) {
		w->own[i] = from < 2 ? pym_cache_alloc(w->cache[from], GFP_KERNEL) :
				       pym_malloc(w->th->heap, 64, GFP_KERNEL);
		w->from[i] = from;
		if (w->own[i])
			memset(w->own[i], pymt_tag(w->own[i]), 64);
		else
			w->failed++;
	}
}

/* Bursts, and pauses in which its front is closed. */
static int work(void *arg)
{
	struct worker *w = arg;
	unsigned int i, n;

	while (!kthread_should_stop()) {
		for (n = below(w, 1000); n; n--)
			change(w, below(w, OWN), true);
		for (i = 0; i < OWN && w->bursts % 4 == 0; i++)
			change(w, i, false);
		w->bursts++;
		msleep(below(w, 40));
	}
	for (i = 0; i < OWN; i++)
		change(w, i, false);
	return 0;
}

static void while_others_work(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct worker *workers = kunit_kcalloc(test, NR_WORKERS, sizeof(*workers), GFP_KERNEL);
	struct pym_cache *cache[] = {
		pymt_warm(test, th->heap, 64), pymt_warm(test, th->heap, 64),
	};
	unsigned int i, unsound = 0, closed = 0;
	u64 seed = pymt_seed(test);
	int cpu = -1, any;

	KUNIT_ASSERT_NOT_NULL(test, workers);
	pymt_rest(test, th);
	WRITE_ONCE(pym_decay_ms, 1);
	for (i = 0; i < NR_WORKERS; i++) {
		struct worker *w = &workers[i];

		cpu = cpumask_next(cpu, cpu_online_mask);
		if (cpu >= nr_cpu_ids)
			cpu = cpumask_first(cpu_online_mask);
		w->th = th;
		memcpy(w->cache, cache, sizeof(cache));
		prandom_seed_state(&w->rnd, seed + i);
		w->task = kthread_create_on_cpu(work, w, cpu, "pymalloc-kunit/%u");
		KUNIT_ASSERT_FALSE(test, IS_ERR(w->task));
		wake_up_process(w->task);
	}
	for (i = 0; i < 100; i++) {
		unsound += !pymt_is_sound(th);
		for_each_online_cpu(any)
			closed += !READ_ONCE(pymt_front_of(cache[0], any)->cap);
		msleep(20);
	}
	for (i = 0; i < NR_WORKERS; i++) {
		kthread_stop(workers[i].task);
		KUNIT_EXPECT_EQ(test, workers[i].failed, 0);
		KUNIT_EXPECT_EQ_MSG(test, workers[i].damaged, 0, "of worker %u", i);
		KUNIT_EXPECT_GT(test, workers[i].bursts, 10);
	}
	KUNIT_EXPECT_EQ(test, unsound, 0);
	KUNIT_EXPECT_GT_MSG(test, closed, 0, "no front was closed meanwhile");
	expect_at_rest_soon(test, th, cache[0]);
	pymt_expect_closed(test, cache[1]);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache[0]).pools + pymt_stats_of(cache[1]).pools, 0);
}

/* The end of caches and heaps, and new beginnings, in the midst of ticks. */
static void ends_race_with_ticks(struct kunit *test)
{
	unsigned int round, i, n = 300;
	void **blocks = pymt_array(test, n);
	int there = pymt_other_cpu();

	WRITE_ONCE(pym_decay_ms, 1);
	for (round = 0; round < 60; round++) {
		struct pymt_heap *th = open_param(test);
		struct pym_cache *cache[3];
		struct pymt_errand e = { .blocks = blocks, .n = n };

		for (i = 0; i < ARRAY_SIZE(cache); i++) {
			cache[i] = pymt_warm(test, th->heap, 64 << i);
			e.cache = cache[i];
			KUNIT_ASSERT_EQ(test, work_on_cpu(there, pymt_take_there, &e), 0);
			pymt_give_there(&e);
		}
		/* Ticks are at the first, the second or the third of their looks. */
		usleep_range(500 * (round % 10), 500 * (round % 10) + 100);
		if (round % 3 == 1) {
			pym_heap_reset(th->heap);
			pymt_take_many(test, cache[1], blocks, n);
			pymt_give_many(cache[1], blocks, n);
		} else if (round % 3 == 2) {
			for (i = 0; i < ARRAY_SIZE(cache); i++)
				pym_cache_destroy(cache[i]);
		}
		pymt_destroy(test, th);
	}
}

static const struct kunit_attributes slow = { .speed = KUNIT_SPEED_SLOW };

static struct kunit_case decay_live_cases[] = {
	KUNIT_CASE_PARAM(by_itself, kinds_gen_params),
	KUNIT_CASE_PARAM(never_with_0, kinds_gen_params),
	KUNIT_CASE_PARAM(changes_take_effect, kinds_gen_params),
	KUNIT_CASE_PARAM_ATTR(while_others_work, kinds_gen_params, slow),
	KUNIT_CASE_PARAM_ATTR(ends_race_with_ticks, kinds_gen_params, slow),
	{}
};

static struct kunit_suite decay_live_suite = {
	.name = "pymalloc_decay_live",
	.init = pymt_init_by_hand,
	.exit = pymt_exit,
	.test_cases = decay_live_cases,
};

kunit_test_suites(&decay_live_suite);
