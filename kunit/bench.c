// SPDX-License-Identifier: GPL-2.0-only
/*
 * A consumer of pymalloc, as another module would be: measures the same patterns
 * of allocation through pymalloc and through what the kernel has, side by side in
 * one boot. Nothing here looks inside pymalloc.
 *
 * bench_count.c has what runs on one CPU and counts instructions, bench_rate.c what
 * runs on several and takes time. The figures are in
 * /sys/kernel/debug/pymalloc_bench, for scripts/bench:
 *
 *	state <name> <what it is>
 *	row <size> <CPUs> <unit> <pymalloc> <peer> <its figure> <spread>: <pattern>
 */
#include <linux/debugfs.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/sort.h>
#include <linux/string.h>
#include "bench.h"

static char *mode = "count";
module_param(mode, charp, 0444);
MODULE_PARM_DESC(mode, "count: instructions on one CPU; rate: operations per second on all");

static char *patterns = "";
module_param(patterns, charp, 0444);
MODULE_PARM_DESC(patterns, "families of patterns to measure, with commas between; all without");

static char *sizes = "";
module_param(sizes, charp, 0444);
MODULE_PARM_DESC(sizes, "block sizes to measure, with commas between, or all; a choice without");

unsigned int bench_reps = 7;
module_param_named(reps, bench_reps, uint, 0444);
MODULE_PARM_DESC(reps, "times a rate is measured; the median counts");

unsigned int bench_ms = 500;
module_param_named(ms, bench_ms, uint, 0444);
MODULE_PARM_DESC(ms, "how long a rate is measured each time");

/* --------------------------------------------------------------- choices -- */

static bool in_list(const char *list, const char *word)
{
	size_t n = strlen(word);

	while (list) {
		if (!strncmp(list, word, n) && (list[n] == ',' || !list[n]))
			return true;
		list = strchr(list, ',');
		if (list)
			list++;
	}
	return false;
}

/**
 * bench_wants() - is this family of patterns to be measured
 * @family: its name
 *
 * Return: true if so.
 */
bool bench_wants(const char *family)
{
	return !*patterns || in_list(patterns, family);
}

/**
 * bench_wants_size() - is this block size to be measured
 * @size: bytes
 * @by_default: what to say if no sizes are asked for
 *
 * Return: true if so.
 */
bool bench_wants_size(size_t size, bool by_default)
{
	char word[24];

	if (!*sizes)
		return by_default;
	snprintf(word, sizeof(word), "%zu", size);
	return in_list(sizes, "all") || in_list(sizes, word);
}

const size_t bench_sizes[BENCH_NR_SIZES] = { 16, 32, 64, 128, 192, 256, 512, 1024, 2048, 4096 };

/**
 * bench_draw() - a number from a fixed sequence
 * @below: what it is less than
 *
 * Return: the number.
 */
u32 bench_draw(u32 below)
{
	static u32 state = 2463534242u;

	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state % below;
}

/* -------------------------------------------------------------- subjects -- */

/**
 * bench_subject_init() - make what a row is measured with
 * @s: filled in
 * @api: what the row calls
 * @size: of blocks, for a cache
 * @fronts: whether pymalloc's side has fronts
 *
 * Return: 0, or -ENOMEM with nothing left behind but what bench_subject_exit() frees.
 */
int bench_subject_init(struct bench_subject *s, enum bench_api api, size_t size, bool fronts)
{
	struct pym_heap_args heap_args = {
		.flags = fronts ? BENCH_FRONTS : BENCH_NO_FRONTS,
	};
	struct pym_cache_args cache_args = {};

	*s = (struct bench_subject){};
	s->heap = pym_heap_create("bench", &heap_args);
	if (!s->heap)
		return -ENOMEM;
	s->from[PYM] = s->heap;
	if (api == MALLOC)
		return 0;
	cache_args.heap = s->heap;
	s->cache = pym_cache_create("bench", size, &cache_args);
	s->slab = kmem_cache_create("pymalloc_bench", size, 0, BENCH_SLAB_FLAGS, NULL);
	s->from[PYM] = s->cache;
	s->from[PEER] = s->slab;
	return s->cache && s->slab ? 0 : -ENOMEM;
}

/**
 * bench_subject_exit() - free what bench_subject_init() made
 * @s: the subject
 */
void bench_subject_exit(struct bench_subject *s)
{
	kmem_cache_destroy(s->slab);
	pym_heap_destroy(s->heap);
}

/* ----------------------------------------------------------------- rows -- */

#define MAX_ROWS	256

static struct bench_row rows[MAX_ROWS];
static unsigned int nr_rows;

