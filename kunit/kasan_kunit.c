// SPDX-License-Identifier: GPL-2.0-only
/*
 * What KASAN says of blocks. A module of its own, booted alone: a report taints the
 * kernel and stops lockdep. Every report is asked for: expect_report() tells the log
 * before and after, where scripts/test looks for exactly that one, and a case fails
 * if there was any other.
 */
#include <linux/delay.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/string.h>
#include <linux/topology.h>
#include <linux/tracepoint.h>
#include <trace/events/printk.h>
#include "blocks.h"

#undef pr_fmt
#define pr_fmt(fmt) fmt

/* What KASAN has said since the case began. */
static struct {
	unsigned int n;
	unsigned int expected;
	char class[64];
} seen;

/* Each line of the log, when it is written. */
static void watch_console(void *unused, const char *line, size_t len)
{
	static const char head[] = "BUG: KASAN: ";
	const char *class = strnstr(line, head, len), *end = line + len;
	size_t n;

	if (!class)
		return;
	class += sizeof(head) - 1;
	for (n = 0; class + n < end && class[n] != ' '; n++)
		;
	n = min(n, sizeof(seen.class) - 1);
	memcpy(seen.class, class, n);
	seen.class[n] = '\0';
	WRITE_ONCE(seen.n, seen.n + 1);
}

/* A report makes the case fail that runs in its task: nobody must know of it. */
static struct kunit *begin_report(const char *class)
{
	struct kunit *test = current->kunit_test;

	pr_info("kasan_kunit: expect %s\n", class);
	current->kunit_test = NULL;
	return test;
}

static void end_report(struct kunit *test, const char *class)
{
	current->kunit_test = test;
	pr_info("kasan_kunit: end\n");
	seen.expected++;
	KUNIT_EXPECT_EQ(test, READ_ONCE(seen.n), seen.expected);
	KUNIT_EXPECT_STREQ(test, seen.class, class);
	/* Only one is said to be wrong for one that is. */
	seen.n = seen.expected;
}

#define expect_report(class, expression)		\
do {							\
	struct kunit *__test = begin_report(class);	\
							\
	expression;					\
	end_report(__test, class);			\
} while (0)

#define OUT_OF_BOUNDS	"slab-out-of-bounds"
#define AFTER_FREE	"slab-use-after-free"

/* Accesses that the compiler knows nothing of. */
static noinline u8 peek(const void *p)
{
	return READ_ONCE(*(const u8 *)p);
}

static noinline void poke(void *p)
{
	WRITE_ONCE(*(u8 *)p, 1);
}

/* Byte by byte: gcc before 13 does not let KASAN see a memset(). */
static noinline void fill(u8 *p, size_t n)
{
	while (n--)
		WRITE_ONCE(*p++, 0x5a);
}

static noinline unsigned int count_other(const u8 *p, u8 byte, size_t n)
{
	unsigned int other = 0;

	while (n--)
		other += READ_ONCE(*p++) != byte;
	return other;
}

static int begin_case(struct kunit *test)
{
	memset(&seen, 0, sizeof(seen));
	return open_heap(test);
}

static void end_case(struct kunit *test)
{
	close_heap(test);
	KUNIT_EXPECT_EQ(test, READ_ONCE(seen.n), seen.expected);
}

static unsigned long double_frees(void)
{
	return pym_misuse_count(PYM_MISUSE_DOUBLE_FREE);
}

/* --------------------------------------------------------------- bounds -- */

static void right_of_block(struct kunit *test)
{
	struct pym_cache_args args = { .align = 64 };
	struct pym_cache *cache = warm_cache(test, 20, &args);
	u8 *p = take(test, cache);

	fill(p, 20);
	expect_report(OUT_OF_BOUNDS, peek(p + 20));
	expect_report(OUT_OF_BOUNDS, poke(p + 20));
	expect_report(OUT_OF_BOUNDS, poke(p + 63));
	expect_report(OUT_OF_BOUNDS, fill(p, 21));
	pym_cache_free(cache, p);
}

