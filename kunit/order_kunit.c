// SPDX-License-Identifier: GPL-2.0-only
/*
 * In which order pools and arenas are used, against models that sort; which of them go
 * back alone, which are kept, and for how long.
 */
#include <linux/log2.h>
#include <linux/prandom.h>
#include <linux/sort.h>
#include "fixture.h"

#define PER_POOL	8		/* blocks of 512 bytes in a page */
#define POOLS_3		(16 + 32 + 64)	/* pools of the first three arenas */

static const enum pymt_kind kinds[] = { PYMT_SPLIT, PYMT_CHUNKS, PYMT_PLAIN };

static void kind_desc(const enum pymt_kind *kind, char *desc)
{
	static const char * const names[] = {
		[PYMT_SPLIT] = "split", [PYMT_CHUNKS] = "chunks", [PYMT_PLAIN] = "plain",
	};

	scnprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s", names[*kind]);
}

KUNIT_ARRAY_PARAM(kinds, kinds, kind_desc);

static struct pymt_heap *open_param(struct kunit *test)
{
	return pymt_open(test, *(const enum pymt_kind *)test->param_value, NULL);
}

static struct pym_order *order_of(struct pymt_heap *th, unsigned int order)
{
	return *pym_order_of(th->heap, 0, numa_mem_id(), order);
}

static bool can_split(struct pymt_heap *th)
{
	return th->heap->provider->flags & PYM_PROVIDER_SPLIT;
}

/* Pools are filled one after the other, so pool i has blocks [8 * i, 8 * i + 8). */
static void give_pools(struct pym_cache *cache, void **blocks, unsigned int first,
		       unsigned int n)
{
	pymt_give_many(cache, blocks + first * PER_POOL, n * PER_POOL);
}

static void take_pools(struct kunit *test, struct pym_cache *cache, void **blocks,
		       unsigned int first, unsigned int n)
{
	pymt_take_many(test, cache, blocks + first * PER_POOL, n * PER_POOL);
}

/* ---------------------------------------------------------- pools of a cache ---- */

/* So few that none drains; drain_kunit.c is about the others. */
#define PAGES		16

/* What a consumer knows of a page: how many blocks of it he has. */
struct page_use {
	unsigned long page;
	unsigned int live;
};

struct pool_model {
	struct page_use use[PAGES + 1];
	unsigned int nr;
	unsigned int capacity;
};

static struct page_use *find_page(struct pool_model *m, const void *block)
{
	unsigned long page = (unsigned long)block & PAGE_MASK;
	unsigned int i;

	for (i = 0; i < m->nr; i++)
		if (m->use[i].page == page)
			return &m->use[i];
	return NULL;
}

static int by_live(const void *a, const void *b)
{
	return (int)((const struct page_use *)b)->live - (int)((const struct page_use *)a)->live;
}

/* Blocks free in the fullest page that is not full; 0 if there is none. */
static unsigned int fewest_free(struct pool_model *m)
{
	unsigned int i;

	sort(m->use, m->nr, sizeof(m->use[0]), by_live, NULL);
	for (i = 0; i < m->nr; i++)
		if (m->use[i].live < m->capacity)
			return m->capacity - m->use[i].live;
	return 0;
}

/* What is wrong with getting this block, or NULL. */
static const char *model_take(struct pool_model *m, const void *block)
{
	unsigned int fewest = fewest_free(m);
	struct page_use *use = find_page(m, block);
	const char *wrong = NULL;

	if (!use) {
		if (fewest)
			wrong = "a new page before all were full";
		if (m->nr == PAGES)
			return "more pages than the blocks need";
		use = &m->use[m->nr++];
		*use = (struct page_use){ .page = (unsigned long)block & PAGE_MASK };
	} else if (!fewest || use->live >= m->capacity) {
		wrong = "more blocks than the page has";
	} else if (ilog2(m->capacity - use->live) != ilog2(fewest)) {
		wrong = "not of the fullest page, to within a factor of two";
	}
	use->live++;
	return wrong;
}

