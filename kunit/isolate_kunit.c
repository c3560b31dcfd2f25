// SPDX-License-Identifier: GPL-2.0-only
/*
 * PYM_HEAP_ISOLATE: no arena serves two caches, and an idle one rests before its pages
 * become somebody else's. And the pages that no arena of vmalloc has behind it.
 */
#include <linux/delay.h>
#include <linux/uaccess.h>
#include "fixture.h"

#define SIZE		512
#define PER_POOL	(PAGE_SIZE / SIZE)

static struct pymt_heap *isolating(struct kunit *test, enum pymt_kind kind, unsigned int ms)
{
	struct pym_heap_args args = { .flags = PYM_HEAP_ISOLATE, .isolate_ms = ms };

	return pymt_open(test, kind, &args);
}

static struct pym_cache *named(struct kunit *test, struct pymt_heap *th, const char *name)
{
	struct pym_cache_args args = { .heap = th->heap };
	struct pym_cache *cache = pym_cache_create(name, SIZE, &args);

	KUNIT_ASSERT_NOT_NULL(test, cache);
	return cache;
}

static struct pym_arena *arena_of(struct kunit *test, const void *block)
{
	return pymt_pool(test, block)->arena;
}

/* Two caches of one size, and a size class of the same: each from arenas of its own. */
static void caches_never_share(struct kunit *test)
{
	struct pymt_heap *th = isolating(test, PYMT_SPLIT, 0);
	struct pym_cache *a = named(test, th, "a"), *b = named(test, th, "b");
	void *from_a[40], *from_b[40], *from_class[40];
	unsigned int i, k;

	for (i = 0; i < 40; i++) {
		from_a[i] = pymt_take(test, a);
		from_b[i] = pymt_take(test, b);
		from_class[i] = pymt_malloc(test, th->heap, SIZE);
	}
	for (i = 0; i < 40; i++)
		for (k = 0; k < 40; k++) {
			KUNIT_EXPECT_PTR_NE(test, arena_of(test, from_a[i]),
					    arena_of(test, from_b[k]));
			KUNIT_EXPECT_PTR_NE(test, arena_of(test, from_a[i]),
					    arena_of(test, from_class[k]));
			KUNIT_EXPECT_PTR_NE(test, arena_of(test, from_b[i]),
					    arena_of(test, from_class[k]));
		}
	pymt_check(test, th);
	pymt_give_many(a, from_a, 40);
	pymt_give_many(b, from_b, 40);
	for (i = 0; i < 40; i++)
		pym_free(from_class[i]);
	pymt_check(test, th);
}

/* Without, they share the first arena there is. */
static void caches_share_without(struct kunit *test)
{
	struct pymt_heap *th = pymt_open(test, PYMT_SPLIT, NULL);
	struct pym_cache *a = named(test, th, "a"), *b = named(test, th, "b");
	void *from_a = pymt_take(test, a), *from_b = pymt_take(test, b);

	KUNIT_EXPECT_PTR_EQ(test, arena_of(test, from_a), arena_of(test, from_b));
	pym_cache_free(a, from_a);
	pym_cache_free(b, from_b);
}

/* An empty pool is no other cache's, either. */
static void pools_stay(struct kunit *test)
{
	struct pymt_heap *th = isolating(test, PYMT_SPLIT, 0);
	struct pym_cache *a = named(test, th, "a"), *b = named(test, th, "b");
	void *block = pymt_take(test, a), *other;
	struct pym_arena *arena = arena_of(test, block);

	pym_cache_free(a, block);
	other = pymt_take(test, b);
	KUNIT_EXPECT_PTR_NE(test, arena_of(test, other), arena);
	block = pymt_take(test, a);
	KUNIT_EXPECT_PTR_EQ(test, arena_of(test, block), arena);
	pym_cache_free(a, block);
	pym_cache_free(b, other);
}

/* Blocks that fill some arenas; their number in *@n. */
static void **fill(struct kunit *test, struct pym_cache *cache, size_t *n)
{
	void **blocks;

	*n = 200 * PER_POOL;
	blocks = pymt_array(test, *n);
	pymt_take_many(test, cache, blocks, *n);
	return blocks;
}

