/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Patterns of allocation, measured in cycles of the time stamp counter. A kernel
 * module and programs include this alike, so that every allocator is run by the same
 * loops: no kernel types and no C library in here. The includer has bool and noinline.
 *
 * The second part is a template. It is included once for each allocator, after
 *
 *	#define PATTERN(name)	names what is made for this allocator
 *	#define PATTERN_ALLOC	void *(*)(void *from, unsigned long size), to be inlined
 *	#define PATTERN_FREE	void (*)(void *from, void *p), to be inlined
 *
 * and makes PATTERN(measure)(). Blocks are not written to: what an allocator itself
 * writes there is part of its cost.
 */
#ifndef _PYM_PATTERNS_H
#define _PYM_PATTERNS_H

/* Pairs of an allocation and a free in one measurement. */
#define PATTERN_PAIRS		16384

#define PATTERN_WINDOW		256	/* blocks live at a time */
#define PATTERN_ORDERS		16
#define PATTERN_MAX_BATCHES	1024

#define PATTERN_SMALLEST	16
#define PATTERN_LARGEST		512

enum pattern_kind {
	PATTERN_PAIR,		/* allocate one, free it */
	PATTERN_BURST,		/* allocate a window full, free it in the same order */
	PATTERN_FIFO,		/* of a window of live blocks, free the oldest, allocate one */
	PATTERN_SHUFFLED,	/* allocate a window full, free it in random order */
	PATTERN_MIXED,		/* replace a random block of a window by one of random size */
};

struct pattern {
	enum pattern_kind kind;
	unsigned int size;		/* 0: many */
	const char *name;
};

#define PATTERN_NR	10

static const struct pattern patterns[PATTERN_NR] = {
	{ PATTERN_PAIR,		16,	"alloc+free pair" },
	{ PATTERN_PAIR,		32,	"alloc+free pair" },
	{ PATTERN_PAIR,		64,	"alloc+free pair" },
	{ PATTERN_PAIR,		128,	"alloc+free pair" },
	{ PATTERN_PAIR,		256,	"alloc+free pair" },
	{ PATTERN_PAIR,		512,	"alloc+free pair" },
	{ PATTERN_BURST,	64,	"burst of 256" },
	{ PATTERN_FIFO,		64,	"FIFO of 256" },
	{ PATTERN_SHUFFLED,	64,	"256, freed in random order" },
	{ PATTERN_MIXED,	0,	"256 of 16..512, random replaced" },
};

/* In hundredths of a cycle for each pair. */
struct pattern_result {
	unsigned long long min;
	unsigned long long median;
};

static struct {
	void *slot[PATTERN_WINDOW];
	unsigned char order[PATTERN_ORDERS][PATTERN_WINDOW];	/* permutations */
	unsigned short size[PATTERN_ORDERS][PATTERN_WINDOW];
	unsigned long long cycles[PATTERN_MAX_BATCHES];
} pattern_data;

/* The same numbers in every run and for every allocator. */
static inline void pattern_prepare(void)
{
	unsigned long long x = 88172645463325252ULL;
	unsigned int i, k, other;
	unsigned char swap;

	for (i = 0; i < PATTERN_ORDERS; i++) {
		for (k = 0; k < PATTERN_WINDOW; k++)
			pattern_data.order[i][k] = k;
		for (k = 0; k < PATTERN_WINDOW; k++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			other = k + (x >> 32) % (PATTERN_WINDOW - k);
			swap = pattern_data.order[i][k];
			pattern_data.order[i][k] = pattern_data.order[i][other];
			pattern_data.order[i][other] = swap;
			pattern_data.size[i][k] = PATTERN_SMALLEST +
				(x & 0xffff) % (PATTERN_LARGEST - PATTERN_SMALLEST + 1);
		}
	}
}

/* Everything before has been done, nothing after has begun. */
static inline unsigned long long pattern_clock(void)
{
	unsigned int low, high;

	asm volatile("lfence\n"
		     "	rdtsc\n"
		     "	lfence\n"
		     : "=a" (low), "=d" (high) : : "memory");
	return (unsigned long long)high << 32 | low;
}

/* Sorts them. */
static inline struct pattern_result pattern_summary(unsigned long long *cycles, unsigned int n)
{
	unsigned int i, k;

	for (i = 1; i < n; i++) {
		unsigned long long x = cycles[i];

		for (k = i; k && cycles[k - 1] > x; k--)
			cycles[k] = cycles[k - 1];
		cycles[k] = x;
	}
	return (struct pattern_result){
		.min = cycles[0] * 100 / PATTERN_PAIRS,
		.median = cycles[n / 2] * 100 / PATTERN_PAIRS,
	};
}

#endif /* _PYM_PATTERNS_H */

#ifdef PATTERN

