// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nodes: a block comes from the node that was asked for, and goes home when it is
 * freed elsewhere. Where only one node has memory, the same is asked of that one,
 * and what is said about the others is that there are none.
 */
#include <linux/cpumask.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/nodemask.h>
#include <linux/topology.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>
#include "within.h"

#define SIZE		256
#define MANY		600

static int node_of(const void *block)
{
	return page_to_nid(is_vmalloc_addr(block) ? vmalloc_to_page(block) :
						    virt_to_page(block));
}

static int here(void)
{
	return cpu_to_node(raw_smp_processor_id());
}

/* Another node with memory, or the same one if there is none. */
static int other_node(int node)
{
	int next = next_node_in(node, node_states[N_MEMORY]);

	return next < MAX_NUMNODES ? next : node;
}

/* A CPU of the node, or any if it has none. */
static int cpu_of(int node)
{
	int cpu = cpumask_any_and(cpumask_of_node(node), cpu_online_mask);

	return cpu < nr_cpu_ids ? cpu : raw_smp_processor_id();
}

static void expect_sums(struct kunit *test, struct pym_cache *cache, unsigned long live)
{
	struct pym_cache_stats s = pymt_stats_of(cache);

	KUNIT_EXPECT_EQ(test, s.live, live);
	KUNIT_EXPECT_EQ(test, s.allocs - s.frees, live);
	KUNIT_EXPECT_EQ(test, s.live + s.cached + s.free + s.virgin, s.pools * s.capacity);
}

/* What is done on a CPU of some node. */
struct errand {
	struct pym_cache *cache;
	void **blocks;
	unsigned int n;
	int node;			/* to ask for; NUMA_NO_NODE: pym_cache_alloc() */
	gfp_t gfp;
	bool bulk;
	unsigned int failed, elsewhere;
};

static long take_there(void *arg)
{
	struct errand *e = arg;
	unsigned int i;

	for (i = 0; i < e->n; i++) {
		e->blocks[i] = e->node == NUMA_NO_NODE ?
			pym_cache_alloc(e->cache, GFP_KERNEL | e->gfp) :
			pym_cache_alloc_node(e->cache, GFP_KERNEL | e->gfp, e->node);
		e->failed += !e->blocks[i];
		if (e->blocks[i] && e->node != NUMA_NO_NODE)
			e->elsewhere += node_of(e->blocks[i]) != e->node;
	}
	return 0;
}

static long give_there(void *arg)
{
	struct errand *e = arg;
	unsigned int i;

	if (e->bulk)
		pym_cache_free_bulk(e->cache, e->n, e->blocks);
	for (i = 0; i < e->n && !e->bulk; i++)
		pym_cache_free(e->cache, e->blocks[i]);
	return 0;
}

static const enum pymt_kind kinds[] = {
	PYMT_PAGES | PYMT_FRONTS, PYMT_PAGES, PYMT_SPLIT | PYMT_FRONTS,
};

static void kind_desc(const enum pymt_kind *kind, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s%s",
		 (*kind & PYMT_KIND) == PYMT_PAGES ? "pages" : "split",
		 *kind & PYMT_FRONTS ? "-fronts" : "");
}

KUNIT_ARRAY_PARAM(kinds, kinds, kind_desc);

static struct pymt_heap *open_param(struct kunit *test)
{
	return pymt_open(test, *(const enum pymt_kind *)test->param_value, NULL);
}

/* ------------------------------------------------------------- allocation ---- */

static void on_each_node(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, SIZE);
	struct errand e = { .cache = cache, .n = MANY, .blocks = pymt_array(test, MANY) };
	unsigned int nodes = 0;
	int node, cpu;

	/* Asked for by CPUs of every node, and twice: out of what was freed before. */
	for_each_node_state(node, N_MEMORY) {
		nodes++;
		for_each_online_cpu(cpu) {
			e.node = node;
			e.failed = 0;
			e.elsewhere = 0;
			work_on_cpu(cpu, take_there, &e);
			KUNIT_EXPECT_EQ(test, e.failed, 0);
			KUNIT_EXPECT_EQ_MSG(test, e.elsewhere, 0, "not on node %d, CPU %d",
					    node, cpu);
			expect_sums(test, cache, MANY);
			work_on_cpu(cpu, give_there, &e);
			expect_sums(test, cache, 0);
			pymt_check(test, th);
		}
	}
	kunit_info(test, "%u nodes\n", nodes);
}

