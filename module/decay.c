// SPDX-License-Identifier: GPL-2.0-only
/*
 * Decay: what has been free for a while is given back, so that a heap holds what was
 * needed lately. A tick looks at what a heap has; there is one as long as it has
 * anything to give.
 *
 * Free pools: those that were free all the time since the last tick (order->low) were
 * not needed, and go, but for pym_kept_pools(). Fronts and depots: see depot.c.
 */
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/workqueue.h>
#include "internal.h"

unsigned int pym_decay_ms = 500;
EXPORT_SYMBOL_IF_KUNIT(pym_decay_ms);

static int set_decay_ms(const char *val, const struct kernel_param *kp);
static const struct kernel_param_ops decay_ms_ops = {
	.set = set_decay_ms,
	.get = param_get_uint,
};
module_param_cb(decay_ms, &decay_ms_ops, &pym_decay_ms, 0644);
MODULE_PARM_DESC(decay_ms, "ms between two looks at what a heap does not use; 0: only whole arenas go by themselves (default 500)");

/**
 * pym_decay_arm() - have a tick, unless one is due already
 * @heap: the heap, which has something that it might give back
 *
 * A tick that is due sees what the caller has done before.
 *
 * Context: Any but NMI, no lock of ours held.
 */
void pym_decay_arm(struct pym_heap *heap)
{
	unsigned int ms = READ_ONCE(pym_decay_ms);

	if (ms)
		queue_delayed_work(system_power_efficient_wq, &heap->tick,
				   msecs_to_jiffies(ms));
}

static bool tick_cache(struct pym_cache *cache)
{
	pym_shadow_sweep(cache);
	return pym_front_decay(cache);
}

static bool tick_caches(struct pym_heap *heap)
{
	struct pym_cache *cache;
	bool more = false;
	unsigned int i;

	lockdep_assert_held(&pym_registry);
	for (i = 0; i < PYM_NR_CLASSES; i++) {
		cache = READ_ONCE(heap->class[i]);
		if (cache)
			more |= tick_cache(cache);
	}
	list_for_each_entry(cache, &heap->caches, node)
		more |= tick_cache(cache);
	return more;
}

static bool tick_order(struct pym_heap *heap, struct pym_order *order, unsigned int keep)
{
	unsigned long flags, low, virgin;
	bool more;

	raw_spin_lock_irqsave(&heap->lock, flags);
	low = keep ? order->low : order->free;
	virgin = order->virgin;
	raw_spin_unlock_irqrestore(&heap->lock, flags);
	low -= min_t(unsigned long, low, keep);
	if (low)
		pym_heap_give_back(heap, order, low, true);

	raw_spin_lock_irqsave(&heap->lock, flags);
	/* Those need not have been kept; virgin ones are not. */
	order->keep -= min(order->keep, low - min(low, virgin));
	order->gone /= 2;
	order->low = order->free;
	more = order->free > keep && pym_heap_can_give(heap, order, order->free - keep);
	raw_spin_unlock_irqrestore(&heap->lock, flags);
	return more;
}

/* Free pools of heap->order[@i] that stay. Of a cache that is gone, none do. */
static unsigned int kept_of(const struct pym_heap *heap, unsigned int i)
{
	unsigned int partition = i / (pym_nr_nodes() * PYM_NR_ORDERS);

	if (partition >= PYM_NR_CLASSES && !test_bit(partition, heap->partitions))
		return 0;
	return pym_kept_pools(i % PYM_NR_ORDERS);
}

static void tick(struct work_struct *work)
{
	struct pym_heap *heap = container_of(to_delayed_work(work), struct pym_heap, tick);
	struct pym_order *order;
	bool more = false, pressed;
	unsigned int i;

	/* Due since before that was set, and nobody but us wants it. */
	if (!READ_ONCE(pym_decay_ms) && !READ_ONCE(heap->pressed))
		return;
	mutex_lock(&pym_registry);
	if (!heap->dying)
		more = tick_caches(heap);
	mutex_unlock(&pym_registry);

	mutex_lock(&heap->reclaim);
	if (!heap->dying) {
		pressed = xchg(&heap->pressed, false);
		for (i = 0; i < pym_nr_orders(heap->flags); i++) {
			order = READ_ONCE(heap->order[i]);
			if (order)
				more |= tick_order(heap, order, pressed ? 0 : kept_of(heap, i));
		}
		pym_heap_reap_now(heap);
		if (more)
			pym_decay_arm(heap);
	}
	mutex_unlock(&heap->reclaim);
}

/*
 * From 0 to something nobody else would begin; and what is due after the time that was
 * set before need not be waited for.
 */
static int set_decay_ms(const char *val, const struct kernel_param *kp)
{
	struct pym_heap *heap;
	int err = param_set_uint(val, kp);
	unsigned int ms = READ_ONCE(pym_decay_ms);

	if (err || !ms)
		return err;
	mutex_lock(&pym_registry);
	list_for_each_entry(heap, &pym_heaps, node)
		mod_delayed_work(system_power_efficient_wq, &heap->tick, msecs_to_jiffies(ms));
	mutex_unlock(&pym_registry);
	return 0;
}

void pym_decay_init_heap(struct pym_heap *heap)
{
	mutex_init(&heap->reclaim);
	INIT_DELAYED_WORK(&heap->tick, tick);
}

/**
 * pym_decay_exit_heap() - have no tick any more
 * @heap: dying
 *
 * Context: Task context, may sleep, no lock of ours held.
 */
void pym_decay_exit_heap(struct pym_heap *heap)
{
	cancel_delayed_work_sync(&heap->tick);
}
