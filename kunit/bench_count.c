// SPDX-License-Identifier: GPL-2.0-only
/*
 * Patterns in instructions, on one CPU, or on two of which one works at a time.
 *
 * Under QEMU's -icount shift=0 the time stamp counter counts the instructions of
 * the guest, so a figure is the same in every run. Interrupts are off while a loop
 * is measured: what a tick does is nobody's. Both sides run the same loop, made
 * twice by the compiler with the calls of one allocator or the other in it; nothing
 * is subtracted, and the rows of "empty" are the same loops made a third time,
 * with no allocator in them.
 */
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/irqflags.h>
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/string.h>
#include <linux/timex.h>
#include "bench.h"

/* Blocks allocated and freed by a loop each time it is run. */
#define BLOCKS		8192

#define WINDOW		256
#define NR_ORDERS	8
#define NR_DRAWS	1024
static_assert(BLOCKS % WINDOW == 0 && BLOCKS % NR_DRAWS == 0);

static void *window[WINDOW];
static u8 orders[NR_ORDERS][WINDOW];	/* permutations */
static u16 draws_512[NR_DRAWS], draws_2048[NR_DRAWS];	/* sizes */

/* ------------------------------------------------------------ the clock -- */

static bool irqs_off;			/* not while warming up */
static unsigned long irq_flags;
static u64 started, ticks;

/*
 * What an allocation with GFP_KERNEL may do is sleep, and not with interrupts off;
 * but there is memory enough, and nobody else to run. A request with other flags
 * would take another way through SLUB than a user's.
 */
static __always_inline void clock_start(void)
{
	if (irqs_off)
		local_irq_save(irq_flags);
	started = get_cycles();
	barrier();
}

static __always_inline void clock_stop(void)
{
	barrier();
	ticks = get_cycles() - started;
	if (irqs_off)
		local_irq_restore(irq_flags);
}

/* Does the counter count instructions? This loop has two of them. */
static int clock_check(void)
{
#ifdef CONFIG_X86
	unsigned int i;

	irqs_off = true;
	/* Another CPU may be at work the first time. */
	for (i = 0; i < 10; i++) {
		unsigned long turns = 100000;

		clock_start();
		asm volatile("1:	decq	%[turns]\n"
			     "	jnz	1b\n"
			     : [turns] "+r" (turns) : : "cc");
		clock_stop();
		if (ticks >= 200000 && ticks < 200100)
			return 0;
		usleep_range(100, 200);
	}
	pr_err("200000 instructions took %llu ticks of the time stamp counter: boot with qemu -icount shift=0\n",
	       ticks);
#else
	pr_err("instructions are counted on x86-64 only: leave these patterns out\n");
#endif
	return -EOPNOTSUPP;
}

/* ------------------------------------------------------------- the loops -- */

/*
 * Each allocates and frees BLOCKS blocks; false if there was no memory. Arrays are
 * reached through pointers: kernels that check bounds would count that too.
 */

static __always_inline bool pair(const enum bench_api api, const enum bench_side side,
				 void *from, size_t size)
{
	unsigned int i;

	clock_start();
	for (i = 0; i < BLOCKS; i++) {
		void *p = bench_get(api, side, from, size);

		if (unlikely(!p))
			break;
		bench_put(api, side, from, p);
	}
	clock_stop();
	return i == BLOCKS;
}

static __always_inline bool pair_drawn(const enum bench_side side, void *from,
				       const u16 *sizes)
{
	unsigned int i;

	clock_start();
	for (i = 0; i < BLOCKS; i++) {
		void *p = bench_get(MALLOC, side, from, sizes[i % NR_DRAWS]);

		if (unlikely(!p))
			break;
		bench_put(MALLOC, side, from, p);
	}
	clock_stop();
	return i == BLOCKS;
}

/* Allocate @n, then free them, first things first. */
static __always_inline bool burst(const enum bench_side side, void *from, unsigned int n)
{
	void **blocks = window;
	unsigned int done, i;

	clock_start();
	for (done = 0; done < BLOCKS; done += n) {
		for (i = 0; i < n; i++) {
			blocks[i] = bench_get(CACHE, side, from, 0);
			if (unlikely(!blocks[i]))
				break;
		}
		if (unlikely(i < n)) {
			while (i)
				bench_put(CACHE, side, from, blocks[--i]);
			break;
		}
		for (i = 0; i < n; i++)
			bench_put(CACHE, side, from, blocks[i]);
	}
	clock_stop();
	return done >= BLOCKS;
}

