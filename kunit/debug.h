/* SPDX-License-Identifier: GPL-2.0-only */
/* What the suites about switches share. */
#ifndef _PYMALLOC_KUNIT_DEBUG_H
#define _PYMALLOC_KUNIT_DEBUG_H

#include "fixture.h"

/* Parameter generator of both suites: where blocks are found by struct page, or not. */
const void *pymt_debug_kinds(const void *prev, char *desc);
struct pymt_heap *pymt_debug_open(struct kunit *test);

/* Switch on what the words say; asserted. */
struct pym_switches pymt_words(struct kunit *test, const char *words);
void pymt_switch(struct kunit *test, struct pym_cache *cache, const char *words);
void pymt_switch_heap(struct kunit *test, struct pym_heap *heap, const char *words);

/* Live blocks of a cache and its shadows. */
unsigned long pymt_live(struct pym_cache *cache);

#define PYMT_EVERYTHING	"redzone poison owner quarantine=8"

#endif /* _PYMALLOC_KUNIT_DEBUG_H */
