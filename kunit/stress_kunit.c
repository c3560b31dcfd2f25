// SPDX-License-Identifier: GPL-2.0-only
/*
 * A thread on each CPU does random operations, a timer interrupts each of them with
 * others, and they give blocks to each other, so that what is allocated on one CPU
 * is freed on another. Each has a model of what is its own. At every rest the models
 * together must be what the heap says, exactly, with the fronts and depots as full
 * as they happen to be. Another thread reads meanwhile: each of its readings must
 * balance in itself.
 */
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/hrtimer.h>
#include <linux/kthread.h>
#include <linux/nodemask.h>
#include <linux/prandom.h>
#include <linux/wait.h>
#include "within.h"

#define NR_CACHES	3
#define MAX_WORKERS	8
#define OWN		96
#define RING		64
#define MAX_BULK	40
#define IRQ_OWN		12
#define RESTS		4
#define STEPS		2500		/* of each worker between rests */

/* Every block begins with this; the rest is filled with the tag. */
struct head {
	u32 magic;
	u16 size;
	u8 cache;			/* index, or NR_CACHES: from pym_malloc() */
	u8 tag;
};

#define MAGIC		0x73747273

struct worker {
	struct shared *shared;
	struct task_struct *task;
	struct rnd_state rnd;
	struct head *own[OWN];
	u64 allocs, frees;		/* of small blocks */
	unsigned long damaged, failed, exchanged, bulks;

	/* The same, of its CPU's interrupts. */
	struct hrtimer timer;
	struct rnd_state irq_rnd;
	struct head *irq_own[IRQ_OWN];
	u64 irq_allocs, irq_frees;
	unsigned long irq_damaged, irq_failed, irqs;
};

struct shared {
	struct pymt_heap *th;
	struct pym_cache *cache[NR_CACHES];
	struct head *ring[RING];	/* by xchg() */
	wait_queue_head_t wait;
	unsigned int go;		/* phases that may begin */
	unsigned int due;		/* phases that are to be read in */
	atomic_t resting;
	unsigned int nr_workers;
	struct worker worker[MAX_WORKERS];
};

static u32 below(struct rnd_state *rnd, u32 n)
{
	return prandom_u32_state(rnd) % n;
}

/* -------------------------------------------------------------- a block ---- */

static void fill(struct rnd_state *rnd, struct head *block, u16 size, u8 cache)
{
	block->magic = MAGIC;
	block->size = size;
	block->cache = cache;
	block->tag = below(rnd, 256);
	memset(block + 1, block->tag, size - sizeof(*block));
}

static bool is_damaged(const struct head *block)
{
	return block->magic != MAGIC ||
	       memchr_inv(block + 1, block->tag, block->size - sizeof(*block));
}

static bool is_small(const struct head *block)
{
	return block->cache < NR_CACHES || block->size <= PYM_SMALL_MAX;
}

static int any_node(struct rnd_state *rnd)
{
	int node = below(rnd, MAX_NUMNODES);

	node = next_node_in(node, node_states[N_MEMORY]);
	return node < MAX_NUMNODES ? node : first_node(node_states[N_MEMORY]);
}

static struct head *take(struct shared *shared, struct rnd_state *rnd, gfp_t gfp)
{
	u8 cache = below(rnd, NR_CACHES + 2);
	struct head *block;
	u16 size;

	if (cache < NR_CACHES) {
		size = shared->cache[cache]->size;
		if (below(rnd, 8))
			block = pym_cache_alloc(shared->cache[cache], gfp);
		else
			block = pym_cache_alloc_node(shared->cache[cache], gfp,
						     below(rnd, 2) ? NUMA_NO_NODE : any_node(rnd));
	} else {
		cache = NR_CACHES;
		size = sizeof(*block) + below(rnd, below(rnd, 16) ? 200 : 3000);
		/* An interrupt could not have what passes through given on RT. */
		if (!gfpflags_allow_blocking(gfp))
			size = min_t(u16, size, PYM_SMALL_MAX);
		block = pym_malloc(shared->th->heap, size, gfp);
	}
	if (block)
		fill(rnd, block, size, cache);
	return block;
}

