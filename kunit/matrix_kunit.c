// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every operation in every context, over both providers, with the fronts and the
 * pools in every state that makes it take another way:
 *
 *	fresh	the heap has nothing yet
 *	stocked	the pools in use have free blocks, the fronts are empty
 *	half	the front of this CPU is half full
 *	full	the front of this CPU is full, and so is the depot
 *
 * What is expected of a cell follows from the context and the provider alone. The
 * counters must be exact afterwards, whichever way was taken.
 */
#include <linux/delay.h>
#include <linux/workqueue.h>
#include "within.h"

enum op { ALLOC, FREE, BULK_ALLOC, BULK_FREE, MALLOC, GENERAL_FREE, NR_OPS };
enum state { FRESH, STOCKED, HALF, FULL, NR_STATES };

static const char * const op_names[NR_OPS] = {
	"alloc", "free", "bulk-alloc", "bulk-free", "malloc", "general-free",
};

static const char * const state_names[NR_STATES] = { "fresh", "stocked", "half", "full" };

struct cell {
	enum pymt_context context;
	enum op op;
	enum pymt_kind kind;
};

#define OPS(context, kind)			\
	{ context, ALLOC, kind },		\
	{ context, FREE, kind },		\
	{ context, BULK_ALLOC, kind },		\
	{ context, BULK_FREE, kind },		\
	{ context, MALLOC, kind },		\
	{ context, GENERAL_FREE, kind }

#define CELLS(context)	OPS(context, PYMT_PAGES), OPS(context, PYMT_VMALLOC)

static const struct cell cells[] = {
	CELLS(PYMT_TASK),
	CELLS(PYMT_PREEMPT_OFF),
	CELLS(PYMT_RCU_READER),
	CELLS(PYMT_BH_OFF),
	CELLS(PYMT_IRQS_OFF),
	CELLS(PYMT_SOFTIRQ_TIMER),
	CELLS(PYMT_SOFTIRQ_TASKLET),
	CELLS(PYMT_HARDIRQ_WORK),
	CELLS(PYMT_HARDIRQ_TIMER),
	CELLS(PYMT_RCU_CALLBACK),
	CELLS(PYMT_WORKQUEUE),
	CELLS(PYMT_NMI),
};
static_assert(ARRAY_SIZE(cells) == PYMT_NR_CONTEXTS * NR_OPS * 2);

static void cell_desc(const struct cell *cell, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s %s %s", pymt_context_names[cell->context],
		 op_names[cell->op], cell->kind == PYMT_PAGES ? "pages" : "vmalloc");
}

KUNIT_ARRAY_PARAM(cells, cells, cell_desc);

#define SIZE	256		/* a class of its own size, and a cache's */
#define BULK	40		/* more than a batch, and than a front */
#define STOCK	600		/* three eighths are more than a front and the depot hold */

/* One operation, as it is done in the context. */
struct job {
	enum op op;
	struct pym_heap *heap;
	struct pym_cache *cache;
	gfp_t gfp;
	void *block;
	void *many[BULK];
	size_t got;
	int cpu;
};

static void operate(void *arg)
{
	struct job *job = arg;

	job->cpu = raw_smp_processor_id();
	switch (job->op) {
	case ALLOC:
		job->block = pym_cache_alloc(job->cache, job->gfp);
		break;
	case FREE:
		pym_cache_free(job->cache, job->block);
		break;
	case BULK_ALLOC:
		job->got = pym_cache_alloc_bulk(job->cache, job->gfp, BULK, job->many);
		break;
	case BULK_FREE:
		pym_cache_free_bulk(job->cache, BULK, job->many);
		break;
	case MALLOC:
		job->block = pym_malloc(job->heap, SIZE, job->gfp);
		break;
	case GENERAL_FREE:
		pym_free(job->block);
		break;
	default:
		break;
	}
}

static bool is_general(enum op op)
{
	return op == MALLOC || op == GENERAL_FREE;
}

static bool is_free(enum op op)
{
	return op == FREE || op == BULK_FREE || op == GENERAL_FREE;
}

static bool is_bulk(enum op op)
{
	return op == BULK_ALLOC || op == BULK_FREE;
}

static void *take(struct kunit *test, struct job *job)
{
	return is_general(job->op) ? pymt_malloc(test, job->heap, SIZE) :
				     pymt_take(test, job->cache);
}

