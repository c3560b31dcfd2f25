// SPDX-License-Identifier: GPL-2.0-only
/*
 * pymalloc_replay: an ordinary consumer module. It replays a recorded kernel
 * allocation trace through pym_malloc()/pym_free(), and in the same boot through
 * kmalloc()/kfree(), and shows side by side what each held for it. Nothing here
 * looks inside pymalloc.
 *
 * The trace is a file made by scripts/trace2bin from `kmem:kmalloc' and
 * `kmem:kfree' events; the table is /sys/kernel/debug/pymalloc_replay.
 */
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/kernel_read_file.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/overflow.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <linux/vmstat.h>
#include <pymalloc/pymalloc.h>

#undef pr_fmt
#define pr_fmt(fmt) "pymalloc_replay: " fmt

static char *trace = "/trace.bin";
module_param(trace, charp, 0444);
MODULE_PARM_DESC(trace, "file made by scripts/trace2bin");

static unsigned int settle_ms = 500;
module_param(settle_ms, uint, 0444);
MODULE_PARM_DESC(settle_ms, "time for the kernel's per-CPU page counters to be folded");

static unsigned int leave_out_above = PYM_SMALL_MAX;
module_param_named(largest, leave_out_above, uint, 0444);
MODULE_PARM_DESC(largest, "bytes of the requests that are replayed once more without larger ones");

#define MAGIC		"PYMTRC1"
#define OP_FREE		BIT(31)

struct trace_header {
	char magic[8];
	__le32 nr_ops;
	__le32 nr_slots;
	__le32 nr_unknown_free;
	__le32 nr_live_at_end;
	__le32 max_size;
	__le32 reserved;
};

struct trace_op {
	__le32 slot;			/* OP_FREE set: free what is there */
	__le32 size;
};

static struct trace_header *header;
static struct trace_op *ops;
static u32 nr_ops, nr_slots;

/* ------------------------------------------------------------ allocators -- */

static struct pym_heap *heap;

static void *kmalloc_alloc(size_t n)
{
	return kmalloc(n, GFP_KERNEL);
}

static void kmalloc_free(const void *p)
{
	kfree(p);
}

/* What kmalloc() set aside for a block: the object it is in. */
static size_t kmalloc_block(const void *p)
{
	return ksize(p);
}

static void *heap_alloc(size_t n)
{
	return pym_malloc(heap, n, GFP_KERNEL);
}

static const struct allocator {
	const char *name;
	void *(*alloc)(size_t n);
	void (*free)(const void *p);
	size_t (*block)(const void *p);
} allocators[] = {
	{ "pymalloc", heap_alloc,    pym_free,	   pym_usable_size },
	{ "kmalloc",  kmalloc_alloc, kmalloc_free, kmalloc_block },
};

/* ------------------------------------------------------------ measurement -- */

/* Pages that the kernel counts as SLUB's, large kmalloc() blocks included. */
static long slab_pages(void)
{
	msleep(settle_ms);
	return global_node_page_state_pages(NR_SLAB_RECLAIMABLE_B) +
	       global_node_page_state_pages(NR_SLAB_UNRECLAIMABLE_B);
}

/* Pages that a heap has but SLUB, which has the rest of its metadata and pass-through. */
static long arena_pages(void)
{
	struct pym_heap_stats s;

	pym_heap_stats(heap, &s);
	return (s.held - s.metadata + s.metadata_pages - s.pass_through) >> PAGE_SHIFT;
}

/*
 * A kernel that has booted has room left in its slabs, and would serve a trace
 * from it for nothing. So before a run the room is used up, in every kmalloc()
 * bucket and for both allocators alike: until more slabs in a row have been
 * handed out to the last object than SLUB keeps empty ones (at most 10 for a
 * node, and about 30 for a CPU). Since Linux 7.0 objects pass through per-CPU
 * arrays of up to 60, filled from several slabs and emptied from their end: the
 * objects of a slab come near each other, but not one after the other. A slab
 * that has given nothing for some time, and not everything before, had been in
 * use. The blocks are linked through their first word.
 */
#define FRESH_SLABS	48
#define NEAR		128		/* blocks: more than two such arrays */
#define OPEN_SLABS	16

