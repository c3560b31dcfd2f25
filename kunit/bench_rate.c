// SPDX-License-Identifier: GPL-2.0-only
/*
 * Patterns on several CPUs, in operations per second.
 *
 * Every CPU that takes part runs a thread of its own for a fixed time; the threads
 * begin together. The two allocators take turns, in an order that alternates, and
 * the median counts. Every block is written to by who allocates it, as users do.
 */
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/kernel.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/limits.h>
#include <linux/math64.h>
#include <linux/sched.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/string.h>
#include "bench.h"

/* A power of two each. */
#define TURN		512		/* operations between two looks at the clock */
#define RING		512
#define ARRAY		512
#define NR_DRAWS	4096
#define SPINS		128		/* before the clock is looked at */
#define PATIENCE	8		/* looks at the clock before going to sleep */

#define MAX_CPUS	16
#define MAX_REPS	101

/* From one CPU to another; each index is written by one of them. */
struct ring {
	u32 head ____cacheline_aligned;
	u32 tail_seen;			/* the producer's copy */
	u32 tail ____cacheline_aligned;
	u32 head_seen;			/* the consumer's copy */
	void *slot[RING] ____cacheline_aligned;
};

struct worker {
	bool (*turn)(struct worker *w);	/* false: no memory, or a block is not ours */
	void *from;
	struct ring *ring;		/* producer and consumer */
	void **array;			/* larson: ARRAY blocks, for the time being */
	unsigned int index;		/* which of the team */
	unsigned int drawn;		/* larson: draws so far */
	unsigned int handed;		/* larson: arrays handed on so far */
	unsigned int waited;		/* turns in which the other end did nothing */
	u64 ops;
	u64 ns;
	u32 scratch;			/* the only block of nobody's allocator */
	bool failed;
	struct task_struct *task;
	struct completion done;
} ____cacheline_aligned;

static struct worker workers[MAX_CPUS];
static unsigned int team;		/* how many of them there are in this run */
static atomic_t ready;

static struct ring *rings;		/* one for two CPUs */
static void **arrays[2 * MAX_CPUS];	/* two for each CPU: one is being handed on */
static void **mailbox[MAX_CPUS];	/* arrays between two neighbours */
static struct {
	u16 index;
	u16 size;
} draws[NR_DRAWS];

/* ------------------------------------------------------------- the turns -- */

static __always_inline bool pairs(const enum bench_side side, struct worker *w)
{
	void *from = w->from;
	unsigned int i;

	for (i = 0; i < TURN; i++) {
		unsigned int *p = bench_get(CACHE, side, from, 0);

		if (unlikely(!p))
			return false;
		WRITE_ONCE(*p, i);
		bench_put(CACHE, side, from, p);
	}
	w->ops += TURN;
	return true;
}

static __always_inline bool produce(const enum bench_side side, struct worker *w)
{
	struct ring *ring = w->ring;
	void *from = w->from;
	u32 head = ring->head;
	unsigned int i, spins;

	for (i = 0; i < TURN; i++) {
		unsigned int *p;

		for (spins = 0; head - ring->tail_seen == RING; spins++) {
			if (spins == SPINS) {
				w->waited = i ? 0 : w->waited + 1;
				return true;
			}
			if (spins)
				cpu_relax();
			/* Pairs with the release in consume(). */
			ring->tail_seen = smp_load_acquire(&ring->tail);
		}
		p = bench_get(CACHE, side, from, 0);
		if (unlikely(!p))
			return false;
		WRITE_ONCE(*p, head);
		ring->slot[head % RING] = p;
		/* Pairs with the acquire in consume(). */
		smp_store_release(&ring->head, ++head);
	}
	return true;
}

