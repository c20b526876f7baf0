#!/usr/bin/env bash
# Builds the patched FUSE as the module fusebpf, for stock kernels that have FUSE built in.
#
#   build.sh sources DIR [SERIES]   the patched, renamed sources and their Makefile in DIR; needs no compiler
#   build.sh module DIR [SERIES]    fusebpf.ko for Debian's newest kernel of the series, in DIR (for the virtual machine)
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

# The kernel's own lists of objects, which its configuration chooses from. PATCHED is their Makefile.
write_makefile() {
	local dir=$1 patched=$2
	{
		echo "# Written by kernel-patches/build.sh."
		echo "CONFIG_FUSE_BPF := y"
		echo "obj-m := $NAME.o"
		sed -n "s/^fuse-/$NAME-/p" "$patched"
		echo "ccflags-y := -I\$(src) -D__DISABLE_EXPORTS -DCONFIG_FUSE_BPF=1"
	} >"$dir/Makefile"
}

sources() {
	local dir=$1 series=$2 source patch
	[ -d "$HERE/$series" ] || die "no series for $series"
	source=$("$HERE/fetch.sh" source "$series")
	rm -rf "$dir.new" && mkdir -p "$dir.new/tree"
	cp -r "$source/fs" "$source/Documentation" "$dir.new/tree"
	for patch in "$HERE/$series"/*.patch; do
		patch -d "$dir.new/tree" -p1 -s -f --no-backup-if-mismatch <"$patch" || die "${patch##*/} does not apply"
	done
	cp "$dir.new/tree/fs/fuse"/*.[ch] "$dir.new"
	# Modules of their own.
	rm "$dir.new/cuse.c" "$dir.new/virtio_fs.c"
	rename_sources "$dir.new"
	write_makefile "$dir.new" "$dir.new/tree/fs/fuse/Makefile"
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

# What a module is made from: if that is the same, so is the module.
fingerprint() {
	cat "$HERE/build.sh" "$HERE/$1"/*.patch "$2/release" | sha256sum
}

module() {
	local dir=$1 kernel release series=${2%-debug}
	mkdir -p "$dir"
	dir=$(cd "$dir" && pwd)
	kernel=$("$HERE/fetch.sh" kernel "$2")
	release=$(cat "$kernel/release")
	# Taken first: what changes while this builds must not pass for what was built.
	fingerprint "$series" "$kernel" >"$dir/fingerprint.new"
	if [ -e "$dir/$NAME.ko" ] && cmp -s "$dir/fingerprint.new" "$dir/fingerprint"; then return; fi
	sources "$dir/src" "$series"
	if [ -e "$kernel/.root" ]; then
		compile "$dir/src" "/usr/src/linux-headers-$release" "$kernel"
	else
		compile "$dir/src" "$kernel/usr/src/linux-headers-$release"
	fi
	# Without debug information; BTF stays.
	strip -g -o "$dir/$NAME.ko" "$dir/src/$NAME.ko"
	mv "$dir/fingerprint.new" "$dir/fingerprint"
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

install_module() {
	local kernel=$1 series version dir
	need_root
	series=$(sed -E 's/^([0-9]+\.[0-9]+).*/\1/' <<<"$kernel")
	[ -d "$HERE/$series" ] || die "no series for kernel $kernel"
	[ -e "/lib/modules/$kernel/build" ] || die "headers of $kernel are missing: apt-get install linux-headers-$kernel pahole"
	version=$(version "$series")
	dir=/usr/src/$NAME-$version
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
	local dir
	need_root
	if grep -qw "^$NAME" /proc/modules; then rmmod "$NAME" || die "the module is in use: unmount first"; fi
	for dir in "/usr/src/$NAME"-*; do
		[ -d "$dir" ] || continue
		if command -v dkms >/dev/null; then dkms remove -m "$NAME" -v "${dir##*-}" --all || say "dkms does not know ${dir##*/}"; fi
		rm -rf "$dir"
	done
	find /lib/modules -name "$NAME.ko*" -path '*/updates/*' -delete
	depmod
}

case ${1:-} in
sources) sources "${2:?usage: build.sh sources DIR [SERIES]}" "${3:-6.12}" ;;
module) module "${2:?usage: build.sh module DIR [SERIES]}" "${3:-6.12}" ;;
install) install_module "${2:-$(uname -r)}" ;;
uninstall) uninstall_module ;;
*) die "usage: build.sh sources DIR [SERIES] | module DIR [SERIES] | install [KERNEL] | uninstall" ;;
esac
