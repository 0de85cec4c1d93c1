"""Probes and metrics: /livez, /readyz, /metrics.

Rule: liveness touches nothing but the loop; readiness is about this process alone,
never about providers or the store: restarting or unrouting a gateway mends neither.
"""

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from app.api.state import Injected

router = APIRouter(tags=["operations"])


@router.get("/livez")
async def livez() -> dict[str, str]:
    """Say that the process and its loop are alive."""
    return {"status": "alive"}


@router.get("/readyz")
async def readyz(services: Injected) -> Response:
    """Say whether this process takes requests: 503 while it drains."""
    if services.gateway.draining:
        return JSONResponse({"status": "draining"}, status_code=503)
    return JSONResponse({"status": "ready"})


@router.get("/metrics")
async def metrics(request: Request, services: Injected) -> Response:
    """Render the metrics, off the loop."""
    accept = request.headers.get("accept", "")
    body, content_type = await asyncio.to_thread(services.render_metrics, accept)
    return Response(body, headers={"content-type": content_type})
