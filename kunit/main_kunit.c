// SPDX-License-Identifier: GPL-2.0-only
/*
 * The module that all suites are linked into.
 */
#include "fixture.h"

MODULE_DESCRIPTION("KUnit suites of pymalloc");
MODULE_AUTHOR("The pymalloc developers");
MODULE_LICENSE("GPL");
PYMT_IMPORT_NS(EXPORTED_FOR_KUNIT_TESTING);
