// SPDX-License-Identifier: GPL-2.0-only
/*
 * Preloaded into User-Mode Linux, which knows 2696 bytes of extended processor state
 * and no more until Linux 6.13. A host whose processors have more (AMX) refuses to set
 * only a part, and UML's first process dies. What UML does not know stays as it is.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

typedef long ptrace_fn(enum __ptrace_request request, ...);

long ptrace(enum __ptrace_request request, ...)
{
	static char state[1 << 16];
	static ptrace_fn *next;
	void *addr, *data;
	va_list args;
	int pid;

	va_start(args, request);
	pid = va_arg(args, int);
	addr = va_arg(args, void *);
	data = va_arg(args, void *);
	va_end(args);

	if (!next)
		next = (ptrace_fn *)dlsym(RTLD_NEXT, "ptrace");
	if (request == PTRACE_SETREGSET && addr == (void *)NT_X86_XSTATE) {
		const struct iovec *part = data;
		struct iovec whole = { .iov_base = state, .iov_len = sizeof(state) };

		if (next(PTRACE_GETREGSET, pid, addr, &whole) < 0)
			return -1;
		memcpy(state, part->iov_base,
		       part->iov_len < whole.iov_len ? part->iov_len : whole.iov_len);
		return next(request, pid, addr, &whole);
	}
	return next(request, pid, addr, data);
}
