// SPDX-License-Identifier: GPL-2.0-only
/*
 * The part of kunit.ko that a kernel with CONFIG_KUNIT has in its core.
 */
#include <kunit/test.h>
#include <linux/sched.h>
#include <linux/spinlock.h>

/*
 * KUnit runs one case at a time. It starts a thread for the case and another one
 * for its cleanup, and each says so of itself before it does anything else.
 */
static DEFINE_RAW_SPINLOCK(lock);
static struct task_struct *task;
static struct kunit *running;

void pymt_kunit_set_current(struct kunit *test)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&lock, flags);
	task = test ? current : NULL;
	running = test;
	raw_spin_unlock_irqrestore(&lock, flags);
}
EXPORT_SYMBOL_GPL(pymt_kunit_set_current);

struct kunit *pymt_kunit_current(void)
{
	struct kunit *test;
	unsigned long flags;

	raw_spin_lock_irqsave(&lock, flags);
	test = task == current ? running : NULL;
	raw_spin_unlock_irqrestore(&lock, flags);
	return test;
}
EXPORT_SYMBOL_GPL(pymt_kunit_current);

/* Runs what the parameters of kunit.ko have not filtered out, prints KTAP. */
int pymt_kunit_run(struct kunit_suite * const *start, struct kunit_suite * const *end)
{
	struct kunit_suite_set set = { start, end }, filtered;
	int err = 0;

	filtered = kunit_filter_suites(&set, kunit_filter_glob() ?: "*.*", kunit_filter(),
				       kunit_filter_action(), &err);
	if (err)
		return err;
	kunit_exec_run_tests(&filtered, false);
	__kunit_test_suites_exit((struct kunit_suite **)filtered.start,
				 filtered.end - filtered.start);
	kunit_free_suite_set(filtered);
	return 0;
}
EXPORT_SYMBOL_GPL(pymt_kunit_run);
