# shellcheck shell=bash
# For tests of ordinary users, beside lib.sh: . "$LIB/fuse_for_all.sh" "$@"
[ -u "$(command -v fusermount3)" ] || skip "fusermount3 is not set-user-id"
# Where udev has not opened the device to everybody: a copy that is, seen by this script alone.
if [ "${1:-}" != inside ] && ! as_user test -w /dev/fuse; then
	status=0
	own_mounts bash "$TOP/tests/integration/$TEST_NAME.sh" inside || status=$?
	exit "$status"
elif [ "${1:-}" = inside ]; then
	mkdir dev
	mount -t tmpfs -o mode=755 none dev
	mknod -m 666 dev/fuse c 10 229
	mount --bind dev/fuse /dev/fuse
	umount -l dev
fi