static void give(struct shared *shared, struct rnd_state *rnd, struct head *block)
{
	u8 cache = block->cache;

	if (cache < NR_CACHES && !below(rnd, 8)) {
		/* As it is: a reader may look at it. */
		pym_cache_free_rcu(shared->cache[cache], block);
		return;
	}
	block->magic = 0;
	if (cache < NR_CACHES)
		pym_cache_free(shared->cache[cache], block);
	else
		pym_free(block);
}

/* --------------------------------------------------------- in interrupts ---- */

static enum hrtimer_restart interrupt(struct hrtimer *timer)
{
	struct worker *w = container_of(timer, struct worker, timer);
	unsigned int i, n = below(&w->irq_rnd, 6);
	struct head **own;

	w->irqs++;
	while (n--) {
		own = &w->irq_own[below(&w->irq_rnd, IRQ_OWN)];
		if (*own) {
			w->irq_damaged += is_damaged(*own);
			w->irq_frees += is_small(*own);
			give(w->shared, &w->irq_rnd, *own);
			*own = NULL;
		} else {
			*own = take(w->shared, &w->irq_rnd, GFP_ATOMIC | __GFP_NOWARN);
			w->irq_allocs += *own && is_small(*own);
			w->irq_failed += !*own;
		}
	}
	/* What others put there may have been allocated on another CPU. */
	i = below(&w->irq_rnd, RING);
	own = &w->irq_own[below(&w->irq_rnd, IRQ_OWN)];
	*own = xchg(&w->shared->ring[i], *own);
	hrtimer_forward_now(timer, ns_to_ktime(50000 + below(&w->irq_rnd, 300000)));
	return HRTIMER_RESTART;
}

/* On this CPU. */
static void start_interrupts(struct worker *w)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
	hrtimer_setup(&w->timer, interrupt, CLOCK_MONOTONIC, PYMT_HRTIMER_MODE);
#else
	hrtimer_init(&w->timer, CLOCK_MONOTONIC, PYMT_HRTIMER_MODE);
	w->timer.function = interrupt;
#endif
	hrtimer_start(&w->timer, ns_to_ktime(100000), PYMT_HRTIMER_MODE);
}

/* ------------------------------------------------------------- in threads ---- */

static void free_own(struct worker *w, struct head **own)
{
	w->damaged += is_damaged(*own);
	w->frees += is_small(*own);
	give(w->shared, &w->rnd, *own);
	*own = NULL;
}

static void take_own(struct worker *w, struct head **own, gfp_t gfp)
{
	*own = take(w->shared, &w->rnd, gfp);
	if (*own)
		w->allocs += is_small(*own);
	else
		w->failed += gfpflags_allow_blocking(gfp);
}

static void take_bulk(struct worker *w)
{
	u8 cache = below(&w->rnd, NR_CACHES);
	unsigned int n = 1 + below(&w->rnd, MAX_BULK), i;
	void *blocks[MAX_BULK];

	w->bulks++;
	if (pym_cache_alloc_bulk(w->shared->cache[cache], GFP_KERNEL, n, blocks) != n) {
		w->failed++;
		return;
	}
	w->allocs += n;
	for (i = 0; i < n; i++) {
		struct head **own = &w->own[below(&w->rnd, OWN)];

		if (*own)
			free_own(w, own);
		*own = blocks[i];
		fill(&w->rnd, *own, w->shared->cache[cache]->size, cache);
	}
}

static void give_bulk(struct worker *w)
{
	u8 cache = below(&w->rnd, NR_CACHES);
	void *blocks[MAX_BULK];
	unsigned int i, n = 0;

	w->bulks++;
	for (i = 0; i < OWN && n < MAX_BULK; i++) {
		if (!w->own[i] || w->own[i]->cache != cache)
			continue;
		w->damaged += is_damaged(w->own[i]);
		blocks[n++] = w->own[i];
		w->own[i] = NULL;
	}
	w->frees += n;
	pym_cache_free_bulk(w->shared->cache[cache], n, blocks);
}

static void exchange(struct worker *w, struct head **own)
{
	*own = xchg(&w->shared->ring[below(&w->rnd, RING)], *own);
	w->exchanged++;
}