struct open_slab {
	struct page *slab;		/* NULL: nothing here */
	unsigned int seen;		/* its objects so far */
	unsigned long last;		/* when the last of them came */
};

/* Counts one object of a slab in; true if it was the last one of a whole slab. */
static bool slab_is_whole(struct open_slab *open, struct page *slab, size_t bucket,
			  unsigned long now, bool *in_use)
{
	struct open_slab *mine = NULL, *oldest = open, *o;

	for (o = open; o < open + OPEN_SLABS; o++) {
		if (o->slab && now - o->last > NEAR) {
			o->slab = NULL;
			*in_use = true;
		}
		if (o->slab == slab)
			mine = o;
		if (!o->slab || (oldest->slab && o->last < oldest->last))
			oldest = o;
	}
	if (!mine) {
		mine = oldest;
		if (mine->slab)
			*in_use = true;
		mine->slab = slab;
		mine->seen = 0;
	}
	mine->last = now;
	if (++mine->seen < page_size(slab) / bucket)
		return false;
	mine->slab = NULL;
	return true;
}

static void use_up_bucket(size_t bucket, void **ballast)
{
	struct open_slab open[OPEN_SLABS] = {};
	unsigned int whole = 0;
	unsigned long now;

	for (now = 0; whole < FRESH_SLABS; now++) {
		void **p = kmalloc(bucket, GFP_KERNEL);
		bool in_use = false;

		if (!p)
			return;
		*p = *ballast;
		*ballast = p;
		if (slab_is_whole(open, virt_to_head_page(p), bucket, now, &in_use))
			whole++;
		if (in_use)
			whole = 0;
		if (!(now % 4096))
			cond_resched();
	}
}

static void *use_up_room(void)
{
	void *ballast = NULL;
	size_t bucket;

	for (bucket = kmalloc_size_roundup(1); bucket <= KMALLOC_MAX_CACHE_SIZE;
	     bucket = kmalloc_size_roundup(bucket + 1))
		use_up_bucket(bucket, &ballast);
	return ballast;
}

static void free_ballast(void *ballast)
{
	while (ballast) {
		void *next = *(void **)ballast;

		kfree(ballast);
		ballast = next;
	}
}

struct sample {
	size_t requested;		/* bytes asked for and live */
	size_t blocks;			/* bytes of the blocks they are in */
	unsigned long live;
	long pages;			/* pages held for them */
};

enum { PEAK, END, FREED, NR_SAMPLES };

struct run {
	const struct allocator *allocator;
	size_t largest;			/* requests above this are left out */
	struct sample at[NR_SAMPLES];
	size_t held[NR_SAMPLES];	/* pymalloc's own figure */
	unsigned long allocs, frees, left_out;
};

static struct run runs[] = {
	{ .allocator = &allocators[0], .largest = SIZE_MAX },
	{ .allocator = &allocators[1], .largest = SIZE_MAX },
	{ .allocator = &allocators[0] },
	{ .allocator = &allocators[1] },
};

static void take_sample(struct run *run, int which, long pages_before, size_t requested,
			unsigned long live, void **slots)
{
	struct sample *s = &run->at[which];
	struct pym_heap_stats stats;
	u32 i;

	s->requested = requested;
	s->live = live;
	s->blocks = 0;
	for (i = 0; i < nr_slots; i++)
		if (slots[i])
			s->blocks += run->allocator->block(slots[i]);
	s->pages = slab_pages() - pages_before;
	if (heap) {
		s->pages += arena_pages();
		pym_heap_stats(heap, &stats);
		run->held[which] = stats.held;
	}
}

/* Where live requested bytes are highest: the number of ops up to there. */
static u32 find_peak(size_t largest, u32 *sizes)
{
	size_t requested = 0, high = 0;
	u32 i, peak = 0;

	memset(sizes, 0, nr_slots * sizeof(*sizes));
	for (i = 0; i < nr_ops; i++) {
		u32 slot = le32_to_cpu(ops[i].slot), size = le32_to_cpu(ops[i].size);

		if (slot & OP_FREE) {
			requested -= sizes[slot & ~OP_FREE];
			sizes[slot & ~OP_FREE] = 0;
		} else if (size <= largest) {
			sizes[slot] = size;
			requested += size;
		}
		if (requested > high) {
			high = requested;
			peak = i + 1;
		}
	}
	memset(sizes, 0, nr_slots * sizeof(*sizes));
	return peak;
}

