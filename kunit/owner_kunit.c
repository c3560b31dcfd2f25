// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who owns the live blocks, as the file `owners' lists it: an entry for each place that
 * allocates, most blocks first, and of very many places the rest as a number.
 */
#include <linux/string.h>
#include "debug.h"
#include "shadow.h"

/* Else it cannot be switched on. */
#ifdef CONFIG_STACKDEPOT

#define DIR		"/sys/kernel/debug/pymalloc"
#define SIZE		40

struct scene {
	struct pym_heap *heap;
	struct pym_cache *cache;
	char of_heap[64], of_cache[96];	/* the files */
};

static void set_scene(struct kunit *test, struct scene *s)
{
	s->heap = pymt_heap(test)->heap;
	s->cache = pymt_cache(test, s->heap, SIZE);
	scnprintf(s->of_heap, sizeof(s->of_heap), DIR "/heap/%s/owners", s->heap->name);
	scnprintf(s->of_cache, sizeof(s->of_cache), DIR "/cache/%s:%s/owners", s->heap->name,
		  s->cache->name);
}

static void expect_entries(struct kunit *test, const char *file, unsigned int n)
{
	bool ok = pymt_shell(test, "test $(grep -c ' blocks, ' %s) = %u", file, n);

	KUNIT_EXPECT_TRUE_MSG(test, ok, "%u entries in %s", n, file);
}

/* The first entry: our blocks, and where in this file they come from. */
static void expect_first(struct kunit *test, const char *file, unsigned int n, const char *from)
{
	pid_t pid = task_pid_nr(current);

	bool ok;

	ok = pymt_shell(test, "sed -n 2p %s | grep -qx '%u blocks, %u bytes, tasks %d..%d'",
			file, n, n * SIZE, pid, pid);
	KUNIT_EXPECT_TRUE_MSG(test, ok, "%u blocks first in %s", n, file);
	ok = pymt_shell(test, "sed -n '3,/blocks/p' %s | grep -q '%s'", file, from);
	KUNIT_EXPECT_TRUE_MSG(test, ok, "no %s in the first stack of %s", from, file);
}

/* Places that a stack shows: the call is not their last instruction. */
static noinline void take_nine(struct kunit *test, struct pym_cache *cache, void **blocks)
{
	pymt_take_many(test, cache, blocks, 9);
	barrier();
}

static noinline void take_three(struct kunit *test, struct pym_cache *cache, void **blocks)
{
	pymt_take_many(test, cache, blocks, 3);
	barrier();
}

static void most_blocks_first(struct kunit *test)
{
	struct pym_cache *other;
	void *before, *few[3], *many[9], *others[9];
	struct scene s;

	set_scene(test, &s);
	other = pymt_cache(test, s.heap, SIZE);
	before = pymt_take(test, s.cache);
	pymt_switch_heap(test, s.heap, "owner");
	expect_entries(test, s.of_cache, 0);
	take_three(test, s.cache, few);
	take_nine(test, s.cache, many);
	expect_entries(test, s.of_cache, 2);
	expect_first(test, s.of_cache, 9, "take_nine");
	pymt_give_many(s.cache, many, 8);
	expect_first(test, s.of_cache, 3, "take_three");
	/* The heap's list is of all its caches, by place. */
	take_nine(test, other, others);
	expect_first(test, s.of_heap, 9, "take_nine");
	expect_entries(test, s.of_cache, 2);
	pymt_give_many(s.cache, few, 3);
	pymt_give_many(other, others, 9);
	pym_cache_free(s.cache, many[8]);
	expect_entries(test, s.of_heap, 0);
	pym_cache_free(s.cache, before);
}

/* As where the depot had no room for it. */
static void stack_is_not_known(struct kunit *test)
{
	struct pym_pool *pool;
	struct scene s;
	void *p;

	set_scene(test, &s);
	pymt_switch(test, s.cache, "owner");
	p = pymt_take(test, s.cache);
	pool = pymt_pool(test, p);
	pym_record_of(s.cache->shadow, pool, 0)->alloc_stack = 0;
	KUNIT_ASSERT_PTR_EQ(test, p, pool->base);
	expect_first(test, s.of_cache, 1, "not known");
	pym_cache_free(s.cache, p);
	pym_cache_free(s.cache, p);
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 1);
}

/* ------------------------------------------------------------- many places ---- */

/* Entries that there is room for, and places that allocate. */
#define KEPT		512
#define PLACES		1024
#define LEVELS		5

/* A call that is not the same instruction as another, though it does the same. */
#define CALL(n, call)							\
	do {								\
		p = call;						\
		asm volatile("" : "+r" (p) : "i" (n));			\
	} while (0)

/* By another way for each number: two bits of it at each level. */
static noinline void *take_by(struct pym_cache *cache, unsigned int way, unsigned int levels)
{
	void *p;

	if (!levels)
		return pym_cache_alloc(cache, GFP_KERNEL);
	switch (way % 4) {
	case 0:
		CALL(0, take_by(cache, way / 4, levels - 1));
		break;
	case 1:
		CALL(1, take_by(cache, way / 4, levels - 1));
		break;
	case 2:
		CALL(2, take_by(cache, way / 4, levels - 1));
		break;
	default:
		CALL(3, take_by(cache, way / 4, levels - 1));
	}
	return p;
}

static void more_places_than_there_is_room_for(struct kunit *test)
{
	void **blocks = pymt_array(test, PLACES);
	unsigned int i;
	struct scene s;
	bool ok;

	static_assert(PLACES == 1 << 2 * LEVELS);
	set_scene(test, &s);
	pymt_switch(test, s.cache, "owner");
	for (i = 0; i < PLACES; i++) {
		blocks[i] = take_by(s.cache, i, LEVELS);
		KUNIT_ASSERT_NOT_NULL(test, blocks[i]);
	}
	expect_entries(test, s.of_cache, KEPT);
	ok = pymt_shell(test, "tail -n 1 %s | grep -qx '%u blocks of other call sites'",
			s.of_cache, PLACES - KEPT);
	KUNIT_EXPECT_TRUE(test, ok);
	/* A leak of all of them: a few are printed. */
	KUNIT_EXPECT_EQ(test, pym_owner_leaks(s.heap, s.cache), KEPT);
	pymt_give_many(s.cache, blocks, PLACES);
	expect_entries(test, s.of_cache, 0);
}

static struct kunit_case owner_cases[] = {
	KUNIT_CASE(most_blocks_first),
	KUNIT_CASE(stack_is_not_known),
	KUNIT_CASE(more_places_than_there_is_room_for),
	{}
};

static struct kunit_suite owner_suite = {
	.name = "pymalloc_owner",
	.init = pymt_init,
	.exit = pymt_exit,
	.test_cases = owner_cases,
};

kunit_test_suites(&owner_suite);

#endif
