/* SPDX-License-Identifier: GPL-2.0-only */
/* See native_empty.c. */
#ifndef _PYM_NATIVE_EMPTY_H
#define _PYM_NATIVE_EMPTY_H

void *native_empty_alloc(unsigned long size);
void native_empty_free(void *p);

#endif /* _PYM_NATIVE_EMPTY_H */
