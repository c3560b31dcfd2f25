// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nesting, forced to the instruction. A watchpoint on what an operation does to the
 * front of its CPU, its busy byte or its count, stops that operation at each access
 * in turn, and other operations are done right there: in the debug exception, which
 * is an NMI to everybody, in the hard interrupt that it raises, which comes before
 * the next instruction, or in the softirq that follows from that.
 *
 * Each operation is repeated, stopped one access later every time, until it makes
 * no more of them. So every window that exists is hit: between the test of busy and
 * its setting, while it is set, and after; in the hot path, and wherever the slow
 * one fills, flushes or drains the front.
 *
 * A model knows which blocks are live and what is in them. After each round all of
 * it must be true, the counters exact, and the invariants hold.
 */
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/hw_breakpoint.h>
#include <linux/interrupt.h>
#include <linux/irq_work.h>
#include <linux/kthread.h>
#include <linux/perf_event.h>
#include <linux/prandom.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include "within.h"

#if defined(CONFIG_X86) && defined(CONFIG_HAVE_HW_BREAKPOINT)

#define SIZE		512
#define BULK		6		/* the operation's */
#define MAX_LIVE	500
#define MAX_HITS	200		/* of one operation */

enum op { ALLOC, FREE, BULK_ALLOC, BULK_FREE, MALLOC, GENERAL_FREE, SHRINK };
enum via { HARDIRQ, SOFTIRQ, NMI, OTHER_CPU };

/* What the operation meets. */
enum state { EMPTY, EMPTY_DEPOT, HALF, FULL, FULL_DEPOT, NR_STATES };

static const struct {
	const char *name;
	u8 quarters;			/* of the front */
	u8 batches;			/* in the depot */
} states[NR_STATES] = {
	[EMPTY]		= { "empty front and depot", 0, 0 },
	[EMPTY_DEPOT]	= { "empty front", 0, 2 },
	[HALF]		= { "half a front", 2, 1 },
	[FULL]		= { "full front", 4, 1 },
	[FULL_DEPOT]	= { "full front and depot", 4, PYM_DEPOT_BATCHES },
};

/*
 * What is watched: the byte and the count of the front, or a number that only whoever
 * holds the lock of the cache, or of the heap, changes.
 */
enum field { BUSY, COUNT, LIVE, OWNERS, NR_FIELDS };

/* What is done in the middle of it. */
enum deed { TAKE, GIVE, NR_DEEDS };

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

/* Somebody on this CPU is at the front. */
static bool is_busy(struct nest *nest)
{
	return READ_ONCE(nest->front->busy) != PYM_FRONT_IDLE;
}

static void wrong(struct nest *nest, const char *what)
{
	if (!nest->wrong)
		nest->wrong = what;
}

/* ------------------------------------------------------------- the model ---- */

static void enter(struct nest *nest, u64 *block)
{
	unsigned int i;

	for (i = 0; i < nest->nr_live; i++)
		if (nest->live[i] == block)
			wrong(nest, "a block was handed out twice");
	nest->allocs++;
	nest->live[nest->nr_live] = block;
	nest->number[nest->nr_live++] = ++nest->numbers;
	memset64(block, nest->numbers, SIZE / sizeof(*block));
	if (nest->nr_live == MAX_LIVE) {
		wrong(nest, "the case has too many blocks");
		nest->nr_live--;
	}
}

static void check_block(struct nest *nest, unsigned int i)
{
	unsigned int word;

	for (word = 0; word < SIZE / sizeof(u64); word++)
		if (nest->live[i][word] != nest->number[i])
			wrong(nest, "the content of a block changed");
}

/* Which block is to be freed next: an old one, of anywhere. */
static u64 *leave(struct nest *nest)
{
	unsigned int i = nest->numbers * 7 % nest->nr_live;
	u64 *block = nest->live[i];

	check_block(nest, i);
	nest->live[i] = nest->live[--nest->nr_live];
	nest->number[i] = nest->number[nest->nr_live];
	nest->frees++;
	return block;
}

/* --------------------------------------------------------- the operations ---- */

static void *take_one(struct nest *nest, gfp_t gfp)
{
	return nest->general ? pym_malloc(nest->th->heap, SIZE, gfp) :
			       pym_cache_alloc(nest->cache, gfp);
}

