// SPDX-License-Identifier: GPL-2.0-only
/*
 * Arithmetic: request size, class, stride, order, slot.
 */
#include "fixture.h"

/* Above the classes that are 8 bytes apart, as the documentation has them. */
static const u16 coarse[] = {
	544, 584, 624, 680, 744, 816, 904, 1024,
	1088, 1168, 1256, 1360, 1488, 1632, 1816, 2048,
};

#define FINE_MAX	512

/* What a request must be served with. */
static size_t size_for(size_t n)
{
	unsigned int i;

	if (n <= FINE_MAX)
		return max(round_up(n, 8), 8);
	for (i = 0; i < ARRAY_SIZE(coarse); i++)
		if (n <= coarse[i])
			return coarse[i];
	return 0;
}

static void request_to_class(struct kunit *test)
{
	unsigned int bad = 0;
	size_t n;

	for (n = 0; n <= PYM_SMALL_MAX; n++) {
		size_t size = pym_class_to_size(pym_size_to_class(n));

		if (size != size_for(n)) {
			kunit_err(test, "request of %zu bytes gets a block of %zu\n", n, size);
			bad++;
		}
	}
	KUNIT_EXPECT_EQ_MSG(test, bad, 0, "requests in a wrong class");
}

static void class_boundaries(struct kunit *test)
{
	unsigned int class;

	KUNIT_EXPECT_EQ(test, PYM_NR_CLASSES, FINE_MAX / 8 + ARRAY_SIZE(coarse));
	KUNIT_EXPECT_EQ(test, pym_class_to_size(PYM_NR_CLASSES - 1), PYM_SMALL_MAX);
	for (class = 0; class < PYM_NR_CLASSES; class++) {
		size_t size = pym_class_to_size(class);

		KUNIT_ASSERT_EQ(test, size, class < FINE_MAX / 8 ? 8 * (class + 1) :
						    coarse[class - FINE_MAX / 8]);
		KUNIT_ASSERT_EQ(test, pym_size_to_class(size), class);
		KUNIT_ASSERT_EQ(test, pym_size_to_class(size + 1), class + 1);
	}
}

/* Of the classes beyond 8-byte steps: what a request and a pool can lose. */
static void coarse_classes_waste_little(struct kunit *test)
{
	unsigned int class;

	for (class = FINE_MAX / 8; class < PYM_NR_CLASSES; class++) {
		size_t size = pym_class_to_size(class), below = pym_class_to_size(class - 1);
		unsigned int order = pym_stride_to_order(size);
		size_t tail = pym_pool_size(order) - pym_pool_capacity(size, order) * size;

		KUNIT_EXPECT_LE_MSG(test, 100 * tail, pym_pool_size(order), "class %zu", size);
		KUNIT_EXPECT_LT_MSG(test, 100 * size, 114 * (below + 1), "class %zu", size);
	}
}

static void class_alignment(struct kunit *test)
{
	unsigned int class;

	for (class = 0; class < PYM_NR_CLASSES; class++) {
		size_t size = pym_class_to_size(class);
		size_t align = pym_natural_align(size);

		KUNIT_ASSERT_TRUE_MSG(test, is_power_of_2(align), "%zu", size);
		KUNIT_ASSERT_EQ_MSG(test, size % align, 0, "no padding in class %zu", size);
		KUNIT_ASSERT_EQ_MSG(test, align, (size & (size - 1)) ? 8 : size, "class %zu", size);
	}
}

/* What a request really gets, against the table; what is above it passes through. */
static void request_gets_its_class(struct kunit *test)
{
	struct pym_heap *heap = pymt_heap(test)->heap;
	unsigned int bad = 0;
	size_t n;

	for (n = 0; n <= PYM_SMALL_MAX + 1; n++) {
		void *p = pymt_malloc(test, heap, n);
		size_t usable = pym_usable_size(p);
		bool ok;

		if (n <= PYM_SMALL_MAX)
			ok = usable == size_for(n) &&
			     IS_ALIGNED((unsigned long)p, pym_natural_align(usable));
		else
			ok = usable >= n && IS_ALIGNED((unsigned long)p, 8);
		rcu_read_lock();
		ok &= !!pym_lookup(p) == (n <= PYM_SMALL_MAX);
		rcu_read_unlock();
		if (!ok) {
			kunit_err(test, "request of %zu bytes: usable %zu\n", n, usable);
			bad++;
		}
		pym_free(p);
	}
	KUNIT_EXPECT_EQ_MSG(test, bad, 0, "requests served wrongly");
}

