// SPDX-License-Identifier: GPL-2.0-only
/*
 * Heaps and expectations that the suites share.
 */
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/random.h>
#include <linux/sched.h>
#include <linux/topology.h>
#include <linux/workqueue.h>
#include <linux/umh.h>
#include "fixture.h"

static ulong seed;
module_param(seed, ulong, 0444);
MODULE_PARM_DESC(seed, "first state of the random suites, to repeat a run (default: random)");

/* What a case starts with; test->priv. */
struct fixture {
	struct list_head heaps;
	unsigned long misuse[PYM_NR_MISUSE];	/* reports asked for, and earlier ones */
	unsigned long default_live;
	unsigned int decay_ms;
};

/* --------------------------------------------------------------- heaps -- */

struct pymt_heap *pymt_open(struct kunit *test, enum pymt_kind kind,
			    const struct pym_heap_args *args)
{
	static atomic_t serial = ATOMIC_INIT(0);
	struct fixture *fixture = test->priv;
	struct pym_heap_args a = { };
	struct pymt_heap *th = kunit_kzalloc(test, sizeof(*th), GFP_KERNEL);
	char name[PYM_NAME_MAX];

	KUNIT_ASSERT_NOT_NULL(test, th);
	if (args)
		a = *args;
	if (!(kind & PYMT_FRONTS))
		a.flags |= PYM_HEAP_NO_FRONTS;
	if (kind & PYMT_RANDOM)
		a.flags |= PYM_HEAP_RANDOM;
	if (kind & PYMT_ISOLATE)
		a.flags |= PYM_HEAP_ISOLATE;
	switch ((unsigned int)kind & PYMT_KIND) {
	case PYMT_SPLIT:
		th->provider = pymt_provider_new(test, PYM_PROVIDER_ATOMIC | PYM_PROVIDER_SPLIT,
						 false);
		break;
	case PYMT_CHUNKS:
		th->provider = pymt_provider_new(test, PYM_PROVIDER_ATOMIC | PYM_PROVIDER_SPLIT,
						 true);
		break;
	case PYMT_PLAIN:
		th->provider = pymt_provider_new(test, 0, false);
		break;
	case PYMT_SPLIT_SLEEPING:
		th->provider = pymt_provider_new(test, PYM_PROVIDER_SPLIT, false);
		break;
	case PYMT_ZEROED:
		th->provider = pymt_provider_new(test, PYM_PROVIDER_ATOMIC | PYM_PROVIDER_SPLIT |
						 PYM_PROVIDER_ZEROED, false);
		break;
	case PYMT_PAGES:
		a.provider = &pym_provider_pages;
		break;
	case PYMT_VMALLOC:
		a.provider = &pym_provider_vmalloc;
		break;
	}
	if (th->provider) {
		a.provider = &th->provider->ops;
		a.provider_ctx = th->provider;
	}
	scnprintf(name, sizeof(name), "kunit-%d", atomic_inc_return(&serial));
	th->heap = pym_heap_create(name, &a);
	KUNIT_ASSERT_NOT_NULL_MSG(test, th->heap, "pym_heap_create(\"%s\")", name);
	if (th->provider)
		th->provider->heap = th->heap;
	list_add_tail(&th->node, &fixture->heaps);
	return th;
}

struct pymt_heap *pymt_open_rcu(struct kunit *test, enum pymt_kind kind)
{
	struct pymt_heap *th = pymt_open(test, kind, NULL);

	if (th->provider && th->provider->ops.flags & PYM_PROVIDER_ATOMIC)
		th->provider->atomic = true;
	return th;
}

/* The breakages that one verify found; printed when no lock can be held. */
struct breakage {
	unsigned int n;
	char text[4][96];
};

static void note_breakage(void *ctx, const char *invariant, const char *where)
{
	struct breakage *b = ctx;

	if (b->n < ARRAY_SIZE(b->text))
		scnprintf(b->text[b->n], sizeof(b->text[0]), "%s at %s", invariant, where);
	b->n++;
}

static void check_invariants(struct kunit *test, struct pym_heap *heap)
{
	struct breakage *b = kzalloc(sizeof(*b), GFP_KERNEL | __GFP_NOFAIL);
	unsigned int i, n;

	if (heap) {
		mutex_lock(&pym_registry);
		n = pym_heap_verify(heap, note_breakage, b);
		mutex_unlock(&pym_registry);
	} else {
		n = pym_verify_all(note_breakage, b);
	}
	for (i = 0; i < min_t(unsigned int, b->n, ARRAY_SIZE(b->text)); i++)
		KUNIT_FAIL(test, "broken invariant: %s", b->text[i]);
	KUNIT_EXPECT_EQ_MSG(test, n, 0, "broken invariants found by verify");
	KUNIT_EXPECT_EQ_MSG(test, n, b->n, "verify must name each breakage once");
	kfree(b);
}

