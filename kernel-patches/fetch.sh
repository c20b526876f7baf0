#!/usr/bin/env bash
# Fetches what Debian ships and this tree only uses, into a cache folder outside the tree, and prints where it is:
#
#   fetch.sh tools           libbpf >= 1.4 and bpftool, from backports where the release has less
#   fetch.sh dkms            dkms, for the test of installing
#   fetch.sh source 6.12     fs/fuse of Debian's linux-source-6.12, its scripts/checkpatch.pl
#   fetch.sh tree 6.12       the whole of those sources, for debug.sh
#   fetch.sh kernel 6.12     the kernel image and modules for the virtual machine, headers to build a module for it
#   fetch.sh kernel 7.2      the same; of a kernel that this machine's release does not have, and its compiler with it
#   fetch.sh virtiofsd       virtiofsd with the libraries that it needs, to run by the loader among them
#
#   fetch.sh qemu            QEMU 11.1 or newer, which gives guests windows (DAX), with all it needs: a root of its own
#
# The cache is KFS_CACHE, else /var/cache/kfs for root and ~/.cache/kfs for others. Nothing on the machine is changed:
# apt runs over a configuration of its own, made from the machine's own sources (same mirrors, same keys), with the
# backports suite added; packages are unpacked with dpkg-deb, not installed. A kernel that is in none of these suites comes
# from Debian's coming release (LATER) by the same mirror, and the folder is a root then, with a ".root" in it, for such
# headers need a newer compiler and C library than the machine's: build.sh compiles in there. A second call finds everything
# there and asks no server; two calls at once wait for each other. KFS_FETCH=new looks for newer packages.

set -euo pipefail

if [ -n "${KFS_CACHE:-}" ]; then
	CACHE=$KFS_CACHE
elif [ "$(id -u)" -eq 0 ]; then
	CACHE=/var/cache/kfs
else
	CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/kfs
fi
APT=$CACHE/apt
LATER="sid forky"
# What building a module takes beside the headers and the compiler that they depend on.
LATER_TOOLS="pahole make gawk bash dash coreutils sed grep findutils diffutils tar xz-utils perl-base base-files"
FRESH_MINUTES=720

say() { echo "fetch: $*" >&2; }
die() {
	say "$*"
	exit 1
}

# One caller at a time from here on, until the end.
lock() {
	mkdir -p "$CACHE"
	exec 9>"$CACHE/.lock"
	flock -n 9 && return
	say "waiting for another fetch"
	flock 9
}

# Lines "deb URI SUITE COMPONENT" for Debian's own archives among the machine's sources, and their backports; and, where the
# machine takes none, the security updates that lie beside them: the newest kernels come that way.
sources() {
	apt-get indextargets --format '$(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT) $(CODENAME)' 'Created-By: Packages' |
		awk '$1 == "Debian" {
			print "deb", $2, $3, $4
			if ($3 ~ /-security$/) secure = 1
			if ($3 == $5 && $3 !~ /-/ && !seen[$3]++ && $4 == "main") {
				print "deb", $2, $3 "-backports", "main"
				sub("/$", "", $2)
				beside[$3] = "deb " $2 "-security/ " $3 "-security main"
			}
		}
		END { if (!secure) for (suite in beside) print beside[suite] }' | sort -u
}

# The same mirror's lines for the releases to come.
later_sources() {
	local suite
	for suite in $LATER; do
		sources | awk -v suite="$suite" '$3 ~ /-backports$/ && !seen[$2]++ { print "deb", $2, suite, "main" }'
	done
}

private_apt() {
	local tool=$1
	shift
	"$tool" -o Dir::Etc::sourcelist="$APT/sources.list" -o Dir::Etc::sourceparts=/dev/null \
		-o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null \
		-o Dir::State::lists="$APT/lists" -o Dir::State::status="$APT/status" -o Dir::Cache="$APT/cache" \
		-o APT::Update::Post-Invoke-Success= -o APT::Sandbox::User="$(id -un)" -o Debug::NoLocking=1 "$@"
}

# The private lists, renewed when they are older than half a day.
update() {
	[ -n "$(find "$APT/updated" -mmin -$FRESH_MINUTES 2>/dev/null)" ] && return
	mkdir -p "$APT/lists/partial" "$APT/cache/archives/partial"
	: >"$APT/status"
	if [ "${APT##*/}" = later ]; then later_sources; else sources; fi >"$APT/sources.list"
	[ -s "$APT/sources.list" ] || die "no Debian archive among the machine's apt sources"
	say "reading package lists"
	if ! private_apt apt-get update -qq >&2; then
		say "perhaps there are no security updates beside this mirror: once more, without"
		sed -i '/-security main$/d' "$APT/sources.list"
		private_apt apt-get update -qq >&2
	fi
	touch "$APT/updated"
}

# newest NAME [PREFIX]: its newest version in any of the suites, of those that begin with PREFIX.
newest() {
	private_apt apt-cache madison "$1" | awk -F'|' -v prefix="${2:-}" '
		{ gsub(/ /, "", $2) }
		index($2, prefix) == 1 && !found++ { print $2 }'
}

