"""Builds the gateway from its configuration, and runs what must run beside it.

Rule: wiring and lifetimes only. What is started here is stopped here, in reverse, on
every path; nothing here runs per request. Routes are built in `chains.py`.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI

from app import config as configuration
from app.api.app import build_app
from app.api.state import Services
from app.chains import Targets, build_route, reveal
from app.config import Config
from app.domain import Client
from app.gateway.accounting import Price, PriceList
from app.gateway.routing import RouteTable
from app.gateway.service import Gateway
from app.keys.keyring import KeyEntry, Keyring
from app.quota.ledger import Ledger
from app.store.connection import OPERATIONS, Store
from app.store.embedded import EmbeddedServer
from app.telemetry import Metrics, TargetName, Telemetry, Tracing
from app.telemetry import logging as logs
from app.telemetry.loop_lag import watch_loop
from app.telemetry.tracing import otlp_exporter
from app.upstream import AiohttpTransport, Upstream
from resilience.clock import Clock, SystemClock


def _keyring(config: Config) -> Keyring:
    entries = {}
    for key in config.keys:
        client = Client(
            key.id,
            key.project,
            None if key.routes is None else frozenset(key.routes),
            key.limits.requests_per_minute,
        )
        digest = bytes.fromhex(key.sha256.get_secret_value())
        entries[digest] = KeyEntry(client, key.expires_at)
    return Keyring(entries)


def _prices(config: Config) -> PriceList:
    return PriceList(
        {
            name: Price(price.input, price.output, price.cache_read)
            for name, price in config.prices.items()
        }
    )


def _telemetry(config: Config, clock: Clock) -> Telemetry:
    targets = {
        target.name: _target_name(config, target)
        for route in config.routes.values()
        for target in route.targets
    }
    metrics = Metrics(
        routes=config.routes,
        targets=targets.values(),
        projects={key.project for key in config.keys},
        store_ops=OPERATIONS,
    )
    metrics.record_build(version("breakwater"))
    metrics.record_config_loaded()
    traces = config.telemetry.traces
    endpoint = reveal(traces.endpoint)
    tracing = Tracing(
        None if endpoint is None else otlp_exporter(endpoint),
        sample_ratio=traces.sample_ratio,
        service=config.service.name,
        environment=config.service.environment,
        version=version("breakwater"),
        on_dropped=metrics.record_dropped,
    )
    return Telemetry(metrics, tracing, clock=clock)


def _target_name(config: Config, target: configuration.Target) -> TargetName:
    url = urlsplit(config.providers[target.provider].base_url)
    port = url.port or (443 if url.scheme == "https" else 80)
    return TargetName(
        target.provider, target.model, target.name, url.hostname or "", port
    )


class _Life:
    """What is started with the process and stopped with it."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self.config = config
        self.clock = clock
        self.telemetry = _telemetry(config, clock)
        self.upstream = Upstream(AiohttpTransport())
        self.embedded: EmbeddedServer | None = None
        url = reveal(config.store.url) or "none"
        if url == "embedded":
            self.embedded = EmbeddedServer()
            url = self.embedded.url
        self.store: Store | None = None
        if url != "none":
            self.store = Store(
                url,
                clock,
                timeout_s=config.store.timeout_s,
                observe=self.telemetry.metrics.record_store_operation,
            )
        targets = Targets(clock, self.telemetry.listener)
        routes = [
            build_route(name, route, config, targets, clock)
            for name, route in config.routes.items()
        ]
        self.telemetry.metrics.track_targets(targets.live)
        self.gateway = Gateway(
            RouteTable(routes),
            Ledger(self.store, clock),
            self.upstream,
            _prices(config),
            self.telemetry,
            clock,
        )

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncGenerator[None]:
        """Run the gateway's background work while the server serves."""
        metrics = self.telemetry.metrics
        for note in self.config.notes:
            logs.get_logger().warning("configuration_note", note=note)
        async with AsyncExitStack() as stack:
            metrics.bind_loop(asyncio.get_running_loop())
            stack.push_async_callback(self.telemetry.aclose)
            stack.push_async_callback(self.upstream.aclose)
            if self.embedded is not None:
                await asyncio.to_thread(self.embedded.start)
                stack.push_async_callback(asyncio.to_thread, self.embedded.stop)
            if self.store is not None:
                stack.push_async_callback(self.store.close)
                await self._spawn(stack, _watch_store(self.store, metrics, self.clock))
            await self._spawn(stack, watch_loop(metrics, self.clock))
            stack.callback(self._drain)
            logs.get_logger().info("started", routes=list(self.config.routes))
            yield
        logs.get_logger().info("stopped")

    def _drain(self) -> None:
        self.gateway.draining = True

    async def _spawn(
        self, stack: AsyncExitStack, work: Coroutine[Any, Any, None]
    ) -> None:
        """Run `work` until the stack closes."""
        task = asyncio.create_task(work)

        async def stop() -> None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

        stack.push_async_callback(stop)


async def _watch_store(store: Store, metrics: Metrics, clock: Clock) -> None:
    """Keep asking the store whether it is there, for the metrics and its breaker."""
    known: bool | None = None
    while True:
        up = await store.ping()
        metrics.record_store_state(up=up, degraded=not up)
        if up is not known:
            log = logs.get_logger()
            (log.info if up else log.warning)("store_up" if up else "store_degraded")
            known = up
        await clock.sleep(_STORE_PING_S)


def create_app(config: Config) -> FastAPI:
    """Return the ASGI application for `config`.

    Raises:
        AppError: a part that the configuration names is not installed.
    """
    logs.configure(
        config.telemetry.logs.level, config.service.name, config.service.environment
    )
    life = _Life(config, SystemClock())
    services = Services(
        gateway=life.gateway,
        keyring=_keyring(config),
        render_metrics=life.telemetry.metrics.render,
        max_body_bytes=config.server.max_body_bytes,
        created_s=int(time.time()),
    )
    return build_app(services, life.telemetry, version("breakwater"), life.lifespan)


def openapi_document() -> dict[str, Any]:
    """Return the API's description, which no configuration changes."""
    config = configuration.parse(_ANY_CONFIG, {}, file=Path("openapi"))
    return create_app(config).openapi()


_STORE_PING_S = 1.0
_ANY_CONFIG = """
providers: {any: {dialect: openai, base_url: "http://localhost/v1"}}
routes: {any: {targets: [{provider: any, model: any}]}}
keys: []
"""
