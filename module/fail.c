// SPDX-License-Identifier: GPL-2.0-only
/*
 * Failures on demand: which sites there are, who is meant, whose turn it is; see fail.h.
 */
#include <linux/atomic.h>
#include <linux/fs.h>
#include <linux/jhash.h>
#include <linux/kernel.h>
#include <linux/mutex.h>
#include <linux/random.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>
#include "internal.h"

const char * const pym_fail_names[PYM_NR_FAIL] = {
	[PYM_FAIL_HEAP]	   = "heap",
	[PYM_FAIL_CACHE]   = "cache",
	[PYM_FAIL_CLASS]   = "class",
	[PYM_FAIL_ORDER]   = "order",
	[PYM_FAIL_HOOKS]   = "hooks",
	[PYM_FAIL_ARENA]   = "arena",
	[PYM_FAIL_POOLS]   = "pools",
	[PYM_FAIL_BITMAP]  = "bitmap",
	[PYM_FAIL_INDEX]   = "index",
	[PYM_FAIL_CHUNK]   = "chunk",
	[PYM_FAIL_POOL]	   = "pool",
	[PYM_FAIL_DEPOTS]  = "depots",
	[PYM_FAIL_FRONTS]  = "fronts",
	[PYM_FAIL_RECORD]  = "record",
	[PYM_FAIL_LARGE]   = "large",
	[PYM_FAIL_BATCH]   = "batch",
	[PYM_FAIL_RESERVE] = "reserve",
	[PYM_FAIL_REFILL]  = "refill",
	[PYM_FAIL_LIMIT]   = "limit",
	[PYM_FAIL_CONTEXT] = "context",
	[PYM_FAIL_DEFER]   = "defer",
	[PYM_FAIL_SHADOW]  = "shadow",
	[PYM_FAIL_SLOTS]   = "slots",
	[PYM_FAIL_GUARD]   = "guard",
	[PYM_FAIL_AREA]	   = "area",
	[PYM_FAIL_STACKS]  = "stacks",
	[PYM_FAIL_STACK]   = "stack",
	[PYM_FAIL_OWNERS]  = "owners",
	[PYM_FAIL_FILES]   = "files",
	[PYM_FAIL_TABLE]   = "table",
};
EXPORT_SYMBOL_IF_KUNIT(pym_fail_names);
static_assert(PYM_NR_FAIL <= 32);

#define ALL_SITES	GENMASK(PYM_NR_FAIL - 1, 0)

/* A setting, and what has come of it. Replaced as a whole. */
struct armed {
	struct pym_fail_setting setting;
	u32 seed;
	atomic_t turns;			/* requests that could have failed */
	atomic_t failures;
	atomic_t reached[PYM_NR_FAIL];
	atomic_t failed[PYM_NR_FAIL];
	struct rcu_head rcu;
};

/* On while failures are wanted; what they came to stays to be read afterwards. */
DEFINE_STATIC_KEY_FALSE(pym_fail_key);
static struct armed __rcu *armed;
static DEFINE_MUTEX(mutex);		/* serializes changes */

static bool is_meant(const struct pym_fail_setting *s, const char *heap)
{
	if (s->pid && (!in_task() || s->pid != current->pid))
		return false;
	return !*s->heap || (heap && !strcmp(s->heap, heap));
}

static bool is_due(const struct armed *a, unsigned int turn)
{
	const struct pym_fail_setting *s = &a->setting;

	return (s->nth && turn == s->nth) || (s->from && turn >= s->from) ||
	       (s->every && !(turn % s->every)) ||
	       (s->percent && jhash_1word(turn, a->seed) % 100 < s->percent);
}

static bool decide(struct armed *a, enum pym_fail site)
{
	unsigned int times = a->setting.times;

	atomic_inc(&a->reached[site]);
	if (!(a->setting.sites & BIT(site)) || !is_due(a, atomic_inc_return(&a->turns)))
		return false;
	if (times && !atomic_add_unless(&a->failures, 1, times))
		return false;
	atomic_inc(&a->failed[site]);
	return true;
}

