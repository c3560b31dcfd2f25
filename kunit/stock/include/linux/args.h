/* SPDX-License-Identifier: GPL-2.0-only */
/* Came with Linux 6.6; what is in it was in <linux/kernel.h>. */
#include <linux/version.h>
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
#include_next <linux/args.h>
#else
#include <linux/kernel.h>
#endif
