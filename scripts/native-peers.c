// SPDX-License-Identifier: GPL-2.0-only
/*
 * What kunit/bench_native.c is measured beside: an allocator of user space, in a program of
 * its own for each, as a C program calls it. Built by scripts/bench-native with one of
 * PEER_CPYTHON, PEER_MIMALLOC and PEER_GLIBC defined.
 *
 * usage: native_peers <batches>
 */
#if defined(PEER_CPYTHON)
#define PEER	"CPython"
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#elif defined(PEER_MIMALLOC)
#define PEER	"mimalloc"
#include <mimalloc.h>
#elif defined(PEER_GLIBC)
#define PEER	"glibc"
#include <gnu/libc-version.h>
#endif
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include "native_empty.h"

#undef noinline
#define noinline	__attribute__((__noinline__))
#define always_inline	inline __attribute__((__always_inline__))
#include "patterns.h"

static always_inline void *alloc_peer(void *from, unsigned long size)
{
#if defined(PEER_CPYTHON)
	return PyObject_Malloc(size);
#elif defined(PEER_MIMALLOC)
	return mi_malloc(size);
#elif defined(PEER_GLIBC)
	return malloc(size);
#endif
}

static always_inline void free_peer(void *from, void *p)
{
#if defined(PEER_CPYTHON)
	PyObject_Free(p);
#elif defined(PEER_MIMALLOC)
	mi_free(p);
#elif defined(PEER_GLIBC)
	free(p);
#endif
}

#define PATTERN(name)	peer_##name
#define PATTERN_ALLOC	alloc_peer
#define PATTERN_FREE	free_peer
#include "patterns.h"

static always_inline void *alloc_empty(void *from, unsigned long size)
{
	return native_empty_alloc(size);
}

static always_inline void free_empty(void *from, void *p)
{
	native_empty_free(p);
}

#define PATTERN(name)	empty_##name
#define PATTERN_ALLOC	alloc_empty
#define PATTERN_FREE	free_empty
#include "patterns.h"

#if defined(PEER_CPYTHON)
/* Blocks that CPython's own allocator has handed out, by its own count. */
static long counted(void)
{
	PyObject *number = PyObject_CallNoArgs(PySys_GetObject("getallocatedblocks"));
	long n = number ? PyLong_AsLong(number) : -1;

	Py_XDECREF(number);
	return n;
}

/* Is it that one, and not malloc() or a debugging layer? As the main thread has it. */
static int peer_init(void)
{
	static void *blocks[1000];
	long before, after;
	int i;

	Py_Initialize();
	before = counted();
	for (i = 0; i < 1000; i++)
		blocks[i] = PyObject_Malloc(64);
	after = counted();
	for (i = 0; i < 1000; i++)
		PyObject_Free(blocks[i]);
	if (before < 0 || after - before < 1000 || after - before > 1010) {
		fprintf(stderr, "1000 blocks count as %ld with CPython's allocator: it is not in use; unset PYTHONMALLOC\n",
			after - before);
		return -1;
	}
	printf("state CPython %s\n", PY_VERSION);
	return 0;
}
#elif defined(PEER_MIMALLOC)
static int peer_init(void)
{
	void *p = mi_malloc(64);

	if (!mi_is_in_heap_region(p)) {
		fprintf(stderr, "a block of mi_malloc() is not mimalloc's\n");
		return -1;
	}
	mi_free(p);
	printf("state mimalloc %d.%d.%d\n", mi_version() / 100, mi_version() / 10 % 10,
	       mi_version() % 10);
	return 0;
}
#elif defined(PEER_GLIBC)
static int peer_init(void)
{
	printf("state glibc %s\n", gnu_get_libc_version());
	return 0;
}
#endif

static void print_row(const char *allocator, const struct pattern *pattern,
		      const struct pattern_result *result)
{
	printf("row %s %llu.%02llu %llu.%02llu %u: %s\n", allocator,
	       result->min / 100, result->min % 100, result->median / 100, result->median % 100,
	       pattern->size, pattern->name);
}

int main(int argc, char **argv)
{
	unsigned int batches = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
	struct pattern_result result;
	unsigned int i;

	if (!batches || batches > PATTERN_MAX_BATCHES) {
		fprintf(stderr, "usage: %s <batches, 1..%u>\n", argv[0], PATTERN_MAX_BATCHES);
		return 2;
	}
	pattern_prepare();
	if (peer_init())
		return 1;
	for (i = 0; i < PATTERN_NR; i++) {
		if (!peer_measure(&patterns[i], NULL, batches, &result)) {
			fprintf(stderr, "no memory for %s\n", patterns[i].name);
			return 1;
		}
		print_row(PEER, &patterns[i], &result);
	}
	for (i = 0; i < PATTERN_NR; i++) {
		if (!empty_measure(&patterns[i], NULL, batches, &result))
			return 1;
		print_row("calls-" PEER, &patterns[i], &result);
	}
	return 0;
}
