#!/usr/bin/env bash
# The kernel's statistics on Debian's stock kernel, where functions can be traced: not every machine lets them be.
# timeout: 900

set -eu
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export SCRATCH=/tmp/kernel-stats KFS_WANT_FUNCTIONS=1
bash "$HERE/../integration/712-ctl-kernel.sh"
