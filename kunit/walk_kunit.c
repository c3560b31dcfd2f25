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
#include "walk.h"

#define MAX_SITES	2000		/* that a call reaches */
#define MAX_CALLS	64
#define WITH_KASAN	IS_ENABLED(CONFIG_KASAN)
#define MAX_STATES	32

static const char * const kind_names[] = {
	[PYMT_SPLIT] = "split", [PYMT_CHUNKS] = "chunks", [PYMT_PLAIN] = "plain",
	[PYMT_SPLIT_SLEEPING] = "sleeping", [PYMT_ZEROED] = "zeroed",
	[PYMT_PAGES] = "pages", [PYMT_VMALLOC] = "vmalloc",
};

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
	unsigned long attempts, refused, made_up, kernel;
	size_t leaked;
} sum;

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

/*
 * The key stays on: to switch it is slow. So are directories in debugfs, which the heaps of
 * the walk do without, but for what is walked to.
 */
static void stop_failing(struct kunit *test)
{
	const struct pym_fail_setting no_files = {
		.pid = current->pid, .sites = BIT(PYM_FAIL_FILES), .every = 1,
	};

	KUNIT_ASSERT_EQ(test, pym_fail_set(&no_files), 0);
}

/* What has come to a site since the setting was made. Returns how often it has failed. */
static unsigned int add_up(enum pym_fail site)
{
	unsigned int reached, failed;

	pym_fail_count(site, &reached, &failed);
	sum.reached_at[site] += reached;
	sum.failed_at[site] += failed;
	return failed;
}