/* Out of line: nobody is in a hurry where memory is obtained. */
bool __pym_may_fail(enum pym_fail site, const char *heap)
{
	struct armed *a;
	bool fails;

	rcu_read_lock();
	a = rcu_dereference(armed);
	fails = a && is_meant(&a->setting, heap) && decide(a, site);
	rcu_read_unlock();
	return fails;
}

/**
 * pym_fail_set() - say what is to fail from now on
 * @setting: copied; NULL for nothing
 *
 * Counts begin anew with each setting, and stay when there is none any more.
 *
 * Context: Task context, may sleep.
 * Return: 0 or -ENOMEM; nothing has changed then.
 */
int pym_fail_set(const struct pym_fail_setting *setting)
{
	struct armed *new = NULL, *old = NULL;

	if (setting) {
		new = kzalloc(sizeof(*new), GFP_KERNEL);
		if (!new)
			return -ENOMEM;
		new->setting = *setting;
		new->seed = get_random_u32();
	}
	mutex_lock(&mutex);
	if (new) {
		old = rcu_replace_pointer(armed, new, lockdep_is_held(&mutex));
		static_branch_enable(&pym_fail_key);
	} else {
		static_branch_disable(&pym_fail_key);
	}
	mutex_unlock(&mutex);
	if (old)
		kfree_rcu(old, rcu);
	return 0;
}
EXPORT_SYMBOL_IF_KUNIT(pym_fail_set);

/**
 * pym_fail_count() - how often was a site reached since the setting was made
 * @site: which
 * @reached: set to that, by those who are meant
 * @failed: set to how many of them were told to fail
 *
 * Context: Any.
 */
void pym_fail_count(enum pym_fail site, unsigned int *reached, unsigned int *failed)
{
	struct armed *a;

	rcu_read_lock();
	a = rcu_dereference(armed);
	*reached = a ? atomic_read(&a->reached[site]) : 0;
	*failed = a ? atomic_read(&a->failed[site]) : 0;
	rcu_read_unlock();
}
EXPORT_SYMBOL_IF_KUNIT(pym_fail_count);

/* ------------------------------------------------------------ in words -- */

static int parse_sites(char *list, u32 *sites)
{
	char *name;
	int i;

	if (!strcmp(list, "all")) {
		*sites = ALL_SITES;
		return 0;
	}
	*sites = 0;
	while ((name = strsep(&list, ","))) {
		i = match_string(pym_fail_names, PYM_NR_FAIL, name);
		if (i < 0)
			return -EINVAL;
		*sites |= BIT(i);
	}
	return 0;
}

static int parse_task(const char *who, pid_t *pid)
{
	if (!strcmp(who, "self"))
		*pid = current->pid;
	else if (!strcmp(who, "any"))
		*pid = 0;
	else
		return -EINVAL;
	return 0;
}

/* A number that makes sense: not 0, and at most @max. */
static int parse_number(const char *value, unsigned int max, unsigned int *n)
{
	if (kstrtouint(value, 0, n) || !*n || *n > max)
		return -EINVAL;
	return 0;
}

static int parse_word(char *word, struct pym_fail_setting *s)
{
	char *value = strchr(word, '=');

	if (!value)
		return -EINVAL;
	*value++ = '\0';
	if (!strcmp(word, "site"))
		return parse_sites(value, &s->sites);
	if (!strcmp(word, "nth"))
		return parse_number(value, UINT_MAX, &s->nth);
	if (!strcmp(word, "from"))
		return parse_number(value, UINT_MAX, &s->from);
	if (!strcmp(word, "every"))
		return parse_number(value, UINT_MAX, &s->every);
	if (!strcmp(word, "probability"))
		return parse_number(value, 100, &s->percent);
	if (!strcmp(word, "times"))
		return parse_number(value, INT_MAX, &s->times);
	if (!strcmp(word, "task"))
		return parse_task(value, &s->pid);
	if (!strcmp(word, "heap"))
		return *value && strscpy(s->heap, value, sizeof(s->heap)) > 0 ? 0 : -EINVAL;
	return -EINVAL;
}

