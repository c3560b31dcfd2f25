// SPDX-License-Identifier: GPL-2.0-only
/*
 * Trace events, as a program that listens to them gets them: one for each call, with
 * what the call was about, and nothing that was fast is slow afterwards.
 */
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/string.h>
#include "trace.h"
#include "within.h"

/* What has been heard of one heap. Cases are alone, but for their own threads. */
struct ear {
	const char *heap;
	atomic_t allocs, frees, failed;
	atomic_t refilled, flushed;
	atomic_long_t arena_bytes, arenas;
	unsigned int limits, misuses;
	size_t wanted;
	const void *ptr;		/* of the last event, as what follows */
	size_t req, alloc;
	gfp_t gfp;
	unsigned long ip;
	char cache[PYM_NAME_MAX];
	char text[128];
	bool calls, others;		/* what is registered */
};

static bool is_mine(const struct ear *ear, const struct pym_heap *heap)
{
	return !strcmp(heap->name, ear->heap);
}

static void on_alloc(void *data, unsigned long ip, const void *ptr, const struct pym_heap *heap,
		     const struct pym_cache *cache, size_t req, size_t alloc, gfp_t gfp)
{
	struct ear *ear = data;

	if (!is_mine(ear, heap))
		return;
	atomic_inc(&ear->allocs);
	if (!ptr)
		atomic_inc(&ear->failed);
	ear->ptr = ptr;
	ear->req = req;
	ear->alloc = alloc;
	ear->gfp = gfp;
	ear->ip = ip;
	strscpy(ear->cache, PYM_NAME_OF(cache), sizeof(ear->cache));
}

static void on_free(void *data, unsigned long ip, const void *ptr, const struct pym_cache *cache)
{
	struct ear *ear = data;

	/* What has passed through is not known to be of a heap then. */
	if (cache && !is_mine(ear, cache->heap))
		return;
	atomic_inc(&ear->frees);
	ear->ptr = ptr;
	ear->ip = ip;
	strscpy(ear->cache, PYM_NAME_OF(cache), sizeof(ear->cache));
}

static void on_refill(void *data, const struct pym_cache *cache, unsigned int blocks, bool depot)
{
	struct ear *ear = data;

	if (is_mine(ear, cache->heap) && !depot)
		atomic_add(blocks, &ear->refilled);
}

static void on_flush(void *data, const struct pym_cache *cache, unsigned int blocks, bool depot)
{
	struct ear *ear = data;

	if (is_mine(ear, cache->heap) && !depot)
		atomic_add(blocks, &ear->flushed);
}

static void add_pools(struct ear *ear, const struct pym_arena *arena, long pools, int arenas)
{
	if (!is_mine(ear, arena->heap))
		return;
	atomic_long_add(pools * (long)pym_pool_size(arena->order), &ear->arena_bytes);
	atomic_long_add(arenas, &ear->arenas);
}

static void on_arena_new(void *data, const struct pym_arena *arena, unsigned int pools)
{
	add_pools(data, arena, pools, 1);
}

static void on_arena_free(void *data, const struct pym_arena *arena, unsigned int pools)
{
	add_pools(data, arena, -(long)pools, -1);
}

static void on_pools_new(void *data, const struct pym_arena *arena, unsigned int pools)
{
	add_pools(data, arena, pools, 0);
}

static void on_pools_free(void *data, const struct pym_arena *arena, unsigned int pools)
{
	add_pools(data, arena, -(long)pools, 0);
}

static void on_limit(void *data, const struct pym_heap *heap, size_t wanted)
{
	struct ear *ear = data;

	if (!is_mine(ear, heap))
		return;
	ear->limits++;
	ear->wanted = wanted;
}

static void on_misuse(void *data, unsigned long ip, const char *kind, struct va_format *text)
{
	struct ear *ear = data;

	ear->misuses++;
	ear->ip = ip;
	scnprintf(ear->text, sizeof(ear->text), "%s: %pV", kind, text);
}

