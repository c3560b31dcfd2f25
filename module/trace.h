/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Trace events, /sys/kernel/tracing/events/pymalloc/. Observers: nothing depends on them.
 * Each is behind a static key of its own and costs a no-op while it is off; those of the
 * fast path cost nothing at all, see trace.c.
 *
 * Names are copied, so that who reads them later needs no descriptor of ours.
 * Events of arenas and pools come with the heap's lock held: what is attached to them must
 * not allocate from pymalloc.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM pymalloc

#if !defined(_PYM_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _PYM_TRACE_H

#include <linux/tracepoint.h>
#include <trace/events/mmflags.h>
#include "types.h"

#define PYM_NAME_OF(object)	((object) ? (object)->name : "-")

TRACE_EVENT_FN(pym_alloc,
	TP_PROTO(unsigned long call_site, const void *ptr, const struct pym_heap *heap,
		 const struct pym_cache *cache, size_t bytes_req, size_t bytes_alloc, gfp_t gfp),
	TP_ARGS(call_site, ptr, heap, cache, bytes_req, bytes_alloc, gfp),
	TP_STRUCT__entry(
		__field(unsigned long, call_site)
		__field(const void *, ptr)
		__field(size_t, bytes_req)
		__field(size_t, bytes_alloc)
		__field(unsigned long, gfp_flags)
		__array(char, heap, PYM_NAME_MAX)
		__array(char, cache, PYM_NAME_MAX)
	),
	TP_fast_assign(
		__entry->call_site = call_site;
		__entry->ptr = ptr;
		__entry->bytes_req = bytes_req;
		__entry->bytes_alloc = ptr ? bytes_alloc : 0;
		__entry->gfp_flags = (__force unsigned long)gfp;
		strscpy_pad(__entry->heap, heap->name, PYM_NAME_MAX);
		strscpy_pad(__entry->cache, PYM_NAME_OF(cache), PYM_NAME_MAX);
	),
	TP_printk("call_site=%pS ptr=%p heap=%s cache=%s bytes_req=%zu bytes_alloc=%zu gfp_flags=%s",
		  (void *)__entry->call_site, __entry->ptr, __entry->heap, __entry->cache,
		  __entry->bytes_req, __entry->bytes_alloc,
		  show_gfp_flags(__entry->gfp_flags)),
	pym_trace_calls, pym_trace_no_calls
);

TRACE_EVENT_FN(pym_free,
	TP_PROTO(unsigned long call_site, const void *ptr, const struct pym_cache *cache),
	TP_ARGS(call_site, ptr, cache),
	TP_STRUCT__entry(
		__field(unsigned long, call_site)
		__field(const void *, ptr)
		__array(char, heap, PYM_NAME_MAX)
		__array(char, cache, PYM_NAME_MAX)
	),
	TP_fast_assign(
		__entry->call_site = call_site;
		__entry->ptr = ptr;
		strscpy_pad(__entry->heap, cache ? cache->heap->name : "-", PYM_NAME_MAX);
		strscpy_pad(__entry->cache, PYM_NAME_OF(cache), PYM_NAME_MAX);
	),
	TP_printk("call_site=%pS ptr=%p heap=%s cache=%s", (void *)__entry->call_site,
		  __entry->ptr, __entry->heap, __entry->cache),
	pym_trace_calls, pym_trace_no_calls
);

DECLARE_EVENT_CLASS(pym_front,
	TP_PROTO(const struct pym_cache *cache, unsigned int blocks, bool depot),
	TP_ARGS(cache, blocks, depot),
	TP_STRUCT__entry(
		__array(char, heap, PYM_NAME_MAX)
		__array(char, cache, PYM_NAME_MAX)
		__field(unsigned int, blocks)
		__field(bool, depot)
	),
	TP_fast_assign(
		strscpy_pad(__entry->heap, cache->heap->name, PYM_NAME_MAX);
		strscpy_pad(__entry->cache, cache->name, PYM_NAME_MAX);
		__entry->blocks = blocks;
		__entry->depot = depot;
	),
	TP_printk("heap=%s cache=%s blocks=%u with=%s", __entry->heap, __entry->cache,
		  __entry->blocks, __entry->depot ? "depot" : "pools")
);

