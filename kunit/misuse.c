// SPDX-License-Identifier: GPL-2.0-only
/*
 * A consumer of pymalloc, as another module would be, that does one thing wrong and
 * then looks whether its allocator still does what is right. The same is done to the
 * kernel's, side by side. Nothing here looks inside either of them.
 *
 * What is loaded has a cache and nothing more; "1" written to the parameter "run" does
 * the rest, once. The log says, for scripts/misuse-report:
 *
 *	pymalloc_misuse: corrupt: <what>	something is not as it must be
 *	pymalloc_misuse: left <blocks>		so many may be live in the end
 *	pymalloc_misuse: checked		everything was looked at
 *
 * A guest that dies of it has said less. Load it nowhere else.
 */
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/string.h>
#include <linux/vmalloc.h>
#include <pymalloc/pymalloc.h>
#include "misuse.h"

#undef pr_fmt
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

static char *case_name = "";
module_param_named(case, case_name, charp, 0444);
MODULE_PARM_DESC(case, "what to do wrong, by its name in misuse_cases.c");

static char *allocator = "pymalloc";
module_param(allocator, charp, 0444);
MODULE_PARM_DESC(allocator, "whom to do it to: pymalloc or slub");

static char *provider = "pages";
module_param(provider, charp, 0444);
MODULE_PARM_DESC(provider, "where pymalloc's heap has its memory from: pages or vmalloc");

static unsigned int size = 64;
module_param(size, uint, 0444);
MODULE_PARM_DESC(size, "bytes of a block, a multiple of 8");

/* Not for us: who loads us writes it into the cache's file in debugfs. */
static char *debug = "";
module_param(debug, charp, 0444);
MODULE_PARM_DESC(debug, "what pymalloc's cache is to be told before it is used, with commas");

/* ---------------------------------------------------------- allocators -- */

static struct pym_heap *heap;

static void *pym_create(const char *name, size_t bytes, size_t align)
{
	struct pym_cache_args args = { .heap = heap, .align = align };

	return pym_cache_create(name, bytes, &args);
}

static void pym_destroy(void *cache)
{
	pym_cache_destroy(cache);
}

static void *pym_alloc(void *cache, gfp_t gfp)
{
	return pym_cache_alloc(cache, gfp);
}

static void pym_give(void *cache, void *block)
{
	pym_cache_free(cache, block);
}

static void pym_give_bulk(void *cache, size_t n, void **blocks)
{
	pym_cache_free_bulk(cache, n, blocks);
}

static void *pym_alloc_any(size_t n, gfp_t gfp)
{
	return pym_malloc(heap, n, gfp);
}

static const struct misuse_api pym_api = {
	.create = pym_create,
	.destroy = pym_destroy,
	.alloc = pym_alloc,
	.free = pym_give,
	.free_bulk = pym_give_bulk,
	.alloc_any = pym_alloc_any,
	.free_any = pym_free,
};

/* A cache that is merged has other users, who would come to harm before we look. */
#ifdef SLAB_NO_MERGE
#define NO_MERGE	SLAB_NO_MERGE
#else
#define NO_MERGE	0
#endif

static void *slub_create(const char *name, size_t bytes, size_t align)
{
	return kmem_cache_create(name, bytes, align, NO_MERGE, NULL);
}

static void slub_destroy(void *cache)
{
	kmem_cache_destroy(cache);
}

static void *slub_alloc(void *cache, gfp_t gfp)
{
	return kmem_cache_alloc(cache, gfp);
}

static void slub_give(void *cache, void *block)
{
	kmem_cache_free(cache, block);
}

static void slub_give_bulk(void *cache, size_t n, void **blocks)
{
	kmem_cache_free_bulk(cache, n, blocks);
}

static void *slub_alloc_any(size_t n, gfp_t gfp)
{
	return kmalloc(n, gfp);
}

static const struct misuse_api slub_api = {
	.create = slub_create,
	.destroy = slub_destroy,
	.alloc = slub_alloc,
	.free = slub_give,
	.free_bulk = slub_give_bulk,
	.alloc_any = slub_alloc_any,
	.free_any = kfree,
};

