"""Gateways run here on the event loop that they run on in production."""

import asyncio
from collections.abc import Callable

import uvloop


def pytest_asyncio_loop_factories() -> dict[
    str, Callable[[], asyncio.AbstractEventLoop]
]:
    """Only uvloop: what holds on asyncio's own loop is shown where it matters."""
    return {"uvloop": uvloop.new_event_loop}
