// SPDX-License-Identifier: GPL-2.0-only
/*
 * A consumer of pymalloc, as another module would be, that does everything right, very
 * often: whatever is switched on meanwhile, nothing may be reported, no block may be
 * changed by another's user, and in the end the heaps must have as many live blocks as
 * the models of all workers together. Nothing here looks inside pymalloc.
 *
 * There is a worker on each CPU, a timer that interrupts it and does the same, and a
 * ring through which they give blocks to each other, so that what was allocated on one
 * CPU is freed on another. There are heaps over pages and over vmalloc, and one that
 * isolates its caches and hands out blocks in any order, each with caches of several kinds.
 *
 * "<name> <operations>" written to the parameter "turn" does so many, with progress
 * under that name in the log, and says when it has ended:
 *
 *	pymalloc_soak: turn <name>: <operations> operations, <refused> refused, <live> live
 *
 * "empty" frees everything. Writing fails with EIO if something was not as it must be.
 */
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/hrtimer.h>
#include <linux/kernel.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/prandom.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/version.h>
#include <pymalloc/pymalloc.h>

#undef pr_fmt
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

static unsigned long seed = 20240229;
module_param(seed, ulong, 0444);
MODULE_PARM_DESC(seed, "of the random numbers: what is done, and to which block");

#define OWN		700		/* blocks of a worker at most */
#define IRQ_OWN		24		/* the same, of the timer that interrupts it */
#define RING		128
#define BULK		40
#define RARE		30000		/* operations between two that are rare */
#define CTOR_BYTE	0xc5

enum origin { PLAIN_16, PLAIN_64, PLAIN_192, PLAIN_512, CTOR_96, TYPESAFE_128, NR_CACHES };
#define ANY_SIZE	NR_CACHES	/* from pym_malloc() */

static const struct {
	const char *name;
	size_t size;
	unsigned int flags;
} kinds[NR_CACHES] = {
	[PLAIN_16]	= { "plain-16", 16 },
	[PLAIN_64]	= { "plain-64", 64 },
	[PLAIN_192]	= { "plain-192", 192 },
	[PLAIN_512]	= { "plain-512", 512, PYM_CACHE_HWALIGN },
	[CTOR_96]	= { "ctor-96", 96 },
	[TYPESAFE_128]	= { "typesafe-128", 128, PYM_CACHE_TYPESAFE_BY_RCU },
};

static struct soak_heap {
	const char *name;
	const struct pym_provider_ops *provider;
	unsigned int flags;
	struct pym_heap *heap;
	struct pym_cache *cache[NR_CACHES];
} heaps[] = {
	{ .name = "soak-pages", .provider = &pym_provider_pages },
	{ .name = "soak-vmalloc", .provider = &pym_provider_vmalloc },
	{ .name = "soak-isolated", .provider = &pym_provider_pages,
	  .flags = PYM_HEAP_RANDOM | PYM_HEAP_ISOLATE },
};

/* A block, as its user knows it. Free entries have no address. */
struct block {
	void *p;
	u32 size;			/* asked for */
	u32 serial;			/* which allocation of its worker's */
	u16 by;				/* whose, see struct actor */
	u8 heap, origin;
};

/* Who allocates and frees: a thread, or the timer on its CPU. */
struct actor {
	struct rnd_state rnd;
	struct block *own;
	unsigned int nr_own;
	unsigned int id;		/* no two have the same */
	gfp_t gfp;
	u32 serial;
	u64 operations, refused;
	unsigned long wrong;		/* things that were not as they must be */
};

struct worker {
	struct actor thread, irq;
	struct task_struct *task;
	struct hrtimer timer;
	u64 until;			/* operations of this turn, of both actors */
	struct block own[OWN];
	struct block irq_own[IRQ_OWN];
};

static struct worker *workers;		/* one for each CPU that was online */
static unsigned int nr_workers;
static struct block ring[RING];
static DEFINE_RAW_SPINLOCK(ring_lock);	/* guards ring */
static const char *turn_name;
static struct completion turn_done;
static atomic_t at_work;

static u32 below(struct actor *a, u32 n)
{
	return prandom_u32_state(&a->rnd) % n;
}

__printf(2, 3) static void wrong(struct actor *a, const char *fmt, ...)
{
	struct va_format vaf = { .fmt = fmt };
	va_list args;

	va_start(args, fmt);
	vaf.va = &args;
	if (a->wrong++ < 5)
		pr_err("wrong: %pV\n", &vaf);
	va_end(args);
}

