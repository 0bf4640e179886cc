# docker build --tag bidsharmony .
# mkdir -p OUT
# docker run --rm -u "$(id -u):$(id -g)" -v BIDS:/in:ro -v OUT:/out bidsharmony /in /out participant group

FROM python:3.11-slim-bookworm AS build

# Wheels on disk or at hand are used as they are; otherwise torch comes from PyTorch's own CPU index.
ARG PIP_FIND_LINKS
ARG TORCH=2.13.0
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

RUN python3 -m venv /opt/bidsharmony \
    && if [ -z "${PIP_FIND_LINKS:-}" ]; then set -- --index-url "${TORCH_INDEX}"; fi \
    && /opt/bidsharmony/bin/pip install --no-cache-dir "$@" "torch==${TORCH}"

COPY . /src
RUN /opt/bidsharmony/bin/pip install --no-cache-dir /src \
    && chmod -R a+rX /opt/bidsharmony


FROM python:3.11-slim-bookworm

LABEL org.opencontainers.image.title="bidsharmony" \
      org.opencontainers.image.description="A BIDS-App that takes the scanner out of diffusion MRI" \
      org.opencontainers.image.licenses="Apache-2.0"

COPY --from=build /opt/bidsharmony /opt/bidsharmony

# Any user id may run this on a read-only file system: every cache goes below HOME, and HOME is /tmp.
ENV PATH=/opt/bidsharmony/bin:$PATH \
    HOME=/tmp \
    BIDSHARMONY_CONTAINER_TAG=bidsharmony:0.1.0 \
    NO_ET=1 \
    NIPYPE_NO_ET=1 \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONNOUSERSITE=1

USER 1000:1000
WORKDIR /tmp
ENTRYPOINT ["/opt/bidsharmony/bin/bidsharmony"]
