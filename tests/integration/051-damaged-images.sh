#!/usr/bin/env bash
# timeout: 1500
# Damaged and hostile images, hundreds of them, through the filesystem's operations: each ends as the tables of
# tests/images/cases say. Every second one: about 30 s of processor time. "make images" tries all.
. "$(dirname "$0")/../lib/lib.sh"
need mke2fs debugfs e2fsck
# T chose this script; inside it would choose among the images.
T="" PART=0/2 bash "$TOP/tests/images/run.sh"
