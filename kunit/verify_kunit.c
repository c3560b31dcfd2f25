// SPDX-License-Identifier: GPL-2.0-only
/*
 * That the invariant walker finds what it is for: in a heap of its own each case breaks
 * one thing, as a bug of ours might, sees it named, and mends it. Everything else must
 * be found sound before and after.
 */
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/string.h>
#include "debug.h"
#include "shadow.h"

/* Blocks of 512 bytes: eight to a pool. */
#define SIZE		512
#define PER_POOL	8

/* What is broken, and how it was. */
struct wound {
	void *at;
	size_t size;
	u8 was[sizeof(long)];
};

struct victim {
	struct pym_heap *heap;
	struct pym_cache *cache;
	struct pym_pool *full;		/* eight live blocks */
	struct pym_pool *used;		/* four live blocks, and four never handed out */
	struct pym_pool *empty;
	struct pym_pool *virgin;
	struct pym_arena *arena;	/* of all four */
	struct pym_order *order;
	struct pym_cache_node *node;
	struct pym_cache *shadow;	/* of another cache, */
	struct pym_pool *watched;	/* and a pool of it: one block live, one free */
	struct pym_cache *fast;		/* one with fronts, if the heap has any */
	unsigned int nr_wounds;
	struct wound wound[8];
};

static void hurt(struct victim *v, void *at, const void *bytes, size_t size)
{
	struct wound *wound = &v->wound[v->nr_wounds++];

	wound->at = at;
	wound->size = size;
	memcpy(wound->was, at, size);
	memcpy(at, bytes, size);
}

#define BREAK(v, what, value)						\
	do {								\
		typeof(what) bad = (value);				\
									\
		static_assert(sizeof(bad) <= sizeof(long));		\
		hurt(v, &(what), &bad, sizeof(bad));			\
	} while (0)

static void mend(struct victim *v)
{
	while (v->nr_wounds) {
		struct wound *wound = &v->wound[--v->nr_wounds];

		memcpy(wound->at, wound->was, wound->size);
	}
}

/* ----------------------------------------------------------------- pools ---- */

static void more_slots_than_bits(struct victim *v)
{
	BREAK(v, v->cache->room, BITS_PER_LONG + 1);
}

static void more_live_than_carved(struct victim *v)
{
	BREAK(v, v->used->live, 5);
}

static void bit_missing(struct victim *v)
{
	BREAK(v, v->used->word, v->used->word & ~1UL);
}

static void virgin_slot_live(struct victim *v)
{
	BREAK(v, v->used->word, v->used->word | BIT(6));
}

/* In a random heap, whose pools note which slots have been. */
static void live_never_handed_out(struct victim *v)
{
	BREAK(v, v->full->word, v->full->word & ~BIT(PER_POOL));
}

static void used_without_blocks(struct victim *v)
{
	BREAK(v, v->used->word, 0);
	BREAK(v, v->used->live, 0);
}

static void list_marked_empty(struct victim *v)
{
	BREAK(v, v->node->mask, 0);
}

static void full_with_a_free_block(struct victim *v)
{
	BREAK(v, v->full->word, 0x7f);
	BREAK(v, v->full->live, 7);
}

static void in_limbo_with_blocks(struct victim *v)
{
	BREAK(v, v->used->state, PYM_POOL_LIMBO);
}

static void owned_and_empty(struct victim *v)
{
	BREAK(v, v->used->state, PYM_POOL_EMPTY);
}

static void off_its_list(struct victim *v)
{
	BREAK(v, v->used->list.next, &v->used->list);
}

static void of_another_order(struct victim *v)
{
	BREAK(v, v->cache->order, v->cache->order + 1);
}

static void full_and_drains(struct victim *v)
{
	BREAK(v, v->full->draining, true);
}

static void drains_with_owner_on_its_page(struct victim *v)
{
	BREAK(v, v->used->draining, true);
}

static void page_names_no_owner(struct victim *v)
{
	BREAK(v, virt_to_page(v->full->base)->private, PYM_NO_OWNER);
}

static void address_leads_nowhere(struct victim *v)
{
	BREAK(v, v->used->cookie, v->used->cookie ^ 1);
}

/* All sums are right, but the list is that of pools with four free blocks. */
static void on_the_wrong_list(struct victim *v)
{
	BREAK(v, v->used->word, 0x7f);
	BREAK(v, v->used->live, 7);
	BREAK(v, v->used->carved, 7);
	BREAK(v, v->cache->live, v->cache->live + 3);
	BREAK(v, v->cache->carved, v->cache->carved + 3);
}