static void hear_calls(struct kunit *test, struct ear *ear)
{
	KUNIT_ASSERT_EQ(test, register_trace_pym_alloc(on_alloc, ear), 0);
	KUNIT_ASSERT_EQ(test, register_trace_pym_free(on_free, ear), 0);
	ear->calls = true;
}

static void hear_others(struct kunit *test, struct ear *ear)
{
	ear->others = true;
	KUNIT_ASSERT_EQ(test, register_trace_pym_refill(on_refill, ear), 0);
	KUNIT_ASSERT_EQ(test, register_trace_pym_flush(on_flush, ear), 0);
	KUNIT_ASSERT_EQ(test, register_trace_pym_arena_new(on_arena_new, ear), 0);
	KUNIT_ASSERT_EQ(test, register_trace_pym_arena_free(on_arena_free, ear), 0);
	KUNIT_ASSERT_EQ(test, register_trace_pym_pools_new(on_pools_new, ear), 0);
	KUNIT_ASSERT_EQ(test, register_trace_pym_pools_free(on_pools_free, ear), 0);
	KUNIT_ASSERT_EQ(test, register_trace_pym_limit(on_limit, ear), 0);
	KUNIT_ASSERT_EQ(test, register_trace_pym_misuse(on_misuse, ear), 0);
}

static void deaf_to_calls(struct ear *ear)
{
	if (!ear->calls)
		return;
	unregister_trace_pym_alloc(on_alloc, ear);
	unregister_trace_pym_free(on_free, ear);
	tracepoint_synchronize_unregister();
	ear->calls = false;
}

static void deaf_to_others(struct ear *ear)
{
	if (!ear->others)
		return;
	unregister_trace_pym_refill(on_refill, ear);
	unregister_trace_pym_flush(on_flush, ear);
	unregister_trace_pym_arena_new(on_arena_new, ear);
	unregister_trace_pym_arena_free(on_arena_free, ear);
	unregister_trace_pym_pools_new(on_pools_new, ear);
	unregister_trace_pym_pools_free(on_pools_free, ear);
	unregister_trace_pym_limit(on_limit, ear);
	unregister_trace_pym_misuse(on_misuse, ear);
	tracepoint_synchronize_unregister();
	ear->others = false;
}

/* That of the case, for the suite's exit to close if the case could not. */
static struct ear *open_now;

static struct ear *ear_for(struct kunit *test, struct pym_heap *heap)
{
	struct ear *ear = kunit_kzalloc(test, sizeof(*ear), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, ear);
	ear->heap = heap->name;
	open_now = ear;
	return ear;
}

static void exit_case(struct kunit *test)
{
	if (open_now) {
		deaf_to_calls(open_now);
		deaf_to_others(open_now);
	}
	open_now = NULL;
	pymt_exit(test);
}

static void expect_heard(struct kunit *test, struct ear *ear, int allocs, int frees)
{
	KUNIT_EXPECT_EQ(test, atomic_read(&ear->allocs), allocs);
	KUNIT_EXPECT_EQ(test, atomic_read(&ear->frees), frees);
}

/* ----------------------------------------------------- allocations and frees ---- */

