#!/usr/bin/env bash
# Runs tests and says how they went.
#
#   tests/run.sh [lint] [unit PROGRAM…] [integration] [cover] [real] [vm] [vm-core]
#
# Environment: BUILD (folder of the build), T (only tests whose name holds this), J (integration scripts at a time,
# default 1; what boots a virtual machine runs alone), KFS_OPTS and KFS_MKFS_OPTS (forced odd settings, see lib/lib.sh),
# VM_SERIES (the kernel of the guest of vm), STRETCH (so many times the time limits).
#
# A test exits 0 (passed), 77 (skipped, a line "skip: REASON" says why) or anything else (failed: its last lines are shown,
# the whole log stays in BUILD/tmp/<name>.log). The rows go to BUILD/results/test.json. The last line is
# "N passed, N failed, N skipped"; the exit status is 1 if one failed or none ran.

set -u -o pipefail
cd "$(dirname "$0")/.." || exit 1
TOP=$PWD
BUILD=${BUILD:-build}
case $BUILD in /*) ;; *) BUILD=$TOP/$BUILD ;; esac
export BUILD
TMP=$BUILD/tmp
TIMEOUT_DEFAULT=120
# Unit programs take under a second, and lint less than a minute; sanitizers and a busy machine stretch that.
TIMEOUT_UNIT=300
if grep -qs -e --coverage "$BUILD/flags.stamp"; then TIMEOUT_UNIT=600; fi # not optimised
# Sanitizers slow the tools of the scripts, too; so does a virtual machine, which says so.
STRETCH=${STRETCH:-1}
if grep -qs fsanitize=thread "$BUILD/flags.stamp"; then STRETCH=4; elif grep -qs fsanitize= "$BUILD/flags.stamp"; then STRETCH=2; fi
FILTER=${T:-}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
# The thread sanitizer of gcc 12 cannot place its shadow under the larger address randomisation of newer kernels.
NO_RANDOM=()
if grep -qs fsanitize=thread "$BUILD/flags.stamp"; then NO_RANDOM=(setarch -R); fi

names=()
declare -A command_of timeout_of

add() { # NAME TIMEOUT COMMAND
	case $1 in *"$FILTER"*) ;; *) return ;; esac
	names+=("$1")
	timeout_of[$1]=$2
	command_of[$1]=$3
}

add_lint() {
	local check
	for check in $(tests/lint/run.sh --list); do
		add "lint/$check" "$TIMEOUT_UNIT" "tests/lint/run.sh $check"
	done
}

add_unit() {
	local name=${1##*/bin/tests/}
	add "$name" "$TIMEOUT_UNIT" "$1"
}

add_script() { # FOLDER SCRIPT COMMAND…
	local limit folder=$1 script=$2
	shift 2
	limit=$(sed -n 's/^# timeout: *\([0-9][0-9]*\) *$/\1/p' "$script" | head -n 1)
	add "$folder/$(basename "$script" .sh)" "$((${limit:-$TIMEOUT_DEFAULT} * STRETCH))" "$* $script"
}

add_scripts() { # FOLDER COMMAND…
	local script folder=$1
	shift
	for script in tests/"$folder"/[0-9]*.sh; do
		[ ! -e "$script" ] || add_script "$folder" "$script" "$@"
	done
}

# A line "# vm: WORDS" in a script is for vm.sh.
add_vm_scripts() {
	local script words
	for script in tests/vm/[0-9]*.sh; do
		words=$(sed -n 's/^# vm: *//p' "$script" | head -n 1)
		add_script vm "$script" "tests/vm/vm.sh --kernel ${VM_SERIES:-6.12} --timeout 3600 ${words:-} bash"
	done
}

# What a script that was killed may leave: mounts below its folder, and the daemons that serve them.
clean_after() {
	local scratch=$1 dir pid status=0
	while read -r dir; do
		echo "left mounted: $dir (detached)"
		umount -f "$dir" 2>/dev/null || umount -l "$dir"
		status=1
	done < <(awk -v top="$scratch/" 'index($2, top) == 1 { print $2 }' /proc/self/mounts | tac)
	while read -r pid; do
		tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -Fq -- "$scratch/" || continue
		echo "left running: pid $pid (killed)"
		kill -KILL "$pid" 2>/dev/null
		status=1
	done < <(find /proc/[0-9]*/exe -maxdepth 0 -lname "$BUILD/bin/*" 2>/dev/null | cut -d/ -f3)
	return "$status"
}

