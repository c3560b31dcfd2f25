// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is done in pymalloc_soak, right every time: heaps and caches of several kinds,
 * operations on them, and a model of each block.
 */
#include <linux/kernel.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include "soak.h"

#define BULK		40
#define RARE		30000		/* operations between two that are rare */
#define CTOR_BYTE	0xc5

static const struct {
	const char *name;
	size_t size;
	unsigned int flags;
} kinds[NR_CACHES] = {
	[PLAIN_16]	= { "plain-16", 16 },
	[PLAIN_64]	= { "plain-64", 64 },
	[PLAIN_192]	= { "plain-192", 192 },
	[PLAIN_512]	= { "plain-512", 512, PYM_CACHE_HWALIGN },
	[CTOR_96]	= { "ctor-96", 96 },
	[TYPESAFE_128]	= { "typesafe-128", 128, PYM_CACHE_TYPESAFE_BY_RCU },
};

struct soak_heap soak_heaps[NR_HEAPS] = {
	{ .name = "soak-pages", .provider = &pym_provider_pages },
	{ .name = "soak-vmalloc", .provider = &pym_provider_vmalloc },
	{ .name = "soak-isolated", .provider = &pym_provider_pages,
	  .flags = PYM_HEAP_RANDOM | PYM_HEAP_ISOLATE },
};

struct block soak_ring[RING];
static DEFINE_RAW_SPINLOCK(ring_lock);	/* guards soak_ring */

__printf(2, 3) static void wrong(struct actor *a, const char *fmt, ...)
{
	struct va_format vaf = { .fmt = fmt };
	va_list args;

	va_start(args, fmt);
	vaf.va = &args;
	if (a->wrong++ < 5)
		pr_err("wrong: %pV\n", &vaf);
	va_end(args);
}

/* ---------------------------------------------------------------- a block -- */

/*
 * What a block has in its first and in its last word, if it is so large that these are
 * two, or that it has one at all. No two blocks have the same.
 */
static u64 stamp(const struct block *b)
{
	return ((u64)b->serial << 32 | b->size << 16 | b->by) ^ 0x5041534b534f414bULL;
}

static void write_stamps(const struct block *b)
{
	u64 word = stamp(b);

	if (b->size >= sizeof(word))
		memcpy(b->p, &word, sizeof(word));
	if (b->size >= 2 * sizeof(word))
		memcpy(b->p + b->size - sizeof(word), &word, sizeof(word));
}

/* As far as the first @kept bytes have them. */
static void check_stamps(struct actor *a, const struct block *b, size_t kept)
{
	u64 word = stamp(b);

	if (min_t(size_t, b->size, kept) >= sizeof(word) && memcmp(b->p, &word, sizeof(word)))
		wrong(a, "a block of %u bytes was changed at its start", b->size);
	if (b->size >= 2 * sizeof(word) && kept >= b->size &&
	    memcmp(b->p + b->size - sizeof(word), &word, sizeof(word)))
		wrong(a, "a block of %u bytes was changed at its end", b->size);
}

static void construct(void *block)
{
	memset(block, CTOR_BYTE, kinds[CTOR_96].size);
}

/* A block has just come. */
static void receive(struct actor *a, struct block *b, bool zeroed)
{
	b->serial = a->serial++;
	b->by = a->id;
	if (zeroed && memchr_inv(b->p, 0, b->size))
		wrong(a, "%u bytes that should be zero are not", b->size);
	if (b->origin == CTOR_96 && memchr_inv(b->p, CTOR_BYTE, b->size))
		wrong(a, "a block came not as it was constructed");
	write_stamps(b);
}

/* A block is about to go. */
static void part(struct actor *a, struct block *b)
{
	check_stamps(a, b, b->size);
	if (b->origin == CTOR_96)
		construct(b->p);
}

/* ------------------------------------------------------------- operations -- */

static struct pym_cache *cache_of(const struct block *b)
{
	return soak_heaps[b->heap].cache[b->origin];
}

static u32 any_size(struct actor *a)
{
	switch (below(a, 16)) {
	case 0 ... 8:
		return 1 + below(a, 128);
	case 9 ... 13:
		return 1 + below(a, 1024);
	case 14:
		return 1 + below(a, PYM_SMALL_MAX);
	default:
		/* What passes through is not for interrupts. */
		return 1 + below(a, a->gfp == GFP_KERNEL && !below(a, 8) ? 20000 : 64);
	}
}

