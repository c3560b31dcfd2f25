/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Failures on demand. Whatever obtains memory, or may be refused, asks before it does
 * whether it is to fail this time: that is a site. While nobody wants failures, a site is
 * a jump that is not taken, and none is on a path that a front serves.
 *
 * The ideas are those of the kernel's fault injection: every n-th, the n-th, some percent,
 * so many times, one task only. That is not in a stock kernel, and knows of no heaps.
 */
#ifndef _PYM_FAIL_H
#define _PYM_FAIL_H

#include <linux/bits.h>
#include <linux/fs.h>
#include <linux/jump_label.h>
#include <linux/types.h>
#include <pymalloc/pymalloc.h>

enum pym_fail {
	PYM_FAIL_HEAP,			/* descriptors */
	PYM_FAIL_CACHE,
	PYM_FAIL_CLASS,
	PYM_FAIL_ORDER,
	PYM_FAIL_HOOKS,
	PYM_FAIL_ARENA,
	PYM_FAIL_POOLS,			/* of all pools of an arena */
	PYM_FAIL_BITMAP,		/* of a pool with more slots than a word has bits */
	PYM_FAIL_INDEX,			/* a page's entry in the index */
	PYM_FAIL_CHUNK,			/* the provider: several pools in one piece */
	PYM_FAIL_POOL,			/* the provider: one */
	PYM_FAIL_DEPOTS,
	PYM_FAIL_FRONTS,
	PYM_FAIL_RECORD,		/* of a block that passes through */
	PYM_FAIL_LARGE,			/* the block */
	PYM_FAIL_BATCH,			/* for blocks that wait for RCU readers */
	PYM_FAIL_RESERVE,		/* no such batch is in reserve */
	PYM_FAIL_REFILL,		/* one more for the reserve */
	PYM_FAIL_LIMIT,			/* the heap is at its limit */
	PYM_FAIL_CONTEXT,		/* nothing can be obtained where we are */
	PYM_FAIL_DEFER,			/* nothing can be given back where we are */
	PYM_FAIL_SHADOW,		/* of a cache for which something is switched on */
	PYM_FAIL_SLOTS,			/* records of the blocks in a pool of such */
	PYM_FAIL_GUARD,			/* record of a block with a guard page behind it */
	PYM_FAIL_AREA,			/* the block and its page */
	PYM_FAIL_STACKS,		/* the kernel's depot of stacks */
	PYM_FAIL_STACK,			/* one stack in it */
	PYM_FAIL_OWNERS,		/* a table of who owns the live blocks */
	PYM_FAIL_FILES,			/* a heap's or a cache's directory in debugfs */
	PYM_FAIL_TABLE,			/* scratch memory of a debugfs file */
	PYM_NR_FAIL
};

/**
 * struct pym_fail_setting - what is to fail
 * @sites: BIT() of each enum pym_fail; requests at these are counted together
 * @nth: the @nth of them fails; 0: see the others
 * @from: that one and all that follow
 * @every: each of which the number divides by this
 * @percent: as many in a hundred, without a pattern
 * @times: no more than so many; 0: any number
 * @pid: in this task only, and not in an interrupt of it; 0: wherever
 * @heap: in the heap of this name only, if it is not empty
 */
struct pym_fail_setting {
	u32 sites;
	unsigned int nth;
	unsigned int from;
	unsigned int every;
	unsigned int percent;
	unsigned int times;
	pid_t pid;
	char heap[PYM_NAME_MAX];
};

extern const char * const pym_fail_names[PYM_NR_FAIL];

DECLARE_STATIC_KEY_FALSE(pym_fail_key);
bool __pym_may_fail(enum pym_fail site, const char *heap);

/**
 * pym_may_fail() - shall this request fail
 * @site: where it is made
 * @heap: name of the heap that it is for, or NULL
 *
 * Context: Any, any lock held.
 * Return: true if the caller must go on as if it had been refused.
 */
static __always_inline bool pym_may_fail(enum pym_fail site, const char *heap)
{
	return static_branch_unlikely(&pym_fail_key) && __pym_may_fail(site, heap);
}

int pym_fail_set(const struct pym_fail_setting *setting);
int pym_fail_write(char *words);
void pym_fail_count(enum pym_fail site, unsigned int *reached, unsigned int *failed);
extern const struct file_operations pym_fail_fops;
void pym_fail_exit(void);

#endif /* _PYM_FAIL_H */