static __always_inline bool consume(const enum bench_side side, struct worker *w)
{
	struct ring *ring = w->ring;
	void *from = w->from;
	u32 tail = ring->tail;
	unsigned int i, spins;

	for (i = 0; i < TURN; i++) {
		unsigned int *p;

		for (spins = 0; tail == ring->head_seen; spins++) {
			if (spins == SPINS) {
				w->waited = i ? 0 : w->waited + 1;
				return true;
			}
			if (spins)
				cpu_relax();
			/* Pairs with the release in produce(). */
			ring->head_seen = smp_load_acquire(&ring->head);
		}
		p = ring->slot[tail % RING];
		if (unlikely(READ_ONCE(*p) != tail))
			return false;
		bench_put(CACHE, side, from, p);
		/* Pairs with the acquire in produce(). */
		smp_store_release(&ring->tail, ++tail);
		w->ops++;
	}
	return true;
}

static __always_inline bool larson(const enum bench_side side, struct worker *w)
{
	void **array = w->array;
	void *from = w->from;
	unsigned int i, box;

	for (i = 0; i < TURN; i++) {
		unsigned int n = w->drawn++ % NR_DRAWS;
		void **entry = &array[draws[n].index];

		bench_put(MALLOC, side, from, *entry);
		*entry = bench_get(MALLOC, side, from, draws[n].size);
		if (unlikely(!*entry))
			return false;
		WRITE_ONCE(*(unsigned int *)*entry, n);
	}
	w->ops += TURN;
	/*
	 * Into the mailbox shared with the next CPU, then the one shared with the
	 * one before, and so on; what was there is mine now. Nobody waits.
	 */
	box = (w->index + w->handed++ % 2) % team;
	w->array = xchg(&mailbox[box], array);
	return true;
}

/* A function for each allocator. */
#define TURNS(name)								\
static noinline bool name##_pym(struct worker *w)				\
{										\
	return name(PYM, w);							\
}										\
static noinline bool name##_peer(struct worker *w)				\
{										\
	return name(PEER, w);							\
}

static noinline bool pairs_none(struct worker *w)
{
	return pairs(NONE, w);
}

TURNS(pairs)
TURNS(produce)
TURNS(consume)
TURNS(larson)

static bool (* const pairs_of[])(struct worker *w) = { pairs_pym, pairs_peer, pairs_none };
static bool (* const produce_of[])(struct worker *w) = { produce_pym, produce_peer };
static bool (* const consume_of[])(struct worker *w) = { consume_pym, consume_peer };
static bool (* const larson_of[])(struct worker *w) = { larson_pym, larson_peer };

/* --------------------------------------------------------------- the team -- */

static unsigned int run_ms;

static int work(void *data)
{
	struct worker *w = data;
	u64 start, now, end;

	atomic_inc(&ready);
	while (atomic_read(&ready) < team) {
		cpu_relax();
		cond_resched();
	}
	start = ktime_get_ns();
	end = start + (u64)run_ms * NSEC_PER_MSEC;
	do {
		if (!w->turn(w)) {
			w->failed = true;
			break;
		}
		/*
		 * The other CPU is not being emulated at present, for want of a
		 * CPU of the host: let it have mine.
		 */
		if (w->waited > PATIENCE) {
			usleep_range(20, 50);
			w->waited = 0;
		}
		cond_resched();
		now = ktime_get_ns();
	} while (now < end);
	w->ns = ktime_get_ns() - start;
	complete(&w->done);
	return 0;
}

/* Let the team work; sums what its members did, in thousandths per second. */
static int run_team(u64 *rate)
{
	unsigned int i, cpu = 0;
	int err = 0;

	atomic_set(&ready, 0);
	for (i = 0; i < team; i++, cpu++) {
		struct worker *w = &workers[i];

		cpu = cpumask_next((int)cpu - 1, cpu_online_mask);
		init_completion(&w->done);
		w->ops = 0;
		w->waited = 0;
		w->failed = false;
		w->task = kthread_create_on_cpu(work, w, cpu, "pym_bench/%u");
		if (IS_ERR(w->task)) {
			err = PTR_ERR(w->task);
			break;
		}
		get_task_struct(w->task);
	}
	*rate = 0;
	if (err) {
		/* They have not begun, and never will. */
		while (i--) {
			kthread_stop(workers[i].task);
			put_task_struct(workers[i].task);
		}
		return err;
	}
	for (i = 0; i < team; i++)
		wake_up_process(workers[i].task);
	for (i = 0; i < team; i++) {
		struct worker *w = &workers[i];

		wait_for_completion(&w->done);
		kthread_stop(w->task);
		put_task_struct(w->task);
		*rate += div64_u64(w->ops * NSEC_PER_SEC, div_u64(w->ns, 1000) ?: 1);
		if (w->failed)
			err = -ENOMEM;
	}
	return err;
}

