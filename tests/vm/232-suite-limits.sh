#!/usr/bin/env bash
# The integration suite on mounts with BPF programs, what begins with 6: many and large things, storage that fails or is full.
# timeout: 7200
# vm: --cpus 1 --memory 6G --timeout 7000
exec bash "$(dirname "${BASH_SOURCE[0]}")/suite.sh" 6