static void give_one(struct nest *nest, void *block)
{
	if (nest->general)
		pym_free(block);
	else
		pym_cache_free(nest->cache, block);
}

/* What is done in the middle of another operation, by an interrupt of some kind. */
static void do_deed(struct nest *nest, enum deed deed)
{
	unsigned long n = READ_ONCE(nest->front->n);
	s8 busy = READ_ONCE(nest->front->busy);
	void *blocks[3];
	unsigned int i;

	if (deed == TAKE) {
		for (i = 0; i < 2; i++) {
			void *block = take_one(nest, GFP_ATOMIC | __GFP_NOWARN);

			if (block)
				enter(nest, block);
			else
				nest->refused++;
		}
		if (pym_cache_alloc_bulk(nest->cache, GFP_ATOMIC | __GFP_NOWARN, 3, blocks))
			for (i = 0; i < 3; i++)
				enter(nest, blocks[i]);
		else
			nest->broken_bulks += 2;
	} else {
		for (i = 0; i < 2; i++)
			give_one(nest, leave(nest));
		for (i = 0; i < 3; i++)
			blocks[i] = leave(nest);
		if (nest->general)
			for (i = 0; i < 3; i++)
				pym_free(blocks[i]);
		else
			pym_cache_free_bulk(nest->cache, 3, blocks);
	}
	if (is_busy(nest) && READ_ONCE(nest->front->n) != n)
		wrong(nest, "a busy front was changed");
	if (READ_ONCE(nest->front->busy) != busy)
		wrong(nest, "busy was changed for the interrupted operation");
}

static void act(struct nest *nest)
{
	nest->acting = true;
	nest->acted = true;
	nest->acted_inside = nest->armed;
	nest->acted_busy = is_busy(nest);
	do_deed(nest, nest->deed);
	nest->acting = false;
}

static void act_in_softirq(struct tasklet_struct *tasklet)
{
	act(container_of(tasklet, struct nest, tasklet));
}

static void act_in_hardirq(struct irq_work *work)
{
	struct nest *nest = container_of(work, struct nest, work);

	if (nest->via == SOFTIRQ)
		tasklet_schedule(&nest->tasklet);
	else
		act(nest);
}

static void act_again(struct irq_work *work)
{
	struct nest *nest = container_of(work, struct nest, work2);

	nest->acting2 = true;
	nest->twice += nest->acting;
	do_deed(nest, nest->deed2);
	nest->acting2 = false;
}

/*
 * Have another CPU drain this one: its call waits to be taken here when we return,
 * for it cannot have come to its end without.
 */
static void be_drained(struct nest *nest)
{
	unsigned int us;

	nest->acted = true;
	nest->acted_inside = true;
	nest->acted_busy = is_busy(nest);
	WRITE_ONCE(nest->drain, true);
	for (us = 0; us < 20000 && !READ_ONCE(nest->draining); us += 5)
		udelay(5);
	/* Until it gets to where it calls us. */
	for (us = 0; us < 1000 && !READ_ONCE(nest->drained); us += 5)
		udelay(5);
	nest->remote += READ_ONCE(nest->draining) && !READ_ONCE(nest->drained);
}

static int drainer(void *arg)
{
	struct nest *nest = arg;

	while (!kthread_should_stop()) {
		if (READ_ONCE(nest->drain)) {
			WRITE_ONCE(nest->draining, true);
			pym_heap_shrink(nest->th->heap);
			WRITE_ONCE(nest->drained, true);
			WRITE_ONCE(nest->drain, false);
		}
		cpu_relax();
		cond_resched();
	}
	return 0;
}

/* An access was made; its instruction has been completed. */
static void on_access(struct perf_event *watch, struct perf_sample_data *data,
		      struct pt_regs *regs)
{
	struct nest *nest = watch->overflow_handler_context;

	if (!nest->armed || nest->acting2)
		return;
	if (nest->acting) {
		if (++nest->hits2 == nest->at2) {
			nest->hit2 = true;
			irq_work_queue(&nest->work2);
		}
		return;
	}
	if (++nest->hits != nest->at)
		return;
	nest->hit = true;
	nest->in_nmi = in_nmi();
	nest->irqs_on = regs->flags & X86_EFLAGS_IF;
	nest->preempt_off = preempt_count() & PREEMPT_MASK;
	nest->busy = is_busy(nest);
	switch (nest->via) {
	case NMI:
		act(nest);
		break;
	case OTHER_CPU:
		be_drained(nest);
		break;
	default:
		irq_work_queue(&nest->work);
		break;
	}
}

