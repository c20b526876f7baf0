#!/usr/bin/env bash
# Builds the patched FUSE as the module fusebpf, for stock kernels that have FUSE built in.
#
#   build.sh sources DIR [SERIES]   the patched, renamed sources and their Makefile in DIR; needs no compiler
#   build.sh module DIR [SERIES]    fusebpf.ko for Debian's newest kernel of the series, in DIR (for the virtual machine)
#   build.sh check DIR [SERIES]     each patch in turn: what checkpatch says, and building with and without CONFIG_FUSE_BPF
#   build.sh install [KERNEL]       for this machine's kernel (or KERNEL, as in uname -r): by DKMS if it is installed
#   build.sh uninstall
#
# SERIES is a folder beside this script, 6.12 unless said otherwise. MODULE_CC is the compiler, if not the kernel's own.

set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
NAME=fusebpf

say() { echo "build: $*" >&2; }
die() {
	say "$*"
	exit 1
}

# edit FILE EXPRESSION…: each sed expression has to change something, so that a newer kernel cannot slip through.
edit() {
	local file=$1 expression
	shift
	for expression; do
		sed -E "$expression" "$file" >"$file.new"
		! cmp -s "$file" "$file.new" || die "${file##*/}: nothing to rename by $expression"
		mv "$file.new" "$file"
	done
}

# Everything of which a kernel can have only one.
rename_sources() {
	local dir=$1
	edit "$dir/fuse_i.h" "s/pr_fmt\(fmt\) \"fuse: \"/pr_fmt(fmt) \"$NAME: \"/"
	edit "$dir/fuse_trace.h" "s/TRACE_SYSTEM fuse$/TRACE_SYSTEM $NAME/"
	edit "$dir/dev.c" \
		"s/\.minor = FUSE_MINOR/.minor = MISC_DYNAMIC_MINOR/" \
		"s/(\.name  = )\"fuse\"/\1\"$NAME\"/" \
		"/MODULE_ALIAS_MISCDEV\(FUSE_MINOR\)/d" \
		"s/devname:fuse/devname:$NAME/" \
		"s/\"fuse_request\"/\"${NAME}_request\"/"
	if [ -e "$dir/sysctl.c" ]; then edit "$dir/sysctl.c" "s|\"fs/fuse\"|\"fs/$NAME\"|"; fi
	edit "$dir/control.c" "s/\"fusectl\"/\"${NAME}ctl\"/"
	edit "$dir/inode.c" \
		"s/\"fuseblk\"/\"${NAME}blk\"/" \
		"s/(\.name[[:space:]]*= )\"fuse\"/\1\"$NAME\"/" \
		"s/MODULE_ALIAS_FS\(\"fuse\"\)/MODULE_ALIAS_FS(\"$NAME\")/" \
		"s/kobject_create_and_add\(\"fuse\"/kobject_create_and_add(\"$NAME\"/" \
		"s/\"fuse_inode\"/\"${NAME}_inode\"/" \
		"s/Filesystem in Userspace\"/Filesystem in Userspace, answered by BPF programs\"/"
}

# write_makefile DIR PATCHED y|n: the lists of objects are the kernel's own, of which its configuration chooses. PATCHED is
# their Makefile, y or n is CONFIG_FUSE_BPF.
write_makefile() {
	local dir=$1 patched=$2 bpf=$3 define=
	[ "$bpf" = n ] || define=" -DCONFIG_FUSE_BPF=1"
	{
		echo "# Written by kernel-patches/build.sh."
		echo "CONFIG_FUSE_BPF := $bpf"
		echo "obj-m := $NAME.o"
		sed -n "s/^fuse-/$NAME-/p" "$patched"
		echo "ccflags-y := -I\$(src) -D__DISABLE_EXPORTS$define"
	} >"$dir/Makefile"
}

# copy_sources TREE DIR: those of the module.
copy_sources() {
	cp "$1/fs/fuse"/*.[ch] "$2"
	# Modules of their own.
	rm "$2/cuse.c" "$2/virtio_fs.c"
}

apply() { # TREE PATCH
	patch -d "$1" -p1 -s -f --no-backup-if-mismatch <"$2" ||
		die "${2##*/} does not apply: the series follow Debian's newest kernels, which its security updates bring"
}