static void rests_whatever_is_asked(struct kunit *test)
{
	struct pymt_heap *th = isolating(test, PYMT_SPLIT, 600000);
	struct pym_cache *cache = named(test, th, "a");
	size_t n;
	void **blocks = fill(test, cache, &n);
	long held = pymt_bytes(th);
	unsigned int i;

	pymt_give_many(cache, blocks, n);
	KUNIT_EXPECT_EQ(test, pymt_bytes(th), held);
	KUNIT_EXPECT_EQ(test, pym_heap_shrink(th->heap), 0);
	KUNIT_EXPECT_EQ(test, pym_cache_shrink(cache), 0);
	for (i = 0; i < 3; i++)
		pymt_tick(th);
	KUNIT_EXPECT_EQ(test, pymt_bytes(th), held);
	KUNIT_EXPECT_NE_MSG(test, pym_heap_set_limit(th->heap, PAGE_SIZE * 64), 0,
			    "the limit does not shorten it");
	KUNIT_EXPECT_EQ(test, pymt_bytes(th), held);
	/* Its cache may have it again at once. */
	pymt_take_many(test, cache, blocks, n);
	KUNIT_EXPECT_EQ(test, pymt_bytes(th), held);
	pymt_give_many(cache, blocks, n);
	pymt_check(test, th);
}

/* Without a time, arenas that are idle go back when somebody asks. */
static void goes_back_when_rested(struct kunit *test)
{
	struct pymt_heap *th = isolating(test, PYMT_SPLIT, 200);
	struct pym_cache *cache = named(test, th, "a");
	size_t n;
	void **blocks = fill(test, cache, &n);
	unsigned long idle_from = jiffies;

	pymt_give_many(cache, blocks, n);
	if (!pym_heap_shrink(th->heap))
		KUNIT_EXPECT_GT(test, pymt_bytes(th), 0);
	else
		KUNIT_EXPECT_GE(test, jiffies_to_msecs(jiffies - idle_from), 200);
	msleep(250);
	pym_heap_shrink(th->heap);
	KUNIT_EXPECT_EQ(test, pymt_bytes(th), 0);
	pymt_check(test, th);
}

/* By ticks, too: those that are idle last stay, as in any heap. */
static void goes_back_by_ticks(struct kunit *test)
{
	struct pymt_heap *th = isolating(test, PYMT_SPLIT, 100);
	struct pym_cache *cache = named(test, th, "a");
	size_t n;
	void **blocks = fill(test, cache, &n);
	long held = pymt_bytes(th);
	unsigned int i;

	pymt_give_many(cache, blocks, n);
	msleep(150);
	for (i = 0; i < 3; i++)
		pymt_tick(th);
	KUNIT_EXPECT_LT(test, pymt_bytes(th), held / 2);
	pymt_check(test, th);
}

/* What a cache has left behind is nobody's until it has gone back, and then anybody's. */
static void destroyed_caches_leave_nothing(struct kunit *test)
{
	struct pymt_heap *th = isolating(test, PYMT_SPLIT, 0);
	struct pym_cache *a = named(test, th, "a"), *b;
	void *block = pymt_take(test, a), *other;
	struct pym_arena *arena = arena_of(test, block);
	unsigned int partition = a->partition;

	pym_cache_free(a, block);
	pym_cache_destroy(a);
	b = named(test, th, "b");
	KUNIT_EXPECT_NE_MSG(test, b->partition, partition, "an arena of that is there");
	other = pymt_take(test, b);
	KUNIT_EXPECT_PTR_NE(test, arena_of(test, other), arena);
	pym_cache_free(b, other);
	pymt_tick(th);
	pymt_tick(th);
	KUNIT_EXPECT_EQ_MSG(test, named(test, th, "c")->partition, partition,
			    "a tick gives back all of a cache that is gone");
}

