#!/usr/bin/env bash
# Part of make COV=1 check: every fourth of the damaged images.
# timeout: 900
. "$(dirname "$0")/../lib/lib.sh"
need mke2fs debugfs e2fsck

T="" PART=0/4 bash "$TOP/tests/images/run.sh"
