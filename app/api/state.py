"""What the endpoints are given, through `Depends`.

Rule: built by the composition, put on `app.state` once, and only read here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from app.gateway.service import Gateway
from app.keys.keyring import Keyring


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of the gateway that endpoints talk to."""

    gateway: Gateway
    keyring: Keyring
    render_metrics: Callable[[str], tuple[bytes, str]]
    """From an Accept header to a body and its content type; may run in a thread."""
    max_body_bytes: int
    created_s: int
    """When the process started, in Unix seconds; `created` of every model."""


def services(request: Request) -> Services:
    """Return the services of the app that serves `request`."""
    found: Services = request.app.state.services
    return found


Injected = Annotated[Services, Depends(services)]
