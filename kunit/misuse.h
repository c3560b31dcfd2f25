/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the parts of pymalloc_misuse share: misuse.c has the module and looks whether
 * the allocator is well, misuse_cases.c does what is wrong.
 */
#ifndef _PYM_MISUSE_H
#define _PYM_MISUSE_H

#include <linux/types.h>

#define NR_LIVE		128	/* blocks before anything is wrong */
#define NR_OTHER	64	/* of another cache, afterwards */
#define NR_TAKEN	640	/* afterwards: more than fronts, depots and slabs have at hand */

/**
 * struct misuse_api - what both allocators can do
 * @create: make a cache
 * @destroy: end it; NULL is none
 * @alloc: a block of a cache
 * @free: free it
 * @free_bulk: free many
 * @alloc_any: a block of any size, of the heap if there is one
 * @free_any: free that
 */
struct misuse_api {
	void *(*create)(const char *name, size_t size, size_t align);
	void (*destroy)(void *cache);
	void *(*alloc)(void *cache, gfp_t gfp);
	void (*free)(void *cache, void *block);
	void (*free_bulk)(void *cache, size_t n, void **blocks);
	void *(*alloc_any)(size_t n, gfp_t gfp);
	void (*free_any)(const void *p);
};

/**
 * struct misuse_scene - an allocator in use
 * @misuse: what is to be done to it
 * @api: which it is
 * @size: bytes of a block
 * @cache: where blocks come from, unless the misuse is of those of any size
 * @other: another cache, or NULL
 * @live: blocks in use, each filled with a byte of its own; NULL where there is none
 * @taken: the same, taken afterwards
 * @others: the same, of @other
 * @sorted: all of these by their address
 * @corrupt: how often something was not as it must be
 */
struct misuse_scene {
	const struct misuse *misuse;
	const struct misuse_api *api;
	unsigned int size;
	void *cache;
	void *other;
	void *live[NR_LIVE];
	void *taken[NR_TAKEN];
	void *others[NR_OTHER];
	void *sorted[NR_LIVE + NR_TAKEN + NR_OTHER];
	unsigned int corrupt;
};

/**
 * struct misuse - one thing that callers do wrong
 * @name: for scripts/misuse
 * @commit: do it
 * @general: its blocks are of pym_malloc() and kmalloc()
 * @lost: blocks whose only free was a wrong one
 */
struct misuse {
	const char *name;
	void (*commit)(struct misuse_scene *s);
	bool general;
	unsigned int lost;
};

const struct misuse *misuse_find(const char *name);

void misuse_corrupt(struct misuse_scene *s, const char *what);
void *misuse_take(struct misuse_scene *s, gfp_t gfp);
void misuse_give(struct misuse_scene *s, void *block);
unsigned int misuse_sort(struct misuse_scene *s);

#endif /* _PYM_MISUSE_H */
