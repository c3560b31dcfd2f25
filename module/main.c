// SPDX-License-Identifier: GPL-2.0-only
/* Loading and unloading. */
#include <linux/module.h>
#include "internal.h"
#include "kmemleak.h"

static int __init pym_init(void)
{
	int err;

	BUILD_BUG_ON(BITS_PER_LONG != 64);
	pym_kmemleak_init();
	pym_provider_init();
	pym_large_init();
	pym_free_init();
	pym_debugfs_init();
	pym_observer = &pym_debugfs_observer;
	err = pym_rcu_init();
	if (err)
		goto no_rcu;
	pym_malloc_init();
	err = pym_heap_init();
	if (err)
		goto no_heap;
	err = pym_front_init(pym_heap_drain_cpu);
	if (err)
		goto no_front;
	err = pym_shrinker_init();
	if (err)
		goto no_shrinker;
	err = pym_consumer_init();
	if (err)
		goto no_consumer;
	err = pym_guard_init();
	if (err)
		goto no_guard;
	pr_info("version %s loaded\n", PYM_VERSION);
	return 0;
no_guard:
	pym_consumer_exit();
no_consumer:
	pym_shrinker_exit();
no_shrinker:
	pym_front_exit();
no_front:
	pym_heap_exit();
no_heap:
	rcu_barrier();
	pym_rcu_exit();
no_rcu:
	pym_debugfs_exit();
	pym_fail_exit();
	rcu_barrier();
	pym_provider_exit();
	return err;
}

static void __exit pym_exit(void)
{
	size_t live;

	pym_consumer_exit();
	pym_shrinker_exit();
	pym_front_exit();
	live = pym_heap_exit();
	pym_slab_exit();
	pym_dead_exit();
	pym_guard_exit();
	pym_large_exit();
	pym_debugfs_exit();
	pym_fail_exit();
	/* Descriptors and batches are freed by our callbacks. */
	rcu_barrier();
	pym_rcu_exit();
	pym_provider_exit();
	pr_info("unloaded: consumers left %zu B; %ld bytes held\n", live,
		pym_provider_outstanding());
}

module_init(pym_init);
module_exit(pym_exit);

MODULE_AUTHOR("The pymalloc authors");
MODULE_DESCRIPTION("CPython's pool/arena allocator for the Linux kernel");
MODULE_LICENSE("GPL");
MODULE_VERSION(PYM_VERSION);