/* Without a wish a block is of this CPU's node. */
static void at_home(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, SIZE);
	unsigned int i, wrong = 0;
	void *blocks[100];

	pymt_stay_here(test);
	for (i = 0; i < ARRAY_SIZE(blocks); i++) {
		blocks[i] = i % 2 ? pym_cache_alloc(cache, GFP_KERNEL) :
				    pym_cache_alloc_node(cache, GFP_KERNEL, NUMA_NO_NODE);
		KUNIT_ASSERT_NOT_NULL(test, blocks[i]);
		wrong += node_of(blocks[i]) != here();
	}
	KUNIT_EXPECT_EQ(test, wrong, 0);
	pymt_give_many(cache, blocks, ARRAY_SIZE(blocks));
	expect_sums(test, cache, 0);
}

/* In one cache, alternately; the flags of a request are honoured all the same. */
static void alternately(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, SIZE);
	void **blocks = pymt_array(test, MANY);
	unsigned int i, wrong = 0, dirty = 0;
	int node = here();

	for (i = 0; i < MANY; i++) {
		blocks[i] = pym_cache_alloc_node(cache, GFP_KERNEL | __GFP_ZERO, node);
		KUNIT_ASSERT_NOT_NULL(test, blocks[i]);
		wrong += node_of(blocks[i]) != node;
		dirty += !!memchr_inv(blocks[i], 0, SIZE);
		memset(blocks[i], pymt_tag(blocks[i]), SIZE);
		node = other_node(node);
	}
	for (i = 0; i < MANY; i++)
		dirty += !!memchr_inv(blocks[i], pymt_tag(blocks[i]), SIZE);
	KUNIT_EXPECT_EQ(test, wrong, 0);
	KUNIT_EXPECT_EQ(test, dirty, 0);
	pymt_check(test, th);
	pymt_give_many(cache, blocks, MANY);
	expect_sums(test, cache, 0);
	pym_heap_shrink(th->heap);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).pools, 0);
}

/* Everything a node has: then only that node or NULL, and else the next. */
static void exhausted(struct kunit *test)
{
	struct pymt_heap *th = pymt_open(test, PYMT_PAGES | PYMT_FRONTS, NULL);
	struct pym_cache *cache = pymt_cache(test, th->heap, PYM_CACHE_MAX_SIZE);
	gfp_t gfp = GFP_KERNEL | __GFP_NOWARN | __GFP_NORETRY;
	int node = other_node(here()), other = other_node(node);
	unsigned int n = 0, elsewhere = 0, i;
	void *first = NULL, *block;

	if (other == node) {
		/* One node: not to be used up; but only that one, or none that is not. */
		block = pym_cache_alloc_node(cache, gfp | __GFP_THISNODE, node);
		KUNIT_ASSERT_NOT_NULL(test, block);
		KUNIT_EXPECT_EQ(test, node_of(block), node);
		pym_cache_free(cache, block);
		return;
	}
	/* A list through the blocks. */
	while ((block = pym_cache_alloc_node(cache, gfp | __GFP_THISNODE, node))) {
		elsewhere += node_of(block) != node;
		*(void **)block = first;
		first = block;
		n++;
		cond_resched();
	}
	kunit_info(test, "%u blocks of %u bytes used node %d up\n", n, PYM_CACHE_MAX_SIZE, node);
	KUNIT_EXPECT_EQ(test, elsewhere, 0);
	KUNIT_EXPECT_GT(test, n, 100);
	/* A little may have become free there meanwhile. */
	for (i = 0, elsewhere = 0; i < 1000 && !elsewhere; i++) {
		block = pym_cache_alloc_node(cache, gfp, node);
		if (!block)
			break;
		elsewhere += node_of(block) != node;
		*(void **)block = first;
		first = block;
	}
	KUNIT_EXPECT_EQ_MSG(test, elsewhere, 1, "the other node has some; %u tries", i);
	pymt_check(test, th);
	while (first) {
		block = first;
		first = *(void **)block;
		pym_cache_free(cache, block);
	}
	expect_sums(test, cache, 0);
	pym_heap_shrink(th->heap);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).pools, 0);
}

