/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the parts of pymalloc_soak share: soak.c has the module, its workers and their
 * turns, soak_actor.c what they do and to what.
 */
#ifndef _PYM_SOAK_H
#define _PYM_SOAK_H

#include <linux/prandom.h>
#include <linux/types.h>
#include <pymalloc/pymalloc.h>

#undef pr_fmt
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#define RING		128		/* blocks that anybody may take */
#define NR_HEAPS	3

enum origin { PLAIN_16, PLAIN_64, PLAIN_192, PLAIN_512, CTOR_96, TYPESAFE_128, NR_CACHES };
#define ANY_SIZE	NR_CACHES	/* from pym_malloc() */

struct soak_heap {
	const char *name;
	const struct pym_provider_ops *provider;
	unsigned int flags;
	struct pym_heap *heap;
	struct pym_cache *cache[NR_CACHES];
};

extern struct soak_heap soak_heaps[NR_HEAPS];

/* A block, as its user knows it. Free entries have no address. */
struct block {
	void *p;
	u32 size;			/* asked for */
	u32 serial;			/* which allocation of its worker's */
	u16 by;				/* whose, see struct actor */
	u8 heap, origin;
};

/* Who allocates and frees: a thread, or the timer on its CPU. */
struct actor {
	struct rnd_state rnd;
	struct block *own;
	unsigned int nr_own;
	unsigned int id;		/* no two have the same */
	gfp_t gfp;
	u32 serial;
	u64 operations, refused;
	unsigned long wrong;		/* things that were not as they must be */
};

extern struct block soak_ring[RING];

int soak_create_heaps(void);
void soak_destroy_heaps(void);
void soak_act(struct actor *a);
void soak_act_in_thread(struct actor *a);
void soak_release_all(struct actor *a, struct block *blocks, unsigned int n);
void soak_count(struct actor *a, const struct block *blocks, unsigned int n, unsigned long *live);

static inline u32 below(struct actor *a, u32 n)
{
	return prandom_u32_state(&a->rnd) % n;
}

#endif /* _PYM_SOAK_H */