static void give(struct job *job, void *block)
{
	if (is_general(job->op))
		pym_free(block);
	else
		pym_cache_free(job->cache, block);
}

/* The cache behind the blocks of the job, once there is one. */
static struct pym_cache *cache_of(struct job *job)
{
	return is_general(job->op) ? job->heap->class[pym_size_to_class(SIZE)] : job->cache;
}

static struct pym_front *front_of(struct pym_cache *cache)
{
	return cache && cache->fronts ?
	       per_cpu_ptr(cache->fronts, raw_smp_processor_id()) : NULL;
}

static struct pym_cache_stats stats_of(struct pym_cache *cache)
{
	struct pym_cache_stats stats = { };

	if (cache)
		pym_cache_stats(cache, &stats);
	return stats;
}

/* Bring about the state; @held says which of @blocks are live then. */
static unsigned int prepare(struct kunit *test, struct job *job, enum state state,
			    void **blocks)
{
	struct pym_front *front;
	unsigned int i, n = 0;
	struct pym_cache *cache;

	if (state == FRESH)
		return 0;
	for (i = 0; i < STOCK; i++)
		blocks[i] = take(test, job);
	cache = cache_of(job);
	front = front_of(cache);
	KUNIT_ASSERT_NOT_NULL_MSG(test, front, "%d allocations earn fronts", STOCK);
	/* Most stay, so that no pool becomes empty or drains. */
	for (i = 0; i < STOCK; i++) {
		if (i % 8 < 5)
			blocks[n++] = blocks[i];
		else
			give(job, blocks[i]);
	}
	if (state == FULL) {
		KUNIT_EXPECT_GT_MSG(test, front->n, front->cap / 2, "at least");
		while (front->n < front->cap)
			give(job, blocks[--n]);
		KUNIT_EXPECT_EQ(test, front->n, front->cap);
		KUNIT_EXPECT_EQ(test, cache->node_of[numa_mem_id()].depot.nr, PYM_DEPOT_BATCHES);
		return n;
	}
	pym_heap_shrink(job->heap);
	KUNIT_EXPECT_EQ_MSG(test, stats_of(cache).cached, 0, "the fronts are empty");
	KUNIT_EXPECT_GT_MSG(test, stats_of(cache).free, BULK, "the pools are not");
	if (state == HALF) {
		while (front->n < front->cap / 2)
			give(job, blocks[--n]);
		KUNIT_EXPECT_EQ(test, front->n, front->cap / 2);
	}
	return n;
}

/* Frees may be put off there, but not for long. */
static void wait_for_frees(struct kunit *test, struct job *job, u64 frees)
{
	unsigned int ms;

	for (ms = 0; ms < 2000 && stats_of(cache_of(job)).frees != frees; ms++)
		usleep_range(1000, 1100);
}

/* Can new memory be had there? */
static bool grows(const struct cell *cell)
{
	return cell->kind == PYMT_PAGES ? pymt_may_obtain_in(cell->context) :
					  pymt_may_sleep_in(cell->context);
}

static void expect_allocated(struct kunit *test, const struct cell *cell, struct job *job,
			     enum state state, const struct pym_heap_stats *before)
{
	const char *name = state_names[state];
	struct pym_heap_stats after;
	bool given = state != FRESH || grows(cell);
	unsigned long n = is_bulk(job->op) ? job->got : !!job->block;

	pymt_stats(test, job->heap, &after);
	if (cell->context == PYMT_NMI) {
		KUNIT_EXPECT_EQ_MSG(test, after.held, before->held, "%s: no new memory", name);
		/* In one piece or not at all: what one pool or the front has. */
		if (job->op == BULK_ALLOC)
			given = n;
	}
	KUNIT_EXPECT_EQ_MSG(test, n, given ? is_bulk(job->op) ? BULK : 1 : 0, "%s: blocks", name);
	KUNIT_EXPECT_EQ_MSG(test, after.live - before->live, n, "%s: live", name);
	if (cell->context != PYMT_NMI) {
		KUNIT_EXPECT_EQ_MSG(test, after.refused - before->refused, !given,
				    "%s: refused", name);
		KUNIT_EXPECT_EQ_MSG(test, after.failures - before->failures, !given,
				    "%s: failures", name);
	}
}

static void expect_way(struct kunit *test, const struct cell *cell, struct job *job,
		       enum state state, u32 n_before)
{
	struct pym_front *front;
	const char *name = state_names[state];