static void base_has_moved(struct victim *v)
{
	BREAK(v, v->used->base, v->used->base + PAGE_SIZE);
}

/* ---------------------------------------------------------------- arenas ---- */

static void masks_not_nested(struct victim *v)
{
	BREAK(v, v->arena->virgin, v->arena->virgin | BIT_ULL(v->full->index));
}

static void state_and_masks_differ(struct victim *v)
{
	BREAK(v, v->virgin->state, PYM_POOL_EMPTY);
}

static void index_has_changed(struct victim *v)
{
	BREAK(v, v->virgin->index, v->virgin->index + 1);
}

static void free_with_blocks(struct victim *v)
{
	BREAK(v, v->empty->live, 1);
}

static void free_and_drains(struct victim *v)
{
	BREAK(v, v->empty->draining, true);
}

static void free_page_names_owner(struct victim *v)
{
	BREAK(v, virt_to_page(v->empty->base)->private, (unsigned long)v->cache);
}

static void in_another_bucket(struct victim *v)
{
	BREAK(v, v->arena->in_bucket, v->arena->in_bucket - 1);
}

static void bucket_marked_empty(struct victim *v)
{
	BREAK(v, v->order->mask[0], 0);
}

static void idle_with_blocks(struct victim *v)
{
	BREAK(v, v->arena->is_idle, true);
}

static void in_arena_of_others(struct victim *v)
{
	BREAK(v, v->cache->partition, v->cache->partition + 1);
}

static void holes_without_any(struct victim *v)
{
	BREAK(v, v->arena->holes.next, &v->order->holes);
}

/* ------------------------------------------------------------------ sums ---- */

static void low_above_free(struct victim *v)
{
	BREAK(v, v->order->low, v->order->free + 1);
}

static void idle_arenas_kept(struct victim *v)
{
	BREAK(v, v->order->nr_idle, pym_spare_arenas(v->order, 0) + 1);
}

static void arena_not_counted(struct victim *v)
{
	BREAK(v, v->order->nr_arenas, v->order->nr_arenas - 1);
}

static void pool_not_counted(struct victim *v)
{
	BREAK(v, v->cache->nr_pools, v->cache->nr_pools - 1);
}

static void record_not_counted(struct victim *v)
{
	BREAK(v, v->heap->nr_large, v->heap->nr_large + 1);
}

static void bytes_not_counted(struct victim *v)
{
	BREAK(v, v->heap->acct.held, v->heap->acct.held + 8);
}

static void above_the_limit(struct victim *v)
{
	BREAK(v, v->heap->limit, v->heap->acct.held - 1);
}

/* ----------------------------------------------------- fronts and shadows ---- */

static void front_too_full(struct victim *v)
{
	struct pym_front *front = per_cpu_ptr(v->fast->fronts, 0);

	BREAK(v, front->cap, v->fast->front_cap);
	BREAK(v, front->n, v->fast->front_cap + 1);
}

static void closed_front_with_blocks(struct victim *v)
{
	struct pym_front *front = per_cpu_ptr(v->fast->fronts, 0);

	BREAK(v, front->cap, 0);
	BREAK(v, front->n, 1);
}

static void depot_too_full(struct victim *v)
{
	BREAK(v, v->fast->node_of[0].depot.nr, PYM_DEPOT_BATCHES + 1);
}

static void record_of_a_free_slot(struct victim *v)
{
	unsigned int slot = find_first_zero_bit(pym_pool_bits(v->watched), v->watched->carved);

	BREAK(v, pym_record_of(v->shadow, v->watched, slot)->state, PYM_RECORD_HELD);
}

static void frozen_with_a_free_slot(struct victim *v)
{
	BREAK(v, v->watched->frozen, true);
}

static void held_not_counted(struct victim *v)
{
	BREAK(v, v->shadow->held, v->shadow->held + 1);
}

/* ------------------------------------------------------------------------- */

#define PAGES	PYMT_PAGES
#define FRONTS	(PYMT_PAGES | PYMT_FRONTS)
#define RANDOM	(PYMT_PAGES | PYMT_RANDOM)
#define PLAIN	PYMT_PLAIN

