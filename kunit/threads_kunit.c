// SPDX-License-Identifier: GPL-2.0-only
/*
 * Several threads on one heap: two that allocate, resize, free and give blocks
 * to each other, and one that reads, verifies and shrinks meanwhile.
 */
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/kthread.h>
#include <linux/prandom.h>
#include <linux/random.h>
#include "fixture.h"

#define NR_WORKERS	2
#define NR_CACHES	3
#define MAILBOX		16
#define OWN		64
#define STEPS		15000
#define READER_ROUNDS	4

/* Every block begins with this; the rest is filled with the tag. */
struct head {
	u32 magic;
	u16 size;
	u8 cache;			/* index, or NR_CACHES: from pym_malloc() */
	u8 tag;
};

#define MAGIC		0x626c6f6b

struct shared {
	struct pymt_heap *th;
	struct pym_cache *cache[NR_CACHES];
	struct head *mailbox[MAILBOX];	/* by xchg() */
	atomic_t running;
	unsigned int awaited;		/* rounds of a reader that workers work for */
};

struct worker {
	struct shared *shared;
	struct rnd_state rnd;
	struct head *own[OWN];
	unsigned long damaged, lost, failed, stayed, exchanged;
	struct completion done;
	struct task_struct *task;
};

static u32 below(struct worker *w, u32 n)
{
	return prandom_u32_state(&w->rnd) % n;
}

static void fill(struct worker *w, struct head *block, u16 size, u8 cache)
{
	block->magic = MAGIC;
	block->size = size;
	block->cache = cache;
	block->tag = below(w, 256);
	memset(block + 1, block->tag, size - sizeof(*block));
}

static void check(struct worker *w, const struct head *block)
{
	if (block->magic != MAGIC ||
	    memchr_inv(block + 1, block->tag, block->size - sizeof(*block)))
		w->damaged++;
	if (pym_owner(block) != w->shared->th->heap)
		w->lost++;
}

static struct head *take(struct worker *w)
{
	u8 cache = below(w, NR_CACHES + 2);
	struct head *block;
	u16 size;

	if (cache < NR_CACHES) {
		size = w->shared->cache[cache]->size;
		block = pym_cache_alloc(w->shared->cache[cache], GFP_KERNEL);
	} else {
		cache = NR_CACHES;
		size = sizeof(*block) + below(w, below(w, 16) ? 500 : 3000);
		block = pym_malloc(w->shared->th->heap, size, GFP_KERNEL);
	}
	if (!block)
		w->failed++;
	else
		fill(w, block, size, cache);
	return block;
}

static void give(struct worker *w, struct head *block)
{
	if (!block)
		return;
	check(w, block);
	block->magic = 0;
	if (block->cache < NR_CACHES)
		pym_cache_free(w->shared->cache[block->cache], block);
	else
		pym_free(block);
}

static struct head *resize(struct worker *w, struct head *block)
{
	u16 size = sizeof(*block) + below(w, 600), kept;
	struct head *new;

	check(w, block);
	kept = min(size, block->size) - sizeof(*block);
	new = pym_realloc(NULL, block, size, GFP_KERNEL);
	if (!new) {
		w->failed++;
		return block;
	}
	w->stayed += new == block;
	if (new->magic != MAGIC || memchr_inv(new + 1, new->tag, kept))
		w->damaged++;
	fill(w, new, size, NR_CACHES);
	return new;
}

static void step(struct worker *w)
{
	struct head **own = &w->own[below(w, OWN)];

	switch (below(w, 4)) {
	case 0:
		*own = xchg(&w->shared->mailbox[below(w, MAILBOX)], *own);
		w->exchanged++;
		break;
	case 1:
		if (*own && (*own)->cache == NR_CACHES) {
			*own = resize(w, *own);
			break;
		}
		fallthrough;
	default:
		if (*own) {
			give(w, *own);
			*own = NULL;
		} else {
			*own = take(w);
		}
	}
}

