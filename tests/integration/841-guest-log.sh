#!/usr/bin/env bash
# A guest that moves while it works: every page of its memory that the daemon writes is in the front end's log, used rings
# included, and no page that it has no reason to write; rings named by the front end's addresses and by the guest's.
. "$(dirname "$0")/../lib/lib.sh"
. "$LIB/guests.sh"

SEED=${KFS_SEED:-1}

mkimage disk.img 64M
serve disk.img
"$VFE" s log "$SEED" uva
"$VFE" s log "$SEED" gpa
grep -Eq 'malformed|log of written memory' kfs.log && fail "an honest front end was blamed: $(cat kfs.log)"
stop disk.img