/* There is an end to it, with an error, and no cache is changed by that. */
static void as_many_as_promised(struct kunit *test)
{
	struct pymt_heap *th = isolating(test, PYMT_SPLIT, 0);
	struct pym_cache_args args = { .heap = th->heap };
	struct pym_cache *last = NULL;
	unsigned int i;
	char name[16];

	for (i = 0; i < 176; i++) {
		scnprintf(name, sizeof(name), "cache-%u", i);
		last = pym_cache_create(name, SIZE, &args);
		KUNIT_ASSERT_NOT_NULL(test, last);
	}
	KUNIT_EXPECT_NULL(test, pym_cache_create("too-many", SIZE, &args));
	pym_cache_destroy(last);
	KUNIT_EXPECT_NOT_NULL(test, pym_cache_create("again", SIZE, &args));
	pymt_check(test, th);
}

static void reset_and_destroy_do_not_wait(struct kunit *test)
{
	struct pymt_heap *th = isolating(test, PYMT_SPLIT, 600000);
	struct pym_cache *cache = named(test, th, "a");
	size_t n;

	fill(test, cache, &n);
	pym_heap_reset(th->heap);
	KUNIT_EXPECT_EQ(test, pymt_bytes(th), 0);
	fill(test, cache, &n);
	pymt_check(test, th);
	/* The case's end destroys the heap, and looks whether everything is back. */
}

static void time_without_isolation(struct kunit *test)
{
	struct pym_heap_args args = { .isolate_ms = 1 };

	KUNIT_EXPECT_NULL(test, pym_heap_create("time-only", &args));
}

static void switches_keep_to_it(struct kunit *test)
{
	struct pymt_heap *th = isolating(test, PYMT_SPLIT, 0);
	struct pym_cache *a = named(test, th, "a"), *b = named(test, th, "b");
	struct pym_switches sw = { .on = PYM_REDZONE };
	void *from_a, *from_b;

	KUNIT_ASSERT_EQ(test, pym_switch_heap(th->heap, &sw), 0);
	from_a = pymt_take(test, a);
	from_b = pymt_take(test, b);
	KUNIT_EXPECT_PTR_NE(test, arena_of(test, from_a), arena_of(test, from_b));
	pymt_check(test, th);
	pym_cache_free(a, from_a);
	pym_cache_free(b, from_b);
}

/* Behind each arena of vmalloc is a page that is not mapped, whoever it belongs to. */
static void guard_behind_vmalloc(struct kunit *test)
{
	struct pymt_heap *th = isolating(test, PYMT_VMALLOC, 0);
	struct pym_cache *cache = named(test, th, "a");
	size_t n, i, arenas = 0;
	void **blocks = fill(test, cache, &n);
	u8 byte;

	for (i = 0; i < n; i++) {
		struct pym_arena *arena = arena_of(test, blocks[i]);
		void *end = arena->chunk + arena->npools * pym_arena_pool_size(arena);

		KUNIT_ASSERT_NOT_NULL(test, arena->chunk);
		if (blocks[i] != arena->chunk)
			continue;
		arenas++;
		KUNIT_EXPECT_EQ(test, copy_from_kernel_nofault(&byte, end - 1, 1), 0);
		KUNIT_EXPECT_EQ(test, copy_from_kernel_nofault(&byte, end, 1), -EFAULT);
	}
	KUNIT_EXPECT_GT(test, arenas, 1);
	pymt_give_many(cache, blocks, n);
}

static struct kunit_case isolate_cases[] = {
	KUNIT_CASE(caches_never_share),
	KUNIT_CASE(caches_share_without),
	KUNIT_CASE(pools_stay),
	KUNIT_CASE(rests_whatever_is_asked),
	KUNIT_CASE(goes_back_when_rested),
	KUNIT_CASE(goes_back_by_ticks),
	KUNIT_CASE(destroyed_caches_leave_nothing),
	KUNIT_CASE(as_many_as_promised),
	KUNIT_CASE(reset_and_destroy_do_not_wait),
	KUNIT_CASE(time_without_isolation),
	KUNIT_CASE(switches_keep_to_it),
	KUNIT_CASE(guard_behind_vmalloc),
	{}
};

static struct kunit_suite isolate_suite = {
	.name = "pymalloc_isolate",
	.init = pymt_init_by_hand,
	.exit = pymt_exit,
	.test_cases = isolate_cases,
};

kunit_test_suites(&isolate_suite);
