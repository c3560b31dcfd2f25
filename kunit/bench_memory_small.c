// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a small machine with several CPUs is for: what stays on CPUs where nothing
 * happens, and what is returned before the kernel kills somebody for memory.
 */
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/kernel.h>
#include <linux/notifier.h>
#include <linux/oom.h>
#include <linux/sched.h>
#include <linux/sizes.h>
#include <linux/vmalloc.h>
#include "bench_memory.h"

#define SIZE		64

/* ------------------------------------------------------------------- idle -- */

#define ON_EACH_CPU	1000U

/* As many blocks as would fill any array of a CPU, allocated and freed on it. */
static int use_every_cpu(const struct bm_subject *s, void **blocks)
{
	static struct cpumask before;
	unsigned int n = ON_EACH_CPU;
	int cpu, err = 0;

	cpumask_copy(&before, current->cpus_ptr);
	for_each_online_cpu(cpu) {
		err = set_cpus_allowed_ptr(current, cpumask_of(cpu));
		if (err)
			break;
		n = bm_fill(s, blocks, ON_EACH_CPU);
		bm_empty(s, blocks, n);
		if (n < ON_EACH_CPU) {
			err = -ENOMEM;
			break;
		}
	}
	set_cpus_allowed_ptr(current, &before);
	return err;
}

/*
 * Free blocks that are none to the pools, or slabs, they come from: no block is live.
 * For SLUB those in the slabs and arrays of CPUs, and in the arrays of nodes, are
 * objects in use.
 */
static long on_cpus(const struct bm_subject *s)
{
	struct pym_cache_stats stats;

	if (s->who == BM_KMEM_CACHE)
		return bm_slab_attribute(s->size, "objects");
	pym_cache_stats(s->cache, &stats);
	return stats.live ? -EUCLEAN : stats.cached;
}

static int tell_on_cpus(const struct bm_subject *s, const char *when)
{
	long n = on_cpus(s);

	if (n < 0)
		return n;
	bm_row(s->who, "blocks", n * 1000000ULL, "in fronts and depot, none live, %s", when);
	return 0;
}

static int idle_for(struct bm_subject *mine, struct bm_subject *peer, void **blocks)
{
	int err;

	err = bm_subject_init(mine, BM_PYM_CACHE, SIZE, 0);
	if (!err)
		err = bm_subject_init(peer, BM_KMEM_CACHE, SIZE, 0);
	if (!err)
		err = use_every_cpu(mine, blocks);
	if (!err)
		err = use_every_cpu(peer, blocks);
	if (!err)
		err = tell_on_cpus(mine, "at once");
	if (!err)
		err = tell_on_cpus(peer, "at once");
	if (err)
		return err;
	msleep(5000);
	return tell_on_cpus(mine, "after 5 s idle") ?: tell_on_cpus(peer, "after 5 s idle");
}

static int idle(void)
{
	struct bm_subject *mine = kzalloc(sizeof(*mine), GFP_KERNEL);
	struct bm_subject *peer = kzalloc(sizeof(*peer), GFP_KERNEL);
	void **blocks = vmalloc_array(ON_EACH_CPU, sizeof(*blocks));
	int err = -ENOMEM;

	if (mine && peer && blocks) {
		err = idle_for(mine, peer, blocks);
		bm_subject_exit(mine);
		bm_subject_exit(peer);
	}
	vfree(blocks);
	kfree(mine);
	kfree(peer);
	return err;
}

/* -------------------------------------------------------------------- hog -- */

#define HOG_BLOCKS	300000U
#define HOG_LEFT	(HOG_BLOCKS / 1000)

/*
 * A heap and a cache of SLUB with memory that they could return, until a process has
 * taken all there is and the kernel is about to kill it.
 */
static struct {
	struct bm_subject mine, peer;
	void **blocks[2];		/* of mine, of the peer */
	unsigned int live[2];
	u64 mine_before, mine_at_oom;
	long peer_before;		/* slabs, of this many bytes: */
	size_t peer_slab;
	unsigned int ooms;
} hog;

/* Called for as long as somebody must be killed; the first time counts. */
static int at_oom(struct notifier_block *nb, unsigned long action, void *freed)
{
	if (!hog.ooms++)
		hog.mine_at_oom = bm_held(&hog.mine);
	return NOTIFY_OK;
}