static void each_call_of_a_cache(struct kunit *test)
{
	struct pym_heap *heap = pymt_heap(test)->heap;
	struct pym_cache *cache = pymt_warm_cache(test, heap, 100);
	struct ear *ear = ear_for(test, heap);
	void *p, *q;

	pym_cache_free(cache, pymt_take(test, cache));
	expect_heard(test, ear, 0, 0);
	hear_calls(test, ear);
	p = pym_cache_alloc(cache, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, p);
	KUNIT_EXPECT_PTR_EQ(test, ear->ptr, p);
	KUNIT_EXPECT_STREQ(test, ear->cache, cache->name);
	KUNIT_EXPECT_EQ(test, ear->req, 100);
	KUNIT_EXPECT_EQ(test, ear->alloc, 100);
	KUNIT_EXPECT_TRUE(test, ear->gfp == GFP_KERNEL);
	KUNIT_EXPECT_TRUE_MSG(test, within_module(ear->ip, THIS_MODULE), "not the caller");
	q = pym_cache_zalloc(cache, GFP_ATOMIC);
	KUNIT_EXPECT_TRUE(test, ear->gfp == (GFP_ATOMIC | __GFP_ZERO));
	expect_heard(test, ear, 2, 0);
	pym_cache_free(cache, p);
	KUNIT_EXPECT_PTR_EQ(test, ear->ptr, p);
	KUNIT_EXPECT_STREQ(test, ear->cache, cache->name);
	KUNIT_EXPECT_TRUE_MSG(test, within_module(ear->ip, THIS_MODULE), "not the caller");
	pym_cache_free(cache, q);
	pym_cache_free(cache, NULL);
	expect_heard(test, ear, 2, 2);
	deaf_to_calls(ear);
	pym_cache_free(cache, pymt_take(test, cache));
	expect_heard(test, ear, 2, 2);
}

static void each_call_of_any_size(struct kunit *test)
{
	struct pym_heap *heap = pymt_heap(test)->heap;
	struct ear *ear = ear_for(test, heap);
	void *p, *large;
	int i;

	for (i = 0; i < PYMT_WARM; i++)
		pym_free(pymt_malloc(test, heap, 60));
	hear_calls(test, ear);
	p = pym_malloc(heap, 60, GFP_KERNEL);	/* a constant size: in line */
	KUNIT_EXPECT_PTR_EQ(test, ear->ptr, p);
	KUNIT_EXPECT_STREQ(test, ear->cache, "size-64");
	KUNIT_EXPECT_EQ(test, ear->req, 60);
	KUNIT_EXPECT_EQ(test, ear->alloc, 64);
	large = pymt_malloc(test, heap, 5000);
	KUNIT_EXPECT_STREQ(test, ear->cache, "-");
	KUNIT_EXPECT_EQ(test, ear->req, 5000);
	/* Moves: one more of each. */
	p = pym_realloc(heap, p, 1000, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, p);
	expect_heard(test, ear, 3, 1);
	/* Stays: neither. */
	p = pym_realloc(heap, p, 999, GFP_KERNEL);
	expect_heard(test, ear, 3, 1);
	pym_free(p);
	KUNIT_EXPECT_PTR_EQ(test, ear->ptr, p);
	pym_free(large);
	KUNIT_EXPECT_PTR_EQ(test, ear->ptr, large);
	pym_free(NULL);
	pym_free(pym_calloc(heap, 4, 15, GFP_KERNEL));
	expect_heard(test, ear, 4, 4);
}

static void each_block_of_many(struct kunit *test)
{
	struct pym_heap *heap = pymt_heap(test)->heap;
	struct pym_cache *cache = pymt_warm_cache(test, heap, 100);
	struct ear *ear = ear_for(test, heap);
	void *blocks[40];

	hear_calls(test, ear);
	pymt_take_many(test, cache, blocks, ARRAY_SIZE(blocks));
	pymt_give_many(cache, blocks, ARRAY_SIZE(blocks));
	expect_heard(test, ear, 40, 40);
	KUNIT_ASSERT_EQ(test, pym_cache_alloc_bulk(cache, GFP_KERNEL, 40, blocks), 40);
	expect_heard(test, ear, 80, 40);
	pym_cache_free_bulk(cache, 40, blocks);
	expect_heard(test, ear, 80, 80);
}