/* The padding of a neighbour that is live, and one that is free. */
static void left_of_block(struct kunit *test)
{
	struct pym_cache_args args = { .align = 64 };
	struct pym_cache *cache = warm_cache(test, 20, &args);
	void *blocks[PYMT_WARM];
	unsigned int i, right = 0, left = 0;

	for (i = 0; i < ARRAY_SIZE(blocks); i++)
		blocks[i] = take(test, cache);
	for (i = 0; i < ARRAY_SIZE(blocks) * ARRAY_SIZE(blocks); i++) {
		right = i % ARRAY_SIZE(blocks);
		left = i / ARRAY_SIZE(blocks);
		if (blocks[left] + 64 == blocks[right])
			break;
	}
	KUNIT_ASSERT_PTR_EQ(test, blocks[left] + 64, blocks[right]);
	expect_report(OUT_OF_BOUNDS, peek(blocks[right] - 1));
	expect_report(OUT_OF_BOUNDS, poke(blocks[right] - 1));
	pym_cache_free(cache, blocks[left]);
	expect_report(AFTER_FREE, poke(blocks[right] - 1));
	blocks[left] = take(test, cache);
	for (i = 0; i < ARRAY_SIZE(blocks); i++)
		pym_cache_free(cache, blocks[i]);
}

/* What was never handed out is nobody's, nor is what only a front has had. */
static void into_virgin(struct kunit *test)
{
	struct pym_cache_args args = { .heap = heap_of_test(test) };
	struct pym_cache *cache = pym_cache_create("virgin", 64, &args);
	u8 *p;

	KUNIT_ASSERT_NOT_NULL(test, cache);
	p = take(test, cache);
	fill(p, 64);
	expect_report(OUT_OF_BOUNDS, poke(p + 64));
	pym_cache_free(cache, p);
}

/* As many bytes as were asked for, whatever the class has. */
static void size_asked_for(struct kunit *test)
{
	static const size_t sizes[] = { 1, 7, 13, 100, 511, 513, 700, 1100, 2000 };
	unsigned int i;
	u8 *p;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		p = take_n(test, sizes[i]);
		fill(p, sizes[i]);
		expect_report(OUT_OF_BOUNDS, poke(p + sizes[i]));
		pym_free(p);
	}
}

/* The same when the front gives the block, of a size that the compiler knows, or not. */
static void size_asked_of_front(struct kunit *test)
{
	struct pym_heap *heap = heap_of_test(test);
	unsigned int turn;
	u8 *p;

	for (turn = 0; turn < PYMT_WARM; turn++) {
		p = take_n(test, 1100);
		fill(p, 1100);
		pym_free(p);
		p = pym_malloc(heap, 700, GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, p);
		fill(p, 700);
		pym_free(p);
	}
	p = take_n(test, 1100);
	fill(p, 1100);
	expect_report(OUT_OF_BOUNDS, poke(p + 1100));
	pym_free(p);
	p = pym_malloc(heap, 700, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, p);
	fill(p, 700);
	expect_report(OUT_OF_BOUNDS, poke(p + 700));
	pym_free(p);
	p = pym_calloc(heap, 10, 70, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, p);
	KUNIT_EXPECT_EQ(test, count_other(p, 0, 700), 0);
	expect_report(OUT_OF_BOUNDS, poke(p + 700));
	pym_free(p);
}