/* The same, freed in an order that has nothing to do with that of allocation. */
static __always_inline bool shuffled(const enum bench_side side, void *from)
{
	void **blocks = window;
	unsigned int done, i;

	clock_start();
	for (done = 0; done < BLOCKS; done += WINDOW) {
		const u8 *order = orders[done / WINDOW % NR_ORDERS];

		for (i = 0; i < WINDOW; i++) {
			blocks[i] = bench_get(CACHE, side, from, 0);
			if (unlikely(!blocks[i]))
				break;
		}
		if (unlikely(i < WINDOW)) {
			while (i)
				bench_put(CACHE, side, from, blocks[--i]);
			break;
		}
		for (i = 0; i < WINDOW; i++)
			bench_put(CACHE, side, from, blocks[order[i]]);
	}
	clock_stop();
	return done == BLOCKS;
}

static __always_inline void empty_window(const enum bench_api api, const enum bench_side side,
					 void *from)
{
	void **blocks = window;
	unsigned int i;

	for (i = 0; i < WINDOW; i++) {
		if (blocks[i])
			bench_put(api, side, from, blocks[i]);
		blocks[i] = NULL;
	}
}

static __always_inline bool fill_window(const enum bench_api api, const enum bench_side side,
					void *from, const u16 *sizes)
{
	void **blocks = window;
	unsigned int i;

	memset(window, 0, sizeof(window));
	for (i = 0; i < WINDOW; i++) {
		blocks[i] = bench_get(api, side, from, sizes ? sizes[i] : 0);
		if (!blocks[i]) {
			empty_window(api, side, from);
			return false;
		}
	}
	return true;
}

/* Keep a window of blocks live: free the oldest, allocate another. */
static __always_inline bool fifo(const enum bench_api api, const enum bench_side side,
				 void *from, const u16 *sizes)
{
	void **blocks = window;
	unsigned int i;

	if (!fill_window(api, side, from, sizes))
		return false;
	clock_start();
	for (i = 0; i < BLOCKS; i++) {
		bench_put(api, side, from, blocks[i % WINDOW]);
		blocks[i % WINDOW] = bench_get(api, side, from, sizes ? sizes[i % NR_DRAWS] : 0);
		if (unlikely(!blocks[i % WINDOW]))
			break;
	}
	clock_stop();
	empty_window(api, side, from);
	return i == BLOCKS;
}

/* Go to the @nth CPU, and wait until the one that is left has nothing to do. */
static void go_to(unsigned int nth)
{
	unsigned int cpu = cpumask_first(cpu_online_mask);

	if (nth)
		cpu = cpumask_next(cpu, cpu_online_mask);
	set_cpus_allowed_ptr(current, cpumask_of(cpu));
	usleep_range(100, 200);
}

/* Allocate on one CPU, free on another. */
static __always_inline bool handover(const enum bench_side side, void *from)
{
	void **blocks = window;
	unsigned int done, i;
	u64 total = 0;

	for (done = 0; done < BLOCKS; done += WINDOW) {
		go_to(0);
		clock_start();
		for (i = 0; i < WINDOW; i++) {
			blocks[i] = bench_get(CACHE, side, from, 0);
			if (unlikely(!blocks[i]))
				break;
		}
		clock_stop();
		total += ticks;
		if (unlikely(i < WINDOW)) {
			while (i)
				bench_put(CACHE, side, from, blocks[--i]);
			break;
		}
		go_to(1);
		clock_start();
		for (i = 0; i < WINDOW; i++)
			bench_put(CACHE, side, from, blocks[i]);
		clock_stop();
		total += ticks;
	}
	ticks = total;
	return done == BLOCKS;
}

static __always_inline bool bulk(const enum bench_side side, void *from, unsigned int n)
{
	void **blocks = window;
	unsigned int done;

	clock_start();
	for (done = 0; done < BLOCKS; done += n) {
		if (side == PYM) {
			if (unlikely(!pym_cache_alloc_bulk(from, GFP_KERNEL, n, blocks)))
				break;
			pym_cache_free_bulk(from, n, blocks);
		} else if (side == PEER) {
			if (unlikely(!kmem_cache_alloc_bulk(from, GFP_KERNEL, n, blocks)))
				break;
			kmem_cache_free_bulk(from, n, blocks);
		} else {
			barrier_data(blocks);
		}
	}
	clock_stop();
	return done >= BLOCKS;
}