static int work(void *arg)
{
	struct worker *w = arg;
	unsigned long i;

	/* On two CPUs the reader may not have had one yet. */
	for (i = 0; i < STEPS || (READ_ONCE(w->shared->awaited) && i < STEPS * 100); i++) {
		step(w);
		cond_resched();
	}
	for (i = 0; i < OWN; i++)
		give(w, w->own[i]);
	atomic_dec(&w->shared->running);
	complete(&w->done);
	return 0;
}

static struct shared *new_shared(struct kunit *test, enum pymt_kind kind, size_t limit)
{
	static const size_t sizes[NR_CACHES] = { 16, 64, 520 };
	struct shared *shared = kunit_kzalloc(test, sizeof(*shared), GFP_KERNEL);
	struct pym_heap_args args = { .limit_bytes = limit };
	int i;

	KUNIT_ASSERT_NOT_NULL(test, shared);
	shared->th = pymt_open(test, kind, &args);
	for (i = 0; i < NR_CACHES; i++)
		shared->cache[i] = pymt_cache(test, shared->th->heap, sizes[i]);
	return shared;
}

/* Start the workers, each on its own CPU if there are enough. */
static struct worker *start(struct kunit *test, struct shared *shared)
{
	struct worker *workers = kunit_kcalloc(test, NR_WORKERS, sizeof(*workers), GFP_KERNEL);
	unsigned int i, cpu = cpumask_first(cpu_online_mask);

	KUNIT_ASSERT_NOT_NULL(test, workers);
	atomic_set(&shared->running, NR_WORKERS);
	for (i = 0; i < NR_WORKERS; i++) {
		struct worker *w = &workers[i];

		w->shared = shared;
		prandom_seed_state(&w->rnd, get_random_u64());
		init_completion(&w->done);
		w->task = kthread_create(work, w, "pymalloc-kunit/%u", i);
		if (IS_ERR(w->task)) {
			KUNIT_FAIL(test, "no thread");
			atomic_dec(&shared->running);
			complete(&w->done);
			continue;
		}
		/* It may be gone before we look for it again. */
		get_task_struct(w->task);
		kthread_bind(w->task, cpu);
		cpu = cpumask_next(cpu, cpu_online_mask);
		if (cpu >= nr_cpu_ids)
			cpu = cpumask_first(cpu_online_mask);
	}
	for (i = 0; i < NR_WORKERS; i++)
		if (!IS_ERR(workers[i].task))
			wake_up_process(workers[i].task);
	return workers;
}

static void finish(struct kunit *test, struct shared *shared, struct worker *workers)
{
	struct pym_heap_stats stats;
	struct worker *w;
	int i;

	for (w = workers; w < workers + NR_WORKERS; w++) {
		wait_for_completion(&w->done);
		if (!IS_ERR(w->task)) {
			kthread_stop(w->task);
			put_task_struct(w->task);
		}
	}
	for (i = 0; i < MAILBOX; i++)
		give(workers, shared->mailbox[i]);
	for (w = workers; w < workers + NR_WORKERS; w++) {
		KUNIT_EXPECT_EQ_MSG(test, w->damaged, 0, "blocks changed by others");
		KUNIT_EXPECT_EQ_MSG(test, w->lost, 0, "live blocks that do not lead to the heap");
		KUNIT_EXPECT_GT(test, w->exchanged, STEPS / 8);
		kunit_info(test, "exchanged %lu, failed %lu\n", w->exchanged, w->failed);
	}
	pymt_stats(test, shared->th->heap, &stats);
	KUNIT_EXPECT_EQ_MSG(test, stats.live, 0, "every block was freed");
	pymt_check(test, shared->th);
}

static unsigned long failures(struct worker *workers)
{
	return workers[0].failed + workers[1].failed;
}