static void allocate(struct actor *a, struct block *b)
{
	bool zeroed = !below(a, 4);
	gfp_t gfp = a->gfp | __GFP_NOWARN | (zeroed ? __GFP_ZERO : 0);
	struct block new = { .heap = below(a, NR_HEAPS) };

	new.origin = min_t(u8, below(a, NR_CACHES + 4), ANY_SIZE);
	if (new.origin == CTOR_96) {
		zeroed = false;
		gfp &= ~__GFP_ZERO;
	}
	if (new.origin == ANY_SIZE) {
		new.size = any_size(a);
		new.p = zeroed && below(a, 2) ?
			pym_calloc(soak_heaps[new.heap].heap, 1, new.size, gfp & ~__GFP_ZERO) :
			pym_malloc(soak_heaps[new.heap].heap, new.size, gfp);
	} else {
		new.size = kinds[new.origin].size;
		new.p = below(a, 8) ? pym_cache_alloc(cache_of(&new), gfp) :
			pym_cache_alloc_node(cache_of(&new), gfp, NUMA_NO_NODE);
	}
	a->operations++;
	if (!new.p) {
		a->refused++;
		return;
	}
	receive(a, &new, zeroed);
	*b = new;
}

static void release(struct actor *a, struct block *b)
{
	part(a, b);
	a->operations++;
	if (b->origin == ANY_SIZE)
		pym_free(b->p);
	else if (!below(a, 16))
		pym_cache_free_rcu(cache_of(b), b->p);
	else
		pym_cache_free(cache_of(b), b->p);
	b->p = NULL;
}

static void resize(struct actor *a, struct block *b)
{
	u32 size = any_size(a);
	void *p;

	if (pym_usable_size(b->p) < b->size)
		wrong(a, "of %u bytes %zu may be used", b->size, pym_usable_size(b->p));
	if (b->origin != ANY_SIZE)
		return;
	a->operations++;
	p = pym_realloc(below(a, 2) ? soak_heaps[b->heap].heap : NULL, b->p, size,
			a->gfp | __GFP_NOWARN);
	if (!p) {
		a->refused++;
		return;
	}
	b->p = p;
	check_stamps(a, b, size);
	b->size = size;
	receive(a, b, false);
}

static void exchange(struct actor *a, struct block *b)
{
	struct block *other = &soak_ring[below(a, RING)];
	unsigned long flags;

	raw_spin_lock_irqsave(&ring_lock, flags);
	swap(*b, *other);
	raw_spin_unlock_irqrestore(&ring_lock, flags);
}

/**
 * soak_act() - do something
 * @a: who
 *
 * Context: Any but NMI.
 */
void soak_act(struct actor *a)
{
	struct block *b = &a->own[below(a, a->nr_own)];

	switch (below(a, 32)) {
	case 0 ... 3:
		exchange(a, b);
		break;
	case 4:
		if (b->p) {
			resize(a, b);
			break;
		}
		fallthrough;
	default:
		if (b->p)
			release(a, b);
		else
			allocate(a, b);
	}
}

/* -------------------------------------------------- of threads alone -- */

static void allocate_bulk(struct actor *a)
{
	struct block new = { .heap = below(a, NR_HEAPS), .origin = below(a, NR_CACHES) };
	unsigned int n = 1 + below(a, BULK), i;
	void *blocks[BULK];

	a->operations += n;
	if (pym_cache_alloc_bulk(cache_of(&new), a->gfp | __GFP_NOWARN, n, blocks) != n) {
		a->refused += n;
		return;
	}
	for (i = 0; i < n; i++) {
		struct block *b = &a->own[below(a, a->nr_own)];

		if (b->p)
			release(a, b);
		new.p = blocks[i];
		new.size = kinds[new.origin].size;
		receive(a, &new, false);
		*b = new;
	}
}

static void release_bulk(struct actor *a)
{
	struct block kind = { .heap = below(a, NR_HEAPS), .origin = below(a, NR_CACHES) };
	unsigned int n = 0, i, first = below(a, a->nr_own);
	void *blocks[BULK];

	for (i = 0; i < a->nr_own / 4 && n < BULK; i++) {
		struct block *b = &a->own[(first + i) % a->nr_own];

		if (!b->p || b->heap != kind.heap || b->origin != kind.origin)
			continue;
		part(a, b);
		blocks[n++] = b->p;
		b->p = NULL;
	}
	a->operations += n;
	pym_cache_free_bulk(cache_of(&kind), n, blocks);
}

