# Images for a cluster's nodes: `docker build --target cpu .` or `--target cuda .` (docs/launchers).
# No secret belongs in an image: keys come from the launcher, as environment.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS cpu
# gcc: vLLM on CPU compiles kernels when it starts. libnuma: vLLM's CPU build. tini: signals reach the command.
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ libnuma1 git make procps iproute2 tini \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/s1sweep
# What setup.sh reads comes first, so that the libraries are a layer of their own.
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY tools tools
COPY s1sweep/__init__.py s1sweep/__init__.py
RUN sh tools/setup.sh
COPY . .
RUN .venv/bin/pip install --no-deps --quiet --editable . \
    && .venv/bin/pip install --quiet --constraint constraints.txt 'ray[default]>=2.60,<3'
ENV PATH=/opt/s1sweep/.venv/bin:$PATH RAY_USAGE_STATS_ENABLED=0
RUN useradd --create-home ray
USER ray
WORKDIR /home/ray
ENTRYPOINT ["tini", "-g", "--"]
CMD ["s1sweep", "--help"]

FROM nvidia/cuda:12.9.1-devel-ubuntu24.04 AS cuda
ARG PYTHON
ENV DEBIAN_FRONTEND=noninteractive UV_PYTHON_INSTALL_DIR=/opt/python
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ git procps iproute2 tini python3-pip \
    && rm -rf /var/lib/apt/lists/* \
    && pip install --break-system-packages --no-cache-dir uv
WORKDIR /opt/s1sweep
COPY . .
# vLLM's CUDA build pins its own torch; constraints.txt holds the CPU testbed's versions.
RUN uv venv --python ${PYTHON} .venv \
    && uv pip install --python .venv/bin/python --torch-backend cu129 --no-cache -e '.[cuda,cluster]'
ENV PATH=/opt/s1sweep/.venv/bin:$PATH RAY_USAGE_STATS_ENABLED=0
RUN useradd --create-home ray
USER ray
WORKDIR /home/ray
ENTRYPOINT ["tini", "-g", "--"]
CMD ["s1sweep", "--help"]