static void power_of_two_blocks_aligned(struct kunit *test)
{
	struct pym_heap *heap = pymt_heap(test)->heap;
	void *p[20];
	size_t size;
	int i;

	for (size = 8; size <= PYM_SMALL_MAX; size *= 2) {
		for (i = 0; i < ARRAY_SIZE(p); i++) {
			p[i] = pymt_malloc(test, heap, size);
			KUNIT_EXPECT_TRUE_MSG(test, IS_ALIGNED((unsigned long)p[i], size),
					      "block %d of %zu bytes at %p", i, size, p[i]);
		}
		for (i = 0; i < ARRAY_SIZE(p); i++)
			pym_free(p[i]);
	}
}

/* At least 8 blocks, and half the pages would not do. */
static void pool_order_is_minimal(struct kunit *test)
{
	size_t stride;

	for (stride = 8; stride <= PYM_CACHE_MAX_SIZE; stride += 8) {
		unsigned int order = pym_stride_to_order(stride);

		KUNIT_ASSERT_LT_MSG(test, order, PYM_NR_ORDERS, "stride %zu", stride);
		KUNIT_ASSERT_GE_MSG(test, pym_pool_capacity(stride, order), PYM_POOL_MIN_BLOCKS,
				    "stride %zu", stride);
		if (order)
			KUNIT_ASSERT_LT_MSG(test, pym_pool_capacity(stride, order - 1), 8,
					    "order %u is too large for stride %zu", order, stride);
	}
}

static void pool_capacity(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, pym_pool_capacity(8, 0), PAGE_SIZE / 8);
	KUNIT_EXPECT_EQ(test, pym_pool_capacity(8, 0), PYM_POOL_MAX_BLOCKS);
	KUNIT_EXPECT_EQ(test, pym_pool_capacity(24, 0), PAGE_SIZE / 24);
	KUNIT_EXPECT_EQ(test, pym_pool_capacity(PAGE_SIZE / 8, 0), 8);
	KUNIT_EXPECT_EQ(test, pym_stride_to_order(PAGE_SIZE / 8), 0);
	KUNIT_EXPECT_EQ(test, pym_stride_to_order(PAGE_SIZE / 8 + 8), 1);
	KUNIT_EXPECT_EQ(test, pym_stride_to_order(PAGE_SIZE), 3);
	KUNIT_EXPECT_LE(test, pym_pool_capacity(PYM_CACHE_MAX_SIZE,
						pym_stride_to_order(PYM_CACHE_MAX_SIZE)), 15);
}

static void arena_pools(struct kunit *test)
{
	unsigned int order;

	KUNIT_EXPECT_EQ(test, pym_arena_pools(0), PYM_ARENA_MAX_POOLS);
	for (order = 0; order < PYM_NR_ORDERS; order++) {
		unsigned int pools = pym_arena_pools(order);

		KUNIT_EXPECT_TRUE(test, is_power_of_2(pools));
		KUNIT_EXPECT_LE(test, pools, PYM_ARENA_MAX_POOLS);
		KUNIT_EXPECT_LE(test, pools << order, PYM_ARENA_MAX_PAGES);
	}
}

/* Every offset of a one-page pool, against division. */
static void slot_of_every_offset(struct kunit *test)
{
	unsigned int bad = 0;
	size_t stride, offset;

	for (stride = 8; pym_stride_to_order(stride) == 0; stride += 8) {
		u64 recip = pym_recip(stride);
		unsigned int slot = 0, left = stride;

		for (offset = 0; offset < PAGE_SIZE; offset++) {
			bad += pym_offset_to_slot(offset, recip) != slot;
			if (!--left) {
				left = stride;
				slot++;
			}
		}
	}
	KUNIT_EXPECT_EQ_MSG(test, bad, 0, "offsets with a wrong slot");
}

