#!/usr/bin/env bash
# Boots User Mode Linux as a plain process, on the files that are here, and runs the tests on NFS in it. `make test-nfs`
# runs this in a chroot. The exit status is that of the tests.
set -euo pipefail
# Of the other tests, those whose files a shared directory holds; a kill or a trace in there is as good as here. Those of
# limits ask for seconds of a processor, of which User Mode Linux needs many times as many.
[ $# -gt 0 ] || set -- --ignore=tests/hpc/storage/test_limits.py tests/filesystems/test_nfs.py tests/hpc/storage tests/hpc/submission/test_lock.py \
    tests/hpc/submission/test_void.py tests/hpc/node/test_attempt.py
gcc -O2 -shared -fPIC -o /tmp/xstate.so tests/releases/xstate.c
printf '%s\n' "$PWD" "$@" >/tmp/nfs-arguments
# The memory is a file of its size; only what is used costs anything.
LD_PRELOAD=/tmp/xstate.so TMPDIR=/tmp linux.uml mem=3G quiet rootfstype=hostfs rootflags=/ rw \
    init="$PWD/tests/releases/nfs_init.sh" con0=null,fd:1 con=null </dev/null 2>&1 | cat
exit "$(cat /tmp/nfs-status 2>/dev/null || echo 3)"
