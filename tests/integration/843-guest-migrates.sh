#!/usr/bin/env bash
# timeout: 600
# A real guest migrates while it works, from one QEMU to another: live, both served by one daemon beside the host's mount, with
# a file open that grows and one that was deleted; through a file, with another daemon in between; and live to a second daemon,
# to which the first one hands the image over. No line is lost. Skipped where there is no QEMU that moves a back end's state (9 or newer, as "fetch.sh qemu" has it
# in the cache, or KFS_QEMU_ROOT), or no kernel that "make vm" fetched.
. "$(dirname "$0")/../lib/lib.sh"
. "$LIB/qemu_guest.sh"
need_root
need python3
guest_kernel
QEMU_ROOT=${KFS_QEMU_ROOT:-${KFS_CACHE:-/var/cache/kfs}/qemu}
[ -x "$QEMU_ROOT/usr/bin/qemu-system-x86_64" ] || skip "no QEMU that moves a back end's state in $QEMU_ROOT"

# ---- the guest ----

guest_root initrd <<'SH'
at=mount; mount -t virtiofs guests /mnt; cd /mnt
at=open; mkdir dir; echo kept >dir/kept; exec 5>>log
if [ "$job" != file ]; then exec 6<>deleted; rm deleted; echo before >&6; fi
at=write; i=0
while [ ! -e stop ]; do
	i=$((i + 1)); echo "line $i" >&5
	[ $((i % 20)) = 0 ] && { echo "@guest at $i"; sleep 0.1; }
	[ "$job" = file ] && [ $i = 600 ] && break
	[ "$job" = image ] && [ $i = 4000 ] && break
done
at=lines; seq $i | sed "s/^/line /" >/wanted; cmp /wanted log
at=dir; [ "$(cat dir/kept)" = kept ]; echo after >dir/after
if [ "$job" != file ]; then at=deleted; echo after >&6; [ "$(cat /proc/$$/fd/6 | tr '\n' ' ')" = "before after " ]; fi
exec 5>&- 6>&-
at=unmount; cd /; umount /mnt
SH
guest_machine 1 256

# boot NAME JOB [words]: runs until the guest is off or has left
boot() {
	local name=$1 job=$2
	shift 2
	timeout -k 5 500 "$QEMU_ROOT/lib64/ld-linux-x86-64.so.2" --library-path "$QEMU_ROOT/usr/lib/x86_64-linux-gnu" \
		"$QEMU_ROOT/usr/bin/qemu-system-x86_64" -L "$QEMU_ROOT/usr/share/qemu" -L "$QEMU_ROOT/usr/share/seabios" \
		"${MACHINE[@]}" -kernel "$VMLINUZ" -initrd initrd -append "$CONSOLE job=$job" \
		-chardev "socket,id=guest,path=${SOCKET:-s}" -device vhost-user-fs-pci,chardev=guest,tag=guests,queue-size=1024 \
		-chardev "file,id=console,path=$name.log" -serial chardev:console -qmp "unix:$name.qmp,server=on,wait=off" "$@" \
		</dev/null >"$name.qemu" 2>&1
}

# ask NAME COMMAND [JSON]: of its monitor; "migrate" returns when it is done
cat >ask.py <<'PY'
import json, socket, sys, time
name, command = sys.argv[1], sys.argv[2]
s = socket.socket(socket.AF_UNIX)
s.connect(name + '.qmp')
f = s.makefile('rw')
f.readline()
def ask(command, arguments={}):
    f.write(json.dumps({'execute': command, 'arguments': arguments}) + '\n')
    f.flush()
    while True:
        r = json.loads(f.readline())
        if 'error' in r:
            sys.exit('%s: %s' % (command, r['error']['desc']))
        if 'return' in r:
            return r['return']