/* -------------------------------------------------------------- blocks -- */

/**
 * misuse_corrupt() - say that something is not as it must be
 * @s: the scene
 * @what: what that is; only the first few are said
 */
void misuse_corrupt(struct misuse_scene *s, const char *what)
{
	if (s->corrupt++ < 3)
		pr_info("corrupt: %s\n", what);
}

/**
 * misuse_take() - allocate a block of the kind that is misused
 * @s: the scene
 * @gfp: allocation flags
 *
 * Return: the block, or NULL.
 */
void *misuse_take(struct misuse_scene *s, gfp_t gfp)
{
	return s->misuse->general ? s->api->alloc_any(s->size, gfp) :
				    s->api->alloc(s->cache, gfp);
}

/**
 * misuse_give() - free a block of that kind
 * @s: the scene
 * @block: the block, or what is taken for one
 */
void misuse_give(struct misuse_scene *s, void *block)
{
	if (s->misuse->general)
		s->api->free_any(block);
	else
		s->api->free(s->cache, block);
}

static u8 byte_of(unsigned int i)
{
	return 1 + i % 251;
}

static bool set_scene(struct misuse_scene *s)
{
	unsigned int i;

	for (i = 0; i < NR_LIVE; i++) {
		s->live[i] = misuse_take(s, GFP_KERNEL);
		if (!s->live[i])
			return false;
		memset(s->live[i], byte_of(i), s->size);
	}
	/* So that there are free ones, too. */
	for (i = 2; i < NR_LIVE; i += 8) {
		misuse_give(s, s->live[i]);
		s->live[i] = NULL;
	}
	return true;
}

static void take_one(struct misuse_scene *s, void *from, void **block, unsigned int i)
{
	gfp_t gfp = GFP_KERNEL | __GFP_ZERO;

	*block = from ? s->api->alloc(from, gfp) : misuse_take(s, gfp);
	if (!*block) {
		misuse_corrupt(s, "there is memory, and no block");
		return;
	}
	if (memchr_inv(*block, 0, s->size))
		misuse_corrupt(s, "a block that was to be zeroes is not");
	memset(*block, byte_of(i), s->size);
}

static void free_all(struct misuse_scene *s)
{
	unsigned int i;

	for (i = 0; i < NR_TAKEN; i++)
		if (s->taken[i])
			misuse_give(s, s->taken[i]);
	for (i = 0; i < NR_OTHER; i++)
		if (s->others[i])
			s->api->free(s->other, s->others[i]);
	for (i = 0; i < NR_LIVE; i++)
		if (s->live[i])
			misuse_give(s, s->live[i]);
	memset(s->taken, 0, sizeof(s->taken));
	memset(s->others, 0, sizeof(s->others));
	memset(s->live, 0, sizeof(s->live));
}

/* -------------------------------------------------------------- checks -- */

static int compare_blocks(const void *a, const void *b)
{
	unsigned long x = *(const unsigned long *)a, y = *(const unsigned long *)b;

	return x < y ? -1 : x > y;
}

static unsigned int add_blocks(struct misuse_scene *s, unsigned int n, void **blocks,
			       unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		if (blocks[i])
			s->sorted[n++] = blocks[i];
	return n;
}

/**
 * misuse_sort() - all live blocks by their address
 * @s: the scene; its sorted[] is filled in
 *
 * Return: how many there are.
 */
unsigned int misuse_sort(struct misuse_scene *s)
{
	unsigned int n = add_blocks(s, 0, s->live, NR_LIVE);

	n = add_blocks(s, n, s->taken, NR_TAKEN);
	n = add_blocks(s, n, s->others, NR_OTHER);
	sort(s->sorted, n, sizeof(void *), compare_blocks, NULL);
	return n;
}

/* Has everybody a block of their own? */
static void check_addresses(struct misuse_scene *s)
{
	unsigned int i, n = misuse_sort(s);

	for (i = 0; i < n; i++) {
		if ((unsigned long)s->sorted[i] % 8)
			misuse_corrupt(s, "a block is not aligned");
		if (!i || s->sorted[i] - s->sorted[i - 1] >= s->size)
			continue;
		if (s->sorted[i] == s->sorted[i - 1])
			misuse_corrupt(s, "a block has been handed out twice");
		else
			misuse_corrupt(s, "two live blocks overlap");
	}
}