run_one() { # NAME: leaves NAME.status and NAME.log in TMP
	local name=$1 file scratch status=0 start seconds
	file=$TMP/${name//\//_}
	scratch=$TMP/$(basename "$name")
	export SCRATCH=$scratch TMPDIR=$TMP
	start=${EPOCHREALTIME/./}
	# shellcheck disable=SC2086 # the command is several words
	timeout -k 20 "${timeout_of[$name]}" "${NO_RANDOM[@]}" ${command_of[$name]} >"$file.log" 2>&1 </dev/null || status=$?
	if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
		echo "timeout: killed after ${timeout_of[$name]} s" >>"$file.log"
		status=1
	fi
	clean_after "$scratch" >>"$file.log" 2>&1 || status=1
	seconds=$(((${EPOCHREALTIME/./} - start) / 1000))
	printf '%d %d.%03d\n' "$status" $((seconds / 1000)) $((seconds % 1000)) >"$file.status"
	case $status in
	0 | 77) rm -rf --one-file-system "$scratch" ;;
	*) ;;
	esac
	show "$name" "$status" "$seconds" "$file.log"
}

# One printf per test: several run at a time.
show() {
	local name=$1 status=$2 seconds=$3 log=$4 label=ok text=''
	case $status in
	0) ;;
	77) label=skip text=$(sed -n 's/^skip: /: /p' "$log" | tail -n 1) ;;
	*) label=FAIL ;;
	esac
	if [ "$label" = FAIL ]; then text=$(printf '\n'; tail -n 40 "$log" | sed 's/^/    | /'); fi
	printf '%-4s %s (%d.%d s)%s\n' "$label" "$name" $((seconds / 1000)) $((seconds % 1000 / 100)) "$text"
}

run_all() { # JOBS NAME…
	local jobs=$1 name
	shift
	for name; do
		while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n; done
		run_one "$name" &
	done
	wait
}

select_names() { # PREFIX: prints names that begin with it
	local name
	for name in "${names[@]}"; do
		case $name in "$1"*) echo "$name" ;; esac
	done
}

what=lint
for word; do
	case $word in
	lint | unit) what=$word ;;&
	lint) add_lint ;;
	unit) ;;
	integration | cover | real) add_scripts "$word" bash ;;
	vm-core) add_script vm tests/vm/core.sh bash ;;
	vm) add_vm_scripts ;;
	*)
		[ "$what" = unit ] || { echo "run.sh: unknown word: $word" >&2; exit 2; }
		add_unit "$word"
		;;
	esac
done

rm -rf --one-file-system "$TMP"
mkdir -p "$TMP" "$BUILD/results"
mapfile -t quick < <(select_names lint; select_names unit; select_names fuzz)
mapfile -t slow < <(select_names integration; select_names cover; select_names real)
mapfile -t alone < <(select_names vm)
if [ "${#quick[@]}" -gt 0 ]; then run_all 2 "${quick[@]}"; fi
if [ "${#slow[@]}" -gt 0 ]; then run_all "${J:-1}" "${slow[@]}"; fi
if [ "${#alone[@]}" -gt 0 ]; then run_all 1 "${alone[@]}"; fi

passed=0 failed=0 skipped=0 separator=''
{
	printf '['
	for name in "${names[@]}"; do
		status=1 seconds=0
		[ -e "$TMP/${name//\//_}.status" ] && read -r status seconds <"$TMP/${name//\//_}.status"
		ok=true result=pass
		case $status in
		0) passed=$((passed + 1)) ;;
		77) skipped=$((skipped + 1)) ok=null result=skip ;;
		*) failed=$((failed + 1)) ok=false result=fail ;;
		esac
		printf '%s\n{"row": "%s", "value": %s, "unit": "s", "against": null, "ratio": null, "bar": null, "ok": %s, "result": "%s"}' \
			"$separator" "$name" "$seconds" "$ok" "$result"
		separator=,
	done
	printf '\n]\n'
} >"$BUILD/results/test.json"

if [ "${#names[@]}" -eq 0 ]; then echo "no test's name holds '$FILTER'"; fi
if [ "$failed" -gt 0 ]; then
	echo "failed:"
	for name in "${names[@]}"; do
		grep -q '^\(0\|77\) ' "$TMP/${name//\//_}.status" 2>/dev/null && continue
		echo "  $name   (log: $TMP/${name//\//_}.log)"
		tail -n 3 "$TMP/${name//\//_}.log" 2>/dev/null | cut -c 1-300 | sed 's/^/    | /'
	done
fi
echo "$passed passed, $failed failed, $skipped skipped" | tee "$BUILD/results/test.summary"
[ "$failed" -eq 0 ] && [ "${#names[@]}" -gt 0 ]
