/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Caches with fronts in heaps that decay, and what they are like at rest.
 */
#ifndef _PYMALLOC_KUNIT_DECAY_H
#define _PYMALLOC_KUNIT_DECAY_H

#include <linux/cpumask.h>
#include <linux/smp.h>
#include "fixture.h"

/* Ticks after which everything has gone that nobody touched meanwhile. */
#define PYMT_TICKS	5

/* The heaps that cases of decay are run on. */
#define PYMT_NR_DECAY_KINDS	3
extern const enum pymt_kind pymt_decay_kinds[PYMT_NR_DECAY_KINDS];
void pymt_decay_kind_desc(const enum pymt_kind *kind, char *desc);

/* What is done on another CPU; of the type that work_on_cpu() wants. */
struct pymt_errand {
	struct pym_cache *cache;
	void **blocks;
	unsigned int n;
};

long pymt_take_there(void *errand);
long pymt_give_there(void *errand);
void pymt_use_there(struct kunit *test, struct pym_cache *cache, int cpu);

void pymt_expect_closed(struct kunit *test, struct pym_cache *cache);
void pymt_expect_at_rest(struct kunit *test, struct pymt_heap *th, struct pym_cache *cache);

static inline struct pym_front *pymt_front_of(struct pym_cache *cache, int cpu)
{
	return per_cpu_ptr(cache->fronts, cpu);
}

/* Another CPU than this one, or this one if there is no other. */
static inline int pymt_other_cpu(void)
{
	int cpu = cpumask_any_but(cpu_online_mask, raw_smp_processor_id());

	return cpu < nr_cpu_ids ? cpu : raw_smp_processor_id();
}

#endif /* _PYMALLOC_KUNIT_DECAY_H */