/* ---------------------------------------------------------- the patterns -- */

static int run_pairs(const struct bench_subject *s, enum bench_side side, u64 *rate)
{
	unsigned int i;

	for (i = 0; i < team; i++) {
		workers[i].turn = pairs_of[side];
		workers[i].from = side == NONE ? &workers[i].scratch : s->from[side];
	}
	return run_team(rate);
}

static int run_producer(const struct bench_subject *s, enum bench_side side, u64 *rate)
{
	unsigned int i;
	int err;

	for (i = 0; i < team; i++) {
		workers[i].turn = i % 2 ? consume_of[side] : produce_of[side];
		workers[i].from = s->from[side];
		workers[i].ring = &rings[i / 2];
	}
	memset(rings, 0, team / 2 * sizeof(*rings));
	err = run_team(rate);
	for (i = 0; i < team / 2; i++)
		while (rings[i].tail != rings[i].head)
			bench_put(CACHE, side, s->from[side],
				  rings[i].slot[rings[i].tail++ % RING]);
	return err;
}

static int run_larson(const struct bench_subject *s, enum bench_side side, u64 *rate)
{
	unsigned int i, j;
	int err;

	for (i = 0; i < 2 * team; i++) {
		for (j = 0; j < ARRAY; j++) {
			arrays[i][j] = bench_get(MALLOC, side, s->from[side],
						 draws[(i * ARRAY + j) % NR_DRAWS].size);
			/* Its free is one of nothing then. */
			WARN_ON_ONCE(!arrays[i][j]);
		}
	}
	for (i = 0; i < team; i++) {
		workers[i].turn = larson_of[side];
		workers[i].from = s->from[side];
		workers[i].array = arrays[i];
		workers[i].drawn = i * NR_DRAWS / team;
		workers[i].handed = 0;
		mailbox[i] = arrays[team + i];
	}
	err = run_team(rate);
	for (i = 0; i < 2 * team; i++) {
		for (j = 0; j < ARRAY; j++) {
			bench_put(MALLOC, side, s->from[side], arrays[i][j]);
			arrays[i][j] = NULL;
		}
	}
	return err;
}

static const struct pattern {
	const char *family;
	const char *name;
	const char *peer;
	int (*run)(const struct bench_subject *s, enum bench_side side, u64 *rate);
	enum bench_api api;
	bool on_one;			/* and on one CPU, to see how it scales */
} patterns[] = {
	/* What the machine itself loses: a host that is busy shows here. */
	{ NULL, "empty loop", NULL, run_pairs, CACHE, true },
	{ "pairs", "pairs on every CPU", "kmem_cache", run_pairs, CACHE, true },
	{ "producer", "producer and consumer", "kmem_cache", run_producer, CACHE },
	{ "larson", "larson, 16..512", "kmalloc", run_larson, MALLOC },
};

/* By side, and by whether one CPU worked or all. */
static u64 rates[NR_SIDES][2][MAX_REPS];