# unpack DIR NAME=VERSION…: downloads packages that are not there yet and unpacks them below DIR.
unpack() {
	local dir=$1 package
	shift
	mkdir -p "$CACHE/deb" "$dir"
	for package; do
		say "$package"
		(cd "$CACHE/deb" && rm -f "${package%%=*}"_*.deb && private_apt apt-get download -qq "$package" >&2)
		dpkg-deb -x "$CACHE/deb/${package%%=*}"_*.deb "$dir"
		rm -f "$CACHE/deb/${package%%=*}"_*.deb
	done
}

# unpack_all DIR NAME=VERSION…: the same with all that they depend on.
unpack_all() {
	local dir=$1 package
	shift
	mkdir -p "$dir"
	rm -rf "$CACHE/deb" && mkdir -p "$CACHE/deb/partial"
	say "$* and what they need"
	private_apt apt-get install -o Dir::Cache::archives="$CACHE/deb" -qq -y --no-install-recommends --download-only "$@" >&2
	# The first has the links /bin, /lib and so on.
	for package in "$CACHE"/deb/base-files_*.deb "$CACHE"/deb/*.deb; do dpkg-deb -x "$package" "$dir"; done
	rm -rf "$CACHE/deb"
}

# install_dir NEW DIR: puts a finished folder in its place, so that a broken-off fetch leaves nothing half there.
install_dir() {
	rm -rf "$2"
	mkdir -p "$(dirname "$2")"
	mv "$1" "$2"
}

is_there() {
	[ -z "${KFS_FETCH:-}" ] && [ -e "$1/.complete" ]
}

# missing DIR: has it to be fetched? If so, by nobody else meanwhile, and what a broken-off fetch left is gone.
missing() {
	if is_there "$1"; then return 1; fi
	lock
	if is_there "$1"; then return 1; fi
	rm -rf "$1.new"
}

# fetch_packages NAME PACKAGE…: the newest in the suites of this machine's release.
fetch_packages() {
	local dir=$CACHE/$1 new=$CACHE/$1.new package
	shift
	if missing "$dir"; then
		update
		for package; do unpack "$new" "$package=$(newest "$package")"; done
		touch "$new/.complete"
		install_dir "$new" "$dir"
	fi
	echo "$dir"
}

fetch_source() {
	local series=$1 dir=$CACHE/source-$1 new=$CACHE/source-$1.new tree
	if missing "$dir"; then
		tree=linux-source-$series
		find_package "$tree"
		unpack "$new" "$tree=$(newest "$tree")"
		# What checkpatch and the series need; the rest of the kernel stays in the archive.
		tar -xJf "$new/usr/src/$tree.tar.xz" -C "$new" --strip-components=1 --wildcards "$tree/fs/fuse" \
			"$tree/include/uapi/linux/fuse.h" "$tree/scripts/checkpatch.pl" "$tree/scripts/spelling.txt" \
			"$tree/scripts/const_structs.checkpatch" "$tree/Documentation/filesystems/fuse*" \
			"$tree/Documentation/filesystems/index.rst" "$tree/MAINTAINERS"
		newest "$tree" >"$new/version"
		rm -rf "${new:?}/usr"
		touch "$new/.complete"
		install_dir "$new" "$dir"
	fi
	echo "$dir"
}

fetch_tree() {
	local series=$1 dir=$CACHE/tree-$1 new=$CACHE/tree-$1.new tree=linux-source-$1
	if missing "$dir"; then
		find_package "$tree"
		unpack "$new" "$tree=$(newest "$tree")"
		tar -xJf "$new/usr/src/$tree.tar.xz" -C "$new" --strip-components=1
		rm "$new/usr/src/$tree.tar.xz"
		touch "$new/.complete"
		install_dir "$new" "$dir"
	fi
	echo "$dir"
}

# Debian's headers name each other and the tools by absolute path; below the cache, in ROOT, they stand elsewhere.
relocate_headers() { # FOLDER ROOT RELEASE
	local folder=$1 root=$2 file
	for file in "$folder/usr/src/linux-headers-$3/Makefile" "$folder"/usr/src/linux-headers-*-common/Makefile; do
		sed -i -E "s|([ \"=])/usr/(src/linux-headers\|lib/linux-kbuild)|\1$root/usr/\2|g" "$file"
	done
	# scripts and tools are links, absolute or relative, into linux-kbuild.
	find "$folder/usr/src" -type l | while read -r file; do
		case $(readlink "$file") in
		/usr/*) ln -sfn "$root$(readlink "$file")" "$file" ;;
		esac
	done
}

# find_package NAME [PREFIX]: chooses the archives that have it, those of this machine's release if they do.
find_package() {
	APT=$CACHE/apt
	update
	[ -z "$(newest "$@")" ] || return 0
	APT=$CACHE/apt/later
	update
	[ -n "$(newest "$@")" ] || die "no $1 ${2:+$2* }in these archives"
}

# The package that stands for the newest kernel's headers: backports name it after the series.
find_headers() {
	APT=$CACHE/apt
	update
	HEADERS=linux-headers-$1-amd64
	[ -z "$(newest "$HEADERS")" ] || return 0
	HEADERS=linux-headers-amd64
	find_package "$HEADERS" "$1."
}

# A later release's kernel with all that compiling for it takes: a root to change into, see build.sh.
unpack_root() { # FOLDER RELEASE PACKAGE…
	local folder=$1 release=$2
	shift 2
	# shellcheck disable=SC2086 # words
	unpack_all "$folder" "$@" $LATER_TOOLS
	rm -rf "$folder"/usr/share/{doc,info,locale,man}
	# What maintainers' scripts would have made.
	ln -sf gawk "$folder/usr/bin/awk"
	mkdir -p "$folder"/{boot,dev,kbuild,proc,tmp}
	[ -e "$folder/boot/vmlinuz-$release" ] ||
		ln -s "../usr/lib/modules/$release/vmlinuz" "$folder/boot/vmlinuz-$release"
	touch "$folder/.root"
}

unpack_kernel() { # FOLDER ROOT RELEASE VERSION
	local folder=$1 root=$2 release=$3 version=$4 abi=${3%-amd64} kbuild=linux-kbuild-${3%-amd64} name packages=()
	# Up to 6.1 it is the series' alone.
	[ -n "$(newest "$kbuild")" ] || kbuild=linux-kbuild-$(cut -d. -f1,2 <<<"$release")
	# Up to 6.12 there is one package; then linux-image only names its parts.
	for name in linux-image linux-binary linux-modules; do
		[ -n "$(newest "$name-$release")" ] || continue
		[ "$name" != linux-binary ] || packages=()
		packages+=("$name-$release=$version")
	done
	packages+=("linux-headers-$release=$version" "linux-headers-$abi-common=$version" "$kbuild=$version")
	if [ "${APT##*/}" = later ]; then
		unpack_root "$folder" "$release" "${packages[@]}"
	else
		unpack "$folder" "${packages[@]}"
		relocate_headers "$folder" "$root" "$release"
	fi
	PATH=$PATH:/sbin:/usr/sbin depmod -b "$folder" "$release"
}

