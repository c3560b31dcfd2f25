// SPDX-License-Identifier: GPL-2.0-only
/*
 * The failure walk: each call, made in each state of each kind of heap, with the first,
 * second, third, ... site that it reaches failing, until it reaches no more; then with
 * all failing from that one on. After each, the call has failed, or has done its work
 * another way; what is live, held and written is what it must be; and without failures
 * it works.
 *
 * fault_kunit.c walks the failures of the layer below, by a test provider and by the
 * kernel's own injection. Here are our own, which are there on stock kernels too.
 */
#include <linux/kmod.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include "shadow.h"
#include "walk.h"

#define MAX_SITES	400		/* that a call reaches */
#define MAX_CALLS	64
#define MAX_STATES	32

static const enum pymt_kind kinds[] = {
	PYMT_PAGES, PYMT_PAGES | PYMT_FRONTS,
	PYMT_VMALLOC, PYMT_VMALLOC | PYMT_FRONTS,
	PYMT_SPLIT, PYMT_SPLIT | PYMT_FRONTS,
	PYMT_CHUNKS | PYMT_FRONTS,
	PYMT_PLAIN, PYMT_PLAIN | PYMT_FRONTS,
	PYMT_SPLIT_SLEEPING | PYMT_FRONTS,
	PYMT_ZEROED | PYMT_FRONTS,
};

/* What the whole suite has come to. */
static struct {
	u32 failed[ARRAY_SIZE(kinds)][MAX_STATES][MAX_CALLS];	/* BIT(enum pym_fail) */
	unsigned long reached_at[PYM_NR_FAIL];
	unsigned long failed_at[PYM_NR_FAIL];
	unsigned long attempts, refused, made_up, tuples, kernel;
} sum;

/* ------------------------------------------------------------- the model ---- */

/* Bytes of metadata that a heap must have, from what there is. */
static size_t cache_metadata(struct pym_cache *cache)
{
	size_t depots = pym_nr_nodes() * PYM_DEPOT_BATCHES * cache->front_cap / 2 *
			sizeof(void *);
	size_t slots = cache->front_cap + 1 + (pym_nr_nodes() > 1 ? PYM_OUTBOX : 0);
	size_t bytes = kmalloc_size_roundup(pym_cache_bytes());
	struct pym_cache *shadow;

	list_for_each_entry(shadow, &cache->shadows, node)
		bytes += kmalloc_size_roundup(pym_cache_bytes() +
					      struct_size_t(struct pym_watch, block,
							    shadow->watch->switches.quarantine));
	if (cache->fronts)
		bytes += ALIGN(struct_size_t(struct pym_front, slot, slots), SMP_CACHE_BYTES) *
			 num_possible_cpus() + kmalloc_size_roundup(depots);
	return bytes;
}

static size_t arena_metadata(struct pym_arena *arena)
{
	size_t bytes = arena->metadata;
	unsigned int i;

	for (i = 0; i < arena->npools; i++)
		if (arena->pools[i].bits_cap)
			bytes += kmalloc_size_roundup(arena->pools[i].bits_cap / BITS_PER_BYTE);
	return bytes;
}

static size_t metadata_of(struct pym_heap *heap)
{
	size_t bytes = kmalloc_size_roundup(pym_heap_bytes());
	struct pym_cache *cache;
	struct pym_arena *arena;
	unsigned int i;

	for (i = 0; i < PYM_NR_CLASSES; i++)
		if (heap->class[i])
			bytes += cache_metadata(heap->class[i]);
	list_for_each_entry(cache, &heap->caches, node)
		bytes += cache_metadata(cache);
	for (i = 0; i < pym_nr_orders(); i++)
		if (heap->order[i])
			bytes += kmalloc_size_roundup(sizeof(struct pym_order));
	list_for_each_entry(arena, &heap->arenas, all)
		bytes += arena_metadata(arena);
	if (rcu_access_pointer(heap->hooks))
		bytes += kmalloc_size_roundup(sizeof(struct pym_heap_ops));
	return bytes + heap->nr_large * kmalloc_size_roundup(sizeof(struct pym_large));
}