sources() {
	local dir=$1 series=$2 source patch
	[ -d "$HERE/$series" ] || die "no series for $series"
	source=$("$HERE/fetch.sh" source "$series")
	rm -rf "$dir.new" && mkdir -p "$dir.new/tree"
	cp -r "$source/fs" "$source/Documentation" "$dir.new/tree"
	for patch in "$HERE/$series"/*.patch; do
		apply "$dir.new/tree" "$patch"
	done
	copy_sources "$dir.new/tree" "$dir.new"
	rename_sources "$dir.new"
	write_makefile "$dir.new" "$dir.new/tree/fs/fuse/Makefile" y
	rm -rf "$dir.new/tree"
	rm -rf "$dir" && mv "$dir.new" "$dir"
}

# make_module SOURCES HEADERS [ROOT]: with a ROOT, whose compiler the kernel needs, in there.
make_module() {
	local dir=$1 headers=$2 root=${3:-} unshare=(unshare -m)
	if [ -z "$root" ]; then
		make -C "$headers" M="$dir" ${MODULE_CC:+CC="$MODULE_CC"} modules
		return
	fi
	[ "$(id -u)" -eq 0 ] || unshare+=(-r)
	# The mounts are gone with the name space. objtool reads /proc.
	"${unshare[@]}" sh -euc '
		mount --rbind /proc "$1/proc"
		mount --rbind /dev "$1/dev"
		mount --bind "$2" "$1/kbuild"
		exec env PATH=/usr/sbin:/usr/bin chroot "$1" make -C "$3" M=/kbuild modules' sh "$root" "$dir" "$headers"
}

# compile SOURCES HEADERS [ROOT]: resolve_btfids and pahole give the module its BTF from the kernel's.
compile() {
	local log=$1/build.log
	[ -n "${3:-}" ] || command -v pahole >/dev/null ||
		die "pahole is not installed, and a module without BTF takes no programs"
	make_module "$@" >"$log" 2>&1 || {
		grep -E 'error|Error' "$log" >&2 || tail -n 20 "$log" >&2
		die "compiling failed, see $log"
	}
	[ "$(readelf -S "$1/$NAME.ko" | grep -c '\.BTF  *PROGBITS')" -gt 0 ] || die "$NAME.ko has no BTF: see $log"
	if grep -E 'warning:' "$log" >&2; then die "warnings, see $log"; fi
}

compile_for() { # KERNEL SOURCES
	local headers
	headers=usr/src/linux-headers-$(cat "$1/release")
	if [ -e "$1/.root" ]; then
		compile "$2" "/$headers" "$1"
	else
		compile "$2" "$1/$headers"
	fi
}

# What a module is made from: if that is the same, so is the module. A kernel that is built again may have the same name.
fingerprint() {
	cat "$HERE/build.sh" "$HERE/$1"/*.patch "$2/release" "$2"/boot/vmlinuz-* | sha256sum
}

module() {
	local dir=$1 kernel series=${2%-debug}
	mkdir -p "$dir"
	dir=$(cd "$dir" && pwd)
	kernel=$("$HERE/fetch.sh" kernel "$2")
	# Taken first: what changes while this builds must not pass for what was built.
	fingerprint "$series" "$kernel" >"$dir/fingerprint.new"
	if [ -e "$dir/$NAME.ko" ] && cmp -s "$dir/fingerprint.new" "$dir/fingerprint"; then return; fi
	sources "$dir/src" "$series"
	compile_for "$kernel" "$dir/src"
	# Without debug information; BTF stays.
	strip -g -o "$dir/$NAME.ko" "$dir/src/$NAME.ko"
	mv "$dir/fingerprint.new" "$dir/fingerprint"
}

# What checkpatch has against a patch, but for what README.md names: MAINTAINERS, and the layout of the table of mount
# options, which is the file's own.
remarks() { # SOURCE PATCH
	local line type rest
	# From standard input: a file that git knows it takes for source. 1 is "there are remarks".
	{ perl "$1/scripts/checkpatch.pl" --no-tree --terse --show-types - <"$2" || [ $? -eq 1 ]; } |
		sed -n -E 's/^[^:]*:([0-9]+): ([A-Z]+:[A-Z_]+): (.*)/\1 \2 \3/p' |
		while read -r line type rest; do
			case $type in
			WARNING:FILE_PATH_CHANGES) continue ;;
			WARNING:SPACING) if sed -n "${line}p" "$2" | grep -q '^+.fsparam_'; then continue; fi ;;
			esac
			echo "${2##*/}:$line: $type: $rest"
		done
}

