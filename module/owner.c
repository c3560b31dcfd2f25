// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who has allocated the blocks of a shadow, and who has freed them: stacks in the
 * kernel's depot, which keeps one copy of each for ever, and a handle in the record.
 */
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/stackdepot.h>
#include <linux/stacktrace.h>
#include "shadow.h"

/* Frames of a stack that are kept. */
#define DEPTH		16

/* Call sites of a cache that are told apart. */
#define SITES		512

/**
 * pym_owner_init() - be able to keep stacks
 * @heap: whose blocks are to have them
 *
 * Context: Task context, may sleep.
 * Return: 0, -EINVAL if the kernel has no depot, or -ENOMEM.
 */
int pym_owner_init(const struct pym_heap *heap)
{
	if (!IS_ENABLED(CONFIG_STACKDEPOT))
		return -EINVAL;
	return pym_may_fail(PYM_FAIL_STACKS, heap->name) ? -ENOMEM : stack_depot_init();
}

static u32 this_stack(const struct pym_cache *shadow, gfp_t gfp)
{
	unsigned long entries[DEPTH];
	unsigned int n;

	/* The depot may have to allocate. */
	if (!IS_ENABLED(CONFIG_STACKDEPOT) || !pym_may_obtain() ||
	    pym_may_fail(PYM_FAIL_STACK, shadow->heap->name))
		return 0;
	n = stack_trace_save(entries, DEPTH, 1);
	return stack_depot_save(entries, n, gfp);
}

/**
 * pym_owner_alloc() - the block of a slot is being allocated here
 * @w: the slot
 * @gfp: of the allocation
 *
 * Context: Any but NMI; the caller has the slot.
 */
void pym_owner_alloc(const struct pym_watched *w, gfp_t gfp)
{
	if (!pym_watches(w->shadow, PYM_OWNER))
		return;
	w->record->alloc_stack = this_stack(w->shadow, (gfp & GFP_KERNEL) | __GFP_NOWARN);
	w->record->alloc_pid = task_pid_nr(current);
	w->record->free_stack = 0;
	w->record->free_pid = 0;
}

/**
 * pym_owner_free() - the block of a slot is being freed here
 * @w: the slot
 *
 * Context: Any but NMI; the caller has the slot.
 */
void pym_owner_free(const struct pym_watched *w)
{
	if (!pym_watches(w->shadow, PYM_OWNER))
		return;
	w->record->free_stack = this_stack(w->shadow, GFP_NOWAIT | __GFP_NOWARN);
	w->record->free_pid = task_pid_nr(current);
}

static void tell(const char *what, u32 pid, u32 stack)
{
	pr_err("misuse: the block was %s by task %u%s\n", what, pid,
	       stack ? ":" : ", from where is not known");
	if (IS_ENABLED(CONFIG_STACKDEPOT) && stack)
		stack_depot_print(stack);
}

/**
 * pym_owner_tell() - print who allocated a block, and who freed it
 * @shadow: whose block
 * @record: a copy of its record
 *
 * Context: as pym_report().
 */
void pym_owner_tell(const struct pym_cache *shadow, const struct pym_record *record)
{
	if (!pym_watches(shadow, PYM_OWNER))
		return;
	tell("allocated", record->alloc_pid, record->alloc_stack);
	if (record->free_pid || record->free_stack)
		tell("freed", record->free_pid, record->free_stack);
}

/* ---------------------------------------------------------- call sites -- */

/* Live blocks that were allocated from one place. */
struct site {
	u32 stack;
	u32 first_pid, last_pid;
	unsigned long blocks;
	size_t bytes;
};

struct sites {
	struct pym_cache *cache;	/* whose blocks; NULL: all of the heap */
	struct pym_heap *heap;
	unsigned int n;
	unsigned long left_out;		/* blocks of more call sites than there is room for */
	struct site site[SITES];
};

static void count_block(struct sites *sites, const struct pym_record *record)
{
	struct site *site = sites->site;
	unsigned int i;

	for (i = 0; i < sites->n; i++, site++)
		if (site->stack == record->alloc_stack)
			break;
	if (i == SITES) {
		sites->left_out++;
		return;
	}
	if (i == sites->n) {
		sites->n++;
		*site = (struct site){
			.stack = record->alloc_stack,
			.first_pid = record->alloc_pid, .last_pid = record->alloc_pid,
		};
	}
	site->first_pid = min(site->first_pid, record->alloc_pid);
	site->last_pid = max(site->last_pid, record->alloc_pid);
	site->blocks++;
	site->bytes += record->asked;
}