static const struct breakage {
	const char *invariant;
	const char *text;		/* part of what is said of it */
	void (*wreck)(struct victim *v);
	enum pymt_kind kind;
	unsigned int pools;		/* it is said of each of these; 0: it is said once */
} breakages[] = {
	{ "pool-count", "bitmap too small", more_slots_than_bits, PAGES, 2 },
	{ "pool-count", "live <= carved <= capacity", more_live_than_carved, PAGES },
	{ "pool-count", "bits set are not the live blocks", bit_missing, PAGES },
	{ "pool-count", "a virgin block is marked live", virgin_slot_live, PAGES },
	{ "pool-count", "a live block was never handed out", live_never_handed_out, RANDOM },
	{ "pool-used", "used, but empty or full", used_without_blocks, PAGES },
	{ "pool-used", "its list is marked empty", list_marked_empty, PAGES },
	{ "pool-full", "full, but has a free block", full_with_a_free_block, PAGES },
	{ "pool-limbo", "waits for readers, but has a live block", in_limbo_with_blocks, PAGES },
	{ "pool-state", "has an owner, but is neither", owned_and_empty, PAGES },
	{ "pool-used", "not on its cache's list", off_its_list, PAGES },
	{ "pool-state", "owner is of another heap or order", of_another_order, PAGES, 2 },
	{ "pool-drain", "full, and drains", full_and_drains, PAGES },
	{ "pool-drain", "its pages do not name", drains_with_owner_on_its_page, PAGES },
	{ "pool-drain", "its pages do not name", page_names_no_owner, PAGES },
	{ "lookup", "its addresses do not lead to it", address_leads_nowhere, PAGES },
	{ "lookup", "its addresses do not lead to it", base_has_moved, PLAIN },
	{ "cache-count", "cache kunit-512", on_the_wrong_list, PAGES },
	{ "arena-free", "masks are not nested", masks_not_nested, PAGES },
	{ "pool-state", "not what the masks say", state_and_masks_differ, PAGES },
	{ "pool-state", "constants have changed", index_has_changed, PAGES },
	{ "pool-empty", "has blocks or is on a list", free_with_blocks, PAGES },
	{ "pool-drain", "a free pool drains", free_and_drains, PAGES },
	{ "pool-drain", "the pages of a free pool name", free_page_names_owner, PAGES },
	{ "arena-order", "not in the bucket of its number", in_another_bucket, PAGES },
	{ "arena-order", "its bucket is marked empty", bucket_marked_empty, PAGES },
	{ "arena-order", "buckets, their bits", bucket_marked_empty, PAGES },
	{ "arena-order", "idle mark is wrong", idle_with_blocks, PAGES },
	{ "arena-order", "not on the list of arenas with holes", holes_without_any, PAGES },
	{ "arena-partition", "is of another cache", in_arena_of_others, PAGES, 2 },
	{ "order-low", "fewer are free than ever were", low_above_free, PAGES },
	{ "arena-spare", "or the spare arenas are wrong", idle_arenas_kept, PLAIN },
	{ "heap-count", "arenas 0/1", arena_not_counted, PAGES },
	{ "cache-count", "pools 1/2", pool_not_counted, PAGES },
	{ "heap-count", "1 pass-through records", record_not_counted, PAGES },
	{ "ledger", "!= held", bytes_not_counted, PAGES },
	{ "limit", "bytes, limit", above_the_limit, PAGES },
	{ "front", "CPU 0:", front_too_full, FRONTS },
	{ "front", "0 slots, 1 blocks", closed_front_with_blocks, FRONTS },
	{ "front", "depot of node 0 has 9 batches", depot_too_full, FRONTS },
	{ "shadow", "a free slot has a record of a block", record_of_a_free_slot, PAGES },
	{ "shadow", "a frozen pool has a slot to give", frozen_with_a_free_slot, PAGES },
	{ "shadow", "holds 1 blocks back, its pools 0", held_not_counted, PAGES },
};

static void breakage_desc(const struct breakage *b, char *desc)
{
	scnprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s: %s", b->invariant, b->text);
}

KUNIT_ARRAY_PARAM(breakages, breakages, breakage_desc);

/* A heap with something of everything. */
static struct victim *make_victim(struct kunit *test, enum pymt_kind kind)
{
	struct victim *v = kunit_kzalloc(test, sizeof(*v), GFP_KERNEL);
	struct pym_cache *watched;
	void *blocks[PER_POOL + PER_POOL / 2], *p;