/* Each makes PATTERN_PAIRS pairs; false if there was no memory. */

static noinline bool PATTERN(pair)(void *from, unsigned long size)
{
	unsigned int i;

	for (i = 0; i < PATTERN_PAIRS; i++) {
		void *p = PATTERN_ALLOC(from, size);

		if (!p)
			return false;
		PATTERN_FREE(from, p);
	}
	return true;
}

static noinline bool PATTERN(burst)(void *from, unsigned long size)
{
	void **slot = pattern_data.slot;
	unsigned int done, i;

	for (done = 0; done < PATTERN_PAIRS; done += PATTERN_WINDOW) {
		for (i = 0; i < PATTERN_WINDOW; i++) {
			slot[i] = PATTERN_ALLOC(from, size);
			if (!slot[i])
				return false;
		}
		for (i = 0; i < PATTERN_WINDOW; i++)
			PATTERN_FREE(from, slot[i]);
	}
	return true;
}

static noinline bool PATTERN(shuffled)(void *from, unsigned long size)
{
	void **slot = pattern_data.slot;
	unsigned int done, i;

	for (done = 0; done < PATTERN_PAIRS; done += PATTERN_WINDOW) {
		const unsigned char *order =
			pattern_data.order[done / PATTERN_WINDOW % PATTERN_ORDERS];

		for (i = 0; i < PATTERN_WINDOW; i++) {
			slot[i] = PATTERN_ALLOC(from, size);
			if (!slot[i])
				return false;
		}
		for (i = 0; i < PATTERN_WINDOW; i++)
			PATTERN_FREE(from, slot[order[i]]);
	}
	return true;
}

static noinline bool PATTERN(fifo)(void *from, unsigned long size)
{
	void **slot = pattern_data.slot;
	unsigned int i;

	for (i = 0; i < PATTERN_PAIRS; i++) {
		void **oldest = &slot[i % PATTERN_WINDOW];

		PATTERN_FREE(from, *oldest);
		*oldest = PATTERN_ALLOC(from, size);
		if (!*oldest)
			return false;
	}
	return true;
}

static noinline bool PATTERN(mixed)(void *from)
{
	void **slot = pattern_data.slot;
	const unsigned char *order = pattern_data.order[0];
	const unsigned short *size = pattern_data.size[0];
	unsigned int i;

	for (i = 0; i < PATTERN_PAIRS; i++) {
		unsigned int k = i % (PATTERN_ORDERS * PATTERN_WINDOW);
		void **chosen = &slot[order[k]];

		PATTERN_FREE(from, *chosen);
		*chosen = PATTERN_ALLOC(from, size[k]);
		if (!*chosen)
			return false;
	}
	return true;
}

static bool PATTERN(fill)(void *from, unsigned long size)
{
	unsigned int i;

	for (i = 0; i < PATTERN_WINDOW; i++) {
		pattern_data.slot[i] =
			PATTERN_ALLOC(from, size ? size : pattern_data.size[0][i]);
		if (!pattern_data.slot[i])
			return false;
	}
	return true;
}

static void PATTERN(empty)(void *from)
{
	unsigned int i;

	for (i = 0; i < PATTERN_WINDOW; i++)
		PATTERN_FREE(from, pattern_data.slot[i]);
}

static bool PATTERN(run)(const struct pattern *pattern, void *from)
{
	switch (pattern->kind) {
	case PATTERN_PAIR:
		return PATTERN(pair)(from, pattern->size);
	case PATTERN_BURST:
		return PATTERN(burst)(from, pattern->size);
	case PATTERN_FIFO:
		return PATTERN(fifo)(from, pattern->size);
	case PATTERN_SHUFFLED:
		return PATTERN(shuffled)(from, pattern->size);
	case PATTERN_MIXED:
		return PATTERN(mixed)(from);
	}
	return false;
}

/*
 * Measure a pattern @batches times, after one time that does not count. Without memory
 * it returns false, and leaves blocks behind.
 */
static bool PATTERN(measure)(const struct pattern *pattern, void *from, unsigned int batches,
			     struct pattern_result *result)
{
	bool window = pattern->kind == PATTERN_FIFO || pattern->kind == PATTERN_MIXED;
	unsigned int i;

	if (window && !PATTERN(fill)(from, pattern->size))
		return false;
	for (i = 0; i <= batches; i++) {
		unsigned long long start = pattern_clock();

		if (!PATTERN(run)(pattern, from))
			return false;
		pattern_data.cycles[i ? i - 1 : 0] = pattern_clock() - start;
	}
	if (window)
		PATTERN(empty)(from);
	*result = pattern_summary(pattern_data.cycles, batches);
	return true;
}

#undef PATTERN
#undef PATTERN_ALLOC
#undef PATTERN_FREE

#endif /* PATTERN */
