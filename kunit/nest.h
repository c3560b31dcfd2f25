/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is known of an operation that is stopped at an access: the model of the live
 * blocks, the orders for the operation, and what came of them.
 */
#ifndef _PYMALLOC_KUNIT_NEST_H
#define _PYMALLOC_KUNIT_NEST_H

#include <linux/interrupt.h>
#include <linux/irq_work.h>
#include <linux/kconfig.h>
#include "within.h"

/* A debug exception at an access to data. */
#define PYMT_HAS_WATCH	(IS_ENABLED(CONFIG_X86) && IS_ENABLED(CONFIG_HAVE_HW_BREAKPOINT))

#define SIZE		512
#define BULK		6		/* the operation's */
#define MAX_LIVE	500

enum op { ALLOC, FREE, BULK_ALLOC, BULK_FREE, MALLOC, GENERAL_FREE, SHRINK };
enum via { HARDIRQ, SOFTIRQ, NMI, OTHER_CPU };

/* What the operation meets. */
enum state { EMPTY, EMPTY_DEPOT, HALF, FULL, FULL_DEPOT, NR_STATES };

struct nest_state {
	const char *name;
	u8 quarters;			/* of the front */
	u8 batches;			/* in the depot */
};

extern const struct nest_state nest_states[NR_STATES];

/*
 * What is watched: the byte and the count of the front, or a number that only whoever
 * holds the lock of the cache, or of the heap, changes.
 */
enum field { BUSY, COUNT, LIVE, OWNERS, NR_FIELDS };

/* What is done in the middle of it. */
enum deed { TAKE, GIVE, NR_DEEDS };

struct perf_event;

struct nest {
	struct kunit *test;
	struct pymt_heap *th;
	struct pym_cache *cache;	/* of the blocks, a class if general */
	bool general;
	struct pym_front *front;	/* this CPU's */
	struct perf_event *watch;
	struct irq_work work, work2;
	struct tasklet_struct tasklet;
	struct task_struct *drainer;	/* on another CPU */

	/* The model: what is live, and filled with its number. */
	u64 *live[MAX_LIVE];
	u64 number[MAX_LIVE];
	unsigned int nr_live;
	u64 numbers;
	u64 allocs, frees;
	u64 base_allocs, base_frees;
	const char *wrong;		/* first thing that was */

	/* Orders for the next operation. */
	enum op op;
	enum via via;
	enum deed deed;
	unsigned int at;		/* which access */
	unsigned int at2;		/* which of the nested ones; 0: none */
	enum deed deed2;		/* what is done there */

	/* While it is done. */
	bool armed;			/* under way */
	bool acting;			/* what is nested in it is */
	bool acting2;			/* what is nested in that is */
	unsigned int hits, hits2;
	bool hit, hit2;			/* the access was reached */
	bool drain, draining, drained;	/* by the other CPU */
	bool in_nmi, irqs_on, preempt_off;
	bool busy;			/* as it was then */
	bool acted, acted_inside;
	bool acted_busy;		/* as the nested ones found it */
	unsigned int refused;		/* of the nested allocations */
	unsigned int broken_bulks;	/* blocks that those may have been had in part */

	/* Over all operations of a case. */
	unsigned int rounds, while_set, while_clear, twice, remote;
};

/* The model, in nest_model_kunit.c. */
bool nest_is_busy(struct nest *nest);
void nest_wrong(struct nest *nest, const char *what);
void nest_enter(struct nest *nest, u64 *block);
u64 *nest_leave(struct nest *nest);
void *nest_take_one(struct nest *nest, gfp_t gfp);
void nest_give_one(struct nest *nest, void *block);
void nest_settle(struct nest *nest, enum state state);
void nest_compare(struct nest *nest);

/* The watchpoint, in nest_watch_kunit.c. */
void nest_watch(struct kunit *test, struct nest *nest, enum field field);
void nest_check_watch(struct kunit *test, struct nest *nest, enum field field);
void nest_unwatch(struct nest *nest);
int nest_drainer(void *arg);

#endif /* _PYMALLOC_KUNIT_NEST_H */