static void model_give(struct pool_model *m, const void *block)
{
	struct page_use *use = find_page(m, block);

	if (!--use->live)
		*use = m->use[--m->nr];
}

static const size_t pool_sizes[] = { 16, 64, 200, 512 };

static void size_desc(const size_t *size, char *desc)
{
	scnprintf(desc, KUNIT_PARAM_DESC_SIZE, "%zu-bytes", *size);
}

KUNIT_ARRAY_PARAM(pool_sizes, pool_sizes, size_desc);

static void pools_against_model(struct kunit *test)
{
	struct pymt_heap *th = pymt_open(test, PYMT_SPLIT, NULL);
	struct pym_cache *cache = pymt_cache(test, th->heap, *(const size_t *)test->param_value);
	struct pool_model *m = kunit_kzalloc(test, sizeof(*m), GFP_KERNEL);
	unsigned int n = PAGES * cache->capacity, live = 0, i, victim, taken = 0;
	unsigned int steps = 6 * n + 3000, every = DIV_ROUND_UP(steps, 3000);
	void **blocks = pymt_array(test, n);
	const char *wrong = NULL;
	struct rnd_state rnd;

	KUNIT_ASSERT_NOT_NULL(test, m);
	prandom_seed_state(&rnd, pymt_seed(test));
	m->capacity = cache->capacity;
	for (i = 0; i < steps && !wrong; i++) {
		/* Waves, so that pools fill and empty. */
		unsigned int take = i / (n + 500) % 2 ? 35 : 65;

		if (live < n && prandom_u32_state(&rnd) % 100 < take) {
			blocks[live] = pymt_take(test, cache);
			wrong = model_take(m, blocks[live++]);
			taken++;
		} else if (live) {
			victim = prandom_u32_state(&rnd) % live;
			model_give(m, blocks[victim]);
			pym_cache_free(cache, blocks[victim]);
			blocks[victim] = blocks[--live];
		}
		if (i % every == 0 && !pymt_is_sound(th))
			wrong = "invariants, see the log";
	}
	KUNIT_EXPECT_NULL_MSG(test, wrong, "%s, at step %u", wrong, i);
	KUNIT_EXPECT_GT(test, taken, n);
	KUNIT_EXPECT_EQ(test, cache->nr_pools, m->nr);
	pymt_give_many(cache, blocks, live);
}

/* -------------------------------------------------------- arenas of an order ---- */

#define ARENAS		64

struct arena_use {
	const struct pym_arena *arena;
	unsigned int free;
};

struct arena_model {
	struct arena_use use[ARENAS];
	unsigned int nr;
};

static int by_free(const void *a, const void *b)
{
	return (int)((const struct arena_use *)a)->free - (int)((const struct arena_use *)b)->free;
}

/* The arenas that have a free pool, fullest first. */
static void sort_arenas(struct arena_model *m, struct pym_heap *heap)
{
	struct pym_arena *arena;

	m->nr = 0;
	list_for_each_entry(arena, &heap->arenas, all)
		if (arena->free && m->nr < ARENAS)
			m->use[m->nr++] = (struct arena_use){ arena, hweight64(arena->free) };
	sort(m->use, m->nr, sizeof(m->use[0]), by_free, NULL);
}

/* Is @arena one of those that had as few free pools as any that had one? */
static bool was_fullest(const struct arena_model *m, const struct pym_arena *arena)
{
	unsigned int i;

	/* None had: a hole was filled, or it is new. */
	if (!m->nr)
		return true;
	for (i = 0; i < m->nr; i++)
		if (m->use[i].arena == arena)
			return m->use[i].free == m->use[0].free;
	return false;
}

