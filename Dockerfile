# The program `selfie` in an image, for clusters.
#
#   docker build -t selfie .                                   the processor alone
#   docker build -t selfie:cuda --build-arg BACKEND=cuda .     NVIDIA GPUs; run it with --gpus all
#   docker build -t selfie --build-arg FEATURES= .             without the features that download (see ARG FEATURES)
#   docker run --rm -v "$PWD:/data" selfie pretrain cifar10-small --data /data/cifar10
#
# /data is where runs and data lie: mount a folder there, owned by the user that runs the container (`--user $(id -u)`).
# We had no container engine: no image has been built from this file by us.

# cpu or cuda
ARG BACKEND=cpu
ARG RUST=1.95.0
ARG CUDA=12.6.3

FROM rust:${RUST}-slim-bookworm AS toolchain

# mimalloc and the feature hub need a C compiler, which the slim image has not.
FROM toolchain AS base-cpu
RUN apt-get update \
    && apt-get install --no-install-recommends --yes gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
ENV BACKEND_FEATURES=""

# nvcc compiles candle's kernels. CUDA_COMPUTE_CAP says for which GPUs, since none is there to ask while building.
FROM nvidia/cuda:${CUDA}-devel-ubuntu22.04 AS base-cuda
ARG CUDA_COMPUTE_CAP=80
ENV CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP} BACKEND_FEATURES="cuda" \
    CARGO_HOME=/usr/local/cargo RUSTUP_HOME=/usr/local/rustup PATH=/usr/local/cargo/bin:$PATH
RUN apt-get update \
    && apt-get install --no-install-recommends --yes ca-certificates gcc g++ libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY --from=toolchain /usr/local/cargo /usr/local/cargo
COPY --from=toolchain /usr/local/rustup /usr/local/rustup

FROM base-${BACKEND} AS build
ARG RUST
# fetch is `data fetch`; hub is `hub:`, `push` and `pull`.
ARG FEATURES=fetch,hub
# The image's own toolchain, without the components that rust-toolchain.toml asks for.
ENV RUSTUP_TOOLCHAIN=${RUST}
WORKDIR /source
COPY . .
# No flags for this machine's processor: kernels choose their instructions when they run.
RUN cargo build --release --locked --package selfie-cli --features "${BACKEND_FEATURES} ${FEATURES}" \
    && cp target/release/selfie /usr/local/bin/selfie
# With CUDA it does not start without a driver, and none is there while building.
RUN [ -n "${BACKEND_FEATURES}" ] || selfie --version

FROM debian:bookworm-slim AS run-cpu

FROM nvidia/cuda:${CUDA}-runtime-ubuntu22.04 AS run-cuda

FROM run-${BACKEND} AS run
# Whom downloads trust.
RUN apt-get update \
    && apt-get install --no-install-recommends --yes ca-certificates \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /usr/local/bin/selfie /usr/local/bin/selfie
# Runs and data are the user's: the container's own user owns nothing.
RUN mkdir /data && chmod 777 /data
WORKDIR /data
# That user has no home either, where the hub's files would go.
ENV HF_HOME=/data/huggingface
USER 1000:1000
ENTRYPOINT ["selfie"]
CMD ["--help"]