static void operate(struct nest *nest)
{
	void *blocks[BULK], *block = NULL;
	size_t i, got = 0;

	if (nest->op == FREE || nest->op == GENERAL_FREE)
		block = leave(nest);
	for (i = 0; i < BULK && nest->op == BULK_FREE; i++)
		blocks[i] = leave(nest);
	WRITE_ONCE(nest->armed, true);
	switch (nest->op) {
	case ALLOC:
	case MALLOC:
		block = take_one(nest, GFP_KERNEL);
		break;
	case FREE:
	case GENERAL_FREE:
		give_one(nest, block);
		break;
	case BULK_ALLOC:
		got = pym_cache_alloc_bulk(nest->cache, GFP_KERNEL, BULK, blocks);
		break;
	case BULK_FREE:
		pym_cache_free_bulk(nest->cache, BULK, blocks);
		break;
	case SHRINK:
		pym_heap_shrink(nest->th->heap);
		break;
	}
	WRITE_ONCE(nest->armed, false);
	irq_work_sync(&nest->work);
	tasklet_kill(&nest->tasklet);
	irq_work_sync(&nest->work2);
	while (READ_ONCE(nest->drain))
		cond_resched();
	if (nest->op == ALLOC || nest->op == MALLOC) {
		if (block)
			enter(nest, block);
		else
			wrong(nest, "the interrupted allocation failed");
	}
	if (nest->op == BULK_ALLOC && got != BULK)
		wrong(nest, "the interrupted allocation failed");
	for (i = 0; i < got; i++)
		enter(nest, blocks[i]);
}

/* ------------------------------------------------------------- the rounds ---- */

/* Bring the front and the depot about; the model has blocks enough. */
static void settle(struct nest *nest, enum state state)
{
	u32 n = nest->front->cap * states[state].quarters / 4;
	struct pym_depot *depot = nest->cache->node_of[numa_mem_id()].depot;
	unsigned int tries = 4 * MAX_LIVE;

	/* Enough for what is freed below and in the round, and room for the rest. */
	if (nest->nr_live < MAX_LIVE / 2)
		while (nest->nr_live < MAX_LIVE * 5 / 8)
			enter(nest, take_one(nest, GFP_KERNEL));
	while (nest->nr_live > MAX_LIVE * 3 / 4)
		give_one(nest, leave(nest));
	while (depot->nr > states[state].batches && tries--)
		enter(nest, take_one(nest, GFP_KERNEL));
	while (depot->nr < states[state].batches && tries--)
		give_one(nest, leave(nest));
	while (nest->front->n > n && tries--)
		enter(nest, take_one(nest, GFP_KERNEL));
	while (nest->front->n < n && tries--)
		give_one(nest, leave(nest));
	KUNIT_ASSERT_GT_MSG(nest->test, nest->nr_live, 2 * BULK, "%s", states[state].name);
	KUNIT_ASSERT_EQ_MSG(nest->test, nest->front->n, n, "%s", states[state].name);
	KUNIT_ASSERT_EQ_MSG(nest->test, depot->nr, states[state].batches, "%s",
			    states[state].name);
}

/* Everything the model says is so. */
static void compare(struct nest *nest)
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
		wrong(nest, "number of live blocks");
	/* Bulk that could not be had whole was had in part, and given back. */
	while (nest->broken_bulks && s.allocs > nest->base_allocs + nest->allocs) {
		nest->base_allocs++;
		nest->base_frees++;
		nest->broken_bulks--;
	}
	nest->broken_bulks = 0;
	if (s.allocs != nest->base_allocs + nest->allocs)
		wrong(nest, "number of allocations");
	if (s.frees != nest->base_frees + nest->frees)
		wrong(nest, "number of frees");
	if (s.live + s.cached + s.free + s.virgin != s.pools * s.capacity)
		wrong(nest, "sum of the cache");
	if (nest->front->n > nest->front->cap || is_busy(nest))
		wrong(nest, "state of the front");
	if (nest->rounds % 16 == 0)
		pymt_check(nest->test, nest->th);
}

