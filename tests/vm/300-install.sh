#!/usr/bin/env bash
# Installing the module as the manual says, by DKMS, and taking it away again. Compiling is slow in here.
# timeout: 3600

set -eu
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TOP=$(cd "$HERE/../.." && pwd)
KERNEL_DIR=$(cd "$VM_MODULES/../.." && pwd)

say() { echo "-- $*"; }
fail() {
	echo "failed: $*"
	find /var/lib/dkms -name make.log -exec tail -n 20 {} +
	exit 1
}
# Everything that installing writes to, but for what depmod makes of what is there and the key of the machine.
written() {
	find /lib/modules /usr/src /var/lib/dkms ! -name 'modules.*' ! -name 'mok.*' ! -path '/lib/modules/*/kernel/*' | sort
}

if [ -e "$KERNEL_DIR/.root" ]; then
	echo "skip: this kernel's compiler is newer than the machine's, and is in the cache only"
	exit 77
fi

say "a machine with the kernel's headers and dkms"
dkms=$("$TOP/kernel-patches/fetch.sh" dkms) || fail "dkms is not in the cache, where make vm puts it"
cp -r "$dkms"/. /
mkdir -p /tmp/modules/upper /tmp/modules/work /var/lib/dkms
mount -t overlay -o "lowerdir=$VM_MODULES,upperdir=/tmp/modules/upper,workdir=/tmp/modules/work" modules /lib/modules
ln -s "$KERNEL_DIR/usr/src/linux-headers-$VM_KERNEL" /usr/src/
written >/tmp/before
grep -q . /tmp/before || fail "nothing is there"

say "install"
"$TOP/kernel-patches/build.sh" install "$VM_KERNEL"
dkms status | tee /tmp/status
grep "^fusebpf/" /tmp/status | grep -Fq ", $VM_KERNEL, x86_64: installed" || fail "dkms does not have it"
modinfo -k "$VM_KERNEL" -n fusebpf | grep -q '/updates/dkms/' || fail "modprobe would take another: $(modinfo -n fusebpf)"

say "load, and let a program answer"
[ "$(uname -r)" = "$VM_KERNEL" ] || fail "this is $(uname -r)"
modprobe fusebpf
"$BUILD/bin/tests/vm/fusebpf_test" answered_without

say "a second install changes nothing"
"$TOP/kernel-patches/build.sh" install "$VM_KERNEL"
dkms status | cmp - /tmp/status || fail "another status: $(dkms status)"

say "uninstall"
"$TOP/kernel-patches/build.sh" uninstall
[ ! -e /sys/module/fusebpf ] || fail "still loaded"
[ -z "$(dkms status)" ] || fail "left in dkms: $(dkms status)"
if modinfo -k "$VM_KERNEL" fusebpf >/dev/null 2>&1; then fail "modprobe still knows it"; fi
written | diff /tmp/before - || fail "files are left"