static struct notifier_block oom_notifier = { .notifier_call = at_oom };
static bool notified;

static void hog_drop(void)
{
	struct bm_subject *s[] = { &hog.mine, &hog.peer };
	unsigned int i;

	if (notified)
		unregister_oom_notifier(&oom_notifier);
	notified = false;
	for (i = 0; i < 2; i++) {
		if (hog.blocks[i])
			bm_empty(s[i], hog.blocks[i], hog.live[i]);
		bm_subject_exit(s[i]);
		vfree(hog.blocks[i]);
	}
	memset(&hog, 0, sizeof(hog));
}

static int hog_fill(struct bm_subject *s, enum bm_who who, unsigned int i)
{
	unsigned int *n = &hog.live[i];
	int err;

	hog.blocks[i] = vmalloc_array(HOG_BLOCKS, sizeof(*hog.blocks[i]));
	if (!hog.blocks[i])
		return -ENOMEM;
	err = bm_subject_init(s, who, SIZE, 0);
	if (err)
		return err;
	*n = bm_fill(s, hog.blocks[i], HOG_BLOCKS);
	if (*n < HOG_BLOCKS)
		return -ENOMEM;
	bm_shuffle(hog.blocks[i], *n);
	return 0;
}

static void hog_free(struct bm_subject *s, unsigned int i)
{
	bm_empty(s, hog.blocks[i] + HOG_LEFT, hog.live[i] - HOG_LEFT);
	hog.live[i] = HOG_LEFT;
}

static int hog_begin(void)
{
	long order;
	int err;

	hog_drop();
	err = hog_fill(&hog.mine, BM_PYM_CACHE, 0) ?: hog_fill(&hog.peer, BM_KMEM_CACHE, 1);
	if (err)
		return err;
	hog_free(&hog.peer, 1);
	hog.peer_before = bm_slab_attribute(SIZE, "slabs");
	order = bm_slab_attribute(SIZE, "order");
	if (hog.peer_before < 0 || order < 0)
		return -EIO;
	hog.peer_slab = PAGE_SIZE << order;
	err = register_oom_notifier(&oom_notifier);
	if (err)
		return err;
	notified = true;
	/* Ours last: what comes back by itself meanwhile comes back before the end too. */
	hog_free(&hog.mine, 0);
	hog.mine_before = bm_held(&hog.mine);
	return 0;
}

/* All of what could be returned was, if asking for it now gives nothing more. */
static void tell_share(enum bm_who who, u64 before, u64 at_oom, u64 after)
{
	u64 could = before > after ? before - after : 0;
	u64 did = before > at_oom ? before - at_oom : 0;

	bm_row(who, "KiB", bm_millionths(could, SZ_1K),
	       "free pool bytes that could be returned, memory hog");
	bm_row(who, "%", could ? bm_millionths(did * 100, could) : 100 * 1000000,
	       "free pool bytes returned before the OOM killer acts");
}

static int hog_end(void)
{
	long slabs, shrunk;

	if (!notified)
		return -EINVAL;
	if (!hog.ooms) {
		pr_err("the machine has not run out of memory\n");
		return -EUCLEAN;
	}
	/* SLUB's slabs do not become more by themselves: now is as good as then. */
	slabs = bm_slab_attribute(SIZE, "slabs");
	kmem_cache_shrink(hog.peer.slab[0]);
	shrunk = bm_slab_attribute(SIZE, "slabs");
	if (slabs < 0 || shrunk < 0)
		return -EIO;
	pym_heap_shrink(hog.mine.heap);
	tell_share(BM_PYM_CACHE, hog.mine_before, hog.mine_at_oom, bm_held(&hog.mine));
	tell_share(BM_KMEM_CACHE, hog.peer_before * hog.peer_slab, slabs * hog.peer_slab,
		   shrunk * hog.peer_slab);
	hog_drop();
	return 0;
}

const struct bm_step bm_small_steps[] = {
	{ "idle", idle },
	{ "hog-begin", hog_begin },
	{ "hog-end", hog_end },
	{}
};

void bm_small_exit(void)
{
	hog_drop();
}
