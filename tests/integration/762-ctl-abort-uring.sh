#!/usr/bin/env bash
# What 760 shows of storage that hangs, with requests that come over io_uring.
. "$(dirname "$0")/../lib/lib.sh"
. "$LIB/storage.sh"
need_uring
. "$LIB/abort_story.sh" on
