// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is filled and emptied: how much is held then, and what comes back.
 *
 * "At once" means that nothing has slept since the last free. A turnover is as many
 * replacements as blocks are live: one that is picked at random, with repetition, is
 * freed, and another is allocated.
 */
#include <linux/delay.h>
#include <linux/kernel.h>
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/sched.h>
#include <linux/sizes.h>
#include <linux/string.h>
#include <linux/vmalloc.h>
#include "bench_memory.h"

/* --------------------------------------------------------------- samples -- */

static void sample(const struct bm_subject *s, const char *phase, unsigned int progress,
		   u64 live)
{
	bm_line("sample %s %s %u %llu %llu\n", bm_names[s->who], phase, progress, bm_held(s),
		live);
}

/* Sampling does not shift what comes after: not later than @ms from @start. */
static void sleep_until(ktime_t start, unsigned int ms)
{
	s64 us = (s64)ms * USEC_PER_MSEC - ktime_us_delta(ktime_get(), start);

	if (us > 0)
		usleep_range(us, us + 100);
}

/* --------------------------------------------------------- uniform sizes -- */

#define SMALL_LIVE	500000U
#define LARGE_LIVE	200000U

static int fill_uniform(const struct bm_subject *s, size_t largest, bool rounded, void **blocks,
			unsigned int n)
{
	u64 filled = 0, asked = 0;
	struct rnd_state rnd;
	unsigned int i;
	int err = 0;

	bm_seed(&rnd);
	for (i = 0; i < n; i++) {
		size_t size = 1 + bm_draw(&rnd, largest);

		asked += size;
		if (rounded)
			size = ALIGN(size, 8);
		filled += size;
		blocks[i] = bm_get(s, size);
		if (!blocks[i]) {
			err = -ENOMEM;
			break;
		}
		if (!(i % 4096))
			cond_resched();
	}
	if (!err) {
		u64 held = bm_pages(s);

		bm_row(s->who, "ratio", bm_millionths(held, filled),
		       "held / requested, %u blocks of 1..%zu B%s", n, largest,
		       rounded ? ", 8-byte fill" : "");
		bm_row(s->who, "ratio", bm_millionths(bm_held(s), filled),
		       "held / requested, %u blocks of 1..%zu B%s, with metadata", n, largest,
		       rounded ? ", 8-byte fill" : "");
		if (rounded)
			bm_row(s->who, "ratio", bm_millionths(held, asked),
			       "held / requested, %u blocks of 1..%zu B, fill as drawn", n,
			       largest);
		err = bm_cross_check(s, "filled with blocks of uniform sizes");
	}
	/* The same sizes once more, to know where each block belongs. */
	n = i;
	bm_seed(&rnd);
	for (i = 0; i < n; i++) {
		size_t size = 1 + bm_draw(&rnd, largest);

		bm_put(s, blocks[i], rounded ? ALIGN(size, 8) : size);
		if (!(i % 4096))
			cond_resched();
	}
	return err;
}

static int uniform(size_t largest, bool rounded, unsigned int n)
{
	static const enum bm_who everyone[] = { BM_PYM_MALLOC, BM_KMEM_CACHE, BM_KMALLOC };
	void **blocks = vmalloc_array(n, sizeof(*blocks));
	struct bm_subject *s = kzalloc(sizeof(*s), GFP_KERNEL);
	unsigned int i;
	int err = blocks && s ? 0 : -ENOMEM;

	for (i = 0; !err && i < ARRAY_SIZE(everyone); i++) {
		err = bm_subject_init(s, everyone[i], 0, largest);
		if (!err)
			err = fill_uniform(s, largest, rounded, blocks, n);
		bm_subject_exit(s);
	}
	kfree(s);
	vfree(blocks);
	return err;
}

static int uniform_512(void)
{
	return uniform(512, true, SMALL_LIVE);
}

static int uniform_2048(void)
{
	return uniform(2048, false, LARGE_LIVE);
}

/* ------------------------------------------------------- blocks of one size -- */

/* For everyone in turn: fill, do something with the blocks, free what is left. */
static int with_blocks(size_t size, unsigned int n,
		       int (*run)(const struct bm_subject *s, void **blocks, unsigned int *n))
{
	void **blocks = vmalloc_array(n, sizeof(*blocks));
	struct bm_subject *s = kzalloc(sizeof(*s), GFP_KERNEL);
	int err = blocks && s ? 0 : -ENOMEM;
	enum bm_who who;

	for (who = 0; !err && who < BM_NR_WHO; who++) {
		unsigned int live = 0;

		err = bm_subject_init(s, who, size, size);
		if (!err) {
			live = n;
			err = run(s, blocks, &live);
		}
		bm_empty(s, blocks, live);
		bm_subject_exit(s);
	}
	kfree(s);
	vfree(blocks);
	return err;
}

