// SPDX-License-Identifier: GPL-2.0-only
/*
 * The model of nested operations: which blocks are live, what is in them, and what
 * the front, the depot and the counters must be.
 */
#include <linux/delay.h>
#include <linux/topology.h>
#include "nest.h"

#if PYMT_HAS_WATCH

const struct nest_state nest_states[NR_STATES] = {
	[EMPTY]		= { "empty front and depot", 0, 0 },
	[EMPTY_DEPOT]	= { "empty front", 0, 2 },
	[HALF]		= { "half a front", 2, 1 },
	[FULL]		= { "full front", 4, 1 },
	[FULL_DEPOT]	= { "full front and depot", 4, PYM_DEPOT_BATCHES },
};

/* Somebody on this CPU is at the front. */
bool nest_is_busy(struct nest *nest)
{
	return READ_ONCE(nest->front->busy) != PYM_FRONT_IDLE;
}

void nest_wrong(struct nest *nest, const char *what)
{
	if (!nest->wrong)
		nest->wrong = what;
}

void nest_enter(struct nest *nest, u64 *block)
{
	unsigned int i;

	for (i = 0; i < nest->nr_live; i++)
		if (nest->live[i] == block)
			nest_wrong(nest, "a block was handed out twice");
	nest->allocs++;
	nest->live[nest->nr_live] = block;
	nest->number[nest->nr_live++] = ++nest->numbers;
	memset64(block, nest->numbers, SIZE / sizeof(*block));
	if (nest->nr_live == MAX_LIVE) {
		nest_wrong(nest, "the case has too many blocks");
		nest->nr_live--;
	}
}

static void check_block(struct nest *nest, unsigned int i)
{
	unsigned int word;

	for (word = 0; word < SIZE / sizeof(u64); word++)
		if (nest->live[i][word] != nest->number[i])
			nest_wrong(nest, "the content of a block changed");
}

/* Which block is to be freed next: an old one, of anywhere. */
u64 *nest_leave(struct nest *nest)
{
	unsigned int i = nest->numbers * 7 % nest->nr_live;
	u64 *block = nest->live[i];

	check_block(nest, i);
	nest->live[i] = nest->live[--nest->nr_live];
	nest->number[i] = nest->number[nest->nr_live];
	nest->frees++;
	return block;
}

void *nest_take_one(struct nest *nest, gfp_t gfp)
{
	return nest->general ? pym_malloc(nest->th->heap, SIZE, gfp) :
			       pym_cache_alloc(nest->cache, gfp);
}

void nest_give_one(struct nest *nest, void *block)
{
	if (nest->general)
		pym_free(block);
	else
		pym_cache_free(nest->cache, block);
}

/* Bring the front and the depot about; the model has blocks enough. */
void nest_settle(struct nest *nest, enum state state)
{
	u32 n = nest->front->cap * nest_states[state].quarters / 4;
	struct pym_depot *depot = &nest->cache->node_of[numa_mem_id()].depot;
	unsigned int tries = 4 * MAX_LIVE;

	/* Enough for what is freed below and in the round, and room for the rest. */
	if (nest->nr_live < MAX_LIVE / 2)
		while (nest->nr_live < MAX_LIVE * 5 / 8)
			nest_enter(nest, nest_take_one(nest, GFP_KERNEL));
	while (nest->nr_live > MAX_LIVE * 3 / 4)
		nest_give_one(nest, nest_leave(nest));
	while (depot->nr > nest_states[state].batches && tries--)
		nest_enter(nest, nest_take_one(nest, GFP_KERNEL));
	while (depot->nr < nest_states[state].batches && tries--)
		nest_give_one(nest, nest_leave(nest));
	while (nest->front->n > n && tries--)
		nest_enter(nest, nest_take_one(nest, GFP_KERNEL));
	while (nest->front->n < n && tries--)
		nest_give_one(nest, nest_leave(nest));
	KUNIT_ASSERT_GT_MSG(nest->test, nest->nr_live, 2 * BULK, "%s", nest_states[state].name);
	KUNIT_ASSERT_EQ_MSG(nest->test, nest->front->n, n, "%s", nest_states[state].name);
	KUNIT_ASSERT_EQ_MSG(nest->test, depot->nr, nest_states[state].batches, "%s",
			    nest_states[state].name);
}

/* Everything the model says is so. */
void nest_compare(struct nest *nest)
{
	struct pym_cache_stats s;
	unsigned int i;

	for (i = 0; i < nest->nr_live; i++)
		check_block(nest, i);
	/* What an NMI frees may come to it a little later. */
	for (i = 0; i < 1000; i++) {
		pym_cache_stats(nest->cache, &s);
		if (s.live == nest->nr_live)
			break;
		usleep_range(1000, 1100);
	}
	if (s.live != nest->nr_live)
		nest_wrong(nest, "number of live blocks");
	/* Bulk that could not be had whole was had in part, and given back. */
	while (nest->broken_bulks && s.allocs > nest->base_allocs + nest->allocs) {
		nest->base_allocs++;
		nest->base_frees++;
		nest->broken_bulks--;
	}
	nest->broken_bulks = 0;
	if (s.allocs != nest->base_allocs + nest->allocs)
		nest_wrong(nest, "number of allocations");
	if (s.frees != nest->base_frees + nest->frees)
		nest_wrong(nest, "number of frees");
	if (s.live + s.cached + s.free + s.virgin != s.pools * s.capacity)
		nest_wrong(nest, "sum of the cache");
	if (nest->front->n > nest->front->cap || nest_is_busy(nest))
		nest_wrong(nest, "state of the front");
	if (nest->rounds % 16 == 0)
		pymt_check(nest->test, nest->th);
}

#endif /* PYMT_HAS_WATCH */
