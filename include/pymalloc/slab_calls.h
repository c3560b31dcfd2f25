/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * pymalloc: what slab_compat.h calls. Nothing here is for anybody else, and all of it
 * may change.
 */
#ifndef _PYMALLOC_SLAB_CALLS_H
#define _PYMALLOC_SLAB_CALLS_H

#include <linux/slab.h>
#include <pymalloc/pymalloc.h>

/* In the heap of that name, made for the first cache in it; NULL: the default heap. */
struct pym_cache *__pym_slab_create(const char *heap, const char *name, unsigned int size,
				    unsigned int align, slab_flags_t flags,
				    void (*ctor)(void *), struct module *module);

/* The heap goes with the last one. */
void __pym_slab_destroy(struct pym_cache *cache);

/* False if it is not of pymalloc: then nothing has happened, and the kernel has it. */
bool __pym_slab_free(const void *p);
bool __pym_slab_free_rcu(void *p);

#endif /* _PYMALLOC_SLAB_CALLS_H */
