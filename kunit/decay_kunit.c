// SPDX-License-Identifier: GPL-2.0-only
/*
 * Decay of fronts and depots: what nobody touches for some ticks goes back to the
 * pools, on the CPU that has it, and nothing is left armed when there is no more.
 * What becomes of the pools then is in order_kunit.c.
 */
#include <linux/cpu.h>
#include <linux/cpumask.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/wait_bit.h>
#include <linux/workqueue.h>
#include "decay.h"
#include "within.h"

const enum pymt_kind pymt_decay_kinds[PYMT_NR_DECAY_KINDS] = {
	PYMT_PAGES | PYMT_FRONTS, PYMT_SPLIT | PYMT_FRONTS, PYMT_VMALLOC | PYMT_FRONTS,
};

void pymt_decay_kind_desc(const enum pymt_kind *kind, char *desc)
{
	static const char * const names[] = {
		[PYMT_SPLIT] = "split", [PYMT_PAGES] = "pages", [PYMT_VMALLOC] = "vmalloc",
	};

	scnprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s", names[*kind & PYMT_KIND]);
}

KUNIT_ARRAY_PARAM(kinds, pymt_decay_kinds, pymt_decay_kind_desc);

static struct pymt_heap *open_param(struct kunit *test)
{
	pymt_stay_here(test);
	return pymt_open(test, *(const enum pymt_kind *)test->param_value, NULL);
}

static struct pymt_heap *open_pages(struct kunit *test)
{
	pymt_stay_here(test);
	return pymt_open(test, PYMT_PAGES | PYMT_FRONTS, NULL);
}

static struct pym_front *front_here(struct pym_cache *cache)
{
	return pymt_front_of(cache, raw_smp_processor_id());
}

static void expect_armed(struct kunit *test, struct pymt_heap *th)
{
	KUNIT_EXPECT_TRUE_MSG(test, delayed_work_pending(&th->heap->tick), "no tick is due");
}

/* Every front is empty and closed, every depot empty. */
void pymt_expect_closed(struct kunit *test, struct pym_cache *cache)
{
	unsigned int nid;
	int cpu;

	for_each_possible_cpu(cpu) {
		KUNIT_EXPECT_EQ_MSG(test, pymt_front_of(cache, cpu)->cap, 0, "CPU %d", cpu);
		KUNIT_EXPECT_EQ_MSG(test, pymt_front_of(cache, cpu)->n, 0, "CPU %d", cpu);
		KUNIT_EXPECT_EQ_MSG(test, pymt_front_of(cache, cpu)->out, 0, "CPU %d", cpu);
	}
	for (nid = 0; nid < pym_nr_nodes(); nid++)
		KUNIT_EXPECT_EQ_MSG(test, cache->node_of[nid].depot.nr, 0, "node %u", nid);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).cached, 0);
}

/* The same, and all pools without a live block have gone but those that are kept. */
void pymt_expect_at_rest(struct kunit *test, struct pymt_heap *th, struct pym_cache *cache)
{
	unsigned int ticks = pymt_rest(test, th), nid;

	KUNIT_EXPECT_LE_MSG(test, ticks, PYMT_TICKS, "ticks");
	pymt_expect_closed(test, cache);
	for (nid = 0; nid < pym_nr_nodes(); nid++) {
		struct pym_order *order = *pym_order_of(th->heap, 0, nid, cache->order);

		/* What cannot be split is given back whole, or not at all. */
		if (order && th->heap->provider->flags & PYM_PROVIDER_SPLIT)
			KUNIT_EXPECT_LE(test, order->free, pym_kept_pools(cache->order));
	}
	pymt_check(test, th);
}

long pymt_take_there(void *arg)
{
	struct pymt_errand *e = arg;
	unsigned int i;

	for (i = 0; i < e->n; i++) {
		e->blocks[i] = pym_cache_alloc(e->cache, GFP_KERNEL);
		if (!e->blocks[i])
			return -ENOMEM;
	}
	return 0;
}

long pymt_give_there(void *arg)
{
	struct pymt_errand *e = arg;

	pymt_give_many(e->cache, e->blocks, e->n);
	return 0;
}

/* Have the front of @cpu hold some blocks of its own node. */
void pymt_use_there(struct kunit *test, struct pym_cache *cache, int cpu)
{
	void *blocks[40];
	struct pymt_errand e = { .cache = cache, .blocks = blocks, .n = ARRAY_SIZE(blocks) };

	KUNIT_ASSERT_EQ(test, work_on_cpu(cpu, pymt_take_there, &e), 0);
	work_on_cpu(cpu, pymt_give_there, &e);
	KUNIT_EXPECT_GT(test, pymt_front_of(cache, cpu)->n, 0);
}

/* ---------------------------------------------------------- what goes, when ---- */

static void untouched_is_emptied(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_warm(test, th->heap, 64);
	unsigned long cached = pymt_stats_of(cache).cached;
	unsigned int i;

	KUNIT_EXPECT_GT(test, cached, 0);
	/* The first has to see it, and two intervals must pass. */
	for (i = 0; i < 2; i++) {
		KUNIT_EXPECT_TRUE(test, pymt_tick(th));
		KUNIT_EXPECT_EQ_MSG(test, pymt_stats_of(cache).cached, cached, "after %u", i + 1);
	}
	KUNIT_EXPECT_TRUE(test, pymt_tick(th));
	pymt_expect_closed(test, cache);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).pools, 0);
	pymt_expect_at_rest(test, th, cache);
}

/* An allocation, a free, or both between two ticks: each is a touch. */
static void touched_stays(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_warm(test, th->heap, 64);
	struct pym_front *front = front_here(cache);
	unsigned int i, nr = 0;
	void *blocks[8];
	unsigned long n;

	for (i = 0; i < 24; i++) {
		if (i % 3 == 0)
			pym_cache_free(cache, pymt_take(test, cache));
		else if (i % 3 == 1)
			blocks[nr++] = pymt_take(test, cache);
		else
			pym_cache_free(cache, blocks[--nr]);
		n = front->n;
		KUNIT_EXPECT_TRUE(test, pymt_tick(th));
		KUNIT_EXPECT_EQ_MSG(test, front->n, n, "the tick took blocks in use");
		KUNIT_EXPECT_GT_MSG(test, front->cap, 0, "the tick closed a front in use");
	}
	pymt_give_many(cache, blocks, nr);
	pymt_expect_at_rest(test, th, cache);
}

/* Not the cache, nor the heap: each front, and each depot. */
static void each_on_its_own(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_warm(test, th->heap, 64);
	struct pym_cache *idle = pymt_warm(test, th->heap, 64);
	unsigned int many = 4 * cache->front_cap, i;
	void **blocks = pymt_array(test, many);
	int there = pymt_other_cpu();

	pymt_take_many(test, cache, blocks, many);
	pymt_give_many(cache, blocks, many);
	KUNIT_EXPECT_GT(test, cache->node_of[numa_mem_id()].depot.nr, 0);
	pymt_use_there(test, cache, there);
	for (i = 0; i < PYMT_TICKS; i++) {
		pym_cache_free(cache, pymt_take(test, cache));
		pymt_tick(th);
	}
	KUNIT_EXPECT_GT(test, front_here(cache)->cap, 0);
	KUNIT_EXPECT_EQ(test, cache->node_of[numa_mem_id()].depot.nr, 0);
	if (there != raw_smp_processor_id())
		KUNIT_EXPECT_EQ(test, pymt_front_of(cache, there)->cap, 0);
	pymt_expect_closed(test, idle);
	pymt_expect_at_rest(test, th, cache);
}

static void every_cpu(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_warm(test, th->heap, 64);
	int cpu;

	for_each_online_cpu(cpu)
		pymt_use_there(test, cache, cpu);
	pymt_expect_at_rest(test, th, cache);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).pools, 0);
}

