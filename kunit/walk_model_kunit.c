// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is true of a heap in the failure walk, whatever has failed; and what is seen of it.
 */
#include <linux/sched.h>
#include <linux/slab.h>
#include "guard.h"
#include "walk.h"

/* Bytes of metadata that a heap must have, from what there is. */
static size_t cache_metadata(struct pym_cache *cache)
{
	size_t depots = pym_nr_nodes() * PYM_DEPOT_BATCHES * cache->front_cap / 2 *
			sizeof(void *);
	size_t slots = cache->front_cap + 1 + (pym_nr_nodes() > 1 ? PYM_OUTBOX : 0);
	size_t bytes = kmalloc_size_roundup(pym_cache_bytes());
	struct pym_cache *shadow;

	list_for_each_entry(shadow, &cache->shadows, node) {
		const struct pym_watch *watch = shadow->watch;

		bytes += kmalloc_size_roundup(pym_cache_bytes() +
					      struct_size_t(struct pym_watch, block,
							    watch->switches.quarantine));
		bytes += (pym_guard_listed(shadow) + watch->guard.nr_leaving) *
			 kmalloc_size_roundup(sizeof(struct pym_guard));
	}
	if (cache->fronts)
		bytes += ALIGN(struct_size_t(struct pym_front, slot, slots), SMP_CACHE_BYTES) *
			 num_possible_cpus() + kmalloc_size_roundup(depots);
	return bytes;
}

static size_t arena_metadata(struct pym_arena *arena)
{
	size_t bytes = arena->metadata;
	unsigned int i;

	for (i = 0; i < arena->npools; i++)
		if (arena->pools[i].bits_cap)
			bytes += kmalloc_size_roundup(arena->pools[i].bits_cap / BITS_PER_BYTE);
	return bytes;
}

static size_t metadata_of(struct pym_heap *heap)
{
	size_t bytes = kmalloc_size_roundup(pym_heap_bytes(heap->flags));
	struct pym_cache *cache;
	struct pym_arena *arena;
	unsigned int i;

	for (i = 0; i < PYM_NR_CLASSES; i++)
		if (heap->class[i])
			bytes += cache_metadata(heap->class[i]);
	list_for_each_entry(cache, &heap->caches, node)
		bytes += cache_metadata(cache);
	for (i = 0; i < pym_nr_orders(heap->flags); i++)
		if (heap->order[i])
			bytes += kmalloc_size_roundup(sizeof(struct pym_order));
	list_for_each_entry(arena, &heap->arenas, all)
		bytes += arena_metadata(arena);
	if (rcu_access_pointer(heap->hooks))
		bytes += kmalloc_size_roundup(sizeof(struct pym_heap_ops));
	return bytes + heap->nr_large * kmalloc_size_roundup(sizeof(struct pym_large));
}

/* Wait for what has been put off. */
void walk_settle(struct walk_scene *s, bool waits, struct pym_heap_stats *stats)
{
	unsigned int ms;

	if (waits) {
		pym_rcu_sync(s->cache);
		if (s->other)
			pym_rcu_sync(s->other);
	}
	flush_work(&s->heap->reap_work);
	pym_area_sync();
	for (ms = 0; ms < 1000; ms++) {
		pym_heap_stats(s->heap, stats);
		if (!stats->in_flight)
			break;
		schedule_timeout_interruptible(1);
	}
}

/* Everything that is true of the heap now, when @live blocks are. False if not. */
bool walk_check(struct walk_scene *s, bool waits, long live, const char *when)
{
	struct kunit *test = s->test;
	struct pym_heap_stats stats;
	unsigned int i, lost = 0;
	bool ok;

	walk_settle(s, waits, &stats);
	KUNIT_EXPECT_EQ_MSG(test, stats.live, live, "live blocks, %s", when);
	KUNIT_EXPECT_EQ_MSG(test, stats.in_flight, 0, "%s", when);
	KUNIT_EXPECT_EQ_MSG(test, stats.metadata, metadata_of(s->heap), "metadata, %s", when);
	if (s->th->provider)
		KUNIT_EXPECT_EQ_MSG(test, stats.held, pymt_bytes(s->th) + stats.metadata +
				    stats.pass_through + s->heap->acct.guards, "held, %s", when);
	for (i = 0; i < s->nr_live; i++)
		lost += !walk_is_marked(s->live[i].p, s->live[i].size);
	KUNIT_EXPECT_EQ_MSG(test, lost, 0, "blocks of another content, %s", when);
	if (s->old)
		KUNIT_EXPECT_NULL_MSG(test, memchr_inv(s->old, 0x99, s->old_size),
				      "the old block has changed, %s", when);
	KUNIT_EXPECT_TRUE_MSG(test, pymt_is_sound(s->th), "verify and the ledger, %s", when);
	ok = stats.live == live && !stats.in_flight && !lost;
	return ok && stats.metadata == metadata_of(s->heap);
}

static void add_to_look(struct walk_look *look, unsigned int *n, u64 value)
{
	look->seen[(*n)++] = value;
}

static void look_at_cache(struct walk_look *look, unsigned int *n, struct pym_cache *cache)
{
	struct pym_cache_stats stats = pymt_stats_of(cache);
	struct pym_cache *shadow = READ_ONCE(cache->shadow);

	add_to_look(look, n, stats.cached);
	add_to_look(look, n, stats.pools);
	add_to_look(look, n, stats.full);
	add_to_look(look, n, shadow ? shadow->watch->switches.on : 0);
	add_to_look(look, n, !list_empty(&cache->shadows));
}

/* What is the same of two heaps that are in the same state, whatever they are called. */
void walk_look(struct walk_scene *s, struct walk_look *look)
{
	struct pym_cache *class = s->heap->class[pym_size_to_class(WALK_SIZE)];
	struct pym_heap_stats stats;
	unsigned int n = 0;

	memset(look, 0, sizeof(*look));
	pym_heap_stats(s->heap, &stats);
	add_to_look(look, &n, stats.limit ? stats.limit - stats.held : U64_MAX);
	add_to_look(look, &n, stats.live);
	add_to_look(look, &n, stats.in_blocks);
	add_to_look(look, &n, stats.free_blocks);
	add_to_look(look, &n, stats.virgin);
	add_to_look(look, &n, stats.empty_pools);
	add_to_look(look, &n, stats.metadata);
	add_to_look(look, &n, stats.pass_through);
	add_to_look(look, &n, stats.arenas);
	add_to_look(look, &n, READ_ONCE(s->heap->hooked));
	add_to_look(look, &n, READ_ONCE(pym_decay_ms));
	add_to_look(look, &n, s->th->provider ? s->th->provider->max_size : 0);
	look_at_cache(look, &n, s->cache);
	if (class)
		look_at_cache(look, &n, class);
}