static void step(struct worker *w)
{
	struct head **own = &w->own[below(&w->rnd, OWN)];

	switch (below(&w->rnd, 32)) {
	case 0:
		take_bulk(w);
		break;
	case 1:
		give_bulk(w);
		break;
	case 2:
		if (!below(&w->rnd, 50))
			pym_heap_shrink(w->shared->th->heap);
		break;
	case 3 ... 10:
		exchange(w, own);
		break;
	case 11 ... 14:
		if (!*own) {
			take_own(w, own, GFP_NOWAIT | __GFP_NOWARN);
			break;
		}
		fallthrough;
	default:
		if (*own)
			free_own(w, own);
		else
			take_own(w, own, GFP_KERNEL);
	}
}

static void rest(struct worker *w, unsigned int phase)
{
	struct shared *shared = w->shared;

	atomic_inc(&shared->resting);
	wake_up_all(&shared->wait);
	wait_event(shared->wait, READ_ONCE(shared->go) > phase || kthread_should_stop());
}

static int work(void *arg)
{
	struct worker *w = arg;
	unsigned int phase, i;

	start_interrupts(w);
	for (phase = 0; phase < RESTS; phase++) {
		/* And until it has been read meanwhile, if it is to be. */
		for (i = 0; i < STEPS || READ_ONCE(w->shared->due) > phase; i++) {
			step(w);
			cond_resched();
		}
		hrtimer_cancel(&w->timer);
		rest(w, phase);
		if (phase + 1 < RESTS)
			hrtimer_start(&w->timer, ns_to_ktime(100000), PYMT_HRTIMER_MODE);
	}
	while (!kthread_should_stop())
		schedule_timeout_interruptible(1);
	return 0;
}

/* ------------------------------------------------------------ at the rests ---- */

struct sum {
	u64 allocs, frees;
	unsigned long live, large, damaged, failed;
	size_t bytes;
};

static void add_block(struct sum *sum, const struct head *block)
{
	if (!block)
		return;
	sum->live++;
	sum->damaged += is_damaged(block);
	if (is_small(block))
		sum->bytes += pym_usable_size(block);
	else
		sum->large++;
}

static struct sum sum_up(struct shared *shared)
{
	struct sum sum = { };
	struct worker *w;
	unsigned int i;

	for (w = shared->worker; w < shared->worker + shared->nr_workers; w++) {
		for (i = 0; i < OWN; i++)
			add_block(&sum, w->own[i]);
		for (i = 0; i < IRQ_OWN; i++)
			add_block(&sum, w->irq_own[i]);
		sum.allocs += w->allocs + w->irq_allocs;
		sum.frees += w->frees + w->irq_frees;
		sum.damaged += w->damaged + w->irq_damaged;
		sum.failed += w->failed;
	}
	for (i = 0; i < RING; i++)
		add_block(&sum, shared->ring[i]);
	return sum;
}

static void add_cache(struct pym_cache *cache, struct pym_cache_stats *sum)
{
	struct pym_cache_stats s;

	if (!cache)
		return;
	pym_cache_stats(cache, &s);
	sum->allocs += s.allocs;
	sum->frees += s.frees;
	sum->live += s.live;
	sum->cached += s.cached;
}

/* Nobody does anything, once no reader is waited for: the numbers are what they are. */
static void compare(struct kunit *test, struct shared *shared)
{
	struct sum sum = sum_up(shared);
	struct pym_cache_stats caches = { };
	struct pym_heap_stats stats;
	unsigned int i, ms;

	for (i = 0; i < NR_CACHES; i++)
		for (ms = 0; ms < 20000 && atomic_read(&shared->cache[i]->waiting); ms += 20)
			msleep(20);

	KUNIT_EXPECT_EQ_MSG(test, sum.damaged, 0, "blocks changed by others");
	KUNIT_EXPECT_EQ_MSG(test, sum.failed, 0, "there was memory enough");
	for (i = 0; i < NR_CACHES; i++)
		add_cache(shared->cache[i], &caches);
	for (i = 0; i < PYM_NR_CLASSES; i++)
		add_cache(shared->th->heap->class[i], &caches);
	KUNIT_EXPECT_EQ_MSG(test, caches.allocs, sum.allocs, "allocations, exactly");
	KUNIT_EXPECT_EQ_MSG(test, caches.frees, sum.frees, "frees, exactly");
	KUNIT_EXPECT_EQ(test, caches.live, sum.live - sum.large);
	KUNIT_EXPECT_GT_MSG(test, caches.cached, 0, "the fronts are in use");
	pymt_stats(test, shared->th->heap, &stats);
	KUNIT_EXPECT_EQ(test, stats.live, sum.live);
	KUNIT_EXPECT_EQ(test, stats.pass_through_live, sum.large);
	KUNIT_EXPECT_EQ(test, stats.in_blocks, sum.bytes);
	KUNIT_EXPECT_EQ(test, stats.in_flight, 0);
	pymt_check(test, shared->th);
}

