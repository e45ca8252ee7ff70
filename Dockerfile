# audiorec, serving the model directory that is mounted at /model:
#
#   docker build -t audiorec .
#   docker run --read-only --tmpfs /tmp -v "$PWD/exp/demo/model:/model:ro" -p 8000:8000 audiorec
#
# Mount the model directory, not a release in it: then a new `current` shows inside too.

FROM debian:bookworm-slim AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/audiorec
ENV PATH=/opt/audiorec/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# Torch without CUDA: some gigabytes less. Any index with a CPU build of it will do.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --index-url "${TORCH_INDEX}" "torch>=2.11,<2.14"
# Annoy compiles for the machine it is built on unless told otherwise, and would die on an older one.
# x86-64-v3 is every server since 2015; for other architectures give theirs.
ARG ANNOY_MARCH=-march=x86-64-v3
ENV ANNOY_COMPILER_ARGS=${ANNOY_MARCH},-O3,-ffast-math,-fno-associative-math,-DANNOYLIB_MULTITHREADED_BUILD,-std=c++14
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY audiorec audiorec
RUN pip install . && rm -rf /src

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ffmpeg python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home audiorec
COPY --from=build /opt/audiorec /opt/audiorec
ENV PATH=/opt/audiorec/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER audiorec
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=2)"]
ENTRYPOINT ["audiorec"]
CMD ["serve", "/model", "--host", "0.0.0.0", "--port", "8000", "--workers", "2"]
