#!/usr/bin/env bash
# Takes the module out, when nothing is left that holds it. A daemon ends, and the kernel frees its programs in the
# background, some time after the unmounting: what is held after ten seconds is held for good.

for _ in $(seq 100); do
	if rmmod fusebpf 2>/dev/null; then break; fi
	sleep 0.1
done
[ ! -e /sys/module/fusebpf ] || exec rmmod fusebpf