/* The heap's statistics; they must sum up. */
void pymt_stats(struct kunit *test, struct pym_heap *heap, struct pym_heap_stats *stats)
{
	size_t sum;

	pym_heap_stats(heap, stats);
	sum = stats->in_blocks + stats->rounding + stats->free_blocks + stats->virgin +
	      stats->empty_pools + stats->metadata + stats->pass_through + stats->in_flight;
	KUNIT_EXPECT_EQ_MSG(test, sum, stats->held, "the parts must sum up to what is held");
	KUNIT_EXPECT_LE_MSG(test, stats->held, stats->high, "high water mark");
	if (stats->limit)
		KUNIT_EXPECT_LE_MSG(test, stats->held, stats->limit, "the limit is hard");
}

/* Everything that must hold between two operations of a heap. */
void pymt_check(struct kunit *test, struct pymt_heap *th)
{
	struct pym_heap_stats stats;
	bool balanced;

	check_invariants(test, th->heap);
	mutex_lock(&pym_registry);
	balanced = pym_heap_ledger(th->heap, &stats);
	mutex_unlock(&pym_registry);
	KUNIT_EXPECT_TRUE_MSG(test, balanced, "the ledger must balance");
	pymt_stats(test, th->heap, &stats);
	if (!th->provider)
		return;
	KUNIT_EXPECT_EQ_MSG(test, th->provider->breaches, 0, "contract of the provider broken");
	flush_work(&th->heap->reap_work);
	pymt_stats(test, th->heap, &stats);
	KUNIT_EXPECT_EQ_MSG(test, stats.held,
			    pymt_bytes(th) + stats.metadata + stats.pass_through +
			    th->heap->acct.guards,
			    "held must be the provider's bytes, metadata, pass-through and guards");
	KUNIT_EXPECT_EQ_MSG(test, stats.in_flight, 0, "nothing is under way");
}

/* Destroy a heap without a look at it before: ticks may be at it. */
void pymt_destroy(struct kunit *test, struct pymt_heap *th)
{
	list_del(&th->node);
	pym_heap_destroy(th->heap);
	if (!th->provider)
		return;
	KUNIT_EXPECT_EQ_MSG(test, pymt_bytes(th), 0, "bytes leaked to the provider's cost");
	KUNIT_EXPECT_EQ_MSG(test, th->provider->breaches, 0, "contract of the provider broken");
}

void pymt_close(struct kunit *test, struct pymt_heap *th)
{
	pymt_check(test, th);
	pymt_destroy(test, th);
}

struct pymt_heap *pymt_heap(struct kunit *test)
{
	struct fixture *fixture = test->priv;

	return list_first_entry(&fixture->heaps, struct pymt_heap, node);
}

int pymt_init_bare(struct kunit *test)
{
	struct fixture *fixture = kunit_kzalloc(test, sizeof(*fixture), GFP_KERNEL);
	struct pym_heap_stats stats;
	int kind;

	if (!fixture)
		return -ENOMEM;
	INIT_LIST_HEAD(&fixture->heaps);
	for (kind = 0; kind < PYM_NR_MISUSE; kind++)
		fixture->misuse[kind] = pym_misuse_count(kind);
	pym_heap_stats(NULL, &stats);
	fixture->default_live = stats.live;
	/* What is freed twice here is the business of our own checks; see kasan_kunit.c. */
	pym_kasan_tell_double_free(false);
	/* Nothing goes by itself, but where a case is about that. */
	fixture->decay_ms = pym_decay_ms;
	WRITE_ONCE(pym_decay_ms, 0);
	test->priv = fixture;
	/*
	 * On one node a case knows which arena, pool and block comes next. Cases that
	 * want another move themselves.
	 */
	return set_cpus_allowed_ptr(current, cpumask_of_node(numa_node_id()));
}

/* Without a heap, and with ticks as the case calls for them. */
int pymt_init_by_hand(struct kunit *test)
{
	int ret = pymt_init_bare(test);

	WRITE_ONCE(pym_decay_ms, PYMT_BY_HAND);
	return ret;
}

int pymt_init(struct kunit *test)
{
	int ret = pymt_init_bare(test);

	if (!ret)
		pymt_open(test, PYMT_SPLIT, NULL);
	return ret;
}