/* ---------------------------------------------------------------- a block -- */

/*
 * What a block has in its first and in its last word, if it is so large that these are
 * two, or that it has one at all. No two blocks have the same.
 */
static u64 stamp(const struct block *b)
{
	return ((u64)b->serial << 32 | b->size << 16 | b->by) ^ 0x5041534b534f414bULL;
}

static void write_stamps(const struct block *b)
{
	u64 word = stamp(b);

	if (b->size >= sizeof(word))
		memcpy(b->p, &word, sizeof(word));
	if (b->size >= 2 * sizeof(word))
		memcpy(b->p + b->size - sizeof(word), &word, sizeof(word));
}

/* As far as the first @kept bytes have them. */
static void check_stamps(struct actor *a, const struct block *b, size_t kept)
{
	u64 word = stamp(b);

	if (min_t(size_t, b->size, kept) >= sizeof(word) && memcmp(b->p, &word, sizeof(word)))
		wrong(a, "a block of %u bytes was changed at its start", b->size);
	if (b->size >= 2 * sizeof(word) && kept >= b->size &&
	    memcmp(b->p + b->size - sizeof(word), &word, sizeof(word)))
		wrong(a, "a block of %u bytes was changed at its end", b->size);
}

static void construct(void *block)
{
	memset(block, CTOR_BYTE, kinds[CTOR_96].size);
}

/* A block has just come. */
static void receive(struct actor *a, struct block *b, bool zeroed)
{
	b->serial = a->serial++;
	b->by = a->id;
	if (zeroed && memchr_inv(b->p, 0, b->size))
		wrong(a, "%u bytes that should be zero are not", b->size);
	if (b->origin == CTOR_96 && memchr_inv(b->p, CTOR_BYTE, b->size))
		wrong(a, "a block came not as it was constructed");
	write_stamps(b);
}

/* A block is about to go. */
static void part(struct actor *a, struct block *b)
{
	check_stamps(a, b, b->size);
	if (b->origin == CTOR_96)
		construct(b->p);
}

/* ------------------------------------------------------------- operations -- */

static struct pym_cache *cache_of(const struct block *b)
{
	return heaps[b->heap].cache[b->origin];
}

static u32 any_size(struct actor *a)
{
	switch (below(a, 16)) {
	case 0 ... 8:
		return 1 + below(a, 128);
	case 9 ... 13:
		return 1 + below(a, 1024);
	case 14:
		return 1 + below(a, PYM_SMALL_MAX);
	default:
		/* What passes through is not for interrupts. */
		return 1 + below(a, a->gfp == GFP_KERNEL && !below(a, 8) ? 20000 : 64);
	}
}

static void allocate(struct actor *a, struct block *b)
{
	bool zeroed = !below(a, 4);
	gfp_t gfp = a->gfp | __GFP_NOWARN | (zeroed ? __GFP_ZERO : 0);
	struct block new = { .heap = below(a, ARRAY_SIZE(heaps)) };

	new.origin = min_t(u8, below(a, NR_CACHES + 4), ANY_SIZE);
	if (new.origin == CTOR_96) {
		zeroed = false;
		gfp &= ~__GFP_ZERO;
	}
	if (new.origin == ANY_SIZE) {
		new.size = any_size(a);
		new.p = zeroed && below(a, 2) ?
			pym_calloc(heaps[new.heap].heap, 1, new.size, gfp & ~__GFP_ZERO) :
			pym_malloc(heaps[new.heap].heap, new.size, gfp);
	} else {
		new.size = kinds[new.origin].size;
		new.p = below(a, 8) ? pym_cache_alloc(cache_of(&new), gfp) :
			pym_cache_alloc_node(cache_of(&new), gfp, NUMA_NO_NODE);
	}
	a->operations++;
	if (!new.p) {
		a->refused++;
		return;
	}
	receive(a, &new, zeroed);
	*b = new;
}

static void release(struct actor *a, struct block *b)
{
	part(a, b);
	a->operations++;
	if (b->origin == ANY_SIZE)
		pym_free(b->p);
	else if (!below(a, 16))
		pym_cache_free_rcu(cache_of(b), b->p);
	else
		pym_cache_free(cache_of(b), b->p);
	b->p = NULL;
}

