#!/usr/bin/env bash
# The f_ and j_ images of e2fsprogs' own test suite: kfs neither crashes nor hangs on any, and e2fsck finds no more in
# it afterwards than before. Deviations are listed by name, with the reason, in tests/images/e2fsprogs.txt.
#
# The images are not part of this tree: Debian's source package is fetched, by the machine's own apt sources, into
# BUILD/cache/e2fsprogs. Where that cannot be, the reason is printed and the exit status is 77.
# Environment: BUILD. PART=N/M: the Nth of M parts.

set -eu -o pipefail
TOP=$(cd "$(dirname "$0")/../.." && pwd)
BUILD=${BUILD:-$TOP/build}
case $BUILD in /*) ;; *) BUILD=$TOP/$BUILD ;; esac
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_leaks=1}"
CACHE=$BUILD/cache/e2fsprogs
WORK=$BUILD/tmp/e2fsprogs-images
KNOWN=$TOP/tests/images/e2fsprogs.txt
FETCH_SECONDS_MAX=180

skip() {
	echo "skip: e2fsprogs' images: $*"
	exit 77
}

# The machine's sources with deb-src in place of deb; nothing of the machine changes.
sources() {
	local file
	for file in /etc/apt/sources.list.d/*.sources; do
		if [ -e "$file" ]; then awk '/^Types:/ { print "Types: deb-src"; next } { print } END { print "" }' "$file"; fi
	done >"$CACHE/apt/sources.list.d/all.sources"
	for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
		if [ -e "$file" ]; then sed -n 's/^deb[[:space:]]/deb-src /p' "$file"; fi
	done >"$CACHE/apt/sources.list"
}

private_apt() { # COMMAND…
	local command=$1
	shift
	timeout "$FETCH_SECONDS_MAX" "$command" -q -o Dir::Etc::sourcelist="$CACHE/apt/sources.list" \
		-o Dir::Etc::sourceparts="$CACHE/apt/sources.list.d" -o Dir::State="$CACHE/apt/state" \
		-o Dir::Cache="$CACHE/apt/cache" -o APT::Get::List-Cleanup=0 -o APT::Sandbox::User=root "$@"
}

fetch() {
	if compgen -G "$CACHE/e2fsprogs_*.orig.tar.*" >/dev/null; then return; fi
	command -v apt-get >/dev/null || skip "no apt-get to fetch them with"
	mkdir -p "$CACHE"/apt/{sources.list.d,state/lists/partial,cache/archives/partial}
	sources
	private_apt apt-get update >"$CACHE/fetch.log" 2>&1 || skip "apt-get update failed: $(tail -n 1 "$CACHE/fetch.log")"
	(cd "$CACHE" && private_apt apt-get source --download-only e2fsprogs >fetch.log 2>&1) ||
		skip "apt-get source failed: $(tail -n 1 "$CACHE/fetch.log")"
	compgen -G "$CACHE/e2fsprogs_*.orig.tar.*" >/dev/null || skip "the source package has no tar archive"
}

# images/NAME for each tests/NAME/image.gz
unpack() {
	local archive image name
	[ ! -e "$CACHE/images.complete" ] || return 0
	rm -rf "$CACHE/source" "$CACHE/images"
	mkdir -p "$CACHE/source" "$CACHE/images"
	for archive in "$CACHE"/e2fsprogs_*.orig.tar.*; do
		case $archive in *.asc) continue ;; esac
		tar -xf "$archive" -C "$CACHE/source" --strip-components=1 --wildcards '*/tests/[fj]_*/image*'
	done
	for image in "$CACHE"/source/tests/[fj]_*/image.gz "$CACHE"/source/tests/[fj]_*/image.bz2; do
		[ -e "$image" ] || continue
		name=$(basename "$(dirname "$image")")
		case $image in
		*.gz) gzip -dc "$image" >"$CACHE/images/$name" ;;
		*.bz2) bzip2 -dc "$image" >"$CACHE/images/$name" ;;
		esac
	done
	rm -rf "$CACHE/source"
	touch "$CACHE/images.complete"
}

fetch
unpack
mkdir -p "$WORK" "$BUILD/results"
mapfile -t images < <(ls -d "$CACHE"/images/*)
status=0
"$BUILD/bin/tests/images" any -w "$WORK" -r "$BUILD/results/images-e2fsprogs.json" -p "${PART:-0/1}" "${images[@]}" >"$WORK/log" || status=$?
cat "$WORK/log"
[ "$status" -le 1 ] || exit "$status"
# Each deviation must be a known one; a crash or a hang never is.
sed -n 's/^FAIL \([^ ]*\) .*/\1/p' "$WORK/log" | sort >"$WORK/failed"
sed -n 's/^\([fj]_[^ ]*\) .*/\1/p' "$KNOWN" | sort >"$WORK/known"
if grep -q 'killed by\|: hangs\|exit status' "$WORK/log"; then echo "fail: a crash or a hang"; exit 1; fi
unknown=$(comm -23 "$WORK/failed" "$WORK/known")
[ -z "$unknown" ] || { printf 'fail: not a known deviation: %s\n' "$unknown"; exit 1; }
echo "${#images[@]} images of e2fsprogs: $(wc -l <"$WORK/failed") deviate, all for known reasons"
rm -rf "$WORK"
