// SPDX-License-Identifier: GPL-2.0-only
/*
 * States and calls of the failure walk that are about switches: nothing may fail because
 * of them but what changes them, and then everything is as it was.
 */
#include <linux/seq_file.h>
#include "debug.h"
#include "shadow.h"
#include "walk.h"

#define EVERYTHING	(PYM_REDZONE | PYM_POISON | PYM_OWNER)

/* What this kernel can have of it. */
static unsigned int can(unsigned int on)
{
	return IS_ENABLED(CONFIG_STACKDEPOT) ? on : on & ~PYM_OWNER;
}

static void switch_heap(struct walk_scene *s, unsigned int on, unsigned int quarantine)
{
	const struct pym_switches switches = { .on = can(on), .quarantine = quarantine };

	KUNIT_ASSERT_EQ(s->test, pym_switch_heap(s->heap, &switches), 0);
	s->owned |= on & PYM_OWNER;
}

/* --------------------------------------------------------------- states ---- */

/* Blocks that shadows have beside those that were there before. */
void walk_switched(struct walk_scene *s)
{
	walk_take(s, 8);
	switch_heap(s, EVERYTHING, 8);
	walk_take(s, 24);
}

/* The shadows of then still have blocks; others serve. */
void walk_switched_twice(struct walk_scene *s)
{
	walk_switched(s);
	switch_heap(s, PYM_REDZONE, 0);
	walk_take(s, 16);
}

void walk_switched_off(struct walk_scene *s)
{
	walk_switched(s);
	switch_heap(s, 0, 0);
}

/* Every other block has a page behind it that nobody may touch, and some are freed. */
void walk_guarded(struct walk_scene *s)
{
	const struct pym_switches switches = { .guard = 2 };

	KUNIT_ASSERT_EQ(s->test, pym_switch_heap(s->heap, &switches), 0);
	walk_take(s, 16);
}

/* All that shadows have is in quarantine. */
void walk_quarantined(struct walk_scene *s)
{
	switch_heap(s, EVERYTHING, 32);
	walk_take(s, 40);
	walk_give_all(s);
}

void walk_switched_at_limit(struct walk_scene *s)
{
	walk_switched(s);
	walk_limit_to(s, 0);
}

/* ---------------------------------------------------------------- calls ---- */

/* A cache that is watched, and no state of the heap changes that. */
void walk_with_watched(struct walk_scene *s)
{
	const struct pym_switches switches = { .on = can(EVERYTHING), .quarantine = 2 };
	struct pym_cache_args args = { .heap = s->heap };

	s->other = pym_cache_create("watched", 24, &args);
	KUNIT_ASSERT_NOT_NULL(s->test, s->other);
	KUNIT_ASSERT_EQ(s->test, pym_switch_cache(s->other, &switches), 0);
}

/* A cache each of whose blocks has a page behind it that nobody may touch. */
void walk_with_guarded(struct walk_scene *s)
{
	const struct pym_switches switches = { .guard = 1 };
	struct pym_cache_args args = { .heap = s->heap };

	s->other = pym_cache_create("guarded", 24, &args);
	KUNIT_ASSERT_NOT_NULL(s->test, s->other);
	KUNIT_ASSERT_EQ(s->test, pym_switch_cache(s->other, &switches), 0);
}

/* One with a live block that its shadow has, and one of its own. */
void walk_with_watched_block(struct walk_scene *s)
{
	walk_with_watched(s);
	s->p = pymt_take(s->test, s->other);
	s->size = 0;
}

static bool is_same(const struct pym_switches *a, const struct pym_switches *b)
{
	return a->on == b->on && a->quarantine == b->quarantine && a->guard == b->guard;
}

/* Change what is on for a cache; if that fails, the same is on as before. */
static bool change(struct walk_scene *s, struct pym_cache *cache,
		   const struct pym_switches *switches)
{
	struct pym_switches after;
	int err;

	pym_cache_switches(cache, &s->switches);
	err = pym_switch_cache(cache, switches);
	pym_cache_switches(cache, &after);
	KUNIT_EXPECT_TRUE(s->test, !err || err == -ENOMEM || err == -EDQUOT);
	KUNIT_EXPECT_TRUE(s->test, is_same(&after, err ? &s->switches : switches));
	return !err;
}

bool walk_switch_on(struct walk_scene *s)
{
	const struct pym_switches on = {
		.on = can(PYM_REDZONE | PYM_OWNER), .quarantine = 4,
	};

	return change(s, s->cache, &on);
}

void walk_switch_back(struct walk_scene *s)
{
	/* At the limit there may be no room for what was on before. */
	pym_switch_cache(s->cache, &s->switches);
}

bool walk_switch_other(struct walk_scene *s)
{
	const struct pym_switches on = { .on = PYM_REDZONE, .quarantine = 100 };

	return change(s, s->other, &on);
}

bool walk_switch_off(struct walk_scene *s)
{
	const struct pym_switches none = {};

	return change(s, s->other, &none);
}

/* Each cache has what it had before, or what is on now. */
bool walk_switch_heap_on(struct walk_scene *s)
{
	const struct pym_switches on = {
		.on = can(PYM_POISON | PYM_OWNER), .quarantine = 3,
	};
	struct pym_switches before, after;
	int err;

	if (!s->tried)
		s->switches = s->heap->switches;
	s->tried = true;
	pym_cache_switches(s->cache, &before);
	err = pym_switch_heap(s->heap, &on);
	pym_cache_switches(s->cache, &after);
	KUNIT_EXPECT_TRUE(s->test, !err || err == -ENOMEM || err == -EDQUOT);
	KUNIT_EXPECT_TRUE(s->test, is_same(&after, &on) || (err && is_same(&after, &before)));
	return !err;
}

bool walk_switch_heap_off(struct walk_scene *s)
{
	const struct pym_switches none = {};

	return !pym_switch_heap(s->heap, &none);
}

void walk_switch_heap_back(struct walk_scene *s)
{
	pym_switch_heap(s->heap, &s->switches);
}

bool walk_free_watched(struct walk_scene *s)
{
	pym_cache_free(s->other, s->p);
	s->added = -1;
	return true;
}

/* What the file `owners' says, whose table may have no memory. */
bool walk_owners(struct walk_scene *s)
{
	char text[256] = "";
	struct seq_file m = { .buf = text, .size = sizeof(text) };
	int err = pym_owner_show(&m, s->heap, s->other);

	KUNIT_EXPECT_TRUE(s->test, !err || err == -ENOMEM);
	if (!err && IS_ENABLED(CONFIG_STACKDEPOT))
		KUNIT_EXPECT_PTR_EQ(s->test, strstr(text, "1 blocks, 24 bytes"), (char *)text);
	return !err;
}
