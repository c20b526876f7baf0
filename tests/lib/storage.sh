# shellcheck shell=bash
# For scripts whose image lies on storage that hangs or fails on command (tests/tools/stallfs.c), after lib.sh.

# storage_start FILE: the image is storage/image from now on. Stopped by storage_stop, or when the script ends.
storage_start() {
	mkdir -p storage
	"$TOOLS/stallfs" "$(absolute "$1")" "$SCRATCH/storage.fifo" "$SCRATCH/storage.state" storage >storage.log 2>&1 &
	STORAGE_PID=$!
	eventually 30 mountpoint -q storage || fail "stallfs does not mount: $(cat storage.log)"
	eventually 30 test -p storage.fifo || fail "stallfs has no fifo"
	trap storage_at_exit EXIT
}

# storage go|stall|fail|slow read|write|flush|all: in force on return.
storage() {
	echo "$*" >storage.fifo
	eventually 30 grep -Fqx -- "$*" storage.state || fail "the storage does not obey: $*"
}

storage_stop() {
	storage go all
	umount storage
	wait "$STORAGE_PID" || fail "stallfs: $(cat storage.log)"
	trap at_exit EXIT
}

# However the script ends: nothing may hang on storage that nobody lets go, and it goes after what lies on it.
storage_at_exit() {
	local status=$? entry
	set +e
	cd "$SCRATCH" || exit 1
	if kill -0 "$STORAGE_PID" 2>/dev/null; then echo 'go all' >storage.fifo; fi
	for entry in "${MOUNTS[@]}"; do unmount_leftover "${entry%% *}" "${entry#* }" || status=1; done
	MOUNTS=()
	umount storage 2>/dev/null || umount -l storage
	(exit "$status")
	at_exit
}
