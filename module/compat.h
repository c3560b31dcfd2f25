/* SPDX-License-Identifier: GPL-2.0-only */
/* Differences between kernel versions, each with the version that caused it. */
#ifndef _PYM_COMPAT_H
#define _PYM_COMPAT_H

#include <linux/version.h>

/* <kunit/visibility.h> came with Linux 6.3, and with stable releases before it. */
#if IS_ENABLED(CONFIG_KUNIT) && __has_include(<kunit/visibility.h>)
#include <kunit/visibility.h>
#else
#define EXPORT_SYMBOL_IF_KUNIT(...)
#endif

#endif /* _PYM_COMPAT_H */
