// SPDX-License-Identifier: GPL-2.0-only
/*
 * What callers do wrong, a function for each. All of it compiles without a warning,
 * and most of it has been somebody's bug.
 */
#include <linux/compiler.h>
#include <linux/irq_work.h>
#include <linux/mm.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/vmalloc.h>
#include "misuse.h"

#undef pr_fmt
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

/* Take a block out of the live ones, to do with it what is to be done. */
static void *lose(struct misuse_scene *s, unsigned int i)
{
	void *block = s->live[i];

	s->live[i] = NULL;
	OPTIMIZER_HIDE_VAR(block);
	return block;
}

/* An error path frees what its caller frees again. */
static void double_free(struct misuse_scene *s)
{
	void *a = lose(s, 40);

	misuse_give(s, a);
	misuse_give(s, a);
}

/* Two owners of one object both drop it, and other work goes on in between. */
static void double_free_between(struct misuse_scene *s)
{
	void *a = lose(s, 40), *b = lose(s, 41);

	misuse_give(s, a);
	misuse_give(s, b);
	misuse_give(s, a);
}

/* A member is freed in place of the structure that it is in. */
static void interior_8(struct misuse_scene *s)
{
	misuse_give(s, s->live[40] + 8);
}

/* A cursor into a buffer is freed, having moved on. */
static void interior_1(struct misuse_scene *s)
{
	misuse_give(s, s->live[40] + 1);
}

/* Two types with a cache each, and the wrong destructor. */
static void wrong_cache(struct misuse_scene *s)
{
	s->other = s->api->create("misuse_other", s->size, 0);
	if (s->other)
		s->api->free(s->other, lose(s, 40));
}

/* Free memory that is somebody else's, who must find it as it was. */
static void free_foreign(struct misuse_scene *s, void *p)
{
	memset(p, 0x5a, 64);
	OPTIMIZER_HIDE_VAR(p);
	misuse_give(s, p);
	if (memchr_inv(p, 0x5a, 64))
		misuse_corrupt(s, "memory that was never the allocator's has changed");
}

/* A buffer that is large in some configurations only, and from vmalloc() there. */
static void vmalloc_pointer(struct misuse_scene *s)
{
	void *p = vmalloc(PAGE_SIZE);

	if (p)
		free_foreign(s, p);
}

/* A default that is static, and a setter that frees what was set before. */
static void static_data(struct misuse_scene *s)
{
	static u8 data[64] __aligned(64);

	free_foreign(s, data);
}

/* A page of one's own, freed by the function for blocks. */
static void page_pointer(struct misuse_scene *s)
{
	void *p = (void *)__get_free_page(GFP_KERNEL);

	if (p)
		free_foreign(s, p);
}

/* A type that has got a cache of its own since; one allocation was forgotten. */
static void kmalloc_object(struct misuse_scene *s)
{
	void *p = kmalloc(s->size, GFP_KERNEL);

	OPTIMIZER_HIDE_VAR(p);
	if (p)
		misuse_give(s, p);
}

/* The live block with the nearest neighbour above it, or with @below, below it. */
static void *with_neighbour(struct misuse_scene *s, bool below)
{
	unsigned int i, best = 1, n = misuse_sort(s);
	void *block;

	for (i = 2; i < n; i++)
		if (s->sorted[i] - s->sorted[i - 1] < s->sorted[best] - s->sorted[best - 1])
			best = i;
	block = s->sorted[below ? best : best - 1];
	OPTIMIZER_HIDE_VAR(block);
	return block;
}

/* One element too many at the end of an array. */
static void overflow(struct misuse_scene *s)
{
	memset(with_neighbour(s, false) + s->size, 0xee, 8);
}

/* Index -1. */
static void underflow(struct misuse_scene *s)
{
	memset(with_neighbour(s, true) - 8, 0xee, 8);
}

/* A timer or a DMA transfer that goes on after its object is freed. */
static void write_after_free(struct misuse_scene *s)
{
	void *a = lose(s, 40);

	misuse_give(s, a);
	memset(a, 0xee, s->size);
}

/* A module goes, and somebody still has three of its objects. */
static void destroy_live(struct misuse_scene *s)
{
	void *cache = s->api->create("misuse_doomed", s->size, 0);
	int i;

	for (i = 0; cache && i < 3; i++)
		if (!s->api->alloc(cache, GFP_KERNEL))
			misuse_corrupt(s, "there is memory, and no block");
	s->api->destroy(cache);
}

/* A pointer that was never set is freed all the same. */
static void free_null(struct misuse_scene *s)
{
	void *none = NULL;

	OPTIMIZER_HIDE_VAR(none);
	misuse_give(s, none);
}

