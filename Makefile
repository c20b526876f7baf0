# SPDX-License-Identifier: GPL-2.0-only
#
# The one Makefile of kfs. Sources are found, not listed: put a file into its folder and it is built.
#
#   make [all]         programs and tests' programs      make test    lint + unit + integration + a part of vm
#   make run           a mount in front of your eyes     make check   unit tests only      make bench
#   make deps          install what is missing (root)    make lint    rules of style     make fmt
#   make crash         SEED=n CRASH='--seconds 600 ...'  power cuts, long

#   make fuzz FUZZ_S=60 FUZZ=word   every harness under libFuzzer for so many seconds, or those of that name
#   make vm            tests in a virtual machine with a stock kernel and our module: KERNEL=6.12
#   make install       DESTDIR= PREFIX=                  make clean
#
#   make kill          KILLS=500 SEED=n: kill -9 of the daemon under load, that many times; what was durable is there
#   make hostile       CASES=1000000 SEED=n: guests and front ends that lie; FIRST=n one case again
#   make mutants       T=word: kfs broken on purpose, one place at a time; the tests have to catch each
#   DEV=1  warnings are errors        SAN=address,undefined | SAN=thread  sanitizers, own build folder
#   COV=1  coverage, own build folder V=1  show commands        BUILD=dir  another output folder
#   T=012  only tests whose name holds this                     J=2  integration scripts at a time
#   SKIP='daemon/fs/%'  leave sources out

MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:
.SUFFIXES:
.SECONDARY:

comma := ,
ifneq ($(SAN),)
BUILD ?= build/san-$(subst $(comma),-,$(SAN))
else ifneq ($(COV),)
BUILD ?= build/cov
else ifneq ($(FUZZING),)
BUILD ?= build/fuzz
else
BUILD ?= build
endif
PREFIX ?= /usr/local
DESTDIR ?=

# ---- what is said on the terminal -----------------------------------------------------------------

ifneq ($(V),)
Q :=
msg = @:
else
Q := @
msg = @printf '  %-7s %s\n' $(1) $(2)
endif

# ---- tools and flags ------------------------------------------------------------------------------

ifeq ($(origin CC),default)
CC := gcc
endif
CFLAGS ?= -O2 -g
PKG_CONFIG ?= pkg-config

# One word per library; liburing joins when a source uses it.
PKGS := fuse3 jansson libcap-ng libseccomp blkid uuid
URING_USERS := $(shell grep -rls '<liburing.h>' daemon vhost 2>/dev/null)
PKGS += $(if $(URING_USERS),liburing)
PKG_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(PKGS) 2>/dev/null)

# libbpf >= 1.4: the system's, or that of newer Debian packages which deps.sh unpacked into the cache. Without it, or without
# clang, kfs is built all the same, and "-o bpf=on" says what is missing.
BPF_CACHE := $(firstword $(dir $(wildcard $(shell kernel-patches/fetch.sh cache 2>/dev/null)/tools/.complete \
	/var/cache/kfs/tools/.complete)))