static void size_of_realloc(struct kunit *test)
{
	struct pym_heap *heap = heap_of_test(test);
	u8 *p = take_n(test, 600), *q;

	fill(p, 600);
	/* It stays, and becomes longer, then shorter. */
	q = pym_realloc(heap, p, 620, GFP_KERNEL);
	KUNIT_ASSERT_PTR_EQ(test, q, p);
	fill(p, 620);
	expect_report(OUT_OF_BOUNDS, poke(p + 620));
	q = pym_realloc(heap, p, 520, GFP_KERNEL);
	KUNIT_ASSERT_PTR_EQ(test, q, p);
	expect_report(OUT_OF_BOUNDS, poke(p + 520));
	/* It moves, both ways. */
	q = pym_realloc(heap, p, 2000, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, q);
	KUNIT_EXPECT_EQ(test, count_other(q, 0x5a, 520), 0);
	expect_report(AFTER_FREE, peek(p));
	expect_report(OUT_OF_BOUNDS, poke(q + 2000));
	p = pym_realloc(heap, q, 100, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, p);
	KUNIT_EXPECT_EQ(test, count_other(p, 0x5a, 100), 0);
	expect_report(AFTER_FREE, peek(q));
	pym_free(p);
}

/* Who asks how much there is may use it. */
static void usable_size(struct kunit *test)
{
	u8 *p = take_n(test, 600);

	expect_report(OUT_OF_BOUNDS, poke(p + 600));
	KUNIT_EXPECT_GT(test, pym_usable_size(p), 600);
	fill(p, pym_usable_size(p));
	pym_free(p);
}

/* ----------------------------------------------------------- after free -- */

static void after_free(struct kunit *test)
{
	struct pym_cache *cache = warm_cache(test, 64, NULL);
	void *kept = take(test, cache), *p = take(test, cache);

	fill(p, 64);
	pym_cache_free(cache, p);
	expect_report(AFTER_FREE, peek(p));
	expect_report(AFTER_FREE, poke(p));
	expect_report(AFTER_FREE, poke(p + 63));
	pym_cache_free(cache, kept);
}

static void after_free_of_malloc(struct kunit *test)
{
	void *kept = take_n(test, 100), *p = take_n(test, 100);

	pym_free(p);
	expect_report(AFTER_FREE, peek(p));
	expect_report(AFTER_FREE, poke(p + 99));
	pym_free(kept);
}

static void after_bulk(struct kunit *test)
{
	struct pym_cache *cache = warm_cache(test, 48, NULL);
	void *kept = take(test, cache), *blocks[40];
	unsigned int i;

	KUNIT_ASSERT_EQ(test, pym_cache_alloc_bulk(cache, GFP_KERNEL, ARRAY_SIZE(blocks), blocks),
			ARRAY_SIZE(blocks));
	for (i = 0; i < ARRAY_SIZE(blocks); i++)
		fill(blocks[i], 48);
	pym_cache_free_bulk(cache, ARRAY_SIZE(blocks), blocks);
	expect_report(AFTER_FREE, peek(blocks[0]));
	expect_report(AFTER_FREE, peek(blocks[39]));
	pym_cache_free(cache, kept);
}

/* On each node: where it is from, and where it has to be sent home from. */
static void after_free_elsewhere(struct kunit *test)
{
	struct pym_cache *cache = warm_cache(test, 64, NULL);
	void *kept = take(test, cache), *p;
	int nid;

	for_each_online_node(nid) {
		p = take(test, cache);
		KUNIT_ASSERT_EQ(test, set_cpus_allowed_ptr(current, cpumask_of_node(nid)), 0);
		pym_cache_free(cache, p);
		expect_report(AFTER_FREE, peek(p));
	}
	set_cpus_allowed_ptr(current, cpu_possible_mask);
	pym_cache_free(cache, kept);
}

/* Readers may look until they are done, and nobody after that. */
static void after_grace_period(struct kunit *test)
{
	struct pym_cache *cache = warm_cache(test, 64, NULL);
	void *kept = take(test, cache), *p = take(test, cache);
	struct pym_cache_stats stats;
	unsigned int i;

	fill(p, 64);
	rcu_read_lock();
	pym_cache_free_rcu(cache, p);
	KUNIT_EXPECT_EQ(test, peek(p), 0x5a);
	rcu_read_unlock();
	for (i = 0; i < 500; i++) {
		pym_cache_stats(cache, &stats);
		if (stats.live == 1)
			break;
		msleep(20);
	}
	KUNIT_ASSERT_EQ(test, stats.live, 1);
	expect_report(AFTER_FREE, peek(p));
	pym_cache_free(cache, kept);
}

