#!/usr/bin/env bash
# timeout: 1800
# kfs builds itself on a kfs mount: the same programs come out.
. "$(dirname "$0")/lib.sh"
need git gcc make

build_self() {
	git -c safe.directory='*' clone -q "$TOP" src && cd src && env -u BUILD make -s -j"$(nproc)" programs
}
both 1G build_self
for program in kfs mkfs.kfs kfsctl; do
	cmp <(strip -o /dev/stdout "kfs/src/build/bin/$program") <(strip -o /dev/stdout "ext4/src/build/bin/$program") ||
		fail "$program differs"
done
umount_kfs kfs
fsck_clean kfs.img
