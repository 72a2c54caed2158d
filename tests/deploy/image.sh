#!/bin/sh
# Build deploy/Dockerfile without a registry of images, and print what is in the result.
# Usage: image.sh FOLDER IMAGE      (as root; needs buildah and mmdebstrap)
#
# The base is a Debian of this machine's release made by mmdebstrap instead of the python:slim image;
# buildah runs the RUN lines in a chroot instead of a container. So this shows that the lines of the
# Dockerfile work and what they leave; not how python:slim differs from Debian's Python.
set -eu
folder=$1
image=$2
top=$(cd "$(dirname "$0")/../.." && pwd)
. /etc/os-release
bud="buildah --root $folder/storage --runroot $folder/run --storage-driver vfs"

if [ ! -e "$folder/base.tar" ]; then
    # The CAs of this machine too: its way to PyPI may need one of its own.
    mmdebstrap --quiet --format=tar --variant=minbase --include=python3,python3-venv,ca-certificates \
        "$VERSION_CODENAME" "$folder/base.part" >&2
    mv "$folder/base.part" "$folder/base.tar"
fi
container=$($bud from scratch)
$bud add "$container" "$folder/base.tar" / >/dev/null
if [ -e /etc/ssl/certs/ca-certificates.crt ]; then
    $bud copy "$container" /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt >/dev/null
fi
$bud commit --quiet --rm "$container" scanpush-base >/dev/null

# How this machine reaches PyPI is its own affair, and leaves no trace in the image.
set --
for name in PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_CERT PIP_DEFAULT_TIMEOUT HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy; do
    eval "value=\${$name:-}"
    [ -z "$value" ] || set -- "$@" --build-arg "$name=$value"
done
[ ! -e /etc/pip.conf ] || set -- "$@" --volume /etc/pip.conf:/etc/pip.conf:ro
$bud bud --quiet --isolation chroot --network host --format docker --pull-never \
    --build-arg BASE=localhost/scanpush-base "$@" -t "$image" -f "$top/deploy/Dockerfile" "$top" >&2
$bud inspect --type image "$image"
# The files of the image, to be run by run_image.sh.
$bud mount "$($bud from "$image")"