static void arenas_against_model(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	/* Of one order, so they take pools from each other's arenas. */
	struct pym_cache *cache[] = {
		pymt_cache(test, th->heap, 512), pymt_cache(test, th->heap, 400),
	};
	struct arena_model *m = kunit_kzalloc(test, sizeof(*m), GFP_KERNEL);
	unsigned int n = 300 * PER_POOL, live = 0, i, taken = 0, bad = 0, steps = 15000;
	void **blocks = pymt_array(test, n);
	u8 *from = kunit_kzalloc(test, n, GFP_KERNEL);
	struct rnd_state rnd;
	bool sound = true;

	KUNIT_ASSERT_TRUE(test, m && from);
	prandom_seed_state(&rnd, pymt_seed(test));
	for (i = 0; i < steps && sound; i++) {
		unsigned int take = i / 2500 % 2 ? 35 : 65, victim;
		u8 which = prandom_u32_state(&rnd) % 2;

		if (live < n && prandom_u32_state(&rnd) % 100 < take) {
			bool fresh = !pym_cache_any_used(cache[which]);

			if (fresh)
				sort_arenas(m, th->heap);
			from[live] = which;
			blocks[live] = pymt_take(test, cache[which]);
			if (fresh) {
				taken++;
				bad += !was_fullest(m, pymt_pool(test, blocks[live])->arena);
			}
			live++;
		} else if (live) {
			victim = prandom_u32_state(&rnd) % live;
			pym_cache_free(cache[from[victim]], blocks[victim]);
			from[victim] = from[--live];
			blocks[victim] = blocks[live];
		}
		/* What goes back makes holes, which have an order of their own. */
		if (i % 100 == 99)
			pymt_tick(th);
		if (i % 1500 == 1499)
			pym_heap_shrink(th->heap);
		if (i % 5 == 0)
			sound = pymt_is_sound(th);
	}
	KUNIT_EXPECT_TRUE_MSG(test, sound, "invariants broken at step %u", i);
	KUNIT_EXPECT_GT(test, taken, 200);
	KUNIT_EXPECT_EQ_MSG(test, bad, 0, "of %u pools, not of the fullest arena", taken);
	for (i = 0; i < live; i++)
		pym_cache_free(cache[from[i]], blocks[i]);
	pymt_rest(test, th);
}

/* ------------------------------------------------------- pages that go alone ---- */

/* Three arenas with one live block each; the rest of their pools goes back. */
static void single_pages_go_back(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 512);
	void **blocks = pymt_array(test, POOLS_3 * PER_POOL);
	static const unsigned int kept[] = { 0, 16 * PER_POOL, 48 * PER_POOL };
	unsigned int i, frees, damaged = 0;

	take_pools(test, cache, blocks, 0, POOLS_3);
	for (i = 0; i < ARRAY_SIZE(kept); i++)
		memset(blocks[kept[i]], 0x77, 512);
	frees = atomic_read(&th->provider->frees);
	for (i = 0; i < POOLS_3 * PER_POOL; i++)
		if (i != kept[0] && i != kept[1] && i != kept[2])
			pym_cache_free(cache, blocks[i]);
	KUNIT_EXPECT_LE(test, pymt_rest(test, th), 3);
	for (i = 0; i < ARRAY_SIZE(kept); i++)
		damaged += !!memchr_inv(blocks[kept[i]], 0x77, 512);
	KUNIT_EXPECT_EQ(test, damaged, 0);
	KUNIT_EXPECT_EQ(test, th->heap->nr_arenas, 3);
	if (can_split(th)) {
		KUNIT_EXPECT_LE(test, order_of(th, 0)->free, pym_kept_pools(0));
		KUNIT_EXPECT_EQ(test, pymt_bytes(th), (3 + order_of(th, 0)->free) * PAGE_SIZE);
		KUNIT_EXPECT_EQ_MSG(test, atomic_read(&th->provider->frees) - frees,
				    POOLS_3 - 3 - order_of(th, 0)->free, "page by page");
	} else {
		KUNIT_EXPECT_EQ_MSG(test, pymt_bytes(th), POOLS_3 * PAGE_SIZE,
				    "no arena is free, and no part of one can go");
	}
	pymt_check(test, th);
	/* The last block of an arena: the arena goes, split or not. */
	frees = atomic_read(&th->provider->frees);
	pym_cache_free(cache, blocks[kept[2]]);
	pym_cache_free(cache, blocks[kept[1]]);
	pymt_rest(test, th);
	flush_work(&th->heap->reap_work);
	if (can_split(th))
		KUNIT_EXPECT_LE(test, pymt_bytes(th), (1 + pym_kept_pools(0)) * PAGE_SIZE);
	else
		KUNIT_EXPECT_LE(test, pymt_bytes(th), (16 + 32) * PAGE_SIZE);
	KUNIT_EXPECT_NULL(test, memchr_inv(blocks[0], 0x77, 512));
	pym_cache_free(cache, blocks[0]);
	pymt_rest(test, th);
	KUNIT_EXPECT_LE(test, pymt_bytes(th),
			(can_split(th) ? pym_kept_pools(0) : 16) * PAGE_SIZE);
}

