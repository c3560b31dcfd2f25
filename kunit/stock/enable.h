/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * KUnit for a kernel that was built without it: the compiler includes this
 * before everything else when build-modules is called with -k, which also
 * builds the kernel's lib/kunit as a module, kunit.ko.
 *
 * With CONFIG_KUNIT the kernel's task_struct and struct module have members
 * that the running kernel does not know of, so it is defined after their
 * headers only. What KUnit keeps in those members is elsewhere: which case a
 * task is running in run.c, which suites a module has between first.c and
 * last.c.
 */
#ifndef _PYMALLOC_KUNIT_STOCK_ENABLE_H
#define _PYMALLOC_KUNIT_STOCK_ENABLE_H

#include <linux/compiler.h>
#include <linux/module.h>
#include <linux/sched.h>

#if IS_ENABLED(CONFIG_KUNIT)
#error "This kernel has KUnit: build without -k"
#endif

#define CONFIG_KUNIT_MODULE		1
#define CONFIG_KUNIT_DEFAULT_ENABLED	1

/* compat.h does not look for it in 6.1, whose stable releases have it. */
#include <kunit/visibility.h>

struct kunit;
struct kunit_suite;

/* In place of current->kunit_test. */
void pymt_kunit_set_current(struct kunit *test);
struct kunit *pymt_kunit_current(void);

/* In place of what KUnit does when the loader has told it of a module. */
int pymt_kunit_run(struct kunit_suite * const *start, struct kunit_suite * const *end);

#endif /* _PYMALLOC_KUNIT_STOCK_ENABLE_H */
