// SPDX-License-Identifier: GPL-2.0-only
/*
 * What giving memory back costs, in instructions.
 *
 * Under QEMU's -icount shift=0 the time stamp counter counts the instructions of the
 * guest. What others do for the allocator meanwhile, and ticks, are in the figures.
 */
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/kernel.h>
#include <linux/kthread.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/timex.h>
#include <linux/vmalloc.h>
#include "bench_memory.h"

/* ------------------------------------------------------------- the clock -- */

/*
 * The counter goes on while the CPU has nothing to do, and how long that is not every
 * kernel knows exactly. So while something that sleeps is measured, the CPU is never
 * idle: a thread of the lowest priority spins and counts its own instructions, which
 * are taken off.
 */
static u64 spun;

#define SPIN_TURN	500		/* more than a turn: somebody else was at work */

static int spin(void *unused)
{
	u64 last = get_cycles(), now;

	while (!kthread_should_stop()) {
		now = get_cycles();
		if (now - last < SPIN_TURN)
			WRITE_ONCE(spun, spun + (now - last));
		last = now;
		cond_resched();
	}
	return 0;
}

static struct task_struct *start_spinning(void)
{
	struct task_struct *task = kthread_create(spin, NULL, "pym_memory/spin");

	if (!IS_ERR(task)) {
		sched_set_normal(task, MAX_NICE);
		wake_up_process(task);
	}
	return task;
}

/* Instructions so far, without those of nobody's. */
static __always_inline u64 busy(void)
{
	return get_cycles() - READ_ONCE(spun);
}

/* This loop has two instructions. */
static u64 count_turns(unsigned long turns)
{
	u64 start = busy();
#ifdef CONFIG_X86
	asm volatile("1:	decq	%[turns]\n"
		     "	jnz	1b\n"
		     : [turns] "+r" (turns) : : "cc");
#endif
	return busy() - start;
}

/* Does it count instructions? A tick may come in between. */
static int clock_check(void)
{
	u64 count = min(count_turns(1000000), count_turns(1000000));

	if (num_online_cpus() != 1) {
		pr_err("instructions are counted on one CPU, not %u\n", num_online_cpus());
		return -EOPNOTSUPP;
	}
	if (count < 2000000 || count > 2050000) {
		pr_err("2000000 instructions took %llu ticks of the time stamp counter: boot with qemu -icount shift=0\n",
		       count);
		return -EOPNOTSUPP;
	}
	return 0;
}

/* And only instructions of use? While this sleeps there are a few ticks. */
static int sleep_check(void)
{
	u64 start = busy(), wall = get_cycles();

	msleep(40);
	start = busy() - start;
	wall = get_cycles() - wall;
	if (wall > 40000000 && start < wall / 20)
		return 0;
	pr_err("in 40 ms %llu instructions of %llu were of use, while nothing was done\n", start,
	       wall);
	return -EOPNOTSUPP;
}

/* ----------------------------------------------------------- many at once -- */

#define SIZE		64
#define MANY		100000U
#define WARM_UPS	5
#define REPS		5

/* Millionths of an instruction for an allocation and its free; 0: no memory. */
static __always_inline u64 hot_pair(const enum bm_who who, const struct bm_subject *s)
{
	u64 start = busy();
	unsigned int i;

	for (i = 0; i < MANY; i++) {
		void *p = bm_get_as(who, s, SIZE);

		if (unlikely(!p))
			return 0;
		bm_put_as(who, s, p, SIZE);
	}
	return bm_millionths(busy() - start, MANY);
}

static __always_inline u64 all_pairs(const enum bm_who who, const struct bm_subject *s,
				     void **blocks)
{
	u64 start = busy();
	unsigned int i, n;

	for (n = 0; n < MANY; n++) {
		blocks[n] = bm_get_as(who, s, SIZE);
		if (unlikely(!blocks[n]))
			break;
	}
	for (i = 0; i < n; i++)
		bm_put_as(who, s, blocks[i], SIZE);
	return n < MANY ? 0 : bm_millionths(busy() - start, MANY);
}

static noinline u64 pym_cache(const struct bm_subject *s, void **blocks)
{
	return blocks ? all_pairs(BM_PYM_CACHE, s, blocks) : hot_pair(BM_PYM_CACHE, s);
}

static noinline u64 pym_malloc_64(const struct bm_subject *s, void **blocks)
{
	return blocks ? all_pairs(BM_PYM_MALLOC, s, blocks) : hot_pair(BM_PYM_MALLOC, s);
}