/* The size is a constant to the compiler, as it is in most calls of kmalloc(). */
static __always_inline bool pair_constant(const enum bench_side side, void *from, size_t size)
{
	switch (size) {
	case 16:
		return pair(MALLOC, side, from, 16);
	case 32:
		return pair(MALLOC, side, from, 32);
	case 64:
		return pair(MALLOC, side, from, 64);
	case 128:
		return pair(MALLOC, side, from, 128);
	case 192:
		return pair(MALLOC, side, from, 192);
	case 256:
		return pair(MALLOC, side, from, 256);
	case 512:
		return pair(MALLOC, side, from, 512);
	case 1024:
		return pair(MALLOC, side, from, 1024);
	case 2048:
		return pair(MALLOC, side, from, 2048);
	case 4096:
		return pair(MALLOC, side, from, 4096);
	}
	return false;
}

/* A function for each side, with the loop and the allocator's calls in it. */
#define LOOP(name, ...)								\
static noinline bool name##_pym(void *from, size_t size)			\
{										\
	const enum bench_side side = PYM;					\
										\
	return __VA_ARGS__;							\
}										\
static noinline bool name##_peer(void *from, size_t size)			\
{										\
	const enum bench_side side = PEER;					\
										\
	return __VA_ARGS__;							\
}										\
static noinline bool name##_none(void *from, size_t size)			\
{										\
	const enum bench_side side = NONE;					\
										\
	return __VA_ARGS__;							\
}

LOOP(pair_cache, pair(CACHE, side, from, size))
LOOP(pair_atomic, pair(ATOMIC, side, from, size))
LOOP(pair_zalloc, pair(ZALLOC, side, from, size))
LOOP(pair_malloc, pair_constant(side, from, size))
LOOP(pair_malloc_512, pair_drawn(side, from, draws_512))
LOOP(pair_malloc_2048, pair_drawn(side, from, draws_2048))
LOOP(burst_16, burst(side, from, 16))
LOOP(burst_64, burst(side, from, 64))
LOOP(burst_256, burst(side, from, 256))
LOOP(fifo_cache, fifo(CACHE, side, from, NULL))
LOOP(fifo_malloc_512, fifo(MALLOC, side, from, draws_512))
LOOP(fifo_malloc_2048, fifo(MALLOC, side, from, draws_2048))
LOOP(random_cache, shuffled(side, from))
LOOP(handover_256, handover(side, from))
LOOP(bulk_16, bulk(side, from, 16))
LOOP(bulk_64, bulk(side, from, 64))

/* ---------------------------------------------------------- the patterns -- */

enum which_sizes { EVERY, USUAL, MIXED };

#define RUN(loop) .run = { loop##_pym, loop##_peer, loop##_none }

static const struct pattern {
	const char *family;
	const char *name;
	const char *peer;
	const char *unit;
	bool (*run[NR_SIDES])(void *from, size_t size);
	enum bench_api api;
	enum which_sizes sizes;
	bool no_fronts;
	bool two_cpus;
} patterns[] = {
	{ "pair", "pair", "kmem_cache", "pair",
	  RUN(pair_cache), CACHE, EVERY },
	{ "pair", "pair, GFP_ATOMIC", "kmem_cache", "pair",
	  RUN(pair_atomic), ATOMIC, USUAL },
	{ "pair", "pair, without fronts", "kmem_cache", "pair",
	  RUN(pair_cache), CACHE, USUAL, .no_fronts = true },
	{ "zalloc", "zalloc pair", "kmem_cache", "pair",
	  RUN(pair_zalloc), ZALLOC, USUAL },
	{ "burst", "burst 16", "kmem_cache", "pair",
	  RUN(burst_16), CACHE, USUAL },
	{ "burst", "burst 64", "kmem_cache", "pair",
	  RUN(burst_64), CACHE, USUAL },
	{ "burst", "burst 256", "kmem_cache", "pair",
	  RUN(burst_256), CACHE, EVERY },
	{ "fifo", "fifo 256", "kmem_cache", "pair",
	  RUN(fifo_cache), CACHE, USUAL },
	{ "random", "random 256", "kmem_cache", "pair",
	  RUN(random_cache), CACHE, USUAL },
	{ "handover", "handover 256", "kmem_cache", "pair",
	  RUN(handover_256), CACHE, USUAL, .two_cpus = true },
	{ "bulk", "bulk 16", "kmem_cache_bulk", "block",
	  RUN(bulk_16), CACHE, USUAL },
	{ "bulk", "bulk 64", "kmem_cache_bulk", "block",
	  RUN(bulk_64), CACHE, USUAL },
	{ "malloc", "malloc pair", "kmalloc", "pair",
	  RUN(pair_malloc), MALLOC, USUAL },
	{ "malloc", "malloc pair, 8..512", "kmalloc", "pair",
	  RUN(pair_malloc_512), MALLOC, MIXED },
	{ "malloc", "malloc pair, 8..2048", "kmalloc", "pair",
	  RUN(pair_malloc_2048), MALLOC, MIXED },
	{ "malloc", "malloc fifo 256, 8..512", "kmalloc", "pair",
	  RUN(fifo_malloc_512), MALLOC, MIXED },
	{ "malloc", "malloc fifo 256, 8..2048", "kmalloc", "pair",
	  RUN(fifo_malloc_2048), MALLOC, MIXED },
};

