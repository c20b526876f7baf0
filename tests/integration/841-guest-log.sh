#!/usr/bin/env bash
# A guest that moves while it works: every page of its memory that the daemon writes is in the front end's log, used rings
# included, and no page that it has no reason to write; rings named by the front end's addresses and by the guest's.
. "$(dirname "$0")/../lib/lib.sh"

SEED=${KFS_SEED:-1}

mkimage disk.img 64M
kfs --no-mount "$PWD/disk.img" -o "vhost=$PWD/s,tag=guests,vhost_queues=2,log=$PWD/kfs.log"
"$TOOLS/vhost/vfe" s log "$SEED" uva
"$TOOLS/vhost/vfe" s log "$SEED" gpa
grep -Eq 'malformed|log of written memory' kfs.log && fail "an honest front end was blamed: $(cat kfs.log)"
pid=$(kfs_pids "$PWD/disk.img")
kill -TERM "$pid"
eventually "$RELEASE_SECONDS_MAX" all_gone "$pid" || fail "the daemon does not end"
fsck_clean disk.img