static void resize(struct actor *a, struct block *b)
{
	u32 size = any_size(a);
	void *p;

	if (pym_usable_size(b->p) < b->size)
		wrong(a, "of %u bytes %zu may be used", b->size, pym_usable_size(b->p));
	if (b->origin != ANY_SIZE)
		return;
	a->operations++;
	p = pym_realloc(below(a, 2) ? heaps[b->heap].heap : NULL, b->p, size,
			a->gfp | __GFP_NOWARN);
	if (!p) {
		a->refused++;
		return;
	}
	b->p = p;
	check_stamps(a, b, size);
	b->size = size;
	receive(a, b, false);
}

static void exchange(struct actor *a, struct block *b)
{
	struct block *other = &ring[below(a, RING)];
	unsigned long flags;

	raw_spin_lock_irqsave(&ring_lock, flags);
	swap(*b, *other);
	raw_spin_unlock_irqrestore(&ring_lock, flags);
}

static void act(struct actor *a)
{
	struct block *b = &a->own[below(a, a->nr_own)];

	switch (below(a, 32)) {
	case 0 ... 3:
		exchange(a, b);
		break;
	case 4:
		if (b->p) {
			resize(a, b);
			break;
		}
		fallthrough;
	default:
		if (b->p)
			release(a, b);
		else
			allocate(a, b);
	}
}

/* -------------------------------------------------- of threads alone -- */

static void allocate_bulk(struct actor *a)
{
	struct block new = { .heap = below(a, ARRAY_SIZE(heaps)), .origin = below(a, NR_CACHES) };
	unsigned int n = 1 + below(a, BULK), i;
	void *blocks[BULK];

	a->operations += n;
	if (pym_cache_alloc_bulk(cache_of(&new), a->gfp | __GFP_NOWARN, n, blocks) != n) {
		a->refused += n;
		return;
	}
	for (i = 0; i < n; i++) {
		struct block *b = &a->own[below(a, a->nr_own)];

		if (b->p)
			release(a, b);
		new.p = blocks[i];
		new.size = kinds[new.origin].size;
		receive(a, &new, false);
		*b = new;
	}
}

static void release_bulk(struct actor *a)
{
	struct block kind = { .heap = below(a, ARRAY_SIZE(heaps)), .origin = below(a, NR_CACHES) };
	unsigned int n = 0, i, first = below(a, a->nr_own);
	void *blocks[BULK];

	for (i = 0; i < a->nr_own / 4 && n < BULK; i++) {
		struct block *b = &a->own[(first + i) % a->nr_own];

		if (!b->p || b->heap != kind.heap || b->origin != kind.origin)
			continue;
		part(a, b);
		blocks[n++] = b->p;
		b->p = NULL;
	}
	a->operations += n;
	pym_cache_free_bulk(cache_of(&kind), n, blocks);
}

/* A cache that comes, is used and goes. */
static void short_lived_cache(struct actor *a)
{
	struct pym_cache_args args = { .heap = heaps[below(a, ARRAY_SIZE(heaps))].heap };
	unsigned int n = 1 + below(a, BULK), i;
	struct pym_cache *cache;
	void *blocks[BULK];

	cache = pym_cache_create("short-lived", 8 + 8 * below(a, 100), &args);
	if (!cache) {
		a->refused++;
		return;
	}
	for (i = 0; i < n; i++)
		blocks[i] = pym_cache_alloc(cache, a->gfp | __GFP_NOWARN);
	while (i--)
		pym_cache_free(cache, blocks[i]);
	a->operations += 2 * n;
	pym_cache_destroy(cache);
}

/* A heap that is emptied as a whole, and goes with what is in it. */
static void short_lived_heap(struct actor *a)
{
	struct soak_heap *like = &heaps[below(a, ARRAY_SIZE(heaps))];
	struct pym_heap_args args = { .provider = like->provider, .flags = like->flags };
	struct pym_heap *heap = pym_heap_create("short-lived", &args);
	unsigned int round, i;

	if (!heap) {
		a->refused++;
		return;
	}
	for (round = 0; round < 2; round++) {
		for (i = 0; i < 100; i++) {
			struct block b = { .size = any_size(a), .origin = ANY_SIZE };

			a->operations++;
			b.p = pym_malloc(heap, b.size, a->gfp | __GFP_NOWARN);
			if (b.p)
				receive(a, &b, false);
			else
				a->refused++;
		}
		if (!round)
			pym_heap_reset(heap);
	}
	pym_heap_destroy(heap);
}