static void failure_is_null(struct kunit *test)
{
	struct pymt_heap *th = pymt_open(test, PYMT_SPLIT | PYMT_FRONTS, NULL);
	struct pym_cache *cache = pymt_cache(test, th->heap, 3000);
	struct ear *ear = ear_for(test, th->heap);

	hear_calls(test, ear);
	th->provider->fail_at = 1;
	th->provider->fail_on = true;
	KUNIT_EXPECT_NULL(test, pym_cache_alloc(cache, GFP_KERNEL));
	KUNIT_EXPECT_NULL(test, pym_malloc(th->heap, 100, GFP_KERNEL));
	expect_heard(test, ear, 2, 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&ear->failed), 2);
}

static void freed_when_readers_are_done(struct kunit *test)
{
	struct pym_heap *heap = pymt_open_rcu(test, PYMT_PAGES | PYMT_FRONTS)->heap;
	struct pym_cache *cache = pymt_cache(test, heap, 100);
	struct ear *ear = ear_for(test, heap);
	void *p = pymt_take(test, cache);

	hear_calls(test, ear);
	rcu_read_lock();
	pym_cache_free_rcu(cache, p);
	expect_heard(test, ear, 0, 0);
	rcu_read_unlock();
	/* Waits for what is to be freed. */
	pym_cache_destroy(cache);
	expect_heard(test, ear, 0, 1);
	KUNIT_EXPECT_PTR_EQ(test, ear->ptr, p);
}

/* One event for a call, whoever else wants to see it. */
static void hooks_and_switches_too(struct kunit *test)
{
	struct pym_heap *heap = pymt_heap(test)->heap;
	struct pym_cache *cache = pymt_warm_cache(test, heap, 100);
	struct ear *ear = ear_for(test, heap);
	struct pym_heap_ops ops;
	char path[96];

	pym_heap_get_ops(heap, &ops);
	KUNIT_ASSERT_EQ(test, pym_heap_set_ops(heap, &ops), 0);
	scnprintf(path, sizeof(path), "/sys/kernel/debug/pymalloc/heap/%s/debug", heap->name);
	pymt_echo(test, "redzone owner", path);
	hear_calls(test, ear);
	pym_free(pymt_malloc(test, heap, 60));
	expect_heard(test, ear, 1, 1);
	pym_cache_free(cache, pymt_take(test, cache));
	expect_heard(test, ear, 2, 2);
}

static void take_and_give(void *data)
{
	struct pym_cache *cache = data;
	void *p = pym_cache_alloc(cache, GFP_NOWAIT);

	if (p)
		pym_cache_free(cache, p);
}

/* Events come where calls may, interrupts and NMIs included. */
static void in_every_context(struct kunit *test)
{
	struct pym_heap *heap = pymt_open(test, PYMT_PAGES | PYMT_FRONTS, NULL)->heap;
	struct pym_cache *cache = pymt_warm_cache(test, heap, 100);
	struct ear *ear = ear_for(test, heap);
	enum pymt_context context;
	int i;

	hear_calls(test, ear);
	for (context = 0; context < PYMT_NR_CONTEXTS; context++) {
		if (context == PYMT_NMI && !PYMT_HAS_NMI)
			continue;
		atomic_set(&ear->allocs, 0);
		atomic_set(&ear->frees, 0);
		pymt_call_in(test, context, take_and_give, cache);
		/* What is freed in an NMI is freed by an interrupt right after it. */
		for (i = 0; i < 1000 && !atomic_read(&ear->frees); i++)
			usleep_range(1000, 2000);
		KUNIT_EXPECT_EQ_MSG(test, atomic_read(&ear->allocs), 1, "%s",
				    pymt_context_names[context]);
		KUNIT_EXPECT_EQ_MSG(test, atomic_read(&ear->frees), 1, "%s",
				    pymt_context_names[context]);
	}
}

/* ------------------------------------------------------------- the fast path ---- */

static bool is_fast(struct pym_cache *cache)
{
	return cache->fronts && cache->head.front == cache->fronts;
}

