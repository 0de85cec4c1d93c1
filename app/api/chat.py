"""POST /v1/chat/completions."""

from typing import Any
from urllib.parse import quote

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.auth import Authenticated
from app.api.chat_body import parse_chat, read_body
from app.api.openapi import CHAT_OPERATION
from app.api.state import Injected
from app.api.streaming import EventStream
from app.gateway.reply import Reply
from app.quota.ledger import Hold

router = APIRouter(tags=["chat"])

_PLAIN = " !#$&'()*+,/:;=?@[]|"
"""What stands in a header as it is; the rest of a model's name is percent-encoded."""


@router.post("/v1/chat/completions", openapi_extra=CHAT_OPERATION)
async def create_chat_completion(
    request: Request, client: Authenticated, services: Injected
) -> Response:
    """Answer a chat, streamed or whole, by the first target that can.

    Every field of OpenAI's API passes through untouched; `model` names a route.
    """
    raw = await read_body(request, services.max_body_bytes)
    chat = parse_chat(raw, request, client)
    request.scope["observed"] = True  # from here on the gateway counts
    reply, hold = await services.gateway.chat(chat)
    try:
        headers = _reply_headers(reply) | _limit_headers(hold)
        if chat.stream:
            return EventStream(reply, chat.request_id, headers)
        await reply.close()
        return _whole(reply.body, headers)
    except BaseException as exc:  # a bug of ours, or cancelled: the reply holds leases
        await reply.close(exc)
        raise


def _whole(body: dict[str, Any] | None, headers: dict[str, str]) -> Response:
    return Response(orjson.dumps(body), headers=headers, media_type="application/json")


def _reply_headers(reply: Reply) -> dict[str, str]:
    return {
        "x-gateway-target": quote(reply.target, safe=_PLAIN),
        "x-gateway-attempts": str(reply.attempts),
        "x-gateway-fallback": str(reply.fallback).lower(),
    }


def _limit_headers(hold: Hold) -> dict[str, str]:
    if hold.limit is None or hold.reset_after_s is None:
        return {}
    return {
        "x-ratelimit-limit-requests": str(hold.limit),
        "x-ratelimit-remaining-requests": str(hold.remaining),
        "x-ratelimit-reset-requests": f"{hold.reset_after_s:.3f}s",
    }
