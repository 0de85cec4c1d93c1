"""GET /v1/models: the routes that this key may use."""

from typing import Any

from fastapi import APIRouter

from app.api.auth import Authenticated
from app.api.state import Injected

router = APIRouter(tags=["models"])


@router.get("/v1/models")
async def list_models(client: Authenticated, services: Injected) -> dict[str, Any]:
    """List the routes that this key may use, in the form of OpenAI's models."""
    names = [route.name for route in services.gateway.routes.visible_to(client)]
    return {
        "object": "list",
        "data": [_model(name, services.created_s) for name in names],
    }


@router.get("/v1/models/{model:path}")
async def get_model(
    model: str, client: Authenticated, services: Injected
) -> dict[str, Any]:
    """Describe one route."""
    route = services.gateway.routes.find(model, client)
    return _model(route.name, services.created_s)


def _model(name: str, created_s: int) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": created_s,
        "owned_by": "breakwater",
    }