/* Nodes that never will be are a mistake; one that is not there now has no memory. */
static void no_such_node(struct kunit *test)
{
	static const int nodes[] = { INT_MIN, -2, MAX_NUMNODES, INT_MAX };
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, SIZE);
	unsigned int i;
	void *block;
	int node;

	for (i = 0; i < ARRAY_SIZE(nodes); i++)
		KUNIT_EXPECT_NULL_MSG(test, pym_cache_alloc_node(cache, GFP_KERNEL, nodes[i]),
				      "node %d", nodes[i]);
	KUNIT_EXPECT_NULL(test, pym_cache_alloc_node(cache, GFP_KERNEL, pym_nr_nodes()));
	pymt_expect_misuse(test, PYM_MISUSE_BAD_ARG, ARRAY_SIZE(nodes) + 1);
	for (node = 0; node < pym_nr_nodes(); node++) {
		if (node_state(node, N_MEMORY))
			continue;
		KUNIT_EXPECT_NULL(test, pym_cache_alloc_node(cache, GFP_KERNEL | __GFP_THISNODE,
							     node));
		block = pym_cache_alloc_node(cache, GFP_KERNEL, node);
		KUNIT_EXPECT_NOT_NULL(test, block);
		pym_cache_free(cache, block);
	}
	expect_sums(test, cache, 0);
	pymt_check(test, th);
}

/* ----------------------------------------------------------- freed elsewhere ---- */

/* A cache with fronts, if its heap has them: they come with use. */
static struct pym_cache *warm_cache(struct kunit *test, struct pymt_heap *th)
{
	struct pym_cache *cache = pymt_cache(test, th->heap, SIZE);
	void *blocks[80];

	pymt_take_many(test, cache, blocks, ARRAY_SIZE(blocks));
	pymt_give_many(cache, blocks, ARRAY_SIZE(blocks));
	KUNIT_EXPECT_EQ(test, !!cache->fronts, !(th->heap->flags & PYM_HEAP_NO_FRONTS));
	return cache;
}

/* What was freed on another node's CPU is not handed out there again. */
static void goes_home(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = warm_cache(test, th);
	struct errand e = { .cache = cache, .n = MANY, .blocks = pymt_array(test, MANY) };
	int node = here(), other = other_node(node), bulk;
	unsigned int i, foreign;

	for (bulk = 0; bulk < 2; bulk++) {
		e.node = other;
		e.failed = 0;
		e.bulk = bulk;
		work_on_cpu(cpu_of(other), take_there, &e);
		KUNIT_EXPECT_EQ(test, e.failed, 0);
		work_on_cpu(cpu_of(node), give_there, &e);
		expect_sums(test, cache, 0);
		e.node = NUMA_NO_NODE;
		work_on_cpu(cpu_of(node), take_there, &e);
		KUNIT_EXPECT_EQ(test, e.failed, 0);
		for (i = 0, foreign = 0; i < MANY; i++)
			foreign += node_of(e.blocks[i]) != node;
		KUNIT_EXPECT_EQ_MSG(test, foreign, 0, "blocks of node %d on node %d", other, node);
		expect_sums(test, cache, MANY);
		work_on_cpu(cpu_of(node), give_there, &e);
		expect_sums(test, cache, 0);
		pymt_check(test, th);
	}
	pym_heap_shrink(th->heap);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).pools, 0);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).cached, 0);
}

/* A few, less than a batch: they are not forgotten where they were gathered. */
static void stragglers(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = warm_cache(test, th);
	struct errand e = { .cache = cache, .n = 3, .blocks = pymt_array(test, 3) };
	int node = here(), other = other_node(node);
	void *keep;

	e.node = other;
	work_on_cpu(cpu_of(other), take_there, &e);
	work_on_cpu(cpu_of(node), give_there, &e);
	expect_sums(test, cache, 0);
	pymt_check(test, th);
	pym_heap_shrink(th->heap);
	expect_sums(test, cache, 0);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).pools, 0);
	/* And again, for destruction. */
	work_on_cpu(cpu_of(other), take_there, &e);
	work_on_cpu(cpu_of(node), give_there, &e);
	keep = pymt_take(test, cache);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).live, 1);
	pym_cache_free(cache, keep);
	pym_cache_destroy(cache);
	pymt_check(test, th);
}

/* A double free is one wherever it is done. */
static void freed_twice_elsewhere(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = warm_cache(test, th);
	struct errand e = { .cache = cache, .n = 2, .blocks = pymt_array(test, 2) };
	int node = here(), other = other_node(node);
	void *keep = pymt_take(test, cache);

	e.node = other;
	e.n = 1;
	work_on_cpu(cpu_of(other), take_there, &e);
	e.blocks[1] = e.blocks[0];
	e.n = 2;
	work_on_cpu(cpu_of(node), give_there, &e);
	pym_heap_shrink(th->heap);
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 1);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).live, 1);
	pym_cache_free(cache, keep);
	pymt_check(test, th);
}

/*
 * The second free must not send a block home that the first one still has: it would be
 * handed out there and then freed under its new owner.
 */
static void freed_twice_is_not_given_twice(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = warm_cache(test, th);
	struct errand e = { .cache = cache, .blocks = pymt_array(test, MANY) };
	int node = here(), other = other_node(node);
	unsigned int i, j, doubled = 0;

	e.node = other;
	e.n = 1;
	work_on_cpu(cpu_of(other), take_there, &e);
	e.blocks[1] = e.blocks[0];
	e.n = 2;
	work_on_cpu(cpu_of(node), give_there, &e);
	e.n = MANY;
	work_on_cpu(cpu_of(other), take_there, &e);
	for (i = 0; i < MANY; i++)
		memset(e.blocks[i], i, SIZE);
	pym_heap_shrink(th->heap);
	KUNIT_EXPECT_EQ_MSG(test, pymt_stats_of(cache).live, MANY, "a live block was freed");
	for (i = 0; i < MANY; i++)
		for (j = 0; j < SIZE; j++)
			if (((u8 *)e.blocks[i])[j] != (u8)i) {
				doubled++;
				break;
			}
	KUNIT_EXPECT_EQ_MSG(test, doubled, 0, "blocks handed out twice");
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 1);
	work_on_cpu(cpu_of(other), give_there, &e);
	pymt_check(test, th);
}

/* ------------------------------------------------- one produces, one consumes ---- */

#define RING		128
#define PRODUCED	20000

struct line {
	struct pym_cache *cache;
	u64 *ring[RING];
	unsigned int head, tail;	/* written by producer, by consumer */
	unsigned long failed, damaged, elsewhere, pools;
	int node;			/* the producer's */
};

static int produce(void *arg)
{
	struct line *line = arg;
	unsigned int i;

	for (i = 0; i < PRODUCED; i++) {
		u64 *block = pym_cache_alloc(line->cache, GFP_KERNEL);

		if (!block) {
			line->failed++;
			block = ERR_PTR(-ENOMEM);
		} else {
			line->elsewhere += node_of(block) != line->node;
			memset64(block, i, SIZE / sizeof(*block));
		}
		while (i - READ_ONCE(line->tail) == RING)
			cond_resched();
		line->ring[i % RING] = block;
		/* After the block; pairs with the consumer's load. */
		smp_store_release(&line->head, i + 1);
		if (i % 256 == 0)
			line->pools = max(line->pools, pymt_stats_of(line->cache).pools);
	}
	while (!kthread_should_stop())
		schedule_timeout_interruptible(1);
	return 0;
}