static void fast_again_afterwards(struct kunit *test)
{
	struct pym_heap *heap = pymt_open(test, PYMT_PAGES | PYMT_FRONTS, NULL)->heap;
	struct pym_cache *cache = pymt_warm_cache(test, heap, 100), *late;
	struct pym_front __percpu **hot = heap->head.hot;
	struct ear *ear = ear_for(test, heap);
	unsigned long long served;
	int i;

	for (i = 0; i < PYMT_WARM; i++)
		pym_free(pymt_malloc(test, heap, 60));
	KUNIT_ASSERT_TRUE(test, is_fast(cache));
	/* Nobody has asked for 8 bytes. */
	KUNIT_ASSERT_TRUE(test, hot[8] != hot[1]);
	hear_calls(test, ear);
	KUNIT_EXPECT_FALSE(test, is_fast(cache));
	KUNIT_EXPECT_TRUE(test, hot[8] == hot[1]);
	/* The fronts go on serving: no pool is asked. */
	served = cache->allocs;
	for (i = 0; i < 10; i++)
		pym_cache_free(cache, pymt_take(test, cache));
	KUNIT_EXPECT_EQ(test, cache->allocs, served);
	/* One that gets its fronts meanwhile. */
	late = pymt_warm_cache(test, heap, 200);
	KUNIT_EXPECT_TRUE(test, !!late->fronts);
	KUNIT_EXPECT_FALSE(test, is_fast(late));
	deaf_to_calls(ear);
	KUNIT_EXPECT_TRUE(test, is_fast(cache));
	KUNIT_EXPECT_TRUE(test, is_fast(late));
	KUNIT_EXPECT_TRUE(test, hot[8] != hot[1]);
}

/* One of the two is enough to be heard, and the last one to go is waited for. */
static void either_alone(struct kunit *test)
{
	struct pym_heap *heap = pymt_open(test, PYMT_PAGES | PYMT_FRONTS, NULL)->heap;
	struct pym_cache *cache = pymt_warm_cache(test, heap, 100);
	struct ear *ear = ear_for(test, heap);

	KUNIT_ASSERT_TRUE(test, is_fast(cache));
	hear_calls(test, ear);
	unregister_trace_pym_alloc(on_alloc, ear);
	tracepoint_synchronize_unregister();
	pym_cache_free(cache, pymt_take(test, cache));
	expect_heard(test, ear, 0, 1);
	KUNIT_EXPECT_FALSE(test, is_fast(cache));
	KUNIT_ASSERT_EQ(test, register_trace_pym_alloc(on_alloc, ear), 0);
	unregister_trace_pym_free(on_free, ear);
	tracepoint_synchronize_unregister();
	pym_cache_free(cache, pymt_take(test, cache));
	expect_heard(test, ear, 1, 1);
	KUNIT_EXPECT_FALSE(test, is_fast(cache));
	KUNIT_ASSERT_EQ(test, register_trace_pym_free(on_free, ear), 0);
	deaf_to_calls(ear);
	KUNIT_EXPECT_TRUE(test, is_fast(cache));
}

#define ROUNDS	40

static int take_and_give_until_stopped(void *data)
{
	struct pym_cache *cache = data;
	void *p[8], *q;
	int i;

	while (!kthread_should_stop()) {
		for (i = 0; i < ARRAY_SIZE(p); i++)
			p[i] = pym_cache_alloc(cache, GFP_KERNEL);
		q = pym_malloc(cache->heap, 60, GFP_KERNEL);
		for (i = 0; i < ARRAY_SIZE(p); i++)
			if (p[i])
				pym_cache_free(cache, p[i]);
		pym_free(q);
		cond_resched();
	}
	return 0;
}

/*
 * Switched on and off while others allocate: nothing is lost, nobody waits. The events
 * themselves stay on: to have the kernel patch what is being executed is beyond QEMU.
 */
