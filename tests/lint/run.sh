#!/usr/bin/env bash
# The rules of style as programs. "run.sh --list" names the checks, "run.sh CHECK…" runs some, "run.sh" all.
# Each prints one line per offence, as FILE:LINE: what. Exit 0 clean, 1 offences, 77 the tool is not installed.

# No pipefail: a grep that finds nothing is good news here; each pipeline ends in what decides.
set -u
cd "$(dirname "$0")/../.." || exit 1
FUNCTION_LINES_MAX=70
FILE_LINES_WARN=800
FILE_LINES_MAX=1200
JOBS=2
INCLUDES=tests/lint/includes.txt
C_FLAGS=(-std=gnu17 -D_GNU_SOURCE -I. -Iinclude -fsyntax-only -fno-strict-aliasing)
C_WARN=(-Wall -Wextra -Werror -Wmissing-prototypes -Wstrict-prototypes -Wshadow -Wvla)

# Files of the project: those git knows or would take; without git, all but the build.
files() {
	if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
		git ls-files -co --exclude-standard -- "$@"
	else
		local pattern
		for pattern; do find . -path ./build -prune -o -type f -name "${pattern##*/}" -print; done | sed 's|^\./||'
	fi | sort -u | while read -r file; do [ -f "$file" ] && echo "$file"; done
}

need() {
	command -v "$1" >/dev/null && return
	echo "skip: $1 is not installed"
	exit 77
}

# Prints its input and fails if there is any.
none() {
	local text
	text=$(cat)
	[ -z "$text" ] && return
	printf '%s\n' "$text"
	return 1
}

pkg_cflags() {
	pkg-config --cflags fuse3 jansson libcap-ng libseccomp blkid uuid 2>/dev/null
}

check_format() {
	need clang-format
	files '*.c' '*.h' | xargs -r -P "$JOBS" -n 1 sh -c '
		clang-format --dry-run -Werror "$0" 2>&1 | sed -n "/error:/{s/ error:.*/ not as make fmt would have it/p;q}"' | none
}

check_includes() {
	files '*.c' '*.h' | xargs -r awk -f tests/lint/includes.awk "$INCLUDES" | none
}

# A header can be included first, alone; format headers also without a narrowing conversion. Those of BPF programs need
# another target: they are checked when the programs are built.
check_headers() {
	need gcc
	local flags
	flags=$(pkg_cflags)
	files '*.h' | grep -v -e '/banned\.h$' -e '^bpf/' | while read -r header; do
		extra=
		case $header in include/kfs/* | */wire.h) extra=-Wconversion ;; esac
		# shellcheck disable=SC2086
		printf '#include "%s"\n' "$header" | gcc "${C_FLAGS[@]}" "${C_WARN[@]}" $flags $extra -x c - 2>&1 |
			sed "s|^<stdin>|$header (alone)|"
	done | none
}

# Both compilers take the code, and no result marked MUST_USE is dropped: clang honours the (void) of a result
# ignored on purpose, gcc does not. BPF programs, and what needs their skeleton, are left to the build that makes it;
# libbpf's users are looked at where there is one (the Makefile knows where).
check_clang() {
	need clang
	local flags bpf skip='\.skel\.h"|<bpf/'
	flags=$(pkg_cflags)
	bpf=$(make -s --no-print-directory bpf-flags)
	[ -z "$bpf" ] || skip='\.skel\.h"'
	flags="$flags $bpf"
	# shellcheck disable=SC2086
	files '*.c' | grep -v '\.bpf\.c$' | xargs grep -LE "$skip" | xargs -r -P "$JOBS" -n 8 \
		clang "${C_FLAGS[@]}" "${C_WARN[@]}" $flags -include daemon/base/banned.h -DKFS_VERSION='"lint"' \
		-DKFS_BPF_OBJECTS='"build/bpf"' 2>&1 | grep -E '(error|warning):' | none
}

check_function_length() {
	files '*.c' '*.h' | xargs -r awk -v max="$FUNCTION_LINES_MAX" '
		FNR == 1 { start = 0 }
		/^{/ { start = FNR; name = previous }
		/^}/ && start {
			if (FNR - start - 1 > max)
				printf "%s:%d: function of %d lines, at most %d: %s\n", FILENAME, start, FNR - start - 1, max, name
			start = 0
		}
		{ previous = $0 }' | none
}

check_file_length() {
	files '*.c' '*.h' '*.sh' | xargs -r wc -l | awk -v warn="$FILE_LINES_WARN" -v max="$FILE_LINES_MAX" '
		$2 == "total" { next }
		$1 > max { printf "%s: %d lines, at most %d: look for the second noun\n", $2, $1, max; bad = 1 }
		$1 > warn && $1 <= max { printf "%s: %d lines, more than %d (a warning)\n", $2, $1, warn }
		END { exit bad }'
}

check_words() {
	{
		files '*.c' '*.h' '*.sh' '*.awk' '*.md' Makefile .ci/run | xargs -r grep -nwE 'TO''DO|FIX''ME|XX''X'
		files '*.c' '*.h' | grep -vx 'include/kfs/endian.h' | xargs -r grep -nE '^[[:space:]]*typedef[[:space:]]+(struct|union|enum)\b'
		files '*.sh' .ci/run Makefile | xargs -r grep -nE '\|\|[[:space:]]*true\b'
	} | none
}

check_whitespace() {
	local file
	{
		files '*.c' '*.h' '*.sh' '*.awk' '*.txt' '*.md' '*.8' Makefile .ci/run | xargs -r grep -nE '[[:space:]]+$' | sed 's/$/ (trailing space)/'
		files '*.c' '*.h' '*.sh' '*.awk' '*.md' '*.8' Makefile | while read -r file; do
			[ -z "$(tail -c 1 "$file")" ] || echo "$file: no newline at the end"
		done
	} | none
}

check_shell() {
	need shellcheck
	files '*.sh' .ci/run | xargs -r -P "$JOBS" -n 8 shellcheck -x -P SCRIPTDIR -e SC2016,SC2317,SC1091 -f gcc | none
}

# A test that checks nothing proves nothing.
check_tests() {
	files 'tests/unit/*_test.c' | xargs -r awk '
		/^TEST\(/ { name = $0; start = FNR; checks = 0 }
		/CHECK|FAIL\(|SKIP\(|check_|expect_/ { checks++ }
		/^}/ && start {
			if (!checks)
				printf "%s:%d: checks nothing: %s\n", FILENAME, start, name
			start = 0
		}' | none
}

checks=(format includes headers clang function_length file_length words whitespace shell tests)
if [ "${1:-}" = --list ]; then
	printf '%s\n' "${checks[@]}"
	exit
fi
[ "$#" -gt 0 ] || set -- "${checks[@]}"
if [ "$#" -eq 1 ]; then "check_$1"; exit; fi
worst=0
for check; do
	status=0
	text=$("check_$check") || status=$?
	case $status in
	0) label=ok ;;
	77) label=skip ;;
	*) label=FAIL worst=1 ;;
	esac
	printf '%-4s lint/%s\n' "$label" "$check"
	[ -z "$text" ] || printf '%s\n' "$text" | sed 's/^/    | /'
done
exit "$worst"
