// SPDX-License-Identifier: GPL-2.0-only
/*
 * A consumer of pymalloc that loses blocks, for kmemleak to find: of each kind, over each
 * provider, every other block. The log has the address of each that is lost:
 *
 *	pymalloc_lose: lost <address>
 *
 * The others are kept: in an array, or in another block that is kept, and their neighbours
 * in it. Unloading destroys the heaps, so that nothing is lost any more.
 */
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/string.h>
#include <pymalloc/pymalloc.h>

#undef pr_fmt
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#define OF_A_KIND	16

/* What a block begins with. */
struct kept {
	struct kept *next;		/* the only pointer to another that is kept */
};

static void construct(void *block)
{
	memset(block, 0, sizeof(struct kept));
}

static struct losing {
	const struct pym_provider_ops *provider;
	unsigned int flags;
	struct pym_heap *heap;
	struct kept *first;		/* all that are kept, one by the other */
} heaps[] = {
	{ .provider = &pym_provider_pages },
	{ .provider = &pym_provider_vmalloc },
	{ .provider = &pym_provider_pages, .flags = PYM_HEAP_NO_FRONTS },
	{ .provider = &pym_provider_pages, .flags = PYM_HEAP_RANDOM | PYM_HEAP_ISOLATE },
};

/* What is known of a block is its parameters': it is in no variable after the return. */
static noinline void keep_or_lose(struct losing *l, struct kept *block, bool keep)
{
	if (!block)
		return;
	block->next = NULL;
	if (keep) {
		block->next = l->first;
		l->first = block;
	} else {
		pr_info("lost 0x%lx\n", (unsigned long)block);
	}
}

static noinline void lose_of_cache(struct losing *l, struct pym_cache *cache)
{
	void *blocks[OF_A_KIND];
	unsigned int i;

	/* What was freed once, and what never was, is no different. */
	if (pym_cache_alloc_bulk(cache, GFP_KERNEL, OF_A_KIND, blocks))
		pym_cache_free_bulk(cache, OF_A_KIND, blocks);
	for (i = 0; i < OF_A_KIND; i++)
		keep_or_lose(l, pym_cache_alloc(cache, GFP_KERNEL), i % 2);
	if (pym_cache_alloc_bulk(cache, GFP_KERNEL, OF_A_KIND, blocks))
		for (i = 0; i < OF_A_KIND; i++)
			keep_or_lose(l, blocks[i], i % 2);
	memset(blocks, 0, sizeof(blocks));
	OPTIMIZER_HIDE_VAR(cache);
	barrier_data(blocks);
}

static noinline void lose_of_sizes(struct losing *l)
{
	static const size_t sizes[] = { 8, 40, 100, 600, 2048, 5000, 100000 };
	unsigned int i, k;

	for (k = 0; k < ARRAY_SIZE(sizes); k++)
		for (i = 0; i < OF_A_KIND; i++) {
			struct kept *p = pym_malloc(l->heap, sizes[k], GFP_KERNEL);

			if (p && i % 4 >= 2)
				p = pym_realloc(NULL, p, 2 * sizes[k], GFP_KERNEL);
			keep_or_lose(l, p, i % 2);
		}
}

static noinline int lose_of_heap(struct losing *l, unsigned int nr)
{
	struct pym_heap_args args = { .provider = l->provider, .flags = l->flags };
	char name[16];
	unsigned int i;

	scnprintf(name, sizeof(name), "lose-%u", nr);
	l->heap = pym_heap_create(name, &args);
	if (!l->heap)
		return -ENOMEM;
	for (i = 0; i < 4; i++) {
		static const size_t sizes[] = { 16, 64, 192, 512 };
		struct pym_cache_args of = { .heap = l->heap, .ctor = i == 1 ? construct : NULL };
		struct pym_cache *cache;

		scnprintf(name, sizeof(name), "lose-%zu", sizes[i]);
		cache = pym_cache_create(name, sizes[i], &of);
		if (!cache)
			return -ENOMEM;
		lose_of_cache(l, cache);
	}
	lose_of_sizes(l);
	return 0;
}

static void destroy_all(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(heaps); i++)
		pym_heap_destroy(heaps[i].heap);
}

static int __init lose_init(void)
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < ARRAY_SIZE(heaps) && !err; i++)
		err = lose_of_heap(&heaps[i], i);
	if (err)
		destroy_all();
	return err;
}
module_init(lose_init);

static void __exit lose_exit(void)
{
	destroy_all();
}
module_exit(lose_exit);

MODULE_DESCRIPTION("a consumer of pymalloc that loses blocks, for kmemleak");
MODULE_LICENSE("GPL");
