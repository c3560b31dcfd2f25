/* SPDX-License-Identifier: GPL-2.0-only */
/* The linker puts sections of one name together in the order of the files. */
#ifndef _PYMALLOC_KUNIT_STOCK_ENDS_H
#define _PYMALLOC_KUNIT_STOCK_ENDS_H

#include "enable.h"

extern struct kunit_suite *pymt_suites_first[];
extern struct kunit_suite *pymt_suites_last[];

#endif /* _PYMALLOC_KUNIT_STOCK_ENDS_H */
