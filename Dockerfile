# audiorec, serving the model directory that is mounted at /model:
#
#   docker build -t audiorec .
#   docker run --read-only --tmpfs /tmp -v "$PWD/exp/demo/model:/model:ro" -p 8000:8000 audiorec
#
# Mount the model directory, not a release in it: then a new `current` shows inside too.
# Two of these behind nginx: scripts/deploy/compose.yaml

FROM debian:bookworm-slim AS build
# Versions are not pinned: Debian deletes those that have holes, and the same Dockerfile would build no more.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/audiorec
ENV PATH=/opt/audiorec/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# Torch without CUDA: some gigabytes less. Any index with a CPU build of it will do.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --index-url "${TORCH_INDEX}" "torch>=2.11,<2.14"
# Annoy compiles for the machine it is built on unless told otherwise, and would die on an older one.
# x86-64-v3 is every server since 2015, armv8-a every 64-bit ARM; others: --build-arg ANNOY_MARCH=-march=...
ARG ANNOY_MARCH=
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY audiorec audiorec
# hadolint ignore=DL3013
RUN case "$(uname -m)" in aarch64) portable=-march=armv8-a ;; *) portable=-march=x86-64-v3 ;; esac \
    && options=-O3,-ffast-math,-fno-associative-math,-DANNOYLIB_MULTITHREADED_BUILD,-std=c++14 \
    && ANNOY_COMPILER_ARGS="${ANNOY_MARCH:-$portable},$options" pip install ".[otel,postgres]"

FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ffmpeg python3 tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home audiorec
COPY --from=build /opt/audiorec /opt/audiorec
# The one folder that is written to is /tmp: some MB that the workers share.
ENV PATH=/opt/audiorec/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
EXPOSE 8000
# A release of a million clips is verified for some seconds before anything listens.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5m --retries=3 \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
# tini waits for what a killed worker leaves behind.
ENTRYPOINT ["tini", "--", "audiorec"]
CMD ["serve", "/model", "--host", "0.0.0.0", "--port", "8000", "--workers", "2"]