static void do_something_rare(struct actor *a)
{
	struct soak_heap *h = &heaps[below(a, ARRAY_SIZE(heaps))];

	switch (below(a, 4)) {
	case 0:
		pym_heap_shrink(h->heap);
		break;
	case 1:
		pym_cache_shrink(h->cache[below(a, NR_CACHES)]);
		break;
	case 2:
		short_lived_cache(a);
		break;
	case 3:
		short_lived_heap(a);
		break;
	}
}

static void act_in_thread(struct actor *a)
{
	switch (below(a, 64)) {
	case 0:
		allocate_bulk(a);
		break;
	case 1:
		release_bulk(a);
		break;
	default:
		act(a);
	}
	if (!below(a, RARE))
		do_something_rare(a);
}

/* ---------------------------------------------------------------- workers -- */

static enum hrtimer_restart interrupt(struct hrtimer *timer)
{
	struct worker *w = container_of(timer, struct worker, timer);
	unsigned int n = 1 + below(&w->irq, 8);

	while (n--)
		act(&w->irq);
	hrtimer_forward_now(timer, ns_to_ktime(100000 + below(&w->irq, 300000)));
	return HRTIMER_RESTART;
}

static u64 done_by(const struct worker *w)
{
	return w->thread.operations + READ_ONCE(w->irq.operations);
}

static int work(void *arg)
{
	struct worker *w = arg;
	u64 from = done_by(w), step = max(1ULL, (w->until - from) / 10), told = 0;

	hrtimer_start(&w->timer, ns_to_ktime(100000), HRTIMER_MODE_REL_PINNED_HARD);
	while (done_by(w) < w->until) {
		act_in_thread(&w->thread);
		cond_resched();
		if (w == workers && done_by(w) - from >= (told + 1) * step && told < 9)
			pr_info("turn %s: %llu0 %%\n", turn_name, ++told);
	}
	hrtimer_cancel(&w->timer);
	if (atomic_dec_and_test(&at_work))
		complete(&turn_done);
	return 0;
}

static void sum_up(struct block *blocks, unsigned int n, struct actor *a, unsigned long *live)
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		if (!blocks[i].p)
			continue;
		live[blocks[i].heap]++;
		check_stamps(a, &blocks[i], blocks[i].size);
	}
}

/* Nobody is at work. Returns how many blocks are live, all as they must be, or -EIO. */
static long look_at_all(void)
{
	unsigned long live[ARRAY_SIZE(heaps)] = { }, wrongs = 0, all = 0;
	struct worker *w;
	unsigned int i;

	sum_up(ring, RING, &workers->thread, live);
	for (w = workers; w < workers + nr_workers; w++) {
		sum_up(w->own, OWN, &w->thread, live);
		sum_up(w->irq_own, IRQ_OWN, &w->irq, live);
		wrongs += w->thread.wrong + w->irq.wrong;
	}
	for (i = 0; i < ARRAY_SIZE(heaps); i++) {
		struct pym_heap_stats stats;
		unsigned int s = 0;

		/* What pym_cache_free_rcu() was given is freed some time after a grace period. */
		for (pym_heap_stats(heaps[i].heap, &stats); stats.live > live[i] && s < 30; s++) {
			msleep(1000);
			pym_heap_stats(heaps[i].heap, &stats);
		}
		if (stats.live != live[i]) {
			pr_err("wrong: heap %s has %lu live blocks, its users have %lu\n",
			       heaps[i].name, stats.live, live[i]);
			wrongs++;
		}
		all += live[i];
	}
	return wrongs ? -EIO : all;
}

static int start_worker(struct worker *w)
{
	w->task = kthread_create_on_cpu(work, w, w->thread.id / 2, "soak/%u");
	if (IS_ERR(w->task))
		return PTR_ERR(w->task);
	get_task_struct(w->task);
	return 0;
}

static void stop_worker(struct worker *w)
{
	kthread_stop(w->task);
	put_task_struct(w->task);
}

static int run_turn(const char *name, u64 operations)
{
	u64 refused = 0, operated = 0;
	struct worker *w;
	int err = 0;
	long live;

	for (w = workers; w < workers + nr_workers; w++) {
		w->until = done_by(w) + operations / nr_workers;
		refused -= w->thread.refused + w->irq.refused;
		operated -= done_by(w);
		err = start_worker(w);
		if (err)
			break;
	}
	if (err) {
		while (w-- > workers)
			stop_worker(w);
		return err;
	}
	turn_name = name;
	init_completion(&turn_done);
	atomic_set(&at_work, nr_workers);
	for (w = workers; w < workers + nr_workers; w++)
		wake_up_process(w->task);
	/* So that hours of it are no hung task; nothing may be interrupted, though. */
	while (!wait_for_completion_timeout(&turn_done, HZ))
		;
	for (w = workers; w < workers + nr_workers; w++) {
		stop_worker(w);
		refused += w->thread.refused + w->irq.refused;
		operated += done_by(w);
	}
	live = look_at_all();
	if (live < 0)
		return live;
	pr_info("turn %s: %llu operations, %llu refused, %ld live\n", name, operated, refused,
		live);
	return 0;
}

