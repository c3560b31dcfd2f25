// SPDX-License-Identifier: GPL-2.0-only
/*
 * What waits for readers: blocks freed with pym_cache_free_rcu(), and the empty
 * pools of caches whose blocks keep their type for them.
 */
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/wait_bit.h>
#include <linux/workqueue.h>
#include "internal.h"
#include "front.h"

/* ------------------------------------------------- blocks, in batches -- */

/* Blocks of any caches that wait for the same grace period. */
struct batch {
	union {
		struct rcu_head rcu;	/* while it waits */
		struct batch *next;	/* while it is in reserve */
	};
	unsigned int n;
	struct {
		struct pym_cache *cache;
		void *block;
	} entry[];
};

#define BATCH_BYTES	1024
#define BATCH_ENTRIES	((BATCH_BYTES - sizeof(struct batch)) / \
			 sizeof_field(struct batch, entry[0]))

/* Batches in reserve; more where interrupts may not allocate and have these alone. */
#define RESERVE		(IS_ENABLED(CONFIG_PREEMPT_RT) ? 8 : 2)

/* How long a batch is open for more, if it does not fill. */
#define OPEN_JIFFIES	max(HZ / 50, 1)

/*
 * The batch that is being filled on a CPU. Under a lock for those who close it from
 * elsewhere; irqs off.
 */
struct filling {
	raw_spinlock_t lock;
	struct batch *open;
	struct batch *reserve;		/* for when no other can be had, by next */
	unsigned int nr_reserve;
	struct work_struct refill;	/* gets more of them */
	struct delayed_work close;
};

static DEFINE_PER_CPU(struct filling, filling);

/* Keep a batch in reserve, unless there are enough. */
static void put_batch(struct filling *f, struct batch *batch)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&f->lock, flags);
	if (f->nr_reserve < RESERVE) {
		batch->next = f->reserve;
		f->reserve = batch;
		f->nr_reserve++;
		batch = NULL;
	}
	raw_spin_unlock_irqrestore(&f->lock, flags);
	kfree(batch);
}

static void refill_work(struct work_struct *work)
{
	struct filling *f = container_of(work, struct filling, refill);
	struct batch *batch;

	while (READ_ONCE(f->nr_reserve) < RESERVE) {
		batch = NULL;
		if (!pym_may_fail(PYM_FAIL_REFILL, NULL))
			batch = kmalloc(BATCH_BYTES, GFP_KERNEL);
		if (!batch)
			return;
		put_batch(f, batch);
	}
}

/* One block fewer is waited for; the cache may be gone once it was the last. */
static void done_waiting(struct pym_cache *cache)
{
	if (atomic_dec_and_test(&cache->waiting))
		wake_up_var(&cache->waiting);
}

static void free_batch(struct rcu_head *rcu)
{
	struct batch *batch = container_of(rcu, struct batch, rcu);
	unsigned int i;

	for (i = 0; i < batch->n; i++) {
		pym_cache_free(batch->entry[i].cache, batch->entry[i].block);
		done_waiting(batch->entry[i].cache);
	}
	put_batch(raw_cpu_ptr(&filling), batch);
}

/* Let the open batch of a CPU wait for its grace period. */
static void close_batch(struct filling *f)
{
	struct batch *batch;
	unsigned long flags;

	raw_spin_lock_irqsave(&f->lock, flags);
	batch = f->open;
	f->open = NULL;
	raw_spin_unlock_irqrestore(&f->lock, flags);
	if (batch)
		call_rcu(&batch->rcu, free_batch);
}

static void close_work(struct work_struct *work)
{
	close_batch(container_of(to_delayed_work(work), struct filling, close));
}

/* Have a batch open on this CPU; irqs are off. False if there is no memory for one. */
static bool open_batch(struct filling *f, struct batch **fresh, const char *heap)
{
	lockdep_assert_held(&f->lock);
	if (f->open)
		return true;
	if (*fresh) {
		f->open = *fresh;
		*fresh = NULL;
	} else if (f->reserve && !pym_may_fail(PYM_FAIL_RESERVE, heap)) {
		f->open = f->reserve;
		f->reserve = f->open->next;
		f->nr_reserve--;
	} else {
		return false;
	}
	f->open->n = 0;
	return true;
}

