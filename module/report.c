// SPDX-License-Identifier: GPL-2.0-only
/*
 * Misuse reports: counted always, printed at a limited rate. A leaf: it may be
 * called from anywhere that printk() may, with no lock of ours held, and calls
 * nobody.
 */
#include <linux/hash.h>
#include <linux/ratelimit.h>
#include "internal.h"
#include "trace.h"

const char * const pym_misuse_names[PYM_NR_MISUSE] = {
	[PYM_MISUSE_DOUBLE_FREE] = "double-free",
	[PYM_MISUSE_INTERIOR]	 = "interior-free",
	[PYM_MISUSE_FOREIGN]	 = "foreign-free",
	[PYM_MISUSE_WRONG_CACHE] = "wrong-cache",
	[PYM_MISUSE_WRONG_HEAP]	 = "wrong-heap",
	[PYM_MISUSE_WRONG_API]	 = "wrong-api",
	[PYM_MISUSE_BAD_GFP]	 = "bad-gfp",
	[PYM_MISUSE_ZERO_CTOR]	 = "zero-with-ctor",
	[PYM_MISUSE_BAD_ARG]	 = "bad-argument",
	[PYM_MISUSE_LEAK]	 = "leak",
	[PYM_MISUSE_NMI]	 = "nmi",
	[PYM_MISUSE_PROVIDER]	 = "provider",
	[PYM_MISUSE_OVERFLOW]	 = "overflow",
	[PYM_MISUSE_USE_AFTER]	 = "use-after-free",
};
EXPORT_SYMBOL_IF_KUNIT(pym_misuse_names);

static atomic_long_t counts[PYM_NR_MISUSE];

/*
 * Each kind at each site has its own limit, so that a storm of one does not hide the
 * others; some share one by chance.
 */
#define SITE_BITS	6
#define SITE_LIMIT	\
	RATELIMIT_STATE_INIT_FLAGS("pym_report", 5 * HZ, 2, RATELIMIT_MSG_ON_RELEASE)

static struct ratelimit_state sites[1 << SITE_BITS] = {
	[0 ... (1 << SITE_BITS) - 1] = SITE_LIMIT,
};

/**
 * pym_misuse_count() - reports of one kind so far, printed or not
 * @kind: which
 *
 * Context: Any.
 * Return: the number since the module was loaded.
 */
unsigned long pym_misuse_count(enum pym_misuse kind)
{
	return atomic_long_read(&counts[kind]);
}
EXPORT_SYMBOL_IF_KUNIT(pym_misuse_count);

/**
 * pym_report() - count and print one misuse
 * @kind: which
 * @ip: caller, or 0 if it is not known
 * @fmt: the rest of the line: what and where; no raw addresses
 *
 * Context: Any that printk() allows; no lock of ours held.
 * Return: true if it was printed.
 */
bool pym_report(enum pym_misuse kind, unsigned long ip, const char *fmt, ...)
{
	struct va_format vaf;
	va_list args;

	atomic_long_inc(&counts[kind]);
	if (trace_pym_misuse_enabled()) {
		va_start(args, fmt);
		vaf.fmt = fmt;
		vaf.va = &args;
		trace_pym_misuse(ip, pym_misuse_names[kind], &vaf);
		va_end(args);
	}
	if (!__ratelimit(&sites[hash_long(ip + kind, SITE_BITS)]))
		return false;
	va_start(args, fmt);
	vaf.fmt = fmt;
	vaf.va = &args;
	if (ip)
		pr_err("misuse: %s: %pV; caller %pS\n", pym_misuse_names[kind], &vaf, (void *)ip);
	else
		pr_err("misuse: %s: %pV\n", pym_misuse_names[kind], &vaf);
	va_end(args);
	return true;
}
EXPORT_SYMBOL_IF_KUNIT(pym_report);
