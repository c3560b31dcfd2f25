// SPDX-License-Identifier: GPL-2.0-only
/* Linked first: where the suites that kunit_test_suites() lists begin. */
#include "ends.h"

struct kunit_suite *pymt_suites_first[] __used __section(".kunit_test_suites") = { NULL };
