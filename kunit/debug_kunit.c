// SPDX-License-Identifier: GPL-2.0-only
/*
 * What can be switched on for a cache or a heap that runs: every misuse is told, once
 * and as what it is; nothing else is, and everything goes on working.
 */
#include <linux/poison.h>
#include <linux/string.h>
#include "debug.h"

static const enum pymt_kind kinds[] = {
	PYMT_PAGES | PYMT_FRONTS, PYMT_VMALLOC | PYMT_FRONTS, PYMT_SPLIT,
};

static void kind_desc(const enum pymt_kind *kind, char *desc)
{
	strscpy(desc, *kind & PYMT_FRONTS ? (*kind & PYMT_KIND) == PYMT_PAGES ? "pages" :
		"vmalloc" : "without-fronts", KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(kinds, kinds, kind_desc);

const void *pymt_debug_kinds(const void *prev, char *desc)
{
	return kinds_gen_params(prev, desc);
}

struct pymt_heap *pymt_debug_open(struct kunit *test)
{
	return pymt_open(test, *(const enum pymt_kind *)test->param_value, NULL);
}

struct pym_switches pymt_words(struct kunit *test, const char *words)
{
	struct pym_switches switches;
	char text[PYM_SWITCHES_TEXT];

	strscpy(text, words, sizeof(text));
	KUNIT_ASSERT_EQ(test, pym_switches_parse(text, &switches), 0);
	return switches;
}

void pymt_switch(struct kunit *test, struct pym_cache *cache, const char *words)
{
	struct pym_switches switches = pymt_words(test, words);

	KUNIT_ASSERT_EQ(test, pym_switch_cache(cache, &switches), 0);
}

void pymt_switch_heap(struct kunit *test, struct pym_heap *heap, const char *words)
{
	struct pym_switches switches = pymt_words(test, words);

	KUNIT_ASSERT_EQ(test, pym_switch_heap(heap, &switches), 0);
}

unsigned long pymt_live(struct pym_cache *cache)
{
	struct pym_cache_stats stats;

	pym_cache_stats(cache, &stats);
	return stats.live;
}

/* ---------------------------------------------------------------- words -- */

static void words_are_read(struct kunit *test)
{
	static const char * const good[][2] = {
		{ "none", "none\n" }, { "", "none\n" }, { "redzone", "redzone\n" },
		{ " poison\tredzone\n", "redzone poison\n" },
		{ "quarantine=100 poison", "poison quarantine=100\n" },
		{ "freeze owner", "owner freeze\n" },
		{ "guard=1/1", "guard=1/1\n" },
		{ "guard=1/4294967295 quarantine=4096 freeze owner poison redzone",
		  "redzone poison owner freeze quarantine=4096 guard=1/4294967295\n" },
	};
	static const char * const bad[] = {
		"redzones", "red", "poison,redzone", "quarantine", "quarantine=", "quarantine=0",
		"quarantine=-1", "quarantine=99999999", "quarantine=4x", "redzone what",
		"guard", "guard=", "guard=1", "guard=1/", "guard=1/0", "guard=2/3", "guard=x",
		"guard=1/x", "guard=1/-5", "guard=1/5x", "guard=1/4294967296", "guard=10",
	};
	struct pym_switches switches;
	char text[PYM_SWITCHES_TEXT];
	int i, n;

	for (i = 0; i < ARRAY_SIZE(good); i++) {
		switches = pymt_words(test, good[i][0]);
		n = pym_switches_print(&switches, text, sizeof(text));
		KUNIT_EXPECT_EQ(test, n, strlen(good[i][1]));
		text[n] = '\0';
		KUNIT_EXPECT_STREQ(test, text, good[i][1]);
	}
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		strscpy(text, bad[i], sizeof(text));
		KUNIT_EXPECT_EQ_MSG(test, pym_switches_parse(text, &switches), -EINVAL,
				    "'%s'", bad[i]);
	}
}

static void nothing(void *block)
{
}

static void what_a_cache_cannot_have(struct kunit *test)
{
	struct pym_heap *heap = pymt_debug_open(test)->heap;
	struct pym_cache_args ctor = { .heap = heap, .ctor = nothing };
	struct pym_cache_args typesafe = { .heap = heap, .flags = PYM_CACHE_TYPESAFE_BY_RCU };
	struct pym_switches poison = { .on = PYM_POISON }, redzone = { .on = PYM_REDZONE };
	struct pym_cache *c[3] = {
		pym_cache_create("constructed", 64, &ctor),
		pym_cache_create("typesafe", 64, &typesafe),
		pymt_cache(test, heap, PYM_CACHE_MAX_SIZE),
	};
	struct pym_switches is;
	int i;

	KUNIT_EXPECT_EQ(test, pym_switch_cache(c[0], &poison), -EINVAL);
	KUNIT_EXPECT_EQ(test, pym_switch_cache(c[1], &poison), -EINVAL);
	KUNIT_EXPECT_EQ(test, pym_switch_cache(c[2], &redzone), -EINVAL);
	pymt_switch_heap(test, heap, "redzone poison quarantine=3");
	for (i = 0; i < 3; i++) {
		pym_cache_switches(c[i], &is);
		KUNIT_EXPECT_EQ(test, is.on, i == 2 ? PYM_POISON : PYM_REDZONE);
		KUNIT_EXPECT_EQ(test, is.quarantine, 3);
	}
}

static void no_room_for_switches(struct kunit *test)
{
	struct pymt_heap *th = pymt_debug_open(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 64);
	void *small = pymt_malloc(test, th->heap, 64), *p = pymt_take(test, cache);
	struct pym_switches poison = { .on = PYM_POISON }, is;
	struct pym_heap_stats stats;

	pym_heap_stats(th->heap, &stats);
	KUNIT_ASSERT_EQ(test, pym_heap_set_limit(th->heap, stats.held), 0);
	KUNIT_EXPECT_EQ(test, pym_switch_cache(cache, &poison), -EDQUOT);
	KUNIT_EXPECT_EQ(test, pym_switch_heap(th->heap, &poison), -EDQUOT);
	pym_cache_switches(cache, &is);
	KUNIT_EXPECT_EQ_MSG(test, is.on, 0, "the cache is as it was");
	pym_cache_free(cache, pymt_take(test, cache));
	KUNIT_ASSERT_EQ(test, pym_heap_set_limit(th->heap, 0), 0);
	pymt_switch_heap(test, th->heap, "poison");
	pym_cache_switches(cache, &is);
	KUNIT_EXPECT_EQ(test, is.on, PYM_POISON);
	pym_cache_free(cache, p);
	pym_free(small);
	pymt_check(test, th);
}

/* -------------------------------------------------------------- overflow -- */

static void beside_a_block(struct kunit *test, size_t size)
{
	struct pymt_heap *th = pymt_debug_open(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, size);
	const ssize_t at[] = { -1, -8, size, size + 7 };
	u8 *p, *keep;
	int i;

	pymt_switch(test, cache, "redzone");
	keep = pymt_take(test, cache);
	for (i = 0; i < ARRAY_SIZE(at); i++) {
		p = pymt_take(test, cache);
		memset(p, 0x11, size);
		p[at[i]] ^= 0x40;
		pym_cache_free(cache, p);
		pymt_expect_misuse(test, PYM_MISUSE_OVERFLOW, 1);
		KUNIT_EXPECT_EQ_MSG(test, pymt_live(cache), 1, "it is freed all the same");
		pymt_check(test, th);
	}
	/* To the last byte is right. */
	p = pymt_take(test, cache);
	memset(p, 0x11, size);
	pym_cache_free(cache, p);
	pym_cache_free(cache, keep);
	KUNIT_EXPECT_EQ(test, pymt_live(cache), 0);
}

static void beside_a_block_of_64(struct kunit *test)
{
	beside_a_block(test, 64);
}

static void beside_a_block_of_1(struct kunit *test)
{
	beside_a_block(test, 1);
}

static void beside_a_block_of_3000(struct kunit *test)
{
	beside_a_block(test, 3000);
}

/* In a class the bytes are watched from what was asked for. */
static void behind_what_was_asked_for(struct kunit *test)
{
	struct pymt_heap *th = pymt_debug_open(test);
	const size_t sizes[] = { 0, 1, 5, 13, 16, 100, 512, 1000, 2047, 2048 };
	size_t n;
	u8 *p;
	int i;

	pymt_switch_heap(test, th->heap, "redzone");
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		n = sizes[i] ?: 1;
		p = pymt_malloc(test, th->heap, sizes[i]);
		KUNIT_EXPECT_EQ(test, pym_usable_size(p), n);
		KUNIT_EXPECT_PTR_EQ(test, pym_owner(p), th->heap);
		memset(p, 0x22, n);
		pym_free(p);
		p = pymt_malloc(test, th->heap, sizes[i]);
		p[n] = 0;
		pym_free(p);
		pymt_expect_misuse(test, PYM_MISUSE_OVERFLOW, 1);
	}
	pymt_check(test, th);
}