static void switched_while_in_use(struct kunit *test)
{
	struct pymt_heap *th = pymt_open(test, PYMT_PAGES | PYMT_FRONTS, NULL);
	struct pym_cache *cache = pymt_warm_cache(test, th->heap, 100);
	struct ear *ear = ear_for(test, th->heap);
	struct task_struct *task[2];
	int i, heard = 0, fast = 0;

	hear_calls(test, ear);
	for (i = 0; i < ARRAY_SIZE(task); i++) {
		task[i] = kthread_run(take_and_give_until_stopped, cache, "pymt_trace/%d", i);
		KUNIT_ASSERT_FALSE(test, IS_ERR(task[i]));
	}
	for (i = 0; i < ROUNDS; i++) {
		atomic_set(&ear->allocs, 0);
		schedule_timeout_uninterruptible(1);
		heard += !!atomic_read(&ear->allocs);
		/* Each of the two asks for it. */
		pym_trace_no_calls();
		pym_trace_no_calls();
		fast += is_fast(cache);
		schedule_timeout_uninterruptible(1);
		pym_trace_calls();
		pym_trace_calls();
		KUNIT_EXPECT_FALSE(test, is_fast(cache));
	}
	for (i = 0; i < ARRAY_SIZE(task); i++)
		kthread_stop(task[i]);
	KUNIT_EXPECT_GT(test, heard, 0);
	KUNIT_EXPECT_EQ(test, fast, ROUNDS);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).live, 0);
	pymt_check(test, th);
}

/* --------------------------------------------------------------- the others ---- */

static void blocks_between_fronts_and_pools(struct kunit *test)
{
	struct pym_heap *heap = pymt_open(test, PYMT_PAGES | PYMT_FRONTS, NULL)->heap;
	struct pym_cache *cache = pymt_cache(test, heap, 100);
	struct ear *ear = ear_for(test, heap);
	void **blocks = pymt_array(test, 1000);
	int n;

	hear_others(test, ear);
	pymt_take_many(test, cache, blocks, 1000);
	n = atomic_read(&ear->refilled);
	KUNIT_EXPECT_GE(test, n, 1000);
	pymt_give_many(cache, blocks, 1000);
	pym_heap_shrink(heap);
	/* All that have come are back. */
	KUNIT_EXPECT_EQ(test, atomic_read(&ear->flushed), n);
}

static void memory_of_a_heap(struct kunit *test, struct pymt_heap *th, struct ear *ear)
{
	struct pym_cache *cache = pymt_cache(test, th->heap, 1000);
	struct pym_heap_stats stats;
	void **blocks = pymt_array(test, 2000);
	int i;

	hear_others(test, ear);
	pymt_take_many(test, cache, blocks, 2000);
	pymt_stats(test, th->heap, &stats);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ear->arena_bytes), th->heap->acct.pools);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ear->arenas), stats.arenas);
	/* Pages go back alone where they can. */
	for (i = 0; i < 2000; i++)
		if (i % 100)
			pym_cache_free(cache, blocks[i]);
	pym_heap_shrink(th->heap);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ear->arena_bytes), th->heap->acct.pools);
	for (i = 0; i < 2000; i += 100)
		pym_cache_free(cache, blocks[i]);
	pym_heap_shrink(th->heap);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ear->arena_bytes), th->heap->acct.pools);
	pymt_destroy(test, th);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ear->arena_bytes), 0);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ear->arenas), 0);
}

static void memory_in_pages(struct kunit *test)
{
	struct pymt_heap *th = pymt_open(test, PYMT_PAGES, NULL);

	memory_of_a_heap(test, th, ear_for(test, th->heap));
}

static void memory_in_arenas(struct kunit *test)
{
	struct pymt_heap *th = pymt_open(test, PYMT_VMALLOC, NULL);

	memory_of_a_heap(test, th, ear_for(test, th->heap));
}