/* ------------------------------------------------------------ the readings ---- */

static void note_invariant(void *ctx, const char *invariant, const char *where)
{
	pr_err("broken invariant: %s at %s\n", invariant, where);
}

/* What one reading says must fit together, whatever goes on. */
static unsigned int read_once(struct shared *shared)
{
	struct pym_heap *heap = shared->th->heap;
	struct pym_cache_stats c;
	struct pym_heap_stats s;
	unsigned int broken, i;

	mutex_lock(&pym_registry);
	broken = pym_heap_verify(heap, note_invariant, NULL);
	broken += !pym_heap_ledger(heap, &s);
	mutex_unlock(&pym_registry);
	pym_heap_stats(heap, &s);
	broken += s.in_blocks + s.rounding + s.free_blocks + s.virgin + s.empty_pools +
		  s.metadata + s.pass_through + s.in_flight != s.held;
	broken += s.held > s.high;
	for (i = 0; i < NR_CACHES; i++) {
		pym_cache_stats(shared->cache[i], &c);
		broken += c.live + c.cached + c.free + c.virgin != c.pools * c.capacity;
		broken += c.live + c.cached > c.high;
	}
	return broken;
}

static bool all_rest(struct shared *shared, unsigned int phase)
{
	return atomic_read(&shared->resting) == shared->nr_workers * (phase + 1);
}

/* --------------------------------------------------------------- the cases ---- */

static struct shared *start(struct kunit *test, enum pymt_kind kind, bool read)
{
	static const size_t sizes[NR_CACHES] = { 16, 64, 520 };
	struct shared *shared = kunit_kzalloc(test, sizeof(*shared), GFP_KERNEL);
	u64 seed = pymt_seed(test);
	struct worker *w;
	int i, cpu;

	KUNIT_ASSERT_NOT_NULL(test, shared);
	init_waitqueue_head(&shared->wait);
	shared->due = read ? RESTS : 0;
	shared->th = pymt_open(test, kind, NULL);
	/* To the end of the case: interrupts and readers' ends free, too. */
	if (shared->th->provider)
		shared->th->provider->atomic = true;
	for (i = 0; i < NR_CACHES; i++) {
		void *blocks[80];

		shared->cache[i] = pymt_cache(test, shared->th->heap, sizes[i]);
		/* Interrupts of a heap that does not grow there need some to begin with. */
		pymt_take_many(test, shared->cache[i], blocks, ARRAY_SIZE(blocks));
		pymt_give_many(shared->cache[i], blocks, ARRAY_SIZE(blocks));
		shared->worker[0].allocs += ARRAY_SIZE(blocks);
		shared->worker[0].frees += ARRAY_SIZE(blocks);
	}
	for_each_online_cpu(cpu) {
		w = &shared->worker[shared->nr_workers];
		w->shared = shared;
		prandom_seed_state(&w->rnd, seed + shared->nr_workers);
		prandom_seed_state(&w->irq_rnd, seed + shared->nr_workers + MAX_WORKERS);
		w->task = kthread_create(work, w, "pymalloc-kunit/%d", cpu);
		if (IS_ERR(w->task)) {
			KUNIT_FAIL(test, "no thread: %ld", PTR_ERR(w->task));
			break;
		}
		kthread_bind(w->task, cpu);
		if (++shared->nr_workers == MAX_WORKERS)
			break;
	}
	for (w = shared->worker; w < shared->worker + shared->nr_workers; w++)
		wake_up_process(w->task);
	return shared;
}