/* -------------------------------------------------------- use after free -- */

static void write_then_use_again(struct kunit *test)
{
	struct pymt_heap *th = pymt_debug_open(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 96);
	const unsigned int at[] = { 0, 17, 95 };
	u8 *p, *keep;
	int i;

	pymt_switch(test, cache, "poison");
	keep = pymt_take(test, cache);
	for (i = 0; i < ARRAY_SIZE(at); i++) {
		p = pymt_take(test, cache);
		memset(p, 0, 96);
		pym_cache_free(cache, p);
		KUNIT_EXPECT_EQ_MSG(test, p[3], POISON_FREE, "a reader sees that it is free");
		pymt_expect_misuse(test, PYM_MISUSE_USE_AFTER, 0);
		p[at[i]] ^= 1;
		KUNIT_EXPECT_PTR_EQ(test, pymt_take(test, cache), p);
		pymt_expect_misuse(test, PYM_MISUSE_USE_AFTER, 1);
		pym_cache_free(cache, p);
		pymt_check(test, th);
	}
	pym_cache_free(cache, keep);
}

static void write_then_pool_goes(struct kunit *test)
{
	struct pymt_heap *th = pymt_debug_open(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 96);
	u8 *p, *keep;

	pymt_switch(test, cache, "poison");
	keep = pymt_take(test, cache);
	p = pymt_take(test, cache);
	pym_cache_free(cache, p);
	p[40] = 0;
	pym_cache_free(cache, keep);
	pymt_expect_misuse(test, PYM_MISUSE_USE_AFTER, 1);
	KUNIT_EXPECT_EQ(test, pymt_live(cache), 0);
}

