/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the suites share: heaps that are verified and destroyed after every
 * case, a page provider that watches its caller, and the count of misuse
 * reports.
 *
 * A suite takes pymt_init() and pymt_exit() as its init and exit. Each case
 * then starts with one heap, pymt_heap(test), on a provider that can be told to
 * fail, and ends with
 *   - every heap verified, its ledger balanced, and destroyed,
 *   - nothing left with the providers,
 *   - no misuse report that the case did not ask for with
 *     pymt_expect_misuse(),
 *   - the default heap with as many live blocks as before.
 */
#ifndef _PYMALLOC_KUNIT_FIXTURE_H
#define _PYMALLOC_KUNIT_FIXTURE_H

#include <kunit/test.h>
#include <linux/atomic.h>
#include <linux/module.h>
#include <linux/sizes.h>
#include <linux/version.h>
#include <pymalloc/pymalloc.h>
#include "internal.h"
#include "kasan.h"

/* A string since Linux 6.13 (cdd30ebb1b9f). */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
#define PYMT_IMPORT_NS(ns)	MODULE_IMPORT_NS(#ns)
#else
#define PYMT_IMPORT_NS(ns)	MODULE_IMPORT_NS(ns)
#endif

/* What new memory of a test provider is filled with. */
#define PYMT_FILL		0xa5

/* Requests whose size a test provider remembers. */
#define PYMT_LOG		32

/* Ways in which the caller of a test provider can break the contract. */
enum pymt_breach {
	PYMT_BAD_SIZE,			/* not a power of two, or below a page */
	PYMT_BAD_GFP,			/* a zone, or non-blocking when not ATOMIC */
	PYMT_BAD_CONTEXT,		/* preemption off, or a lock held */
	PYMT_BAD_FREE,			/* address or size not as obtained */
	PYMT_BAD_SPLIT,			/* of what is no chunk, or is split already */
};

/*
 * A provider that watches its caller. The first three lines are its orders.
 */
struct pymt_provider {
	unsigned int fail_at;		/* fail this call, counted from 1; 0: none */
	bool fail_on;			/* and all that follow */
	bool misalign;			/* return an address inside a page */
	bool atomic;			/* the case calls with preemption off */
	size_t max_size;		/* fail larger requests; 0: none */

	atomic_t calls;
	atomic_t frees;
	atomic_t splits;
	atomic_long_t bytes;		/* obtained and not yet given back */
	unsigned long breaches;		/* BIT(enum pymt_breach) */
	unsigned int in_registry;	/* called with the registry's mutex held */
	size_t size[PYMT_LOG];		/* of the first calls */
	gfp_t gfp[PYMT_LOG];

	struct pym_heap *heap;
	struct pym_provider_ops ops;
};

/* With flags of providers; as chunks that are split later, or already. */
struct pymt_provider *pymt_provider_new(struct kunit *test, unsigned int flags, bool chunks);

enum pymt_kind {
	PYMT_SPLIT,			/* test provider, ATOMIC and SPLIT */
	PYMT_CHUNKS,			/* the same, to be told before a chunk is in parts */
	PYMT_PLAIN,			/* test provider without any flag */
	PYMT_SPLIT_SLEEPING,		/* test provider, SPLIT only */
	PYMT_ZEROED,			/* test provider, all three flags */
	PYMT_PAGES,			/* pym_provider_pages */
	PYMT_VMALLOC,			/* pym_provider_vmalloc */
	PYMT_KIND = 15,
	/* Without, PYM_HEAP_NO_FRONTS: what a case did is in the pools at once. */
	PYMT_FRONTS = 16,
	PYMT_RANDOM = 32,		/* PYM_HEAP_RANDOM */
	PYMT_ISOLATE = 64,		/* PYM_HEAP_ISOLATE; nothing rests unless args say so */
};

