# shellcheck shell=bash
# Guests without a host mount, beside lib.sh: a daemon at the socket "s" for front ends of our own.

export VFE=$TOOLS/vhost/vfe

# serve IMG [WORDS]: without a mount
serve() {
	local image=$PWD/$1
	shift
	kfs --no-mount "$image" -o "vhost=$PWD/s,tag=guests,vhost_queues=2,log=$PWD/kfs.log" "$@"
}

# stop IMG: and the image is closed, the socket gone
stop() {
	local pids
	pids=$(kfs_pids "$PWD/$1")
	[ -n "$pids" ] || fail "no daemon serves $1"
	kill -TERM "$pids"
	eventually "$RELEASE_SECONDS_MAX" all_gone "$pids" || fail "the daemon of $1 does not end"
	[ ! -e s ] || fail "the socket is left behind"
	fsck_clean "$1"
}