	KUNIT_ASSERT_NOT_NULL(test, v);
	v->heap = pymt_open(test, kind, NULL)->heap;
	v->cache = pymt_cache(test, v->heap, SIZE);
	if (kind & PYMT_FRONTS) {
		v->fast = pymt_warm(test, v->heap, 64);
		return v;
	}
	pymt_take_many(test, v->cache, blocks, ARRAY_SIZE(blocks));
	v->full = pymt_pool(test, blocks[0]);
	v->used = pymt_pool(test, blocks[PER_POOL]);
	/* Another cache has a pool for as long as that is not empty. */
	p = pymt_malloc(test, v->heap, SIZE);
	v->empty = pymt_pool(test, p);
	pym_free(p);
	v->arena = v->used->arena;
	v->virgin = &v->arena->pools[__fls(v->arena->virgin)];
	v->order = pym_arena_order(v->arena);
	v->node = &v->cache->node_of[v->arena->nid];
	/* One that passes through. */
	pymt_malloc(test, v->heap, 2 * PYM_SMALL_MAX);

	watched = pymt_cache(test, v->heap, 1000);
	pymt_switch(test, watched, "redzone");
	v->shadow = watched->shadow;
	pymt_take_many(test, watched, blocks, 2);
	v->watched = pymt_pool(test, blocks[0]);
	pym_cache_free(watched, blocks[1]);

	KUNIT_ASSERT_EQ(test, v->full->state, PYM_POOL_FULL);
	KUNIT_ASSERT_EQ(test, v->used->state, PYM_POOL_USED);
	KUNIT_ASSERT_EQ(test, v->used->carved, kind & PYMT_RANDOM ? PER_POOL : PER_POOL / 2);
	KUNIT_ASSERT_EQ(test, v->empty->state, PYM_POOL_EMPTY);
	KUNIT_ASSERT_EQ(test, v->virgin->state, PYM_POOL_VIRGIN);
	KUNIT_ASSERT_PTR_EQ(test, v->empty->arena, v->arena);
	KUNIT_ASSERT_PTR_EQ(test, v->watched->owner, v->shadow);
	return v;
}

/* What the walker says, and what is looked for in it. */
struct finding {
	const struct breakage *want;
	const char *heap;
	unsigned int n, found, elsewhere;
};

static void note(void *ctx, const char *invariant, const char *where)
{
	struct finding *f = ctx;

	f->n++;
	f->found += !strcmp(invariant, f->want->invariant) && strstr(where, f->want->text);
	f->elsewhere += !strstr(where, f->heap);
}

/* Nobody else touches the heap: what looks at all heaps wants the registry for that. */
static void broken_invariant_is_named(struct kunit *test)
{
	const struct breakage *b = test->param_value;
	struct victim *v = make_victim(test, b->kind);
	struct finding f = { .want = b, .heap = v->heap->name };
	unsigned int before, broken, after;

	mutex_lock(&pym_registry);
	before = pym_heap_verify(v->heap, NULL, NULL);
	b->wreck(v);
	broken = pym_heap_verify(v->heap, note, &f);
	mend(v);
	after = pym_heap_verify(v->heap, NULL, NULL);
	mutex_unlock(&pym_registry);
	KUNIT_EXPECT_EQ(test, before, 0);
	KUNIT_EXPECT_EQ_MSG(test, f.found, b->pools ?: 1, "%u broken in all", broken);
	KUNIT_EXPECT_EQ(test, broken, f.n);
	KUNIT_EXPECT_EQ_MSG(test, f.elsewhere, 0, "each names the heap");
	KUNIT_EXPECT_EQ_MSG(test, after, 0, "and nothing is left of it");
}

/* Who counts only gives no function. */
static void counted_over_all_heaps(struct kunit *test)
{
	struct victim *v = make_victim(test, PAGES), *w = make_victim(test, PAGES);
	unsigned int n;

	above_the_limit(v);
	above_the_limit(w);
	n = pym_verify_all(NULL, NULL);
	mend(v);
	mend(w);
	KUNIT_EXPECT_EQ(test, n, 2);
}

static struct kunit_case verify_cases[] = {
	KUNIT_CASE_PARAM(broken_invariant_is_named, breakages_gen_params),
	KUNIT_CASE(counted_over_all_heaps),
	{}
};

static struct kunit_suite verify_suite = {
	.name = "pymalloc_verify",
	.init = pymt_init_bare,
	.exit = pymt_exit,
	.test_cases = verify_cases,
};

kunit_test_suites(&verify_suite);
