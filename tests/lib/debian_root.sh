#!/usr/bin/env bash
# A minimal Debian 12 by debootstrap, as an archive in KFS_CACHE (default /var/cache/kfs); prints its path. A second call
# finds it there. The mirror is the one that this machine's own apt uses. Root only.
#
#   debian_root.sh NAME SCRATCH [PACKAGE…]      with these packages beside; unpacked below the folder SCRATCH first

set -eu -o pipefail
NAME=${1:?usage: debian_root.sh NAME SCRATCH [PACKAGE…]}
SCRATCH=${2:?usage: debian_root.sh NAME SCRATCH [PACKAGE…]}
shift 2
SUITE=bookworm
CACHE=${KFS_CACHE:-/var/cache/kfs}
ARCHIVE=$CACHE/$NAME-$SUITE.tar
ROOT=$SCRATCH/$NAME-$SUITE

die() {
	echo "debian_root: $*" >&2
	exit 1
}

[ "$(id -u)" -eq 0 ] || die "needs root"
command -v debootstrap >/dev/null || die "debootstrap is not installed: apt-get install debootstrap"

mirror_of() {
	apt-get indextargets --format "\$(REPO_URI)" "Created-By: Packages" "Codename: $1" "Component: main" | head -n 1
}

make_archive() {
	local mirror packages
	mirror=$(mirror_of "$SUITE")
	[ -n "$mirror" ] || die "this machine's apt knows no source of $SUITE"
	mkdir -p "$CACHE" "$SCRATCH"
	rm -rf --one-file-system "$ROOT"
	packages=$(IFS=,; echo "$*")
	debootstrap --variant=minbase ${packages:+--include="$packages"} "$SUITE" "$ROOT" "$mirror" >"$ROOT.log" ||
		die "debootstrap failed: $ROOT.log"
	# What the installer or systemd's tmpfiles make on every installed system.
	ln -sf ../proc/self/mounts "$ROOT/etc/mtab"
	# How this machine reaches its mirror holds there too.
	apt-config dump | grep -E '^Acquire::(Check-|https?::|[a-z]+::Proxy)' >"$ROOT/etc/apt/apt.conf.d/90machine" || :
	tar -C "$ROOT" -cf "$ARCHIVE.new" .
	mv "$ARCHIVE.new" "$ARCHIVE"
	rm -rf --one-file-system "$ROOT" "$ROOT.log"
}

[ -e "$ARCHIVE" ] || make_archive "$@" >&2
echo "$ARCHIVE"
