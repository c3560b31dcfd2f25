/* SPDX-License-Identifier: GPL-2.0-only */
/* Came with Linux 6.6 (f9b8ba8a9fa8); what is in it was in <linux/kernel.h>. */
#if __has_include_next(<linux/args.h>)
#include_next <linux/args.h>
#else
#include <linux/kernel.h>
#endif