/* Every stride: start of each slot, and the bytes before and after it. */
static void slot_around_every_start(struct kunit *test)
{
	unsigned int bad = 0, slot;
	size_t stride;

	for (stride = 8; stride <= PYM_CACHE_MAX_SIZE; stride += 8) {
		unsigned int order = pym_stride_to_order(stride);
		u64 recip = pym_recip(stride);

		for (slot = 0; slot < pym_pool_capacity(stride, order); slot++) {
			size_t start = slot * stride;

			bad += pym_offset_to_slot(start, recip) != slot;
			bad += pym_offset_to_slot(start + 1, recip) != slot;
			bad += pym_offset_to_slot(start + stride - 1, recip) != slot;
		}
		bad += pym_offset_to_slot(pym_pool_size(order) - 1, recip) !=
		       (pym_pool_size(order) - 1) / stride;
	}
	KUNIT_EXPECT_EQ_MSG(test, bad, 0, "offsets with a wrong slot");
}

static void typed_sizes_saturate(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, size_mul(SIZE_MAX / 2, sizeof(u64)), SIZE_MAX);
	KUNIT_EXPECT_NULL(test, pym_new(u64, SIZE_MAX / 2, GFP_KERNEL));
	KUNIT_EXPECT_NULL(test, pym_new(u64, SIZE_MAX / 8 + 1, GFP_KERNEL));
	KUNIT_EXPECT_NULL(test, pym_heap_new(pymt_heap(test)->heap, u64, SIZE_MAX, GFP_KERNEL));
}

/* What the fast path asks of an offset, against what division says. */
static unsigned long slot_test_wrong(size_t stride, unsigned int capacity, size_t offset)
{
	bool start = offset % stride == 0 && offset / stride < capacity;

	return (offset * pym_slot_factor(stride) < pym_slot_limit(stride, capacity)) != start;
}

static void slot_test_is_exact(struct kunit *test)
{
	unsigned long bad = 0;
	size_t stride, offset;

	for (stride = PYM_ALIGN; !pym_stride_to_order(stride); stride += PYM_ALIGN)
		for (offset = 0; offset < PAGE_SIZE; offset++)
			bad += slot_test_wrong(stride, pym_pool_capacity(stride, 0), offset);
	KUNIT_EXPECT_EQ_MSG(test, bad, 0, "in pools of one page");

	for (; stride <= PYM_CACHE_MAX_SIZE; stride += PYM_ALIGN) {
		unsigned int order = pym_stride_to_order(stride);
		unsigned int capacity = pym_pool_capacity(stride, order);

		for (offset = stride; offset < pym_pool_size(order); offset += stride) {
			bad += slot_test_wrong(stride, capacity, offset - 1);
			bad += slot_test_wrong(stride, capacity, offset);
			bad += slot_test_wrong(stride, capacity, offset + 1);
		}
	}
	KUNIT_EXPECT_EQ_MSG(test, bad, 0, "in larger pools");
}

static struct kunit_case sizeclass_cases[] = {
	KUNIT_CASE(request_to_class),
	KUNIT_CASE(class_boundaries),
	KUNIT_CASE(coarse_classes_waste_little),
	KUNIT_CASE(class_alignment),
	KUNIT_CASE(request_gets_its_class),
	KUNIT_CASE(power_of_two_blocks_aligned),
	KUNIT_CASE(pool_order_is_minimal),
	KUNIT_CASE(pool_capacity),
	KUNIT_CASE(arena_pools),
	KUNIT_CASE(slot_of_every_offset),
	KUNIT_CASE(slot_around_every_start),
	KUNIT_CASE(typed_sizes_saturate),
	KUNIT_CASE(slot_test_is_exact),
	{}
};

static struct kunit_suite sizeclass_suite = {
	.name = "pymalloc_sizeclass",
	.init = pymt_init,
	.exit = pymt_exit,
	.test_cases = sizeclass_cases,
};

kunit_test_suites(&sizeclass_suite);
