"""Who is calling: the key from the headers, looked up in the keyring.

`Authorization: Bearer <key>`, as OpenAI's clients send it, or `x-api-key: <key>`, as
Anthropic's do.
"""

from typing import Annotated

from fastapi import Depends, Request

from app.api.state import Injected
from app.domain import Client

_BEARER = "bearer "


def authenticate(request: Request, services: Injected) -> Client:
    """Return the client of `request`.

    Raises:
        Unauthenticated: no valid key was presented.
    """
    return services.keyring.find(_presented(request))


def _presented(request: Request) -> str | None:
    given = request.headers.get("authorization")
    if given is not None and given[: len(_BEARER)].lower() == _BEARER:
        return given[len(_BEARER) :].strip()
    return request.headers.get("x-api-key")


Authenticated = Annotated[Client, Depends(authenticate)]
