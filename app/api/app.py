"""Puts the HTTP face together: routers, middleware, error answers."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import FastAPI
from starlette.middleware import Middleware

from app.api import chat, error_answers, health, models
from app.api.middleware.client_gone import ClientGone
from app.api.middleware.request_context import RequestContext
from app.api.openapi import ERROR_SCHEMA
from app.api.state import Services
from app.telemetry import Telemetry

type Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

_DESCRIPTION = (
    "A resilience-first LLM gateway: one OpenAI-style endpoint that keeps answering "
    "while the providers behind it fail."
)


def build_app(
    services: Services, telemetry: Telemetry, version: str, lifespan: Lifespan
) -> FastAPI:
    """Return the ASGI application that serves `services`."""
    app = FastAPI(
        title="Breakwater",
        version=version,
        description=_DESCRIPTION,
        lifespan=lifespan,
        middleware=[  # outermost first
            Middleware(RequestContext, telemetry=telemetry),
            Middleware(ClientGone),
        ],
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.services = services
    for module in (chat, models, health):
        app.include_router(module.router)
    error_answers.install(app, telemetry)
    _describe_errors(app)
    return app


def _describe_errors(app: FastAPI) -> None:
    """Add the error schema, which no endpoint returns by type, to the document."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas["Error"] = ERROR_SCHEMA
        schemas.pop("HTTPValidationError", None)
        schemas.pop("ValidationError", None)
        return document

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's documented way to extend it
