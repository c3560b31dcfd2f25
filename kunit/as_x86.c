// SPDX-License-Identifier: GPL-2.0-only
/*
 * The preemption count of as_x86.h, one for all modules.
 */
#include <linux/export.h>
#include "as_x86.h"

int as_x86_preempt_count = 1 << 30;
EXPORT_SYMBOL_GPL(as_x86_preempt_count);
