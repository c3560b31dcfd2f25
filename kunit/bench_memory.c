// SPDX-License-Identifier: GPL-2.0-only
/*
 * A consumer of pymalloc, as another module would be: measures what memory is held
 * for the same blocks through pymalloc and through what the kernel has, side by side
 * in one boot. Nothing here looks inside pymalloc.
 *
 * A name written to /sys/kernel/debug/pymalloc_memory/run runs a step, and the write
 * returns when it is done. What it found is in figures, for scripts/bench-memory:
 *
 *	state <name> <what it is>
 *	row <who> <unit> <value>: <metric>
 *	check <who> <pages of arenas> <of slabs> <gone from free> <metadata>: <when>
 *	sample <who> <phase> <progress> <bytes held> <bytes live>
 *	waste <who> <bytes of a request> <bytes held for it>
 *
 * bench_memory_fill.c has what is filled and emptied, bench_memory_cost.c what is
 * counted in instructions, bench_memory_small.c what a small machine is for, and
 * bench_memory_held.c how much is held.
 */
#include <linux/debugfs.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/sizes.h>
#include <linux/stdarg.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include "bench_memory.h"

static unsigned long seed = 20240229;
module_param(seed, ulong, 0444);
MODULE_PARM_DESC(seed, "of the random numbers: which sizes, which blocks");

const char * const bm_names[BM_NR_WHO] = {
	[BM_PYM_CACHE]	= "pym_cache",
	[BM_PYM_MALLOC]	= "pym_malloc",
	[BM_KMEM_CACHE]	= "kmem_cache",
	[BM_KMALLOC]	= "kmalloc",
};

/* --------------------------------------------------------------- figures -- */

#define FIGURES_SIZE	SZ_1M

static char *figures;			/* obtained once: it is not to be measured */
static size_t figures_len;
static bool figures_lost;

/**
 * bm_line() - add to the figures
 * @fmt: a whole line
 */
void bm_line(const char *fmt, ...)
{
	size_t room = FIGURES_SIZE - figures_len;
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(figures + figures_len, room, fmt, args);
	va_end(args);
	if (n >= room)
		figures_lost = true;
	else
		figures_len += n;
}

/**
 * bm_row() - add a row to the figures
 * @who: whose
 * @unit: of the value
 * @millionths: the value
 * @metric: what it is
 */
void bm_row(enum bm_who who, const char *unit, u64 millionths, const char *metric, ...)
{
	char name[128];
	va_list args;

	va_start(args, metric);
	vsnprintf(name, sizeof(name), metric, args);
	va_end(args);
	bm_line("row %s %s %llu.%06llu: %s\n", bm_names[who], unit, millionths / 1000000,
		millionths % 1000000, name);
}

static int figures_show(struct seq_file *m, void *unused)
{
	if (figures_lost)
		return -ENOSPC;
	seq_write(m, figures, figures_len);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(figures);

/* ---------------------------------------------------------------- chance -- */

/**
 * bm_seed() - begin with the first of the random numbers
 * @rnd: their state
 */
void bm_seed(struct rnd_state *rnd)
{
	prandom_seed_state(rnd, seed);
}

/**
 * bm_shuffle() - put blocks in an order that has nothing to do with that of now
 * @blocks: the blocks
 * @n: how many
 */
void bm_shuffle(void **blocks, unsigned int n)
{
	struct rnd_state rnd;
	unsigned int i, j;

	bm_seed(&rnd);
	for (i = n; i > 1; i--) {
		j = bm_draw(&rnd, i);
		swap(blocks[i - 1], blocks[j]);
	}
}

/* -------------------------------------------------------------- subjects -- */

/**
 * bm_get() - allocate one block
 * @s: from whom
 * @size: bytes, at least 1
 *
 * Return: the block, or NULL.
 */
noinline void *bm_get(const struct bm_subject *s, size_t size)
{
	return bm_get_as(s->who, s, size);
}

/**
 * bm_put() - free one block
 * @s: from whom
 * @p: the block
 * @size: bytes that were asked for
 */
noinline void bm_put(const struct bm_subject *s, void *p, size_t size)
{
	bm_put_as(s->who, s, p, size);
}

/**
 * bm_fill() - allocate blocks of a subject's size
 * @s: from whom
 * @blocks: filled in
 * @n: how many
 *
 * Return: how many could be had.
 */
unsigned int bm_fill(const struct bm_subject *s, void **blocks, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		blocks[i] = bm_get(s, s->size);
		if (!blocks[i])
			break;
		if (!(i % 4096))
			cond_resched();
	}
	return i;
}

