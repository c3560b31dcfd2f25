// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the calls of the failure walk find: heaps in every state that takes another way
 * to memory.
 */
#include "walk.h"

/* The blocks of a state are told from each other by their first and last word. */
void walk_mark(u64 *p, size_t size)
{
	p[0] = (unsigned long)p;
	p[size / sizeof(u64) - 1] = (unsigned long)p;
}

bool walk_is_marked(const u64 *p, size_t size)
{
	return p[0] == (unsigned long)p && p[size / sizeof(u64) - 1] == (unsigned long)p;
}

void walk_keep(struct walk_scene *s, void *p, size_t size, bool of_class)
{
	KUNIT_ASSERT_NOT_NULL(s->test, p);
	KUNIT_ASSERT_LT(s->test, s->nr_live, WALK_LIVE);
	walk_mark(p, size);
	s->live[s->nr_live++] = (struct walk_block){ p, size, of_class };
}

static void take_one(struct walk_scene *s, bool of_class)
{
	walk_keep(s, of_class ? pym_malloc(s->heap, WALK_SIZE, WALK_QUIETLY) :
				pym_cache_alloc(s->cache, WALK_QUIETLY),
		  WALK_SIZE, of_class);
}

/* Blocks of the cache and of the class of its size, in turn. */
void walk_take(struct walk_scene *s, unsigned int n)
{
	while (n--)
		take_one(s, s->nr_live % 2);
}

/* Free those that are not the first of @of each. */
static void thin_out(struct walk_scene *s, unsigned int of)
{
	unsigned int i, kept = 0;

	for (i = 0; i < s->nr_live; i++) {
		struct walk_block *b = &s->live[i];

		if (!(i / 2 % of))
			s->live[kept++] = *b;
		else if (b->of_class)
			pym_free(b->p);
		else
			pym_cache_free(s->cache, b->p);
	}
	s->nr_live = kept;
}

void walk_give_all(struct walk_scene *s)
{
	unsigned int i;

	for (i = 0; i < s->nr_live; i++) {
		if (s->live[i].of_class)
			pym_free(s->live[i].p);
		else
			pym_cache_free(s->cache, s->live[i].p);
	}
	s->nr_live = 0;
}

/* Blocks that a cache has in its pools and fronts. */
static unsigned long room(struct pym_cache *cache)
{
	struct pym_cache_stats stats = pymt_stats_of(cache);

	return stats.pools * stats.capacity - stats.live;
}

static unsigned long free_pools(struct pym_heap *heap)
{
	unsigned long n = 0;
	unsigned int i;

	/* Of one page. */
	for (i = 0; i < pym_nr_orders(heap->flags); i += PYM_NR_ORDERS)
		n += heap->order[i] ? heap->order[i]->free : 0;
	return n;
}

/* Until there is no pool for the next block. */
static void fill_up(struct walk_scene *s)
{
	struct pym_cache *class;
	unsigned long n;

	do {
		take_one(s, true);
		class = s->heap->class[pym_size_to_class(WALK_SIZE)];
		for (n = room(class); n; n--)
			take_one(s, true);
		if (free_pools(s->heap))
			take_one(s, false);
		for (n = room(s->cache); n; n--)
			take_one(s, false);
	} while (free_pools(s->heap));
}

void walk_limit_to(struct walk_scene *s, size_t more)
{
	struct pym_heap_stats stats;

	pym_heap_stats(s->heap, &stats);
	KUNIT_ASSERT_EQ(s->test, pym_heap_set_limit(s->heap, stats.held + more), 0);
	s->limited = true;
}

static void fresh(struct walk_scene *s)
{
}

static void one(struct walk_scene *s)
{
	walk_take(s, 2);
}

static void part(struct walk_scene *s)
{
	walk_take(s, 24);
}

static void arena_full(struct walk_scene *s)
{
	fill_up(s);
}

static void arenas_full(struct walk_scene *s)
{
	fill_up(s);
	fill_up(s);
}

/* With fronts, these are full; without, there are empty pools. */
static void freed(struct walk_scene *s)
{
	walk_take(s, 64);
	walk_give_all(s);
}

/* Fronts and their depot are full, and there are empty pools. */
static void much_freed(struct walk_scene *s)
{
	walk_take(s, 400);
	walk_give_all(s);
}

static void shrunk(struct walk_scene *s)
{
	much_freed(s);
	pym_heap_shrink(s->heap);
}

static void scattered(struct walk_scene *s)
{
	walk_take(s, 120);
	thin_out(s, 2);
}

