"""A real gateway over real sockets, in the test's own loop.

It is made from the text of a configuration, as in production, and served by uvicorn;
nothing is replaced. What a test may look at inside (slots, breakers, what is in
flight) is read from the live objects.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Self

import httpx
import structlog
import uvicorn

from app import config as configuration
from app.api.state import Services
from app.composition import create_app
from app.gateway.routing import Guards
from app.gateway.service import Gateway
from tests.support.answers import Answer, Chunks, chat
from tests.support.keys import KEY
from tests.support.metrics import Samples

_LIMIT_S = 20.0
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Nothing here is encrypted; a client of its own would load every certificate."""


class _Server(uvicorn.Server):
    """Uvicorn, noticing at once that it is to end."""

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            await asyncio.sleep(0.005)


class RunningGateway:
    """A gateway that serves while the context is open."""

    def __init__(self, config: str, environ: Mapping[str, str] | None = None) -> None:
        """Read `config`, the text of a gateway.yaml; nothing is opened yet."""
        self.config = configuration.parse(
            dedent(config), environ or {}, file=Path("gateway.yaml")
        )
        self._stack_of_logging = _restored_logging()

    async def __aenter__(self) -> Self:
        """Start it and wait until it listens."""
        self._stack_of_logging.__enter__()
        self._app = create_app(self.config)
        self._server = _Server(
            uvicorn.Config(
                self._app,
                http="httptools",
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=5,
            )
        )
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        self.port: int = listening.getsockname()[1]
        self._serving = asyncio.create_task(self._server.serve(sockets=[listening]))
        async with asyncio.timeout(_LIMIT_S):
            while not self._server.started:
                assert not self._serving.done(), "the gateway did not start"
                await asyncio.sleep(0.005)
        self.http = httpx.AsyncClient(
            base_url=self.origin, timeout=_LIMIT_S, trust_env=False, verify=_NO_TLS
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop it as SIGTERM does: requests under way are finished."""
        await self.http.aclose()
        self._server.should_exit = True
        try:
            await self._serving
        finally:
            self._stack_of_logging.__exit__(None, None, None)

    @property
    def origin(self) -> str:
        """`http://host:port`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """What OpenAI's SDK takes."""
        return f"{self.origin}/v1"

    @property
    def services(self) -> Services:
        """What the endpoints are given."""
        services: Services = self._app.state.services
        return services

    @property
    def core(self) -> Gateway:
        """The request path."""
        return self.services.gateway

    def guards(self, target: str) -> Guards:
        """The guards of `provider/model`."""
        for route in self.core.routes._routes.values():
            if target in route.targets:
                return route.targets[target].guards
        raise LookupError(target)

    async def chat(
        self, model: str, *, headers: Mapping[str, str] | None = None, **fields: object
    ) -> Answer:
        """Ask for a completion with the valid key; the whole answer, however it ends.

        `stream=True` streams; further fields go into the body.
        """
        return await self.post(chat(model, **fields), headers=headers)

    async def post(
        self,
        body: object,
        *,
        path: str = "/v1/chat/completions",
        key: str | None = KEY,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send `body` (JSON, or bytes as they are) and read all that comes."""
        given = {} if key is None else {"authorization": f"Bearer {key}"}
        given |= {"content-type": "application/json", **(headers or {})}
        content = body if isinstance(body, bytes) else None
        async with self.http.stream(
            "POST",
            path,
            content=content,
            json=None if content is not None else body,
            headers=given,
        ) as response:
            got, whole = b"", True
            try:
                async for piece in response.aiter_raw():
                    got += piece
            except httpx.RemoteProtocolError:
                whole = False
            return Answer(
                response.status_code, dict(response.headers), Chunks(got, whole)
            )

    async def get(self, path: str, *, key: str | None = KEY) -> Answer:
        """Get `path`."""
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        response = await self.http.get(path, headers=headers)
        return Answer(
            response.status_code, dict(response.headers), Chunks(response.content, True)
        )

    async def metrics(self) -> Samples:
        """Scrape it."""
        answer = await self.get("/metrics", key=None)
        assert answer.status == 200
        return Samples(answer.body.data)

    async def quiet(self) -> None:
        """Wait until nothing is in flight any more.

        Raises:
            TimeoutError: something stays.
        """
        async with asyncio.timeout(_LIMIT_S):
            while self.core.in_flight or self._server.server_state.tasks:
                await asyncio.sleep(0.005)

    def assert_nothing_held(self) -> None:
        """No call, slot, waiter or probe is left anywhere."""
        assert self.core.in_flight == 0
        for route in self.core.routes._routes.values():
            for target in route.targets.values():
                bulkhead = target.guards.bulkhead
                assert (bulkhead.in_use, bulkhead.queued) == (0, 0), target.name


@contextmanager
def _restored_logging() -> Iterator[None]:
    """Undo what configuring the logs of a process does to the process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.captureWarnings(False)
        structlog.reset_defaults()
