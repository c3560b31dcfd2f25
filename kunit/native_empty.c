// SPDX-License-Identifier: GPL-2.0-only
/*
 * An allocator that does nothing: what two calls cost. Part of the module that is
 * measured and, as a shared library, of the programs beside it.
 */
#include "native_empty.h"

static char block[512];

void *native_empty_alloc(unsigned long size)
{
	return block;
}

void native_empty_free(void *p)
{
}
