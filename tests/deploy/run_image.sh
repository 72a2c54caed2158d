#!/bin/sh
# Run a command of an image's files as a container with a read-only root would: as user 10001, where only
# /tmp and /var/lib/scanpush can be written. Usage: unshare --mount run_image.sh ROOT DATA NAME=VALUE... COMMAND...
#
# It is a chroot in a mount namespace: no cgroups, no seccomp, no network or process namespace.
set -eu
root=$1
data=$2
shift 2
mount --bind "$root" "$root"
mount --bind "$data" "$root/var/lib/scanpush"
mount -t tmpfs tmpfs "$root/tmp"
mount --bind /dev "$root/dev"
mount --rbind /proc "$root/proc"
mount -o remount,ro,bind "$root"
exec chroot --userspec=10001:10001 "$root" env -C /opt/scanpush -i "$@"
