// SPDX-License-Identifier: GPL-2.0-only
/*
 * What debugfs shows of arenas, pool by pool: the files arenas, map and pools. As
 * debugfs.c, which they are a part of: nothing depends on this file.
 */
#include <linux/seq_file.h>
#include "internal.h"

/* One pool of an arena, copied under the heap's lock. */
struct cell {
	const struct pym_cache *owner;	/* stays while pym_registry is held; or NULL */
	u16 live;
	u8 state;
};

static void copy_cells(struct pym_heap *heap, struct pym_arena *arena, struct cell *cells)
{
	unsigned long flags;
	unsigned int i;

	raw_spin_lock_irqsave(&heap->lock, flags);
	for (i = 0; i < arena->npools; i++) {
		struct pym_pool *pool = &arena->pools[i];

		cells[i] = (struct cell){
			.owner = pool->owner,
			.live = pool->owner ? READ_ONCE(pool->live) : 0,
			.state = pool->state,
		};
	}
	raw_spin_unlock_irqrestore(&heap->lock, flags);
}

static void visit_arenas(struct seq_file *m,
			 void (*show)(struct seq_file *m, struct pym_arena *arena,
				      const struct cell *cells))
{
	struct cell cells[PYM_ARENA_MAX_POOLS];
	struct pym_arena *arena;
	struct pym_heap *heap;

	mutex_lock(&pym_registry);
	list_for_each_entry(heap, &pym_heaps, node) {
		rcu_read_lock();
		list_for_each_entry_rcu(arena, &heap->arenas, all) {
			copy_cells(heap, arena, cells);
			show(m, arena, cells);
		}
		rcu_read_unlock();
	}
	mutex_unlock(&pym_registry);
}

static void show_arena_row(struct seq_file *m, struct pym_arena *arena, const struct cell *cells)
{
	unsigned int n[PYM_POOL_LIMBO + 1] = {};
	unsigned long live = 0;
	unsigned int i;

	for (i = 0; i < arena->npools; i++) {
		n[cells[i].state]++;
		live += cells[i].live;
	}
	seq_printf(m, "%-20s %7u %8zu %5u %6u %6u %6u %6u %6u %9lu\n", arena->heap->name,
		   arena->id, pym_arena_pool_size(arena), arena->npools, n[PYM_POOL_ABSENT],
		   n[PYM_POOL_VIRGIN], n[PYM_POOL_EMPTY], n[PYM_POOL_USED] + n[PYM_POOL_LIMBO],
		   n[PYM_POOL_FULL],
		   live);
}

/**
 * pym_arenas_show() - a row for each arena
 * @m: the file
 * @unused: of seq_file
 *
 * Context: Task context, may sleep.
 * Return: 0.
 */
int pym_arenas_show(struct seq_file *m, void *unused)
{
	pym_debugfs_header(m, "arenas");
	seq_printf(m, "#%-19s %7s %8s %5s %6s %6s %6s %6s %6s %9s\n", "heap", "arena",
		   "poolsize", "pools", "absent", "virgin", "empty", "used", "full", "live");
	visit_arenas(m, show_arena_row);
	return 0;
}

static const char class_letters[] =
	"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ@%!$&()+/:;<=>?[]^*";
static_assert(sizeof(class_letters) == PYM_NR_CLASSES + 2);

static char class_letter(const struct pym_cache *owner)
{
	return class_letters[owner->is_class ? pym_size_to_class(owner->size) : PYM_NR_CLASSES];
}

static void show_map_row(struct seq_file *m, struct pym_arena *arena, const struct cell *cells)
{
	unsigned int i, tenths, capacity;

	seq_printf(m, "%-20s %7u %8zu ", arena->heap->name, arena->id,
		   pym_arena_pool_size(arena));
	for (i = 0; i < arena->npools; i++) {
		switch (cells[i].state) {
		case PYM_POOL_ABSENT:
			seq_puts(m, "~~");
			break;
		case PYM_POOL_VIRGIN:
			seq_puts(m, "..");
			break;
		case PYM_POOL_EMPTY:
			seq_puts(m, "--");
			break;
		default:
			capacity = cells[i].owner->capacity;
			seq_putc(m, class_letter(cells[i].owner));
			tenths = cells[i].live * 10 / capacity;
			seq_putc(m, cells[i].live == capacity ? '#' :
				    '0' + min(tenths, 9U));
		}
	}
	seq_putc(m, '\n');
}

/**
 * pym_map_show() - a line for each arena, two characters for each pool
 * @m: the file
 * @unused: of seq_file
 *
 * Context: Task context, may sleep.
 * Return: 0.
 */
int pym_map_show(struct seq_file *m, void *unused)
{
	pym_debugfs_header(m, "map");
	seq_puts(m, "# two characters a pool: what is in it, and how full it is (0-9: tenths, #: full)\n");
	seq_puts(m, "# 0-9 a-z A-Z @ %: size class, 8 bytes a step from 8 to 512; then !$&()+/: to 1024, ;<=>?[]^ to 2048\n");
	seq_puts(m, "# *: a cache; ..: virgin; --: empty; ~~: absent\n");
	seq_printf(m, "#%-19s %7s %8s %s\n", "heap", "arena", "poolsize", "pools");
	visit_arenas(m, show_map_row);
	return 0;
}

/* The pools that one cache has in an arena, from the first on, and what is live in each. */
static void show_owned(struct seq_file *m, struct pym_arena *arena, const struct cell *cells,
		       unsigned int first)
{
	const struct pym_cache *owner = cells[first].owner;
	unsigned long pools = 0, live = 0;
	unsigned int i;

	for (i = first; i < arena->npools; i++) {
		if (cells[i].owner != owner)
			continue;
		pools++;
		live += cells[i].live;
	}
	seq_printf(m, "%-20s %7u %-20s %7u %8zu %8u %7lu %9lu ", arena->heap->name, arena->id,
		   owner->is_class ? "-" : owner->name, owner->size,
		   pym_arena_pool_size(arena), owner->capacity, pools, live);
	for (i = first; i < arena->npools; i++)
		if (cells[i].owner == owner)
			seq_printf(m, i > first ? ",%u" : "%u", cells[i].live);
	seq_putc(m, '\n');
}

static void show_pools(struct seq_file *m, struct pym_arena *arena, const struct cell *cells)
{
	unsigned int i, j;

	for (i = 0; i < arena->npools; i++) {
		for (j = 0; j < i && cells[j].owner != cells[i].owner; j++)
			;
		if (cells[i].owner && j == i)
			show_owned(m, arena, cells, i);
	}
}

/**
 * pym_pools_show() - a row for each cache in each arena
 * @m: the file
 * @unused: of seq_file
 *
 * Context: Task context, may sleep.
 * Return: 0.
 */
int pym_pools_show(struct seq_file *m, void *unused)
{
	pym_debugfs_header(m, "pools");
	seq_puts(m, "# a row for each cache in each arena; blocks: the live blocks of each of its pools there\n");
	seq_printf(m, "#%-19s %7s %-20s %7s %8s %8s %7s %9s %s\n", "heap", "arena", "cache",
		   "size", "poolsize", "capacity", "pools", "live", "blocks");
	visit_arenas(m, show_pools);
	return 0;
}