static noinline u64 kmem_cache(const struct bm_subject *s, void **blocks)
{
	return blocks ? all_pairs(BM_KMEM_CACHE, s, blocks) : hot_pair(BM_KMEM_CACHE, s);
}

static noinline u64 kmalloc_64(const struct bm_subject *s, void **blocks)
{
	return blocks ? all_pairs(BM_KMALLOC, s, blocks) : hot_pair(BM_KMALLOC, s);
}

static u64 (* const pairs_of[BM_NR_WHO])(const struct bm_subject *s, void **blocks) = {
	[BM_PYM_CACHE]	= pym_cache,
	[BM_PYM_MALLOC]	= pym_malloc_64,
	[BM_KMEM_CACHE]	= kmem_cache,
	[BM_KMALLOC]	= kmalloc_64,
};

/* The least of some: what else the machine does comes on top. Without blocks: hot. */
static u64 least(const struct bm_subject *s, void **blocks)
{
	u64 best = U64_MAX, cost;
	unsigned int i;

	for (i = 0; i < WARM_UPS + REPS; i++) {
		cond_resched();
		cost = pairs_of[s->who](s, blocks);
		if (!cost)
			return 0;
		if (i >= WARM_UPS)
			best = min(best, cost);
	}
	return best;
}

static int many_of(const struct bm_subject *s, void **blocks)
{
	u64 hot, many;

	hot = least(s, NULL);
	many = least(s, blocks);
	if (!hot || !many)
		return -ENOMEM;
	bm_row(s->who, "instr/pair", hot, "one block of 64 B, allocated and freed, repeated");
	bm_row(s->who, "instr/pair", many, "100000 x 64 B, allocated and freed, repeated");
	bm_row(s->who, "ratio", bm_millionths(many, hot),
	       "100000 x 64 B, allocated and freed, repeated, over one block");
	return 0;
}

static int many(void)
{
	void **blocks = vmalloc_array(MANY, sizeof(*blocks));
	struct bm_subject *s = kzalloc(sizeof(*s), GFP_KERNEL);
	int err = blocks && s ? clock_check() : -ENOMEM;
	enum bm_who who;

	for (who = 0; !err && who < BM_NR_WHO; who++) {
		err = bm_subject_init(s, who, SIZE, 0);
		if (!err)
			err = many_of(s, blocks);
		bm_subject_exit(s);
	}
	kfree(s);
	vfree(blocks);
	return err;
}

/* ---------------------------------------------------------------- at the end -- */

/* With everything that waits for readers: until the memory is back. */
static int end_of(struct bm_subject *s, void **blocks)
{
	unsigned int n = bm_fill(s, blocks, BM_MILLION), i;
	u64 start;

	if (n < BM_MILLION) {
		bm_empty(s, blocks, n);
		return -ENOMEM;
	}
	rcu_barrier();
	start = busy();
	if (s->heap) {
		pym_heap_destroy(s->heap);
		s->heap = NULL;
	} else {
		for (i = 0; i < n; i++) {
			bm_put(s, blocks[i], SIZE);
			if (!(i % 4096))
				cond_resched();
		}
	}
	while (s->nr_slabs)
		kmem_cache_destroy(s->slab[--s->nr_slabs]);
	rcu_barrier();
	bm_row(s->who, "instructions", (busy() - start) * 1000000,
	       "the end of 1000000 live blocks of 64 B");
	return 0;
}

static int destroy(void)
{
	void **blocks = vmalloc_array(BM_MILLION, sizeof(*blocks));
	struct bm_subject *s = kzalloc(sizeof(*s), GFP_KERNEL);
	int err = blocks && s ? clock_check() : -ENOMEM;
	struct task_struct *spinner = NULL;
	enum bm_who who;

	if (!err) {
		spinner = start_spinning();
		err = IS_ERR(spinner) ? PTR_ERR(spinner) : sleep_check();
	}
	for (who = 0; !err && who < BM_NR_WHO; who++) {
		err = bm_subject_init(s, who, SIZE, 0);
		if (!err)
			err = end_of(s, blocks);
		bm_subject_exit(s);
	}
	if (!IS_ERR_OR_NULL(spinner))
		kthread_stop(spinner);
	kfree(s);
	vfree(blocks);
	return err;
}

const struct bm_step bm_cost_steps[] = {
	{ "many", many },
	{ "destroy", destroy },
	{}
};
