#!/usr/bin/env bash
# The packages kfs needs on Debian and its kin, in one place, each with the reason.
#
#   deps.sh check SET…     exit 0 if every package is installed, else their names
#   deps.sh install SET…   installs what is missing; root only; says what it does
#   deps.sh ensure SET…    as root installs what is missing; others are told what is, and go on: the build names the
#                          library it lacks, a test that lacks its tool is skipped
#
# PACKAGE:COMMAND in the list: not wanted where that command is there from elsewhere (another vendor's package may conflict).
#
# Sets: build (compile and install), run (make run), test (make test; vm belongs to it), real (make real), fuzz (make fuzz),
# vm (make vm).

set -euo pipefail

packages() {
	sed -n "s/^$1 \+\([^ ]*\) .*/\1/p" <<-'LIST'
		build  gcc               the compiler
		build  libc6-dev         C library headers
		build  make              this build
		build  pkg-config        finds the libraries
		build  libfuse3-dev      session set-up, mounting, option words
		build  libjansson-dev    JSON of kfsctl and of the control socket
		build  libcap-ng-dev     dropping capabilities
		build  libseccomp-dev    the allow-list of system calls
		build  libblkid-dev      mkfs.kfs refuses to overwrite what holds something
		build  uuid-dev          identifiers of new filesystems
		build  liburing-dev      FUSE over io_uring
		build  clang             the BPF programs
		build  libelf-dev        libbpf's
		build  zlib1g-dev        libbpf's
		run    fuse3             fusermount3, for mounts of ordinary users
		run    e2fsprogs         the judge: e2fsck
		run    mount             mount, umount, losetup
		run    util-linux        mountpoint, setpriv
		test   clang             second compiler; holds the rule on ignored results
		test   clang-format      make lint, make fmt
		test   shellcheck        make lint
		test   git               lint reads the list of files; git on a mount
		test   python3           tests of system calls that the shell cannot make; medians of make bench
		test   acl               getfacl, setfacl
		test   attr              getfattr, setfattr
		test   libcap2-bin       setcap, getcap: file capabilities
		test   fuse2fs           the neighbour that is compared with
		test   fio               verified reads and writes by every engine
		test   sqlite3           a database as a user of locks, fsync and mmap
		test   stress-ng         file and directory stressors
		test   jq                reads kfsctl --json
		test   procps            ps, pgrep
		fuzz   clang             libFuzzer is its own
		fuzz   libclang-rt-14-dev  libFuzzer and the sanitizers' run-time
		real   linux-source-6.1  a whole source tree to unpack, build and keep in git
		real   bc                the kernel's build
		real   flex              the kernel's build
		real   bison             the kernel's build
		real   libelf-dev        the kernel's build
		real   libssl-dev        the kernel's build
		real   xz-utils          the source's compression
		real   nodejs:node       an application of many small files
		real   npm:npm           the same
		real   postgresql        a database with its own recovery
		test   kmod              modprobe ext4, loop
		real   debootstrap       a whole Debian as a guest's root
		real   qemu-system-x86   boots it
		real   busybox-static    the first program of a guest whose kernel needs modules
		real   cpio              its initramfs
		vm     qemu-system-x86   boots a stock kernel without KVM
		vm     busybox-static    the first program of the guest
		vm     cpio              its initramfs
		vm     pahole            type information of the module, without which it takes no BPF programs
		vm     clang             the BPF target
		vm     libelf-dev        libbpf's
		vm     zlib1g-dev        libbpf's
		vm     python3           the tests in the guest
		vm     jq                the same
		vm     kmod              the guest's modules
		vm     xz-utils          Debian's kernel packages and modules
		vm     patch             applies the series
		vm     binutils          readelf, strip
	LIST
}

wanted_of() { # SET…
	local set word
	for set; do
		packages "$set"
		[ "$set" != test ] || packages vm
	done | while read -r word; do
		case $word in *:*) if command -v "${word#*:}" >/dev/null; then continue; fi ;; esac
		echo "${word%%:*}"
	done
}

missing() {
	local wanted
	mapfile -t wanted < <(wanted_of "$@")
	comm -23 <(printf '%s\n' "${wanted[@]}" | sort -u) \
		<(dpkg-query -W -f='${db:Status-Abbrev}${Package}\n' "${wanted[@]}" 2>/dev/null | sed -n 's/^ii //p' | sort -u)
}

install_packages() {
	echo "kfs: installing with apt-get: $*"
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends "$@"
}

# libbpf of this release may be too old for the kernel's struct_ops in modules: then a newer Debian package is unpacked into
# the cache, outside of the system. Without it kfs is built without BPF programs, and says so when they are asked for.
fetch_libbpf() {
	if pkg-config --atleast-version=1.4 libbpf 2>/dev/null; then return; fi
	"$(dirname "$0")/../../kernel-patches/fetch.sh" tools >/dev/null ||
		echo "kfs: libbpf >= 1.4 could not be fetched: kfs is built without BPF programs" >&2
}

action=${1:?usage: deps.sh check|install|ensure SET…}
shift
if ! command -v dpkg-query >/dev/null; then
	echo "kfs: not a Debian system; needed are, by Debian's names:"
	wanted_of "$@" | paste -sd' '
	[ "$action" = ensure ] && exit 0
	exit 1
fi
mapfile -t lacking < <(missing "$@")
if [ "${#lacking[@]}" -eq 0 ]; then
	if [ "$action" != check ] && [ "$(id -u)" -eq 0 ]; then fetch_libbpf; fi
	exit 0
fi
case $action in
check)
	echo "kfs: not installed: ${lacking[*]}"
	exit 1
	;;
install | ensure)
	if [ "$(id -u)" -ne 0 ]; then
		echo "kfs: not installed: ${lacking[*]}: run 'sudo make deps'" >&2
		[ "$action" = ensure ]
		exit
	fi
	install_packages "${lacking[@]}"
	fetch_libbpf
	;;
*)
	echo "deps.sh: unknown action: $action" >&2
	exit 2
	;;
esac