static int consume(void *arg)
{
	struct line *line = arg;
	unsigned int i, word;

	for (i = 0; i < PRODUCED; i++) {
		u64 *block;

		/* Before the block; pairs with the producer's store. */
		while (smp_load_acquire(&line->head) == i)
			cond_resched();
		block = line->ring[i % RING];
		WRITE_ONCE(line->tail, i + 1);
		if (IS_ERR(block))
			continue;
		for (word = 0; word < SIZE / sizeof(*block); word++)
			line->damaged += block[word] != i;
		pym_cache_free(line->cache, block);
	}
	while (!kthread_should_stop())
		schedule_timeout_interruptible(1);
	return 0;
}

static void producer_and_consumer(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct line *line = kunit_kzalloc(test, sizeof(*line), GFP_KERNEL);
	int node = first_node(node_states[N_MEMORY]), other = other_node(node);
	int from = cpu_of(node), to = cpu_of(other);
	struct task_struct *producer, *consumer;
	unsigned long most;

	KUNIT_ASSERT_NOT_NULL(test, line);
	/* On one node: on two CPUs, if there are. */
	if (from == to)
		to = cpumask_any_but(cpu_online_mask, from);
	if (to >= nr_cpu_ids)
		to = from;
	line->cache = pymt_cache(test, th->heap, SIZE);
	line->node = cpu_to_node(from);
	producer = kthread_create_on_cpu(produce, line, from, "pymalloc-kunit/%u");
	KUNIT_ASSERT_FALSE(test, IS_ERR(producer));
	consumer = kthread_create_on_cpu(consume, line, to, "pymalloc-kunit/%u");
	if (IS_ERR(consumer)) {
		kthread_stop(producer);
		KUNIT_FAIL(test, "no thread");
		return;
	}
	wake_up_process(producer);
	wake_up_process(consumer);
	while (READ_ONCE(line->tail) != PRODUCED)
		schedule_timeout_interruptible(1);
	kthread_stop(producer);
	kthread_stop(consumer);

	KUNIT_EXPECT_EQ(test, line->failed, 0);
	KUNIT_EXPECT_EQ_MSG(test, line->damaged, 0, "words that changed on the way");
	KUNIT_EXPECT_EQ_MSG(test, line->elsewhere, 0, "blocks not of the producer's node");
	expect_sums(test, line->cache, 0);
	/*
	 * They come home and are used again: what is under way, in fronts, in depots and
	 * gathered does not add up to what was produced.
	 */
	most = 20 + (RING + num_possible_cpus() * 4 * 64 + num_possible_nodes() * 1024) /
		    pymt_stats_of(line->cache).capacity;
	kunit_info(test, "node %d to node %d, at most %lu pools\n", line->node,
		   cpu_to_node(to), line->pools);
	KUNIT_EXPECT_LE_MSG(test, line->pools, most, "of %u", PRODUCED * SIZE / SZ_4K);
	pymt_check(test, th);
	pym_heap_shrink(th->heap);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(line->cache).pools, 0);
}

static const struct kunit_attributes slow = { .speed = KUNIT_SPEED_SLOW };

static struct kunit_case numa_cases[] = {
	KUNIT_CASE_PARAM(on_each_node, kinds_gen_params),
	KUNIT_CASE_PARAM(at_home, kinds_gen_params),
	KUNIT_CASE_PARAM(alternately, kinds_gen_params),
	KUNIT_CASE_SLOW(exhausted),
	KUNIT_CASE_PARAM(no_such_node, kinds_gen_params),
	KUNIT_CASE_PARAM(goes_home, kinds_gen_params),
	KUNIT_CASE_PARAM(stragglers, kinds_gen_params),
	KUNIT_CASE_PARAM(freed_twice_elsewhere, kinds_gen_params),
	KUNIT_CASE_PARAM(freed_twice_is_not_given_twice, kinds_gen_params),
	KUNIT_CASE_PARAM_ATTR(producer_and_consumer, kinds_gen_params, slow),
	{}
};

static struct kunit_suite numa_suite = {
	.name = "pymalloc_numa",
	.init = pymt_init_bare,
	.exit = pymt_exit,
	.test_cases = numa_cases,
};

kunit_test_suites(&numa_suite);