struct pymt_heap {
	struct list_head node;
	struct pym_heap *heap;
	struct pymt_provider *provider;	/* NULL unless it is a test provider */
};

/* Life of a case. */
int pymt_init(struct kunit *test);
int pymt_init_plain(struct kunit *test);
int pymt_init_fronts(struct kunit *test);
int pymt_init_bare(struct kunit *test);
void pymt_exit(struct kunit *test);

/* Heaps beyond the first; closed by pymt_exit() if not before. */
struct pymt_heap *pymt_heap(struct kunit *test);
struct pymt_heap *pymt_open(struct kunit *test, enum pymt_kind kind,
			    const struct pym_heap_args *args);
/* The same where RCU callbacks free blocks, and so give back what becomes free. */
struct pymt_heap *pymt_open_rcu(struct kunit *test, enum pymt_kind kind);
void pymt_close(struct kunit *test, struct pymt_heap *th);
void pymt_destroy(struct kunit *test, struct pymt_heap *th);

/* Where random operations begin; printed, and a parameter of the module. */
u64 pymt_seed(struct kunit *test);

/*
 * Decay. Every case starts without: pym_decay_ms is 0. With PYMT_BY_HAND ticks are
 * armed, and come when the case calls for them.
 */
#define PYMT_BY_HAND		3600000
bool pymt_tick(struct pymt_heap *th);
unsigned int pymt_rest(struct kunit *test, struct pymt_heap *th);
int pymt_init_by_hand(struct kunit *test);

/* Expectations. */
bool pymt_is_sound(struct pymt_heap *th);
void pymt_check(struct kunit *test, struct pymt_heap *th);
void pymt_expect_misuse(struct kunit *test, enum pym_misuse kind, unsigned long n);
void pymt_forget_misuse(struct kunit *test);
void pymt_stats(struct kunit *test, struct pym_heap *heap, struct pym_heap_stats *stats);
void pymt_expect_same(struct kunit *test, const struct pym_heap_stats *before,
		      const struct pym_heap_stats *after);

/* Shorthands; each asserts that it succeeded. */
struct pym_cache *pymt_cache(struct kunit *test, struct pym_heap *heap, size_t size);

static inline struct pym_cache_stats pymt_stats_of(struct pym_cache *cache)
{
	struct pym_cache_stats stats;

	pym_cache_stats(cache, &stats);
	return stats;
}

/* As an administrator would: a command, true if it succeeds; and write to a file. */
__printf(2, 3) bool pymt_shell(struct kunit *test, const char *fmt, ...);
void pymt_echo(struct kunit *test, const char *text, const char *path);

/* Allocations after which a cache is sure to have its fronts. */
#define PYMT_WARM	64

/* A cache with fronts, nothing live; this CPU's front may hold blocks. */
struct pym_cache *pymt_warm_cache(struct kunit *test, struct pym_heap *heap, size_t size);
struct pym_pool *pymt_pool(struct kunit *test, const void *p);
void **pymt_array(struct kunit *test, size_t n);
void *pymt_take(struct kunit *test, struct pym_cache *cache);
void *pymt_malloc(struct kunit *test, struct pym_heap *heap, size_t n);
void pymt_take_many(struct kunit *test, struct pym_cache *cache, void **blocks, size_t n);
void pymt_give_many(struct pym_cache *cache, void **blocks, size_t n);
struct pym_cache *pymt_warm(struct kunit *test, struct pym_heap *heap, size_t size);

static inline long pymt_bytes(struct pymt_heap *th)
{
	return atomic_long_read(&th->provider->bytes);
}

static inline int pymt_calls(struct pymt_heap *th)
{
	return atomic_read(&th->provider->calls);
}

/* Pattern that is different for blocks near each other. */
static inline u8 pymt_tag(const void *p)
{
	return ((unsigned long)p >> 3) * 31 ^ (unsigned long)p >> 11;
}

#endif /* _PYMALLOC_KUNIT_FIXTURE_H */
