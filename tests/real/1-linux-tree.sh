#!/usr/bin/env bash
# timeout: 3600
# A whole Linux source tree: unpacked, built (tinyconfig), kept in git; each beside kernel ext4.
# WORKS: which of it after unpacking.
. "$(dirname "$0")/lib.sh"
need git bc flex bison xz
WORKS=${WORKS:-git_cycle git_status tinyconfig}
does() { case " $WORKS " in *" $1 "*) ;; *) return 1 ;; esac }
TARBALL=$(find /usr/src -maxdepth 1 -name 'linux-source-*.tar.xz' | sort -V | tail -n 1)
[ -n "$TARBALL" ] || skip "no /usr/src/linux-source-*.tar.xz: install a linux-source package"
xz -dc "$TARBALL" >linux.tar

unpack() { tar -xf "$SCRATCH/linux.tar" --strip-components=1; }
tinyconfig() { make -s tinyconfig && make -s -j"$(nproc)" vmlinux; }
# One author and one date, so that both sides make the same objects.
export GIT_AUTHOR_NAME=t GIT_AUTHOR_EMAIL=t@t GIT_COMMITTER_NAME=t GIT_COMMITTER_EMAIL=t@t
export GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z' GIT_CONFIG_GLOBAL=/dev/null
export KBUILD_BUILD_TIMESTAMP=0 KBUILD_BUILD_USER=t KBUILD_BUILD_HOST=t
git_cycle() {
	# Debian's tree ignores itself.
	git init -q && git config gc.auto 0 && git add -A -f && git commit -qm one && git_status &&
		git -c gc.autoDetach=false gc -q && git fsck --strict --no-progress
}
git_status() { [ -z "$(git status --porcelain)" ]; }
remove_all() { rm -rf ./* .git .[a-z]*; }

both 6G unpack
compare_all --no-dir-size
mount_kfs kfs.img kfs
kmount ext4.img ext4
for work in $WORKS; do
	timed ext4 "$work"
	timed kfs "$work"
	echo "$work: $(paste -sd' ' times.txt)"
	rm times.txt
done
# Times of day differ between two builds; what was built does not.
if does tinyconfig; then cmp kfs/vmlinux ext4/vmlinux || fail "the two builds differ"; fi
remount_kfs kfs.img kfs
if does git_cycle; then
	expect_eq "$(git -C kfs rev-parse HEAD)" "$(git -C ext4 rev-parse HEAD)" "commit"
	(cd kfs && git fsck --strict --no-progress && git_status) || fail "git after a remount"
fi
timed ext4 remove_all
timed kfs remove_all
echo "remove_all: $(paste -sd' ' times.txt)"
umount_kfs kfs
fsck_clean kfs.img