int pymt_init_plain(struct kunit *test)
{
	int ret = pymt_init_bare(test);

	if (!ret)
		pymt_open(test, PYMT_PLAIN, NULL);
	return ret;
}

int pymt_init_fronts(struct kunit *test)
{
	int ret = pymt_init_bare(test);

	if (!ret)
		pymt_open(test, PYMT_PAGES | PYMT_FRONTS, NULL);
	return ret;
}

void pymt_exit(struct kunit *test)
{
	struct fixture *fixture = test->priv;
	struct pymt_heap *th, *next;
	struct pym_heap_stats stats;
	int kind;

	if (!fixture)
		return;
	list_for_each_entry_safe(th, next, &fixture->heaps, node)
		pymt_close(test, th);
	WRITE_ONCE(pym_decay_ms, fixture->decay_ms);
	check_invariants(test, NULL);
	pymt_stats(test, NULL, &stats);
	KUNIT_EXPECT_EQ_MSG(test, stats.live, fixture->default_live,
			    "blocks left in the default heap");
	for (kind = 0; kind < PYM_NR_MISUSE; kind++)
		KUNIT_EXPECT_EQ_MSG(test, pym_misuse_count(kind), fixture->misuse[kind],
				    "reports of %s that no expectation covers",
				    pym_misuse_names[kind]);
}

u64 pymt_seed(struct kunit *test)
{
	u64 start = seed ?: get_random_u32();

	kunit_info(test, "seed %llu; to repeat: insmod pymalloc_kunit.ko seed=%llu\n",
		   start, start);
	return start;
}

/* --------------------------------------------------------------- decay -- */

/* Have the tick that is due, now. False if none is. */
bool pymt_tick(struct pymt_heap *th)
{
	if (!delayed_work_pending(&th->heap->tick))
		return false;
	mod_delayed_work(system_power_efficient_wq, &th->heap->tick, 0);
	/* Not flush_delayed_work(): that would have the next one, too. */
	flush_work(&th->heap->tick.work);
	return true;
}

/* Have ticks until none is due. Returns how many. */
unsigned int pymt_rest(struct kunit *test, struct pymt_heap *th)
{
	unsigned int n = 0;

	/* One that came by itself may be about to arm the next. */
	flush_work(&th->heap->tick.work);
	while (pymt_tick(th)) {
		if (++n > 100) {
			KUNIT_FAIL(test, "a tick is due for ever");
			break;
		}
	}
	return n;
}

/* -------------------------------------------------------- expectations -- */

static void print_breakage(void *ctx, const char *invariant, const char *where)
{
	pr_err("broken invariant: %s at %s\n", invariant, where);
}

/* As pymt_check(), but quick: for every step of a long run. Prints what is wrong. */
bool pymt_is_sound(struct pymt_heap *th)
{
	struct pym_heap_stats stats;
	bool sound;

	mutex_lock(&pym_registry);
	sound = !pym_heap_verify(th->heap, print_breakage, NULL);
	sound &= pym_heap_ledger(th->heap, &stats);
	mutex_unlock(&pym_registry);
	return sound;
}

/* Since the last call, @n misuses of this kind were reported and no others. */
void pymt_expect_misuse(struct kunit *test, enum pym_misuse expected, unsigned long n)
{
	struct fixture *fixture = test->priv;
	int kind;

	for (kind = 0; kind < PYM_NR_MISUSE; kind++) {
		unsigned long now = pym_misuse_count(kind);

		KUNIT_EXPECT_EQ_MSG(test, now - fixture->misuse[kind], kind == expected ? n : 0,
				    "reports of %s, when %lu of %s were due",
				    pym_misuse_names[kind], n, pym_misuse_names[expected]);
		fixture->misuse[kind] = now;
	}
}

/* The case has looked at the counts itself. */
void pymt_forget_misuse(struct kunit *test)
{
	struct fixture *fixture = test->priv;
	int kind;

	for (kind = 0; kind < PYM_NR_MISUSE; kind++)
		fixture->misuse[kind] = pym_misuse_count(kind);
}

