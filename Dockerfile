# Two images from one file:
#   docker build -t breakwater/gateway:0.1.0 .                      the gateway (last stage, the default)
#   docker build -t breakwater/standin:0.1.0 --target standin .     the stand-in provider, for compose and chaos runs
#
# The base image is pinned by tag. A digest has to be resolved against an image registry, which the image job of CI
# does when it publishes (`--build-arg PYTHON_IMAGE=python@sha256:…`); both stages share the argument, so that the
# interpreter the environment was built for is the one that runs it.
ARG PYTHON_IMAGE=python:3.13-slim-trixie

# ---- build: the environment, from the lock and nothing else -------------------------------------------------------
FROM ${PYTHON_IMAGE} AS build

ARG UV_VERSION=0.13.9
# Bytecode is compiled here because the file system is read-only when it runs.
ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_PYTHON_DOWNLOADS=never \
    UV_PROJECT_ENVIRONMENT=/opt/breakwater \
    UV_CACHE_DIR=/var/cache/uv

RUN pip install --no-cache-dir --root-user-action=ignore "uv==${UV_VERSION}"

WORKDIR /src
# Dependencies first: this layer changes only with the lock.
COPY pyproject.toml uv.lock ./
RUN --mount=type=cache,target=/var/cache/uv \
    uv sync --frozen --no-dev --no-install-project

COPY README.md LICENSE ./
COPY app ./app
COPY resilience ./resilience
RUN --mount=type=cache,target=/var/cache/uv \
    uv sync --frozen --no-dev --no-editable

# The stand-in is not part of the wheel; it is compiled here like everything else.
COPY loadtest/__init__.py ./standin/loadtest/__init__.py
COPY loadtest/provider ./standin/loadtest/provider
RUN python -m compileall -q ./standin

# ---- runtime: what both images share ------------------------------------------------------------------------------
FROM ${PYTHON_IMAGE} AS runtime

# pip is the last tool in the base image that could install anything; nothing here needs it again.
RUN groupadd --gid 65532 breakwater \
    && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin --no-log-init breakwater \
    && pip uninstall --yes --root-user-action=ignore pip

COPY --from=build /opt/breakwater /opt/breakwater

ENV PATH=/opt/breakwater/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

# uvicorn drains on SIGTERM: it stops accepting, lets open streams end, then leaves.
STOPSIGNAL SIGTERM
# Numeric, so that Kubernetes can verify `runAsNonRoot` without reading /etc/passwd.
USER 65532:65532

# ---- standin: the provider that misbehaves on request -------------------------------------------------------------
FROM runtime AS standin

COPY --from=build /src/standin /opt/standin
WORKDIR /opt/standin
EXPOSE 9001
# /livez is outside of faults and of the log of requests that experiments assert on.
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-I", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 9001, timeout=2); c.request('GET', '/livez'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["python", "-m", "loadtest.provider"]
CMD ["--host", "0.0.0.0", "--port", "9001", "--name", "alpha"]

# ---- gateway ------------------------------------------------------------------------------------------------------
FROM runtime AS gateway

LABEL org.opencontainers.image.title="breakwater" \
      org.opencontainers.image.description="A resilience-first LLM gateway" \
      org.opencontainers.image.licenses="Apache-2.0"

# A `_created` series beside every counter and histogram doubles the number of series for nothing.
ENV GATEWAY_CONFIG=/etc/breakwater/gateway.yaml \
    PROMETHEUS_DISABLE_CREATED_SERIES=true

WORKDIR /opt/breakwater
EXPOSE 8080
# Liveness, not readiness: a draining container is healthy. http.client ignores proxy variables; curl is not here.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-I", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8080, timeout=2); c.request('GET', '/livez'); raise SystemExit(c.getresponse().status != 200)"]
# One process per container: replicas are the unit of scale, and in one process every gauge and breaker is whole.
ENTRYPOINT ["gateway"]
CMD ["serve", "--config", "/etc/breakwater/gateway.yaml", "--host", "0.0.0.0", "--port", "8080"]