static void write_then_cache_goes(struct kunit *test)
{
	struct pymt_heap *th = pymt_debug_open(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 96);
	unsigned long before = pym_misuse_count(PYM_MISUSE_USE_AFTER);
	u8 *p;

	pymt_switch(test, cache, "poison");
	pymt_take(test, cache);
	p = pymt_take(test, cache);
	pym_cache_free(cache, p);
	p[40] = 0;
	pym_cache_destroy(cache);
	KUNIT_EXPECT_EQ(test, pym_misuse_count(PYM_MISUSE_USE_AFTER), before + 1);
	/* And of the other block, a leak. */
	pymt_forget_misuse(test);
}

static void write_in_quarantine(struct kunit *test)
{
	struct pymt_heap *th = pymt_debug_open(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 40);
	void *blocks[5];
	u8 *bad;

	pymt_switch(test, cache, "poison quarantine=4");
	pymt_take_many(test, cache, blocks, 5);
	bad = blocks[0];
	pymt_give_many(cache, blocks, 4);
	bad[8] = 0;
	pymt_expect_misuse(test, PYM_MISUSE_USE_AFTER, 0);
	pym_cache_free(cache, blocks[4]);
	pymt_expect_misuse(test, PYM_MISUSE_USE_AFTER, 1);
	bad = blocks[2];
	bad[39] = 0;
	pymt_switch(test, cache, "none");
	pymt_expect_misuse(test, PYM_MISUSE_USE_AFTER, 1);
	pymt_check(test, th);
}

