/* SPDX-License-Identifier: GPL-2.0-only */
/* Differences between kernel versions, each with the version that caused it. */
#ifndef _PYM_COMPAT_H
#define _PYM_COMPAT_H

#include <linux/err.h>
#include <linux/gfp.h>
#include <linux/shrinker.h>
#include <linux/version.h>

/* <kunit/visibility.h> came with Linux 6.3 (6.2 has KUnit, but no such header). */
#if IS_ENABLED(CONFIG_KUNIT) && LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
#include <kunit/visibility.h>
#elif !defined(EXPORT_SYMBOL_IF_KUNIT)
#define EXPORT_SYMBOL_IF_KUNIT(...)
#endif

/* Since Linux 6.19 __vmalloc() warns of flags that it does nothing with. */
static inline gfp_t pym_vmalloc_gfp(gfp_t gfp)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)
	gfp &= GFP_USER | GFP_ATOMIC | GFP_NOWAIT | __GFP_ACCOUNT | __GFP_ZERO |
	       __GFP_NORETRY | __GFP_RETRY_MAYFAIL | __GFP_NOFAIL | __GFP_NOLOCKDEP;
#endif
	return gfp;
}

typedef unsigned long (*pym_shrink_fn)(struct shrinker *shrinker, struct shrink_control *sc);

/* Linux 6.7 made shrinkers objects that the kernel allocates. */
static inline struct shrinker *pym_shrinker_register(const char *name, pym_shrink_fn count,
						     pym_shrink_fn scan)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
	struct shrinker *shrinker = shrinker_alloc(0, "%s", name);

	if (!shrinker)
		return ERR_PTR(-ENOMEM);
	shrinker->count_objects = count;
	shrinker->scan_objects = scan;
	shrinker_register(shrinker);
	return shrinker;
#else
	static struct shrinker shrinker = { .seeks = DEFAULT_SEEKS };
	int err;

	shrinker.count_objects = count;
	shrinker.scan_objects = scan;
	err = register_shrinker(&shrinker, "%s", name);
	return err ? ERR_PTR(err) : &shrinker;
#endif
}

static inline void pym_shrinker_unregister(struct shrinker *shrinker)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
	shrinker_free(shrinker);
#else
	unregister_shrinker(shrinker);
#endif
}

#endif /* _PYM_COMPAT_H */
