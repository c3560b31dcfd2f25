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
	bool owned;			/* it is known who has allocated which block */

	/* The call's own. */
	size_t old_size;
	void *old;			/* to be resized, or freed */
	void *p;			/* what it returned */
	size_t size;			/* usable bytes there */
	bool zeroed;			/* they must be 0 */
	int added;			/* live blocks since */
	void *blocks[WALK_BULK];
	struct pym_switches switches;	/* what was on before */
	bool tried;
};

struct walk_state {
	const char *name;
	void (*build)(struct walk_scene *s);
	bool (*fits)(enum pymt_kind kind);	/* NULL: any kind of heap can be so */
	bool first;		/* before what the call needs is there */
	bool slow;		/* as it waits for readers */
};

#define WALK_NEVER_FAILS	BIT(0)
#define WALK_COUNTED		BIT(1)	/* if it fails, the heap's count of failures says so */
#define WALK_ALONE		BIT(2)	/* nothing to do with the state: in one is enough */
#define WALK_WAITS		BIT(3)	/* leaves frees that wait for RCU readers */
#define WALK_FORGETS		BIT(4)	/* no block of the state is live any more */
#define WALK_BY_FILL		BIT(5)	/* may fail because of what is live, and only so */
#define WALK_NO_SLEEP		BIT(6)	/* needs memory, of a provider that is atomic */
#define WALK_UNTOLD		BIT(7)	/* failing at the limit is told to its caller only */
#define WALK_KEEPS		BIT(8)	/* does not free its block of the other cache */
#define WALK_LARGER		BIT(9)	/* needs pools of more than a page */

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

/* walk_states_kunit.c */
void walk_mark(u64 *p, size_t size);
bool walk_is_marked(const u64 *p, size_t size);
void walk_keep(struct walk_scene *s, void *p, size_t size, bool of_class);
void walk_take(struct walk_scene *s, unsigned int n);
void walk_give_all(struct walk_scene *s);
void walk_limit_to(struct walk_scene *s, size_t more);

/* walk_switch_kunit.c */
void walk_switched(struct walk_scene *s);
void walk_switched_twice(struct walk_scene *s);
void walk_switched_off(struct walk_scene *s);
void walk_guarded(struct walk_scene *s);
void walk_quarantined(struct walk_scene *s);
void walk_switched_at_limit(struct walk_scene *s);
void walk_with_watched(struct walk_scene *s);
void walk_with_guarded(struct walk_scene *s);
void walk_with_watched_block(struct walk_scene *s);
bool walk_switch_on(struct walk_scene *s);
void walk_switch_back(struct walk_scene *s);
bool walk_switch_other(struct walk_scene *s);
bool walk_switch_off(struct walk_scene *s);
bool walk_switch_heap_on(struct walk_scene *s);
bool walk_switch_heap_off(struct walk_scene *s);
void walk_switch_heap_back(struct walk_scene *s);
bool walk_free_watched(struct walk_scene *s);
bool walk_owners(struct walk_scene *s);

/* walk_model_kunit.c */
void walk_settle(struct walk_scene *s, bool waits, struct pym_heap_stats *stats);
bool walk_check(struct walk_scene *s, bool waits, long live, const char *when);

/* What can be seen of a state of a heap. */
struct walk_look {
	u64 seen[24];
};

void walk_look(struct walk_scene *s, struct walk_look *look);

#endif /* _PYMALLOC_KUNIT_WALK_H */