/* So many pools, and so sparse, that they drain. */
static void draining(struct walk_scene *s)
{
	walk_take(s, 600);
	thin_out(s, 8);
}

/* A block in every fourth pool; where pools go back alone, arenas have holes then. */
static void holes(struct walk_scene *s)
{
	walk_take(s, 400);
	thin_out(s, 32);
	pym_heap_shrink(s->heap);
}

static void at_limit(struct walk_scene *s)
{
	arena_full(s);
	walk_limit_to(s, 0);
}

static void at_limit_with_free(struct walk_scene *s)
{
	scattered(s);
	walk_limit_to(s, 0);
}

static void near_limit(struct walk_scene *s)
{
	arena_full(s);
	walk_limit_to(s, 3 * PAGE_SIZE);
}

static void far_from_limit(struct walk_scene *s)
{
	arena_full(s);
	walk_limit_to(s, SZ_64K);
}

/* What fills the heap is free, but in pools that are too large, or small. */
static void limit_of_others(struct walk_scene *s)
{
	void *p[16];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(p); i++)
		p[i] = pymt_malloc(s->test, s->heap, 2048);
	arena_full(s);
	for (i = 0; i < ARRAY_SIZE(p); i++)
		pym_free(p[i]);
	walk_limit_to(s, 0);
}

/* No two pages are side by side any more. */
static void fragmented(struct walk_scene *s)
{
	s->th->provider->max_size = PAGE_SIZE;
	walk_take(s, 100);
	fill_up(s);
}

static bool has_test_provider(enum pymt_kind kind)
{
	kind &= PYMT_KIND;
	return kind != PYMT_PAGES && kind != PYMT_VMALLOC;
}

static void hooked(struct walk_scene *s)
{
	struct pym_heap_ops ops;

	arena_full(s);
	pym_heap_get_ops(s->heap, &ops);
	KUNIT_ASSERT_EQ(s->test, pym_heap_set_ops(s->heap, &ops), 0);
}

static void passed_through(struct walk_scene *s)
{
	walk_keep(s, pymt_malloc(s->test, s->heap, 5000), 5000, true);
	walk_keep(s, pymt_malloc(s->test, s->heap, 100000), 100000, true);
	/* As what walk_take() makes next is to be of the cache. */
	walk_take(s, 2);
}

/* A full pool of many small blocks, which has a bitmap; and others that keep theirs. */
static void with_bitmaps(struct walk_scene *s)
{
	void **p = pymt_array(s->test, 1200);
	unsigned int i;

	for (i = 0; i < 1200; i++)
		p[i] = pymt_malloc(s->test, s->heap, 24);
	for (i = 0; i < 1200; i++) {
		if (i < 170)
			walk_keep(s, p[i], 24, true);
		else
			pym_free(p[i]);
	}
	kunit_kfree(s->test, p);
}

static void was_reset(struct walk_scene *s)
{
	arenas_full(s);
	pym_heap_reset(s->heap);
	s->nr_live = 0;
	walk_take(s, 6);
}

/* Ticks are due, so that free pools go back on their own. */
static void decaying(struct walk_scene *s)
{
	WRITE_ONCE(pym_decay_ms, PYMT_BY_HAND);
	scattered(s);
}

const struct walk_state walk_states[] = {
	{ "fresh", fresh },
	{ "one", one },
	{ "part", part },
	{ "arena-full", arena_full },
	{ "arenas-full", arenas_full },
	{ "freed", freed },
	{ "much-freed", much_freed },
	{ "shrunk", shrunk },
	{ "scattered", scattered },
	{ "draining", draining },
	{ "holes", holes },
	{ "at-limit", at_limit },
	{ "at-limit-with-free", at_limit_with_free },
	{ "near-limit", near_limit },
	{ "far-from-limit", far_from_limit },
	{ "limit-of-others", limit_of_others },
	{ "fragmented", fragmented, has_test_provider },
	{ "hooked", hooked, .slow = true },
	{ "passed-through", passed_through },
	{ "with-bitmaps", with_bitmaps },
	{ "was-reset", was_reset, .first = true },
	{ "decaying", decaying },
	{ "switched", walk_switched, .slow = true },
	{ "switched-twice", walk_switched_twice, .slow = true },
	{ "switched-off", walk_switched_off, .slow = true },
	{ "guarded", walk_guarded, .slow = true },
	{ "quarantined", walk_quarantined, .slow = true },
	{ "switched-at-limit", walk_switched_at_limit, .slow = true },
};
const unsigned int walk_nr_states = ARRAY_SIZE(walk_states);