/* The zones of a free block are its neighbours' as well. */
static void write_beside_a_free_block(struct kunit *test)
{
	struct pymt_heap *th = pymt_debug_open(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 40);
	void *blocks[2];
	u8 *p;

	pymt_switch(test, cache, "redzone");
	pymt_take_many(test, cache, blocks, 2);
	pym_cache_free(cache, blocks[0]);
	p = blocks[0];
	p[41] = 1;
	KUNIT_EXPECT_PTR_EQ(test, pymt_take(test, cache), p);
	pymt_expect_misuse(test, PYM_MISUSE_OVERFLOW, 1);
	pymt_give_many(cache, blocks, 2);
}

/* ------------------------------------------------------------ quarantine -- */

#define HELD	16

static void quarantine_holds(struct kunit *test)
{
	struct pymt_heap *th = pymt_debug_open(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 200);
	struct pym_cache_stats stats;
	void *old[HELD], *p;
	int i, k;

	pymt_switch(test, cache, "quarantine=16");
	for (i = 0; i < HELD; i++) {
		p = pymt_take(test, cache);
		for (k = 0; k < i; k++)
			KUNIT_EXPECT_PTR_NE_MSG(test, p, old[k], "given again too early");
		old[i] = p;
		pym_cache_free(cache, p);
		pymt_check(test, th);
	}
	pym_cache_stats(cache, &stats);
	KUNIT_EXPECT_EQ(test, stats.live, 0);
	KUNIT_EXPECT_EQ(test, stats.cached, HELD);
	KUNIT_EXPECT_EQ(test, stats.frees, HELD);
	p = pymt_take(test, cache);
	pym_cache_free(cache, p);
	KUNIT_EXPECT_PTR_EQ_MSG(test, pymt_take(test, cache), old[0], "the oldest left");
	pym_cache_free(cache, old[0]);
}

/* Switches make no allocation fail: what is in quarantine is given then. */
static void quarantine_gives_way_to_the_limit(struct kunit *test)
{
	struct pymt_heap *th = pymt_debug_open(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 1024);
	struct pym_heap_stats stats;
	int i;

	pymt_switch(test, cache, "redzone poison quarantine=500");
	pym_heap_stats(th->heap, &stats);
	KUNIT_ASSERT_EQ(test, pym_heap_set_limit(th->heap, stats.held + SZ_128K), 0);
	for (i = 0; i < 1000; i++) {
		void *p = pym_cache_alloc(cache, GFP_KERNEL);

		if (!p) {
			KUNIT_FAIL(test, "no block in round %d", i);
			break;
		}
		pym_cache_free(cache, p);
	}
	pymt_check(test, th);
}

/* ---------------------------------------------------------- other misuse -- */

