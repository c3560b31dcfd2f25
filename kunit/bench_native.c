// SPDX-License-Identifier: GPL-2.0-only
/*
 * A consumer of pymalloc that measures it in cycles, at the speed of the host: for
 * User-Mode Linux, beside native_peers.c. Nothing here looks inside pymalloc.
 *
 * The figures are in /sys/kernel/debug/pymalloc_native, for scripts/bench-native:
 *
 *	state <name> <what it is>
 *	row <allocator> <minimum> <median> <size>: <pattern>
 */
#include <linux/debugfs.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <pymalloc/pymalloc.h>
#include "native_empty.h"
#include "patterns.h"

#undef pr_fmt
#define pr_fmt(fmt) "pymalloc_native: " fmt

static unsigned int batches = 200;
module_param(batches, uint, 0444);
MODULE_PARM_DESC(batches, "how many times each pattern is measured");

static __always_inline void *alloc_cache(void *from, unsigned long size)
{
	return pym_cache_alloc(from, GFP_KERNEL);
}

static __always_inline void free_cache(void *from, void *p)
{
	pym_cache_free(from, p);
}

#define PATTERN(name)	cache_##name
#define PATTERN_ALLOC	alloc_cache
#define PATTERN_FREE	free_cache
#include "patterns.h"

static __always_inline void *alloc_malloc(void *from, unsigned long size)
{
	return pym_malloc(from, size, GFP_KERNEL);
}

static __always_inline void free_malloc(void *from, void *p)
{
	pym_free(p);
}

#define PATTERN(name)	malloc_##name
#define PATTERN_ALLOC	alloc_malloc
#define PATTERN_FREE	free_malloc
#include "patterns.h"

static __always_inline void *alloc_empty(void *from, unsigned long size)
{
	return native_empty_alloc(size);
}

static __always_inline void free_empty(void *from, void *p)
{
	native_empty_free(p);
}

#define PATTERN(name)	empty_##name
#define PATTERN_ALLOC	alloc_empty
#define PATTERN_FREE	free_empty
#include "patterns.h"

enum { CACHE, MALLOC, EMPTY, NR_KINDS };

static const char * const names[NR_KINDS] = { "pymalloc-cache", "pymalloc-malloc", "calls-kernel" };

static struct pattern_result results[NR_KINDS][PATTERN_NR];
static unsigned long waiting;		/* blocks in fronts after the last pattern */

/* A heap of its own for every pattern: none depends on what ran before. */
static int measure(unsigned int i)
{
	const struct pattern *pattern = &patterns[i];
	struct pym_cache_args cache_args = {};
	struct pym_cache_stats stats;
	struct pym_cache *cache;
	struct pym_heap *heap;
	int err = -ENOMEM;

	heap = pym_heap_create("native", NULL);
	if (!heap)
		return err;
	cache_args.heap = heap;
	if (pattern->size) {
		cache = pym_cache_create("native", pattern->size, &cache_args);
		if (!cache || !cache_measure(pattern, cache, batches, &results[CACHE][i]))
			goto out;
		pym_cache_stats(cache, &stats);
		waiting = stats.cached;
		if (!waiting) {
			pr_err("no block waits in a front after %s: the fast path was not measured\n",
			       pattern->name);
			err = -ENXIO;
			goto out;
		}
	}
	if (!malloc_measure(pattern, heap, batches, &results[MALLOC][i]) ||
	    !empty_measure(pattern, heap, batches, &results[EMPTY][i]))
		goto out;
	err = 0;
out:
	pym_heap_destroy(heap);
	return err;
}

/* ----------------------------------------------------------------- shown -- */

static void show_hundredths(struct seq_file *m, u64 value)
{
	seq_printf(m, " %llu.%02llu", value / 100, value % 100);
}

static int native_show(struct seq_file *m, void *unused)
{
	unsigned int i, k;

	seq_puts(m, "# pymalloc_native 1\n");
	seq_printf(m, "state init_on_alloc %s\n", want_init_on_alloc(0) ? "on" : "off");
	seq_printf(m, "state preemption %s\n",
		   IS_ENABLED(CONFIG_PREEMPT_COUNT) ? "counted" : "not counted");
	seq_printf(m, "state static_keys %s\n",
		   IS_ENABLED(CONFIG_JUMP_LABEL) ? "patched" : "loads and tests");
	seq_printf(m, "state compiler gcc %s\n", __VERSION__);
	for (k = 0; k < NR_KINDS; k++) {
		for (i = 0; i < PATTERN_NR; i++) {
			if (k == CACHE && !patterns[i].size)
				continue;
			seq_printf(m, "row %s", names[k]);
			show_hundredths(m, results[k][i].min);
			show_hundredths(m, results[k][i].median);
			seq_printf(m, " %u: %s\n", patterns[i].size, patterns[i].name);
		}
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(native);

static struct dentry *file;

static int __init native_init(void)
{
	unsigned int i;
	int err;

	if (!batches || batches > PATTERN_MAX_BATCHES) {
		pr_err("batches=%u: must be 1..%u\n", batches, PATTERN_MAX_BATCHES);
		return -EINVAL;
	}
	pattern_prepare();
	for (i = 0; i < PATTERN_NR; i++) {
		err = measure(i);
		if (err) {
			pr_err("stopped at %s of %u bytes: %d\n", patterns[i].name,
			       patterns[i].size, err);
			return err;
		}
	}
	file = debugfs_create_file("pymalloc_native", 0400, NULL, NULL, &native_fops);
	return 0;
}

static void __exit native_exit(void)
{
	debugfs_remove(file);
}

module_init(native_init);
module_exit(native_exit);

MODULE_AUTHOR("The pymalloc authors");
MODULE_DESCRIPTION("Measures pymalloc in cycles, in User-Mode Linux");
MODULE_LICENSE("GPL");
