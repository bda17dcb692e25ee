#!/usr/bin/env bash
# Runs a command in a chroot with another Debian release, on this checkout and with its .venv:
#
#   in_chroot.sh RELEASE COMMAND [ARGUMENTS...]
#
# Runs as root, in mount and process namespaces of its own: when it has ended, nothing is left mounted or running.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
checkout=$(cd "$here/../.." && pwd)

# Binds files and directories of this machine to the same paths in the chroot.
show() {
    for path in "$@"; do
        if [ -d "$path" ]; then mkdir -p "$root$path"; else touch -a "$root$path"; fi
        mount --bind "$path" "$root$path"
    done
}

# The chroot's Python is another version than .venv's, which therefore comes along.
show_python() {
    local python=$checkout/.venv/bin/python prefix
    prefix=$("$python" -c 'import sys; print(sys.base_prefix)')
    if [ "$prefix" != /usr ]; then
        show "$prefix"
    else
        # .venv names /usr/bin/python3, which is a link in both; what the chroot's points at is covered.
        show /usr/bin/python3 "$("$python" -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
    fi
}

inside() {
    root=$1 scratch=$2
    shift 2
    # A root that is a mount of its own, or nobody could make a mount namespace below it.
    mount --bind "$root" "$root"
    mount --bind "$scratch" "$root/tmp"
    mount -t proc proc "$root/proc"
    mount --rbind /sys "$root/sys"
    mount --rbind /dev "$root/dev"
    show /etc/hosts /etc/resolv.conf "$checkout"
    show_python
    # Neither variables of this machine nor what a run writes into its home stays in the chroot. Not exec: this shell is
    # process 1 here and reaps orphans; to Slurm, a task whose zombies nobody reaps cannot be killed.
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LANG=C.UTF-8 CI=true PYTHONDONTWRITEBYTECODE=1 \
        chroot "$root" sh -c 'cd "$0" && exec "$@"' "$checkout" "$@"
}

if [ "$1" = --inside ]; then
    shift
    inside "$@"
else
    root=$("$here/chroot.sh" "$1")
    shift
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    chmod 1777 "$scratch"
    unshare --mount --pid --fork --kill-child "$here/in_chroot.sh" --inside "$root" "$scratch" "$@"
fi