/* Add a block to the batch of this CPU. Returns 0 or an error. */
static int add_to_batch(struct pym_cache *cache, void *block)
{
	struct batch *fresh = NULL, *full = NULL;
	struct filling *f = raw_cpu_ptr(&filling);
	const char *heap = cache->heap->name;
	unsigned long flags;
	unsigned int n = 0;
	int err = -ENOMEM;

	if (!READ_ONCE(f->open) && pym_may_obtain() && !pym_may_fail(PYM_FAIL_BATCH, heap))
		fresh = kmalloc(BATCH_BYTES, GFP_NOWAIT | __GFP_NOWARN);
	/* We may be on another CPU by now, which does not matter. */
	raw_spin_lock_irqsave(&f->lock, flags);
	if (!open_batch(f, &fresh, heap))
		goto unlock;
	n = f->open->n;
	err = -EEXIST;
	if (n && f->open->entry[n - 1].block == block)
		goto unlock;
	err = 0;
	f->open->entry[n].cache = cache;
	f->open->entry[n].block = block;
	f->open->n = ++n;
	if (n == BATCH_ENTRIES) {
		full = f->open;
		f->open = NULL;
	}
unlock:
	raw_spin_unlock_irqrestore(&f->lock, flags);
	kfree(fresh);
	if (full)
		call_rcu(&full->rcu, free_batch);
	else if (!err && n == 1)
		schedule_delayed_work(&f->close, OPEN_JIFFIES);
	if (unlikely(READ_ONCE(f->nr_reserve) < RESERVE))
		schedule_work(&f->refill);
	return err;
}

/* Is @p the start of a block of the cache? Reports what it is otherwise. */
static bool check_block(struct pym_cache *cache, const void *p, unsigned long ip)
{
	struct pym_pool *pool;
	bool ok;

	if (unlikely(pym_guard_check(cache, p, ip, &ok)))
		return ok;
	rcu_read_lock();
	pool = pym_find_block(cache, p, ip);
	ok = pool && pym_at_slot(pool, cache, p);
	if (pool && !ok)
		pym_report_block(PYM_MISUSE_INTERIOR, "not the start of a block", pool, p, ip);
	rcu_read_unlock();
	return ok;
}

/**
 * pym_cache_free_rcu_from() - pym_cache_free_rcu() on behalf of somebody else
 * @cache: as for pym_cache_free_rcu()
 * @block: as for pym_cache_free_rcu()
 * @ip: caller
 *
 * Context: as pym_cache_free_rcu().
 */
void pym_cache_free_rcu_from(struct pym_cache *cache, void *block, unsigned long ip)
{
	int err;

	if (!block || !pym_cache_ok(cache, "use", ip))
		return;
	if (in_nmi()) {
		pym_report(PYM_MISUSE_NMI, ip, "pym_cache_free_rcu() in NMI; block kept");
		return;
	}
	if (!check_block(cache, block, ip))
		return;
	atomic_inc(&cache->waiting);
	err = add_to_batch(cache, block);
	if (likely(!err))
		return;
	if (err == -EEXIST) {
		pym_report(PYM_MISUSE_DOUBLE_FREE, ip,
			   "block of cache %s waits for a grace period already",
			   cache->name);
	} else if (pym_may_sleep()) {
		synchronize_rcu();
		pym_cache_free(cache, block);
	} else {
		pym_report(PYM_MISUSE_LEAK, ip,
			   "no memory to keep a block of cache %s until readers are done; it is lost until the cache is destroyed",
			   cache->name);
	}
	done_waiting(cache);
}

void pym_cache_free_rcu(struct pym_cache *cache, void *block)
{
	pym_cache_free_rcu_from(cache, block, _RET_IP_);
}
EXPORT_SYMBOL_GPL(pym_cache_free_rcu);

/* ---------------------------------------------------- pools in limbo -- */

/* Pools that go back under one hold of the lock. */
#define LIMBO_BATCH	32

