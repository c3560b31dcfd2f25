/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the benchmark share: how a heap and two caches are made for
 * a row, which side of a row is running, and where figures go.
 */
#ifndef _PYM_BENCH_H
#define _PYM_BENCH_H

#include <linux/slab.h>
#include <linux/types.h>
#include <pymalloc/pymalloc.h>

#undef pr_fmt
#define pr_fmt(fmt) "pymalloc_bench: " fmt

/* Block sizes that can be asked for. */
#define BENCH_NR_SIZES		10

/* How a heap is asked for fronts, and how for none: here and nowhere else. */
#define BENCH_FRONTS		0
#define BENCH_NO_FRONTS		PYM_HEAP_NO_FRONTS

/*
 * A cache of ours is never merged with another, so neither is the one beside it,
 * where the kernel can be asked for that (since Linux 6.5).
 */
#ifdef SLAB_NO_MERGE
#define BENCH_SLAB_FLAGS	SLAB_NO_MERGE
#else
#define BENCH_SLAB_FLAGS	0
#endif

/* NONE takes the place of both allocators to see what a loop costs without. */
enum bench_side { PYM, PEER, NONE, NR_SIDES };

/*
 * CACHE, ATOMIC, ZALLOC: pym_cache_*() and kmem_cache_*(). MALLOC: pym_malloc() and
 * kmalloc(). All with GFP_KERNEL but ATOMIC.
 */
enum bench_api { CACHE, ATOMIC, ZALLOC, MALLOC };

/*
 * One block. With a constant @api and @side this is one call of the function that
 * a user would write, and nothing else.
 */
static __always_inline void *bench_get(const enum bench_api api, const enum bench_side side,
				       void *from, size_t size)
{
	void *p = from;

	if (side == NONE) {
		OPTIMIZER_HIDE_VAR(p);
		return p;
	}
	switch (api) {
	case CACHE:
		return side == PYM ? pym_cache_alloc(from, GFP_KERNEL) :
				     kmem_cache_alloc(from, GFP_KERNEL);
	case ATOMIC:
		return side == PYM ? pym_cache_alloc(from, GFP_ATOMIC) :
				     kmem_cache_alloc(from, GFP_ATOMIC);
	case ZALLOC:
		return side == PYM ? pym_cache_zalloc(from, GFP_KERNEL) :
				     kmem_cache_zalloc(from, GFP_KERNEL);
	case MALLOC:
		return side == PYM ? pym_malloc(from, size, GFP_KERNEL) :
				     kmalloc(size, GFP_KERNEL);
	}
	return NULL;
}

static __always_inline void bench_put(const enum bench_api api, const enum bench_side side,
				      void *from, void *p)
{
	if (side == NONE)
		barrier_data(p);
	else if (api == MALLOC && side == PYM)
		pym_free(p);
	else if (api == MALLOC)
		kfree(p);
	else if (side == PYM)
		pym_cache_free(from, p);
	else
		kmem_cache_free(from, p);
}

/*
 * What a row is measured with: a heap and a cache of its own on either side, made
 * for it, so that no row depends on which others have run. from[] is what
 * bench_get() takes.
 */
struct bench_subject {
	struct pym_heap *heap;
	struct pym_cache *cache;
	struct kmem_cache *slab;
	void *from[NR_SIDES];
};

int bench_subject_init(struct bench_subject *s, enum bench_api api, size_t size, bool fronts);
void bench_subject_exit(struct bench_subject *s);

/* Figures are in thousandths: an instruction, an operation per second, a ratio. */
struct bench_row {
	const char *pattern;
	const char *peer;
	const char *unit;
	size_t size;			/* 0: of many sizes, or of none */
	unsigned int cpus;
	u64 value[NR_SIDES];
	u64 spread;			/* highest less lowest of all repetitions, 1/1000 */
};

/* Is this family of patterns, and this size, to be measured? */
bool bench_wants(const char *family);
bool bench_wants_size(size_t size, bool by_default);

extern unsigned int bench_reps, bench_ms;

int bench_add(const struct bench_row *row);
u64 bench_median(u64 *values, unsigned int n, u64 *spread);

int bench_count_run(void);
int bench_rate_run(void);

/* The same numbers in every run, on every kernel. */
u32 bench_draw(u32 below);

extern const size_t bench_sizes[BENCH_NR_SIZES];

#endif /* _PYM_BENCH_H */