/* Wait for what has been put off. */
static void settle(struct walk_scene *s, bool waits, struct pym_heap_stats *stats)
{
	unsigned int ms;

	if (waits) {
		pym_rcu_sync(s->cache);
		if (s->other)
			pym_rcu_sync(s->other);
	}
	flush_work(&s->heap->reap_work);
	for (ms = 0; ms < 1000; ms++) {
		pym_heap_stats(s->heap, stats);
		if (!stats->in_flight)
			break;
		schedule_timeout_interruptible(1);
	}
}

/* Everything that is true of the heap now, when @live blocks are. False if not. */
static bool check(struct walk_scene *s, bool waits, long live, const char *when)
{
	struct kunit *test = s->test;
	struct pym_heap_stats stats;
	unsigned int i, lost = 0;
	bool ok;

	settle(s, waits, &stats);
	KUNIT_EXPECT_EQ_MSG(test, stats.live, live, "live blocks, %s", when);
	KUNIT_EXPECT_EQ_MSG(test, stats.in_flight, 0, "%s", when);
	KUNIT_EXPECT_EQ_MSG(test, stats.metadata, metadata_of(s->heap), "metadata, %s", when);
	if (s->th->provider)
		KUNIT_EXPECT_EQ_MSG(test, stats.held, pymt_bytes(s->th) + stats.metadata +
				    stats.pass_through, "held, %s", when);
	for (i = 0; i < s->nr_live; i++)
		lost += !walk_is_marked(s->live[i].p, s->live[i].size);
	KUNIT_EXPECT_EQ_MSG(test, lost, 0, "blocks of another content, %s", when);
	if (s->old)
		KUNIT_EXPECT_NULL_MSG(test, memchr_inv(s->old, 0x99, s->old_size),
				      "the old block has changed, %s", when);
	KUNIT_EXPECT_TRUE_MSG(test, pymt_is_sound(s->th), "verify and the ledger, %s", when);
	ok = stats.live == live && !stats.in_flight && !lost;
	return ok && stats.metadata == metadata_of(s->heap);
}

/* What a call has returned is good to use. */
static void use(struct walk_scene *s, const struct walk_call *call)
{
	if (!call->undo || !s->p || !s->size)
		return;
	if (s->zeroed)
		KUNIT_EXPECT_NULL_MSG(s->test, memchr_inv(s->p, 0, s->size), "not zeroed");
	memset(s->p, 0x77, s->size);
}

/* -------------------------------------------------------------- attempts ---- */

struct attempt {
	unsigned int kind, state, call;
	unsigned int n;			/* this site fails */
	enum mode {
		ONCE,			/* and no other */
		ON,			/* and all after it */
		KERNEL,			/* not that: this kmalloc() or page of the kernel's */
	} mode;
};

/* The kernel's own injection, if it has it; it fails what our sites pass on, too. */
static bool has_kernel_mode(void)
{
	return IS_ENABLED(CONFIG_FAULT_INJECTION);
}

static void arm_kernel(unsigned int n)
{
#ifdef CONFIG_FAULT_INJECTION
	current->fail_nth = n;
#endif
}

static bool disarm_kernel(void)
{
	bool reached = false;

#ifdef CONFIG_FAULT_INJECTION
	reached = !current->fail_nth;
	current->fail_nth = 0;
#endif
	return reached;
}

static void set_failing(struct walk_scene *s, const struct attempt *a)
{
	struct pym_fail_setting setting = {
		.sites = GENMASK(PYM_NR_FAIL - 1, 0), .pid = current->pid,
	};
	const char *name = walk_calls[a->call].flags & WALK_ALONE ? "" : s->heap->name;

	if (a->mode == ON)
		setting.from = a->n;
	else if (a->mode == ONCE)
		setting.nth = a->n;
	strscpy(setting.heap, name, sizeof(setting.heap));
	KUNIT_ASSERT_EQ(s->test, pym_fail_set(&setting), 0);
	if (a->mode == KERNEL)
		arm_kernel(a->n);
}

/* The key stays on: to switch it is slow. */
static void stop_failing(struct walk_scene *s)
{
	const struct pym_fail_setting nothing = { .pid = current->pid };

	KUNIT_ASSERT_EQ(s->test, pym_fail_set(&nothing), 0);
}