	if (is_bulk(job->op) || (state != HALF && state != FULL))
		return;
	front = front_of(cache_of(job));
	KUNIT_EXPECT_EQ_MSG(test, job->cpu, raw_smp_processor_id(), "%s: the CPU", name);
	if (!is_free(job->op))
		KUNIT_EXPECT_EQ_MSG(test, front->n, n_before - 1, "%s: out of the front", name);
	else if (state == HALF)
		KUNIT_EXPECT_EQ_MSG(test, front->n, n_before + 1, "%s: into the front", name);
	else if (cell->context != PYMT_NMI)
		KUNIT_EXPECT_EQ_MSG(test, front->n, front->cap / 2 + 1,
				    "%s: half of it made room", name);
}

static void try_state(struct kunit *test, const struct cell *cell, enum state state)
{
	struct pymt_heap *th = pymt_open(test, cell->kind | PYMT_FRONTS, NULL);
	struct pym_cache_args args = { .heap = th->heap };
	struct job *job = kunit_kzalloc(test, sizeof(*job), GFP_KERNEL);
	void **blocks = pymt_array(test, STOCK);
	struct pym_heap_stats before, after;
	struct pym_cache_stats was, is;
	unsigned int held, i;
	u32 n_before = 0;

	KUNIT_ASSERT_NOT_NULL(test, job);
	job->op = cell->op;
	job->heap = th->heap;
	job->gfp = pymt_may_sleep_in(cell->context) ? GFP_KERNEL : GFP_ATOMIC;
	job->cache = pym_cache_create("matrix", SIZE, &args);
	KUNIT_ASSERT_NOT_NULL(test, job->cache);
	if (is_free(job->op)) {
		job->block = take(test, job);
		job->many[0] = job->block;
		for (i = 1; i < BULK && is_bulk(job->op); i++)
			job->many[i] = take(test, job);
	}
	held = prepare(test, job, state, blocks);
	pymt_stats(test, th->heap, &before);
	was = stats_of(cache_of(job));
	if (front_of(cache_of(job)))
		n_before = front_of(cache_of(job))->n;

	pymt_call_in(test, cell->context, operate, job);

	if (is_free(job->op)) {
		unsigned int n = is_bulk(job->op) ? BULK : 1;

		wait_for_frees(test, job, was.frees + n);
		is = stats_of(cache_of(job));
		KUNIT_EXPECT_EQ_MSG(test, is.frees - was.frees, n, "%s", state_names[state]);
		KUNIT_EXPECT_EQ_MSG(test, is.allocs, was.allocs, "%s", state_names[state]);
		KUNIT_EXPECT_EQ_MSG(test, was.live - is.live, n, "%s", state_names[state]);
		expect_way(test, cell, job, state, n_before);
	} else {
		unsigned int n = is_bulk(job->op) ? job->got : !!job->block;

		is = stats_of(cache_of(job));
		KUNIT_EXPECT_EQ_MSG(test, is.allocs - was.allocs, n, "%s", state_names[state]);
		KUNIT_EXPECT_EQ_MSG(test, is.frees, was.frees, "%s", state_names[state]);
		expect_way(test, cell, job, state, n_before);
		expect_allocated(test, cell, job, state, &before);
		if (job->op == BULK_ALLOC)
			pym_cache_free_bulk(job->cache, job->got, job->many);
		else if (job->block)
			give(job, job->block);
	}
	pymt_check(test, th);
	for (i = 0; i < held; i++)
		give(job, blocks[i]);
	pymt_stats(test, th->heap, &after);
	KUNIT_EXPECT_EQ_MSG(test, after.live, 0, "%s", state_names[state]);
	/* What a front took without asking its pool is told here. */
	pym_heap_shrink(th->heap);
	pymt_close(test, th);
}

static void cell(struct kunit *test)
{
	const struct cell *cell = test->param_value;
	enum state state;

	pymt_stay_here(test);
	for (state = 0; state < NR_STATES; state++)
		try_state(test, cell, state);
}

static const struct kunit_attributes slow = { .speed = KUNIT_SPEED_SLOW };

static struct kunit_case matrix_cases[] = {
	KUNIT_CASE_PARAM_ATTR(cell, cells_gen_params, slow),
	{}
};

static struct kunit_suite matrix_suite = {
	.name = "pymalloc_matrix",
	.init = pymt_init_bare,
	.exit = pymt_exit,
	.test_cases = matrix_cases,
};

kunit_test_suites(&matrix_suite);
