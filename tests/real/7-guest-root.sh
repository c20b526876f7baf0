#!/usr/bin/env bash
# timeout: 3600
# A guest whose root is an image of ours: a whole Debian 12 over virtiofs (rootfstype=virtiofs), with systemd, in QEMU (no
# KVM). In there git, SQLite with two writers, fio --verify by three engines, dpkg that builds, installs and removes a
# package; then it powers itself off, and again to see that all is there. What it left is looked at by e2fsck and the kernel's
# ext4. VM_SERIES (6.12; also 6.1, 7.2) is the guest's kernel, which kernel-patches/fetch.sh brings.
. "$(dirname "$0")/../lib/lib.sh"
. "$LIB/qemu_guest.sh"
. "$LIB/guests.sh"
need_kernel_ext4
need qemu-system-x86_64 debootstrap git sqlite3
"$TOP/kernel-patches/fetch.sh" kernel "${VM_SERIES:-6.12}" || fail "the guest's kernel cannot be fetched"
guest_kernel

# ---- the guest's root ----

mkdir tree
tar -C tree -xf "$("$LIB/debian_root.sh" guest "$SCRATCH" systemd-sysv git sqlite3 fio)"

cat >tree/etc/systemd/system/work.service <<'UNIT'
[Unit]
Description=What the test is about
[Service]
Type=oneshot
ExecStart=/work.sh
[Install]
WantedBy=multi-user.target
UNIT
mkdir -p tree/etc/systemd/system/multi-user.target.wants
ln -s ../work.service tree/etc/systemd/system/multi-user.target.wants/
: >tree/etc/fstab
cat >tree/work.sh <<'GUEST'
#!/bin/bash
exec >/dev/ttyS0 2>&1
set -eu -o pipefail
at=begin
trap 'echo "@guest failed at $at"; systemctl poweroff --force --force' ERR
export HOME=/root GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
done_with() { echo "@guest $1 done"; }

at=root
[ "$(findmnt -n -o FSTYPE /)" = virtiofs ]
systemctl is-active -q local-fs.target
cd /srv
if [ -e sums ]; then
	at=again
	md5sum -c --quiet sums
	git -C repo fsck --strict
	[ "$(sqlite3 db 'PRAGMA integrity_check; SELECT count(*) FROM t')" = "ok"$'\n'400 ]
	echo @guest ok
	systemctl poweroff
	exit
fi

at=git
git init -q repo
cp -a /usr/share/perl/. repo/
git -C repo add -A
git -C repo commit -qm one
git -C repo mv "$(git -C repo ls-files | head -n 1)" moved
git -C repo commit -qm two
git -C repo gc -q
git -C repo fsck --strict
[ -z "$(git -C repo status --porcelain)" ]
done_with git

at=sqlite
sqlite3 db 'PRAGMA journal_mode=WAL; CREATE TABLE t(writer, k, v)' >/dev/null
write_rows() {
	local k
	for ((k = 0; k < 200; k += 20)); do
		{
			echo '.timeout 60000'
			echo 'BEGIN IMMEDIATE;'
			for ((j = 0; j < 20; j++)); do echo "INSERT INTO t VALUES($1, $((k + j)), hex(randomblob(500)));"; done
			echo 'COMMIT;'
		} | sqlite3 db
	done
}
write_rows 1 &
write_rows 2
wait $!
sqlite3 db 'PRAGMA journal_mode=DELETE' >/dev/null
[ "$(sqlite3 db 'PRAGMA integrity_check; SELECT count(*) FROM t')" = "ok"$'\n'400 ]
done_with sqlite

at=fio
for engine in psync libaio mmap; do
	at="fio $engine"
	fio --name="$engine" --filename="fio-$engine" --size=8M --rw=randwrite --bs=4k-64k --verify=crc32c --do_verify=1 \
		--ioengine="$engine" "$([ "$engine" = libaio ] && echo --direct=1 || echo --direct=0)" --output=fio.log ||
		{ tail -n 20 fio.log; false; }
done
done_with fio

at=dpkg
mkdir -p pkg/DEBIAN pkg/usr/share/kfs-test
printf 'Package: kfs-test\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b>\nDescription: of a test\n' >pkg/DEBIAN/control
cp /usr/share/common-licenses/* pkg/usr/share/kfs-test/
dpkg-deb -b pkg kfs-test.deb >/dev/null
dpkg -i kfs-test.deb >/dev/null
dpkg --verify kfs-test
diff -r pkg/usr/share/kfs-test /usr/share/kfs-test
dpkg -P kfs-test >/dev/null
[ ! -e /usr/share/kfs-test ]
dpkg --audit
done_with dpkg

at=sums
find /srv /usr/bin /etc -xdev -type f ! -path '/srv/sums' ! -path '/etc/mtab' -print0 | sort -z | xargs -0 md5sum >/sums
mv /sums sums
sync
echo @guest ok
systemctl poweroff
GUEST
chmod 755 tree/work.sh
mkimage root.img 3G -d tree
rm -rf --one-file-system tree

# ---- the guest ----

guest_machine 1 1024
# Older kernels have the file system as a module: an initial root loads it, and goes on as the others begin.
BOOT=(-append "$CONSOLE root=guests rootfstype=virtiofs rw init=/sbin/init systemd.show_status=0 nosoftlockup mitigations=off")
if ! grep -qs '/virtiofs\.ko$' "$KERNEL_DIR"/{usr/,}lib/modules/"$(cat "$KERNEL_DIR/release")"/modules.builtin; then
	guest_modules virtiofs virtio_pci
	guest_root initrd <<-'SH'
		at=modules; for module in $(cat /modules/order); do insmod "/modules/$module"; done
		at=mount; mount -t virtiofs guests /mnt
		at=switch; umount /proc /sys; mount --move /dev /mnt/dev; trap - EXIT; exec switch_root /mnt /sbin/init
	SH
	BOOT+=(-initrd initrd)
fi

# boot JOB: runs until the guest is off
boot() {
	timeout -k 5 1500 qemu-system-x86_64 "${MACHINE[@]}" -kernel "$VMLINUZ" "${BOOT[@]}" \
		-chardev socket,id=guest,path=s -device vhost-user-fs-pci,chardev=guest,tag=guests,queue-size=1024 \
		-chardev "file,id=console,path=$1.log" -serial chardev:console </dev/null >"$1.qemu" 2>&1 ||
		{ cat "$1.qemu"; tail -n 30 "$1.log"; fail "QEMU failed"; }
	said "$1" ok || { tail -n 30 "$1.log"; fail "the guest did not get through"; }
	if grep -aE 'BUG:|WARNING:|Oops' "$1.log"; then fail "the guest's kernel complains"; fi
	grep -a '^@guest' "$1.log" | tr -d '\r'
}

serve root.img -o guest_cache=auto
boot works
stop root.img
serve root.img
boot again
stop root.img

# ---- what it left ----

kmount root.img seen ro
(cd seen && sed 's| /| |' srv/sums | md5sum -c --quiet) || fail "the kernel reads other contents than the guest wrote"
git -c safe.directory='*' -C seen/srv/repo fsck --strict || fail "git, from the host"
cp seen/srv/db db
expect_eq "$(sqlite3 db 'PRAGMA integrity_check')" ok "SQLite, from the host"
[ ! -e seen/usr/share/kfs-test ] || fail "what dpkg removed is there"
kumount seen