/* Adds up what has failed. Returns whether anything has. */
static bool count_failed(const struct attempt *a, char *where, size_t size)
{
	unsigned int site, reached, failed, n = 0;

	if (a->mode == KERNEL) {
		if (!disarm_kernel())
			return false;
		strscpy(where, "kernel", size);
		sum.kernel++;
		return true;
	}
	*where = '\0';
	for (site = 0; site < PYM_NR_FAIL; site++) {
		pym_fail_count(site, &reached, &failed);
		sum.reached_at[site] += reached;
		sum.failed_at[site] += failed;
		if (!failed)
			continue;
		if (!n++ && a->mode == ONCE)
			sum.tuples++;
		scnprintf(where, size, "%s", pym_fail_names[site]);
		/* Of those that fail together the first one is what has been walked to. */
		if (a->mode == ONCE)
			sum.failed[a->kind][a->state][a->call] |= BIT(site);
	}
	return n;
}

static void again(struct walk_scene *s, const struct walk_call *call, bool waits, long live)
{
	bool ok;

	s->added = 0;
	ok = call->run(s);
	if (ok)
		use(s, call);
	check(s, waits, live + s->added, "when nothing fails any more");
	if (!s->limited && !(call->flags & WALK_BY_FILL))
		KUNIT_EXPECT_TRUE_MSG(s->test, ok, "%s must succeed when nothing fails",
				      call->name);
	if (ok && call->undo)
		call->undo(s);
}

static void try_call(struct walk_scene *s, const struct attempt *a, bool *reached)
{
	const struct walk_call *call = &walk_calls[a->call];
	bool waits = call->flags & WALK_WAITS, ok;
	struct pym_heap_stats stats;
	unsigned long failures, hits;
	char where[24], when[80];
	long live;

	settle(s, waits, &stats);
	live = stats.live;
	failures = READ_ONCE(s->heap->failures);
	hits = READ_ONCE(s->heap->limit_hits);
	set_failing(s, a);
	ok = call->run(s);
	*reached = count_failed(a, where, sizeof(where));
	stop_failing(s);
	scnprintf(when, sizeof(when), "%s with site %u%s failing (%s)", call->name, a->n,
		  a->mode == ON ? " and on" : "", where);

	sum.attempts++;
	if (*reached)
		(*(ok ? &sum.made_up : &sum.refused))++;
	if (ok)
		use(s, call);
	else if (call->flags & WALK_NEVER_FAILS)
		KUNIT_FAIL(s->test, "must not fail: %s", when);
	else if (!*reached && !s->limited && !(call->flags & WALK_BY_FILL))
		KUNIT_FAIL(s->test, "failed though nothing did: %s", when);
	if (call->flags & WALK_COUNTED)
		KUNIT_EXPECT_EQ_MSG(s->test, READ_ONCE(s->heap->failures) - failures, !ok,
				    "count, %s", when);
	/* A request that the limit fails says so, once. */
	if (!s->limited && a->mode != ON && !(call->flags & WALK_NEVER_FAILS))
		KUNIT_EXPECT_EQ_MSG(s->test, READ_ONCE(s->heap->limit_hits) - hits,
				    !ok && !strcmp(where, pym_fail_names[PYM_FAIL_LIMIT]),
				    "limit_hits, %s", when);
	if (call->flags & WALK_FORGETS) {
		s->nr_live = 0;
		s->added = -live;
	}
	check(s, waits, live + s->added, when);
	if (!ok) {
		again(s, call, waits, live);
		check(s, waits, live, "undone");
	} else if (call->undo) {
		call->undo(s);
		check(s, waits, live, "undone");
	}
}

/* One attempt in a heap of its own. Returns whether so many sites were reached. */
static bool attempt(struct kunit *test, const struct attempt *a, struct walk_scene *s)
{
	const struct walk_state *state = &walk_states[a->state];
	const struct walk_call *call = &walk_calls[a->call];
	bool reached;

	memset(s, 0, sizeof(*s));
	s->test = test;
	s->th = pymt_open(test, kinds[a->kind], NULL);
	s->heap = s->th->heap;
	s->cache = pymt_cache(test, s->heap, WALK_SIZE);
	if (state->first)
		state->build(s);
	if (call->prepare)
		call->prepare(s);
	if (!state->first)
		state->build(s);
	if (call->flags & WALK_NO_SLEEP)
		s->limited |= !(s->heap->provider->flags & PYM_PROVIDER_ATOMIC);
	try_call(s, a, &reached);
	pymt_destroy(test, s->th);
	return reached;
}