/* The pools of every order; so much of each stays, and then nothing is due any more. */
static void some_of_every_order_are_kept(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	unsigned int order, i;

	for (order = 0; order < PYM_NR_ORDERS; order++) {
		struct pym_cache *cache = pymt_cache(test, th->heap, pym_pool_size(order) / 8);
		unsigned int pools = 3 * pym_kept_pools(order) + 2;
		void **blocks = pymt_array(test, pools * PER_POOL);
		void *live;

		KUNIT_ASSERT_EQ(test, cache->order, order);
		pymt_take_many(test, cache, blocks, pools * PER_POOL);
		live = blocks[PER_POOL];
		for (i = 0; i < pools * PER_POOL; i++)
			if (blocks[i] != live)
				pym_cache_free(cache, blocks[i]);
		pymt_rest(test, th);
		if (can_split(th))
			KUNIT_EXPECT_LE_MSG(test, order_of(th, order)->free,
					    pym_kept_pools(order), "order %u", order);
		pym_cache_free(cache, live);
		pymt_rest(test, th);
		if (can_split(th))
			KUNIT_EXPECT_LE_MSG(test, order_of(th, order)->free,
					    pym_kept_pools(order), "order %u", order);
		else
			KUNIT_EXPECT_LE_MSG(test, order_of(th, order)->nr_arenas, 1,
					    "order %u", order);
		pymt_check(test, th);
	}
}

/* Nothing that is not used has been wanted yet; it goes all the same. */
static void virgin_pools_go_too(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 512);
	void *block = pymt_take(test, cache);

	KUNIT_EXPECT_EQ(test, pymt_bytes(th), 16 * PAGE_SIZE);
	pymt_rest(test, th);
	if (can_split(th))
		KUNIT_EXPECT_EQ(test, pymt_bytes(th), (1 + pym_kept_pools(0)) * PAGE_SIZE);
	pym_cache_free(cache, block);
}

/* The sparsest arenas are split up, the others keep their free pools. */
static void sparsest_go_first(struct kunit *test)
{
	struct pymt_heap *th = pymt_open(test, PYMT_SPLIT, NULL);
	struct pym_cache *cache = pymt_cache(test, th->heap, 512);
	void **blocks = pymt_array(test, POOLS_3 * PER_POOL);
	struct pym_arena *arena, *dense = NULL, *sparse = NULL;
	unsigned int i, n = 0, n_dense, n_sparse;
	u64 present;

	/* So that none goes at once. */
	WRITE_ONCE(pym_decay_ms, 0);
	take_pools(test, cache, blocks, 0, POOLS_3);
	/* Two pools of the first arena go, and 40 of the largest. */
	list_for_each_entry(arena, &th->heap->arenas, all) {
		dense = dense ?: arena;
		if (!sparse || hweight64(arena->present) > hweight64(sparse->present))
			sparse = arena;
	}
	KUNIT_ASSERT_PTR_NE(test, dense, sparse);
	present = dense->present;
	for (i = 0; i < POOLS_3; i++) {
		arena = pymt_pool(test, blocks[i * PER_POOL])->arena;
		if ((arena == dense && hweight64(dense->free) < 2) ||
		    (arena == sparse && hweight64(sparse->free) < 40)) {
			give_pools(cache, blocks, i, 1);
			n++;
		} else {
			memmove(blocks + (i - n) * PER_POOL, blocks + i * PER_POOL,
				PER_POOL * sizeof(*blocks));
		}
	}
	KUNIT_EXPECT_EQ(test, n, 42);
	KUNIT_ASSERT_EQ(test, order_of(th, 0)->free, 42);
	WRITE_ONCE(pym_decay_ms, PYMT_BY_HAND);
	/* None was due while there were to be none. */
	mod_delayed_work(system_wq, &th->heap->tick, msecs_to_jiffies(PYMT_BY_HAND));
	pymt_rest(test, th);
	KUNIT_EXPECT_EQ_MSG(test, dense->present, present, "that one was left alone");
	n_dense = hweight64(dense->free);
	n_sparse = hweight64(sparse->free);
	KUNIT_EXPECT_EQ(test, n_dense, 2);
	KUNIT_EXPECT_EQ(test, n_sparse, pym_kept_pools(0) - 2);
	give_pools(cache, blocks, 0, POOLS_3 - n);
}

