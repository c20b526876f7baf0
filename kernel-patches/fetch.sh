#!/usr/bin/env bash
# Fetches what Debian ships and this tree only uses, into a cache folder outside the tree, and prints where it is:
#
#   fetch.sh tools           libbpf >= 1.4 and bpftool, from backports where the release has less
#   fetch.sh source 6.12     fs/fuse of Debian's linux-source-6.12, its scripts/checkpatch.pl
#   fetch.sh kernel 6.12     the kernel image and modules for the virtual machine, headers to build a module for it
#
# The cache is KFS_CACHE, else /var/cache/kfs for root and ~/.cache/kfs for others. Nothing on the machine is changed:
# apt runs over a configuration of its own, made from the machine's own sources (same mirrors, same keys), with the
# backports suite added; packages are unpacked with dpkg-deb, not installed. A second call finds everything there and
# asks no server. KFS_FETCH=new looks for newer packages.

set -euo pipefail

if [ -n "${KFS_CACHE:-}" ]; then
	CACHE=$KFS_CACHE
elif [ "$(id -u)" -eq 0 ]; then
	CACHE=/var/cache/kfs
else
	CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/kfs
fi
APT=$CACHE/apt
FRESH_MINUTES=720

say() { echo "fetch: $*" >&2; }
die() {
	say "$*"
	exit 1
}

# Lines "deb URI SUITE COMPONENT" for Debian's own archives among the machine's sources, and their backports.
sources() {
	apt-get indextargets --format '$(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT) $(CODENAME)' 'Created-By: Packages' |
		awk '$1 == "Debian" {
			print "deb", $2, $3, $4
			if ($3 == $5 && $3 !~ /-/ && !seen[$3]++ && $4 == "main") print "deb", $2, $3 "-backports", "main"
		}' | sort -u
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
	sources >"$APT/sources.list"
	[ -s "$APT/sources.list" ] || die "no Debian archive among the machine's apt sources"
	say "reading package lists"
	private_apt apt-get update -qq >&2
	touch "$APT/updated"
}

# newest NAME: its newest version in any of the suites.
newest() {
	private_apt apt-cache madison "$1" | awk -F'|' 'NR == 1 { gsub(/ /, "", $2); print $2 }'
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

# install_dir NEW DIR: puts a finished folder in its place, so that a broken-off fetch leaves nothing half there.
install_dir() {
	rm -rf "$2"
	mkdir -p "$(dirname "$2")"
	mv "$1" "$2"
}

is_there() {
	[ -z "${KFS_FETCH:-}" ] && [ -e "$1/.complete" ]
}

fetch_tools() {
	local dir=$CACHE/tools new=$CACHE/tools.$$
	if ! is_there "$dir"; then
		update
		unpack "$new" "libbpf-dev=$(newest libbpf-dev)" "bpftool=$(newest bpftool)"
		touch "$new/.complete"
		install_dir "$new" "$dir"
	fi
	echo "$dir"
}

# The version of linux-source-SERIES whose kernel is also to be had, signed, in the same archives.
source_version() {
	newest "linux-source-$1"
}

fetch_source() {
	local series=$1 dir=$CACHE/source-$1 new=$CACHE/source-$1.$$ tarball
	if ! is_there "$dir"; then
		update
		unpack "$new" "linux-source-$series=$(source_version "$series")"
		tarball=$new/usr/src/linux-source-$series.tar.xz
		# What checkpatch and the series need; the rest of the kernel stays in the archive.
		tar -xJf "$tarball" -C "$new" --strip-components=1 --wildcards "linux-source-$series/fs/fuse" \
			"linux-source-$series/include/uapi/linux/fuse.h" "linux-source-$series/scripts/checkpatch.pl" \
			"linux-source-$series/scripts/spelling.txt" "linux-source-$series/scripts/const_structs.checkpatch" \
			"linux-source-$series/Documentation/filesystems/fuse*" \
			"linux-source-$series/Documentation/filesystems/index.rst" "linux-source-$series/MAINTAINERS"
		source_version "$series" >"$new/version"
		rm -rf "${new:?}/usr"
		touch "$new/.complete"
		install_dir "$new" "$dir"
	fi
	echo "$dir"
}

# Debian's headers name each other and the tools by absolute path; below the cache they stand elsewhere.
relocate_headers() {
	local root=$1 release=$2 file
	for file in "$root/usr/src/linux-headers-$release/Makefile" "$root"/usr/src/linux-headers-*-common/Makefile; do
		sed -i -E "s|([ \"=])/usr/(src/linux-headers\|lib/linux-kbuild)|\1$root/usr/\2|g" "$file"
	done
	# scripts and tools are links, absolute or relative, into linux-kbuild.
	find "$root/usr/src" -type l | while read -r file; do
		case $(readlink "$file") in
		/usr/*) ln -sfn "$root$(readlink "$file")" "$file" ;;
		esac
	done
}

fetch_kernel() {
	local series=$1 dir=$CACHE/kernel-$1 new=$CACHE/kernel-$1.$$ version release abi
	if ! is_there "$dir"; then
		update
		version=$(newest "linux-image-$series-amd64")
		[ -n "$version" ] || die "no kernel $series in these archives"
		release=$(private_apt apt-cache show "linux-image-$series-amd64=$version" |
			sed -n 's/^Depends: linux-image-\([^ ]*\).*/\1/p')
		abi=${release%-amd64}
		unpack "$new" "linux-image-$release=$version" "linux-headers-$release=$version" \
			"linux-headers-$abi-common=$version" "linux-kbuild-$abi=$version"
		echo "$release" >"$new/release"
		touch "$new/.complete"
		install_dir "$new" "$dir"
		relocate_headers "$dir" "$release"
		PATH=$PATH:/sbin:/usr/sbin depmod -b "$dir" "$release"
	fi
	echo "$dir"
}

case ${1:-} in
tools) fetch_tools ;;
source) fetch_source "${2:?usage: fetch.sh source SERIES}" ;;
kernel) fetch_kernel "${2:?usage: fetch.sh kernel SERIES}" ;;
cache) echo "$CACHE" ;;
*) die "usage: fetch.sh tools | source SERIES | kernel SERIES | cache" ;;
esac
