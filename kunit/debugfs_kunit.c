// SPDX-License-Identifier: GPL-2.0-only
/*
 * What debugfs shows and takes, with a shell, as an operator has it: numbers are those
 * that the API gives, rows are of what the case has made, and what is written takes
 * effect, or is refused and changes nothing.
 */
#include <linux/string.h>
#include "debug.h"

#define DIR		"/sys/kernel/debug/pymalloc"

/* Is there a line in a file that this expression of grep is all of? */
#define HAS_LINE(test, path, fmt, ...) \
	pymt_shell(test, "grep -qx '" fmt "' " DIR "/%s", ##__VA_ARGS__, path)

#define EXPECT_LINE(test, path, fmt, ...) \
	KUNIT_EXPECT_TRUE_MSG(test, HAS_LINE(test, path, fmt, ##__VA_ARGS__), \
			      "no line '" fmt "' in %s", ##__VA_ARGS__, path)

/* Blocks of 512 bytes: eight to a pool. */
#define SIZE		512
#define PER_POOL	8

/* A full pool, one that is half full, one of a class, and a block that passes through. */
struct scene {
	struct pym_heap *heap;
	struct pym_cache *cache;
	void *blocks[PER_POOL + PER_POOL / 2];
	void *small, *large;
	char heap_dir[40], cache_dir[80];
};

static struct scene *set_scene(struct kunit *test)
{
	struct scene *s = kunit_kzalloc(test, sizeof(*s), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, s);
	s->heap = pymt_heap(test)->heap;
	s->cache = pymt_cache(test, s->heap, SIZE);
	pymt_take_many(test, s->cache, s->blocks, ARRAY_SIZE(s->blocks));
	s->small = pymt_malloc(test, s->heap, 60);
	s->large = pymt_malloc(test, s->heap, 5000);
	scnprintf(s->heap_dir, sizeof(s->heap_dir), "heap/%s", s->heap->name);
	scnprintf(s->cache_dir, sizeof(s->cache_dir), "cache/%s:%s", s->heap->name,
		  s->cache->name);
	return s;
}

/* A file in the directory of the heap or the cache. */
static const char *in_dir(struct kunit *test, const char *dir, const char *file)
{
	char *path = kunit_kzalloc(test, 128, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, path);
	scnprintf(path, 128, "%s/%s", dir, file);
	return path;
}

static bool echo(struct kunit *test, const char *text, const char *path)
{
	return pymt_shell(test, "echo %s 2>/dev/null >" DIR "/%s", text, path);
}

static void expect_value(struct kunit *test, const char *path, const char *name, u64 value)
{
	EXPECT_LINE(test, path, "%s  *%llu", name, value);
}

/* --------------------------------------------------------------- all heaps ---- */

static void totals(struct kunit *test)
{
	struct scene *s = set_scene(test);
	struct pym_heap_stats all = {}, stats;
	unsigned int heaps = 0, caches = 0;
	struct pym_cache *cache;
	struct pym_heap *heap;

	mutex_lock(&pym_registry);
	list_for_each_entry(heap, &pym_heaps, node) {
		pym_heap_ledger(heap, &stats);
		all.held += stats.held;
		all.live += stats.live;
		all.pass_through_live += stats.pass_through_live;
		heaps++;
		list_for_each_entry(cache, &heap->caches, node)
			caches++;
	}
	mutex_unlock(&pym_registry);
	expect_value(test, "stats", "held", all.held);
	expect_value(test, "stats", "live", all.live);
	expect_value(test, "stats", "pass_through_live", all.pass_through_live);
	expect_value(test, "stats", "heaps", heaps);
	expect_value(test, "stats", "caches", caches);
	pym_cache_free(s->cache, s->cache);
	expect_value(test, "stats", "foreign-free", pym_misuse_count(PYM_MISUSE_FOREIGN));
	pymt_expect_misuse(test, PYM_MISUSE_FOREIGN, 1);
}

static void construct(void *block)
{
}

static void rows(struct kunit *test)
{
	struct scene *s = set_scene(test);
	struct pym_cache_args args = { .heap = s->heap, .ctor = construct };
	struct pym_heap_stats stats;

	pym_heap_stats(s->heap, &stats);
	EXPECT_LINE(test, "heaps", "%s  *%s  *0  *%zu .* pool", s->heap->name,
		    s->heap->provider->name, stats.held);
	EXPECT_LINE(test, "caches", "%s  *%s  *512  *512  *8  *8  *4096  *12  *12  *0  *0  *4 .* -",
		    s->heap->name, s->cache->name);
	/* One pool of the class, of which one block in 64 is live. */
	EXPECT_LINE(test, "classes",
		    "%s  *64  *64  *4096  *1  *0  *1  *0  *0  *63  *1  *0  *0  *1  *0 .*",
		    s->heap->name);
	EXPECT_LINE(test, "classes", "%s  *total  *0  *0  *1  *0  *1  *0  *0  *63 .*",
		    s->heap->name);
	KUNIT_ASSERT_NOT_NULL(test, pym_cache_create("constructed", 40, &args));
	EXPECT_LINE(test, "caches", "%s  *constructed .* ctor", s->heap->name);
}

/* One arena of 16 pools: full, half full, of a class, used before, and the rest. */
static void every_pool(struct kunit *test)
{
	struct scene *s = set_scene(test);
	void *other = pymt_malloc(test, s->heap, 200);

	pym_free(other);
	EXPECT_LINE(test, "arenas", "%s  *0  *4096  *16  *0  *12  *1  *2  *1  *13",
		    s->heap->name);
	EXPECT_LINE(test, "map", "%s  *0  *4096 [*]#[*]570--[.]\\{24\\}", s->heap->name);
	EXPECT_LINE(test, "pools", "%s  *0 %s  *512  *4096  *8  *2  *12 8,4", s->heap->name,
		    s->cache->name);
	EXPECT_LINE(test, "pools", "%s  *0 -  *64  *4096  *64  *1  *1 1", s->heap->name);
	/* What is not in use goes, and leaves holes. */
	KUNIT_ASSERT_TRUE(test, echo(test, "1", in_dir(test, s->heap_dir, "shrink")));
	EXPECT_LINE(test, "map", "%s  *0  *4096 [*]#[*]570~\\{26\\}", s->heap->name);
	EXPECT_LINE(test, "arenas", "%s  *0  *4096  *16  *13  *0  *0  *2  *1  *13",
		    s->heap->name);
}

static void returned_as_arenas(struct kunit *test)
{
	EXPECT_LINE(test, "heaps", "%s .* arena", pymt_open(test, PYMT_PLAIN, NULL)->heap->name);
	EXPECT_LINE(test, "heaps", "%s .* arena",
		    pymt_open(test, PYMT_PAGES | PYMT_ISOLATE, NULL)->heap->name);
}

static void broken_invariants(struct kunit *test)
{
	struct scene *s = set_scene(test);

	EXPECT_LINE(test, "verify", "ok");
	/* As if one had been forgotten. */
	WRITE_ONCE(s->heap->limit, 4096);
	EXPECT_LINE(test, "verify", "broken limit: heap %s: .*", s->heap->name);
	KUNIT_EXPECT_FALSE(test, HAS_LINE(test, "verify", "ok"));
	WRITE_ONCE(s->heap->limit, 0);
	EXPECT_LINE(test, "verify", "ok");
}

/* -------------------------------------------------------- a heap, a cache ---- */

static void stats_of_a_heap(struct kunit *test)
{
	struct scene *s = set_scene(test);
	const char *path = in_dir(test, s->heap_dir, "stats");
	struct pym_heap_stats stats;

	pym_heap_stats(s->heap, &stats);
	expect_value(test, path, "in_blocks", stats.in_blocks);
	expect_value(test, path, "rounding", stats.rounding);
	expect_value(test, path, "free_blocks", stats.free_blocks);
	expect_value(test, path, "virgin", stats.virgin);
	expect_value(test, path, "empty_pools", stats.empty_pools);
	expect_value(test, path, "metadata", stats.metadata);
	expect_value(test, path, "pass_through", stats.pass_through);
	expect_value(test, path, "in_flight", 0);
	expect_value(test, path, "held", stats.held);
	expect_value(test, path, "high", stats.high);
	expect_value(test, path, "arenas", 1);
	expect_value(test, path, "live", PER_POOL + PER_POOL / 2 + 2);
	expect_value(test, path, "pass_through_live", 1);
	expect_value(test, path, "small_max", PYM_SMALL_MAX);
}

static void stats_of_a_cache(struct kunit *test)
{
	struct scene *s = set_scene(test);
	const char *path = in_dir(test, s->cache_dir, "stats");

	pym_cache_free(s->cache, s->blocks[0]);
	expect_value(test, path, "size", SIZE);
	expect_value(test, path, "stride", SIZE);
	expect_value(test, path, "align", 8);
	expect_value(test, path, "pool_size", PAGE_SIZE);
	expect_value(test, path, "capacity", PER_POOL);
	expect_value(test, path, "live", 11);
	expect_value(test, path, "high", 12);
	expect_value(test, path, "cached", 0);
	expect_value(test, path, "free", 1);
	expect_value(test, path, "virgin", 4);
	expect_value(test, path, "pools", 2);
	expect_value(test, path, "full", 0);
	expect_value(test, path, "allocs", 12);
	expect_value(test, path, "frees", 1);
	expect_value(test, path, "failures", 0);
}

static void limit(struct kunit *test)
{
	struct scene *s = set_scene(test);
	const char *path = in_dir(test, s->heap_dir, "limit");

	EXPECT_LINE(test, path, "0");
	KUNIT_ASSERT_TRUE(test, echo(test, "1048576", path));
	KUNIT_EXPECT_EQ(test, s->heap->limit, SZ_1M);
	EXPECT_LINE(test, path, "1048576");
	expect_value(test, in_dir(test, s->heap_dir, "stats"), "limit", SZ_1M);
	KUNIT_EXPECT_FALSE_MSG(test, echo(test, "4096", path), "more is held");
	KUNIT_EXPECT_FALSE(test, echo(test, "much", path));
	KUNIT_EXPECT_EQ(test, s->heap->limit, SZ_1M);
	KUNIT_EXPECT_TRUE(test, echo(test, "0", path));
	KUNIT_EXPECT_EQ(test, s->heap->limit, 0);
}

static void shrink(struct kunit *test)
{
	struct scene *s = set_scene(test);
	const char *of_heap = in_dir(test, s->heap_dir, "shrink");
	const char *of_cache = in_dir(test, s->cache_dir, "shrink");
	long held = pymt_bytes(pymt_heap(test));

	EXPECT_LINE(test, of_heap, "0");
	KUNIT_ASSERT_TRUE(test, echo(test, "1", of_heap));
	KUNIT_EXPECT_EQ(test, held, 16 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, pymt_bytes(pymt_heap(test)), 3 * PAGE_SIZE);
	EXPECT_LINE(test, of_heap, "%lu", 13 * PAGE_SIZE);
	pymt_give_many(s->cache, s->blocks, PER_POOL);
	KUNIT_ASSERT_TRUE(test, echo(test, "1", of_cache));
	KUNIT_EXPECT_EQ(test, pymt_bytes(pymt_heap(test)), 2 * PAGE_SIZE);
	EXPECT_LINE(test, of_cache, "%lu", PAGE_SIZE);
}

/* ---------------------------------------------------------------- switches ---- */

static void expect_switches(struct kunit *test, struct pym_cache *cache, unsigned int on,
			    unsigned int quarantine)
{
	struct pym_switches is;

	pym_cache_switches(cache, &is);
	KUNIT_EXPECT_EQ(test, is.on, on);
	KUNIT_EXPECT_EQ(test, is.quarantine, quarantine);
}

static void switches_in(struct kunit *test, struct scene *s, const char *path)
{
	char no[PYM_SWITCHES_TEXT + 1];

	EXPECT_LINE(test, path, "none");
	KUNIT_ASSERT_TRUE(test, echo(test, "quarantine=4 redzone poison", path));
	EXPECT_LINE(test, path, "redzone poison quarantine=4");
	expect_switches(test, s->cache, PYM_REDZONE | PYM_POISON, 4);
	KUNIT_EXPECT_FALSE(test, echo(test, "none redzones", path));
	/* More than all there are. */
	memset(no, 'x', sizeof(no) - 1);
	no[sizeof(no) - 1] = '\0';
	KUNIT_EXPECT_FALSE(test, echo(test, no, path));
	EXPECT_LINE(test, path, "redzone poison quarantine=4");
	KUNIT_ASSERT_TRUE(test, echo(test, "none", path));
	EXPECT_LINE(test, path, "none");
	expect_switches(test, s->cache, 0, 0);
}

static void switches_of_a_cache(struct kunit *test)
{
	struct scene *s = set_scene(test);

	switches_in(test, s, in_dir(test, s->cache_dir, "debug"));
}

static void switches_of_a_heap(struct kunit *test)
{
	struct scene *s = set_scene(test);

	switches_in(test, s, in_dir(test, s->heap_dir, "debug"));
}

static struct kunit_case debugfs_cases[] = {
	KUNIT_CASE(totals),
	KUNIT_CASE(rows),
	KUNIT_CASE(every_pool),
	KUNIT_CASE(returned_as_arenas),
	KUNIT_CASE(broken_invariants),
	KUNIT_CASE(stats_of_a_heap),
	KUNIT_CASE(stats_of_a_cache),
	KUNIT_CASE(limit),
	KUNIT_CASE(shrink),
	KUNIT_CASE(switches_of_a_cache),
	KUNIT_CASE(switches_of_a_heap),
	{}
};

static struct kunit_suite debugfs_suite = {
	.name = "pymalloc_debugfs",
	.init = pymt_init,
	.exit = pymt_exit,
	.test_cases = debugfs_cases,
};

kunit_test_suites(&debugfs_suite);
