#!/usr/bin/env bash
# timeout: 900
# Damaged and hostile images, hundreds of them, through the filesystem's operations: each ends as the tables of
# tests/images/cases say. About 100 ms of processor time each; "make images" does more.
. "$(dirname "$0")/../lib/lib.sh"
need mke2fs debugfs e2fsck
# T chose this script; inside it would choose among the images.
T="" bash "$TOP/tests/images/run.sh"