/* The live blocks of a pool, with a hold of the lock for each. */
static void count_pool(struct sites *sites, struct pym_cache *shadow, struct pym_pool *pool)
{
	struct pym_record record = {};
	unsigned long flags;
	unsigned int slot;

	for (slot = 0; slot < shadow->capacity; slot++) {
		raw_spin_lock_irqsave(&shadow->lock, flags);
		record.state = PYM_RECORD_FREE;
		if (pool->owner == shadow && slot < pool->carved)
			record = *pym_record_of(shadow, pool, slot);
		raw_spin_unlock_irqrestore(&shadow->lock, flags);
		if (record.state == PYM_RECORD_LIVE)
			count_block(sites, &record);
	}
}

static int by_blocks(const void *a, const void *b)
{
	const struct site *x = a, *y = b;

	return x->blocks < y->blocks ? 1 : x->blocks > y->blocks ? -1 : 0;
}

/* Are these blocks counted? */
static bool is_wanted(const struct sites *sites, const struct pym_cache *owner)
{
	return owner && owner->base && owner->heap == sites->heap &&
	       (!sites->cache || owner->base == sites->cache) && pym_watches(owner, PYM_OWNER);
}

/* Who owns the live blocks that are known of, most blocks first. NULL without memory. */
static struct sites *count_sites(struct pym_heap *heap, struct pym_cache *cache)
{
	struct sites *sites = NULL;
	struct pym_record record;
	struct pym_arena *arena;
	struct pym_cache *owner;
	void *at = NULL;
	unsigned int i;

	if (!pym_may_fail(PYM_FAIL_OWNERS, heap->name))
		sites = kvzalloc(sizeof(*sites), GFP_KERNEL);
	if (!sites)
		return NULL;
	sites->heap = heap;
	sites->cache = cache;
	rcu_read_lock();
	list_for_each_entry_rcu(arena, &heap->arenas, all) {
		for (i = 0; i < arena->npools; i++) {
			owner = READ_ONCE(arena->pools[i].owner);
			if (is_wanted(sites, owner))
				count_pool(sites, owner, &arena->pools[i]);
		}
	}
	while (pym_guard_next(&at, &owner, &record))
		if (is_wanted(sites, owner) && record.state == PYM_RECORD_LIVE)
			count_block(sites, &record);
	rcu_read_unlock();
	sort(sites->site, sites->n, sizeof(sites->site[0]), by_blocks, NULL);
	return sites;
}

static void show_stack(struct seq_file *m, u32 stack)
{
	unsigned long *entries;
	unsigned int i, n = 0;

	if (IS_ENABLED(CONFIG_STACKDEPOT) && stack)
		n = stack_depot_fetch(stack, &entries);
	for (i = 0; i < n; i++)
		seq_printf(m, "\t%pS\n", (void *)entries[i]);
	if (!n)
		seq_puts(m, "\tnot known\n");
}

/**
 * pym_owner_show() - list the call sites of live blocks, most blocks first
 * @m: where to
 * @heap: a heap
 * @cache: one of its caches, or NULL for everything of the heap
 *
 * Context: Task context, may sleep.
 * Return: 0 or -ENOMEM.
 */
int pym_owner_show(struct seq_file *m, struct pym_heap *heap, struct pym_cache *cache)
{
	struct sites *sites = count_sites(heap, cache);
	unsigned int i;

	if (!sites)
		return -ENOMEM;
	for (i = 0; i < sites->n; i++) {
		const struct site *site = &sites->site[i];

		seq_printf(m, "%lu blocks, %zu bytes, tasks %u..%u\n", site->blocks,
			   site->bytes, site->first_pid, site->last_pid);
		show_stack(m, site->stack);
	}
	if (sites->left_out)
		seq_printf(m, "%lu blocks of other call sites\n", sites->left_out);
	kvfree(sites);
	return 0;
}
EXPORT_SYMBOL_IF_KUNIT(pym_owner_show);

/* Call sites of a leak that are printed. */
#define LEAKS	8

/**
 * pym_owner_leaks() - print who allocated what is live at the end
 * @heap: a heap
 * @cache: one of its caches, or NULL for all
 *
 * Context: Task context, may sleep.
 * Return: how many of the blocks are known of.
 */
unsigned long pym_owner_leaks(struct pym_heap *heap, struct pym_cache *cache)
{
	struct sites *sites = count_sites(heap, cache);
	unsigned long known = 0;
	unsigned int i;

	for (i = 0; sites && i < sites->n; i++) {
		const struct site *site = &sites->site[i];

		known += site->blocks;
		if (i >= LEAKS)
			continue;
		pr_err("leak: heap %s%s%s: %lu blocks, %zu bytes, by tasks %u..%u:\n", heap->name,
		       cache ? ", cache " : "", cache ? cache->name : "", site->blocks,
		       site->bytes, site->first_pid, site->last_pid);
		if (IS_ENABLED(CONFIG_STACKDEPOT) && site->stack)
			stack_depot_print(site->stack);
	}
	kvfree(sites);
	return known;
}
EXPORT_SYMBOL_IF_KUNIT(pym_owner_leaks);
