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
#include <linux/kthread.h>
#include <linux/prandom.h>
#include <linux/sched.h>
#include "nest.h"

#if PYMT_HAS_WATCH

#define MAX_HITS	200		/* of one operation */

static void operate(struct nest *nest)
{
	void *blocks[BULK], *block = NULL;
	size_t i, got = 0;

	if (nest->op == FREE || nest->op == GENERAL_FREE)
		block = nest_leave(nest);
	for (i = 0; i < BULK && nest->op == BULK_FREE; i++)
		blocks[i] = nest_leave(nest);
	WRITE_ONCE(nest->armed, true);
	switch (nest->op) {
	case ALLOC:
	case MALLOC:
		block = nest_take_one(nest, GFP_KERNEL);
		break;
	case FREE:
	case GENERAL_FREE:
		nest_give_one(nest, block);
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
			nest_enter(nest, block);
		else
			nest_wrong(nest, "the interrupted allocation failed");
	}
	if (nest->op == BULK_ALLOC && got != BULK)
		nest_wrong(nest, "the interrupted allocation failed");
	for (i = 0; i < got; i++)
		nest_enter(nest, blocks[i]);
}

/* ------------------------------------------------------------- the rounds ---- */

/* Was the window hit, and could what was done there be done there? */
static void check_hit(struct nest *nest)
{
	nest->rounds++;
	if (!nest->in_nmi)
		nest_wrong(nest, "the watchpoint is no NMI");
	if (!nest->acted)
		nest_wrong(nest, "nothing was nested");
	if (nest->busy) {
		nest->while_set++;
		if (!nest->preempt_off && nest->irqs_on)
			nest_wrong(nest, "preemption was on while busy was set");
		/* On RT softirqs are threads and come when they can. */
		if ((nest->irqs_on || nest->via == NMI) &&
		    !(IS_ENABLED(CONFIG_PREEMPT_RT) && nest->via == SOFTIRQ) &&
		    (!nest->acted_inside || !nest->acted_busy))
			nest_wrong(nest, "the interrupt came after the window");
	} else {
		nest->while_clear++;
	}
	if ((nest->refused || nest->broken_bulks) && nest->via != NMI &&
	    !IS_ENABLED(CONFIG_PREEMPT_RT))
		nest_wrong(nest, "a nested allocation failed");
}

/* One operation, stopped as ordered. Returns whether it could be and all was well. */
static bool one_round(struct nest *nest, enum state state)
{
	nest_settle(nest, state);
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
	nest_compare(nest);
	KUNIT_EXPECT_NULL_MSG(nest->test, nest->wrong, "%s; %s, access %u (busy %u), %s",
			      nest->wrong, nest_states[state].name, nest->at, nest->busy,
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

static struct nest *begin(struct kunit *test, bool general, enum field field)
{
	struct nest *nest = kunit_kzalloc(test, sizeof(*nest), GFP_KERNEL);
	struct pym_cache_stats s;

	KUNIT_ASSERT_NOT_NULL(test, nest);
	pymt_stay_here(test);
	nest->test = test;
	nest->th = pymt_open(test, PYMT_PAGES | PYMT_FRONTS, NULL);
	nest->general = general;
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
		nest_enter(nest, nest_take_one(nest, GFP_KERNEL));
	KUNIT_ASSERT_TRUE(test, !!nest->cache->fronts);
	nest->front = per_cpu_ptr(nest->cache->fronts, raw_smp_processor_id());
	nest_watch(test, nest, field);
	nest_check_watch(test, nest, field);
	return nest;
}

static void end(struct kunit *test, struct nest *nest)
{
	struct pym_cache_stats s;

	nest_unwatch(nest);
	kunit_info(test, "%u rounds, %u of them with busy set, %u twice\n", nest->rounds,
		   nest->while_set, nest->twice);
	while (nest->nr_live)
		nest_give_one(nest, nest_leave(nest));
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
	nest->drainer = kthread_create(nest_drainer, nest, "pymalloc-kunit");
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

#endif /* PYMT_HAS_WATCH */