static void check_bytes(struct misuse_scene *s, void **blocks, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		if (blocks[i] && memchr_inv(blocks[i], byte_of(i), s->size))
			misuse_corrupt(s, "the bytes of a live block have changed");
}

/* Take more than was free, have a look at all there is, and free it. */
static void check_round(struct misuse_scene *s)
{
	unsigned int i;

	for (i = 0; i < NR_TAKEN; i++)
		take_one(s, NULL, &s->taken[i], i);
	for (i = 0; s->other && i < NR_OTHER; i++)
		take_one(s, s->other, &s->others[i], i);
	check_addresses(s);
	check_bytes(s, s->live, NR_LIVE);
	check_bytes(s, s->taken, NR_TAKEN);
	check_bytes(s, s->others, NR_OTHER);
	free_all(s);
}

/* Does pymalloc say that there are as many live blocks as there should be? */
static void check_live(struct misuse_scene *s)
{
	struct pym_heap_stats stats;

	pym_heap_stats(heap, &stats);
	if (stats.live > s->misuse->lost)
		misuse_corrupt(s, "what is live is not what was allocated less what was freed");
}

/* -------------------------------------------------------------- module -- */

static struct misuse_scene *scene;

static int run_set(const char *value, const struct kernel_param *param)
{
	struct misuse_scene *s = scene;
	int round;

	if (!s || s->sorted[0])
		return -EBUSY;
	if (!set_scene(s))
		return -ENOMEM;
	misuse_sort(s);
	pr_info("%s, %s, %s, %u bytes\n", s->misuse->name, allocator, provider, size);
	s->misuse->commit(s);
	/* Once more, for what comes to light only when blocks have been freed. */
	for (round = 0; round < 2 && !s->corrupt; round++)
		check_round(s);
	if (heap && !s->corrupt)
		check_live(s);
	pr_info("left %u\n", s->misuse->lost);
	pr_info("checked\n");
	return 0;
}

static const struct kernel_param_ops run_ops = { .set = run_set };
module_param_cb(run, &run_ops, NULL, 0200);
MODULE_PARM_DESC(run, "written: do it");

static int make_scene(struct misuse_scene *s, bool slub, bool vmalloced)
{
	struct pym_heap_args args = {
		.provider = vmalloced ? &pym_provider_vmalloc : &pym_provider_pages,
	};

	s->api = slub ? &slub_api : &pym_api;
	s->size = size;
	if (!slub) {
		heap = pym_heap_create("misuse", &args);
		if (!heap)
			return -ENOMEM;
	}
	s->cache = s->api->create("misuse", size, 0);
	if (s->cache)
		return 0;
	pym_heap_destroy(heap);
	return -ENOMEM;
}

static int __init misuse_init(void)
{
	bool slub = !strcmp(allocator, "slub"), vmalloced = !strcmp(provider, "vmalloc");
	const struct misuse *misuse = misuse_find(case_name);
	struct misuse_scene *s;
	int ret;

	if (!misuse || size < 16 || size > PYM_SMALL_MAX || size % 8 ||
	    (!slub && strcmp(allocator, "pymalloc")) ||
	    (!vmalloced && strcmp(provider, "pages"))) {
		pr_err("not known: case=%s allocator=%s provider=%s size=%u\n",
		       case_name, allocator, provider, size);
		return -EINVAL;
	}
	s = vzalloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->misuse = misuse;
	ret = make_scene(s, slub, vmalloced);
	if (ret)
		vfree(s);
	else
		scene = s;
	return ret;
}

static void __exit misuse_exit(void)
{
	scene->api->destroy(scene->other);
	scene->api->destroy(scene->cache);
	pym_heap_destroy(heap);
	vfree(scene);
}

module_init(misuse_init);
module_exit(misuse_exit);
MODULE_DESCRIPTION("Misuse of pymalloc and of the kernel's allocator, side by side");
MODULE_LICENSE("GPL");