/* Was the window hit, and could what was done there be done there? */
static void check_hit(struct nest *nest)
{
	nest->rounds++;
	if (!nest->in_nmi)
		wrong(nest, "the watchpoint is no NMI");
	if (!nest->acted)
		wrong(nest, "nothing was nested");
	if (nest->busy) {
		nest->while_set++;
		if (!nest->preempt_off && nest->irqs_on)
			wrong(nest, "preemption was on while busy was set");
		/* On RT softirqs are threads and come when they can. */
		if ((nest->irqs_on || nest->via == NMI) &&
		    !(IS_ENABLED(CONFIG_PREEMPT_RT) && nest->via == SOFTIRQ) &&
		    (!nest->acted_inside || !nest->acted_busy))
			wrong(nest, "the interrupt came after the window");
	} else {
		nest->while_clear++;
	}
	if ((nest->refused || nest->broken_bulks) && nest->via != NMI &&
	    !IS_ENABLED(CONFIG_PREEMPT_RT))
		wrong(nest, "a nested allocation failed");
}

/* One operation, stopped as ordered. Returns whether it could be and all was well. */
static bool one_round(struct nest *nest, enum state state)
{
	settle(nest, state);
	nest->hits = 0;
	nest->hits2 = 0;
	nest->refused = 0;
	nest->hit = false;
	nest->hit2 = false;
	nest->acted = false;
	nest->draining = false;
	nest->drained = false;
	operate(nest);
	if (!nest->hit)
		return false;
	check_hit(nest);
	compare(nest);
	KUNIT_EXPECT_NULL_MSG(nest->test, nest->wrong, "%s; %s, access %u (busy %u), %s",
			      nest->wrong, states[state].name, nest->at, nest->busy,
			      nest->deed == TAKE ? "take" : "give");
	return !nest->wrong;
}

static void every_access(struct nest *nest, enum state state)
{
	for (nest->at = 1; nest->at <= MAX_HITS; nest->at++) {
		for (nest->deed = 0; nest->deed < NR_DEEDS; nest->deed++) {
			if (!one_round(nest, state))
				return;
			if (nest->via == OTHER_CPU)
				break;
		}
	}
	KUNIT_FAIL(nest->test, "more than %d accesses of one operation", MAX_HITS);
}

/* --------------------------------------------------------------- the cases ---- */

struct param {
	enum op op;
	enum via via;
	enum field field;
};

static const char * const op_names[] = {
	"alloc", "free", "bulk-alloc", "bulk-free", "malloc", "general-free", "shrink",
};

static const char * const via_names[] = { "hardirq", "softirq", "nmi", "drain from afar" };

static const char * const field_names[NR_FIELDS] = {
	[BUSY]	 = "busy",
	[COUNT]	 = "count",
	[LIVE]	 = "what the cache's lock guards",
	[OWNERS] = "what the heap's lock guards",
};

static void param_desc(const struct param *p, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s in %s, at %s", via_names[p->via],
		 op_names[p->op], field_names[p->field]);
}

#define OPS(via, field)				\
	{ ALLOC, via, field },			\
	{ FREE, via, field },			\
	{ BULK_ALLOC, via, field },		\
	{ BULK_FREE, via, field },		\
	{ MALLOC, via, field },			\
	{ GENERAL_FREE, via, field },		\
	{ SHRINK, via, field }

static const struct param interrupts[] = {
	OPS(HARDIRQ, BUSY), OPS(HARDIRQ, COUNT), OPS(SOFTIRQ, BUSY),
};

/* Anywhere: with a front half changed, with the cache's lock held, or the heap's. */
static const struct param nmis[] = {
	OPS(NMI, BUSY), OPS(NMI, COUNT), OPS(NMI, LIVE), OPS(NMI, OWNERS),
};

static const struct param drains[] = { OPS(OTHER_CPU, BUSY) };

KUNIT_ARRAY_PARAM(interrupts, interrupts, param_desc);
KUNIT_ARRAY_PARAM(nmis, nmis, param_desc);
KUNIT_ARRAY_PARAM(drains, drains, param_desc);