static void finish(struct kunit *test, struct shared *shared)
{
	unsigned long exchanged = 0, bulks = 0, irqs = 0, irq_failed = 0;
	struct pym_cache_stats caches = { };
	struct worker *w;
	unsigned int i;

	for (w = shared->worker; w < shared->worker + shared->nr_workers; w++) {
		kthread_stop(w->task);
		exchanged += w->exchanged;
		bulks += w->bulks;
		irqs += w->irqs;
		irq_failed += w->irq_failed;
	}
	kunit_info(test, "%u threads, %llu allocations, %lu exchanged, %lu bulks, %lu interrupts (%lu allocations refused)\n",
		   shared->nr_workers, sum_up(shared).allocs, exchanged, bulks, irqs, irq_failed);
	KUNIT_EXPECT_GT(test, exchanged, shared->nr_workers * RESTS * STEPS / 8);
	KUNIT_EXPECT_GT(test, irqs, 0);
	/* All of them back, whoever had them. */
	for (w = shared->worker; w < shared->worker + shared->nr_workers; w++) {
		for (i = 0; i < OWN; i++)
			if (w->own[i])
				free_own(w, &w->own[i]);
		for (i = 0; i < IRQ_OWN; i++)
			if (w->irq_own[i])
				free_own(w, &w->irq_own[i]);
	}
	for (i = 0; i < RING; i++)
		if (shared->ring[i])
			free_own(shared->worker, &shared->ring[i]);
	compare(test, shared);
	pym_heap_shrink(shared->th->heap);
	for (i = 0; i < NR_CACHES; i++)
		add_cache(shared->cache[i], &caches);
	KUNIT_EXPECT_EQ(test, caches.cached, 0);
	KUNIT_EXPECT_EQ(test, caches.live, 0);
}

static const enum pymt_kind kinds[] = {
	PYMT_PAGES | PYMT_FRONTS, PYMT_VMALLOC | PYMT_FRONTS, PYMT_SPLIT | PYMT_FRONTS,
};

static void kind_desc(const enum pymt_kind *kind, char *desc)
{
	static const char * const names[] = {
		[PYMT_SPLIT] = "split", [PYMT_PAGES] = "pages", [PYMT_VMALLOC] = "vmalloc",
	};

	strscpy(desc, names[*kind & PYMT_KIND], KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(kinds, kinds, kind_desc);

static void run(struct kunit *test, enum pymt_kind kind, bool read)
{
	struct shared *shared = start(test, kind, read);
	unsigned int phase, i, readings = 0, broken = 0;

	for (phase = 0; phase < RESTS; phase++) {
		for (i = 0; read && !all_rest(shared, phase); i++) {
			broken += read_once(shared);
			readings++;
			if (i == 4)
				WRITE_ONCE(shared->due, 0);
			cond_resched();
		}
		wait_event(shared->wait, all_rest(shared, phase));
		compare(test, shared);
		shared->due = read ? RESTS : 0;
		WRITE_ONCE(shared->go, phase + 1);
		wake_up_all(&shared->wait);
	}
	finish(test, shared);
	if (read) {
		kunit_info(test, "%u readings\n", readings);
		KUNIT_EXPECT_GT(test, readings, 10);
		KUNIT_EXPECT_EQ_MSG(test, broken, 0, "readings that contradict themselves");
	}
}

static void all_cpus(struct kunit *test)
{
	run(test, *(const enum pymt_kind *)test->param_value, false);
}

static void all_cpus_and_a_reader(struct kunit *test)
{
	run(test, *(const enum pymt_kind *)test->param_value, true);
}

static const struct kunit_attributes slow = { .speed = KUNIT_SPEED_SLOW };

static struct kunit_case stress_cases[] = {
	KUNIT_CASE_PARAM_ATTR(all_cpus, kinds_gen_params, slow),
	KUNIT_CASE_PARAM_ATTR(all_cpus_and_a_reader, kinds_gen_params, slow),
	{}
};

static struct kunit_suite stress_suite = {
	.name = "pymalloc_stress",
	.init = pymt_init_bare,
	.exit = pymt_exit,
	.test_cases = stress_cases,
};

kunit_test_suites(&stress_suite);
