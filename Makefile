# SPDX-License-Identifier: GPL-2.0-only
#
# For people.  The kernel's build system reads Kbuild only, so
# "make -C /lib/modules/$(uname -r)/build M=$PWD" works without this file.

KERNELRELEASE ?= $(shell uname -r)
KDIR ?= $(or $(KERNELDIR),/lib/modules/$(KERNELRELEASE)/build)

# Parallel, unless the caller has decided
jobs = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc))
kbuild = +@$(MAKE) $(jobs) --no-print-directory -C $(KDIR) M=$(CURDIR) $(without)

# What a kernel is configured for and this machine does not have: type information needs
# pahole, and a distribution keeps the key that it signs its modules with.
config = $(shell sed -n 's/^$(1)="*\([^"]*\)"*$$/\1/p' $(KDIR)/include/config/auto.conf 2>/dev/null)
key = $(call config,CONFIG_MODULE_SIG_KEY)
without = $(if $(shell command -v pahole),,CONFIG_DEBUG_INFO_BTF_MODULES=)
without += $(if $(filter pkcs11:%,$(key))$(wildcard $(KDIR)/$(key) $(filter /%,$(key))),,CONFIG_MODULE_SIG_ALL=)

release = $(shell cat $(KDIR)/include/config/kernel.release)

export KERNEL TRACE OUT JSON PREFIX DESTDIR KEY CERT INSTALL_MOD_PATH

modules: kdir
	$(kbuild) modules

modules_install: kdir
	@scripts/ready built $(KDIR)
	@scripts/ready modules $(release)
	$(kbuild) modules_install

install: kdir
	@scripts/ready modules $(release)
	$(kbuild) PYM_TESTS=n modules
	$(kbuild) PYM_TESTS=n modules_install
	@depmod -a $(if $(INSTALL_MOD_PATH),-b $(INSTALL_MOD_PATH)) $(release)

headers_install sign: kdir
	@scripts/$(subst _,-,$@) $(KDIR)

dkms-install deb install-test:
	@scripts/$@

# Without kernel headers too: what the build leaves is known.
clean:
	$(if $(wildcard $(KDIR)/Makefile),$(kbuild) clean,@:)
	@rm -rf *.ko *.mod *.mod.c *.o .*.cmd modules.order Module.symvers .module-common.o
	@rm -f $(foreach d,module kunit,$(addprefix $(d)/,*.o .*.cmd .*.d *.gcno))

test test-matrix coverage demo demo-trace demo-jool misuse soak bench bench-memory bench-native record-trace docs check:
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
	@echo '  headers_install  install what other modules are built with'
	@echo '  sign             sign what was built, for Secure Boot'
	@echo '  dkms-install     install the sources for DKMS'
	@echo '  deb              build a Debian package for DKMS'
	@echo '  clean            remove what was built'
	@echo '  help             this text'
	@echo 'In QEMU; this machine never loads the module'
	@echo '  test             KUnit under KASAN, lockdep, kmemleak, on PREEMPT_RT, on stock kernels'
	@echo '  test-matrix      load, replay, unload: each stock kernel with modules of each compiler'
	@echo '  coverage         the lines of module/ that the KUnit suites do not run, and why'
	@echo '  demo             replay recorded kernel allocations and show the heap map'
	@echo '  demo-trace       the same, seen with bpftrace, trace-cmd and perf'
	@echo '  demo-jool        move Debian'"'"'s Jool, a NAT64, onto pymalloc by one line and send traffic through'
	@echo '  misuse           do 23 things wrong with pymalloc and with SLUB'
	@echo '  soak             do 100 million things right with everything switched on in turn'
	@echo '  bench            measure pymalloc beside kmem_cache and kmalloc'
	@echo '  bench-memory     what is held and what comes back, beside the same two; plots'
	@echo '  bench-native     cycles, in User-Mode Linux, beside CPython, mimalloc, glibc'
	@echo '  install-test     install in every way in a fresh Debian 12, and load that'
	@echo '  record-trace     record the allocations of a kernel at work'
	@echo '  docs             the API, the theory of operation and README as HTML'
	@echo '  check            sparse, kernel-doc, checkpatch, shellcheck, warnings'
	@echo 'Variables'
	@echo '  KDIR=<dir>       kernel headers or build tree; KERNELDIR is accepted too'
	@echo '                   now: $(KDIR)'
	@echo '  INSTALL_MOD_PATH=<dir>  modules_install, install: instead of /'
	@echo '  PREFIX=<dir>     headers_install: instead of /usr/local'
	@echo '  DESTDIR=<dir>    headers_install, dkms-install: put before all names'
	@echo '  KEY= CERT=<file> sign: the private key and its certificate'
	@echo '  W=1 C=2 V=1 ...  as for any kernel build'
	@echo '  KERNEL=<series>  demo, misuse, soak, record-trace: stock kernel 6.12 (default), 6.1 or 7.3'
	@echo '                   bench, bench-memory: one kernel instead of all they know; demo-jool: 6.1'
	@echo '  TRACE=<file>     demo: text of the kmem trace events, plain or .xz'
	@echo '  JSON=<file>      test-matrix, demo-jool, misuse, bench, bench-*: write the figures there too'
	@echo '  OUT=<file>       record-trace: where to write, default scripts/boot.trace.xz'
	@echo '  OUT=<dir>        bench-memory: where the plots go; coverage: the lines with their counts'
	@echo '                   deb: where the package goes'
	@echo '                   docs: the pages'
	@echo '  more             scripts/config.defaults'

.DEFAULT_GOAL := modules
.PHONY: modules modules_install install headers_install sign dkms-install deb install-test clean \
	test test-matrix coverage demo demo-trace demo-jool misuse soak bench bench-memory bench-native \
	record-trace docs check kdir help