/* Used in every interval, if only for a moment: they were needed, and stay. */
static void needed_between_ticks_stay(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 512);
	void **blocks = pymt_array(test, POOLS_3 * PER_POOL);
	unsigned int round, needed = 40;
	int calls = 0;

	take_pools(test, cache, blocks, 0, POOLS_3);
	give_pools(cache, blocks, 1, POOLS_3 - 1);
	for (round = 0; round < 15; round++) {
		take_pools(test, cache, blocks, 1, needed);
		give_pools(cache, blocks, 1, needed);
		pymt_tick(th);
		if (round == 5)
			calls = pymt_calls(th);
	}
	KUNIT_EXPECT_EQ_MSG(test, pymt_calls(th), calls, "obtained again what was given back");
	if (can_split(th)) {
		KUNIT_EXPECT_GE(test, order_of(th, 0)->free, needed);
		KUNIT_EXPECT_LE_MSG(test, order_of(th, 0)->free, needed + 3 * pym_kept_pools(0),
				    "more is kept than was needed");
	}
	pymt_rest(test, th);
	if (can_split(th))
		KUNIT_EXPECT_LE_MSG(test, order_of(th, 0)->free, pym_kept_pools(0),
				    "and not for ever");
	give_pools(cache, blocks, 0, 1);
}

/* ---------------------------------------------------------------- hysteresis ---- */

/* A working set that comes and goes: soon without the provider. */
static void cycles_meet_no_provider(struct kunit *test)
{
	static const unsigned int sizes[] = { 20, POOLS_3, POOLS_3 + 200 };
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 512);
	void **blocks = pymt_array(test, sizes[2] * PER_POOL);
	unsigned int i, round;
	int calls = 0, frees = 0;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (round = 0; round < 20; round++) {
			if (round == 10) {
				flush_work(&th->heap->reap_work);
				calls = pymt_calls(th);
				frees = atomic_read(&th->provider->frees);
			}
			take_pools(test, cache, blocks, 0, sizes[i]);
			give_pools(cache, blocks, 0, sizes[i]);
		}
		flush_work(&th->heap->reap_work);
		KUNIT_EXPECT_EQ_MSG(test, pymt_calls(th), calls, "%u pools, again and again",
				    sizes[i]);
		KUNIT_EXPECT_EQ_MSG(test, atomic_read(&th->provider->frees), frees,
				    "%u pools, again and again", sizes[i]);
		pymt_check(test, th);
	}
}

/* Ticks in the midst of cycles change nothing, as all is needed between two of them. */
static void cycles_with_ticks(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 512);
	void **blocks = pymt_array(test, POOLS_3 * PER_POOL);
	unsigned int round;
	int calls = 0;

	for (round = 0; round < 30; round++) {
		if (round == 10)
			calls = pymt_calls(th);
		take_pools(test, cache, blocks, 0, POOLS_3);
		give_pools(cache, blocks, 0, POOLS_3);
		pymt_tick(th);
	}
	KUNIT_EXPECT_EQ(test, pymt_calls(th), calls);
}

