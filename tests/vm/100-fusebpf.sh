#!/usr/bin/env bash
# The kernel's side of BPF answers, with a server and a program of the test's own.
# timeout: 600

set -eu
insmod "$VM_FUSEBPF"
"$BUILD/bin/tests/vm/fusebpf_test" "$@"

# Whatever was attached, pinned or killed meanwhile, nothing is left that holds the module.
bash "$(dirname "${BASH_SOURCE[0]}")/unload.sh"
[ ! -e /sys/module/fusebpf ]
