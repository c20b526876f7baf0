# shellcheck shell=bash
# The two virtiofsds that kfs is measured beside, C (QEMU 7.2's) and Rust (1.14), after lib.sh. Each serves a folder of kernel
# ext4, loop-mounted from an image of the same kind in the same folder as kfs's.
#
#	find_peers		SYSTEMS: kfs and those that are here; a line for each that is not
#	start_peer NAME SOCKET	serves NAME.dir, on NAME.img, in the background; PIDS gets its number
#	stop_peers		ends all that PIDS names
#	check_peers		unmounts the folders, and has their images checked
#
# Rust's comes from a cache outside the tree (kernel-patches/fetch.sh).

C_VIRTIOFSD=${C_VIRTIOFSD:-/usr/lib/qemu/virtiofsd}
LOADER='' PIDS=() SYSTEMS=(kfs)
trap 'kill_peers; at_exit' EXIT

# The status is what it was: at_exit looks at it.
kill_peers() {
	local status=$? pid
	for pid in "${PIDS[@]}"; do kill "$pid" 2>/dev/null || continue; done
	return "$status"
}

stop_peers() {
	kill_peers
	[ "${#PIDS[@]}" -eq 0 ] || eventually "$RELEASE_SECONDS_MAX" all_gone "${PIDS[@]}" || fail "a back end does not end"
	PIDS=()
}

find_peers() {
	local dir
	if [ -x "$C_VIRTIOFSD" ]; then SYSTEMS+=(c); else echo "no C virtiofsd: $C_VIRTIOFSD is missing (Debian 12: qemu-system-common)"; fi
	if dir=$("$TOP/kernel-patches/fetch.sh" virtiofsd); then
		LOADER=$(echo "$dir"/usr/lib/*/ld-linux*.so.*)
		RUST_VIRTIOFSD=$dir/usr/libexec/virtiofsd
		SYSTEMS+=(rust)
	else
		echo "no Rust virtiofsd: it cannot be fetched here"
	fi
}

# Their own defaults for what costs time; of the sandboxes the one that works in a container, too.
start_peer() {
	local name=$1 socket=$2 log=$SCRATCH/$1.log
	case $name in
	c) "$C_VIRTIOFSD" --socket-path="$socket" -o "source=$SCRATCH/c.dir,sandbox=chroot" >"$log" 2>&1 & ;;
	rust) "$LOADER" --library-path "$(dirname "$LOADER")" "$RUST_VIRTIOFSD" --socket-path="$socket" \
		--shared-dir="$SCRATCH/rust.dir" --sandbox=chroot --inode-file-handles=never >"$log" 2>&1 & ;;
	esac
	PIDS+=($!)
	eventually 10 test -S "$socket" || fail "$name does not listen: $(cat "$log")"
}

check_peers() {
	local system
	for system in "${SYSTEMS[@]}"; do
		[ "$system" = kfs ] || kumount "$system.dir"
		fsck_clean "$system.img"
	done
}