static int do_op(struct run *run, const struct trace_op *op, void **slots, u32 *sizes,
		 size_t *requested, unsigned long *live)
{
	u32 slot = le32_to_cpu(op->slot), size = le32_to_cpu(op->size);

	if (slot & OP_FREE) {
		slot &= ~OP_FREE;
		if (!slots[slot])
			return 0;	/* its allocation was left out */
		run->allocator->free(slots[slot]);
		slots[slot] = NULL;
		*requested -= sizes[slot];
		sizes[slot] = 0;
		run->frees++;
		(*live)--;
		return 0;
	}
	if (size > run->largest) {
		run->left_out++;
		return 0;
	}
	slots[slot] = run->allocator->alloc(size);
	if (!slots[slot])
		return -ENOMEM;
	/* What a user does with memory, at the least. */
	if (size)
		*(u8 *)slots[slot] = slot;
	sizes[slot] = size;
	*requested += size;
	run->allocs++;
	(*live)++;
	return 0;
}

/* Replays all of the trace and frees what is live at its end, as is normal. */
static int replay(struct run *run, void **slots, u32 *sizes)
{
	u32 peak = find_peak(run->largest, sizes);
	size_t requested = 0;
	unsigned long live = 0;
	void *ballast = use_up_room();
	long before = slab_pages();
	int err = 0;
	u32 i;

	for (i = 0; i < nr_ops && !err; i++) {
		err = do_op(run, &ops[i], slots, sizes, &requested, &live);
		if (i + 1 == peak)
			take_sample(run, PEAK, before, requested, live, slots);
		if (!(i % 4096))
			cond_resched();
	}
	take_sample(run, END, before, requested, live, slots);

	for (i = 0; i < nr_slots; i++) {
		if (!slots[i])
			continue;
		run->allocator->free(slots[i]);
		slots[i] = NULL;
		run->frees++;
	}
	take_sample(run, FREED, before, 0, 0, slots);
	free_ballast(ballast);
	return err;
}

/* Leaves a heap as it was at the peak, for debugfs; unloading destroys it whole. */
static int leave_at_peak(void **slots, u32 *sizes)
{
	struct run run = { .allocator = &allocators[0], .largest = SIZE_MAX };
	u32 peak = find_peak(run.largest, sizes);
	size_t requested = 0;
	unsigned long live = 0;
	int err = 0;
	u32 i;

	heap = pym_heap_create("replay", NULL);
	if (!heap)
		return -ENOMEM;
	for (i = 0; i < peak && !err; i++)
		err = do_op(&run, &ops[i], slots, sizes, &requested, &live);
	return err;
}

/* ---------------------------------------------------------------- table -- */

static void show_sample(struct seq_file *m, const struct run *run, int which)
{
	static const char * const names[] = { "peak", "end", "all freed" };
	const struct sample *s = &run->at[which];
	size_t held = s->pages > 0 ? (size_t)s->pages << PAGE_SHIFT : 0;

	seq_printf(m, "%-9s %-9s %8lu %12zu %12zu %12zu %8ld", names[which],
		   run->allocator->name, s->live, s->requested, s->blocks, held, s->pages);
	if (s->requested)
		seq_printf(m, " %5zu.%02zu\n", held / s->requested,
			   held % s->requested * 100 / s->requested);
	else
		seq_puts(m, "        -\n");
}