static int refuse(const char *word)
{
	char sites[PYM_NR_FAIL * 10];
	int i, n = 0;

	for (i = 0; i < PYM_NR_FAIL; i++)
		n += scnprintf(sites + n, sizeof(sites) - n, " %s", pym_fail_names[i]);
	pr_err("fail: '%.40s' is not understood, nothing changed; words: none, or site=all|<site>,<site>... nth=<n> from=<n> every=<n> probability=<1..100> times=<n> task=self|any heap=<name>; sites:%s\n",
	       word, sites);
	return -EINVAL;
}

/**
 * pym_fail_write() - the same as pym_fail_set(), in words
 * @words: separated by space; changed
 *
 * Context: Task context, may sleep.
 * Return: 0, -ENOMEM, or -EINVAL and a line in the log that says which words there are.
 */
int pym_fail_write(char *words)
{
	struct pym_fail_setting s = { .sites = ALL_SITES };
	char *word, copy[48];
	unsigned int n = 0;

	words = strim(words);
	if (!strcmp(words, "none"))
		return pym_fail_set(NULL);
	while ((word = strsep(&words, " \t\n"))) {
		if (!*word)
			continue;
		strscpy(copy, word, sizeof(copy));
		if (parse_word(word, &s))
			return refuse(copy);
		n++;
	}
	return n ? pym_fail_set(&s) : refuse("");
}
EXPORT_SYMBOL_IF_KUNIT(pym_fail_write);

static void show_setting(struct seq_file *m, const struct pym_fail_setting *s)
{
	unsigned int i, n = 0;

	seq_puts(m, "# site=");
	if (s->sites == ALL_SITES)
		seq_puts(m, "all");
	else
		for (i = 0; i < PYM_NR_FAIL; i++)
			if (s->sites & BIT(i))
				seq_printf(m, "%s%s", n++ ? "," : "", pym_fail_names[i]);
	if (s->nth)
		seq_printf(m, " nth=%u", s->nth);
	if (s->from)
		seq_printf(m, " from=%u", s->from);
	if (s->every)
		seq_printf(m, " every=%u", s->every);
	if (s->percent)
		seq_printf(m, " probability=%u", s->percent);
	if (s->times)
		seq_printf(m, " times=%u", s->times);
	seq_printf(m, " task=%s", s->pid ? "self" : "any");
	if (*s->heap)
		seq_printf(m, " heap=%s", s->heap);
	seq_putc(m, '\n');
}

/* The setting, and a row for each site. */
static int fail_show(struct seq_file *m, void *unused)
{
	unsigned int reached, failed;
	struct armed *a;
	int i;

	seq_puts(m, "# pymalloc fail 1\n");
	mutex_lock(&mutex);
	a = rcu_dereference_protected(armed, lockdep_is_held(&mutex));
	if (a && static_key_enabled(&pym_fail_key))
		show_setting(m, &a->setting);
	else
		seq_puts(m, "# none\n");
	seq_printf(m, "#%-11s %10s %10s\n", "site", "reached", "failed");
	for (i = 0; i < PYM_NR_FAIL; i++) {
		pym_fail_count(i, &reached, &failed);
		seq_printf(m, "%-12s %10u %10u\n", pym_fail_names[i], reached, failed);
	}
	mutex_unlock(&mutex);
	return 0;
}

static int fail_open(struct inode *inode, struct file *file)
{
	return single_open(file, fail_show, NULL);
}

static ssize_t fail_write(struct file *file, const char __user *from, size_t n, loff_t *pos)
{
	char *words;
	int err;

	if (n >= PAGE_SIZE)
		return -EINVAL;
	words = memdup_user_nul(from, n);
	if (IS_ERR(words))
		return PTR_ERR(words);
	err = pym_fail_write(words);
	kfree(words);
	return err ?: n;
}

const struct file_operations pym_fail_fops = {
	.owner	 = THIS_MODULE,
	.open	 = fail_open,
	.read	 = seq_read,
	.write	 = fail_write,
	.llseek	 = seq_lseek,
	.release = single_release,
};

/**
 * pym_fail_exit() - forget what was to fail
 *
 * Context: Task context; no site is reached any more.
 */
void pym_fail_exit(void)
{
	static_branch_disable(&pym_fail_key);
	kfree(rcu_dereference_protected(armed, true));
}
