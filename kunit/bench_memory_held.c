// SPDX-License-Identifier: GPL-2.0-only
/*
 * How much memory somebody holds.
 *
 * For SLUB it is the pages that the kernel counts as slab, more than before. Free
 * memory alone would miss pages on per-CPU lists, and a counter alone what a CPU has
 * not added to it yet, so both are added up from where they are. For pymalloc it is
 * what its ledger says, all of its metadata included, and the kernel must agree: as
 * many pages must be missing from the free ones.
 */
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/rcupdate.h>
#include <linux/string.h>
#include <linux/vmstat.h>
#include "bench_memory.h"

static long node_pages(enum node_stat_item item)
{
	long pages = global_node_page_state_pages(item);
	int nid, cpu;

	for_each_online_node(nid)
		for_each_online_cpu(cpu)
			pages += per_cpu_ptr(NODE_DATA(nid)->per_cpu_nodestats,
					     cpu)->vm_node_stat_diff[item];
	return pages;
}

static long free_pages_of(struct zone *zone)
{
	long pages;
	int cpu;

	if (!populated_zone(zone))
		return 0;
	pages = zone_page_state_snapshot(zone, NR_FREE_PAGES);
	for_each_online_cpu(cpu)
		pages += per_cpu_ptr(zone->per_cpu_pageset, cpu)->count;
	return pages;
}

/**
 * bm_count_pages() - what the kernel counts now
 * @pages: filled in
 */
void bm_count_pages(struct bm_pages *pages)
{
	int nid, i;

	pages->slab = node_pages(NR_SLAB_RECLAIMABLE_B) + node_pages(NR_SLAB_UNRECLAIMABLE_B);
	pages->free = 0;
	for_each_online_node(nid)
		for (i = 0; i < MAX_NR_ZONES; i++)
			pages->free += free_pages_of(&NODE_DATA(nid)->node_zones[i]);
}

/**
 * bm_pages() - what is held for a subject's blocks, at this moment, but for metadata
 * @s: the subject
 *
 * What the provider has given, and what has passed through. SLUB's slabs have no
 * metadata outside.
 *
 * Return: bytes.
 */
u64 bm_pages(const struct bm_subject *s)
{
	struct pym_heap_stats stats;

	if (!s->heap)
		return bm_held(s);
	pym_heap_stats(s->heap, &stats);
	return stats.held - stats.metadata;
}

/**
 * bm_held() - what is held for a subject's blocks, at this moment
 * @s: the subject
 *
 * Return: bytes.
 */
u64 bm_held(const struct bm_subject *s)
{
	struct pym_heap_stats stats;
	struct bm_pages now;

	if (s->heap) {
		pym_heap_stats(s->heap, &stats);
		return stats.held;
	}
	bm_count_pages(&now);
	return (u64)max(now.slab - s->base.slab, 0L) << PAGE_SHIFT;
}

/*
 * What counts may differ by, in pages and per cent. Others are at work too, a little.
 * Metadata is counted in bytes by the ledger and in slabs by the kernel, which keeps
 * some that are empty, and had room in others.
 */
#define NOISE_PAGES		32
#define NOISE_PER_CENT		0
#define METADATA_PAGES		128
#define METADATA_PER_CENT	5

static bool agree(long a, long b, long pages, long per_cent)
{
	return abs(a - b) <= pages + max(a, b) * per_cent / 100;
}

/**
 * bm_cross_check() - does the kernel confirm what is held
 * @s: the subject
 * @when: for the message
 *
 * What is gone from the free pages are arenas and slabs, and these are as many as the
 * ledger's metadata and pass-through take. Waits for what is freed after readers.
 *
 * Return: 0, or -EUCLEAN and a line in the log.
 */
int bm_cross_check(const struct bm_subject *s, const char *when)
{
	struct pym_heap_stats stats = {};
	long arenas, slabs, gone, metadata;
	struct bm_pages now;

	rcu_barrier();
	if (s->heap)
		pym_heap_stats(s->heap, &stats);
	bm_count_pages(&now);
	/* What is SLUB's, and what is not. */
	metadata = (stats.metadata - stats.metadata_pages + stats.pass_through) >> PAGE_SHIFT;
	arenas = (stats.held >> PAGE_SHIFT) - metadata;
	slabs = now.slab - s->base.slab;
	gone = s->base.free - now.free;
	bm_line("check %s %ld %ld %ld %ld: %s\n", bm_names[s->who], arenas, slabs, gone,
		metadata, when);
	if (!agree(arenas + slabs, gone, NOISE_PAGES, NOISE_PER_CENT)) {
		pr_err("%s, %s: %ld pages of arenas and %ld of slabs are held, but %ld less are free\n",
		       bm_names[s->who], when, arenas, slabs, gone);
		return -EUCLEAN;
	}
	if (s->heap && !agree(metadata, slabs, METADATA_PAGES, METADATA_PER_CENT)) {
		pr_err("%s, %s: the ledger has %ld pages of metadata, and %ld more are slabs\n",
		       bm_names[s->who], when, metadata, slabs);
		return -EUCLEAN;
	}
	return 0;
}

/**
 * bm_slab_attribute() - a number that SLUB tells about a cache in sysfs
 * @size: of the cache's blocks
 * @name: of the attribute
 *
 * Return: the number, or a negative error.
 */
long bm_slab_attribute(size_t size, const char *name)
{
	char path[96], text[32] = {};
	struct file *file;
	loff_t pos = 0;
	ssize_t len;
	long value;

	snprintf(path, sizeof(path), "/sys/kernel/slab/" BM_SLAB_NAME "/%s", size, name);
	file = filp_open(path, O_RDONLY, 0);
	if (IS_ERR(file)) {
		pr_err("%s cannot be opened: %ld\n", path, PTR_ERR(file));
		return PTR_ERR(file);
	}
	len = kernel_read(file, text, sizeof(text) - 1, &pos);
	filp_close(file, NULL);
	/* What follows is the share of each node. */
	text[strcspn(text, " ")] = 0;
	if (len < 0 || kstrtol(text, 10, &value) || value < 0) {
		pr_err("%s cannot be read: %zd\n", path, len);
		return len < 0 ? len : -EINVAL;
	}
	return value;
}