static void watch(struct kunit *test, struct nest *nest, enum field field)
{
	struct perf_event_attr attr;

	hw_breakpoint_init(&attr);
	attr.bp_type = HW_BREAKPOINT_RW;
	switch (field) {
	case BUSY:
		attr.bp_addr = (unsigned long)&nest->front->busy;
		attr.bp_len = sizeof(nest->front->busy);
		break;
	case COUNT:
		attr.bp_addr = (unsigned long)&nest->front->n;
		attr.bp_len = sizeof(nest->front->n);
		break;
	case LIVE:
		attr.bp_addr = (unsigned long)&nest->cache->live;
		attr.bp_len = sizeof(nest->cache->live);
		break;
	default:
		attr.bp_addr = (unsigned long)&nest->th->heap->acct.moves;
		attr.bp_len = sizeof(nest->th->heap->acct.moves);
		break;
	}
	nest->watch = perf_event_create_kernel_counter(&attr, raw_smp_processor_id(), NULL,
						       on_access, nest);
	KUNIT_ASSERT_FALSE_MSG(test, IS_ERR(nest->watch), "watchpoint: %ld",
			       PTR_ERR(nest->watch));
}

/* The watchpoint works at all, and preemption is seen to be on where it is. */
static void watchpoint(struct kunit *test, struct nest *nest, enum field field)
{
	nest->via = HARDIRQ;
	nest->deed = TAKE;
	nest->at = 1;
	WRITE_ONCE(nest->armed, true);
	switch (field) {
	case BUSY:
		READ_ONCE(nest->front->busy);
		break;
	case COUNT:
		READ_ONCE(nest->front->n);
		break;
	case LIVE:
		READ_ONCE(nest->cache->live);
		break;
	default:
		READ_ONCE(nest->th->heap->acct.moves);
		break;
	}
	barrier();
	WRITE_ONCE(nest->armed, false);
	irq_work_sync(&nest->work);
	KUNIT_ASSERT_TRUE_MSG(test, nest->hit, "the watchpoint is not hit");
	KUNIT_EXPECT_TRUE(test, nest->in_nmi);
	KUNIT_EXPECT_TRUE(test, nest->irqs_on);
	KUNIT_EXPECT_FALSE(test, nest->preempt_off);
	KUNIT_EXPECT_TRUE_MSG(test, nest->acted_inside, "the interrupt did not come at once");
	KUNIT_EXPECT_NULL_MSG(test, nest->wrong, "%s", nest->wrong);
}

static struct nest *begin(struct kunit *test, bool general, enum field field)
{
	struct nest *nest = kunit_kzalloc(test, sizeof(*nest), GFP_KERNEL);
	struct pym_cache_stats s;

	KUNIT_ASSERT_NOT_NULL(test, nest);
	pymt_stay_here(test);
	nest->test = test;
	nest->th = pymt_open(test, PYMT_PAGES | PYMT_FRONTS, NULL);
	nest->general = general;
	nest->work = PYMT_IRQ_WORK_INIT(act_in_hardirq);
	nest->work2 = PYMT_IRQ_WORK_INIT(act_again);
	tasklet_setup(&nest->tasklet, act_in_softirq);
	if (general) {
		pym_free(pymt_malloc(test, nest->th->heap, SIZE));
		nest->cache = nest->th->heap->class[pym_size_to_class(SIZE)];
	} else {
		nest->cache = pymt_cache(test, nest->th->heap, SIZE);
	}
	pym_cache_stats(nest->cache, &s);
	nest->base_allocs = s.allocs;
	nest->base_frees = s.frees;
	while (nest->nr_live < MAX_LIVE / 2)
		enter(nest, take_one(nest, GFP_KERNEL));
	KUNIT_ASSERT_TRUE(test, !!nest->cache->fronts);
	nest->front = per_cpu_ptr(nest->cache->fronts, raw_smp_processor_id());
	watch(test, nest, field);
	watchpoint(test, nest, field);
	return nest;
}

static void end(struct kunit *test, struct nest *nest)
{
	struct pym_cache_stats s;

	perf_event_release_kernel(nest->watch);
	kunit_info(test, "%u rounds, %u of them with busy set, %u twice\n", nest->rounds,
		   nest->while_set, nest->twice);
	while (nest->nr_live)
		give_one(nest, leave(nest));
	pym_heap_shrink(nest->th->heap);
	pym_cache_stats(nest->cache, &s);
	KUNIT_EXPECT_EQ(test, s.live, 0);
	KUNIT_EXPECT_EQ(test, s.cached, 0);
	KUNIT_EXPECT_EQ(test, s.pools, 0);
}