/* A cache that comes, is used and goes. */
static void short_lived_cache(struct actor *a)
{
	struct pym_cache_args args = { .heap = soak_heaps[below(a, NR_HEAPS)].heap };
	unsigned int n = 1 + below(a, BULK), i;
	struct pym_cache *cache;
	void *blocks[BULK];

	cache = pym_cache_create("short-lived", 8 + 8 * below(a, 100), &args);
	if (!cache) {
		a->refused++;
		return;
	}
	for (i = 0; i < n; i++)
		blocks[i] = pym_cache_alloc(cache, a->gfp | __GFP_NOWARN);
	while (i--)
		pym_cache_free(cache, blocks[i]);
	a->operations += 2 * n;
	pym_cache_destroy(cache);
}

/* A heap that is emptied as a whole, and goes with what is in it. */
static void short_lived_heap(struct actor *a)
{
	struct soak_heap *like = &soak_heaps[below(a, NR_HEAPS)];
	struct pym_heap_args args = { .provider = like->provider, .flags = like->flags };
	struct pym_heap *heap = pym_heap_create("short-lived", &args);
	unsigned int round, i;

	if (!heap) {
		a->refused++;
		return;
	}
	for (round = 0; round < 2; round++) {
		for (i = 0; i < 100; i++) {
			struct block b = { .size = any_size(a), .origin = ANY_SIZE };

			a->operations++;
			b.p = pym_malloc(heap, b.size, a->gfp | __GFP_NOWARN);
			if (b.p)
				receive(a, &b, false);
			else
				a->refused++;
		}
		if (!round)
			pym_heap_reset(heap);
	}
	pym_heap_destroy(heap);
}

static void do_something_rare(struct actor *a)
{
	struct soak_heap *h = &soak_heaps[below(a, NR_HEAPS)];

	switch (below(a, 4)) {
	case 0:
		pym_heap_shrink(h->heap);
		break;
	case 1:
		pym_cache_shrink(h->cache[below(a, NR_CACHES)]);
		break;
	case 2:
		short_lived_cache(a);
		break;
	case 3:
		short_lived_heap(a);
		break;
	}
}

/**
 * soak_act_in_thread() - do something that may sleep, once in a while something rare
 * @a: who
 *
 * Context: Task context.
 */
void soak_act_in_thread(struct actor *a)
{
	switch (below(a, 64)) {
	case 0:
		allocate_bulk(a);
		break;
	case 1:
		release_bulk(a);
		break;
	default:
		soak_act(a);
	}
	if (!below(a, RARE))
		do_something_rare(a);
}

/* ----------------------------------------------------------- all blocks -- */

/**
 * soak_count() - count live blocks, and look at each
 * @a: to whom it is told if one is not as it must be
 * @blocks: they, and free entries
 * @n: how many entries
 * @live: added to, by heap
 */
void soak_count(struct actor *a, const struct block *blocks, unsigned int n, unsigned long *live)
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		if (!blocks[i].p)
			continue;
		live[blocks[i].heap]++;
		check_stamps(a, &blocks[i], blocks[i].size);
	}
}

/**
 * soak_release_all() - free blocks
 * @a: who
 * @blocks: they, and free entries
 * @n: how many entries
 */
void soak_release_all(struct actor *a, struct block *blocks, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		if (blocks[i].p)
			release(a, &blocks[i]);
}

/* ---------------------------------------------------------------- heaps -- */

/**
 * soak_destroy_heaps() - with all that is in them
 */
void soak_destroy_heaps(void)
{
	unsigned int i;

	for (i = 0; i < NR_HEAPS; i++)
		pym_heap_destroy(soak_heaps[i].heap);
}

/**
 * soak_create_heaps() - and their caches
 *
 * Return: 0 or -ENOMEM; soak_destroy_heaps() is due in any case.
 */
int soak_create_heaps(void)
{
	struct soak_heap *h;
	unsigned int k;

	for (h = soak_heaps; h < soak_heaps + NR_HEAPS; h++) {
		struct pym_heap_args args = {
			.provider = h->provider, .flags = h->flags,
			.isolate_ms = h->flags & PYM_HEAP_ISOLATE ? 50 : 0,
		};

		h->heap = pym_heap_create(h->name, &args);
		if (!h->heap)
			return -ENOMEM;
		for (k = 0; k < NR_CACHES; k++) {
			struct pym_cache_args cache = {
				.heap = h->heap,
				.flags = kinds[k].flags,
				.ctor = k == CTOR_96 ? construct : NULL,
			};

			h->cache[k] = pym_cache_create(kinds[k].name, kinds[k].size, &cache);
			if (!h->cache[k])
				return -ENOMEM;
		}
	}
	return 0;
}