static int compare_u64(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

/**
 * bench_median() - the median of some figures
 * @values: the figures; sorted afterwards
 * @n: how many, an odd number
 * @spread: set to what lies between the highest and the lowest, in thousandths of
 *	the median
 *
 * Return: the median.
 */
u64 bench_median(u64 *values, unsigned int n, u64 *spread)
{
	u64 median;

	sort(values, n, sizeof(*values), compare_u64, NULL);
	median = values[n / 2];
	*spread = median ? (values[n - 1] - values[0]) * 1000 / median : 0;
	return median;
}

static void show_thousandths(struct seq_file *m, u64 value)
{
	seq_printf(m, " %llu.%03llu", value / 1000, value % 1000);
}

/**
 * bench_add() - keep a row that has been measured, and tell about it
 * @row: copied; the strings are not
 *
 * Return: 0, or -ENOSPC.
 */
int bench_add(const struct bench_row *row)
{
	if (nr_rows == MAX_ROWS)
		return -ENOSPC;
	rows[nr_rows++] = *row;
	pr_info("row %u: %s, %zu bytes, %u CPU(s): all repetitions within %llu/1000\n",
		nr_rows, row->pattern, row->size, row->cpus, row->spread);
	return 0;
}

static void show_state(struct seq_file *m)
{
	seq_printf(m, "state init_on_alloc %s\n", want_init_on_alloc(0) ? "on" : "off");
	seq_printf(m, "state init_on_free %s\n", want_init_on_free() ? "on" : "off");
	seq_printf(m, "state SLUB %s%s%s%s\n",
		   IS_ENABLED(CONFIG_SLUB_TINY) ? "SLUB_TINY, a crippled peer" : "not SLUB_TINY",
		   IS_ENABLED(CONFIG_SLUB_CPU_PARTIAL) ? ", cpu partial lists" : "",
		   IS_ENABLED(CONFIG_SLAB_FREELIST_RANDOM) ? ", freelist random" : "",
		   IS_ENABLED(CONFIG_SLAB_FREELIST_HARDENED) ? ", freelist hardened" : "");
	seq_printf(m, "state kmem_cache %s\n",
		   BENCH_SLAB_FLAGS ? "created with SLAB_NO_MERGE" :
				      "may be merged: this kernel has no SLAB_NO_MERGE");
	seq_printf(m, "state debugging %s%s%s%s\n", IS_ENABLED(CONFIG_KASAN) ? "KASAN " : "",
		   IS_ENABLED(CONFIG_LOCKDEP) ? "lockdep " : "",
		   IS_ENABLED(CONFIG_DEBUG_PREEMPT) ? "DEBUG_PREEMPT " : "",
		   IS_ENABLED(CONFIG_SLUB_DEBUG_ON) ? "SLUB_DEBUG_ON" : "no SLUB_DEBUG_ON");
	seq_printf(m, "state compiler %s; the modules: gcc %d.%d\n", CONFIG_CC_VERSION_TEXT,
		   __GNUC__, __GNUC_MINOR__);
}

static int bench_show(struct seq_file *m, void *unused)
{
	unsigned int i;

	seq_puts(m, "# pymalloc_bench 1\n");
	show_state(m);
	for (i = 0; i < nr_rows; i++) {
		const struct bench_row *row = &rows[i];

		seq_printf(m, "row %zu %u %s", row->size, row->cpus, row->unit);
		if (row->peer) {
			show_thousandths(m, row->value[PYM]);
			seq_printf(m, " %s", row->peer);
			show_thousandths(m, row->value[PEER]);
		} else {
			seq_puts(m, " - none");
			show_thousandths(m, row->value[NONE]);
		}
		show_thousandths(m, row->spread);
		seq_printf(m, ": %s\n", row->pattern);
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(bench);

/* ------------------------------------------------------------------ load -- */

static struct dentry *file;

static int __init bench_init(void)
{
	int err;

	if (!strcmp(mode, "count")) {
		err = bench_count_run();
	} else if (!strcmp(mode, "rate")) {
		err = bench_rate_run();
	} else {
		pr_err("mode=%s is not known; pass count or rate\n", mode);
		return -EINVAL;
	}
	if (!err && !nr_rows) {
		pr_err("nothing to measure: no pattern of %s in patterns=%s sizes=%s\n",
		       mode, patterns, sizes);
		return -EINVAL;
	}
	if (err) {
		pr_err("stopped after %u rows: %d\n", nr_rows, err);
		return err;
	}
	file = debugfs_create_file("pymalloc_bench", 0400, NULL, NULL, &bench_fops);
	return 0;
}

static void __exit bench_exit(void)
{
	debugfs_remove(file);
}

module_init(bench_init);
module_exit(bench_exit);

MODULE_AUTHOR("The pymalloc authors");
MODULE_DESCRIPTION("Measures pymalloc beside kmem_cache and kmalloc");
MODULE_LICENSE("GPL");
