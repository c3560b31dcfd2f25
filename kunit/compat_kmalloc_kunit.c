// SPDX-License-Identifier: GPL-2.0-only
/*
 * The same for a module that has also been moved off kmalloc(), and into a heap of its
 * own: -DPYM_COMPAT_KMALLOC -DPYM_COMPAT_HEAP=compat in Kbuild.
 */
#include <linux/module.h>
#include <linux/slab.h>
#include "fixture.h"

static void is_ours(struct kunit *test, void *p, size_t n)
{
	KUNIT_ASSERT_NOT_NULL(test, p);
	KUNIT_EXPECT_PTR_EQ(test, pym_owner(p), pym_default_heap);
	KUNIT_EXPECT_GE(test, ksize(p), n);
	kfree(p);
}

static void is_the_kernels(struct kunit *test, void *p)
{
	KUNIT_ASSERT_NOT_NULL(test, p);
	KUNIT_EXPECT_NULL(test, pym_owner(p));
	kfree(p);
}

static void all_zero(struct kunit *test, void *p, size_t n)
{
	KUNIT_ASSERT_NOT_NULL(test, p);
	KUNIT_EXPECT_NULL(test, memchr_inv(p, 0, n));
	is_ours(test, p, n);
}

static void where_it_comes_from(struct kunit *test)
{
	size_t n = 100;

	OPTIMIZER_HIDE_VAR(n);
	is_ours(test, kmalloc(100, GFP_KERNEL), 100);
	is_ours(test, kmalloc(n, GFP_KERNEL), 100);
	is_ours(test, kmalloc(PYM_SMALL_MAX, GFP_KERNEL), PYM_SMALL_MAX);
	is_ours(test, kmalloc_array(10, n, GFP_KERNEL), 1000);
	all_zero(test, kzalloc(n, GFP_KERNEL), 100);
	all_zero(test, kcalloc(3, n, GFP_KERNEL), 300);
	is_the_kernels(test, kmalloc(PYM_SMALL_MAX + 1, GFP_KERNEL));
	is_the_kernels(test, kzalloc(n * 100, GFP_KERNEL));
	is_the_kernels(test, kmalloc_node(n, GFP_KERNEL, NUMA_NO_NODE));
	is_the_kernels(test, kstrdup("a string", GFP_KERNEL));
	kfree(kmalloc(0, GFP_KERNEL));
}

static void too_many(struct kunit *test)
{
	size_t n = SIZE_MAX / 2;

	OPTIMIZER_HIDE_VAR(n);
	KUNIT_EXPECT_NULL(test, kmalloc_array(n, 8, GFP_KERNEL | __GFP_NOWARN));
	KUNIT_EXPECT_NULL(test, kcalloc(n, 8, GFP_KERNEL | __GFP_NOWARN));
	KUNIT_EXPECT_NULL(test, krealloc_array(NULL, n, 8, GFP_KERNEL | __GFP_NOWARN));
}

/* Between the two, up and down; what is in it comes along. */
static void krealloc_moves(struct kunit *test)
{
	static const size_t sizes[] = { 40, 400, 4000, 40000, 5000, 300, 3 };
	char *p = krealloc(NULL, 20, GFP_KERNEL);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, p);
	strscpy(p, "py", 20);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		char *q = krealloc(p, sizes[i], GFP_KERNEL);

		KUNIT_ASSERT_NOT_NULL(test, q);
		p = q;
		KUNIT_EXPECT_GE(test, ksize(p), sizes[i]);
		KUNIT_EXPECT_STREQ(test, p, "py");
	}
	p = krealloc_array(p, 10, 10, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, p);
	KUNIT_EXPECT_STREQ(test, p, "py");
	KUNIT_EXPECT_PTR_EQ(test, (void *)krealloc(p, 0, GFP_KERNEL), ZERO_SIZE_PTR);
}

static void kfree_twice_is_told(struct kunit *test)
{
	void *p = kmalloc(64, GFP_KERNEL);

	kfree(p);
	kfree(p);
	pymt_expect_misuse(test, PYM_MISUSE_DOUBLE_FREE, 1);
	kfree_sensitive(kmalloc(64, GFP_KERNEL));
	kvfree(kmalloc(64, GFP_KERNEL));
}

static bool is_there(const char *name)
{
	struct pym_heap *heap;
	bool found = false;

	mutex_lock(&pym_registry);
	list_for_each_entry(heap, &pym_heaps, node)
		found |= !strcmp(heap->name, name);
	mutex_unlock(&pym_registry);
	return found;
}

/* From the first cache to the last. */
static void heap_of_its_own(struct kunit *test)
{
	struct kmem_cache *a, *b;
	void *p;

	KUNIT_EXPECT_FALSE(test, is_there("compat"));
	a = kmem_cache_create("a", 64, 0, 0, NULL);
	b = kmem_cache_create("b", 64, 0, 0, NULL);
	KUNIT_ASSERT_TRUE(test, a && b);
	KUNIT_EXPECT_TRUE(test, is_there("compat"));
	KUNIT_EXPECT_STREQ(test, a->heap->name, "compat");
	KUNIT_EXPECT_PTR_EQ(test, a->heap, b->heap);
	p = kmem_cache_alloc(b, GFP_KERNEL);
	KUNIT_EXPECT_PTR_EQ(test, pym_owner(p), b->heap);
	kmem_cache_destroy(a);
	KUNIT_EXPECT_TRUE(test, is_there("compat"));
	kfree(p);
	kmem_cache_destroy(b);
	KUNIT_EXPECT_FALSE(test, is_there("compat"));
}

static void heap_without_a_cache(struct kunit *test)
{
	unsigned int size = PYM_CACHE_MAX_SIZE + 1;
	struct pym_heap *taken;

	OPTIMIZER_HIDE_VAR(size);
	KUNIT_EXPECT_NULL(test, kmem_cache_create("large", size, 0, 0, NULL));
	KUNIT_EXPECT_FALSE(test, is_there("compat"));
	/* One of that name is somebody's, and not to be had. */
	taken = pym_heap_create("compat", NULL);
	KUNIT_ASSERT_NOT_NULL(test, taken);
	KUNIT_EXPECT_NULL(test, kmem_cache_create("a", 64, 0, 0, NULL));
	pym_heap_destroy(taken);
}

static struct kunit_case compat_kmalloc_cases[] = {
	KUNIT_CASE(where_it_comes_from),
	KUNIT_CASE(too_many),
	KUNIT_CASE(krealloc_moves),
	KUNIT_CASE(kfree_twice_is_told),
	KUNIT_CASE(heap_of_its_own),
	KUNIT_CASE(heap_without_a_cache),
	{}
};

static struct kunit_suite compat_kmalloc_suite = {
	.name = "pymalloc_compat_kmalloc",
	.init = pymt_init_bare,
	.exit = pymt_exit,
	.test_cases = compat_kmalloc_cases,
};
kunit_test_suite(compat_kmalloc_suite);