ask('qmp_capabilities')
ask(command, json.loads(sys.argv[3]) if len(sys.argv) > 3 else {})
while command == 'migrate':
    r = ask('query-migrate')
    if r.get('status') == 'completed':
        print('%s: %d ms, down for %d ms' % (name, r['total-time'], r['downtime']))
        break
    if r.get('status') in ('failed', 'cancelled'):
        sys.exit('migration: ' + r.get('error-desc', r['status']))
    time.sleep(0.2)
PY
ask() { python3 ask.py "$@"; }
show() { tail -n 5 -- *.log *.qemu; }
trap_console() { ! grep -E 'BUG:|WARNING:|Oops' ./*.log || fail "a guest's kernel complains"; }

# move FROM TO: live, from the QEMU of one job, whose process is $from, to that of the other
move() {
	ask "$2" migrate-incoming "{\"uri\":\"unix:$PWD/$1-$2\"}"
	ask "$1" migrate "{\"uri\":\"unix:$PWD/$1-$2\"}" || { show; fail "the guest does not get from $1 to $2"; }
	ask "$1" quit
	wait "$from" || { show; fail "the QEMU of $1 failed"; }
}

# ---- live ----

mkimage disk.img 64M
mount_kfs disk.img mnt -o "vhost=$PWD/s,tag=guests"
boot from live &
from=$!
boot to live -incoming defer &
to=$!
eventually 200 said from 'at 100' || { show; fail "the guest does not write"; }
move from to
eventually 100 said to 'at' || { show; fail "the guest does not go on"; }
touch mnt/stop
wait "$to" || { show; fail "the second QEMU failed"; }
said to ok || { show; fail "the guest did not get through"; }
expect_eq "$(cat mnt/dir/after)" after "what the host reads"
trap_console
umount_kfs mnt
grep -q 'arrived, goes on where it was' kfs-mnt.log || fail "nobody says that the guest arrived"
fsck_clean disk.img

# ---- live, with the image ----

# start SOCKET WORDS: a daemon that ends with its guest
start() { kfs --no-mount "$PWD/disk.img" -o "vhost=$PWD/$1,tag=guests,log=$PWD/$1.log,vhost_once,$2"; }
ended() { [ ! -e "$1" ]; }

rm -f disk.img
mkimage disk.img 64M
start source handover
start target handover,incoming
SOCKET=source boot leaves image &
from=$!
SOCKET=target boot arrives image -incoming defer &
to=$!
eventually 200 said leaves 'at 100' || { show; fail "the guest does not write"; }
move leaves arrives
eventually "$RELEASE_SECONDS_MAX" ended source || fail "the daemon that was left does not end"
said leaves 'at 4000' && fail "the guest left too late"
wait "$to" || { show; fail "the QEMU that was reached failed"; }
said arrives ok || { show; fail "the guest did not get through"; }
trap_console
eventually "$RELEASE_SECONDS_MAX" ended target || fail "the daemon that was reached does not end"
grep -q 'its image is closed' source.log || fail "nobody says that the image was handed over"
grep -q 'opened for a guest that has arrived' target.log || fail "nobody says that the image came"
fsck_clean disk.img

# ---- through a file, and another daemon ----

serve() { kfs --no-mount "$PWD/disk.img" -o "vhost=$PWD/s,tag=guests,log=$PWD/kfs.log"; }
stop() {
	local pid
	pid=$(kfs_pids "$PWD/disk.img")
	kill -TERM "$pid"
	eventually "$RELEASE_SECONDS_MAX" all_gone "$pid" || fail "the daemon does not end"
	fsck_clean disk.img
}

rm -f disk.img
mkimage disk.img 64M
serve
boot save file &
save=$!
eventually 200 said save 'at 40' || { show; fail "the guest does not write"; }
ask save migrate "{\"uri\":\"file:$PWD/saved\"}" || { show; fail "the guest is not saved"; }
ask save quit
wait "$save" || { show; fail "the QEMU that saved failed"; }
said save 'at 600' && fail "the guest was saved too late"
stop
serve
boot restore file -incoming "file:$PWD/saved" || { show; fail "the QEMU that goes on failed"; }
said restore ok || { show; fail "the guest did not get through"; }
trap_console
stop