/* -------------------------------------------------------------- the walk ---- */

/* All calls in one state of one kind of heap. */
struct place {
	u8 kind;
	u8 state;
};

/*
 * All places take 12 minutes of a stock kernel. Every fourth, or tenth, still comes to each
 * state and each kind: it has no divisor in common with how many there are of both.
 */
#define EACH	(IS_ENABLED(CONFIG_KASAN) ? 10 : 4)

static const void *places(const void *prev, char *desc)
{
	static struct place all[ARRAY_SIZE(kinds) * MAX_STATES];
	static const char * const names[] = {
		[PYMT_SPLIT] = "split", [PYMT_CHUNKS] = "chunks", [PYMT_PLAIN] = "plain",
		[PYMT_SPLIT_SLEEPING] = "sleeping", [PYMT_ZEROED] = "zeroed",
		[PYMT_PAGES] = "pages", [PYMT_VMALLOC] = "vmalloc",
	};
	unsigned int i = prev ? (const struct place *)prev - all + EACH : 0;
	const struct walk_state *state;

	for (; i < ARRAY_SIZE(kinds) * walk_nr_states; i += EACH) {
		all[i] = (struct place){ i / walk_nr_states, i % walk_nr_states };
		state = &walk_states[all[i].state];
		if (state->fits && !state->fits(kinds[all[i].kind]))
			continue;
		scnprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s%s-%s",
			  names[kinds[all[i].kind] & PYMT_KIND],
			  kinds[all[i].kind] & PYMT_FRONTS ? "-fronts" : "", state->name);
		return &all[i];
	}
	return NULL;
}

static void walk_call(struct kunit *test, struct attempt *a, struct walk_scene *s)
{
	for (a->n = 1; attempt(test, a, s); a->n++)
		KUNIT_ASSERT_LT_MSG(test, a->n, MAX_SITES, "there is no end to it");
}

static void every_site_fails(struct kunit *test)
{
	const struct place *place = test->param_value;
	struct walk_scene *s = vzalloc(sizeof(*s));
	struct attempt a = { .kind = place->kind, .state = place->state };
	unsigned long attempts = sum.attempts;

	KUNIT_ASSERT_NOT_NULL(test, s);
	for (a.call = 0; a.call < walk_nr_calls; a.call++) {
		if (walk_calls[a.call].flags & WALK_ALONE && (a.kind || a.state))
			continue;
		a.mode = ONCE;
		walk_call(test, &a, s);
		/* With one site the two walks are the same. */
		if (a.n > 2) {
			a.mode = ON;
			walk_call(test, &a, s);
		}
		if (has_kernel_mode()) {
			a.mode = KERNEL;
			walk_call(test, &a, s);
		}
	}
	vfree(s);
	kunit_info(test, "%lu attempts\n", sum.attempts - attempts);
}

/* --------------------------------------------------------- the other sites ---- */

/* Frees that wait for readers have batches in reserve; then there are none for once. */
static void reserve_comes_back(struct kunit *test)
{
	struct pym_fail_setting setting = {
		.sites = BIT(PYM_FAIL_BATCH) | BIT(PYM_FAIL_REFILL), .every = 1,
	};
	struct pymt_heap *th = pymt_open_rcu(test, PYMT_SPLIT);
	struct pym_cache *cache = pymt_cache(test, th->heap, 64);
	unsigned int i, reached, failed;

	KUNIT_ASSERT_EQ(test, pym_fail_set(&setting), 0);
	for (i = 0; i < 140; i++)
		pym_cache_free_rcu(cache, pymt_take(test, cache));
	for (i = 0; i < 1000; i++) {
		pym_fail_count(PYM_FAIL_REFILL, &reached, &failed);
		if (failed)
			break;
		schedule_timeout_interruptible(1);
	}
	KUNIT_EXPECT_GT(test, failed, 0);
	sum.reached_at[PYM_FAIL_REFILL] += reached;
	sum.failed_at[PYM_FAIL_REFILL] += failed;
	KUNIT_ASSERT_EQ(test, pym_fail_set(NULL), 0);
	for (i = 0; i < 200; i++)
		pym_cache_free_rcu(cache, pymt_take(test, cache));
	pym_rcu_sync(cache);
	KUNIT_EXPECT_EQ_MSG(test, pymt_stats_of(cache).live, 0, "each was freed, once");
	pymt_check(test, th);
}

/* A block that cannot be kept for readers, nor waited for, is lost, and that is said. */
static void nobody_may_wait(struct kunit *test)
{
	struct pym_fail_setting setting = {
		.sites = BIT(PYM_FAIL_BATCH) | BIT(PYM_FAIL_RESERVE), .every = 1,
		.pid = current->pid,
	};
	struct pymt_heap *th = pymt_open_rcu(test, PYMT_SPLIT);
	struct pym_cache *cache = pymt_cache(test, th->heap, 64);
	void *p = pymt_take(test, cache);

	KUNIT_ASSERT_EQ(test, pym_fail_set(&setting), 0);
	preempt_disable();
	pym_cache_free_rcu(cache, p);
	preempt_enable();
	KUNIT_ASSERT_EQ(test, pym_fail_set(NULL), 0);
	pymt_expect_misuse(test, PYM_MISUSE_LEAK, 1);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).live, 1);
	pym_rcu_sync(cache);
	pym_cache_free(cache, p);
	KUNIT_EXPECT_EQ(test, pymt_stats_of(cache).live, 0);
	pymt_check(test, th);
}

/* A file that has no memory to be read says so, and can be read later. */
static void file_is_read_later(struct kunit *test)
{
	static const char * const argv[] = {
		"/bin/busybox", "grep", "-q", "^# pymalloc classes",
		"/sys/kernel/debug/pymalloc/classes", NULL
	};
	static const char * const envp[] = { "HOME=/", "PATH=/bin", NULL };
	struct pym_fail_setting setting = { .sites = BIT(PYM_FAIL_TABLE), .every = 1 };
	unsigned int reached, failed;

	KUNIT_ASSERT_EQ(test, pym_fail_set(&setting), 0);
	KUNIT_EXPECT_NE(test, call_usermodehelper(argv[0], (char **)argv, (char **)envp,
						  UMH_WAIT_PROC), 0);
	pym_fail_count(PYM_FAIL_TABLE, &reached, &failed);
	KUNIT_EXPECT_EQ(test, pym_fail_set(NULL), 0);
	KUNIT_EXPECT_GT_MSG(test, failed, 0, "it was not the file that failed");
	sum.reached_at[PYM_FAIL_TABLE] += reached;
	sum.failed_at[PYM_FAIL_TABLE] += failed;
	KUNIT_EXPECT_EQ(test, call_usermodehelper(argv[0], (char **)argv, (char **)envp,
						  UMH_WAIT_PROC), 0);
}

/* ----------------------------------------------------------- the switches ---- */

static void write(struct kunit *test, const char *words, int expected)
{
	char buf[256];

	strscpy(buf, words, sizeof(buf));
	KUNIT_EXPECT_EQ_MSG(test, pym_fail_write(buf), expected, "'%s'", words);
}

static unsigned int failed_of(struct kunit *test, struct pym_heap *heap, unsigned int n)
{
	unsigned int failed = 0;
	void *p;

	while (n--) {
		p = pym_malloc(heap, 5000, WALK_QUIETLY);
		failed += !p;
		pym_free(p);
	}
	return failed;
}

