# syntax=docker/dockerfile:1
# Penstock as an image, for the CPU by default:
#
#   docker build -t penstock .
#   docker build -t penstock:cuda --build-arg TORCH_BACKEND=cu130 .
#
# TORCH_BACKEND is uv's --torch-backend: cpu, cu126, cu128, cu130 … A CUDA build brings its libraries with it; the host
# gives the NVIDIA driver and the container toolkit.

ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS build
ARG TORCH_BACKEND=cpu
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never
RUN pip install --no-cache-dir uv
WORKDIR /source

# Dependencies first, pinned by pyproject.toml: a change in the code does not fetch torch again.
COPY pyproject.toml README.md LICENSE ./
RUN --mount=type=cache,target=/root/.cache/uv \
    uv export --quiet --no-dev --no-emit-project --no-hashes --output-file /tmp/constraints.txt \
    && uv venv /opt/penstock \
    && uv pip install --python /opt/penstock --torch-backend "${TORCH_BACKEND}" \
        --constraints /tmp/constraints.txt --requirements pyproject.toml

COPY schemas schemas
COPY models models
COPY monitoring monitoring
COPY streams streams
COPY penstock penstock
RUN --mount=type=cache,target=/root/.cache/uv uv pip install --python /opt/penstock --no-deps .

FROM python:${PYTHON_VERSION}-slim
LABEL org.opencontainers.image.title="Penstock" org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --create-home penstock \
    && install --directory --owner=penstock --group=penstock /home/penstock/.cache /project
COPY --from=build /opt/penstock /opt/penstock
ENV PATH=/opt/penstock/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PENSTOCK_ADMIN__PORT=6066
USER penstock
# The folder with penstock.toml and the model registry is mounted here.
WORKDIR /project
EXPOSE 6066 6067 6068 6069
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ['PENSTOCK_ADMIN__PORT']}/healthz\", timeout=4)"]
ENTRYPOINT ["penstock"]
CMD ["up"]
