# SPDX-License-Identifier: GPL-2.0-only
#
# For people.  The kernel's build system reads Kbuild only, so
# "make -C /lib/modules/$(uname -r)/build M=$PWD" works without this file.

KERNELRELEASE ?= $(shell uname -r)
KDIR ?= $(or $(KERNELDIR),/lib/modules/$(KERNELRELEASE)/build)

# Parallel, unless the caller has decided
jobs = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc))
kbuild = +@$(MAKE) $(jobs) --no-print-directory -C $(KDIR) M=$(CURDIR)

release = $(shell cat $(KDIR)/include/config/kernel.release)

export KERNEL TRACE OUT JSON

modules: kdir
	$(kbuild) modules

modules_install: kdir
	$(kbuild) modules_install

install: kdir
	$(kbuild) PYM_TESTS=n modules
	$(kbuild) PYM_TESTS=n modules_install
	@depmod -a $(if $(INSTALL_MOD_PATH),-b $(INSTALL_MOD_PATH)) $(release)

# Without kernel headers too: what the build leaves is known.
clean:
	$(if $(wildcard $(KDIR)/Makefile),$(kbuild) clean,@:)
	@rm -rf *.ko *.mod *.mod.c *.o .*.cmd modules.order Module.symvers .module-common.o
	@rm -f $(foreach d,module kunit,$(addprefix $(d)/,*.o .*.cmd .*.d *.gcno))

test coverage demo demo-jool misuse soak bench bench-memory bench-native record-trace check:
	@scripts/$@

kdir:
	@if [ ! -e '$(KDIR)/Makefile' ]; then \
		echo "error: no kernel headers in $(KDIR)" >&2; \
		echo "    install them:          apt-get install linux-headers-$(KERNELRELEASE)" >&2; \
		echo "    or name another tree:  make KDIR=<directory of headers or of a kernel build>" >&2; \
		echo "    or fetch Debian's:     make KDIR=\$$(scripts/fetch-kernel 6.12 kdir)" >&2; \
		exit 1; \
	fi

help:
	@echo 'Build'
	@echo '  modules          build pymalloc.ko for the running kernel (default)'
	@echo '  modules_install  install everything that was built'
	@echo '  install          build and install pymalloc.ko alone, run depmod'
	@echo '  clean            remove what was built'
	@echo '  help             this text'
	@echo 'In QEMU; this machine never loads the module'
	@echo '  test             KUnit under KASAN, lockdep, kmemleak, on PREEMPT_RT, on stock kernels'
	@echo '  coverage         the lines of module/ that the KUnit suites do not run, and why'
	@echo '  demo             replay recorded kernel allocations and show the heap map'
	@echo '  demo-jool        move Debian'"'"'s Jool, a NAT64, onto pymalloc by one line and send traffic through'
	@echo '  misuse           do 23 things wrong with pymalloc and with SLUB'
	@echo '  soak             do 100 million things right with everything switched on in turn'
	@echo '  bench            measure pymalloc beside kmem_cache and kmalloc'
	@echo '  bench-memory     what is held and what comes back, beside the same two; plots'
	@echo '  bench-native     cycles, in User-Mode Linux, beside CPython, mimalloc, glibc'
	@echo '  record-trace     record the allocations of a kernel at work'
	@echo '  check            sparse, kernel-doc, checkpatch, shellcheck, warnings'
	@echo 'Variables'
	@echo '  KDIR=<dir>       kernel headers or build tree; KERNELDIR is accepted too'
	@echo '                   now: $(KDIR)'
	@echo '  W=1 C=2 V=1 ...  as for any kernel build'
	@echo '  KERNEL=<series>  demo, misuse, soak, record-trace: stock kernel 6.12 (default), 6.1 or 7.3'
	@echo '                   bench, bench-memory: one kernel instead of all they know; demo-jool: 6.1'
	@echo '  TRACE=<file>     demo: text of the kmem trace events, plain or .xz'
	@echo '  JSON=<file>      demo-jool, misuse, bench, bench-memory, bench-native: write the figures there too'
	@echo '  OUT=<file>       record-trace: where to write, default scripts/boot.trace.xz'
	@echo '  OUT=<dir>        bench-memory: where the plots go; coverage: the lines with their counts'
	@echo '  more             scripts/config.defaults'

.DEFAULT_GOAL := modules
.PHONY: modules modules_install install clean test coverage demo demo-jool misuse soak bench bench-memory bench-native record-trace check kdir help
