"""What is wrong with a request is told with status, code and field, and nothing more.

Every row goes over a real socket to a real gateway; none may reach a provider.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from loadtest.provider import StandIn
from tests.loadtest.provider.wire_client import Seen, connected, request
from tests.support.answers import MESSAGES, Answer, chat
from tests.support.configs import gateway_yaml
from tests.support.gateway import RunningGateway
from tests.support.keys import KEY, OTHER_KEY

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT = "/v1/chat/completions"
MODEL = {"model": "chat"}
GOOD = chat("chat")
MB = 1_000_000
INTERNALS = ("Traceback", "127.0.0.1:", "app/", ".py", "Error(", "orjson", "fastapi")


@dataclass
class Scene:
    """The gateway, the provider behind it and how it is called."""

    gateway: RunningGateway
    provider: StandIn


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene() -> AsyncIterator[Scene]:
    async with StandIn("alpha") as provider:
        config = gateway_yaml(
            {"alpha": provider.base_url},
            {"chat": ["alpha/m"], "other": ["alpha/m"], "org/model": ["alpha/m"]},
        )
        async with RunningGateway(config) as gateway:
            yield Scene(gateway, provider)


def nested(levels: int) -> bytes:
    inner = b"[" * levels + b"]" * levels
    return b'{"model":"chat","messages":[{"role":"user","content":%b}]}' % inner


@dataclass(frozen=True)
class Row:
    """A request, and what it is answered."""

    name: str
    body: Any
    param: str | None = None
    status: int = 400
    code: str = "invalid_request"
    headers: dict[str, str] = field(default_factory=dict)
    key: str | None = KEY


BODIES = (
    Row("empty", b""),
    Row("malformed", b'{"model": "chat", "messages": '),
    Row("no-object", b"[1, 2]"),
    Row("null", b"null"),
    Row("invalid-utf-8", b'{"model": "chat", "messages": "\xff\xfe"}'),
    Row("lone-surrogate", b'{"model": "\\ud800"}'),
    Row("not-a-number", b'{"model": "chat", "messages": [], "temperature": NaN}'),
    Row("nested-1000", nested(1000)),
    Row("nested-300", nested(300)),
    Row("nested-100000", nested(100_000)),
)
FIELDS = (
    Row("no-model", {"messages": MESSAGES}, "model"),
    Row("model-null", {**GOOD, "model": None}, "model"),
    Row("model-number", {**GOOD, "model": 3}, "model"),
    Row("model-empty", {**GOOD, "model": ""}, "model"),
    Row("no-messages", MODEL, "messages"),
    Row("messages-text", {**MODEL, "messages": "hi"}, "messages"),
    Row("messages-empty", {**MODEL, "messages": []}, "messages"),
    Row("messages-of-text", {**MODEL, "messages": ["hi"]}, "messages[0]"),
    Row(
        "message-without-role",
        {**MODEL, "messages": [*MESSAGES, {"content": "hi"}]},
        "messages[1].role",
    ),
    Row("stream-text", {**GOOD, "stream": "yes"}, "stream"),
    Row("stream-number", {**GOOD, "stream": 1}, "stream"),
    Row(
        "stream-options-list",
        {**GOOD, "stream": True, "stream_options": []},
        "stream_options",
    ),
    Row(
        "stream-options-unstreamed",
        {**GOOD, "stream_options": {"include_usage": True}},
        "stream_options",
    ),
    Row(
        "include-usage-text",
        {**GOOD, "stream": True, "stream_options": {"include_usage": "no"}},
        "stream_options.include_usage",
    ),
    Row("n-zero", {**GOOD, "n": 0}, "n"),
    Row("n-text", {**GOOD, "n": "2"}, "n"),
    Row("n-flag", {**GOOD, "n": True}, "n"),
    Row("n-huge", {**GOOD, "n": 10**6}, "n"),
)
HEADERS = (
    *(
        Row(
            f"timeout-{value}",
            GOOD,
            "x-gateway-timeout-ms",
            headers={"x-gateway-timeout-ms": value},
        )
        for value in ("soon", "-1", "0", "nan", "inf", "")
    ),
    *(
        Row(
            f"metadata-{name}",
            GOOD,
            "x-gateway-metadata",
            headers={"x-gateway-metadata": value},
        )
        for name, value in (("text", "team"), ("list", "[]"), ("cut", '{"project":'))
    ),
)
KEYS = (
    Row("no-key", GOOD, status=401, code="invalid_api_key", key=None),
    Row("wrong-key", GOOD, status=401, code="invalid_api_key", key="bw-wrong"),
    Row(
        "wrong-x-api-key",
        GOOD,
        status=401,
        code="invalid_api_key",
        key=None,
        headers={"x-api-key": "bw-wrong"},
    ),
    Row(
        "basic-auth",
        GOOD,
        status=401,
        code="invalid_api_key",
        key=None,
        headers={"authorization": "Basic YTpi"},
    ),
    Row(
        "key-not-ascii",
        GOOD,
        status=401,
        code="invalid_api_key",
        key=None,
        headers={"x-api-key": "clé"},
    ),
    Row(
        "empty-key",
        GOOD,
        status=401,
        code="invalid_api_key",
        key=None,
        headers={"x-api-key": ""},
    ),
)
ROUTES = (
    Row("unknown-model", chat("nope"), "model", 404, "model_not_found"),
    Row("not-allowed", chat("other"), "model", 403, "model_not_allowed", key=OTHER_KEY),
)
ROWS = (*BODIES, *FIELDS, *HEADERS, *KEYS, *ROUTES)


def assert_fit_to_send(answer: Answer) -> None:
    """It carries its id twice, is JSON in the one form, and tells nothing of inside."""
    assert answer.headers["content-type"] == "application/json"
    assert answer.error["requestId"] == answer.request_id
    assert list(answer.error) == ["code", "message", "type", "param", "requestId"]
    text = answer.body.data.decode()
    assert not [word for word in INTERNALS if word in text], text
    assert KEY not in text


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_a_bad_request_is_told_what_is_wrong_with_it(
    scene: Scene, row: Row
) -> None:
    headers = {name: value.encode() for name, value in row.headers.items()}
    sent = len(scene.provider.log)

    answer = await scene.gateway.post(
        row.body,
        key=row.key,
        headers=headers,  # type: ignore[arg-type] # bytes, for what is not ASCII
    )

    assert (answer.status, answer.error["code"]) == (row.status, row.code)
    assert answer.error["param"] == row.param
    assert answer.headers["x-should-retry"] == "false"
    assert_fit_to_send(answer)
    assert len(scene.provider.log) == sent
    scene.gateway.assert_nothing_held()


@pytest.mark.parametrize(
    "odd",
    [{"modalities": 3}, {"modalities": None}, {"temperature": "hot"}, {"tools": "?"}],
    ids=str,
)
async def test_what_the_gateway_does_not_act_on_is_the_providers_to_judge(
    scene: Scene, odd: dict[str, Any]
) -> None:
    answer = await scene.gateway.post({**GOOD, **odd})

    assert answer.complete
    assert scene.provider.log[-1].body.items() >= odd.items()


@pytest.mark.parametrize(
    "headers", [{"x-api-key": KEY}, {"authorization": f"bearer {KEY}"}]
)
async def test_a_key_may_come_in_either_header(
    scene: Scene, headers: dict[str, str]
) -> None:
    answer = await scene.gateway.post(GOOD, key=None, headers=headers)

    assert answer.complete


async def test_a_key_sees_and_uses_only_its_routes(scene: Scene) -> None:
    models = await scene.gateway.get("/v1/models", key=OTHER_KEY)
    own = await scene.gateway.get("/v1/models/chat", key=OTHER_KEY)
    foreign = await scene.gateway.get("/v1/models/other", key=OTHER_KEY)
    unknown = await scene.gateway.get("/v1/models/nope", key=OTHER_KEY)
    nobody = await scene.gateway.get("/v1/models", key=None)

    assert [model["id"] for model in models.json["data"]] == ["chat"]
    assert own.json["object"] == "model"
    assert (foreign.status, foreign.error["code"]) == (403, "model_not_allowed")
    assert (unknown.status, unknown.error["code"]) == (404, "model_not_found")
    assert (nobody.status, nobody.error["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize("path", ["/v1/models/org/model", "/v1/models/org%2Fmodel"])
async def test_a_route_whose_name_has_a_slash_can_be_looked_up(
    scene: Scene, path: str
) -> None:
    answer = await scene.gateway.get(path)

    assert answer.json["id"] == "org/model"


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/chat/completions/", "/docs", "/v2/x"]
)
async def test_an_unknown_path_is_answered_in_the_same_form(
    scene: Scene, path: str
) -> None:
    answer = await scene.gateway.get(path, key=None)

    assert (answer.status, answer.error["code"]) == (404, "not_found")
    assert_fit_to_send(answer)


async def test_a_wrong_method_is_told_the_right_one(scene: Scene) -> None:
    answer = await scene.gateway.get(CHAT)

    assert (answer.status, answer.error["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"
    assert_fit_to_send(answer)


@pytest.mark.parametrize(
    "sane", ["req_abc-123", "0af7651916cd43dd8448eb211c80319c", "a" * 128, "a.b:c_d"]
)
async def test_a_sane_request_id_of_the_client_is_kept(scene: Scene, sane: str) -> None:
    good = await scene.gateway.post(GOOD, headers={"x-request-id": sane})
    bad = await scene.gateway.post(b"{", headers={"x-request-id": sane})

    assert good.request_id == sane
    assert bad.request_id == bad.error["requestId"] == sane
    assert scene.provider.log[-1].headers["x-request-id"] == sane


@pytest.mark.parametrize(
    "odd", ["", "two words", "a" * 129, "<script>", "new\tline", "ä"]
)
async def test_any_other_request_id_is_replaced(scene: Scene, odd: str) -> None:
    headers = {"x-request-id": odd.encode()}

    answer = await scene.gateway.post(b"{", headers=headers)  # type: ignore[arg-type] # bytes, for what is not ASCII

    assert answer.request_id.startswith("req_")
    assert answer.error["requestId"] == answer.request_id


async def test_every_request_gets_an_id_of_its_own(scene: Scene) -> None:
    answers = await asyncio.gather(*(scene.gateway.post(GOOD) for _ in range(20)))

    assert len({answer.request_id for answer in answers}) == 20


async def test_headers_that_are_too_large_are_refused(scene: Scene) -> None:
    answer = await scene.gateway.post(GOOD, headers={"x-large": "a" * 100_000})

    assert (answer.status, answer.error["code"]) == (431, "headers_too_large")
    assert_fit_to_send(answer)


async def answered_while_sending(
    gateway: RunningGateway, head: dict[str, str], pieces: int, piece: bytes
) -> Seen:
    """Send as fast as is taken, whatever comes back; then read what came back."""
    fields = {"authorization": f"Bearer {KEY}", **head}
    async with connected(gateway.port) as wire:
        start = request(b"", headers=fields)
        if "transfer-encoding" in head:
            start = start.replace(b"content-length: 0\r\n", b"")
        await wire.send(start)

        async def send() -> None:
            for _ in range(pieces):
                await wire.send(piece)

        sending = asyncio.create_task(send())
        try:
            answer = await wire.receive(b"requestId")
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
    return Seen(answer, "fin")


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
async def test_a_body_of_50_mb_is_refused_while_it_is_still_being_sent(
    scene: Scene, chunked: bool
) -> None:
    piece = b"x" * MB
    head = {"content-length": str(50 * MB)}
    if chunked:
        head = {"transfer-encoding": "chunked"}
        piece = b"%x\r\n%b\r\n" % (len(piece), piece)

    answer = await answered_while_sending(scene.gateway, head, 50, piece)

    assert answer.status == 413
    assert b'"payload_too_large"' in answer.raw
    assert answer.headers["x-request-id"]
    assert answer.headers["connection"] == "close"


async def test_a_client_that_sends_all_before_it_reads_still_learns_of_the_limit(
    scene: Scene,
) -> None:
    async with connected(scene.gateway.port) as wire:
        body = b"x" * 30 * MB
        fields = {"authorization": f"Bearer {KEY}"}
        await wire.send(request(body, headers=fields))

        seen = await wire.drain()

    assert seen.status == 413
    assert json.loads(seen.sent_body)["error"]["code"] == "payload_too_large"


async def test_a_client_that_never_ends_its_body_is_cut_off(scene: Scene) -> None:
    async with connected(scene.gateway.port) as wire:
        fields = {
            "authorization": f"Bearer {KEY}",
            "content-length": str(50 * MB),
        }
        await wire.send(request(b"", headers=fields))

        seen = await wire.drain()

    assert seen.status == 413


async def test_a_client_that_waits_for_leave_to_send_is_refused_without_it(
    scene: Scene,
) -> None:
    async with connected(scene.gateway.port) as wire:
        fields = {
            "authorization": f"Bearer {KEY}",
            "content-length": str(50 * MB),
            "expect": "100-continue",
        }
        await wire.send(request(b"", headers=fields))

        seen = await wire.drain()

    assert seen.status == 413
    assert b"100 Continue" not in seen.raw
