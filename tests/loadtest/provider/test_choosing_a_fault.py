"""A fault is chosen by the model's name or live; what does not exist is refused."""

from typing import Any

import pytest

from loadtest.provider import (
    KINDS,
    Fault,
    InvalidFault,
    StandIn,
    plain,
    service,
    streamed,
)
from loadtest.provider.faults import fault_from_model
from tests.loadtest.provider.wire_client import Seen, ask, chat, connected, request


async def put(provider: StandIn, fault: Any) -> Seen:
    return await ask(provider, fault, method="PUT", path="/control/fault")


async def test_a_model_name_carries_the_fault_and_its_parameters(
    provider: StandIn,
) -> None:
    model = "fault.status?code=429&retry_after_s=2"
    faulty = await ask(provider, chat(model=model))
    sound = await ask(provider, chat(model="any"))

    assert (faulty.status, faulty.headers["retry-after"]) == (429, "2")
    assert sound.status == 200


async def test_the_control_endpoint_switches_a_fault_for_every_model(
    provider: StandIn,
) -> None:
    switched = await put(provider, {"kind": "status", "code": 500})
    faulty = [(await ask(provider, chat(model=m))).status for m in ("a", "b")]
    shown = await ask(provider, method="GET", path="/control/fault")
    await ask(provider, method="DELETE", path="/control/fault")
    after = await ask(provider, chat())

    assert switched.json == {"fault": {"kind": "status", "code": 500}}
    assert shown.json == switched.json
    assert faulty == [500, 500]
    assert after.status == 200


async def test_a_live_fault_reaches_the_other_endpoints_but_not_livez(
    provider: StandIn,
) -> None:
    provider.fault = Fault("status", code=500)

    models = await ask(provider, method="GET", path="/v1/models")
    vectors = await ask(
        provider, {"model": "any", "input": "one"}, path="/v1/embeddings"
    )
    alive = await ask(provider, method="GET", path="/livez")

    assert [models.status, vectors.status, alive.status] == [500, 500, 200]


async def test_times_limits_a_fault_to_the_next_requests(provider: StandIn) -> None:
    await put(provider, {"kind": "status", "code": 503, "times": 2})

    statuses = [(await ask(provider, chat())).status for _ in range(4)]

    assert statuses == [503, 503, 200, 200]
    assert provider.fault is None


async def test_a_live_fault_goes_before_the_one_a_model_names(
    provider: StandIn,
) -> None:
    provider.fault = Fault("status", code=500, times=1)
    model = "fault.status?code=429"

    statuses = [(await ask(provider, chat(model=model))).status for _ in range(2)]

    assert statuses == [500, 429]


async def test_clear_ends_a_fault_and_empties_the_log(provider: StandIn) -> None:
    provider.fault = Fault("status", code=500)
    await ask(provider, chat())
    provider.clear()

    assert provider.log == []
    assert (await ask(provider, chat())).status == 200


WRONG = [
    ("nonsense", "status"),
    ("status?colour=red", "retry_after_s"),
    ("status?code=200", "400"),
    ("status?code=many", "400"),
    ("status?times=2", "retry_after_s"),
    ("status?kind=cut", "retry_after_s"),
    ("cut?how=gently", "fin"),
    ("cut?after_tokens=-1", "0"),
    ("cut?after_tokens=1.5", "0"),
    ("keepalives?interval_s=0", "0.001"),
    ("slow_headers?delay_s=nan", "3600"),
    ("error_frame?done=perhaps", "true"),
]


@pytest.mark.parametrize(("name", "hint"), WRONG)
async def test_a_model_name_with_an_unknown_fault_gets_400_and_the_valid_ones(
    provider: StandIn, name: str, hint: str
) -> None:
    seen = await ask(provider, chat(model=f"fault.{name}"))

    assert seen.status == 400
    assert seen.json["error"]["code"] == "unknown_fault"
    assert hint in seen.json["error"]["message"]


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        ({"kind": "nonsense"}, "status"),
        ({"code": 500}, "status"),
        ({"kind": "status", "colour": "red"}, "retry_after_s"),
        ({"kind": "status", "times": 0}, "int from 1"),
        ({"kind": "status", "code": True}, "int from 400"),
        ({"kind": "status", "code": 500.5}, "int from 400"),
        ({"kind": "status", "code": None}, "int from 400"),
        ({"kind": "status", "error_code": 5}, "any text"),
        ({"kind": ["status"]}, "status"),
        ([], "status"),
    ],
)
async def test_the_control_endpoint_refuses_likewise_and_changes_nothing(
    provider: StandIn, body: Any, hint: str
) -> None:
    provider.fault = Fault("silence")

    seen = await put(provider, body)

    assert seen.status == 400
    assert any(hint in name for name in seen.json["error"]["valid"])
    assert provider.fault == Fault("silence")


async def test_the_control_endpoint_refuses_what_is_no_json(
    provider: StandIn,
) -> None:
    assert (await put(provider, b"{kind")).status == 400
    elsewhere = await ask(provider, method="POST", path="/control/nothing")
    assert elsewhere.status == 404


async def test_control_works_while_every_request_is_met_with_silence(
    provider: StandIn,
) -> None:
    provider.fault = Fault("silence")
    async with connected(provider) as wire:
        await wire.send(request(chat()))
        await provider.until(lambda p: p.requests_in_flight == 1)
        await ask(provider, method="DELETE", path="/control/fault")

        assert (await ask(provider, chat())).status == 200


def test_a_fault_in_python_is_checked_when_it_is_made() -> None:
    with pytest.raises(InvalidFault, match="after_tokens"):
        Fault("cut", delay_s=1)
    with pytest.raises(InvalidFault) as caught:
        Fault("nonsense")
    assert caught.value.valid == list(KINDS)


def test_parameters_that_were_not_given_have_their_defaults() -> None:
    assert Fault("cut") == Fault("cut", after_tokens=3, how="reset")
    assert fault_from_model("fault.cut?how=fin") == Fault("cut", how="fin")
    assert fault_from_model("gpt-4o-mini") is None


def test_every_kind_has_a_script_for_both_forms() -> None:
    early = {"status", "context_length", "content_filter", "garbled"}
    early |= service.AT_ONCE.keys()

    assert streamed.SCRIPTS.keys() | early == KINDS.keys()
    assert plain.SCRIPTS.keys() == streamed.SCRIPTS.keys()
