// SPDX-License-Identifier: GPL-2.0-only
/*
 * Failures on demand: what the words of debugfs' file `fail' mean. The walk over all sites
 * is in walk_kunit.c.
 */
#include <linux/umh.h>
#include "fixture.h"

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
		p = pym_malloc(heap, 5000, GFP_KERNEL | __GFP_NOWARN);
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

static int grep(const char *pattern)
{
	char *argv[6] = {
		"/bin/busybox", "grep", "-qE", (char *)pattern,
		"/sys/kernel/debug/pymalloc/fail", NULL
	};
	static char *env[2] = { "PATH=/bin", NULL };

	return call_usermodehelper(argv[0], argv, env, UMH_WAIT_PROC);
}

/* The file takes the words, and has the counts. */
static void file_says_what_came_of_it(struct kunit *test)
{
	static const char file[] = "/sys/kernel/debug/pymalloc/fail";
	struct pymt_heap *th = pymt_open(test, PYMT_SPLIT, NULL);
	char words[96];

	scnprintf(words, sizeof(words), "site=large,record every=3 heap=%s", th->heap->name);
	pymt_echo(test, words, file);
	KUNIT_EXPECT_EQ(test, failed_of(test, th->heap, 10), 5);
	scnprintf(words, sizeof(words), "^# site=record,large every=3 task=any heap=%s$",
		  th->heap->name);
	KUNIT_EXPECT_EQ(test, grep("^# pymalloc fail 1$"), 0);
	KUNIT_EXPECT_EQ(test, grep(words), 0);
	pymt_echo(test, "none", file);
	KUNIT_EXPECT_EQ(test, failed_of(test, th->heap, 10), 0);
	KUNIT_EXPECT_EQ(test, grep("^# none$"), 0);
	KUNIT_EXPECT_EQ_MSG(test, grep("^record +10 +5$"), 0, "counts stay to be read");
}

/* What is written is what is read. */
static void file_shows_the_setting(struct kunit *test)
{
	static const struct {
		const char *words, *shown;
	} settings[] = {
		{ "site=large nth=5 task=any", "^# site=large nth=5 task=any$" },
		{ "from=7 times=2 task=self", "^# site=all from=7 times=2 task=self$" },
		{ "site=large,record probability=3",
		  "^# site=record,large probability=3 task=any$" },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(settings); i++) {
		pymt_echo(test, settings[i].words, "/sys/kernel/debug/pymalloc/fail");
		KUNIT_EXPECT_EQ_MSG(test, grep(settings[i].shown), 0, "%s", settings[i].words);
	}
}

static void fail_exit(struct kunit *test)
{
	pym_fail_set(NULL);
	pymt_exit(test);
}

static struct kunit_case fail_cases[] = {
	KUNIT_CASE(words_mean_what_they_say),
	KUNIT_CASE(bad_words_change_nothing),
	KUNIT_CASE(file_says_what_came_of_it),
	KUNIT_CASE(file_shows_the_setting),
	{}
};

static struct kunit_suite fail_suite = {
	.name = "pymalloc_fail",
	.init = pymt_init_bare,
	.exit = fail_exit,
	.test_cases = fail_cases,
};

kunit_test_suites(&fail_suite);
