/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Blocks with an area of their own and a guard page behind it: see section 12 of
 * internal.h. Included by the files that make up guards.
 */
#ifndef _PYM_GUARD_H
#define _PYM_GUARD_H

#include "shadow.h"

/*
 * A guarded block. record.state, guarded by guards.lock:
 *	LIVE	a user's
 *	GOING	of whoever frees it
 *	HELD	freed; its area is there, and nobody may touch it
 *
 *	| area                                         | guard page |
 *	| filled | block, asked bytes | filled, if its |            |
 *	|        |                    | alignment asks |            |
 */
struct pym_guard {
	union {
		struct rb_node node;		/* of all, by area; guards.lock */
		struct llist_node leaving;	/* of those that a work item gives back */
	};
	struct list_head list;		/* watch->guard.live or .freed, or empty; shadow's lock */
	struct pym_cache *shadow;	/* constant, as the next two */
	void *area;
	void *block;
	struct pym_record record;
};

/* --------------------------------------------------------------- trap.c -- */

/* Can pages be taken out of the page tables while their area stays? */
#if defined(CONFIG_X86_64) && !defined(CONFIG_UML)
#define PYM_TRAPS	1
#else
#define PYM_TRAPS	0
#endif

void pym_trap_set(void *area, size_t bytes);
void pym_trap_flush(void);
int pym_trap_init(void);
void pym_trap_exit(void);

/* --------------------------------------------------------------- area.c -- */

size_t pym_area_bytes(const struct pym_cache *cache);
struct pym_guard *pym_area_obtain(struct pym_cache *shadow, gfp_t gfp);
void pym_area_close(struct pym_guard *g);
void pym_area_let_go(struct pym_guard *g);
void pym_area_sync(void);

/* -------------------------------------------------------------- guard.c -- */

void pym_guard_tell(const void *p, unsigned long ip);

#endif /* _PYM_GUARD_H */
