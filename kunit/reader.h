/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Readers of blocks: a reader is a thread that stays in its read-side section until
 * it is told to leave, or until its time is up, and looks at a block all the while.
 */
#ifndef _PYMALLOC_KUNIT_READER_H
#define _PYMALLOC_KUNIT_READER_H

#include "fixture.h"

/* A block that is marked has this in every word. */
#define PYMT_MARK	0x6d61726bULL
#define PYMT_MARKED	128		/* its bytes */

struct pymt_reader {
	struct task_struct *task;
	const u64 *block;		/* PYMT_MARK in every word */
	struct pym_cache *owner;	/* of its page, if that is to stay; or NULL */
	struct pymt_heap *th;
	unsigned int ms;		/* time it has */
	bool inside, leave, gone;
	unsigned long looks, damaged, strange;
	int frees;			/* of the provider, when it left */
};

struct pymt_reader *pymt_read_elsewhere(struct kunit *test, struct pymt_heap *th,
					const u64 *block, struct pym_cache *owner,
					unsigned int ms);
void pymt_end_reader(struct kunit *test, struct pymt_reader *r);

void pymt_mark(void *block);
bool pymt_is_marked(const u64 *block);
bool pymt_is_handed_out(struct pym_cache *cache, void *block, void **blocks, unsigned int n,
			gfp_t gfp);
void pymt_settle(struct kunit *test, struct pym_cache *cache, unsigned long live);

/* The heaps that cases with a reader are run on. */
#define PYMT_NR_READER_KINDS	5
extern const enum pymt_kind pymt_reader_kinds[PYMT_NR_READER_KINDS];
void pymt_reader_kind_desc(const enum pymt_kind *kind, char *desc);

#endif /* _PYMALLOC_KUNIT_READER_H */
