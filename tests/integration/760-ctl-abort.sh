#!/usr/bin/env bash
# Storage that hangs: kfsctl stats and status answer and show which requests are stuck, the log says so once, kfsctl abort
# gives their callers EIO one by one, other requests go on, and when the storage comes back nothing is lost or overtaken.
. "$(dirname "$0")/../lib/lib.sh"
. "$LIB/storage.sh"
. "$LIB/abort_story.sh" off
