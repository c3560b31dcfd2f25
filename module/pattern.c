// SPDX-License-Identifier: GPL-2.0-only
/*
 * The bytes that a shadow puts into blocks and around them, and whether they are still
 * there. No lock: whoever calls has the slot, or the shadow's lock.
 *
 *	slot            block           + asked             next slot
 *	| left red zone | user's bytes  | right red zone    |
 *	| lead bytes    | size bytes, and what is left of the stride
 */
#include <linux/poison.h>
#include <linux/string.h>
#include "shadow.h"

static u8 zone_byte(bool live)
{
	return live ? SLUB_RED_ACTIVE : SLUB_RED_INACTIVE;
}

/* The first of @n bytes that is not @want: describe it. */
static bool bytes_are(const void *block, const void *p, u8 want, size_t n,
		      enum pym_misuse kind, struct pym_bad_byte *bad)
{
	const u8 *wrong = memchr_inv(p, want, n);

	if (likely(!wrong))
		return true;
	*bad = (struct pym_bad_byte){
		.kind = kind, .offset = (const void *)wrong - block, .is = *wrong, .want = want,
	};
	return false;
}

/**
 * pym_zones_check() - is nothing beside a block written
 * @w: the slot
 * @live: has it been a user's; else a free one
 * @bad: set to the first wrong byte
 *
 * Return: true if all is well, also if there are no red zones.
 */
bool pym_zones_check(const struct pym_watched *w, bool live, struct pym_bad_byte *bad)
{
	const struct pym_cache *s = w->shadow;
	void *slot = pym_watched_slot(w), *block = pym_watched_block(w);
	size_t asked = live ? w->record->asked : s->size;

	if (!pym_watches(s, PYM_REDZONE))
		return true;
	return bytes_are(block, slot, zone_byte(live), s->lead, PYM_MISUSE_OVERFLOW, bad) &&
	       bytes_are(block, block + asked, zone_byte(live), s->stride - s->lead - asked,
			 PYM_MISUSE_OVERFLOW, bad);
}

/**
 * pym_zones_fill() - make red zones what they should be
 * @w: the slot
 * @live: of a user; else of a free one
 */
void pym_zones_fill(const struct pym_watched *w, bool live)
{
	const struct pym_cache *s = w->shadow;
	size_t asked = live ? w->record->asked : s->size;

	if (!pym_watches(s, PYM_REDZONE))
		return;
	memset(pym_watched_slot(w), zone_byte(live), s->lead);
	memset(pym_watched_block(w) + asked, zone_byte(live), s->stride - s->lead - asked);
}

/**
 * pym_poison_check() - is a free block as it was left
 * @w: the slot
 * @bad: set to the first wrong byte
 *
 * Return: true if all is well, also if blocks are not poisoned.
 */
bool pym_poison_check(const struct pym_watched *w, struct pym_bad_byte *bad)
{
	size_t last = w->shadow->size - 1;
	void *block = pym_watched_block(w);

	if (!pym_watches(w->shadow, PYM_POISON))
		return true;
	return bytes_are(block, block, POISON_FREE, last, PYM_MISUSE_USE_AFTER, bad) &&
	       bytes_are(block, block + last, POISON_END, 1, PYM_MISUSE_USE_AFTER, bad);
}

/**
 * pym_poison_fill() - leave a block that is free from now on
 * @w: the slot
 */
void pym_poison_fill(const struct pym_watched *w)
{
	size_t last = w->shadow->size - 1;
	u8 *block = pym_watched_block(w);

	if (!pym_watches(w->shadow, PYM_POISON))
		return;
	memset(block, POISON_FREE, last);
	block[last] = POISON_END;
}

/**
 * pym_report_byte() - report a byte that should not have been written
 * @w: the slot
 * @bad: the byte
 * @when: it was found
 * @ip: caller, or 0 if he has nothing to do with it
 *
 * Context: Any but NMI, no lock of ours held.
 * Return: true if it was printed.
 */
bool pym_report_byte(const struct pym_watched *w, const struct pym_bad_byte *bad,
		     const char *when, unsigned long ip)
{
	const struct pym_cache *s = w->shadow;

	return pym_report(bad->kind, ip,
			  "byte %zd of block %u is 0x%02x, not 0x%02x: heap %s, arena %u, pool %u, cache %s, block of %u bytes; %s",
			  bad->offset, w->slot, bad->is, bad->want, s->heap->name,
			  w->pool->arena->id, w->pool->index, s->name, w->record->asked, when);
}
