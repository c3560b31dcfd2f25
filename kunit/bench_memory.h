/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the memory benchmark share: who is measured, how much memory it
 * holds as the kernel counts it, and where figures go.
 */
#ifndef _PYM_BENCH_MEMORY_H
#define _PYM_BENCH_MEMORY_H

#include <linux/math64.h>
#include <linux/prandom.h>
#include <linux/slab.h>
#include <linux/types.h>
#include <pymalloc/pymalloc.h>

#undef pr_fmt
#define pr_fmt(fmt) "pymalloc_memory: " fmt

/* Blocks in the largest workload. */
#define BM_MILLION	1000000U

/* Cache is compared with cache, and any size with any size. */
enum bm_who { BM_PYM_CACHE, BM_PYM_MALLOC, BM_KMEM_CACHE, BM_KMALLOC, BM_NR_WHO };

extern const char * const bm_names[BM_NR_WHO];

/*
 * Caches of ours are never merged with others, so neither are the peers. Before
 * Linux 6.5 a kernel cannot be asked for that; but a cache that kmemleak is not to
 * trace is not merged either, and differs in nothing else.
 */
#ifdef SLAB_NO_MERGE
#define BM_SLAB_FLAGS	SLAB_NO_MERGE
#else
#define BM_SLAB_FLAGS	SLAB_NOLEAKTRACE
#endif

/* The caches of SLUB are told apart by the size of their blocks. */
#define BM_SLAB_NAME	"pymalloc_memory-%zu"

/* For requests of many sizes SLUB gets a cache for every 8 bytes up to the largest. */
#define BM_STEP		8
#define BM_MAX_SLABS	256

/* Pages, as the kernel counts them. */
struct bm_pages {
	long slab;			/* SLUB's, large kmalloc() blocks included */
	long free;			/* free, those on per-CPU lists included */
};

/* Who is measured, with memory of its own made for the occasion. */
struct bm_subject {
	enum bm_who who;
	size_t size;			/* of the blocks of a cache; 0: of many sizes */
	struct pym_heap *heap;
	struct pym_cache *cache;
	struct kmem_cache *slab[BM_MAX_SLABS];
	unsigned int nr_slabs;
	void *ballast;			/* kmalloc()ed to use up room, linked */
	struct bm_pages base;		/* before the first block */
};

int bm_subject_init(struct bm_subject *s, enum bm_who who, size_t size, size_t largest);
void bm_subject_exit(struct bm_subject *s);

u64 bm_pages(const struct bm_subject *s);
u64 bm_held(const struct bm_subject *s);
int bm_cross_check(const struct bm_subject *s, const char *when);
void bm_count_pages(struct bm_pages *pages);
long bm_slab_attribute(size_t size, const char *name);

static __always_inline struct kmem_cache *bm_slab(const struct bm_subject *s, size_t size)
{
	return s->slab[s->size ? 0 : (size - 1) / BM_STEP];
}

/* With a constant @who this is one call, of the function that a user would write. */
static __always_inline void *bm_get_as(const enum bm_who who, const struct bm_subject *s,
				       size_t size)
{
	switch (who) {
	case BM_PYM_CACHE:
		return pym_cache_alloc(s->cache, GFP_KERNEL);
	case BM_PYM_MALLOC:
		return pym_malloc(s->heap, size, GFP_KERNEL);
	case BM_KMEM_CACHE:
		return kmem_cache_alloc(bm_slab(s, size), GFP_KERNEL);
	default:
		return kmalloc(size, GFP_KERNEL);
	}
}

static __always_inline void bm_put_as(const enum bm_who who, const struct bm_subject *s,
				      void *p, size_t size)
{
	switch (who) {
	case BM_PYM_CACHE:
		pym_cache_free(s->cache, p);
		break;
	case BM_PYM_MALLOC:
		pym_free(p);
		break;
	case BM_KMEM_CACHE:
		kmem_cache_free(bm_slab(s, size), p);
		break;
	default:
		kfree(p);
	}
}

void *bm_get(const struct bm_subject *s, size_t size);
void bm_put(const struct bm_subject *s, void *p, size_t size);

unsigned int bm_fill(const struct bm_subject *s, void **blocks, unsigned int n);
void bm_empty(const struct bm_subject *s, void **blocks, unsigned int n);

/* The same numbers in every run, on every kernel, for everyone who is measured. */
void bm_seed(struct rnd_state *rnd);

static inline u32 bm_draw(struct rnd_state *rnd, u32 below)
{
	return (u64)prandom_u32_state(rnd) * below >> 32;
}

void bm_shuffle(void **blocks, unsigned int n);

/* Where figures go: lines of /sys/kernel/debug/pymalloc_memory/figures. */
__printf(1, 2) void bm_line(const char *fmt, ...);
__printf(4, 5) void bm_row(enum bm_who who, const char *unit, u64 millionths,
			   const char *metric, ...);

static inline u64 bm_millionths(u64 part, u64 whole)
{
	return div64_u64(part * 1000000, whole);
}

/* A step is what is written to /sys/kernel/debug/pymalloc_memory/run. */
struct bm_step {
	const char *name;
	int (*run)(void);
};

extern const struct bm_step bm_fill_steps[], bm_cost_steps[], bm_small_steps[];

void bm_fill_exit(void);
void bm_small_exit(void);

#endif /* _PYM_BENCH_MEMORY_H */