static void the_limit(struct kunit *test)
{
	struct pym_heap_args args = { .limit_bytes = SZ_256K };
	struct pym_heap *heap = pymt_open(test, PYMT_PAGES, &args)->heap;
	struct ear *ear = ear_for(test, heap);

	hear_others(test, ear);
	KUNIT_EXPECT_NULL(test, pym_malloc(heap, SZ_1M, GFP_KERNEL));
	KUNIT_EXPECT_EQ(test, ear->limits, 1);
	KUNIT_EXPECT_EQ(test, ear->wanted, SZ_1M);
}

static void misuse_with_its_text(struct kunit *test)
{
	struct pym_heap *heap = pymt_heap(test)->heap;
	struct pym_cache *cache = pymt_cache(test, heap, 100);
	struct ear *ear = ear_for(test, heap);
	void *p = pymt_take(test, cache);

	hear_others(test, ear);
	pym_cache_free(cache, p + 8);
	KUNIT_EXPECT_EQ(test, ear->misuses, 1);
	KUNIT_EXPECT_TRUE_MSG(test, strstarts(ear->text, "interior-free: "), "%s", ear->text);
	KUNIT_EXPECT_NOT_NULL_MSG(test, strstr(ear->text, cache->name), "%s", ear->text);
	KUNIT_EXPECT_TRUE(test, within_module(ear->ip, THIS_MODULE));
	pymt_expect_misuse(test, PYM_MISUSE_INTERIOR, 1);
}

#define DIR	"/sys/kernel/tracing"

/* Is there a line in what has been traced with this expression of grep in it? */
#define EXPECT_TRACED(test, fmt, ...) \
	KUNIT_EXPECT_TRUE(test, pymt_shell(test, "grep -q '" fmt "' " DIR "/trace", ##__VA_ARGS__))

/* As an operator has them: what the kernel prints of each. */
static void printed(struct kunit *test)
{
	struct pym_heap *heap = pymt_heap(test)->heap;
	struct pym_cache *cache = pymt_cache(test, heap, 100);

	if (!IS_ENABLED(CONFIG_EVENT_TRACING))
		kunit_skip(test, "needs CONFIG_EVENT_TRACING");
	pymt_shell(test, "mountpoint -q " DIR " || mount -t tracefs none " DIR);
	pymt_echo(test, "", DIR "/trace");
	pymt_echo(test, "1", DIR "/events/pymalloc/enable");
	pym_cache_free(cache, pymt_take(test, cache));
	pymt_echo(test, "0", DIR "/events/pymalloc/enable");
	EXPECT_TRACED(test, "pym_alloc: .* heap=%s cache=%s bytes_req=100 bytes_alloc=100 gfp_.*",
		      heap->name, cache->name);
	EXPECT_TRACED(test, "pym_free: call_site=.* heap=%s cache=%s", heap->name, cache->name);
	EXPECT_TRACED(test, "pym_arena_new: heap=%s arena=0 pools=16 bytes=65536", heap->name);
	pymt_echo(test, "", DIR "/trace");
}

static struct kunit_case trace_cases[] = {
	KUNIT_CASE(each_call_of_a_cache),
	KUNIT_CASE(each_call_of_any_size),
	KUNIT_CASE(each_block_of_many),
	KUNIT_CASE(failure_is_null),
	KUNIT_CASE(freed_when_readers_are_done),
	KUNIT_CASE(hooks_and_switches_too),
	KUNIT_CASE(in_every_context),
	KUNIT_CASE(fast_again_afterwards),
	KUNIT_CASE(either_alone),
	KUNIT_CASE(switched_while_in_use),
	KUNIT_CASE(blocks_between_fronts_and_pools),
	KUNIT_CASE(memory_in_pages),
	KUNIT_CASE(memory_in_arenas),
	KUNIT_CASE(the_limit),
	KUNIT_CASE(misuse_with_its_text),
	KUNIT_CASE(printed),
	{}
};

static struct kunit_suite trace_suite = {
	.name = "pymalloc_trace",
	.init = pymt_init_fronts,
	.exit = exit_case,
	.test_cases = trace_cases,
};

kunit_test_suites(&trace_suite);