/**
 * bm_empty() - free blocks of a subject's size, last things first
 * @s: from whom
 * @blocks: the blocks
 * @n: how many
 */
void bm_empty(const struct bm_subject *s, void **blocks, unsigned int n)
{
	while (n--) {
		bm_put(s, blocks[n], s->size);
		if (!(n % 4096))
			cond_resched();
	}
}

/*
 * A kernel that has booted has room left in its slabs, and kmalloc() would serve a
 * run from it for nothing, or the metadata of a heap. So that room is used up first:
 * SLUB takes a new slab only when it has no more of it, and then the kernel counts
 * more pages. As somebody else may have had a slab, one is not enough. The blocks are
 * linked through their first word.
 */
#define FRESH_PAGES	64		/* 8 slabs of the largest order */

static int use_up_room(struct bm_subject *s, size_t bucket)
{
	struct bm_pages pages;
	long enough;
	void **p;

	bm_count_pages(&pages);
	enough = pages.slab + FRESH_PAGES;
	while (pages.slab < enough) {
		p = kmalloc(bucket, GFP_KERNEL);
		if (!p)
			return -ENOMEM;
		*p = s->ballast;
		s->ballast = p;
		bm_count_pages(&pages);
		cond_resched();
	}
	return 0;
}

static int use_up_all_room(struct bm_subject *s, size_t largest)
{
	size_t bucket;
	int err = 0;

	if (s->who == BM_KMALLOC && s->size)
		return use_up_room(s, s->size);
	if (s->who != BM_KMALLOC)
		largest = KMALLOC_MAX_CACHE_SIZE;
	largest = min_t(size_t, kmalloc_size_roundup(largest), KMALLOC_MAX_CACHE_SIZE);
	for (bucket = kmalloc_size_roundup(1); !err && bucket <= largest;
	     bucket = kmalloc_size_roundup(bucket + 1))
		err = use_up_room(s, bucket);
	return err;
}

static int make_slabs(struct bm_subject *s, size_t largest)
{
	unsigned int n = s->size ? 1 : DIV_ROUND_UP(largest, BM_STEP);
	char name[40];

	if (n > BM_MAX_SLABS)
		return -EINVAL;
	for (; s->nr_slabs < n; s->nr_slabs++) {
		size_t size = s->size ?: (s->nr_slabs + 1) * BM_STEP;

		snprintf(name, sizeof(name), BM_SLAB_NAME, size);
		s->slab[s->nr_slabs] = kmem_cache_create(name, size, 0, BM_SLAB_FLAGS, NULL);
		if (!s->slab[s->nr_slabs])
			return -ENOMEM;
		if (bm_slab_attribute(size, "aliases") != 0) {
			pr_err("the cache %s is merged with others\n", name);
			s->nr_slabs++;
			return -EINVAL;
		}
	}
	return 0;
}

/**
 * bm_subject_init() - make what is measured
 * @s: filled in
 * @who: which allocator
 * @size: of all blocks; 0 if they are of many sizes
 * @largest: the largest of them; 0 if it does not matter how much room slabs had
 *
 * Return: 0, or an error with nothing left behind but what bm_subject_exit() frees.
 */
