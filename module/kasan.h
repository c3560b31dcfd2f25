/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What KASAN is told of blocks, in kernels that have it; elsewhere nothing at all is left
 * of these calls. See section 13 of internal.h.
 */
#ifndef _PYM_KASAN_H
#define _PYM_KASAN_H

#include "types.h"

#ifdef CONFIG_KASAN_GENERIC
#define PYM_KASAN	1

void pym_kasan_obtained(struct pym_heap *heap, void *addr, size_t size);
void pym_kasan_give_back(struct pym_heap *heap, void *addr, size_t size);
void pym_kasan_take_pool(struct pym_pool *pool, struct pym_cache *cache);
void pym_kasan_put_pool(struct pym_pool *pool);
void pym_kasan_open(struct pym_cache *cache, void *block);
void pym_kasan_shut(struct pym_cache *cache, void *block);
void *pym_kasan_hand_out(struct pym_cache *cache, void *block, size_t n);
bool pym_kasan_free(struct pym_cache *cache, const void *block);
unsigned int pym_kasan_free_many(struct pym_cache *cache, void **blocks, unsigned int n);
bool pym_kasan_is_free(const struct pym_cache *cache, const void *block);
void pym_kasan_tell(const struct pym_pool *pool, const void *p);
void pym_kasan_tell_double_free(bool on);
#else
#define PYM_KASAN	0

static inline void pym_kasan_obtained(struct pym_heap *heap, void *addr, size_t size) { }
static inline void pym_kasan_give_back(struct pym_heap *heap, void *addr, size_t size) { }
static inline void pym_kasan_take_pool(struct pym_pool *pool, struct pym_cache *cache) { }
static inline void pym_kasan_put_pool(struct pym_pool *pool) { }
static inline void pym_kasan_open(struct pym_cache *cache, void *block) { }
static inline void pym_kasan_shut(struct pym_cache *cache, void *block) { }
static inline void pym_kasan_tell(const struct pym_pool *pool, const void *p) { }
static inline void pym_kasan_tell_double_free(bool on) { }

static inline void *pym_kasan_hand_out(struct pym_cache *cache, void *block, size_t n)
{
	return block;
}

static __always_inline bool pym_kasan_free(struct pym_cache *cache, const void *block)
{
	return true;
}

static __always_inline unsigned int pym_kasan_free_many(struct pym_cache *cache, void **blocks,
							unsigned int n)
{
	return n;
}

static inline bool pym_kasan_is_free(const struct pym_cache *cache, const void *block)
{
	return false;
}
#endif

#endif /* _PYM_KASAN_H */