check() {
	local dir=$1 series=$2 source kernel patch text bpf
	[ -d "$HERE/$series" ] || die "no series for $series"
	source=$("$HERE/fetch.sh" source "$series")
	kernel=$("$HERE/fetch.sh" kernel "$series")
	rm -rf "$dir" && mkdir -p "$dir/tree" && dir=$(cd "$dir" && pwd)
	cp -r "$source/fs" "$source/Documentation" "$dir/tree"
	for patch in "$HERE/$series"/*.patch; do
		text=$(remarks "$source" "$patch")
		[ -z "$text" ] || die "$text"
		apply "$dir/tree" "$patch"
		for bpf in n y; do
			mkdir -p "$dir/$bpf"
			copy_sources "$dir/tree" "$dir/$bpf"
			write_makefile "$dir/$bpf" "$dir/tree/fs/fuse/Makefile" "$bpf"
			compile_for "$kernel" "$dir/$bpf"
		done
		echo "ok   $series/${patch##*/}"
	done
}

need_root() {
	[ "$(id -u)" -eq 0 ] || die "needs root"
}

version() {
	cat "$HERE/build.sh" "$HERE/$1"/*.patch | sha256sum | cut -c 1-12
}

write_dkms_conf() {
	local series=$2
	cat >"$1/dkms.conf" <<-CONF
		PACKAGE_NAME=$NAME
		PACKAGE_VERSION=$3
		BUILT_MODULE_NAME[0]=$NAME
		DEST_MODULE_LOCATION[0]=/updates/dkms
		MAKE[0]="make -C \${kernel_source_dir} M=\${dkms_tree}/\${PACKAGE_NAME}/\${PACKAGE_VERSION}/build modules"
		CLEAN="make -C \${kernel_source_dir} M=\${dkms_tree}/\${PACKAGE_NAME}/\${PACKAGE_VERSION}/build clean"
		BUILD_EXCLUSIVE_KERNEL="^${series//./\\.}\."
		AUTOINSTALL=yes
	CONF
}

# forget_versions [KEPT]: takes the sources away, of all versions but that one, and what dkms has made of them.
forget_versions() {
	local dir version
	for dir in "/usr/src/$NAME"-*; do
		version=${dir##*-}
		if [ ! -d "$dir" ] || [ "$version" = "${1:-}" ]; then continue; fi
		if command -v dkms >/dev/null; then
			dkms remove -m "$NAME" -v "$version" --all || say "dkms does not know ${dir##*/}"
		fi
		rm -rf "$dir"
	done
}

install_module() {
	local kernel=$1 series version dir
	need_root
	series=$(sed -E 's/^([0-9]+\.[0-9]+).*/\1/' <<<"$kernel")
	[ -d "$HERE/$series" ] || die "no series for kernel $kernel"
	[ -e "/lib/modules/$kernel/build" ] || die "headers of $kernel are missing: apt-get install linux-headers-$kernel pahole"
	version=$(version "$series")
	dir=/usr/src/$NAME-$version
	# Another version that dkms knows would be built for newer kernels as well.
	forget_versions "$version"
	sources "$dir" "$series"
	write_dkms_conf "$dir" "$series" "$version"
	if command -v dkms >/dev/null; then
		dkms install --force -m "$NAME" -v "$version" -k "$kernel"
	else
		say "dkms is not installed: a newer kernel will need this again"
		compile "$dir" "/lib/modules/$kernel/build"
		install -D -m 644 "$dir/$NAME.ko" "/lib/modules/$kernel/updates/$NAME.ko"
		depmod "$kernel"
	fi
	say "installed for $kernel; load it with: modprobe $NAME"
}

uninstall_module() {
	local module
	need_root
	if grep -qs "^$NAME " /proc/modules; then rmmod "$NAME" || die "the module is in use: unmount first"; fi
	forget_versions
	for module in /lib/modules/*/updates/{,dkms/}"$NAME".ko*; do
		[ -e "$module" ] || continue
		rm "$module"
		module=${module#/lib/modules/}
		depmod "${module%%/*}"
	done
}

case ${1:-} in
sources) sources "${2:?usage: build.sh sources DIR [SERIES]}" "${3:-6.12}" ;;
module) module "${2:?usage: build.sh module DIR [SERIES]}" "${3:-6.12}" ;;
check) check "${2:?usage: build.sh check DIR [SERIES]}" "${3:-6.12}" ;;
install) install_module "${2:-$(uname -r)}" ;;
uninstall) uninstall_module ;;
*) die "usage: build.sh sources DIR [SERIES] | module DIR [SERIES] | check DIR [SERIES] | install [KERNEL] | uninstall" ;;
esac