static void words_mean_what_they_say(struct kunit *test)
{
	struct pymt_heap *th = pymt_open(test, PYMT_SPLIT, NULL);
	struct pymt_heap *other = pymt_open(test, PYMT_SPLIT, NULL);
	unsigned int n, reached, failed;
	char words[96];

	write(test, "site=record nth=3 task=self", 0);
	KUNIT_EXPECT_EQ(test, failed_of(test, th->heap, 10), 1);
	pym_fail_count(PYM_FAIL_RECORD, &reached, &failed);
	KUNIT_EXPECT_EQ(test, reached, 10);
	KUNIT_EXPECT_EQ(test, failed, 1);
	pym_fail_count(PYM_FAIL_LARGE, &reached, &failed);
	KUNIT_EXPECT_EQ_MSG(test, reached, 9, "what does not fail is counted, too");
	write(test, " site=record,large  from=3\ttask=self\n", 0);
	KUNIT_EXPECT_EQ(test, failed_of(test, th->heap, 10), 9);
	write(test, "site=large every=5 task=self", 0);
	KUNIT_EXPECT_EQ(test, failed_of(test, th->heap, 20), 4);
	write(test, "site=large every=5 times=2 task=self", 0);
	KUNIT_EXPECT_EQ(test, failed_of(test, th->heap, 20), 2);
	write(test, "site=large probability=100 task=self", 0);
	KUNIT_EXPECT_EQ(test, failed_of(test, th->heap, 20), 20);
	write(test, "site=large probability=30 task=self", 0);
	n = failed_of(test, th->heap, 1000);
	KUNIT_EXPECT_GT(test, n, 200);
	KUNIT_EXPECT_LT(test, n, 400);
	scnprintf(words, sizeof(words), "site=all every=1 heap=%s", th->heap->name);
	write(test, words, 0);
	KUNIT_EXPECT_EQ(test, failed_of(test, other->heap, 5), 0);
	KUNIT_EXPECT_EQ(test, failed_of(test, th->heap, 5), 5);
	write(test, "none", 0);
	KUNIT_EXPECT_EQ(test, failed_of(test, th->heap, 5), 0);
	pym_fail_count(PYM_FAIL_CONTEXT, &reached, &failed);
	KUNIT_EXPECT_EQ_MSG(test, failed, 5, "counts stay to be read");
}

static void bad_words_change_nothing(struct kunit *test)
{
	static const char * const bad[] = {
		"", " ", "\n", "nonesuch", "none nth=1", "nth", "nth=", "nth=0", "nth=-1", "nth=x",
		"every=0", "probability=101", "probability=0", "times=0", "task=other", "task=",
		"site=", "site=all,large", "site=larg", "site=large,", "heap=", "=", "nth=1 bad=2",
		"heap=a-name-that-is-much-longer-than-the-name-of-a-heap-can-be",
	};
	struct pymt_heap *th = pymt_open(test, PYMT_SPLIT, NULL);
	unsigned int i;

	write(test, "site=large every=1 task=self", 0);
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		write(test, bad[i], -EINVAL);
	KUNIT_EXPECT_EQ(test, failed_of(test, th->heap, 5), 5);
	write(test, "none", 0);
}

/* ----------------------------------------------------------------- the sum ---- */

/* Last: what the others have come to. Fails if a site has never failed. */
static void every_site_has_failed(struct kunit *test)
{
	unsigned long combinations = 0;
	unsigned int i;

	for (i = 0; i < sizeof(sum.failed) / sizeof(u32); i++)
		combinations += hweight32(((u32 *)sum.failed)[i]);
	for (i = 0; i < PYM_NR_FAIL; i++) {
		kunit_info(test, "site %-8s reached %7lu failed %7lu\n", pym_fail_names[i],
			   sum.reached_at[i], sum.failed_at[i]);
		KUNIT_EXPECT_GT_MSG(test, sum.failed_at[i], 0, "%s", pym_fail_names[i]);
	}
	kunit_info(test, "%lu attempts; %lu of them failed, %lu were made up for; %lu (call, state, site), %lu with n; %lu by the kernel\n",
		   sum.attempts, sum.refused, sum.made_up, combinations, sum.tuples, sum.kernel);
	KUNIT_EXPECT_GE(test, combinations, EACH > 4 ? 1500 : 5000);
}

static void walk_exit(struct kunit *test)
{
	pym_fail_set(NULL);
	pymt_exit(test);
}

static const struct kunit_attributes slow = { .speed = KUNIT_SPEED_SLOW };

static struct kunit_case walk_cases[] = {
	KUNIT_CASE(words_mean_what_they_say),
	KUNIT_CASE(bad_words_change_nothing),
	KUNIT_CASE_SLOW(reserve_comes_back),
	KUNIT_CASE(nobody_may_wait),
	KUNIT_CASE(file_is_read_later),
	KUNIT_CASE_PARAM_ATTR(every_site_fails, places, slow),
	KUNIT_CASE(every_site_has_failed),
	{}
};

static struct kunit_suite walk_suite = {
	.name = "pymalloc_walk",
	.init = pymt_init_bare,
	.exit = walk_exit,
	.test_cases = walk_cases,
};

kunit_test_suites(&walk_suite);