static void every_state(struct kunit *test, struct nest *nest)
{
	const struct param *p = test->param_value;
	enum state state;

	nest->op = p->op;
	nest->via = p->via;
	for (state = 0; state < NR_STATES && !nest->wrong; state++)
		every_access(nest, state);
	if (p->field == BUSY || p->field == COUNT)
		KUNIT_EXPECT_GT_MSG(test, nest->while_set, 0, "busy was never set");
	if (p->field == BUSY)
		KUNIT_EXPECT_GT_MSG(test, nest->while_clear, 0, "busy was never clear");
	if (p->field != OWNERS)
		KUNIT_EXPECT_GT(test, nest->rounds, 0);
}

static struct nest *begin_param(struct kunit *test)
{
	const struct param *p = test->param_value;

	return begin(test, p->op == MALLOC || p->op == GENERAL_FREE, p->field);
}

/* An interrupt at each access. */
static void nested(struct kunit *test)
{
	struct nest *nest = begin_param(test);

	every_state(test, nest);
	end(test, nest);
}

/* The NMI itself at each access. */
static void in_nmi_too(struct kunit *test)
{
	nested(test);
}

/* Another CPU asks for the front at each access. */
static void drained(struct kunit *test)
{
	int other = cpumask_any_but(cpu_online_mask, raw_smp_processor_id());
	struct nest *nest;

	if (other >= nr_cpu_ids)
		kunit_skip(test, "needs two CPUs");
	nest = begin_param(test);
	other = cpumask_any_but(cpu_online_mask, raw_smp_processor_id());
	nest->drainer = kthread_create(drainer, nest, "pymalloc-kunit");
	if (IS_ERR(nest->drainer)) {
		KUNIT_FAIL(test, "no thread: %ld", PTR_ERR(nest->drainer));
	} else {
		kthread_bind(nest->drainer, other);
		wake_up_process(nest->drainer);
		every_state(test, nest);
		kthread_stop(nest->drainer);
		kunit_info(test, "%u drains were under way\n", nest->remote);
		/* How many of the rounds depends on what else the machine does. */
		KUNIT_EXPECT_GT(test, nest->remote, 0);
	}
	end(test, nest);
}

/* An interrupt of what an interrupt does: in softirqs they are on. */
static void nested_twice(struct kunit *test)
{
	struct nest *nest = begin(test, false, *(const enum field *)test->param_value);
	static const enum op ops[] = { ALLOC, FREE, BULK_ALLOC, BULK_FREE, SHRINK };
	struct rnd_state rnd;
	unsigned int round;

	prandom_seed_state(&rnd, pymt_seed(test));
	nest->via = SOFTIRQ;
	for (round = 0; round < 400 && !nest->wrong; round++) {
		nest->op = ops[prandom_u32_state(&rnd) % ARRAY_SIZE(ops)];
		nest->at = prandom_u32_state(&rnd) % 8 + 1;
		nest->at2 = prandom_u32_state(&rnd) % 16 + 1;
		nest->deed = prandom_u32_state(&rnd) % NR_DEEDS;
		nest->deed2 = prandom_u32_state(&rnd) % NR_DEEDS;
		one_round(nest, prandom_u32_state(&rnd) % NR_STATES);
	}
	KUNIT_EXPECT_GT_MSG(test, nest->twice, 50, "interrupts of interrupts");
	end(test, nest);
}

static const enum field fields[] = { BUSY, COUNT };

static void field_desc(const enum field *field, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "at %s", field_names[*field]);
}

KUNIT_ARRAY_PARAM(fields, fields, field_desc);

static const struct kunit_attributes slow = { .speed = KUNIT_SPEED_SLOW };

static struct kunit_case nest_cases[] = {
	KUNIT_CASE_PARAM_ATTR(nested, interrupts_gen_params, slow),
	KUNIT_CASE_PARAM_ATTR(in_nmi_too, nmis_gen_params, slow),
	KUNIT_CASE_PARAM_ATTR(nested_twice, fields_gen_params, slow),
	KUNIT_CASE_PARAM_ATTR(drained, drains_gen_params, slow),
	{}
};

static struct kunit_suite nest_suite = {
	.name = "pymalloc_nest",
	.init = pymt_init_bare,
	.exit = pymt_exit,
	.test_cases = nest_cases,
};

kunit_test_suites(&nest_suite);

#endif /* CONFIG_X86 && CONFIG_HAVE_HW_BREAKPOINT */