static void fill_block(void *block)
{
	memset(block, 0x11, 40);
}

/* The constructor's work is out of reach while nobody has the block, and is kept. */
static void constructed(struct kunit *test)
{
	struct pym_cache_args args = { .ctor = fill_block };
	struct pym_cache *cache = warm_cache(test, 40, &args);
	void *kept = take(test, cache), *p = take(test, cache);

	KUNIT_EXPECT_EQ(test, count_other(p, 0x11, 40), 0);
	pym_cache_free(cache, p);
	expect_report(AFTER_FREE, peek(p));
	p = take(test, cache);
	KUNIT_EXPECT_EQ(test, count_other(p, 0x11, 40), 0);
	pym_cache_free(cache, p);
	pym_cache_free(cache, kept);
}

/* Whose type is kept for readers may be looked at when it is free; not beyond its end. */
static void typesafe(struct kunit *test)
{
	struct pym_cache_args args = { .flags = PYM_CACHE_TYPESAFE_BY_RCU, .align = 64 };
	struct pym_cache *cache = warm_cache(test, 40, &args);
	void *kept = take(test, cache), *p = take(test, cache);

	fill(p, 40);
	expect_report(OUT_OF_BOUNDS, peek(p + 40));
	rcu_read_lock();
	pym_cache_free(cache, p);
	KUNIT_EXPECT_EQ(test, peek(p), 0x5a);
	rcu_read_unlock();
	pym_cache_free(cache, kept);
}

/* Clearing, which is done by words, is no access out of bounds. */
static void cleared(struct kunit *test)
{
	static const size_t sizes[] = { 1, 12, 20, 100, 300, 1030 };
	unsigned int i, turn;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct pym_cache *cache = warm_cache(test, sizes[i], NULL);
		u8 *p;

		for (turn = 0; turn < 3; turn++) {
			p = pym_cache_zalloc(cache, GFP_KERNEL);
			KUNIT_ASSERT_NOT_NULL(test, p);
			KUNIT_EXPECT_EQ(test, count_other(p, 0, sizes[i]), 0);
			fill(p, sizes[i]);
			pym_cache_free(cache, p);
		}
		pym_cache_destroy(cache);
	}
}

/* ---------------------------------------------------------- double free -- */

/* Told by us and by KASAN, and the block is handed out once. */
static void double_free(struct kunit *test)
{
	struct pym_cache *cache = warm_cache(test, 64, NULL);
	void *kept = take(test, cache), *p = take(test, cache), *q;
	unsigned long before = double_frees();

	pym_cache_free(cache, p);
	expect_report(AFTER_FREE, pym_cache_free(cache, p));
	KUNIT_EXPECT_EQ(test, double_frees(), before + 1);
	p = take(test, cache);
	q = take(test, cache);
	KUNIT_EXPECT_PTR_NE(test, p, q);
	pym_cache_free(cache, p);
	pym_cache_free(cache, q);
	pym_cache_free(cache, kept);
}

/* Whatever is freed in between. */
static void double_free_around(struct kunit *test)
{
	struct pym_cache *cache = warm_cache(test, 64, NULL);
	void *kept = take(test, cache), *blocks[8];
	unsigned long before = double_frees();
	unsigned int i, j;

	for (i = 0; i < ARRAY_SIZE(blocks); i++)
		blocks[i] = take(test, cache);
	for (i = 0; i < ARRAY_SIZE(blocks); i++)
		pym_cache_free(cache, blocks[i]);
	expect_report(AFTER_FREE, pym_cache_free(cache, blocks[2]));
	KUNIT_EXPECT_EQ(test, double_frees(), before + 1);
	for (i = 0; i < ARRAY_SIZE(blocks); i++) {
		blocks[i] = take(test, cache);
		for (j = 0; j < i; j++)
			KUNIT_EXPECT_PTR_NE(test, blocks[i], blocks[j]);
	}
	pym_cache_free_bulk(cache, ARRAY_SIZE(blocks), blocks);
	pym_cache_free(cache, kept);
}

