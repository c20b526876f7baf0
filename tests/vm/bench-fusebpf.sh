#!/usr/bin/env bash
# Instructions an operation takes:  tests/vm/vm.sh --icount bash tests/vm/bench-fusebpf.sh

set -eu
insmod "$VM_FUSEBPF"
"$BUILD/bin/tests/vm/fusebpf_bench"