/* Blocks came for an allocation and its CPU's front, */
DEFINE_EVENT(pym_front, pym_refill,
	TP_PROTO(const struct pym_cache *cache, unsigned int blocks, bool depot),
	TP_ARGS(cache, blocks, depot)
);

/* and blocks leave a front or a depot. */
DEFINE_EVENT(pym_front, pym_flush,
	TP_PROTO(const struct pym_cache *cache, unsigned int blocks, bool depot),
	TP_ARGS(cache, blocks, depot)
);

DECLARE_EVENT_CLASS(pym_arena,
	TP_PROTO(const struct pym_arena *arena, unsigned int pools),
	TP_ARGS(arena, pools),
	TP_STRUCT__entry(
		__array(char, heap, PYM_NAME_MAX)
		__field(unsigned int, arena)
		__field(unsigned int, pools)
		__field(size_t, bytes)
		__field(int, node)
	),
	TP_fast_assign(
		strscpy_pad(__entry->heap, arena->heap->name, PYM_NAME_MAX);
		__entry->arena = arena->id;
		__entry->pools = pools;
		__entry->bytes = pools * pym_pool_size(arena->order);
		__entry->node = arena->nid;
	),
	TP_printk("heap=%s arena=%u pools=%u bytes=%zu node=%d", __entry->heap, __entry->arena,
		  __entry->pools, __entry->bytes, __entry->node)
);

/* With as many pools of memory. */
DEFINE_EVENT(pym_arena, pym_arena_new,
	TP_PROTO(const struct pym_arena *arena, unsigned int pools),
	TP_ARGS(arena, pools)
);

DEFINE_EVENT(pym_arena, pym_arena_free,
	TP_PROTO(const struct pym_arena *arena, unsigned int pools),
	TP_ARGS(arena, pools)
);

/* Pools of an arena that stays get memory, or give it back. */
DEFINE_EVENT(pym_arena, pym_pools_new,
	TP_PROTO(const struct pym_arena *arena, unsigned int pools),
	TP_ARGS(arena, pools)
);

DEFINE_EVENT(pym_arena, pym_pools_free,
	TP_PROTO(const struct pym_arena *arena, unsigned int pools),
	TP_ARGS(arena, pools)
);

TRACE_EVENT(pym_limit,
	TP_PROTO(const struct pym_heap *heap, size_t wanted),
	TP_ARGS(heap, wanted),
	TP_STRUCT__entry(
		__array(char, heap, PYM_NAME_MAX)
		__field(size_t, wanted)
		__field(size_t, held)
		__field(size_t, limit)
	),
	TP_fast_assign(
		strscpy_pad(__entry->heap, heap->name, PYM_NAME_MAX);
		__entry->wanted = wanted;
		__entry->held = READ_ONCE(heap->acct.held);
		__entry->limit = READ_ONCE(heap->limit);
	),
	TP_printk("heap=%s wanted=%zu held=%zu limit=%zu", __entry->heap, __entry->wanted,
		  __entry->held, __entry->limit)
);

/* gcc takes what these macros make of a format for functions like printf(). */
#pragma GCC diagnostic push
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wsuggest-attribute=format"
#endif

/* Printed in the log or not, as that is limited. */
TRACE_EVENT(pym_misuse,
	TP_PROTO(unsigned long call_site, const char *kind, struct va_format *text),
	TP_ARGS(call_site, kind, text),
	TP_STRUCT__entry(
		__field(unsigned long, call_site)
		__array(char, kind, PYM_NAME_MAX)
		__vstring(text, text->fmt, text->va)
	),
	TP_fast_assign(
		__entry->call_site = call_site;
		strscpy_pad(__entry->kind, kind, PYM_NAME_MAX);
		__assign_vstr(text, text->fmt, text->va);
	),
	TP_printk("%s: %s; call_site=%pS", __entry->kind, __get_str(text),
		  (void *)__entry->call_site)
);

#pragma GCC diagnostic pop

#endif /* _PYM_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
