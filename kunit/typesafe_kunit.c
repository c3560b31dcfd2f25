// SPDX-License-Identifier: GPL-2.0-only
/*
 * Caches whose pages stay their own until readers are done: a block may be had again
 * at once, by the same cache only.
 */
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/prandom.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/workqueue.h>
#include "reader.h"
#include "within.h"

#define SIZE		PYMT_MARKED
#define MANY		300

KUNIT_ARRAY_PARAM(kinds, pymt_reader_kinds, pymt_reader_kind_desc);

static struct pymt_heap *open_param(struct kunit *test)
{
	return pymt_open(test, *(const enum pymt_kind *)test->param_value, NULL);
}

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

/* What fronts have goes to the pools first, and those wait then. */
static void expect_given_back(struct kunit *test, struct pymt_heap *th, struct pym_cache *cache)
{
	pym_heap_shrink(th->heap);
	pymt_settle(test, cache, 0);
	flush_work(&th->heap->reap_work);
	pym_heap_shrink(th->heap);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).pools, 0);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).cached, 0);
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
	found = pymt_is_handed_out(cache, block, blocks, MANY, GFP_NOWAIT);
	rcu_read_unlock();
	KUNIT_EXPECT_TRUE(test, found);
	pym_cache_free(cache, keep);
}

/* Free everything and shrink, with a reader inside: its page stays the cache's. */
static void page_stays_while_read(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = typesafe_cache(test, th->heap, pymt_mark);
	void **blocks = pymt_array(test, MANY);
	struct pymt_reader *r;
	int frees = 0;

	pymt_take_many(test, cache, blocks, MANY);
	/* Without what may be given back at any time. */
	pym_heap_shrink(th->heap);
	if (th->provider)
		frees = atomic_read(&th->provider->frees);
	r = pymt_read_elsewhere(test, th, blocks[MANY / 2], cache, 500);
	pymt_give_many(cache, blocks, MANY);
	pym_heap_shrink(th->heap);
	flush_work(&th->heap->reap_work);
	pymt_check(test, th);
	while (!READ_ONCE(r->gone))
		schedule_timeout_interruptible(1);
	pymt_end_reader(test, r);
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
	struct pym_cache *cache = typesafe_cache(test, th->heap, pymt_mark);
	struct pym_cache *other = pymt_cache(test, th->heap, SIZE);
	void **blocks = pymt_array(test, MANY), **others = pymt_array(test, MANY);
	struct pymt_reader *r;
	unsigned int i;

	pymt_take_many(test, cache, blocks, MANY);
	r = pymt_read_elsewhere(test, th, blocks[MANY / 2], cache, 20000);
	pymt_give_many(cache, blocks, MANY);
	pymt_take_many(test, other, others, MANY);
	for (i = 0; i < MANY; i++)
		memset(others[i], 0x22, SIZE);
	KUNIT_EXPECT_TRUE_MSG(test, READ_ONCE(r->inside), "the reader left too early");
	pymt_end_reader(test, r);
	pymt_check(test, th);
	pymt_give_many(other, others, MANY);
	expect_given_back(test, th, cache);
}

/* Constructed once, and nothing of the allocator's is ever in it. */
static void content_survives(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = typesafe_cache(test, th->heap, pymt_mark);
	void **blocks = pymt_array(test, MANY);
	unsigned int round, i, bad = 0;

	for (round = 0; round < 4; round++) {
		pymt_take_many(test, cache, blocks, MANY);
		for (i = 0; i < MANY; i++)
			bad += !pymt_is_marked(blocks[i]);
		pymt_give_many(cache, blocks, MANY);
		for (i = 0; i < MANY && round < 2; i++)
			bad += !pymt_is_marked(blocks[i]);
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
		.heap = th->heap, .flags = PYM_CACHE_TYPESAFE_BY_RCU, .ctor = pymt_mark,
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
		pymt_mark(block);
		pym_cache_free(plain, block);
	}
	KUNIT_EXPECT_EQ_MSG(test, bad, 0, "zeroed on request, without a constructor");
	/* And on no other occasion, whatever the kernel was told: a reader may look. */
	for (i = 0; i < 100; i++) {
		last = block;
		block = pymt_take(test, plain);
		kept += block == last;
		bad += block == last && !pymt_is_marked(block);
		pymt_mark(block);
		pym_cache_free(plain, block);
		bad += !pymt_is_marked(block);
	}
	KUNIT_EXPECT_GT(test, kept, 0);
	KUNIT_EXPECT_EQ(test, bad, 0);
	block = pym_cache_zalloc(ctor, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, block);
	KUNIT_EXPECT_TRUE_MSG(test, pymt_is_marked(block), "a constructor's work is kept");
	pymt_expect_misuse(test, PYM_MISUSE_ZERO_CTOR, 1);
	pym_cache_free(ctor, block);
}

static void is_destroyed(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = typesafe_cache(test, th->heap, pymt_mark);
	void **blocks = pymt_array(test, MANY);
	struct pymt_reader *r;

	pymt_take_many(test, cache, blocks, MANY);
	r = pymt_read_elsewhere(test, th, blocks[0], NULL, 300);
	pymt_give_many(cache, blocks, MANY);
	pym_cache_destroy(cache);
	pymt_end_reader(test, r);
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
			l->strange += READ_ONCE(object[1]) != PYMT_MARK || !pool ||
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
	l->cache = typesafe_cache(test, th->heap, pymt_mark);
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

kunit_test_suites(&typesafe_suite);
