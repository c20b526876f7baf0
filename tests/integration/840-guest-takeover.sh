#!/usr/bin/env bash
# timeout: 240
# The daemon of a guest is killed with requests in flight and another one takes over on the same image: by the record that
# the front end keeps (INFLIGHT_SHMFD) it answers each request that was not answered, once; the guest's nodeids stay good and
# what was answered is there. KFS_SEED draws others, KFS_KILLS more of them.
. "$(dirname "$0")/../lib/lib.sh"
. "$LIB/guests.sh"
need debugfs

SEED=${KFS_SEED:-1} KILLS=${KFS_KILLS:-4}

mkimage disk.img 64M
# Starts the next daemon and prints its pid.
{
	echo '#!/usr/bin/env bash'
	echo 'set -eu'
	declare -p BIN PWD
	declare -f kfs_pids
	# shellcheck disable=SC2016 # expanded when it runs
	echo '"$BIN/kfs" --no-mount "$PWD/disk.img" -o "vhost=$PWD/s,tag=guests,vhost_queues=2,dirsync,log=$PWD/kfs.log" >&2 </dev/null'
	# shellcheck disable=SC2016
	echo 'kfs_pids "$PWD/disk.img"'
} >start
"$VFE" s takeover "$SEED" "$KILLS" "bash $PWD/start"

expect_eq "$(grep -c 'goes on where it was; locks' kfs.log)" "$KILLS" "guests that went on"
grep -Eq 'queue [12]: [0-9]+ requests are served again' kfs.log || fail "no request was served again"
stop disk.img