static const enum pymt_kind kinds[] = {
	PYMT_SPLIT, PYMT_PLAIN, PYMT_PAGES, PYMT_VMALLOC, PYMT_PAGES | PYMT_FRONTS,
	PYMT_VMALLOC | PYMT_FRONTS, PYMT_SPLIT | PYMT_FRONTS,
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

static void two_writers(struct kunit *test)
{
	struct shared *shared = new_shared(test, *(const enum pymt_kind *)test->param_value, 0);
	struct worker *workers = start(test, shared);

	finish(test, shared, workers);
	KUNIT_EXPECT_EQ_MSG(test, failures(workers), 0, "there was memory enough");
}

/* The limit holds at every moment, and being at it breaks nothing. */
static void two_writers_at_the_limit(struct kunit *test)
{
	struct shared *shared = new_shared(test, PYMT_SPLIT, SZ_64K);
	struct worker *workers = start(test, shared);
	struct pym_heap_stats stats;

	finish(test, shared, workers);
	pymt_stats(test, shared->th->heap, &stats);
	KUNIT_EXPECT_LE(test, stats.high, SZ_64K);
	/* A block that stays because no smaller one can be had is a failure too. */
	KUNIT_EXPECT_GE(test, stats.failures, failures(workers));
	KUNIT_EXPECT_LE(test, stats.failures,
			failures(workers) + workers[0].stayed + workers[1].stayed);
	KUNIT_EXPECT_GT_MSG(test, stats.limit_hits, 0, "the limit was not reached");
}

static void note_invariant(void *ctx, const char *invariant, const char *where)
{
	pr_err("broken invariant: %s at %s\n", invariant, where);
}

static void reader_meanwhile(struct kunit *test)
{
	struct shared *shared = new_shared(test, *(const enum pymt_kind *)test->param_value,
					   SZ_1M);
	unsigned int rounds = 0, broken = 0, above = 0, foreign = 0;
	struct pym_cache_stats cache_stats;
	struct pym_heap_stats stats;
	struct worker *workers;

	shared->awaited = READER_ROUNDS;
	workers = start(test, shared);
	while (atomic_read(&shared->running)) {
		mutex_lock(&pym_registry);
		broken += pym_heap_verify(shared->th->heap, note_invariant, NULL);
		mutex_unlock(&pym_registry);
		pym_heap_stats(shared->th->heap, &stats);
		above += stats.held > SZ_1M || stats.held > stats.high;
		pym_cache_stats(shared->cache[rounds % NR_CACHES], &cache_stats);
		above += cache_stats.live + cache_stats.cached + cache_stats.free +
			 cache_stats.virgin != cache_stats.pools * cache_stats.capacity;
		/* What passes through a front while it is read is seen or not. */
		if (shared->th->heap->flags & PYM_HEAP_NO_FRONTS)
			above += cache_stats.allocs - cache_stats.frees != cache_stats.live;
		foreign += pym_owner(shared) || pym_owner((void *)0xdead0000);
		if (rounds++ % 8 == 0)
			pym_heap_shrink(shared->th->heap);
		if (shared->awaited)
			WRITE_ONCE(shared->awaited, shared->awaited - 1);
		cond_resched();
	}
	finish(test, shared, workers);
	kunit_info(test, "%u rounds of the reader\n", rounds);
	KUNIT_EXPECT_GE(test, rounds, READER_ROUNDS);
	KUNIT_EXPECT_EQ_MSG(test, broken, 0, "invariants broken while others work");
	KUNIT_EXPECT_EQ_MSG(test, above, 0, "statistics that contradict themselves");
	KUNIT_EXPECT_EQ(test, foreign, 0);
}

static const struct kunit_attributes slow = { .speed = KUNIT_SPEED_SLOW };

static struct kunit_case threads_cases[] = {
	KUNIT_CASE_PARAM_ATTR(two_writers, kinds_gen_params, slow),
	KUNIT_CASE_SLOW(two_writers_at_the_limit),
	KUNIT_CASE_PARAM_ATTR(reader_meanwhile, kinds_gen_params, slow),
	{}
};

static struct kunit_suite threads_suite = {
	.name = "pymalloc_threads",
	.init = pymt_init_bare,
	.exit = pymt_exit,
	.test_cases = threads_cases,
};

kunit_test_suites(&threads_suite);