/* Sums up the repetitions: a row, and how much of it each CPU lost to the others. */
static int add_rows(const struct pattern *pattern, size_t size, unsigned int cpus)
{
	struct bench_row row = {
		.pattern = pattern->name,
		.peer = pattern->peer,
		.unit = "ops/s",
		.size = size,
		.cpus = cpus,
	}, one = row, scale = row;
	enum bench_side side;
	u64 spread;
	int err;

	one.pattern = "pairs on one CPU";
	scale.pattern = pattern->peer ? "pairs, scaling per CPU" : "empty loop, scaling per CPU";
	scale.unit = "ratio";
	for (side = 0; side < NR_SIDES; side++) {
		row.value[side] = bench_median(rates[side][false], bench_reps, &spread);
		row.spread = max(row.spread, spread);
		if (!pattern->on_one)
			continue;
		one.value[side] = bench_median(rates[side][true], bench_reps, &spread);
		one.spread = max(one.spread, spread);
		if (one.value[side])
			scale.value[side] = div64_u64(row.value[side] * 1000 / cpus,
						      one.value[side]);
	}
	scale.spread = max(row.spread, one.spread);
	if (!pattern->peer)
		return bench_add(&scale);
	err = pattern->on_one ? bench_add(&one) : 0;
	if (!err)
		err = bench_add(&row);
	if (!err && pattern->on_one)
		err = bench_add(&scale);
	return err;
}

static int measure(const struct pattern *pattern, size_t size, unsigned int cpus)
{
	enum bench_side side;
	struct bench_subject s;
	unsigned int i, j;
	int err, one;

	memset(rates, 0, sizeof(rates));
	err = bench_subject_init(&s, pattern->api, size ?: 64, true);
	/* The first time is for warming up. */
	for (i = 0; !err && i <= bench_reps; i++) {
		run_ms = i ? bench_ms : min(bench_ms, 100U);
		for (one = pattern->on_one; !err && one >= 0; one--) {
			team = one ? 1 : cpus;
			for (j = 0; !err && j < 2; j++) {
				side = (i + j) % 2 ? PYM : PEER;
				if (!pattern->peer) {
					side = NONE;
					j++;
				}
				err = pattern->run(&s, side, &rates[side][one][i ? i - 1 : 0]);
			}
		}
	}
	bench_subject_exit(&s);
	return err ?: add_rows(pattern, size, cpus);
}

/**
 * bench_rate_run() - measure every pattern on all CPUs that is wanted
 *
 * Return: 0 or an error.
 */
int bench_rate_run(void)
{
	unsigned int cpus = num_online_cpus() & ~1U, i;
	const struct pattern *pattern;
	int err = 0;

	if (cpus < 2 || cpus > MAX_CPUS) {
		pr_err("%u CPUs are online; rates are measured on 2 to %d\n",
		       num_online_cpus(), MAX_CPUS);
		return -EINVAL;
	}
	if (bench_reps > MAX_REPS || bench_reps % 2 == 0 || !bench_ms) {
		pr_err("reps=%u must be odd and at most %d, ms=%u not 0\n", bench_reps, MAX_REPS,
		       bench_ms);
		return -EINVAL;
	}
	for (i = 0; i < NR_DRAWS; i++) {
		draws[i].index = bench_draw(ARRAY);
		draws[i].size = 16 + bench_draw(512 - 16 + 1);
	}
	rings = kcalloc(cpus / 2, sizeof(*rings), GFP_KERNEL);
	if (!rings)
		err = -ENOMEM;
	for (i = 0; !err && i < 2 * cpus; i++) {
		arrays[i] = kcalloc(ARRAY, sizeof(**arrays), GFP_KERNEL);
		if (!arrays[i])
			err = -ENOMEM;
	}
	for (pattern = patterns; !err && pattern < patterns + ARRAY_SIZE(patterns); pattern++) {
		if (pattern->peer && !bench_wants(pattern->family))
			continue;
		if (pattern->api == MALLOC || !pattern->peer)
			err = measure(pattern, 0, cpus);
		else
			for (i = 0; !err && i < BENCH_NR_SIZES; i++)
				if (bench_wants_size(bench_sizes[i], bench_sizes[i] == 64))
					err = measure(pattern, bench_sizes[i], cpus);
	}
	for (i = 0; i < 2 * cpus; i++)
		kfree(arrays[i]);
	kfree(rings);
	return err;
}