fetch_kernel() {
	local series=$1 dir=$CACHE/kernel-$1 new=$CACHE/kernel-$1.new version release
	if missing "$dir"; then
		find_headers "$series"
		version=$(newest "$HEADERS" "$series.")
		release=$(private_apt apt-cache show "$HEADERS=$version" |
			sed -n 's/^Depends:.* linux-headers-\([0-9][^ ,]*\).*/\1/p')
		[ -n "$release" ] || die "$HEADERS $version names no kernel"
		unpack_kernel "$new" "$dir" "$release" "$version"
		echo "$release" >"$new/release"
		touch "$new/.complete"
		install_dir "$new" "$dir"
	fi
	echo "$dir"
}

fetch_virtiofsd() {
	local dir=$CACHE/virtiofsd new=$CACHE/virtiofsd.new package
	if missing "$dir"; then
		find_package virtiofsd
		for package in virtiofsd libc6 libgcc-s1 libcap-ng0 libseccomp2; do
			unpack "$new" "$package=$(newest "$package")"
		done
		rm -rf "$new"/usr/share/{doc,locale,man}
		touch "$new/.complete"
		install_dir "$new" "$dir"
	fi
	echo "$dir"
}

# The coming release's: older ones map no window.
fetch_qemu() {
	local dir=$CACHE/qemu new=$CACHE/qemu.new
	if missing "$dir"; then
		APT=$CACHE/apt/later
		update
		[ -n "$(newest qemu-system-x86 1:1)" ] || die "no qemu-system-x86 in these archives"
		unpack_all "$new" "qemu-system-x86=$(newest qemu-system-x86 1:1)" base-files
		rm -rf "$new"/usr/share/{doc,info,locale,man}
		mkdir -p "$new"/{dev,proc,tmp,kfs}
		touch "$new/.complete"
		install_dir "$new" "$dir"
	fi
	echo "$dir"
}

# A kernel that debug.sh builds.
debug_kernel() {
	local dir=$CACHE/kernel-$1
	[ -e "$dir/.complete" ] || die "no kernel $1, it has to be built: kernel-patches/debug.sh ${1%-debug}"
	echo "$dir"
}

case ${1:-} in
tools) fetch_packages tools libbpf-dev bpftool ;;
dkms) fetch_packages dkms dkms ;;
source) fetch_source "${2:?usage: fetch.sh source SERIES}" ;;
tree) fetch_tree "${2:?usage: fetch.sh tree SERIES}" ;;
kernel)
	case ${2:-} in
	*-debug) debug_kernel "$2" ;;
	*) fetch_kernel "${2:?usage: fetch.sh kernel SERIES}" ;;
	esac
	;;
virtiofsd) fetch_virtiofsd ;;
qemu) fetch_qemu ;;
cache) echo "$CACHE" ;;
*) die "usage: fetch.sh tools | dkms | qemu | virtiofsd | source SERIES | tree SERIES | kernel SERIES | cache" ;;
esac
