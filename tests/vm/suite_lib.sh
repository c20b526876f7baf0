# shellcheck shell=bash
# The integration suite inside a guest, for scripts that say on which mounts: beforehand they prepare those, and set BUILD.
#
#	SKIPPED		lines "NAME REASON": scripts that have nothing to do with such mounts. Scripts skip by themselves, too
#	SMALLER		lines "NAME WORDS": smaller than elsewhere, by the words that the script knows; KFS_VM_FULL=1 leaves
#			them as they are
#	WORDS		such lines, too, of what the kernel of such mounts cannot do; they are always said
#	before_each	is run before each script; does nothing unless defined anew
#	run_suite [WORD…]	only scripts whose name begins with one of the words; true: some ran, and none failed

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

WORDS=''

# said_of NAME TABLE: what stands behind the name
said_of() { awk -v name="$1" '$1 == name { $1 = ""; print substr($0, 2) }' <<<"$2"; }

words_for() {
	said_of "$1" "$WORDS"
	[ "${KFS_VM_FULL:-}" ] || said_of "$1" "$SMALLER"
}

wanted() {
	local name=$1 word
	shift
	[ $# -gt 0 ] || return 0
	for word; do
		case $name in "$word"*) return 0 ;; esac
	done
	return 1
}

before_each() { :; }

run_suite() {
	local script name why left=0 count=0 failed=() log=/tmp/kfs-suite.log
	cd "$TOP" || return
	for script in tests/integration/[0-9]*.sh; do
		name=$(basename "$script" .sh)
		wanted "$name" "$@" || continue
		why=$(said_of "$name" "$SKIPPED")
		if [ "$why" ]; then
			echo "skip $name: $why"
			left=$((left + 1))
			continue
		fi
		count=$((count + 1))
		before_each
		# shellcheck disable=SC2046 # several words
		env $(words_for "$name") T="integration/$name" tests/run.sh integration >"$log" || failed+=("$name")
		grep -E '^(ok|skip|FAIL|    \|) ' "$log"
		if grep -q '^skip ' "$log"; then
			left=$((left + 1)) count=$((count - 1))
		fi
	done
	echo "$count run, $((count - ${#failed[@]})) passed, ${#failed[@]} failed, $left left out"
	[ "${#failed[@]}" -eq 0 ] || echo "failed: ${failed[*]}"
	[ "$count" -gt 0 ] && [ "${#failed[@]}" -eq 0 ]
}