/* An array that was filled in part is freed as a whole. */
static void bulk_null(struct misuse_scene *s)
{
	void *blocks[3] = { lose(s, 40), NULL, lose(s, 41) };

	s->api->free_bulk(s->cache, 3, blocks);
}

/* An object was put into the array of those to be freed twice. */
static void bulk_twice(struct misuse_scene *s)
{
	void *b = lose(s, 41);
	void *blocks[4] = { lose(s, 40), b, b, lose(s, 43) };

	s->api->free_bulk(s->cache, 4, blocks);
}

/* The size comes from somewhere, and is not looked at. */
static void create_size_0(struct misuse_scene *s)
{
	void *cache = s->api->create("misuse_empty", 0, 0);

	if (cache && s->api->alloc(cache, GFP_KERNEL) == s->api->alloc(cache, GFP_KERNEL))
		misuse_corrupt(s, "a block has been handed out twice");
}

/* The size of something else is taken for an alignment. */
static void create_align_24(struct misuse_scene *s)
{
	void *cache = s->api->create("misuse_aligned", s->size, 24), *block;
	int i;

	for (i = 0; cache && i < 16; i++) {
		block = s->api->alloc(cache, GFP_KERNEL);
		if ((unsigned long)block % 24)
			misuse_corrupt(s, "a block is not aligned as was asked for");
	}
}

struct irq_scene {
	struct irq_work work;
	struct misuse_scene *s;
	void **first;			/* blocks, each with the next one's address in it */
	unsigned int n;
};

/* So many that new memory is needed; that there is none to be had here is no wrong. */
static void take_in_irq(struct irq_work *work)
{
	struct irq_scene *irq = container_of(work, struct irq_scene, work);
	unsigned int i;
	void **block;

	for (i = 0; i < SZ_1M / irq->s->size; i++) {
		block = misuse_take(irq->s, GFP_KERNEL);
		if (!block)
			break;
		*block = irq->first;
		irq->first = block;
		irq->n++;
	}
}

/* A helper that was for tasks is called from an interrupt handler. */
static void gfp_in_irq(struct misuse_scene *s)
{
	struct irq_scene irq = { .s = s };
	void **block, **next;

	init_irq_work(&irq.work, take_in_irq);
	irq_work_queue(&irq.work);
	irq_work_sync(&irq.work);
	pr_info("%u of %u blocks in an interrupt\n", irq.n, SZ_1M / s->size);
	/* One that has been handed out twice makes them fewer, or more without end. */
	for (block = irq.first; block && irq.n; block = next, irq.n--) {
		next = *block;
		misuse_give(s, block);
	}
	if (block || irq.n)
		misuse_corrupt(s, "blocks taken in an interrupt are not what they were");
}

/* A pointer that was read from memory which is not what it was thought to be. */
static void wild_pointer(struct misuse_scene *s)
{
	void *p = (void *)0xdead0000;

	OPTIMIZER_HIDE_VAR(p);
	misuse_give(s, p);
}

/* A structure that is on the stack for once, and a destructor that does not know. */
static void stack_pointer(struct misuse_scene *s)
{
	u8 data[64] __aligned(64);

	free_foreign(s, data);
}

/* A string that was trimmed at its beginning is freed; memory of any size. */
static void free_interior(struct misuse_scene *s)
{
	misuse_give(s, s->live[40] + 8);
}

/* The same as with a cache, for memory of any size. */
static void free_vmalloc(struct misuse_scene *s)
{
	vmalloc_pointer(s);
}

static const struct misuse misuses[] = {
	{ "double-free", double_free },
	{ "double-free-between", double_free_between },
	{ "interior-8", interior_8 },
	{ "interior-1", interior_1 },
	{ "wrong-cache", wrong_cache, .lost = 1 },
	{ "vmalloc-pointer", vmalloc_pointer },
	{ "static-data", static_data },
	{ "page-pointer", page_pointer },
	{ "kmalloc-object", kmalloc_object },
	{ "overflow", overflow },
	{ "underflow", underflow },
	{ "write-after-free", write_after_free },
	{ "destroy-live", destroy_live },
	{ "free-null", free_null },
	{ "bulk-null", bulk_null },
	{ "bulk-twice", bulk_twice },
	{ "create-size-0", create_size_0 },
	{ "create-align-24", create_align_24 },
	{ "gfp-in-irq", gfp_in_irq },
	{ "wild-pointer", wild_pointer },
	{ "stack-pointer", stack_pointer },
	{ "free-interior", free_interior, .general = true },
	{ "free-vmalloc", free_vmalloc, .general = true },
};

/**
 * misuse_find() - one of the above
 * @name: its name
 *
 * Return: it, or NULL.
 */
const struct misuse *misuse_find(const char *name)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(misuses); i++)
		if (!strcmp(misuses[i].name, name))
			return &misuses[i];
	return NULL;
}