static void bad_frees(struct kunit *test)
{
	struct pymt_heap *th = pymt_debug_open(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 72);
	struct pym_cache *other = pymt_cache(test, th->heap, 72);
	u8 *p, *q, *small;

	pymt_switch_heap(test, th->heap, PYMT_EVERYTHING);
	p = pymt_take(test, cache);
	q = pymt_take(test, cache);
	small = pymt_malloc(test, th->heap, 30);

	pym_cache_free(cache, p + 8);
	pym_cache_free(cache, p - 8);
	pym_cache_free(cache, pymt_pool(test, p)->base);
	pymt_expect_misuse(test, PYM_MISUSE_INTERIOR, 3);
	pym_cache_free(other, p);
	pymt_expect_misuse(test, PYM_MISUSE_WRONG_CACHE, 1);
	pym_free(p);
	pym_cache_free(cache, small);
	pymt_expect_misuse(test, PYM_MISUSE_WRONG_API, 2);
	pym_cache_free(cache, q + (q - p));
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 1);
	KUNIT_EXPECT_EQ_MSG(test, pymt_live(cache), 2, "nothing has changed");

	pym_cache_free(cache, p);
	pym_cache_free(cache, p);
	pym_free(small);
	pym_free(small);
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 2);
	KUNIT_EXPECT_EQ(test, pym_usable_size(small), 0);
	KUNIT_EXPECT_NULL(test, pym_realloc(NULL, small, 10, GFP_KERNEL));
	pymt_expect_misuse(test, PYM_MISUSE_FOREIGN, 1);
	pymt_switch_heap(test, th->heap, "none");
	pym_cache_free(cache, p);
	pym_cache_free_rcu(cache, p);
	pym_cache_free_rcu(cache, q);
	pym_cache_destroy(cache);
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 2);
	pymt_check(test, th);
}

static void leak_is_told(struct kunit *test)
{
	struct pymt_heap *th = pymt_debug_open(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 72);
	void *before = pymt_take(test, cache);

	pymt_switch(test, cache, PYMT_EVERYTHING);
	pymt_take(test, cache);
	pym_cache_free(cache, pymt_take(test, cache));
	pymt_switch(test, cache, "redzone");
	pymt_take(test, cache);
	KUNIT_EXPECT_EQ(test, pymt_live(cache), 3);
	pym_cache_free(cache, before);
	KUNIT_EXPECT_EQ(test, pymt_live(cache), 2);
	pym_cache_destroy(cache);
	pymt_expect_misuse(test, PYM_MISUSE_LEAK, 1);
}

/* ---------------------------------------------------------- owner, freeze -- */

static void leaks_are_known(struct kunit *test)
{
	struct pymt_heap *th = pymt_debug_open(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 40);
	void *blocks[12];
	int i;

	if (!IS_ENABLED(CONFIG_STACKDEPOT))
		kunit_skip(test, "needs CONFIG_STACKDEPOT");
	pymt_take(test, cache);
	pymt_switch(test, cache, "owner");
	pymt_take_many(test, cache, blocks, 12);
	for (i = 0; i < 3; i++)
		pym_free(pymt_malloc(test, th->heap, 100));
	pymt_give_many(cache, blocks, 5);
	KUNIT_EXPECT_EQ_MSG(test, pym_owner_leaks(th->heap, cache), 7,
			    "those since it was switched on, but not what was freed");
	KUNIT_EXPECT_EQ(test, pym_owner_leaks(th->heap, NULL), 7);
	pymt_switch_heap(test, th->heap, "owner redzone");
	pymt_malloc(test, th->heap, 100);
	KUNIT_EXPECT_EQ(test, pym_owner_leaks(th->heap, cache), 7);
	KUNIT_EXPECT_EQ(test, pym_owner_leaks(th->heap, NULL), 8);
	pymt_check(test, th);
	pym_cache_destroy(cache);
	pymt_expect_misuse(test, PYM_MISUSE_LEAK, 1);
}

/* Each way to freeze the pool of three blocks; returns the one to look at. */
static u8 *by_overflow(struct pym_cache *cache, void **blocks)
{
	u8 *p = blocks[1];

	p[64] = 0x99;
	pym_cache_free(cache, p);
	return p + 64;
}

static u8 *by_use_after(struct pym_cache *cache, void **blocks)
{
	u8 *p = blocks[1];

	pym_cache_free(cache, p);
	p[10] = 0x99;
	pym_cache_free(cache, pym_cache_alloc(cache, GFP_KERNEL));
	return p + 10;
}