int bm_subject_init(struct bm_subject *s, enum bm_who who, size_t size, size_t largest)
{
	struct pym_cache_args args = {};
	int err = 0;

	*s = (struct bm_subject){ .who = who, .size = size };
	if (largest && who != BM_KMEM_CACHE)
		err = use_up_all_room(s, largest);
	bm_count_pages(&s->base);
	if (!err && who == BM_KMEM_CACHE)
		err = make_slabs(s, largest);
	if (err || who == BM_KMEM_CACHE || who == BM_KMALLOC)
		return err;
	s->heap = pym_heap_create("memory", NULL);
	if (!s->heap)
		return -ENOMEM;
	if (who == BM_PYM_MALLOC)
		return 0;
	args.heap = s->heap;
	s->cache = pym_cache_create("memory", size, &args);
	return s->cache ? 0 : -ENOMEM;
}

/**
 * bm_subject_exit() - free what bm_subject_init() made
 * @s: the subject; blocks of a heap go with it, of others there must be none
 */
void bm_subject_exit(struct bm_subject *s)
{
	unsigned int i;

	pym_heap_destroy(s->heap);
	for (i = 0; i < s->nr_slabs; i++)
		kmem_cache_destroy(s->slab[i]);
	while (s->ballast) {
		void *next = *(void **)s->ballast;

		kfree(s->ballast);
		s->ballast = next;
	}
	*s = (struct bm_subject){};
	/* What waits for readers is not to be the next one's. */
	rcu_barrier();
}

/* ----------------------------------------------------------------- steps -- */

static DEFINE_MUTEX(running);

static const struct bm_step *find_step(const char *name)
{
	static const struct bm_step * const tables[] = {
		bm_fill_steps, bm_cost_steps, bm_small_steps,
	};
	const struct bm_step *step;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(tables); i++)
		for (step = tables[i]; step->name; step++)
			if (!strcmp(name, step->name))
				return step;
	return NULL;
}

static ssize_t run_write(struct file *file, const char __user *text, size_t len, loff_t *pos)
{
	const struct bm_step *step;
	char name[32] = {};
	int err;

	if (len >= sizeof(name))
		return -EINVAL;
	if (copy_from_user(name, text, len))
		return -EFAULT;
	step = find_step(strim(name));
	if (!step) {
		pr_err("%s: there is no such step\n", name);
		return -EINVAL;
	}
	mutex_lock(&running);
	err = step->run();
	mutex_unlock(&running);
	if (err) {
		pr_err("%s: stopped: %d\n", step->name, err);
		return err;
	}
	return len;
}

static const struct file_operations run_fops = {
	.owner	= THIS_MODULE,
	.write	= run_write,
};

/* ------------------------------------------------------------------ load -- */

static struct dentry *dir;

static void tell_state(void)
{
	bm_line("# pymalloc_memory 1\n");
	bm_line("state seed %lu\n", seed);
	bm_line("state init_on_alloc %s\n", want_init_on_alloc(0) ? "on" : "off");
#ifdef SLAB_NO_MERGE
	bm_line("state kmem_cache never merged: SLAB_NO_MERGE\n");
#else
	bm_line("state kmem_cache never merged: SLAB_NOLEAKTRACE\n");
#endif
	bm_line("state SLUB %s%s%s\n",
		IS_ENABLED(CONFIG_SLUB_TINY) ? "SLUB_TINY, a crippled peer" : "not SLUB_TINY",
		IS_ENABLED(CONFIG_SLUB_CPU_PARTIAL) ? ", cpu partial lists" : "",
		IS_ENABLED(CONFIG_SLUB_DEBUG_ON) ? ", SLUB_DEBUG_ON" : "");
}

static int __init bm_init(void)
{
	figures = vmalloc(FIGURES_SIZE);
	if (!figures)
		return -ENOMEM;
	tell_state();
	dir = debugfs_create_dir("pymalloc_memory", NULL);
	debugfs_create_file("figures", 0400, dir, NULL, &figures_fops);
	debugfs_create_file("run", 0200, dir, NULL, &run_fops);
	return 0;
}

static void __exit bm_exit(void)
{
	debugfs_remove(dir);
	bm_fill_exit();
	bm_small_exit();
	vfree(figures);
}

module_init(bm_init);
module_exit(bm_exit);

MODULE_AUTHOR("The pymalloc authors");
MODULE_DESCRIPTION("Measures what pymalloc holds beside kmem_cache and kmalloc");
MODULE_LICENSE("GPL");
