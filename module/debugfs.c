// SPDX-License-Identifier: GPL-2.0-only
/*
 * What operators read: /sys/kernel/debug/pymalloc/. An observer: nothing depends
 * on this file.
 *
 * A reader holds pym_registry, which keeps heaps and caches in place and which
 * no allocation or free ever takes. It copies numbers under an allocator lock
 * and formats them after dropping it, so a line is consistent and a file is not.
 * No file shows an address. The first line of each is
 * "# pymalloc <file> <format version>"; other lines that begin with # name the
 * columns.
 */
#include <linux/debugfs.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include "internal.h"

static struct dentry *root, *heap_root, *cache_root;

/**
 * pym_debugfs_header() - the first line of a file
 * @m: the file
 * @file: what it is called
 *
 * Context: as seq_printf().
 */
void pym_debugfs_header(struct seq_file *m, const char *file)
{
	seq_printf(m, "# pymalloc %s 1\n", file);
}

/* ---------------------------------------------------------------- stats -- */

static void add_stats(struct pym_heap_stats *sum, const struct pym_heap_stats *s)
{
	sum->held += s->held;
	sum->in_blocks += s->in_blocks;
	sum->rounding += s->rounding;
	sum->free_blocks += s->free_blocks;
	sum->virgin += s->virgin;
	sum->empty_pools += s->empty_pools;
	sum->metadata += s->metadata;
	sum->pass_through += s->pass_through;
	sum->in_flight += s->in_flight;
	sum->arenas += s->arenas;
	sum->live += s->live;
	sum->pass_through_live += s->pass_through_live;
	sum->limit_hits += s->limit_hits;
	sum->failures += s->failures;
	sum->refused += s->refused;
}

static void show_value(struct seq_file *m, const char *name, u64 value)
{
	seq_printf(m, "%-24s %16llu\n", name, value);
}

static void show_ledger(struct seq_file *m, const struct pym_heap_stats *s)
{
	seq_puts(m, "# where the bytes are; these eight sum to held\n");
	show_value(m, "in_blocks", s->in_blocks);
	show_value(m, "rounding", s->rounding);
	show_value(m, "free_blocks", s->free_blocks);
	show_value(m, "virgin", s->virgin);
	show_value(m, "empty_pools", s->empty_pools);
	show_value(m, "metadata", s->metadata);
	show_value(m, "pass_through", s->pass_through);
	show_value(m, "in_flight", s->in_flight);
	show_value(m, "held", s->held);
	seq_puts(m, "# numbers of things\n");
	show_value(m, "arenas", s->arenas);
	show_value(m, "live", s->live);
	show_value(m, "pass_through_live", s->pass_through_live);
	seq_puts(m, "# events so far\n");
	show_value(m, "limit_hits", s->limit_hits);
	show_value(m, "failures", s->failures);
	show_value(m, "refused", s->refused);
}