#define SAMPLES		20		/* while blocks are allocated or freed */

static int fill_all(const struct bm_subject *s, void **blocks, unsigned int *n, bool sampled)
{
	unsigned int want = *n, part = want / SAMPLES, i;

	for (*n = 0; *n < want; *n += i) {
		i = bm_fill(s, blocks + *n, part);
		if (i < part) {
			*n += i;
			return -ENOMEM;
		}
		if (sampled)
			sample(s, "grow", *n + i, (u64)(*n + i) * s->size);
	}
	return 0;
}

/* Leaves the first @left of shuffled blocks: a random choice, freed in random order. */
static void free_most(const struct bm_subject *s, void **blocks, unsigned int *n,
		      unsigned int left, bool sampled)
{
	unsigned int all = *n, part = all / SAMPLES;

	while (*n > left) {
		unsigned int some = min(part, *n - left);

		*n -= some;
		bm_empty(s, blocks + *n, some);
		if (sampled)
			sample(s, "free", all - *n, (u64)*n * s->size);
	}
}

/* Per cent of what was held before that have come back. */
static u64 came_back(u64 now, u64 before)
{
	return now < before ? bm_millionths((before - now) * 100, before) : 0;
}

static int survive(const struct bm_subject *s, void **blocks, unsigned int *n)
{
	static const char metric[] = "pages back, random 1/1000 of 1000000 x 64 B left";
	unsigned int all = *n, ms;
	ktime_t start;
	u64 before, before_all;
	int err;

	err = fill_all(s, blocks, n, false) ?: bm_cross_check(s, "filled, before most are freed");
	if (err)
		return err;
	before = bm_pages(s);
	before_all = bm_held(s);
	/* Blocks of 64 bytes, as many as pools hold. */
	bm_row(s->who, "%", bm_millionths((before_all - before) * 100, before_all),
	       "metadata, 1000000 x 64 B live");
	bm_shuffle(blocks, all);
	free_most(s, blocks, n, all / 1000, false);
	start = ktime_get();
	bm_row(s->who, "%", came_back(bm_pages(s), before), "%s, at once", metric);
	for (ms = 0; ms < 2000; ms += 100) {
		sample(s, "survivors", ms, (u64)*n * s->size);
		sleep_until(start, ms + 100);
	}
	bm_row(s->who, "%", came_back(bm_pages(s), before), "%s, after 2 s", metric);
	bm_row(s->who, "%", came_back(bm_held(s), before_all), "%s, after 2 s, with metadata",
	       metric);
	return bm_cross_check(s, "two seconds after all but 1/1000 were freed");
}

static int survivors(void)
{
	return with_blocks(64, BM_MILLION, survive);
}

static int turn_over(const struct bm_subject *s, void **blocks, unsigned int n,
		     struct rnd_state *rnd)
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		void **block = &blocks[bm_draw(rnd, n)];

		bm_put(s, *block, s->size);
		*block = bm_get(s, s->size);
		if (!*block) {
			/* Keep the live ones together, for who frees them. */
			swap(*block, blocks[n - 1]);
			return -ENOMEM;
		}
		if (!(i % 4096))
			cond_resched();
	}
	return 0;
}

#define TURNOVERS	20
#define IDLE_MS		5000
#define IDLE_STEP_MS	250

static void tell_held(const struct bm_subject *s, unsigned int all, u64 live, unsigned int turns)
{
	bm_row(s->who, "ratio", bm_millionths(bm_pages(s), live),
	       "held / live, %u x %zu B dropped to 1 %%, %u turnovers", all, s->size, turns);
	bm_row(s->who, "ratio", bm_millionths(bm_held(s), live),
	       "held / live, %u x %zu B dropped to 1 %%, %u turnovers, with metadata", all,
	       s->size, turns);
}

static int churn(const struct bm_subject *s, void **blocks, unsigned int *n)
{
	unsigned int all = *n, turns, ms;
	struct rnd_state rnd;
	ktime_t start;
	bool sampled = s->size == 64;
	u64 live;
	int err;

	err = fill_all(s, blocks, n, sampled);
	if (err)
		return err;
	bm_shuffle(blocks, all);
	free_most(s, blocks, n, all / 100, sampled);
	live = (u64)*n * s->size;
	bm_seed(&rnd);
	for (turns = 0; turns <= TURNOVERS; turns++) {
		err = turns ? turn_over(s, blocks, *n, &rnd) : 0;
		if (err) {
			--*n;
			return err;
		}
		if (sampled && turns)
			sample(s, "churn", turns, live);
		if (turns == 0 || turns == 1 || turns == 5 || turns == TURNOVERS)
			tell_held(s, all, live, turns);
	}
	start = ktime_get();
	for (ms = IDLE_STEP_MS; sampled && ms <= IDLE_MS; ms += IDLE_STEP_MS) {
		sleep_until(start, ms);
		sample(s, "idle", ms, live);
	}
	return bm_cross_check(s, "after turnovers");
}