static void check_frozen(struct kunit *test, u8 *(*by)(struct pym_cache *cache, void **blocks),
			 enum pym_misuse kind)
{
	struct pymt_heap *th = pymt_debug_open(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 64);
	void *blocks[3], **more = pymt_array(test, 200);
	struct pym_pool *pool;
	u8 *evidence;
	int i;

	pymt_switch(test, cache, "redzone poison freeze");
	pymt_take_many(test, cache, blocks, 3);
	pool = pymt_pool(test, blocks[0]);
	evidence = by(cache, blocks);
	pymt_expect_misuse(test, kind, 1);
	pymt_check(test, th);
	KUNIT_EXPECT_EQ(test, pymt_live(cache), 2);
	pymt_take_many(test, cache, more, 200);
	for (i = 0; i < 200; i++)
		KUNIT_EXPECT_PTR_NE(test, pymt_pool(test, more[i]), pool);
	pymt_give_many(cache, more, 200);
	pym_cache_free(cache, blocks[0]);
	pym_cache_free(cache, blocks[2]);
	KUNIT_EXPECT_EQ(test, pymt_live(cache), 0);
	KUNIT_EXPECT_EQ_MSG(test, *evidence, 0x99, "it is as it was found");
	pymt_check(test, th);
	pym_cache_free(cache, blocks[0]);
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 1);
	pymt_switch(test, cache, "none");
	KUNIT_EXPECT_EQ(test, *evidence, 0x99);
	pym_cache_destroy(cache);
}

static void frozen_by_overflow(struct kunit *test)
{
	check_frozen(test, by_overflow, PYM_MISUSE_OVERFLOW);
}

static void frozen_by_use_after_free(struct kunit *test)
{
	check_frozen(test, by_use_after, PYM_MISUSE_USE_AFTER);
}

static struct kunit_case debug_cases[] = {
	KUNIT_CASE(words_are_read),
	KUNIT_CASE_PARAM(what_a_cache_cannot_have, pymt_debug_kinds),
	KUNIT_CASE_PARAM(no_room_for_switches, pymt_debug_kinds),
	KUNIT_CASE_PARAM(beside_a_block_of_1, pymt_debug_kinds),
	KUNIT_CASE_PARAM(beside_a_block_of_64, pymt_debug_kinds),
	KUNIT_CASE_PARAM(beside_a_block_of_3000, pymt_debug_kinds),
	KUNIT_CASE_PARAM(behind_what_was_asked_for, pymt_debug_kinds),
	KUNIT_CASE_PARAM(write_then_use_again, pymt_debug_kinds),
	KUNIT_CASE_PARAM(write_then_pool_goes, pymt_debug_kinds),
	KUNIT_CASE_PARAM(write_then_cache_goes, pymt_debug_kinds),
	KUNIT_CASE_PARAM(write_in_quarantine, pymt_debug_kinds),
	KUNIT_CASE_PARAM(write_beside_a_free_block, pymt_debug_kinds),
	KUNIT_CASE_PARAM(quarantine_holds, pymt_debug_kinds),
	KUNIT_CASE_PARAM(quarantine_gives_way_to_the_limit, pymt_debug_kinds),
	KUNIT_CASE_PARAM(bad_frees, pymt_debug_kinds),
	KUNIT_CASE_PARAM(leak_is_told, pymt_debug_kinds),
	KUNIT_CASE_PARAM(leaks_are_known, pymt_debug_kinds),
	KUNIT_CASE_PARAM(frozen_by_overflow, pymt_debug_kinds),
	KUNIT_CASE_PARAM(frozen_by_use_after_free, pymt_debug_kinds),
	{}
};

static struct kunit_suite debug_suite = {
	.name = "pymalloc_debug",
	.init = pymt_init_bare,
	.exit = pymt_exit,
	.test_cases = debug_cases,
};

kunit_test_suites(&debug_suite);
