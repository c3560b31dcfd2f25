/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a shadow knows of its blocks, and where their bytes are: see section 12 of
 * internal.h. Included by the files that make up shadows.
 */
#ifndef _PYM_SHADOW_H
#define _PYM_SHADOW_H

#include <linux/bitmap.h>
#include "internal.h"

enum pym_record_state {
	PYM_RECORD_FREE,	/* the pool's, or on its way to a user */
	PYM_RECORD_LIVE,	/* a user's */
	PYM_RECORD_GOING,	/* of whoever frees it, or checks it */
	PYM_RECORD_HELD,	/* in quarantine, or of a frozen pool */
};

/*
 * Of each slot, behind the bits of its pool. Guarded by the shadow's lock; asked and
 * what follows by who has the block while it is GOING or on its way to a user.
 */
struct pym_record {
	u8 state;		/* enum pym_record_state */
	u16 asked;		/* bytes that the user may use */
	u32 alloc_stack;	/* of the depot; 0 if not known */
	u32 free_stack;
	u32 alloc_pid;
	u32 free_pid;
};

/* A shadow's smallest stride: so that what goes with a pool is at most a page. */
#define PYM_SHADOW_STRIDE	32

static_assert(PAGE_SIZE / PYM_SHADOW_STRIDE * sizeof(struct pym_record) + 64 <= PAGE_SIZE);

/* Guarded blocks of a shadow, see guard.c. Guarded by its lock, but for two. */
struct pym_guarding {
	atomic_t turn;			/* allocations, from some number on */
	atomic_long_t unguarded;	/* whose turn it was, and nothing could be done */
	struct list_head live;		/* and those that are kept as they are */
	struct list_head freed;		/* oldest first */
	unsigned long nr_live;
	unsigned long nr_kept;		/* of live: free, for who looks at them */
	unsigned long nr_freed;
	unsigned long nr_leaving;	/* on no list any more, being given back */
};

/* What else a shadow has. */
struct pym_watch {
	struct pym_switches switches;	/* constant */
	bool retired;			/* no block is taken any more; pym_registry */
	struct pym_guarding guard;
	/* The quarantine, oldest first. Guarded by the shadow's lock. */
	unsigned int first;
	unsigned int n;
	void *block[];			/* slots, switches.quarantine of them */
};

static inline bool pym_watches(const struct pym_cache *shadow, unsigned int what)
{
	return shadow->watch->switches.on & what;
}

/* Bits that @capacity live bits and records take. */
static inline unsigned int pym_record_room(unsigned int capacity)
{
	return BITS_TO_LONGS(capacity) * BITS_PER_LONG +
	       capacity * sizeof(struct pym_record) * BITS_PER_BYTE;
}

static inline struct pym_record *pym_record_of(struct pym_cache *shadow, struct pym_pool *pool,
					       unsigned int slot)
{
	unsigned long *behind = pym_pool_bits(pool) + BITS_TO_LONGS(shadow->capacity);

	return (struct pym_record *)behind + slot;
}

/* A slot that somebody has, so that its pool stays the shadow's. */
struct pym_watched {
	struct pym_cache *shadow;
	struct pym_pool *pool;
	unsigned int slot;
	struct pym_record *record;
};

static inline void *pym_watched_slot(const struct pym_watched *w)
{
	return w->pool->base + (size_t)w->slot * w->shadow->stride;
}

static inline void *pym_watched_block(const struct pym_watched *w)
{
	return pym_watched_slot(w) + w->shadow->lead;
}

/* ------------------------------------------------------------- shadow.c -- */

void pym_shadow_prepare(const struct pym_cache *shadow, void *block, size_t n, gfp_t gfp,
			bool fresh);

/* -------------------------------------------------------------- guard.c -- */

/* Areas of blocks that nobody has any more. */
static inline unsigned long pym_guard_held(const struct pym_guarding *guard)
{
	return guard->nr_kept + guard->nr_freed + guard->nr_leaving;
}

void pym_guard_init_shadow(struct pym_cache *shadow);
void *pym_guard_alloc(struct pym_cache *shadow, size_t n, gfp_t gfp);
void pym_guard_flush(struct pym_cache *shadow);

/* ------------------------------------------------------------ pattern.c -- */

/* When a bad byte was found: in the report. */
#define PYM_FOUND_FREED		"found when it was freed"
#define PYM_FOUND_REUSED	"found when it was to be used again"
#define PYM_FOUND_RELEASED	"found when it left the quarantine"
#define PYM_FOUND_POOL		"found when its pool was left"

/* A byte that is not what it should be. */
struct pym_bad_byte {
	enum pym_misuse kind;
	ssize_t offset;			/* from the start of the block */
	u8 is, want;
};

bool pym_zones_check(const struct pym_watched *w, bool live, struct pym_bad_byte *bad);
bool pym_poison_check(const struct pym_watched *w, struct pym_bad_byte *bad);
void pym_zones_fill(const struct pym_watched *w, bool live);
void pym_poison_fill(const struct pym_watched *w);
bool pym_report_byte(const struct pym_watched *w, const struct pym_bad_byte *bad,
		     const char *when, unsigned long ip);

/* -------------------------------------------------------------- owner.c -- */

int pym_owner_init(const struct pym_heap *heap);
void pym_owner_alloc(const struct pym_watched *w, gfp_t gfp);
void pym_owner_free(const struct pym_watched *w);
void pym_owner_tell(const struct pym_cache *shadow, const struct pym_record *record);

#endif /* _PYM_SHADOW_H */