static int churn_64(void)
{
	return with_blocks(64, BM_MILLION, churn);
}

static int churn_256(void)
{
	return with_blocks(256, 200000, churn);
}

/* ---------------------------------------------------------- waste by size -- */

#define WASTE_LARGEST	4096
#define WASTE_BYTES	SZ_1M
#define WASTE_MOST	(WASTE_BYTES / BM_STEP)

/*
 * What a request of each size costs, when there are many. The room that a peer has
 * left is used up before; of ours what holds no block is given back, which leaves the
 * last pool to be inexact by.
 */
static int waste_of(struct bm_subject *s, enum bm_who who, size_t size, void **blocks)
{
	unsigned int n = WASTE_BYTES / size, live;
	u64 empty, each;
	int err;

	err = bm_subject_init(s, who, size, who == BM_KMALLOC ? size : 0);
	if (!err) {
		empty = bm_held(s);
		live = bm_fill(s, blocks, n);
		if (s->heap)
			pym_heap_shrink(s->heap);
		each = div_u64((bm_held(s) - empty) * 1000, n);
		if (live < n)
			err = -ENOMEM;
		else
			bm_line("waste %s %zu %llu.%03llu\n", bm_names[who], size,
				each / 1000, each % 1000);
		bm_empty(s, blocks, live);
	}
	bm_subject_exit(s);
	return err;
}

/* A heap that is gone is freed up to 5 seconds later, and hundreds of them are seen. */
#define HEAPS_GONE_MS	6000

static int waste(void)
{
	static const enum bm_who everyone[] = { BM_PYM_MALLOC, BM_KMALLOC };
	void **blocks = vmalloc_array(WASTE_MOST, sizeof(*blocks));
	struct bm_subject *s = kzalloc(sizeof(*s), GFP_KERNEL);
	int err = blocks && s ? 0 : -ENOMEM;
	unsigned int i;
	size_t size;

	for (i = 0; i < ARRAY_SIZE(everyone); i++) {
		for (size = BM_STEP; !err && size <= WASTE_LARGEST; size += BM_STEP)
			err = waste_of(s, everyone[i], size, blocks);
		msleep(HEAPS_GONE_MS);
	}
	kfree(s);
	vfree(blocks);
	return err;
}

/* ------------------------------------------------------- for the pictures -- */

/*
 * A heap that is left as it is after each step, so that its map can be read: full,
 * all but 1 % freed, and after turnovers and some time.
 */
#define MAP_BLOCKS	250000U

static struct {
	struct bm_subject s;
	void **blocks;
	unsigned int n;
} map;

static void map_drop(void)
{
	if (map.blocks)
		bm_empty(&map.s, map.blocks, map.n);
	bm_subject_exit(&map.s);
	vfree(map.blocks);
	map.blocks = NULL;
	map.n = 0;
}

static int map_full(void)
{
	int err;

	map_drop();
	map.blocks = vmalloc_array(MAP_BLOCKS, sizeof(*map.blocks));
	if (!map.blocks)
		return -ENOMEM;
	err = bm_subject_init(&map.s, BM_PYM_CACHE, 64, 0);
	if (err)
		return err;
	map.n = MAP_BLOCKS;
	return fill_all(&map.s, map.blocks, &map.n, false);
}

static int map_freed(void)
{
	if (map.n != MAP_BLOCKS)
		return -EINVAL;
	bm_shuffle(map.blocks, map.n);
	free_most(&map.s, map.blocks, &map.n, MAP_BLOCKS / 100, false);
	return 0;
}

static int map_churned(void)
{
	struct rnd_state rnd;
	unsigned int turns;
	int err = 0;

	if (map.n != MAP_BLOCKS / 100)
		return -EINVAL;
	bm_seed(&rnd);
	for (turns = 0; !err && turns < TURNOVERS; turns++)
		err = turn_over(&map.s, map.blocks, map.n, &rnd);
	if (err)
		map.n--;
	msleep(IDLE_MS);
	return err;
}

static int map_end(void)
{
	map_drop();
	return 0;
}

const struct bm_step bm_fill_steps[] = {
	{ "uniform-512", uniform_512 },
	{ "uniform-2048", uniform_2048 },
	{ "survivors", survivors },
	{ "churn-64", churn_64 },
	{ "churn-256", churn_256 },
	{ "waste", waste },
	{ "map-full", map_full },
	{ "map-freed", map_freed },
	{ "map-churned", map_churned },
	{ "map-end", map_end },
	{}
};

void bm_fill_exit(void)
{
	map_drop();
}