static void release_all(struct block *blocks, unsigned int n, struct actor *a)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		if (blocks[i].p)
			release(a, &blocks[i]);
}

static int empty(void)
{
	struct worker *w;
	long live;

	release_all(ring, RING, &workers->thread);
	for (w = workers; w < workers + nr_workers; w++) {
		release_all(w->own, OWN, &w->thread);
		release_all(w->irq_own, IRQ_OWN, &w->thread);
	}
	live = look_at_all();
	return live < 0 ? live : live ? -EIO : 0;
}

/* Writers are serialized by the lock of the module's parameters. */
static int turn_set(const char *value, const struct kernel_param *unused)
{
	char name[64];
	u64 operations;

	/* On the command line: there are no heaps yet. */
	if (!workers)
		return -EINVAL;
	if (sysfs_streq(value, "empty"))
		return empty();
	if (sscanf(value, "%63s %llu", name, &operations) != 2)
		return -EINVAL;
	return run_turn(name, operations);
}

static const struct kernel_param_ops turn_ops = { .set = turn_set };
module_param_cb(turn, &turn_ops, NULL, 0200);
MODULE_PARM_DESC(turn, "a name and how many operations to do, or \"empty\"");

/* ----------------------------------------------------------------- module -- */

static void destroy_heaps(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(heaps); i++)
		pym_heap_destroy(heaps[i].heap);
}

static int create_heaps(void)
{
	unsigned int i, k;

	for (i = 0; i < ARRAY_SIZE(heaps); i++) {
		struct pym_heap_args args = {
			.provider = heaps[i].provider, .flags = heaps[i].flags,
			.isolate_ms = heaps[i].flags & PYM_HEAP_ISOLATE ? 50 : 0,
		};

		heaps[i].heap = pym_heap_create(heaps[i].name, &args);
		if (!heaps[i].heap)
			return -ENOMEM;
		for (k = 0; k < NR_CACHES; k++) {
			struct pym_cache_args cache = {
				.heap = heaps[i].heap,
				.flags = kinds[k].flags,
				.ctor = k == CTOR_96 ? construct : NULL,
			};

			heaps[i].cache[k] = pym_cache_create(kinds[k].name, kinds[k].size, &cache);
			if (!heaps[i].cache[k])
				return -ENOMEM;
		}
	}
	return 0;
}

static void init_actor(struct actor *a, unsigned int cpu, struct block *own, unsigned int nr_own,
		       gfp_t gfp)
{
	a->own = own;
	a->nr_own = nr_own;
	a->id = 2 * cpu + (gfp == GFP_KERNEL);
	a->gfp = gfp;
	prandom_seed_state(&a->rnd, seed + a->id);
}

static int __init soak_init(void)
{
	unsigned int cpu;
	int err;

	workers = kvcalloc(num_online_cpus(), sizeof(*workers), GFP_KERNEL);
	if (!workers)
		return -ENOMEM;
	err = create_heaps();
	if (err) {
		destroy_heaps();
		kvfree(workers);
		return err;
	}
	for_each_online_cpu(cpu) {
		struct worker *w = &workers[nr_workers++];

		init_actor(&w->thread, cpu, w->own, OWN, GFP_KERNEL);
		init_actor(&w->irq, cpu, w->irq_own, IRQ_OWN, GFP_ATOMIC);
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
		hrtimer_setup(&w->timer, interrupt, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED_HARD);
#else
		hrtimer_init(&w->timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED_HARD);
		w->timer.function = interrupt;
#endif
		if (nr_workers == num_online_cpus())
			break;
	}
	pr_info("seed %lu, %u workers\n", seed, nr_workers);
	return 0;
}
module_init(soak_init);

static void __exit soak_exit(void)
{
	destroy_heaps();
	kvfree(workers);
}
module_exit(soak_exit);

MODULE_DESCRIPTION("a consumer of pymalloc that does nothing wrong, for a long time");
MODULE_LICENSE("GPL");