static int replay_show(struct seq_file *m, void *unused)
{
	unsigned int i;
	int which;

	seq_puts(m, "# pymalloc_replay 1\n");
	seq_printf(m, "trace: %u events replayed, %u frees without a known allocation, %u blocks live at the end\n",
		   nr_ops, le32_to_cpu(header->nr_unknown_free),
		   le32_to_cpu(header->nr_live_at_end));
	for (i = 0; i < ARRAY_SIZE(runs); i += 2) {
		if (runs[i].largest == SIZE_MAX)
			seq_puts(m, "\nall requests");
		else
			seq_printf(m, "\nrequests up to %zu bytes", runs[i].largest);
		seq_printf(m, ": %lu allocations, %lu frees, %lu left out\n", runs[i].allocs,
			   runs[i].frees, runs[i].left_out);
		seq_printf(m, "%-9s %-9s %8s %12s %12s %12s %8s %8s\n", "when", "allocator",
			   "live", "requested B", "in blocks B", "held B", "pages", "held/req");
		for (which = 0; which < NR_SAMPLES; which++) {
			show_sample(m, &runs[i], which);
			show_sample(m, &runs[i + 1], which);
		}
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(replay);

/* ----------------------------------------------------------------- load -- */

static struct dentry *file;

static int check_trace(size_t size)
{
	size_t want;
	u32 i;

	if (size < sizeof(*header) || memcmp(header->magic, MAGIC, sizeof(header->magic))) {
		pr_err("%s is not a trace; make one with scripts/trace2bin\n", trace);
		return -EINVAL;
	}
	nr_ops = le32_to_cpu(header->nr_ops);
	nr_slots = le32_to_cpu(header->nr_slots);
	want = size_add(sizeof(*header), size_mul(nr_ops, sizeof(*ops)));
	if (want != size || !nr_ops || !nr_slots) {
		pr_err("%s has %zu bytes, its header says %zu; make it again with scripts/trace2bin\n",
		       trace, size, want);
		return -EINVAL;
	}
	ops = (struct trace_op *)(header + 1);
	for (i = 0; i < nr_ops; i++) {
		if ((le32_to_cpu(ops[i].slot) & ~OP_FREE) >= nr_slots) {
			pr_err("%s: event %u names slot %lu of %u\n", trace, i,
			       le32_to_cpu(ops[i].slot) & ~OP_FREE, nr_slots);
			return -EINVAL;
		}
	}
	return 0;
}

static int run_all(void)
{
	void **slots = vcalloc(nr_slots, sizeof(*slots));
	u32 *sizes = vcalloc(nr_slots, sizeof(*sizes));
	unsigned int i;
	int err = slots && sizes ? 0 : -ENOMEM;

	for (i = 0; !err && i < ARRAY_SIZE(runs); i++) {
		if (runs[i].allocator == &allocators[0]) {
			heap = pym_heap_create("replay", NULL);
			if (!heap) {
				err = -ENOMEM;
				break;
			}
		}
		err = replay(&runs[i], slots, sizes);
		if (err)
			pr_err("%s: replay through %s failed: %d\n", trace,
			       runs[i].allocator->name, err);
		pym_heap_destroy(heap);
		heap = NULL;
	}
	if (!err)
		err = leave_at_peak(slots, sizes);
	vfree(slots);
	vfree(sizes);
	return err;
}

static int __init replay_init(void)
{
	static struct cpumask cpus;
	void *buf = NULL;
	ssize_t size;
	int err;

	size = kernel_read_file_from_path(trace, 0, &buf, INT_MAX, NULL, READING_FIRMWARE);
	if (size < 0) {
		pr_err("cannot read %s: %zd; pass trace=<file made by scripts/trace2bin>\n",
		       trace, size);
		return size;
	}
	header = buf;
	runs[2].largest = leave_out_above;
	runs[3].largest = leave_out_above;
	err = check_trace(size);
	if (!err) {
		/* On one CPU: SLUB's room is counted per CPU, and runs compare. */
		cpumask_copy(&cpus, current->cpus_ptr);
		set_cpus_allowed_ptr(current, cpumask_of(raw_smp_processor_id()));
		err = run_all();
		set_cpus_allowed_ptr(current, &cpus);
	}
	if (err) {
		pym_heap_destroy(heap);
		vfree(buf);
		return err;
	}
	file = debugfs_create_file("pymalloc_replay", 0400, NULL, NULL, &replay_fops);
	return 0;
}

static void __exit replay_exit(void)
{
	debugfs_remove(file);
	pym_heap_destroy(heap);
	vfree(header);
}

module_init(replay_init);
module_exit(replay_exit);

MODULE_AUTHOR("The pymalloc authors");
MODULE_DESCRIPTION("Replays a recorded allocation trace through pymalloc and kmalloc");
MODULE_LICENSE("GPL");
