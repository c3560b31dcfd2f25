// SPDX-License-Identifier: GPL-2.0-only
/*
 * Contexts: bottom halves off, interrupts off, softirq, hard interrupt, RCU's
 * callbacks, NMI. In each, a heap whose provider is atomic works, and
 * one whose provider is not refuses to grow and counts that. That GFP_KERNEL in
 * such a context is caught by might_alloc() is not tried: the splat would be in
 * the log of every good run.
 */
#include <linux/delay.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include "within.h"

static const enum pymt_context contexts[] = {
	PYMT_PREEMPT_OFF, PYMT_RCU_READER, PYMT_BH_OFF, PYMT_IRQS_OFF, PYMT_SOFTIRQ_TIMER,
	PYMT_SOFTIRQ_TASKLET, PYMT_HARDIRQ_WORK, PYMT_HARDIRQ_TIMER, PYMT_RCU_CALLBACK,
};

static void context_desc(const enum pymt_context *context, char *desc)
{
	strscpy(desc, pymt_context_names[*context], KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(contexts, contexts, context_desc);

/* ----------------------------------------------------------- what is done ---- */

struct job {
	struct pymt_heap *th;
	struct pym_cache *cache;
	void *block, *small, *large, *given[3];
	void *many[40];
	void **array;
	size_t bulk;
	unsigned long foreign, doubled;	/* reports before */
};

static struct job *new_job(struct kunit *test, enum pymt_kind kind)
{
	struct job *job = kunit_kzalloc(test, sizeof(*job), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, job);
	job->th = pymt_open(test, kind, NULL);
	job->cache = pymt_cache(test, job->th->heap, 512);
	if (job->th->provider)
		job->th->provider->atomic = true;
	job->foreign = pym_misuse_count(PYM_MISUSE_FOREIGN);
	job->doubled = pym_misuse_count(PYM_MISUSE_DOUBLE_FREE);
	return job;
}

static enum pymt_context context_of(struct kunit *test)
{
	return *(const enum pymt_context *)test->param_value;
}

static void allocate(void *ctx)
{
	struct job *job = ctx;

	job->block = pym_cache_zalloc(job->cache, GFP_ATOMIC);
	job->bulk = pym_cache_alloc_bulk(job->cache, GFP_ATOMIC, 40, job->many);
	job->small = pym_malloc(job->th->heap, 100, GFP_ATOMIC);
	job->large = pym_malloc(job->th->heap, 5000, GFP_ATOMIC);
}

static void free_all(void *ctx)
{
	struct job *job = ctx;

	pym_cache_free(job->cache, job->block);
	pym_cache_free_bulk(job->cache, job->bulk, job->many);
	pym_free(job->small);
	pym_free(job->large);
}

static void expect_empty(struct kunit *test, struct job *job)
{
	struct pym_heap_stats stats;

	pymt_stats(test, job->th->heap, &stats);
	KUNIT_EXPECT_EQ(test, stats.live, 0);
	KUNIT_EXPECT_EQ(test, stats.pass_through_live, 0);
}

/* On RT there are contexts where nothing new can be had from anybody. */
static void expect_memory(struct kunit *test, struct job *job)
{
	bool can = pymt_may_obtain_in(context_of(test));
	struct pym_heap_stats stats;

	KUNIT_EXPECT_EQ(test, !!job->block, can);
	KUNIT_EXPECT_EQ(test, job->bulk, can ? 40 : 0);
	KUNIT_EXPECT_EQ(test, !!job->small, can);
	KUNIT_EXPECT_EQ(test, !!job->large, can);
	pymt_stats(test, job->th->heap, &stats);
	KUNIT_EXPECT_EQ(test, stats.refused, can ? 0 : 4);
	KUNIT_EXPECT_EQ(test, stats.failures, can ? 0 : 4);
}

static void pages_heap_works(struct kunit *test)
{
	struct job *job = new_job(test, PYMT_PAGES);

	pymt_call_in(test, context_of(test), allocate, job);
	expect_memory(test, job);
	pymt_check(test, job->th);
	pymt_call_in(test, context_of(test), free_all, job);
	expect_empty(test, job);
}

static void atomic_provider_works(struct kunit *test)
{
	struct job *job = new_job(test, PYMT_SPLIT);

	pymt_call_in(test, context_of(test), allocate, job);
	expect_memory(test, job);
	pymt_call_in(test, context_of(test), free_all, job);
	expect_empty(test, job);
	job->th->provider->atomic = false;
}

/* No growth, no BUG in vmalloc(): NULL, and a number in the statistics. */
static struct job *sleeping_provider_is_refused(struct kunit *test, enum pymt_kind kind)
{
	bool can = pymt_may_obtain_in(context_of(test));
	struct job *job = new_job(test, kind);
	struct pym_heap_stats stats;

	pymt_call_in(test, context_of(test), allocate, job);
	KUNIT_EXPECT_NULL(test, job->block);
	KUNIT_EXPECT_EQ(test, job->bulk, 0);
	KUNIT_EXPECT_NULL(test, job->small);
	KUNIT_EXPECT_EQ_MSG(test, !!job->large, can, "pass-through does not need the provider");
	pymt_stats(test, job->th->heap, &stats);
	KUNIT_EXPECT_EQ(test, stats.refused, can ? 3 : 4);
	KUNIT_EXPECT_EQ(test, stats.failures, can ? 3 : 4);
	KUNIT_EXPECT_EQ(test, stats.limit_hits, 0);
	KUNIT_EXPECT_EQ(test, stats.arenas, 0);
	pymt_call_in(test, context_of(test), free_all, job);
	expect_empty(test, job);
	return job;
}

static void vmalloc_heap_refuses(struct kunit *test)
{
	struct job *job = sleeping_provider_is_refused(test, PYMT_VMALLOC);

	KUNIT_EXPECT_PTR_EQ(test, job->th->heap->provider, &pym_provider_vmalloc);
}

static void plain_provider_is_not_called(struct kunit *test)
{
	struct job *job = sleeping_provider_is_refused(test, PYMT_PLAIN);

	KUNIT_EXPECT_EQ(test, pymt_calls(job->th), 0);
	job->th->provider->atomic = false;
}

/* What the pools have can be had anywhere. */
static void vmalloc_heap_with_pools(struct kunit *test)
{
	struct job *job = new_job(test, PYMT_VMALLOC);
	void *keep = pymt_take(test, job->cache);
	struct pym_heap_stats stats;

	pym_free(pymt_malloc(test, job->th->heap, 100));
	pymt_call_in(test, context_of(test), allocate, job);
	KUNIT_EXPECT_NOT_NULL(test, job->block);
	KUNIT_EXPECT_EQ(test, job->bulk, 40);
	KUNIT_EXPECT_NOT_NULL(test, job->small);
	pymt_stats(test, job->th->heap, &stats);
	/* Pass-through is not in the pools. */
	KUNIT_EXPECT_EQ(test, stats.refused, !pymt_may_obtain_in(context_of(test)));
	pymt_call_in(test, context_of(test), free_all, job);
	pym_cache_free(job->cache, keep);
	expect_empty(test, job);
}

/* Whole arenas become free there; what may sleep is left to a work item. */
static void free_many(void *ctx)
{
	struct job *job = ctx;
	int i;

	for (i = 0; i < 3; i++)
		pym_free(job->given[i]);
	pym_cache_free_bulk(job->cache, job->bulk, job->many);
}

static void frees_give_back_later(struct kunit *test)
{
	struct job *job = new_job(test, PYMT_VMALLOC);
	void **blocks = pymt_array(test, (16 + 32) * 8);
	struct pym_heap_stats stats;
	int i;

	pymt_take_many(test, job->cache, blocks, (16 + 32) * 8);
	memcpy(job->many, blocks, sizeof(job->many));
	job->bulk = 40;
	/* More than kmalloc() can give. */
	for (i = 0; i < 3; i++)
		job->given[i] = pymt_malloc(test, job->th->heap, KMALLOC_MAX_SIZE + 1);
	KUNIT_EXPECT_TRUE(test, is_vmalloc_addr(job->given[0]));
	/* All but the 40 blocks that the context will free. */
	pymt_give_many(job->cache, blocks + 40, (16 + 32) * 8 - 40);
	pymt_call_in(test, context_of(test), free_many, job);
	flush_work(&job->th->heap->reap_work);
	pymt_stats(test, job->th->heap, &stats);
	KUNIT_EXPECT_EQ(test, stats.live, 0);
	KUNIT_EXPECT_LE(test, stats.arenas, PYM_SPARE_ARENAS);
	pymt_check(test, job->th);
}

/* ------------------------------------------------------------------ NMI ---- */

static void nmi_allocation(struct kunit *test)
{
	struct job *job = new_job(test, PYMT_PAGES);
	struct pym_heap_stats before, after;

	pymt_stats(test, job->th->heap, &before);
	pymt_call_in(test, PYMT_NMI, allocate, job);
	KUNIT_EXPECT_NULL(test, job->block);
	KUNIT_EXPECT_EQ(test, job->bulk, 0);
	KUNIT_EXPECT_NULL(test, job->small);
	KUNIT_EXPECT_NULL(test, job->large);
	pymt_stats(test, job->th->heap, &after);
	pymt_expect_same(test, &before, &after);
}

/* What is freed there is free a moment later, and no misuse. */
static void nmi_free(struct kunit *test)
{
	struct job *job = new_job(test, PYMT_PAGES);
	struct pym_heap_stats stats;
	unsigned int ms;

	allocate(job);
	pymt_call_in(test, PYMT_NMI, free_all, job);
	for (ms = 0; ms < 2000; ms++) {
		pym_heap_stats(job->th->heap, &stats);
		if (!stats.live)
			break;
		usleep_range(1000, 1100);
	}
	expect_empty(test, job);
	pymt_check(test, job->th);
}

/* One NMI can free no more than there is room to remember; the rest is told. */
static void free_too_many(void *ctx)
{
	struct job *job = ctx;
	unsigned int i;

	for (i = 0; i < PYM_DEFERRED + 3; i++)
		pym_cache_free(job->cache, job->array[i]);
}

static void nmi_frees_too_many(struct kunit *test)
{
	struct job *job = new_job(test, PYMT_PAGES);
	unsigned int n = PYM_DEFERRED + 3;
	struct pym_cache_stats stats;

	job->array = pymt_array(test, n);
	pymt_take_many(test, job->cache, job->array, n);
	pymt_call_in(test, PYMT_NMI, free_too_many, job);
	pymt_expect_misuse(test, PYM_MISUSE_NMI, 3);
	msleep(20);
	pym_cache_stats(job->cache, &stats);
	KUNIT_EXPECT_EQ_MSG(test, stats.live, 3, "what is told is kept");
	pymt_give_many(job->cache, job->array + PYM_DEFERRED, 3);
	expect_empty(test, job);
}

/* What is wrong with a free is told all the same. */
static void free_twice(void *ctx)
{
	struct job *job = ctx;

	pym_cache_free(job->cache, job->block);
	pym_cache_free(job->cache, job->block);
	pym_cache_free(job->cache, job);
	pym_free(job);
}

static void nmi_misuse(struct kunit *test)
{
	struct job *job = new_job(test, PYMT_PAGES);
	void *keep = pymt_take(test, job->cache);
	struct pym_cache_stats stats;

	job->block = pymt_take(test, job->cache);
	pymt_call_in(test, PYMT_NMI, free_twice, job);
	msleep(20);
	KUNIT_EXPECT_EQ(test, pym_misuse_count(PYM_MISUSE_FOREIGN) - job->foreign, 2);
	KUNIT_EXPECT_EQ(test, pym_misuse_count(PYM_MISUSE_DOUBLE_FREE) - job->doubled, 1);
	pymt_forget_misuse(test);
	pym_cache_stats(job->cache, &stats);
	KUNIT_EXPECT_EQ(test, stats.live, 1);
	pym_cache_free(job->cache, keep);
	expect_empty(test, job);
}

static void construct(void *block)
{
	memset(block, 0x11, 64);
}

static void take_and_free_rcu(void *ctx)
{
	struct job *job = ctx;

	job->block = pym_cache_alloc(job->cache, GFP_ATOMIC);
	pym_cache_free_rcu(job->cache, job->given[0]);
}

/* A block that was never handed out is constructed there, too; readers are not waited for. */
static void nmi_constructs(struct kunit *test)
{
	struct pym_cache_args args = { .ctor = construct };
	struct job *job = new_job(test, PYMT_PAGES);

	args.heap = job->th->heap;
	job->cache = pym_cache_create("constructed", 64, &args);
	KUNIT_ASSERT_NOT_NULL(test, job->cache);
	/* The pool is in use, and has virgin blocks. */
	job->given[0] = pymt_take(test, job->cache);
	pymt_call_in(test, PYMT_NMI, take_and_free_rcu, job);
	KUNIT_ASSERT_NOT_NULL(test, job->block);
	KUNIT_EXPECT_NULL(test, memchr_inv(job->block, 0x11, 64));
	pymt_expect_misuse(test, PYM_MISUSE_NMI, 1);
	pym_cache_free(job->cache, job->block);
	pym_cache_free(job->cache, job->given[0]);
	expect_empty(test, job);
}

static struct kunit_case context_cases[] = {
	KUNIT_CASE_PARAM(pages_heap_works, contexts_gen_params),
	KUNIT_CASE_PARAM(atomic_provider_works, contexts_gen_params),
	KUNIT_CASE_PARAM(vmalloc_heap_refuses, contexts_gen_params),
	KUNIT_CASE_PARAM(plain_provider_is_not_called, contexts_gen_params),
	KUNIT_CASE_PARAM(vmalloc_heap_with_pools, contexts_gen_params),
	KUNIT_CASE_PARAM(frees_give_back_later, contexts_gen_params),
	KUNIT_CASE(nmi_allocation),
	KUNIT_CASE(nmi_free),
	KUNIT_CASE(nmi_frees_too_many),
	KUNIT_CASE(nmi_misuse),
	KUNIT_CASE(nmi_constructs),
	{}
};

static struct kunit_suite context_suite = {
	.name = "pymalloc_context",
	.init = pymt_init_bare,
	.exit = pymt_exit,
	.test_cases = context_cases,
};

kunit_test_suites(&context_suite);
