#!/bin/bash
# Process 1 in User Mode Linux: a kernel NFS 4.2 server, two clients that share no cache, and the tests on them.
exec >/dev/console 2>&1 </dev/null
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
mapfile -t arguments </tmp/nfs-arguments
cd "${arguments[0]}" || exit

finish() {
    echo "$1" >/host-tmp/nfs-status
    sync
    echo o >/proc/sysrq-trigger
    sleep 60
}

export_image() { # directory, size in MiB, number
    truncate -s "$2M" "/images/$3" && mkfs.ext4 -q "/images/$3" && mkdir -p "$1" && mount -o loop "/images/$3" "$1"
    exportfs -o "rw,no_root_squash,no_subtree_check,fsid=$3" "127.0.0.1:$1"
}

serve() {
    mount --bind /usr/lib/uml/modules /usr/lib/modules
    # Both mounts are one client to the server, which would leave the one its delegation while the other changes the file.
    echo 0 >/proc/sys/fs/leases-enable
    modprobe -a nfsd nfsv4 loop && ip link set lo up && hostname nfs
    mount -t nfsd nfsd /proc/fs/nfsd && mount -t tmpfs nfs /var/lib/nfs && mkdir -p /var/lib/nfs/v4recovery
    # The root of all exports must lie on a file system that can be exported, as the host's files cannot.
    mount -t tmpfs srv /srv && exportfs -o ro,no_subtree_check,fsid=0 127.0.0.1:/srv
    export_image /srv/large 1500 1 && export_image /srv/small 24 2
    rpc.mountd --no-nfs-version 3
    rpc.nfsd --no-nfs-version 3 --nfs-version 4.2 --lease-time 10 --grace-time 10 4
}

join() { # a client that shares neither connection nor cache with another one
    mkdir -p "$2" && mount -t nfs4 -o vers=4.2,nosharecache "127.0.0.1:/$1" "$2"
}

mount -t proc proc /proc && mount -t sysfs sys /sys && mount -t tmpfs run /run
mkdir -p /host-tmp && mount --bind /tmp /host-tmp && mount -t tmpfs tmp /tmp && mount -t tmpfs images /images
mkdir -p /dev/shm && mount -t tmpfs shm /dev/shm
case $PWD in /tmp/*) # a checkout that the new /tmp covers
    mkdir -p "$PWD" && mount --bind "/host-tmp${PWD#/tmp}" "$PWD" && cd "$PWD" || exit ;;
esac
trap 'finish 3' EXIT
serve && join large /mnt/a && join large /mnt/b && join small /mnt/small || finish 3
nfsstat -m
HOLDFAST_NFS=/mnt .venv/bin/pytest -p no:cacheprovider --basetemp=/mnt/a/tests --color=no "${arguments[@]:1}"
finish $?