ifeq ($(shell command -v clang 2>/dev/null),)
else ifneq ($(shell $(PKG_CONFIG) --atleast-version=1.4 libbpf 2>/dev/null && echo yes),)
BPF := system
BPF_CFLAGS := $(shell $(PKG_CONFIG) --cflags libbpf)
BPF_LIBS := $(shell $(PKG_CONFIG) --libs libbpf)
else ifneq ($(and $(BPF_CACHE),$(shell $(PKG_CONFIG) --exists libelf zlib 2>/dev/null && echo yes)),)
BPF := cache
BPF_CFLAGS := -isystem $(BPF_CACHE)usr/include
BPF_LIBS := $(wildcard $(BPF_CACHE)usr/lib/*/libbpf.a) -lelf -lz
endif
BPF_OBJECTS := $(patsubst bpf/%.bpf.c,$(BUILD)/bpf/%_bpf.o,$(wildcard bpf/*.bpf.c))

WARN := -Wall -Wextra -Wmissing-prototypes -Wstrict-prototypes -Wshadow -Wvla
# gcc reports an ignored result even behind a (void) cast, which is how kfs says "ignored on purpose";
# lint holds the rule with clang, which honours the cast.
WARN += -Wno-unused-result
WERROR := $(if $(DEV),-Werror)

KFS_CFLAGS := -std=gnu17 -D_GNU_SOURCE -I. -Iinclude -include daemon/base/banned.h \
	-fno-strict-aliasing -fno-common -fPIE -pthread $(WARN) $(WERROR) $(PKG_CFLAGS)
KFS_LDFLAGS := -pie -pthread -Wl,-z,relro,-z,now -Wl,--as-needed

ifneq ($(SAN),)
KFS_CFLAGS += -fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer -DKFS_SANITIZE
KFS_LDFLAGS += -fsanitize=$(SAN)
# Fences are between us and a guest, which is no thread of ours: that they are not looked at is no fault.
KFS_CFLAGS += $(if $(filter thread,$(SAN)),$(if $(findstring clang,$(CC)),,-Wno-tsan))
else ifeq ($(COV),)
KFS_CFLAGS += -D_FORTIFY_SOURCE=2 -fstack-protector-strong
endif
# A build of its own for libFuzzer: instrumented to steer by, sanitized, with the checks that are too slow elsewhere.
# Comparisons are not traced, which costs a third of the speed: inputs name fields and values, or have a dictionary.
ifneq ($(FUZZING),)
CFLAGS := -O1 -g
FUZZ_COVERAGE := inline-8bit-counters,pc-table
KFS_CFLAGS += -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer \
	-fsanitize-coverage=$(FUZZ_COVERAGE) -DKFS_SANITIZE -DKFS_CHECK_SLOW
# What a harness itself reaches is not what it is for.
build/fuzz/obj/tests/%.o: KFS_CFLAGS += -fno-sanitize-coverage=$(FUZZ_COVERAGE)
KFS_LDFLAGS += -fsanitize=address,undefined
endif
ifneq ($(COV),)
# Each branch as it is written. Threads count, too: a lost count would show a branch as not taken.
CFLAGS := -O0 -g
KFS_CFLAGS += --coverage -fprofile-update=atomic
$(BUILD)/obj/tests/fuzz/driver.o: KFS_CFLAGS += -DKFS_COVERAGE
KFS_LDFLAGS += --coverage
endif

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# ---- sources --------------------------------------------------------------------------------------

# SKIP='daemon/fs/%' leaves sources out, to build and test the rest while a part is being rewritten.
find_c = $(sort $(filter-out $(SKIP),$(shell find $(1) -name '*.c' 2>/dev/null)))
top_c = $(sort $(filter-out $(SKIP),$(wildcard $(1)/*.c)))
obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))

DAEMON_MAIN := $(filter-out $(SKIP),$(wildcard daemon/main.c))
LIBKFS_SRC := $(filter-out daemon/helpers/% $(if $(BPF),daemon/bpf/none.c,daemon/bpf/loader.c daemon/bpf/object.c daemon/bpf/libbpf_log.c daemon/bpf/trace.c),$(filter-out $(call top_c,daemon),$(call find_c,daemon)))
DAEMON_SRC := $(filter-out daemon/main.c,$(call top_c,daemon))
HELPER_SRC := $(call top_c,daemon/helpers)
MKFS_SRC := $(filter-out mkfs/main.c,$(call top_c,mkfs))
CTL_SRC := $(filter-out ctl/main.c,$(call top_c,ctl))
TESTLIB_SRC := $(call top_c,tests/lib)
TOOL_SRC := $(call top_c,tests/tools)
BENCH_SRC := $(call top_c,tests/bench)
CRASH_SRC := $(call top_c,tests/crash)
IMAGES_SRC := $(call top_c,tests/images)
FAULT_SRC := $(call top_c,tests/fault)
FUZZ_SRC := $(call top_c,tests/fuzz)
UNIT_SRC := $(filter %_test.c,$(call find_c,tests/unit))
UNIT_LIB_SRC := $(filter-out %_test.c,$(call find_c,tests/unit))
ALL_SRC := $(call find_c,daemon) $(call find_c,mkfs) $(call find_c,ctl) $(TESTLIB_SRC) $(TOOL_SRC) \
	$(BENCH_SRC) $(FUZZ_SRC) $(FAULT_SRC) $(CRASH_SRC) $(IMAGES_SRC) $(call find_c,tests/unit)

# Guests: the back end goes into the library; tests/vhost holds a front end for it.
VHOST_SRC := $(call top_c,vhost)
VIRTIOFSD_SRC := $(call top_c,vhost/virtiofsd)
VHOST_TEST_SRC := $(call top_c,tests/vhost)
LIBKFS_SRC += $(VHOST_SRC)
ALL_SRC += $(VHOST_SRC) $(VIRTIOFSD_SRC) $(VHOST_TEST_SRC)
VFE := $(BUILD)/bin/tests/vhost/vfe

LIBKFS := $(BUILD)/lib/libkfs.a
# Each program without its main is an archive, so that unit tests reach all of it.
LIBDAEMON := $(BUILD)/lib/daemon.a
LIBMKFS := $(BUILD)/lib/mkfs.a
LIBCTL := $(BUILD)/lib/ctl.a
LIBVIRTIOFSD := $(BUILD)/lib/virtiofsd.a
LIBTEST := $(BUILD)/lib/test.a

HELPERS := $(HELPER_SRC:daemon/helpers/%.c=$(BUILD)/bin/%)
PROGRAMS := $(if $(DAEMON_MAIN),$(BUILD)/bin/kfs) $(HELPERS) \
	$(if $(filter-out $(SKIP),$(wildcard mkfs/main.c)),$(BUILD)/bin/mkfs.kfs) $(if $(filter-out $(SKIP),$(wildcard ctl/main.c)),$(BUILD)/bin/kfsctl) \
	$(if $(VIRTIOFSD_SRC),$(BUILD)/bin/kfs-virtiofsd)
# Without a helper of that name, mount.fuse.kfs and umount.fuse.kfs are the daemon under another name.
LINKS := $(if $(DAEMON_MAIN),$(filter-out $(HELPERS),$(BUILD)/bin/mount.fuse.kfs $(BUILD)/bin/umount.fuse.kfs))
TOOLS := $(TOOL_SRC:tests/tools/%.c=$(BUILD)/bin/tests/%)
BENCHES := $(BENCH_SRC:tests/%.c=$(BUILD)/bin/tests/%)
IMAGES := $(if $(IMAGES_SRC),$(BUILD)/bin/tests/images)
UNITS := $(UNIT_SRC:tests/%.c=$(BUILD)/bin/tests/%)
CRASH_PROGRAM := $(BUILD)/bin/tests/crash
FAULTS := $(BUILD)/bin/tests/fault/sweep-fs $(BUILD)/bin/tests/fault/sweep-mkfs
# Each with the driver that needs no libFuzzer, and, under FUZZING=1, with libFuzzer.
HARNESSES := $(patsubst tests/fuzz/%_fuzz.c,%,$(filter %_fuzz.c,$(FUZZ_SRC)))
FUZZ_LIB_SRC := $(filter-out %_fuzz.c tests/fuzz/driver.c,$(FUZZ_SRC))
FUZZ_DRIVERS := $(HARNESSES:%=$(BUILD)/bin/tests/fuzz/%_fuzz)
FUZZERS := $(HARNESSES:%=$(BUILD)/bin/fuzz/%_fuzz)
MANPAGES := $(wildcard daemon/*.8 daemon/helpers/*.8 mkfs/*.8 ctl/*.8 vhost/virtiofsd/*.8)
# After virtiofsd's own, for files are tried in the order of their names: a host with both keeps the general one.
VIRTIOFSD_JSON := share/qemu/vhost-user/60-kfs-virtiofsd.json

.PHONY: all programs tests-programs deps run test real bare fault crash check bench lint tidy fmt install uninstall clean FORCE

all: programs tests-programs
programs: $(LIBKFS) $(PROGRAMS) $(LINKS)
# tests/mutants links test programs by itself, with the libraries of link.stamp.
tests-programs: $(TOOLS) $(VFE) $(BENCHES) $(UNITS) $(FUZZ_DRIVERS) $(BUILD)/bin/tests/fuzz/bases.stamp $(FAULTS) $(CRASH_PROGRAM) $(IMAGES) $(BUILD)/link.stamp

.PHONY: fuzz fuzzers
fuzzers: $(FUZZERS) $(BUILD)/bin/fuzz/bases.stamp

# ---- stamps: rebuild when flags or the set of files change ----------------------------------------

# $(call stamp,text): replaces the target only if the text differs, so that nothing is rebuilt for nothing.
stamp = $(Q)mkdir -p $(@D); printf '%s\n' '$(1)' > $@.$$$$; \
	if cmp -s $@.$$$$ $@; then rm -f $@.$$$$; else mv -f $@.$$$$ $@; fi

$(BUILD)/flags.stamp: FORCE
	$(call stamp,$(CC) $(CFLAGS) $(KFS_CFLAGS) $(LDFLAGS) $(KFS_LDFLAGS))
$(BUILD)/link.stamp: FORCE
	$(call stamp,$(PKG_LIBS) $(LDLIBS))
$(BUILD)/version.stamp: FORCE
	$(call stamp,$(VERSION))
$(BUILD)/libkfs.stamp: FORCE
	$(call stamp,$(LIBKFS_SRC))
$(BUILD)/programs.stamp: FORCE
	$(call stamp,$(DAEMON_SRC) $(MKFS_SRC) $(CTL_SRC) $(VIRTIOFSD_SRC) $(TESTLIB_SRC) $(UNIT_LIB_SRC) $(FUZZ_LIB_SRC))

# A missing library is named once, with the remedy, instead of a screen of compiler errors.
$(BUILD)/libs.stamp:
	$(Q)mkdir -p $(@D)
	$(Q)command -v $(firstword $(CC)) >/dev/null || { echo "kfs: $(CC) is not installed: run 'make deps' as root" >&2; exit 1; }
	$(Q)command -v $(PKG_CONFIG) >/dev/null || { echo "kfs: $(PKG_CONFIG) is not installed: run 'make deps' as root" >&2; exit 1; }
	$(Q)$(PKG_CONFIG) --print-errors --exists $(PKGS) || { echo "kfs: libraries are missing: run 'make deps' as root" >&2; exit 1; }
	$(Q)touch $@

# ---- compiling and linking ------------------------------------------------------------------------

$(BUILD)/obj/%.o: %.c $(BUILD)/flags.stamp | $(BUILD)/libs.stamp
	$(call msg,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(KFS_CFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(call obj,daemon/bpf/loader.c daemon/bpf/libbpf_log.c daemon/bpf/trace.c): KFS_CFLAGS += $(BPF_CFLAGS)
$(BUILD)/obj/daemon/bpf/object.o: KFS_CFLAGS += -DKFS_BPF_OBJECTS='"$(abspath $(BUILD)/bpf)"'
$(BUILD)/obj/daemon/bpf/object.o: $(BPF_OBJECTS)

$(BPF_OBJECTS): $(BUILD)/bpf/%_bpf.o: bpf/%.bpf.c $(wildcard bpf/*.h) include/kfs/bpf_abi.h include/kfs/trace_abi.h
	$(call msg,BPF,$<)
	$(Q)mkdir -p $(@D)
	$(Q)clang -g -O2 -target bpf -mcpu=v3 -ffreestanding -Wall -Werror -I. $(BPF_CFLAGS) \
		-isystem /usr/include/$$($(CC) -print-multiarch) -c $< -o $@

# Only what prints the version knows it: the rest is not rebuilt for a new commit.
VERSIONED := $(call obj,$(shell grep -rlsw KFS_VERSION --include='*.c' daemon mkfs ctl vhost tests))
$(VERSIONED): $(BUILD)/version.stamp
$(VERSIONED): KFS_CFLAGS += -DKFS_VERSION='"$(VERSION)"'

define archive
	$(call msg,AR,$@)
	$(Q)mkdir -p $(@D)
	$(Q)rm -f $@
	$(Q)ar rcs $@ $(filter %.o,$^)
endef

$(LIBKFS): $(call obj,$(LIBKFS_SRC)) $(BUILD)/libkfs.stamp
	$(archive)
$(LIBDAEMON): $(call obj,$(DAEMON_SRC)) $(BUILD)/programs.stamp
	$(archive)
$(LIBMKFS): $(call obj,$(MKFS_SRC)) $(BUILD)/programs.stamp
	$(archive)
$(LIBCTL): $(call obj,$(CTL_SRC)) $(BUILD)/programs.stamp
	$(archive)
# With a front end for guests' tests and benchmarks.
$(LIBTEST): $(call obj,$(TESTLIB_SRC)) $(call obj,$(UNIT_LIB_SRC)) $(call obj,tests/vhost/front.c tests/vhost/shm.c) $(BUILD)/programs.stamp
	$(archive)

PKG_LIBS = $(shell $(PKG_CONFIG) --libs $(PKGS) 2>/dev/null)
define link
	$(call msg,LINK,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(KFS_LDFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) \
		$(filter $(LIBVIRTIOFSD),$^) $(filter $(LIBDAEMON) $(LIBCTL),$^) \
		$(filter-out $(LIBVIRTIOFSD) $(LIBDAEMON) $(LIBCTL),$(filter %.a,$^)) $(BPF_LIBS) $(PKG_LIBS) $(LDLIBS)
endef

$(BUILD)/bin/kfs: $(BUILD)/obj/daemon/main.o $(LIBDAEMON) $(LIBKFS)
	$(link)
$(BUILD)/bin/mkfs.kfs: $(BUILD)/obj/mkfs/main.o $(LIBMKFS) $(LIBKFS)
	$(link)
$(BUILD)/bin/kfsctl: $(BUILD)/obj/ctl/main.o $(LIBCTL) $(LIBKFS)
	$(link)
# What finds a daemon and talks to it is kfsctl's.
$(LIBVIRTIOFSD): $(call obj,$(filter-out %/main.c,$(VIRTIOFSD_SRC))) $(BUILD)/programs.stamp
	$(archive)
$(BUILD)/bin/kfs-virtiofsd: $(BUILD)/obj/vhost/virtiofsd/main.o $(LIBVIRTIOFSD) $(LIBCTL) $(LIBKFS)
	$(link)
$(HELPERS): $(BUILD)/bin/%: $(BUILD)/obj/daemon/helpers/%.o $(LIBDAEMON) $(LIBKFS)
	$(link)
$(LINKS): $(BUILD)/bin/kfs
	$(call msg,LN,$@)
	$(Q)ln -sf kfs $@

# The archive of the program under test comes first: mkfs and kfs may both have, say, an options.o.
$(filter $(BUILD)/bin/tests/unit/vhost/virtiofsd/%,$(UNITS)): $(LIBVIRTIOFSD)
$(filter $(BUILD)/bin/tests/unit/ctl/%,$(UNITS)): $(LIBCTL)
$(filter-out $(BUILD)/bin/tests/unit/mkfs/% $(BUILD)/bin/tests/unit/ctl/%,$(UNITS)): $(LIBDAEMON)
MKFS_UNITS := $(filter $(BUILD)/bin/tests/unit/mkfs/%,$(UNITS))
$(filter-out $(MKFS_UNITS),$(UNITS)): $(BUILD)/bin/tests/%: $(BUILD)/obj/tests/%.o $(LIBTEST) $(LIBKFS)
	$(link)
$(MKFS_UNITS): $(BUILD)/bin/tests/%: $(BUILD)/obj/tests/%.o $(LIBTEST) $(LIBMKFS) $(LIBKFS)
	$(link)
$(TOOLS): $(BUILD)/bin/tests/%: $(BUILD)/obj/tests/tools/%.o $(LIBTEST) $(LIBKFS)
	$(link)
$(BENCHES): $(BUILD)/bin/tests/%: $(BUILD)/obj/tests/%.o $(LIBTEST) $(LIBKFS)
	$(link)
$(CRASH_PROGRAM): $(call obj,$(CRASH_SRC)) $(LIBTEST) $(LIBKFS)
	$(link)
$(IMAGES): $(call obj,$(IMAGES_SRC)) $(LIBKFS)
	$(link)
$(VFE): $(call obj,$(VHOST_TEST_SRC)) $(LIBKFS)
	$(link)

# Calls of the project's own objects that a sweep can make fail (tests/fault/wrap.h).
FAULT_WRAPPED := malloc calloc realloc reallocarray aligned_alloc strdup free pthread_create \
	preadv pwritev pwritev2 fdatasync fallocate ftruncate
$(FAULTS): KFS_LDFLAGS += $(FAULT_WRAPPED:%=-Wl,--wrap=%)
$(FAULTS): $(call obj,$(filter-out %_loads.c %/work.c,$(FAULT_SRC)))
$(BUILD)/bin/tests/fault/sweep-fs: $(call obj,tests/fault/fs_loads.c tests/fault/work.c) $(LIBTEST) $(LIBKFS)
	$(link)
$(BUILD)/bin/tests/fault/sweep-mkfs: $(call obj,tests/fault/mkfs_loads.c) $(LIBTEST) $(LIBMKFS) $(LIBKFS)
	$(link)

# mkfs and the daemon both have an options.o: the program under test decides which is seen first.
LIBFUZZ := $(BUILD)/lib/fuzz.a
$(LIBFUZZ): $(call obj,$(FUZZ_LIB_SRC)) $(BUILD)/programs.stamp
	$(archive)
MKFS_DRIVER := $(BUILD)/bin/tests/fuzz/mkfs_fuzz
MKFS_FUZZER := $(BUILD)/bin/fuzz/mkfs_fuzz
FUZZ_DRIVER := $(BUILD)/obj/tests/fuzz/driver.o
$(filter-out $(MKFS_DRIVER) $(MKFS_FUZZER),$(FUZZ_DRIVERS) $(FUZZERS)): $(LIBDAEMON)
$(FUZZERS): LDFLAGS += -fsanitize=fuzzer
$(filter-out $(MKFS_DRIVER),$(FUZZ_DRIVERS)): $(BUILD)/bin/tests/fuzz/%: $(BUILD)/obj/tests/fuzz/%.o $(FUZZ_DRIVER) $(LIBFUZZ) $(LIBKFS)
	$(link)
$(filter-out $(MKFS_FUZZER),$(FUZZERS)): $(BUILD)/bin/fuzz/%: $(BUILD)/obj/tests/fuzz/%.o $(LIBFUZZ) $(LIBKFS)
	$(link)
$(filter $(MKFS_DRIVER),$(FUZZ_DRIVERS)): $(BUILD)/obj/tests/fuzz/mkfs_fuzz.o $(FUZZ_DRIVER) $(LIBFUZZ) $(LIBMKFS) $(LIBKFS)
	$(link)
$(filter $(MKFS_FUZZER),$(FUZZERS)): $(BUILD)/obj/tests/fuzz/mkfs_fuzz.o $(LIBFUZZ) $(LIBMKFS) $(LIBKFS)
	$(link)
# Without e2fsprogs there are no images to edit: the tests of them skip.
$(BUILD)/bin/tests/fuzz/bases.stamp $(BUILD)/bin/fuzz/bases.stamp: tests/fuzz/bases.sh
	$(call msg,BASES,$(@D)/bases)
	$(Q)mkdir -p $(@D)
	$(Q)PATH=$$PATH:/usr/sbin:/sbin; if command -v mke2fs debugfs e2fsck >/dev/null; then tests/fuzz/bases.sh $(@D)/bases; fi
	$(Q)touch $@

-include $(patsubst %.o,%.d,$(call obj,$(ALL_SRC)))

# ---- what people call -----------------------------------------------------------------------------

DEPS := tests/lib/deps.sh
# Who calls "make test" without -j still gets all processors for the build.
PARALLEL = $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))

deps:
	$(Q)$(DEPS) install build run test

run:
	$(Q)$(DEPS) ensure build run
	$(Q)$(MAKE) --no-print-directory $(PARALLEL) programs
	$(Q)BUILD=$(BUILD) tests/lib/run-demo.sh

# Lint judges the sources, which are the same under every flag: sanitizer and coverage builds leave it out.
test:
	$(Q)$(DEPS) ensure build run test
	$(Q)$(MAKE) --no-print-directory $(PARALLEL) DEV=1 all
	$(Q)$(MAKE) --no-print-directory DEV=1 run-tests

.PHONY: run-tests
run-tests:
	$(Q)BUILD=$(BUILD) T='$(T)' J='$(J)' tests/run.sh $(if $(SAN)$(COV),,lint) unit $(UNITS) $(FUZZ_DRIVERS) integration vm-core

# Applications at work for minutes each, beside kernel ext4: too long for every change, not for every release.
real:
	$(Q)$(DEPS) ensure build run test real
	$(Q)$(MAKE) --no-print-directory DEV=1 all
	$(Q)BUILD=$(BUILD) T='$(T)' tests/run.sh real

# The README's two commands in a minimal Debian made for it: T= as above, TARGETS='run' for less.
bare:
	$(Q)BUILD=$(BUILD) T='$(T)' J='$(J)' tests/lib/bare-machine.sh $(TARGETS)

# A failing round prints how it runs alone: make kill KILLS=1 SEED=that. Without SEED, the time of day is one.
.PHONY: kill
kill: SEED ?= $(shell date +%s)
kill: KILLS ?= 500
kill:
	$(Q)$(DEPS) ensure build run test
	$(Q)$(MAKE) --no-print-directory $(PARALLEL) DEV=1 all
	$(Q)mkdir -p $(BUILD)/results $(BUILD)/tmp/kill
	$(Q)PATH="$(abspath $(BUILD))/bin:$$PATH" python3 tests/kill/run.py --kills $(KILLS) --seed $(SEED) \
		--commit $(VERSION) --dir $(BUILD)/tmp/kill --json $(BUILD)/results/kill.json

# Guests and front ends that lie, against a sanitized daemon with an honest guest and a mount beside them. A failing case
# prints how it runs alone: make hostile SEED=s CASES=1 FIRST=n. FAMILY=word runs those whose name holds it.
.PHONY: hostile
hostile: SEED ?= $(shell date +%s)
hostile: CASES ?= 1000000
hostile:
	$(Q)$(DEPS) ensure build run test
	$(Q)$(MAKE) --no-print-directory $(PARALLEL) DEV=1 SAN=$(or $(SAN),address$(comma)undefined) BUILD=$(HOSTILE_BUILD) programs $(HOSTILE_BUILD)/bin/tests/vhost/vfe
	$(Q)mkdir -p $(HOSTILE_BUILD)/results
	$(Q)BUILD=$(HOSTILE_BUILD) KFS_SEED=$(SEED) KFS_CASES=$(CASES) KFS_FIRST=$(or $(FIRST),0) KFS_FAMILY='$(FAMILY)' \
		KFS_RESULTS=$(abspath $(HOSTILE_BUILD))/results/hostile.json tests/integration/820-hostile-guests.sh
HOSTILE_BUILD = $(if $(SAN),$(BUILD),build/san-address-undefined)

# A test of the tests: kfs broken in one place at a time, and each has to be caught. T= as above, of a mutant's name or file.
.PHONY: mutants
mutants:
	$(Q)$(DEPS) ensure build run test
	$(Q)$(MAKE) --no-print-directory $(PARALLEL) DEV=1 tests-programs
	$(Q)mkdir -p $(BUILD)/results $(BUILD)/tmp/mutants
	$(Q)python3 tests/mutants/run.py --build $(BUILD) --only '$(T)' --json $(BUILD)/results/mutants.json

# Power cuts over all short workloads and drawn ones, for as long as one likes: make crash SEED=7 CRASH='--lengths any
# --seconds 3600'; CRASH=--help tells the options. "make test" runs a small part of it.
crash: SEED ?= 1
crash:
	$(Q)$(DEPS) ensure build run test
	$(Q)$(MAKE) --no-print-directory $(PARALLEL) DEV=1 $(CRASH_PROGRAM)
	$(Q)mkdir -p $(BUILD)/crash $(BUILD)/results
	$(Q)$(CRASH_PROGRAM) --dir $(BUILD)/crash --json $(BUILD)/results/crash.json --seed $(SEED) $(CRASH)

# Every damaged image of tests/images/cases, and those of e2fsprogs' own tests.
.PHONY: images
images:
	$(Q)$(DEPS) ensure build run test
	$(Q)$(MAKE) --no-print-directory $(PARALLEL) DEV=1 all
	$(Q)BUILD=$(BUILD) T='$(T)' tests/images/run.sh
	$(Q)BUILD=$(BUILD) tests/images/e2fsprogs.sh || [ $$? -eq 77 ]

# Every failure point: see tests/fault/sweep.c. WORDS='--load names' and the like for less.
fault: tests-programs
	$(Q)$(DEPS) ensure build run test
	$(Q)BUILD=$(BUILD) tests/fault/run.sh $(or $(WORDS),--all)

# In a virtual machine with Debian's kernel and the module of kernel-patches/; what it needs is fetched into KFS_CACHE.
KERNEL ?= 6.12
.PHONY: vm
vm:
	$(Q)$(DEPS) ensure build run vm
	$(Q)$(MAKE) --no-print-directory $(PARALLEL) DEV=1 all
	$(Q)BUILD=$(BUILD) tests/vm/build.sh
	$(Q)kernel-patches/fetch.sh dkms >/dev/null # the guest has no network
	$(Q)BUILD=$(BUILD) VM_SERIES=$(KERNEL) T='$(T)' tests/run.sh vm

check: tests-programs
	$(if $(COV),$(Q)find $(BUILD)/obj -name '*.gcda' -delete)
	$(Q)BUILD=$(BUILD) T='$(T)' tests/run.sh unit $(UNITS) $(FUZZ_DRIVERS) $(if $(COV),cover)
	$(if $(COV),$(Q)tests/lib/coverage.py $(BUILD))

# Coverage-guided, as long as one likes. clang whatever CC is: libFuzzer is its own.
FUZZ_CC ?= clang
fuzz:
	$(Q)$(DEPS) ensure build run fuzz
	$(Q)$(MAKE) --no-print-directory $(PARALLEL) FUZZING=1 BUILD=build/fuzz CC='$(FUZZ_CC)' fuzzers
	$(Q)FUZZ='$(FUZZ)' FUZZ_S='$(or $(FUZZ_S),60)' FUZZ_CORPUS='$(FUZZ_CORPUS)' JOBS='$(or $(J),2)' tests/fuzz/run.sh build/fuzz

# Each comparison is a script of its own; timings of different runs are not compared.
bench:
	$(Q)$(DEPS) ensure build run test
	$(Q)$(MAKE) --no-print-directory $(PARALLEL) all
	$(Q)set -e; for script in $(sort $(wildcard tests/bench/*.sh)); do BUILD=$(BUILD) bash $$script; done

# For lint: nothing where there is no libbpf.
.PHONY: bpf-flags
bpf-flags:
	@echo '$(if $(BPF),$(BPF_CFLAGS))'

lint:
	$(Q)tests/lint/run.sh

C_FILES = $(shell find daemon mkfs ctl vhost include tests -name '*.[ch]' 2>/dev/null)
fmt:
	$(call msg,FMT,$(words $(C_FILES)) files)
	$(Q)clang-format -i $(C_FILES)

# Not part of lint: minutes instead of seconds.
tidy:
	$(Q)clang-tidy --quiet --checks='-*,bugprone-*,clang-analyzer-*,-bugprone-easily-swappable-parameters,-bugprone-reserved-identifier,-clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling' \
		$(ALL_SRC) -- $(filter-out -fPIE,$(KFS_CFLAGS)) -DKFS_VERSION='"tidy"'

# mount(8) looks for its helpers in /sbin, whatever the prefix.
SBIN_MOUNT := $(filter mount.fuse.kfs umount.fuse.kfs,$(notdir $(HELPERS) $(LINKS)))
INSTALL_BIN := $(filter-out $(SBIN_MOUNT),$(notdir $(PROGRAMS)))

install: programs
	$(call msg,INSTALL,$(DESTDIR)$(PREFIX))
	$(Q)install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man8 $(DESTDIR)/sbin
	$(Q)set -e; for name in $(INSTALL_BIN); do \
		case $$name in kfsctl|kfs) dir=bin;; *) dir=sbin;; esac; \
		install -m 755 $(BUILD)/bin/$$name $(DESTDIR)$(PREFIX)/$$dir/$$name; done
	$(Q)set -e; for name in $(SBIN_MOUNT); do \
		if [ -h $(BUILD)/bin/$$name ]; then ln -sf $(PREFIX)/bin/kfs $(DESTDIR)/sbin/$$name; \
		else install -m 755 $(BUILD)/bin/$$name $(DESTDIR)/sbin/$$name; fi; done
	$(Q)set -e; for page in $(MANPAGES); do install -m 644 $$page $(DESTDIR)$(PREFIX)/share/man/man8/; done
	$(Q)install -d $(DESTDIR)$(PREFIX)/$(dir $(VIRTIOFSD_JSON))
	$(Q)sed 's|@BINARY@|$(PREFIX)/sbin/kfs-virtiofsd|' vhost/virtiofsd/$(notdir $(VIRTIOFSD_JSON)).in >$(DESTDIR)$(PREFIX)/$(VIRTIOFSD_JSON)
	$(Q)install -D -m 644 ctl/kfsctl.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/kfsctl

uninstall:
	$(call msg,REMOVE,$(DESTDIR)$(PREFIX))
	$(Q)rm -f $(foreach n,$(INSTALL_BIN),$(DESTDIR)$(PREFIX)/bin/$(n) $(DESTDIR)$(PREFIX)/sbin/$(n)) \
		$(SBIN_MOUNT:%=$(DESTDIR)/sbin/%) $(DESTDIR)$(PREFIX)/share/bash-completion/completions/kfsctl $(DESTDIR)$(PREFIX)/$(VIRTIOFSD_JSON) $(foreach p,$(MANPAGES),$(DESTDIR)$(PREFIX)/share/man/man8/$(notdir $(p)))

clean:
	$(call msg,RM,$(BUILD))
	$(Q)rm -rf $(BUILD)

FORCE:
