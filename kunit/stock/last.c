// SPDX-License-Identifier: GPL-2.0-only
/* Linked last: where the suites end, and what runs them. */
#include <linux/init.h>
#include <linux/module.h>
#include "ends.h"

struct kunit_suite *pymt_suites_last[] __used __section(".kunit_test_suites") = { NULL };

static int __init pymt_suites_run(void)
{
	struct kunit_suite **start = pymt_suites_first, **end = pymt_suites_last;

	/* Not an array that the compiler could think the end of. */
	OPTIMIZER_HIDE_VAR(start);
	return pymt_kunit_run(start + 1, end);
}

static void __exit pymt_suites_exit(void)
{
}

module_init(pymt_suites_run);
module_exit(pymt_suites_exit);