/* What was kept for cycles is not kept when they are over. */
static void kept_for_a_while_only(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 512);
	void **blocks = pymt_array(test, POOLS_3 * PER_POOL);
	unsigned int round;
	long peak;

	for (round = 0; round < 20; round++) {
		take_pools(test, cache, blocks, 0, POOLS_3);
		give_pools(cache, blocks, 0, POOLS_3);
	}
	peak = pymt_bytes(th);
	KUNIT_EXPECT_GE(test, peak, POOLS_3 * PAGE_SIZE);
	KUNIT_EXPECT_GT(test, order_of(th, 0)->keep, 0);
	KUNIT_EXPECT_LE(test, pymt_rest(test, th), 5);
	flush_work(&th->heap->reap_work);
	KUNIT_EXPECT_LE(test, pymt_bytes(th), (can_split(th) ? pym_kept_pools(0) : 64) * PAGE_SIZE);
	KUNIT_EXPECT_LE_MSG(test, order_of(th, 0)->keep, 64, "as if cycles went on");

	/* A small set from now on: the memory of the large one does not come back. */
	for (round = 0; round < 20; round++) {
		take_pools(test, cache, blocks, 0, 16);
		give_pools(cache, blocks, 0, 16);
		pymt_tick(th);
	}
	KUNIT_EXPECT_LE(test, pymt_bytes(th), 64 * PAGE_SIZE);
}

/* A peak that was one: nearly all of it is back without any tick. */
static void peak_goes_at_once(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 512);
	unsigned int n = 1000;
	void **blocks = pymt_array(test, n * PER_POOL);
	long peak;

	take_pools(test, cache, blocks, 0, n);
	peak = pymt_bytes(th);
	give_pools(cache, blocks, 0, n);
	flush_work(&th->heap->reap_work);
	KUNIT_EXPECT_LE(test, pymt_bytes(th), peak / 8);
	pymt_rest(test, th);
	KUNIT_EXPECT_LE(test, pymt_bytes(th), (can_split(th) ? pym_kept_pools(0) : 64) * PAGE_SIZE);
}

/* One block, allocated and freed: its pool comes and goes, its page does not. */
static void lone_block_costs_no_page(struct kunit *test)
{
	struct pymt_heap *th = open_param(test);
	struct pym_cache *cache = pymt_cache(test, th->heap, 512);
	unsigned int i;

	for (i = 0; i < 1000; i++) {
		pym_cache_free(cache, pymt_take(test, cache));
		if (i % 10 == 0)
			pymt_tick(th);
	}
	KUNIT_EXPECT_EQ(test, pymt_calls(th), 1);
}

static struct kunit_case order_cases[] = {
	KUNIT_CASE_PARAM(pools_against_model, pool_sizes_gen_params),
	KUNIT_CASE_PARAM(arenas_against_model, kinds_gen_params),
	KUNIT_CASE_PARAM(single_pages_go_back, kinds_gen_params),
	KUNIT_CASE_PARAM(some_of_every_order_are_kept, kinds_gen_params),
	KUNIT_CASE_PARAM(virgin_pools_go_too, kinds_gen_params),
	KUNIT_CASE(sparsest_go_first),
	KUNIT_CASE_PARAM(needed_between_ticks_stay, kinds_gen_params),
	KUNIT_CASE_PARAM(cycles_meet_no_provider, kinds_gen_params),
	KUNIT_CASE_PARAM(cycles_with_ticks, kinds_gen_params),
	KUNIT_CASE_PARAM(kept_for_a_while_only, kinds_gen_params),
	KUNIT_CASE_PARAM(peak_goes_at_once, kinds_gen_params),
	KUNIT_CASE_PARAM(lone_block_costs_no_page, kinds_gen_params),
	{}
};

static struct kunit_suite order_suite = {
	.name = "pymalloc_order",
	.init = pymt_init_by_hand,
	.exit = pymt_exit,
	.test_cases = order_cases,
};

kunit_test_suites(&order_suite);
