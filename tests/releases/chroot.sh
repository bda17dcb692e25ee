#!/usr/bin/env bash
# Prints the directory of a chroot with another Debian release and its Slurm, which it builds first where there is none
# of today:
#
#   chroot.sh RELEASE        for example trixie
#
# Runs as root. The packages come from the Debian mirror that apt uses here, or from $MIRROR.
set -euo pipefail
release=$1
cache=$(cd "$(dirname "$0")/../.." && pwd)/.cache/chroots
# Another one where what is to be in it has changed since.
directory=$cache/$release-$(date +%Y%m%d)-$(cksum <"$0" | cut -d ' ' -f 1)
packages=slurm-wlm,munge,slurmdbd,mariadb-server-core,mariadb-client-core,python3,python3-venv
packages+=,mount,gcc,libc6-dev,libstdc++6,libgomp1,make,git,strace,procps,zsh,iproute2,ca-certificates
packages+=,user-mode-linux,nfs-kernel-server,nfs-common,kmod,e2fsprogs

fail() { echo "chroot.sh: $*" >&2; exit 3; }

[ "$(id -u)" = 0 ] || fail "a chroot needs root: run make as root, or with sudo"
# Whoever comes while another one builds waits for it.
mkdir -p "$cache"
exec 9> "$cache/lock"
flock 9
if [ ! -d "$directory" ]; then
    command -v mmdebstrap >/dev/null || fail "mmdebstrap not found: apt-get install mmdebstrap"
    mirror=${MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -n 1)}
    [ -n "$mirror" ] || fail "apt has no Debian mirror here: name one with MIRROR=http://..."
    rm -rf "${cache:?}/$release"-*
    building=$(mktemp -d "$cache/building-XXXXXX")
    trap 'rm -rf "$building"' EXIT
    options=()
    # A mirror that is frozen or a few days behind still serves; sid's index is valid for a week only.
    [ "$release" = sid ] && options=(--aptopt='Acquire::Check-Valid-Until "false"')
    # A mount namespace of its own: whatever happens, nothing stays mounted. The chroot is renamed when it is complete.
    unshare --mount mmdebstrap --mode=root --variant=apt --include="$packages" --quiet "${options[@]}" \
        "$release" "$building/root" "$mirror" >&2 9>&-
    mkdir -p "$building/root/images" "$building/root/host-tmp" "$building/root/usr/lib/modules"
    mv "$building/root" "$directory"
fi
echo "$directory"