static int stats_show(struct seq_file *m, void *unused)
{
	struct pym_heap_stats sum = {}, s;
	unsigned int heaps = 0, caches = 0;
	struct pym_cache *cache;
	struct pym_heap *heap;
	unsigned int i;

	mutex_lock(&pym_registry);
	list_for_each_entry(heap, &pym_heaps, node) {
		pym_heap_ledger(heap, &s);
		add_stats(&sum, &s);
		heaps++;
		list_for_each_entry(cache, &heap->caches, node)
			caches++;
	}
	mutex_unlock(&pym_registry);

	pym_debugfs_header(m, "stats");
	show_ledger(m, &sum);
	seq_puts(m, "# registered\n");
	show_value(m, "heaps", heaps);
	show_value(m, "caches", caches);
	seq_puts(m, "# misuse reports so far, printed or not\n");
	for (i = 0; i < PYM_NR_MISUSE; i++)
		show_value(m, pym_misuse_names[i], pym_misuse_count(i));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(stats);

/* ---------------------------------------------------------------- heaps -- */

static void show_heap_row(struct seq_file *m, const struct pym_heap *heap,
			  const struct pym_heap_stats *s)
{
	seq_printf(m, "%-20s %-10s %12zu %12zu %12zu %12zu %10zu %11zu %10zu %11zu %10zu %12zu %9zu %9lu %7lu %10lu %8lu %8lu %s\n",
		   heap->name, heap->provider->name, s->limit, s->held, s->high,
		   s->in_blocks, s->rounding, s->free_blocks, s->virgin, s->empty_pools,
		   s->metadata, s->pass_through, s->in_flight, s->live, s->arenas,
		   s->limit_hits, s->failures, s->refused,
		   pym_can_split(heap) ? "pool" : "arena");
}

static int heaps_show(struct seq_file *m, void *unused)
{
	struct pym_heap_stats s;
	struct pym_heap *heap;

	pym_debugfs_header(m, "heaps");
	seq_printf(m, "#%-19s %-10s %12s %12s %12s %12s %10s %11s %10s %11s %10s %12s %9s %9s %7s %10s %8s %8s %s\n",
		   "heap", "provider", "limit", "held", "high", "in_blocks", "rounding",
		   "free_blocks", "virgin", "empty_pools", "metadata", "pass_through",
		   "in_flight", "live", "arenas", "limit_hits", "failures", "refused",
		   "returns");
	mutex_lock(&pym_registry);
	list_for_each_entry(heap, &pym_heaps, node) {
		pym_heap_ledger(heap, &s);
		show_heap_row(m, heap, &s);
	}
	mutex_unlock(&pym_registry);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(heaps);

/* --------------------------------------------------------------- caches -- */

static int caches_show(struct seq_file *m, void *unused)
{
	struct pym_cache_stats s;
	struct pym_cache *cache;
	struct pym_heap *heap;

	pym_debugfs_header(m, "caches");
	seq_printf(m, "#%-19s %-20s %7s %7s %6s %8s %8s %9s %9s %7s %9s %9s %7s %7s %12s %12s %8s %s\n",
		   "heap", "cache", "size", "stride", "align", "capacity", "poolsize", "live",
		   "high", "cached", "free", "virgin", "pools", "full", "allocs", "frees",
		   "failures", "flags");
	mutex_lock(&pym_registry);
	list_for_each_entry(heap, &pym_heaps, node) {
		list_for_each_entry(cache, &heap->caches, node) {
			pym_cache_stats(cache, &s);
			seq_printf(m, "%-20s %-20s %7zu %7zu %6u %8lu %8zu %9lu %9lu %7lu %9lu %9lu %7lu %7lu %12llu %12llu %8llu %s\n",
				   heap->name, cache->name, s.size, s.stride, cache->align,
				   s.capacity, s.pool_size, s.live, s.high, s.cached, s.free,
				   s.virgin, s.pools, s.full, s.allocs, s.frees, s.failures,
				   cache->ctor ? "ctor" : "-");
		}
	}
	mutex_unlock(&pym_registry);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(caches);

/* -------------------------------------------------------------- classes -- */

#define DECILES	10

/* Pools in use by class and by tenths of their blocks that are live. */
struct deciles {
	unsigned int n[PYM_NR_CLASSES][DECILES];
};

static void count_deciles(struct pym_heap *heap, struct deciles *deciles)
{
	struct pym_arena *arena;
	unsigned long flags;
	unsigned int i, d;

	rcu_read_lock();
	list_for_each_entry_rcu(arena, &heap->arenas, all) {
		raw_spin_lock_irqsave(&heap->lock, flags);
		for (i = 0; i < arena->npools; i++) {
			struct pym_pool *pool = &arena->pools[i];
			struct pym_cache *owner = pool->owner;

			if (!owner || !owner->is_class)
				continue;
			d = READ_ONCE(pool->live) * DECILES / owner->capacity;
			deciles->n[pym_size_to_class(owner->size)][min(d, DECILES - 1U)]++;
		}
		raw_spin_unlock_irqrestore(&heap->lock, flags);
	}
	rcu_read_unlock();
}

static void show_class_row(struct seq_file *m, const char *heap, const char *size,
			   const struct pym_cache_stats *s, const unsigned int *deciles)
{
	unsigned int d;

	seq_printf(m, "%-20s %5s %8lu %8zu %7lu %7lu %9lu %7lu %9lu %9lu %12llu %12llu %8llu",
		   heap, size, s->capacity, s->pool_size, s->pools, s->full, s->live,
		   s->cached, s->free, s->virgin, s->allocs, s->frees, s->failures);
	for (d = 0; d < DECILES; d++)
		seq_printf(m, " %6u", deciles[d]);
	seq_putc(m, '\n');
}

static void show_heap_classes(struct seq_file *m, struct pym_heap *heap, struct deciles *deciles)
{
	struct pym_cache_stats s, sum = {};
	unsigned int all[DECILES] = {};
	unsigned int i, d;
	char size[8];

	memset(deciles, 0, sizeof(*deciles));
	count_deciles(heap, deciles);
	for (i = 0; i < PYM_NR_CLASSES; i++) {
		struct pym_cache *cache = READ_ONCE(heap->class[i]);

		if (!cache)
			continue;
		pym_cache_stats(cache, &s);
		snprintf(size, sizeof(size), "%zu", s.size);
		show_class_row(m, heap->name, size, &s, deciles->n[i]);
		sum.pools += s.pools;
		sum.full += s.full;
		sum.live += s.live;
		sum.cached += s.cached;
		sum.free += s.free;
		sum.virgin += s.virgin;
		sum.allocs += s.allocs;
		sum.frees += s.frees;
		sum.failures += s.failures;
		for (d = 0; d < DECILES; d++)
			all[d] += deciles->n[i][d];
	}
	if (sum.allocs || sum.failures)
		show_class_row(m, heap->name, "total", &sum, all);
}

static int classes_show(struct seq_file *m, void *unused)
{
	struct pym_heap *heap;
	struct deciles *deciles;
	unsigned int d;

	deciles = pym_may_fail(PYM_FAIL_TABLE, NULL) ? NULL :
						       kzalloc(sizeof(*deciles), GFP_KERNEL);
	if (!deciles)
		return -ENOMEM;
	pym_debugfs_header(m, "classes");
	seq_printf(m, "#%-19s %5s %8s %8s %7s %7s %9s %7s %9s %9s %12s %12s %8s",
		   "heap", "size", "capacity", "poolsize", "pools", "full", "live",
		   "cached", "free", "virgin", "allocs", "frees", "failures");
	for (d = 0; d < DECILES; d++)
		seq_printf(m, "   >=%u%%", d * 10);
	seq_putc(m, '\n');
	mutex_lock(&pym_registry);
	list_for_each_entry(heap, &pym_heaps, node)
		show_heap_classes(m, heap, deciles);
	mutex_unlock(&pym_registry);
	kfree(deciles);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(classes);

/* In map.c. */
DEFINE_SHOW_ATTRIBUTE(pym_arenas);
DEFINE_SHOW_ATTRIBUTE(pym_map);
DEFINE_SHOW_ATTRIBUTE(pym_pools);

/* --------------------------------------------------------------- verify -- */

static void show_broken(void *ctx, const char *invariant, const char *where)
{
	/* May be called under rcu_read_lock(): seq_printf() does not sleep. */
	seq_printf(ctx, "broken %s: %s\n", invariant, where);
}

static int verify_show(struct seq_file *m, void *unused)
{
	pym_debugfs_header(m, "verify");
	if (!pym_verify_all(show_broken, m))
		seq_puts(m, "ok\n");
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(verify);

/* ------------------------------------------------ one heap, one cache -- */

static int heap_stats_show(struct seq_file *m, void *unused)
{
	struct pym_heap *heap = m->private;
	struct pym_heap_stats s;

	pym_heap_stats(heap, &s);
	pym_debugfs_header(m, "heap");
	show_ledger(m, &s);
	seq_puts(m, "# bounds\n");
	show_value(m, "high", s.high);
	show_value(m, "limit", s.limit);
	show_value(m, "small_max", heap->small_max);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(heap_stats);

static int limit_get(void *data, u64 *value)
{
	*value = READ_ONCE(((struct pym_heap *)data)->limit);
	return 0;
}

static int limit_set(void *data, u64 value)
{
	return pym_heap_set_limit(data, value);
}
DEFINE_DEBUGFS_ATTRIBUTE(limit_fops, limit_get, limit_set, "%llu\n");

/* Written: shrink. Read: the bytes that the last time has given back. */
static int heap_shrink_set(void *data, u64 value)
{
	struct pym_heap *heap = data;

	WRITE_ONCE(heap->shrunk, pym_heap_shrink(heap));
	return 0;
}

static int heap_shrink_get(void *data, u64 *value)
{
	*value = READ_ONCE(((struct pym_heap *)data)->shrunk);
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(heap_shrink_fops, heap_shrink_get, heap_shrink_set, "%llu\n");

static int cache_stats_show(struct seq_file *m, void *unused)
{
	struct pym_cache *cache = m->private;
	struct pym_cache_stats s;

	pym_cache_stats(cache, &s);
	pym_debugfs_header(m, "cache");
	show_value(m, "size", s.size);
	show_value(m, "stride", s.stride);
	show_value(m, "align", cache->align);
	show_value(m, "pool_size", s.pool_size);
	show_value(m, "capacity", s.capacity);
	show_value(m, "live", s.live);
	show_value(m, "high", s.high);
	show_value(m, "cached", s.cached);
	show_value(m, "free", s.free);
	show_value(m, "virgin", s.virgin);
	show_value(m, "pools", s.pools);
	show_value(m, "full", s.full);
	show_value(m, "allocs", s.allocs);
	show_value(m, "frees", s.frees);
	show_value(m, "failures", s.failures);
	show_value(m, "guarded", s.guarded);
	show_value(m, "guard_held", s.guard_held);
	show_value(m, "unguarded", s.unguarded);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(cache_stats);

static int cache_owners_show(struct seq_file *m, void *unused)
{
	struct pym_cache *cache = m->private;

	pym_debugfs_header(m, "owners");
	return pym_owner_show(m, cache->heap, cache);
}
DEFINE_SHOW_ATTRIBUTE(cache_owners);

static int heap_owners_show(struct seq_file *m, void *unused)
{
	pym_debugfs_header(m, "owners");
	return pym_owner_show(m, m->private, NULL);
}
DEFINE_SHOW_ATTRIBUTE(heap_owners);

static int cache_shrink_set(void *data, u64 value)
{
	return heap_shrink_set(((struct pym_cache *)data)->heap, value);
}

static int cache_shrink_get(void *data, u64 *value)
{
	return heap_shrink_get(((struct pym_cache *)data)->heap, value);
}
DEFINE_DEBUGFS_ATTRIBUTE(cache_shrink_fops, cache_shrink_get, cache_shrink_set, "%llu\n");

/* Without one, there is nothing to be seen of a heap or cache; that is no failure. */
static struct dentry *create_dir(struct pym_heap *heap, const char *name, struct dentry *parent)
{
	return pym_may_fail(PYM_FAIL_FILES, heap->name) ? ERR_PTR(-ENOMEM) :
							  debugfs_create_dir(name, parent);
}

static void heap_add(struct pym_heap *heap)
{
	heap->dir = create_dir(heap, heap->name, heap_root);
	debugfs_create_file("stats", 0400, heap->dir, heap, &heap_stats_fops);
	debugfs_create_file_unsafe("limit", 0600, heap->dir, heap, &limit_fops);
	debugfs_create_file_unsafe("shrink", 0600, heap->dir, heap, &heap_shrink_fops);
	debugfs_create_file("debug", 0600, heap->dir, heap, &pym_debug_heap_fops);
	debugfs_create_file("owners", 0400, heap->dir, heap, &heap_owners_fops);
}

static void heap_del(struct pym_heap *heap)
{
	debugfs_remove(heap->dir);
}

/* Caches of the default heap by their name, others with their heap's before it. */
static void cache_add(struct pym_cache *cache)
{
	char name[2 * PYM_NAME_MAX];

	snprintf(name, sizeof(name), "%s%s%s",
		 cache->heap == pym_default_heap ? "" : cache->heap->name,
		 cache->heap == pym_default_heap ? "" : ":", cache->name);
	cache->dir = create_dir(cache->heap, name, cache_root);
	debugfs_create_file("stats", 0400, cache->dir, cache, &cache_stats_fops);
	debugfs_create_file_unsafe("shrink", 0600, cache->dir, cache, &cache_shrink_fops);
	debugfs_create_file("debug", 0600, cache->dir, cache, &pym_debug_cache_fops);
	debugfs_create_file("owners", 0400, cache->dir, cache, &cache_owners_fops);
}

static void cache_del(struct pym_cache *cache)
{
	debugfs_remove(cache->dir);
}

const struct pym_observer pym_debugfs_observer = {
	.heap_add  = heap_add,
	.heap_del  = heap_del,
	.cache_add = cache_add,
	.cache_del = cache_del,
};

void pym_debugfs_init(void)
{
	root = debugfs_create_dir("pymalloc", NULL);
	heap_root = debugfs_create_dir("heap", root);
	cache_root = debugfs_create_dir("cache", root);
	debugfs_create_file("stats", 0400, root, NULL, &stats_fops);
	debugfs_create_file("classes", 0400, root, NULL, &classes_fops);
	debugfs_create_file("caches", 0400, root, NULL, &caches_fops);
	debugfs_create_file("heaps", 0400, root, NULL, &heaps_fops);
	debugfs_create_file("arenas", 0400, root, NULL, &pym_arenas_fops);
	debugfs_create_file("map", 0400, root, NULL, &pym_map_fops);
	debugfs_create_file("pools", 0400, root, NULL, &pym_pools_fops);
	debugfs_create_file("verify", 0400, root, NULL, &verify_fops);
	debugfs_create_file("fail", 0600, root, NULL, &pym_fail_fops);
}

void pym_debugfs_exit(void)
{
	debugfs_remove(root);
}