/* Classes are in no list of caches. */
static void classes_too(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_heap_stats stats;
	unsigned int i, size;
	void *blocks[64];

	for (size = 8; size <= PYM_SMALL_MAX; size *= 2) {
		for (i = 0; i < ARRAY_SIZE(blocks); i++)
			blocks[i] = pymt_malloc(test, th->heap, size);
		for (i = 0; i < ARRAY_SIZE(blocks); i++)
			pym_free(blocks[i]);
	}
	for (i = 0; i < 3; i++)
		pymt_tick(th);
	for (size = 8; size <= PYM_SMALL_MAX; size *= 2)
		pymt_expect_closed(test, th->heap->class[pym_size_to_class(size)]);
	KUNIT_EXPECT_LE(test, pymt_rest(test, th), PYMT_TICKS);
	pymt_stats(test, th->heap, &stats);
	KUNIT_EXPECT_EQ(test, stats.free_blocks, 0);
	KUNIT_EXPECT_EQ(test, stats.live, 0);
}

/* Gathered blocks of another node, too few to go home. */
static void gathered_go_home(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_warm(test, th->heap, 64);
	void *blocks[3];
	struct pymt_errand e = { .cache = cache, .blocks = blocks, .n = ARRAY_SIZE(blocks) };
	int there = pymt_other_cpu();

	KUNIT_ASSERT_EQ(test, work_on_cpu(there, pymt_take_there, &e), 0);
	pymt_expect_at_rest(test, th, cache);
	pymt_give_there(&e);
	if (cpu_to_node(there) != numa_node_id() && !cache->indexed)
		KUNIT_EXPECT_EQ(test, front_here(cache)->out, ARRAY_SIZE(blocks));
	expect_armed(test, th);
	pymt_expect_at_rest(test, th, cache);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).pools, 0);
}

/* Their pools wait for readers, and then go like any others. */
static void typesafe_too(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache_args args = {
		.heap = th->heap, .flags = PYM_CACHE_TYPESAFE_BY_RCU,
	};
	struct pym_cache *cache = pym_cache_create("typesafe", 64, &args);
	unsigned int n = 3000, i;
	void **blocks = pymt_array(test, n);

	KUNIT_ASSERT_NOT_NULL(test, cache);
	/* RCU calls back in a bottom half, and it is given back there. */
	if (th->provider)
		th->provider->atomic = true;
	pymt_take_many(test, cache, blocks, n);
	pymt_give_many(cache, blocks, n);
	for (i = 0; i < 3; i++)
		pymt_tick(th);
	/* Two: what came while one was under way has one of its own. */
	rcu_barrier();
	rcu_barrier();
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).pools, 0);
	pymt_expect_at_rest(test, th, cache);
}

/* ---------------------------------------------------- closed, and open again ---- */

static void opened_by_an_allocation(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_warm(test, th->heap, 64);
	unsigned int i;
	void *p;

	for (i = 0; i < 3; i++) {
		pymt_expect_at_rest(test, th, cache);
		p = pymt_take(test, cache);
		KUNIT_EXPECT_GT(test, front_here(cache)->cap, 0);
		expect_armed(test, th);
		memset(p, 0x3c, 64);
		pymt_expect_at_rest(test, th, cache);
		KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).live, 1);
		KUNIT_EXPECT_NULL(test, memchr_inv(p, 0x3c, 64));
		pym_cache_free(cache, p);
	}
	pymt_expect_at_rest(test, th, cache);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).pools, 0);
}

/* One block that was freed where the front is closed must not stay there. */
static void opened_by_a_free_elsewhere(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_warm(test, th->heap, 64);
	int cpu;

	for_each_online_cpu(cpu) {
		void *p = pymt_take(test, cache);
		struct pymt_errand e = { .cache = cache, .blocks = &p, .n = 1 };

		pymt_expect_at_rest(test, th, cache);
		work_on_cpu(cpu, pymt_give_there, &e);
		KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).live, 0);
		KUNIT_EXPECT_EQ_MSG(test, pymt_stats_of(cache).cached, 1, "CPU %d", cpu);
		expect_armed(test, th);
		pymt_expect_at_rest(test, th, cache);
		KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).pools, 0);
	}
}

struct gift {
	struct pym_cache *cache;
	void *blocks[4];
	unsigned int way;
};

/* Every function that frees; the last way is for blocks of pym_malloc(). */
#define WAYS	4