static void limbo_over(struct rcu_head *rcu)
{
	struct pym_cache *cache = container_of(rcu, struct pym_cache, limbo_rcu);
	struct pym_heap *heap = cache->heap;
	unsigned long flags;
	bool reap = false, more = true;
	unsigned int i;

	while (more) {
		raw_spin_lock_irqsave(&cache->lock, flags);
		for (i = 0; i < LIMBO_BATCH && !list_empty(&cache->limbo); i++) {
			struct pym_pool *pool;

			pool = list_first_entry(&cache->limbo, struct pym_pool, list);
			list_del_init(&pool->list);
			cache->nr_pools--;
			cache->carved -= pool->carved;
			cache->events++;
			reap |= pym_pool_put(pool);
		}
		more = !list_empty(&cache->limbo);
		raw_spin_unlock_irqrestore(&cache->lock, flags);
	}
	if (reap)
		pym_heap_reap(heap);

	/* What came meanwhile has a grace period of its own. */
	raw_spin_lock_irqsave(&cache->lock, flags);
	list_splice_init(&cache->limbo_next, &cache->limbo);
	more = !list_empty(&cache->limbo);
	cache->limbo_busy = more;
	raw_spin_unlock_irqrestore(&cache->lock, flags);
	if (more)
		call_rcu(&cache->limbo_rcu, limbo_over);
	else
		done_waiting(cache);
}

/**
 * pym_limbo_add() - keep an empty pool until readers are done with its blocks
 * @cache: its owner still
 * @pool: on no list
 *
 * Context: cache->lock.
 */
void pym_limbo_add(struct pym_cache *cache, struct pym_pool *pool)
{
	lockdep_assert_held(&cache->lock);
	pool->state = PYM_POOL_LIMBO;
	if (cache->limbo_busy) {
		list_add_tail(&pool->list, &cache->limbo_next);
		return;
	}
	/* The callback counts as one that is waited for. */
	list_add_tail(&pool->list, &cache->limbo);
	cache->limbo_busy = true;
	atomic_inc(&cache->waiting);
	call_rcu(&cache->limbo_rcu, limbo_over);
}

/**
 * pym_limbo_take() - take a pool back that waits to leave
 * @cache: its owner
 * @nid: of this node
 *
 * Context: cache->lock.
 * Return: the pool, on no list, or NULL.
 */
struct pym_pool *pym_limbo_take(struct pym_cache *cache, int nid)
{
	struct list_head *lists[] = { &cache->limbo_next, &cache->limbo };
	struct pym_pool *pool;
	unsigned int i;

	lockdep_assert_held(&cache->lock);
	if (!cache->typesafe)
		return NULL;
	for (i = 0; i < ARRAY_SIZE(lists); i++) {
		pool = list_first_entry_or_null(lists[i], struct pym_pool, list);
		if (pool && pool->arena->nid == nid) {
			list_del_init(&pool->list);
			pool->state = PYM_POOL_USED;
			return pool;
		}
	}
	return NULL;
}

/**
 * pym_rcu_init_cache() - make a cache one that nothing waits for
 * @cache: the cache
 *
 * Context: As for cache->lock.
 */
void pym_rcu_init_cache(struct pym_cache *cache)
{
	INIT_LIST_HEAD(&cache->limbo);
	INIT_LIST_HEAD(&cache->limbo_next);
}

/**
 * pym_rcu_sync() - wait until nothing of a cache waits for readers
 * @cache: a cache that nobody uses
 *
 * For its own callbacks only, not for those of everybody.
 *
 * Context: Task context, may sleep.
 */
void pym_rcu_sync(struct pym_cache *cache)
{
	int cpu;

	if (atomic_read(&cache->waiting))
		for_each_possible_cpu(cpu)
			close_batch(per_cpu_ptr(&filling, cpu));
	wait_var_event(&cache->waiting, !atomic_read(&cache->waiting));
}
EXPORT_SYMBOL_IF_KUNIT(pym_rcu_sync);

/* ------------------------------------------------------ module lifetime -- */

int pym_rcu_init(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct filling *f = per_cpu_ptr(&filling, cpu);

		raw_spin_lock_init(&f->lock);
		INIT_DELAYED_WORK(&f->close, close_work);
		INIT_WORK(&f->refill, refill_work);
		refill_work(&f->refill);
		if (f->nr_reserve < RESERVE) {
			pym_rcu_exit();
			return -ENOMEM;
		}
	}
	return 0;
}

void pym_rcu_exit(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct filling *f = per_cpu_ptr(&filling, cpu);

		if (f->close.work.func) {
			cancel_delayed_work_sync(&f->close);
			cancel_work_sync(&f->refill);
		}
		kfree(f->open);
		while (f->reserve) {
			struct batch *batch = f->reserve;

			f->reserve = batch->next;
			kfree(batch);
		}
	}
}
