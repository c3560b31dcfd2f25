// SPDX-License-Identifier: GPL-2.0-only
/*
 * Readers of blocks, and what cases about them share.
 */
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include "reader.h"
#include "within.h"

static void look(struct pymt_reader *r)
{
	struct pym_pool *pool;
	unsigned int i;

	r->looks++;
	for (i = 0; i < PYMT_MARKED / sizeof(u64); i++)
		r->damaged += READ_ONCE(r->block[i]) != PYMT_MARK;
	if (r->owner) {
		pool = pym_lookup(r->block);
		r->strange += !pool || (READ_ONCE(pool->owner) && pool->owner != r->owner);
	}
}

static int reader(void *arg)
{
	struct pymt_reader *r = arg;
	ktime_t end = ktime_add_ms(ktime_get(), r->ms);

	rcu_read_lock();
	WRITE_ONCE(r->inside, true);
	while (!READ_ONCE(r->leave) && ktime_before(ktime_get(), end)) {
		look(r);
		cpu_relax();
	}
	if (r->th && r->th->provider)
		r->frees = atomic_read(&r->th->provider->frees);
	WRITE_ONCE(r->inside, false);
	WRITE_ONCE(r->gone, true);
	rcu_read_unlock();
	while (!kthread_should_stop())
		schedule_timeout_interruptible(1);
	return 0;
}

/* A reader on another CPU, if there is one, in its section when we return. */
struct pymt_reader *pymt_read_elsewhere(struct kunit *test, struct pymt_heap *th,
					const u64 *block, struct pym_cache *owner,
					unsigned int ms)
{
	struct pymt_reader *r = kunit_kzalloc(test, sizeof(*r), GFP_KERNEL);
	int cpu;

	KUNIT_ASSERT_NOT_NULL(test, r);
	pymt_stay_here(test);
	r->th = th;
	r->block = block;
	r->owner = owner;
	r->ms = ms;
	cpu = cpumask_any_but(cpu_online_mask, raw_smp_processor_id());
	r->task = kthread_create(reader, r, "pymalloc-kunit");
	KUNIT_ASSERT_FALSE(test, IS_ERR(r->task));
	if (cpu < nr_cpu_ids)
		kthread_bind(r->task, cpu);
	wake_up_process(r->task);
	while (!READ_ONCE(r->inside) && !READ_ONCE(r->gone))
		schedule_timeout_interruptible(1);
	return r;
}

void pymt_end_reader(struct kunit *test, struct pymt_reader *r)
{
	WRITE_ONCE(r->leave, true);
	kthread_stop(r->task);
	KUNIT_EXPECT_GT(test, r->looks, 0);
	KUNIT_EXPECT_EQ_MSG(test, r->damaged, 0, "words that changed under the reader");
	KUNIT_EXPECT_EQ_MSG(test, r->strange, 0, "looks at a page that was another's");
}

void pymt_mark(void *block)
{
	memset64(block, PYMT_MARK, PYMT_MARKED / sizeof(u64));
}

bool pymt_is_marked(const u64 *block)
{
	unsigned int i;

	for (i = 0; i < PYMT_MARKED / sizeof(u64); i++)
		if (block[i] != PYMT_MARK)
			return false;
	return true;
}

/* Allocate @n and free them again: none of it may be @block. Returns whether one was. */
bool pymt_is_handed_out(struct pym_cache *cache, void *block, void **blocks, unsigned int n,
			gfp_t gfp)
{
	unsigned int i, got = 0;
	bool found = false;

	for (i = 0; i < n; i++) {
		blocks[got] = pym_cache_alloc(cache, gfp | __GFP_NOWARN);
		if (!blocks[got])
			continue;
		found |= blocks[got] == block;
		memset(blocks[got++], 0x11, PYMT_MARKED);
	}
	for (i = 0; i < got; i++)
		pym_cache_free(cache, blocks[i]);
	return found;
}

/* Every callback that was pending has been; what they freed is free. */
void pymt_settle(struct kunit *test, struct pym_cache *cache, unsigned long live)
{
	struct pym_cache_stats stats;
	unsigned int ms;

	for (ms = 0; ms < 20000 && atomic_read(&cache->waiting); ms += 5)
		usleep_range(5000, 5100);
	pym_cache_stats(cache, &stats);
	KUNIT_EXPECT_EQ_MSG(test, stats.live, live, "live after a grace period");
}

const enum pymt_kind pymt_reader_kinds[PYMT_NR_READER_KINDS] = {
	PYMT_PAGES | PYMT_FRONTS, PYMT_VMALLOC | PYMT_FRONTS, PYMT_SPLIT | PYMT_FRONTS,
	PYMT_PAGES, PYMT_PLAIN,
};

void pymt_reader_kind_desc(const enum pymt_kind *kind, char *desc)
{
	static const char * const names[] = {
		[PYMT_SPLIT] = "split", [PYMT_PLAIN] = "plain",
		[PYMT_PAGES] = "pages", [PYMT_VMALLOC] = "vmalloc",
	};

	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s%s", names[*kind & PYMT_KIND],
		 *kind & PYMT_FRONTS ? "-fronts" : "");
}