static void give(void *arg)
{
	struct gift *g = arg;
	unsigned int i;

	switch (g->way) {
	case 0:
		pymt_give_many(g->cache, g->blocks, ARRAY_SIZE(g->blocks));
		break;
	case 1:
		pym_cache_free_bulk(g->cache, ARRAY_SIZE(g->blocks), g->blocks);
		break;
	case 2:
		for (i = 0; i < ARRAY_SIZE(g->blocks); i++)
			pym_cache_free_rcu(g->cache, g->blocks[i]);
		break;
	default:
		for (i = 0; i < ARRAY_SIZE(g->blocks); i++)
			pym_free(g->blocks[i]);
	}
}

static void opened_in(struct kunit *test, struct pymt_heap *th, struct gift *g,
		      struct pym_cache *named, enum pymt_context context)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(g->blocks); i++)
		g->blocks[i] = g->way == WAYS - 1 ? pymt_malloc(test, th->heap, 64) :
						    pymt_take(test, named);
	g->cache = g->way == WAYS - 1 ? th->heap->class[pym_size_to_class(64)] : named;
	pymt_expect_at_rest(test, th, g->cache);
	pymt_call_in(test, context, give, g);
	if (g->way == 2)
		/* As the end of the cache would. */
		wait_var_event(&named->waiting, !atomic_read(&named->waiting));
	KUNIT_EXPECT_EQ_MSG(test, pymt_stats_of(g->cache).live, 0, "%s, way %u",
			    pymt_context_names[context], g->way);
	KUNIT_EXPECT_TRUE_MSG(test, delayed_work_pending(&th->heap->tick),
			      "no tick is due: %s, way %u", pymt_context_names[context], g->way);
	pymt_expect_at_rest(test, th, g->cache);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(g->cache).pools, 0);
}

/* Every function that frees, in every context. */
static void opened_in_any_context(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_warm(test, th->heap, 64);
	void *blocks[64];
	unsigned int i, context;
	struct gift g;

	for (i = 0; i < ARRAY_SIZE(blocks); i++)
		blocks[i] = pymt_malloc(test, th->heap, 64);
	for (i = 0; i < ARRAY_SIZE(blocks); i++)
		pym_free(blocks[i]);
	for (context = 0; context < PYMT_NR_CONTEXTS; context++) {
		if (context == PYMT_NMI && !PYMT_HAS_NMI)
			continue;
		for (g.way = 0; g.way < WAYS; g.way++) {
			/* Refused in an NMI. */
			if (g.way != 2 || context != PYMT_NMI)
				opened_in(test, th, &g, cache, context);
		}
	}
}

/* ------------------------------------------------------ who is not bothered ---- */

/* A CPU that takes no interrupt until it is told to, or until its time is up. */
struct deaf {
	struct task_struct *task;
	u64 ns;
	bool deaf, listen, expired;
};

static int be_deaf(void *arg)
{
	struct deaf *d = arg;
	u64 end;

	local_irq_disable();
	end = ktime_get_ns() + d->ns;
	WRITE_ONCE(d->deaf, true);
	while (!READ_ONCE(d->listen) && !d->expired) {
		d->expired = ktime_get_ns() > end;
		cpu_relax();
	}
	local_irq_enable();
	while (!kthread_should_stop())
		schedule_timeout_interruptible(1);
	return 0;
}

static void make_deaf(struct kunit *test, struct deaf *d, int cpu, unsigned int ms)
{
	*d = (struct deaf){ .ns = (u64)ms * NSEC_PER_MSEC };
	d->task = kthread_create_on_cpu(be_deaf, d, cpu, "pymalloc-kunit/%u");
	KUNIT_ASSERT_FALSE(test, IS_ERR(d->task));
	wake_up_process(d->task);
	while (!READ_ONCE(d->deaf))
		cond_resched();
}

/* Returns true if its time was up before. */
static bool make_listen(struct deaf *d)
{
	WRITE_ONCE(d->listen, true);
	kthread_stop(d->task);
	return d->expired;
}

/*
 * A tick interrupts a CPU to have its front emptied, and waits for that. Where it
 * need not be emptied, it does not wait.
 */
