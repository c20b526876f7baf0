#!/usr/bin/env bash
# coverage.sh BUILD: what the tests of a COV=1 build have reached, per source, the least covered first.
set -eu -o pipefail
BUILD=${1:?usage: coverage.sh BUILD}
find "$BUILD/obj" -path "$BUILD/obj/tests" -prune -o -name '*.gcda' -print | while read -r data; do
	gcov -n -b "$data" 2>/dev/null
done | awk '
	/^File / { file = substr($2, 2, length($2) - 2); next }
	file ~ /^\// { next }
	/^Lines executed:/ { split($2, part, /[:%]/); lines[file] = part[2]; count[file] = $NF }
	/^Taken at least once:/ { split($4, part, /[:%]/); branches[file] = part[2] }
	END {
		for (file in lines)
			if (file ~ /\.c$/)
				printf "%6.1f%% of lines  %6.1f%% of branches  %5d lines  %s\n", lines[file],
				       (file in branches) ? branches[file] : 100, count[file], file
	}' | sort -n