static const struct pattern empty[] = {
	{ "empty", "empty pair", NULL, "pair", RUN(pair_cache) },
	{ "empty", "empty pair, 8..512", NULL, "pair", RUN(pair_malloc_512) },
	{ "empty", "empty burst 256", NULL, "pair", RUN(burst_256) },
	{ "empty", "empty fifo 256", NULL, "pair", RUN(fifo_cache) },
	{ "empty", "empty random 256", NULL, "pair", RUN(random_cache) },
	{ "empty", "empty bulk 16", NULL, "block", RUN(bulk_16) },
};

/*
 * Before a loop is measured it runs as often as it takes for either allocator to be
 * in its stride: a cache of ours gets its fronts after 16 allocations, which in a
 * draw of sizes each class must have seen.
 */
#define WARM_UPS	4
#define REPS		5

static int measure(const struct pattern *pattern, size_t size)
{
	struct bench_row row = {
		.pattern = pattern->name,
		.peer = pattern->peer,
		.unit = pattern->unit,
		.size = size,
		.cpus = pattern->two_cpus ? 2 : 1,
	};
	/* The empty loop alone, or the two allocators. */
	enum bench_side first = pattern->peer ? PYM : NONE, last = pattern->peer ? PEER : NONE;
	u64 values[NR_SIDES][REPS], spread;
	struct bench_subject s = { .from = { [NONE] = &s } };
	enum bench_side side;
	unsigned int i;
	int err = 0;

	if (pattern->peer)
		err = bench_subject_init(&s, pattern->api, size, !pattern->no_fronts);
	for (i = 0; !err && i < WARM_UPS + REPS; i++) {
		irqs_off = i >= WARM_UPS;
		for (side = first; !err && side <= last; side++) {
			/* Nobody waits for this CPU from here to the next tick. */
			cond_resched();
			if (!pattern->run[side](s.from[side], size))
				err = -ENOMEM;
			else if (i >= WARM_UPS)
				values[side][i - WARM_UPS] = ticks * 1000 / BLOCKS;
		}
	}
	bench_subject_exit(&s);
	for (side = first; !err && side <= last; side++) {
		row.value[side] = bench_median(values[side], REPS, &spread);
		row.spread = max(row.spread, spread);
	}
	return err ?: bench_add(&row);
}

static void draw_all(void)
{
	unsigned int i, j, k;

	for (i = 0; i < NR_DRAWS; i++) {
		draws_512[i] = 8 + bench_draw(512 - 8 + 1);
		draws_2048[i] = 8 + bench_draw(2048 - 8 + 1);
	}
	for (i = 0; i < NR_ORDERS; i++) {
		for (j = 0; j < WINDOW; j++)
			orders[i][j] = j;
		for (j = WINDOW - 1; j > 0; j--) {
			k = bench_draw(j + 1);
			swap(orders[i][j], orders[i][k]);
		}
	}
}

static bool by_default(const struct pattern *pattern, size_t size)
{
	return pattern->sizes == EVERY || size == 64 || size == 256;
}

/**
 * bench_count_run() - measure every pattern on one CPU that is wanted
 *
 * Return: 0 or an error.
 */
int bench_count_run(void)
{
	const struct pattern *pattern;
	static struct cpumask cpus;
	unsigned int i;
	int err;

	draw_all();
	cpumask_copy(&cpus, current->cpus_ptr);
	err = clock_check();
	for (pattern = empty; !err && pattern < empty + ARRAY_SIZE(empty); pattern++)
		if (num_online_cpus() == 1 && bench_wants(pattern->family))
			err = measure(pattern, 0);
	for (pattern = patterns; !err && pattern < patterns + ARRAY_SIZE(patterns); pattern++) {
		/* What one CPU does is clearest where there is no other. */
		if (!bench_wants(pattern->family) ||
		    pattern->two_cpus != (num_online_cpus() > 1))
			continue;
		if (pattern->sizes == MIXED) {
			err = measure(pattern, 0);
			continue;
		}
		for (i = 0; !err && i < BENCH_NR_SIZES; i++) {
			size_t size = bench_sizes[i];

			if (bench_wants_size(size, by_default(pattern, size)))
				err = measure(pattern, size);
		}
	}
	set_cpus_allowed_ptr(current, &cpus);
	return err;
}
