#!/usr/bin/env bash
# Every damaged image of the tables: make images. T=word: those whose name holds it.
#
# Environment: BUILD (folder of the build), T, PART=N/M (the Nth of M parts). Results: BUILD/results/images.json. Exit 0: every image ended as its
# table says.

set -eu -o pipefail
TOP=$(cd "$(dirname "$0")/../.." && pwd)
BUILD=${BUILD:-$TOP/build}
case $BUILD in /*) ;; *) BUILD=$TOP/$BUILD ;; esac
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_leaks=1}"
WORK=${SCRATCH:-$BUILD/tmp/images}
mkdir -p "$WORK" "$BUILD/results"
cd "$TOP"

bash tests/images/bases.sh "$WORK/bases"
status=0
"$BUILD/bin/tests/images" run -b "$WORK/bases" -w "$WORK" -r "$BUILD/results/images.json" -t "${T:-}" -p "${PART:-0/1}" \
	tests/images/cases/*.txt || status=$?
rm -rf --one-file-system "$WORK/bases"
exit "$status"