static void closed_is_left_alone(struct kunit *test)
{
	struct pymt_heap *th = open_pages(test);
	struct pym_cache *cache = pymt_warm(test, th->heap, 64);
	int there = pymt_other_cpu();
	unsigned int i;
	struct deaf d;

	if (there == raw_smp_processor_id())
		kunit_skip(test, "needs CONFIG_SMP and two CPUs");
	pymt_expect_at_rest(test, th, cache);
	/* Closed there, and in use here. */
	make_deaf(test, &d, there, 5000);
	for (i = 0; i < 2 * PYMT_TICKS; i++) {
		pym_cache_free(cache, pymt_take(test, cache));
		pymt_tick(th);
	}
	KUNIT_EXPECT_FALSE_MSG(test, make_listen(&d), "a CPU was waited for without need");

	/* Closed there, and emptied here. */
	make_deaf(test, &d, there, 5000);
	pymt_rest(test, th);
	KUNIT_EXPECT_FALSE_MSG(test, make_listen(&d), "a CPU was waited for without need");

	/* Used there lately. */
	pymt_use_there(test, cache, there);
	make_deaf(test, &d, there, 5000);
	pymt_tick(th);
	KUNIT_EXPECT_FALSE_MSG(test, make_listen(&d), "a CPU was waited for without need");

	/* And this is how it would show. */
	make_deaf(test, &d, there, 100);
	pymt_rest(test, th);
	KUNIT_EXPECT_TRUE_MSG(test, make_listen(&d), "its front was not emptied there");
	pymt_expect_at_rest(test, th, cache);
}

static void cpu_goes_offline(struct kunit *test)
{
	struct pymt_heap *th = open_pages(test);
	struct pym_cache *cache;
	int cpu;

	/* The first CPU cannot go. */
	set_cpus_allowed_ptr(current, cpumask_of(cpumask_first(cpu_online_mask)));
	cache = pymt_warm(test, th->heap, 64);
	cpu = pymt_other_cpu();
	if (!IS_ENABLED(CONFIG_HOTPLUG_CPU) || cpu == raw_smp_processor_id())
		kunit_skip(test, "needs two CPUs and CONFIG_HOTPLUG_CPU");
	pymt_use_there(test, cache, cpu);
	KUNIT_ASSERT_EQ(test, remove_cpu(cpu), 0);
	KUNIT_EXPECT_EQ(test, pymt_front_of(cache, cpu)->n, 0);
	KUNIT_EXPECT_EQ(test, pymt_front_of(cache, cpu)->cap, 0);
	pymt_expect_at_rest(test, th, cache);
	KUNIT_ASSERT_EQ(test, add_cpu(cpu), 0);
	pymt_use_there(test, cache, cpu);
	pymt_expect_at_rest(test, th, cache);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).pools, 0);
}

static struct kunit_case decay_cases[] = {
	KUNIT_CASE_PARAM(untouched_is_emptied, kinds_gen_params),
	KUNIT_CASE_PARAM(touched_stays, kinds_gen_params),
	KUNIT_CASE_PARAM(each_on_its_own, kinds_gen_params),
	KUNIT_CASE_PARAM(every_cpu, kinds_gen_params),
	KUNIT_CASE_PARAM(classes_too, kinds_gen_params),
	KUNIT_CASE_PARAM(gathered_go_home, kinds_gen_params),
	KUNIT_CASE_PARAM(typesafe_too, kinds_gen_params),
	KUNIT_CASE_PARAM(opened_by_an_allocation, kinds_gen_params),
	KUNIT_CASE_PARAM(opened_by_a_free_elsewhere, kinds_gen_params),
	KUNIT_CASE_PARAM(opened_in_any_context, kinds_gen_params),
	KUNIT_CASE(closed_is_left_alone),
	KUNIT_CASE(cpu_goes_offline),
	{}
};

static struct kunit_suite decay_suite = {
	.name = "pymalloc_decay",
	.init = pymt_init_by_hand,
	.exit = pymt_exit,
	.test_cases = decay_cases,
};

kunit_test_suites(&decay_suite);