/* Adds up what has failed. Returns whether anything has. */
static bool count_failed(const struct attempt *a, char *where, size_t size)
{
	unsigned int site, n = 0;

	if (a->mode == KERNEL) {
		if (!disarm_kernel())
			return false;
		strscpy(where, "kernel", size);
		sum.kernel++;
		return true;
	}
	*where = '\0';
	for (site = 0; site < PYM_NR_FAIL; site++) {
		if (!add_up(site))
			continue;
		n++;
		strscpy(where, pym_fail_names[site], size);
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
	walk_check(s, waits, live + s->added, "when nothing fails any more");
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
	char where[24], when[96];
	long live;

	walk_settle(s, waits, &stats);
	live = stats.live;
	failures = READ_ONCE(s->heap->failures);
	hits = READ_ONCE(s->heap->limit_hits);
	set_failing(s, a);
	ok = call->run(s);
	*reached = count_failed(a, where, sizeof(where));
	stop_failing(s->test);
	scnprintf(when, sizeof(when), "%s of %s%s with site %u%s failing (%s)", call->name,
		  kind_names[kinds[a->kind] & PYMT_KIND],
		  kinds[a->kind] & PYMT_FRONTS ? " with fronts" : "", a->n,
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
				    !ok && !(call->flags & WALK_UNTOLD) &&
				    !strcmp(where, pym_fail_names[PYM_FAIL_LIMIT]),
				    "limit_hits, %s", when);
	if (call->flags & WALK_FORGETS) {
		s->nr_live = 0;
		s->added = -live;
	}
	walk_check(s, waits, live + s->added, when);
	if (!ok) {
		again(s, call, waits, live);
		walk_check(s, waits, live, "undone");
	} else if (call->undo) {
		call->undo(s);
		walk_check(s, waits, live, "undone");
	}
}

static void open_scene(struct kunit *test, enum pymt_kind kind, bool waits,
		       struct walk_scene *s)
{
	memset(s, 0, sizeof(*s));
	s->test = test;
	stop_failing(test);
	s->th = waits ? pymt_open_rcu(test, kind) : pymt_open(test, kind, NULL);
	s->heap = s->th->heap;
	s->cache = pymt_cache(test, s->heap, WALK_SIZE);
}

/* Blocks are freed before if it would be told who has left them. */
static void close_scene(struct walk_scene *s)
{
	if (s->owned) {
		walk_give_all(s);
		pym_free(s->old);
	}
	pymt_destroy(s->test, s->th);
	WRITE_ONCE(pym_decay_ms, 0);
}

/* One attempt in a heap of its own. Returns whether so many sites were reached. */
static bool attempt(struct kunit *test, const struct attempt *a, struct walk_scene *s)
{
	const struct walk_state *state = &walk_states[a->state];
	const struct walk_call *call = &walk_calls[a->call];
	long held = pym_provider_outstanding();
	bool reached;

	open_scene(test, kinds[a->kind], call->flags & WALK_WAITS, s);
	if (state->first)
		state->build(s);
	if (call->prepare)
		call->prepare(s);
	if (!state->first)
		state->build(s);
	if (call->flags & WALK_NO_SLEEP)
		s->limited |= !(s->heap->provider->flags & PYM_PROVIDER_ATOMIC);
	if (call->flags & WALK_LARGER && s->th->provider)
		s->limited |= s->th->provider->max_size == PAGE_SIZE;
	try_call(s, a, &reached);
	if (call->flags & WALK_KEEPS)
		pym_cache_free(s->other, s->p);
	close_scene(s);
	held = pym_provider_outstanding() - held;
	KUNIT_EXPECT_LE_MSG(test, held, 0, "bytes of a provider leaked, %s", call->name);
	sum.leaked += max(held, 0L);
	return reached;
}

/* -------------------------------------------------------------- the walk ---- */

static const void *states(const void *prev, char *desc)
{
	const struct walk_state *state = prev;

	state = state ? state + 1 : walk_states;
	if (state == walk_states + walk_nr_states)
		return NULL;
	strscpy(desc, state->name, KUNIT_PARAM_DESC_SIZE);
	return state;
}

/* One by one, but where there are many: those are of few kinds, in blocks of one call. */
static unsigned int next(unsigned int n)
{
	if (n < 12)
		return n + 1;
	return n + (WITH_KASAN ? n / 2 : 1 + n / 16);
}

static void walk_call(struct kunit *test, struct attempt *a, struct walk_scene *s)
{
	for (a->n = 1; attempt(test, a, s); a->n = next(a->n))
		KUNIT_ASSERT_LT_MSG(test, a->n, MAX_SITES, "there is no end to it");
}

/*
 * All of it takes half an hour of a stock kernel. So each call is made in each state in two
 * kinds of heaps, or in one if the state is slow; in others than the next call, or in the
 * next state. In one of them all fail from one on, too. With KASAN, which is slow, there is
 * a choice of calls for each state, and of those of which all fail.
 */
static unsigned int turn(const struct attempt *a)
{
	return (a->kind + 3 * a->state + 5 * a->call) % (WITH_KASAN ? 83 : ARRAY_SIZE(kinds));
}

static bool is_chosen(const struct attempt *a)
{
	const struct walk_state *state = &walk_states[a->state];

	if (state->fits && !state->fits(kinds[a->kind]))
		return false;
	if (walk_calls[a->call].flags & WALK_ALONE)
		return !a->kind && !a->state;
	return turn(a) < (WITH_KASAN || state->slow ? 1 : 2);
}

/* One call in one state of one kind of heap, with everything failing that can. */
static void walk(struct kunit *test, struct attempt *a, struct walk_scene *s)
{
	a->mode = ONCE;
	walk_call(test, a, s);
	/* What one failure leads to may have sites of its own. */
	if (a->n > 1 && !turn(a) && !(WITH_KASAN && a->call % 2)) {
		a->mode = ON;
		walk_call(test, a, s);
	}
	if (has_kernel_mode() && !(a->call % 4)) {
		a->mode = KERNEL;
		walk_call(test, a, s);
	}
}

static void every_site_fails(struct kunit *test)
{
	struct attempt a = { .state = (struct walk_state *)test->param_value - walk_states };
	struct walk_scene *s = vzalloc(sizeof(*s));
	unsigned long attempts = sum.attempts;

	KUNIT_ASSERT_NOT_NULL(test, s);
	KUNIT_ASSERT_LE(test, walk_nr_states, MAX_STATES);
	KUNIT_ASSERT_LE(test, walk_nr_calls, MAX_CALLS);
	/* For switches and for frees that wait; with PREEMPT_RT it is of no use. */
	pymt_echo(test, "1", "/sys/kernel/rcu_expedited");
	for (a.kind = 0; a.kind < ARRAY_SIZE(kinds); a.kind++)
		for (a.call = 0; a.call < walk_nr_calls; a.call++)
			if (is_chosen(&a))
				walk(test, &a, s);
	pymt_echo(test, "0", "/sys/kernel/rcu_expedited");
	vfree(s);
	kunit_info(test, "%lu attempts\n", sum.attempts - attempts);
}

/* What is called another state is one. */
static void states_differ(struct kunit *test)
{
	struct walk_look *looks = kunit_kcalloc(test, walk_nr_states, sizeof(*looks), GFP_KERNEL);
	struct walk_scene *s = vzalloc(sizeof(*s));
	unsigned int kind, i, j;

	KUNIT_ASSERT_TRUE(test, s && looks);
	for (kind = 0; kind < ARRAY_SIZE(kinds); kind += WITH_KASAN ? 4 : 1) {
		memset(looks, 0, walk_nr_states * sizeof(*looks));
		for (i = 0; i < walk_nr_states; i++) {
			if (walk_states[i].fits && !walk_states[i].fits(kinds[kind]))
				continue;
			open_scene(test, kinds[kind], false, s);
			walk_states[i].build(s);
			walk_look(s, &looks[i]);
			close_scene(s);
			for (j = 0; j < i; j++)
				KUNIT_EXPECT_TRUE_MSG(test, memcmp(&looks[i], &looks[j],
								   sizeof(*looks)),
						      "%s is %s, kind %u", walk_states[i].name,
						      walk_states[j].name, kind);
		}
	}
	vfree(s);
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
	add_up(PYM_FAIL_REFILL);
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
	add_up(PYM_FAIL_RESERVE);
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

	KUNIT_ASSERT_EQ(test, pym_fail_set(&setting), 0);
	KUNIT_EXPECT_NE(test, call_usermodehelper(argv[0], (char **)argv, (char **)envp,
						  UMH_WAIT_PROC), 0);
	KUNIT_EXPECT_GT_MSG(test, add_up(PYM_FAIL_TABLE), 0, "it was not the file that failed");
	KUNIT_EXPECT_EQ(test, pym_fail_set(NULL), 0);
	KUNIT_EXPECT_EQ(test, call_usermodehelper(argv[0], (char **)argv, (char **)envp,
						  UMH_WAIT_PROC), 0);
}

/* ----------------------------------------------------------------- the sum ---- */

/* What has failed alone: by call, state, and kind of heap or not. */
static unsigned long count_triples(unsigned long *of_any_kind)
{
	unsigned int kind, state, call;
	unsigned long n = 0;
	u32 sites;

	*of_any_kind = 0;
	for (state = 0; state < walk_nr_states; state++) {
		for (call = 0; call < walk_nr_calls; call++) {
			for (sites = 0, kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
				n += hweight32(sum.failed[kind][state][call]);
				sites |= sum.failed[kind][state][call];
			}
			*of_any_kind += hweight32(sites);
		}
	}
	return n;
}

/* Without a depot for stacks, nobody asks for one. */
static bool is_there(enum pym_fail site)
{
	return IS_ENABLED(CONFIG_STACKDEPOT) ||
	       (site != PYM_FAIL_STACK && site != PYM_FAIL_STACKS);
}

/* Last: what the others have come to. Fails if a site has never failed. */
static void every_site_has_failed(struct kunit *test)
{
	unsigned long triples, of_any_kind;
	unsigned int i;

	for (i = 0; i < PYM_NR_FAIL; i++) {
		kunit_info(test, "site %-8s reached %7lu failed %7lu\n", pym_fail_names[i],
			   sum.reached_at[i], sum.failed_at[i]);
		if (is_there(i))
			KUNIT_EXPECT_GT_MSG(test, sum.failed_at[i], 0, "%s", pym_fail_names[i]);
	}
	triples = count_triples(&of_any_kind);
	kunit_info(test, "%lu attempts: %lu calls failed, %lu made up for it; %lu by the kernel's injection\n",
		   sum.attempts, sum.refused, sum.made_up, sum.kernel);
	kunit_info(test, "%lu distinct (call, heap and state, site); %lu if kinds of heaps are not told apart; %zu bytes leaked\n",
		   triples, of_any_kind, sum.leaked);
	KUNIT_EXPECT_GE(test, triples, WITH_KASAN ? 500 : 5000);
	KUNIT_EXPECT_EQ(test, sum.leaked, 0);
}

static void walk_exit(struct kunit *test)
{
	pym_fail_set(NULL);
	pymt_exit(test);
}

static const struct kunit_attributes slow = { .speed = KUNIT_SPEED_SLOW };

static struct kunit_case walk_cases[] = {
	KUNIT_CASE_SLOW(reserve_comes_back),
	KUNIT_CASE(nobody_may_wait),
	KUNIT_CASE(file_is_read_later),
	KUNIT_CASE(states_differ),
	KUNIT_CASE_PARAM_ATTR(every_site_fails, states, slow),
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