/* Nothing was allocated, freed, obtained or given back in between. */
void pymt_expect_same(struct kunit *test, const struct pym_heap_stats *before,
		      const struct pym_heap_stats *after)
{
	KUNIT_EXPECT_EQ(test, before->held, after->held);
	KUNIT_EXPECT_EQ(test, before->in_blocks, after->in_blocks);
	KUNIT_EXPECT_EQ(test, before->rounding, after->rounding);
	KUNIT_EXPECT_EQ(test, before->free_blocks, after->free_blocks);
	KUNIT_EXPECT_EQ(test, before->virgin, after->virgin);
	KUNIT_EXPECT_EQ(test, before->empty_pools, after->empty_pools);
	KUNIT_EXPECT_EQ(test, before->metadata, after->metadata);
	KUNIT_EXPECT_EQ(test, before->pass_through, after->pass_through);
	KUNIT_EXPECT_EQ(test, before->in_flight, after->in_flight);
	KUNIT_EXPECT_EQ(test, before->arenas, after->arenas);
	KUNIT_EXPECT_EQ(test, before->live, after->live);
	KUNIT_EXPECT_EQ(test, before->pass_through_live, after->pass_through_live);
}

/* ---------------------------------------------------------- shorthands -- */

struct pym_cache *pymt_cache(struct kunit *test, struct pym_heap *heap, size_t size)
{
	static atomic_t serial = ATOMIC_INIT(0);
	struct pym_cache_args args = { .heap = heap };
	struct pym_cache *cache;
	char name[PYM_NAME_MAX];

	scnprintf(name, sizeof(name), "kunit-%zu-%d", size, atomic_inc_return(&serial));
	cache = pym_cache_create(name, size, &args);
	KUNIT_ASSERT_NOT_NULL_MSG(test, cache, "pym_cache_create(\"%s\")", name);
	return cache;
}

/* On Linux 7.3 filp_open() finds nothing for a kernel thread. */
bool pymt_shell(struct kunit *test, const char *fmt, ...)
{
	char command[256];
	char *argv[4] = { "/bin/sh", "-c", command, NULL };
	static char *env[2] = { "PATH=/bin:/sbin", NULL };
	va_list args;
	int n, status;

	va_start(args, fmt);
	n = vscnprintf(command, sizeof(command), fmt, args);
	va_end(args);
	KUNIT_ASSERT_LT_MSG(test, n, sizeof(command) - 1, "too long: %s", command);
	status = call_usermodehelper(argv[0], argv, env, UMH_WAIT_PROC);
	KUNIT_ASSERT_GE_MSG(test, status, 0, "no shell for: %s", command);
	return !status;
}

void pymt_echo(struct kunit *test, const char *text, const char *path)
{
	KUNIT_ASSERT_TRUE_MSG(test, pymt_shell(test, "echo %s >%s", text, path), "%s, %s", text,
			      path);
}

struct pym_cache *pymt_warm_cache(struct kunit *test, struct pym_heap *heap, size_t size)
{
	struct pym_cache *cache = pymt_cache(test, heap, size);
	void *blocks[PYMT_WARM];

	pymt_take_many(test, cache, blocks, PYMT_WARM);
	pymt_give_many(cache, blocks, PYMT_WARM);
	KUNIT_ASSERT_TRUE_MSG(test, !!cache->fronts, "after %d allocations", PYMT_WARM);
	return cache;
}

/* The pool stays as long as the heap does, if nothing else shrinks it. */
struct pym_pool *pymt_pool(struct kunit *test, const void *p)
{
	struct pym_pool *pool;

	rcu_read_lock();
	pool = pym_lookup(p);
	rcu_read_unlock();
	KUNIT_ASSERT_NOT_NULL_MSG(test, pool, "a block must lead to its pool");
	return pool;
}

void **pymt_array(struct kunit *test, size_t n)
{
	void **array = kunit_kcalloc(test, n, sizeof(*array), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, array);
	return array;
}

void *pymt_take(struct kunit *test, struct pym_cache *cache)
{
	void *block = pym_cache_alloc(cache, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, block);
	return block;
}

void *pymt_malloc(struct kunit *test, struct pym_heap *heap, size_t n)
{
	void *p = pym_malloc(heap, n, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL_MSG(test, p, "pym_malloc(%zu)", n);
	return p;
}

void pymt_take_many(struct kunit *test, struct pym_cache *cache, void **blocks, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		blocks[i] = pymt_take(test, cache);
}

void pymt_give_many(struct pym_cache *cache, void **blocks, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		pym_cache_free(cache, blocks[i]);
}

/* A cache that has its fronts, as they come with use. Nothing is live. */
struct pym_cache *pymt_warm(struct kunit *test, struct pym_heap *heap, size_t size)
{
	struct pym_cache *cache = pymt_cache(test, heap, size);
	void *blocks[64];

	pymt_take_many(test, cache, blocks, ARRAY_SIZE(blocks));
	pymt_give_many(cache, blocks, ARRAY_SIZE(blocks));
	KUNIT_ASSERT_TRUE(test, !!cache->fronts);
	return cache;
}
