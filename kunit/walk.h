/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The failure walk: what a call finds (a state, in a heap of some kind), the calls, and
 * what both work on.
 */
#ifndef _PYMALLOC_KUNIT_WALK_H
#define _PYMALLOC_KUNIT_WALK_H

#include "fixture.h"

#define WALK_QUIETLY	(GFP_KERNEL | __GFP_NOWARN)
#define WALK_ATOMIC	(GFP_ATOMIC | __GFP_NOWARN)
#define WALK_SIZE	512		/* of the blocks that states are made of */
#define WALK_LIVE	800		/* most of them */
#define WALK_BULK	200

/* A block that stays live while others fail, and the bytes of it that are ours. */
struct walk_block {
	u64 *p;
	size_t size;
	bool of_class;			/* from pym_malloc() */
};

struct walk_scene {
	struct kunit *test;
	struct pymt_heap *th;
	struct pym_heap *heap;
	struct pym_cache *cache;	/* of WALK_SIZE */
	struct pym_cache *other;	/* what a call may need besides */
	struct walk_block live[WALK_LIVE];
	unsigned int nr_live;
	bool limited;			/* a call may fail with nothing failing below */

	/* The call's own. */
	size_t old_size;
	void *old;			/* to be resized, or freed */
	void *p;			/* what it returned */
	size_t size;			/* usable bytes there */
	bool zeroed;			/* they must be 0 */
	int added;			/* live blocks since */
	void *blocks[WALK_BULK];
};

struct walk_state {
	const char *name;
	void (*build)(struct walk_scene *s);
	bool (*fits)(enum pymt_kind kind);	/* NULL: any kind of heap can be so */
	bool first;		/* before what the call needs is there */
};

#define WALK_NEVER_FAILS	BIT(0)
#define WALK_COUNTED		BIT(1)	/* if it fails, the heap's count of failures says so */
#define WALK_ALONE		BIT(2)	/* nothing to do with the state: in one is enough */
#define WALK_WAITS		BIT(3)	/* leaves frees that wait for RCU readers */
#define WALK_FORGETS		BIT(4)	/* no block of the state is live any more */
#define WALK_BY_FILL		BIT(5)	/* may fail because of what is live, and only so */
#define WALK_NO_SLEEP		BIT(6)	/* needs memory, of a provider that is atomic */

struct walk_call {
	const char *name;
	bool (*run)(struct walk_scene *s);	/* true if it succeeded */
	void (*undo)(struct walk_scene *s);
	void (*prepare)(struct walk_scene *s);	/* before the state is built */
	unsigned int flags;
};

extern const struct walk_state walk_states[];
extern const unsigned int walk_nr_states;
extern const struct walk_call walk_calls[];
extern const unsigned int walk_nr_calls;

void walk_mark(u64 *p, size_t size);
bool walk_is_marked(const u64 *p, size_t size);
void walk_keep(struct walk_scene *s, void *p, size_t size, bool of_class);

#endif /* _PYMALLOC_KUNIT_WALK_H */