static void double_free_of_malloc(struct kunit *test)
{
	void *kept = take_n(test, 100), *blocks[4];
	unsigned long before = double_frees();
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(blocks); i++)
		blocks[i] = take_n(test, 100);
	for (i = 0; i < ARRAY_SIZE(blocks); i++)
		pym_free(blocks[i]);
	expect_report(AFTER_FREE, pym_free(blocks[0]));
	KUNIT_EXPECT_EQ(test, double_frees(), before + 1);
	pym_free(kept);
}

static void double_free_in_bulk(struct kunit *test)
{
	struct pym_cache *cache = warm_cache(test, 64, NULL);
	void *kept = take(test, cache), *blocks[6];
	unsigned long before = double_frees();
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(blocks) - 1; i++)
		blocks[i] = take(test, cache);
	blocks[5] = blocks[1];
	expect_report(AFTER_FREE, pym_cache_free_bulk(cache, ARRAY_SIZE(blocks), blocks));
	KUNIT_EXPECT_EQ(test, double_frees(), before + 1);
	pym_cache_free(cache, kept);
}

/* ---------------------------------------------------------------- suite -- */

static struct kunit_case kasan_cases[] = {
	KUNIT_CASE_PARAM(right_of_block, kind_gen_params),
	KUNIT_CASE_PARAM(left_of_block, kind_gen_params),
	KUNIT_CASE_PARAM(into_virgin, kind_gen_params),
	KUNIT_CASE_PARAM(size_asked_for, kind_gen_params),
	KUNIT_CASE_PARAM(size_asked_of_front, kind_gen_params),
	KUNIT_CASE_PARAM(size_of_realloc, kind_gen_params),
	KUNIT_CASE_PARAM(usable_size, kind_gen_params),
	KUNIT_CASE_PARAM(after_free, kind_gen_params),
	KUNIT_CASE_PARAM(after_free_of_malloc, kind_gen_params),
	KUNIT_CASE_PARAM(after_bulk, kind_gen_params),
	KUNIT_CASE_PARAM(after_free_elsewhere, kind_gen_params),
	KUNIT_CASE_PARAM(after_grace_period, kind_gen_params),
	KUNIT_CASE_PARAM(constructed, kind_gen_params),
	KUNIT_CASE_PARAM(typesafe, kind_gen_params),
	KUNIT_CASE_PARAM(cleared, kind_gen_params),
	KUNIT_CASE_PARAM(double_free, kind_gen_params),
	KUNIT_CASE_PARAM(double_free_around, kind_gen_params),
	KUNIT_CASE_PARAM(double_free_of_malloc, kind_gen_params),
	KUNIT_CASE_PARAM(double_free_in_bulk, kind_gen_params),
	{}
};

/* On the command line of the kernel is kasan_multi_shot: all of them are to be told. */
static int begin_suite(struct kunit_suite *suite)
{
	pym_kasan_tell_double_free(true);
	return register_trace_console(watch_console, NULL);
}

static void end_suite(struct kunit_suite *suite)
{
	unregister_trace_console(watch_console, NULL);
	tracepoint_synchronize_unregister();
}

static struct kunit_suite kasan_suite = {
	.name = "pymalloc_kasan",
	.suite_init = begin_suite,
	.suite_exit = end_suite,
	.init = begin_case,
	.exit = end_case,
	.test_cases = kasan_cases,
};

kunit_test_suite(kasan_suite);

MODULE_DESCRIPTION("KUnit suite of pymalloc that provokes KASAN");
MODULE_AUTHOR("The pymalloc developers");
MODULE_LICENSE("GPL");
PYMT_IMPORT_NS(EXPORTED_FOR_KUNIT_TESTING);
