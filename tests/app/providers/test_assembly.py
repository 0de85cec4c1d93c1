"""A stream put together again is the answer that was streamed."""

import copy
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai._models import construct_type
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from app.errors import UpstreamError, UpstreamGarbled
from app.providers.assembly import ChatAssembly
from app.providers.openai import OpenAIProvider
from tests.app.json_strategies import answers, anything


def assembled(*chunks: dict[str, Any]) -> dict[str, Any]:
    assembly = ChatAssembly()
    for chunk in chunks:
        assembly.add(copy.deepcopy(chunk))
    return assembly.result()


def delta(fields: object, index: object = 0, **choice: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": fields, **choice}]}


def message(*chunks: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = assembled(*chunks)["choices"][0]["message"]
    return told


def called(index: int, **fields: Any) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, **fields}]}


def test_texts_are_put_together() -> None:
    assert message(
        delta({"role": "assistant", "content": ""}),
        delta({"content": "Hel"}),
        delta({"content": "lo"}),
        delta({}, finish_reason="stop"),
    ) == {"role": "assistant", "content": "Hello"}


def test_a_stream_of_nothing_is_an_answer_without_choices() -> None:
    assert assembled() == {"object": "chat.completion", "choices": []}


def test_names_are_replaced_and_never_run_together() -> None:
    told = message(
        delta(called(0, id="call_1", type="function", function={"name": "look"})),
        delta(called(0, id="call_1", type="function", function={"name": "look"})),
    )
    assert told["tool_calls"] == [
        {"id": "call_1", "type": "function", "function": {"name": "look"}}
    ]


def test_tool_calls_stand_in_the_order_of_their_index_without_it() -> None:
    told = message(
        delta(called(1, id="b", function={"name": "n", "arguments": "{"})),
        delta(called(0, id="a", function={"name": "m", "arguments": "["})),
        delta(called(1, function={"arguments": "}"})),
        delta(called(0, function={"arguments": "]"})),
    )
    assert told["tool_calls"] == [
        {"id": "a", "function": {"name": "m", "arguments": "[]"}},
        {"id": "b", "function": {"name": "n", "arguments": "{}"}},
    ]


def test_a_tool_call_without_an_index_is_a_call_of_its_own() -> None:
    told = message(
        delta(called(0, id="a")),
        delta({"tool_calls": [{"id": "b", "function": {"arguments": "{}"}}]}),
        delta({"tool_calls": [{"id": "c", "index": None}]}),
    )
    assert [one["id"] for one in told["tool_calls"]] == ["a", "b", "c"]
    assert all("index" not in one for one in told["tool_calls"])


def test_log_probabilities_that_come_after_a_null_are_kept() -> None:
    choice = assembled(
        delta({"role": "assistant"}, logprobs=None),
        delta(
            {"content": "a"}, logprobs={"content": [{"token": "a"}], "refusal": None}
        ),
        delta({"content": "b"}, logprobs={"content": [{"token": "b"}]}),
        delta({}, logprobs=None, finish_reason="stop"),
    )["choices"][0]
    assert choice["logprobs"] == {
        "content": [{"token": "a"}, {"token": "b"}],
        "refusal": None,
    }


def test_log_probabilities_that_are_never_given_stay_null() -> None:
    assert assembled(delta({}, logprobs=None))["choices"][0]["logprobs"] is None


def test_choices_are_kept_apart_and_in_order() -> None:
    choices = assembled(
        delta({"content": "b"}, index=1),
        delta({"content": "a"}, index=0),
        delta({"content": "B"}, index=1, finish_reason="length"),
        delta(None, index=0, finish_reason="stop"),
    )["choices"]
    assert choices == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "a"},
            "finish_reason": "stop",
        },
        {
            "index": 1,
            "message": {"role": "assistant", "content": "bB"},
            "finish_reason": "length",
        },
    ]


def test_a_choice_without_an_index_is_the_first() -> None:
    assert (
        message(
            {"choices": [{"delta": {"content": "a"}}]},
            delta({"content": "b"}, index=None),
        )["content"]
        == "ab"
    )


def test_usage_and_unknown_fields_are_kept() -> None:
    answer = assembled(
        {"id": "x", "object": "chat.completion.chunk", "usage": None, "choices": []},
        delta({"content": "a", "x_new": {"n": 1, "why": "a"}}, x_choice="c"),
        delta({"x_new": {"n": 2, "why": "b"}}, x_choice=None),
        {"choices": [], "usage": {"total_tokens": 5}, "x_top": [1], "id": None},
    )
    assert answer["id"] == "x"
    assert answer["object"] == "chat.completion"
    assert answer["usage"] == {"total_tokens": 5}
    assert answer["x_top"] == [1]
    assert answer["choices"][0]["x_choice"] == "c"
    assert answer["choices"][0]["message"]["x_new"] == {"n": 2, "why": "ab"}


def test_a_field_that_changes_its_type_takes_the_last_value() -> None:
    told = message(
        delta({"a": "text", "b": [1], "c": {"d": 1}, "e": "x", "f": None}),
        delta({"a": [1], "b": {"d": 1}, "c": "text", "e": None, "f": 1}),
    )
    assert told | {"role": 0, "content": 0} == {
        "role": 0,
        "content": 0,
        "a": [1],
        "b": {"d": 1},
        "c": "text",
        "e": "x",
        "f": 1,
    }


def test_items_of_other_kinds_among_indexed_ones_are_kept() -> None:
    told = message(
        delta({"parts": ["a", {"index": 0, "t": "x"}]}),
        delta({"parts": [{"index": 0, "t": "y"}, 7]}),
    )
    assert told["parts"] == ["a", {"index": 0, "t": "xy"}, 7]


def test_the_chunks_are_left_as_they_were() -> None:
    chunks = [delta(called(0, id="a")), delta({"list": [1], "deep": {"a": [1]}})]
    before = copy.deepcopy(chunks)
    assembly = ChatAssembly()
    for chunk in chunks * 2:
        assembly.add(chunk)
    assembly.result()
    assert chunks == before


@pytest.mark.parametrize(
    "chunk",
    [
        delta({}, index="0"),
        delta({}, index=[0]),
        delta({}, index=True),
        delta({}, index=1.5),
        delta("text"),
        delta([1]),
        delta({}, logprobs="many"),
        delta({}, logprobs=[1]),
        delta({"tool_calls": "many"}),
        delta({"tool_calls": {"index": 0}}),
        delta({"tool_calls": ["one"]}),
        delta(called("0")),  # type: ignore[arg-type]  # as a provider should not
        {"choices": ["text"]},
        {"choices": "text"},
    ],
    ids=repr,
)
def test_a_chunk_of_another_shape_is_garbled(chunk: dict[str, Any]) -> None:
    with pytest.raises(UpstreamGarbled):
        assembled(delta({"content": "a"}), chunk)


# --- Any answer, cut anywhere -------------------------------------------------------

texts = st.text(max_size=12)
calls = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.text(min_size=1, max_size=8),
            "type": st.just("function"),
            "function": st.fixed_dictionaries(
                {"name": st.text(min_size=1, max_size=8), "arguments": texts}
            ),
        }
    ),
    min_size=1,
    max_size=3,
)
messages = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": st.none() | texts},
    optional={"refusal": st.none() | texts, "tool_calls": calls, "xq": texts},
)
entries = st.lists(
    st.fixed_dictionaries({"token": texts, "logprob": st.floats(-9, 0)}), max_size=3
)
logprobs = st.fixed_dictionaries({"content": entries, "refusal": st.none() | entries})
finish_reasons = st.sampled_from(["stop", "length", "tool_calls"])
tops = st.fixed_dictionaries(
    {
        "id": texts,
        "object": st.just("chat.completion"),
        "created": st.integers(0, 10**10),
        "model": texts,
        "usage": st.fixed_dictionaries({"total_tokens": st.integers(0, 99)}),
    },
    optional={"system_fingerprint": texts, "xtop": anything.filter(bool)},
)
contents = st.tuples(messages, finish_reasons, st.none() | logprobs)


def whole_answers(choices: int) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda top, drawn: {
            **top,
            "choices": [
                {"index": i, "message": m, "finish_reason": f, "logprobs": p}
                for i, (m, f, p) in enumerate(drawn)
            ],
        },
        tops,
        st.lists(contents, min_size=1, max_size=choices),
    )


def pieces_of(text: str, draw: st.DrawFn) -> list[str]:
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=2)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def streamed_call(index: int, call: dict[str, Any], draw: st.DrawFn) -> list[Any]:
    function = call["function"]
    first = {**call, "index": index, "function": {**function, "arguments": ""}}
    rest = [
        {"index": index, "function": {"arguments": piece}}
        for piece in pieces_of(function["arguments"], draw)
    ]
    return [{"tool_calls": [one]} for one in (first, *rest)]


def streamed_choice(choice: dict[str, Any], draw: st.DrawFn) -> list[dict[str, Any]]:
    told = choice["message"]
    deltas: list[Any] = [{"role": told["role"], "content": None}]
    for name, value in told.items():
        if name == "tool_calls":
            for index, call in enumerate(value):
                deltas += streamed_call(index, call, draw)
        elif name != "role":
            pieces = [None] if value is None else pieces_of(value, draw)
            deltas += [{name: piece} for piece in pieces]
    chunks = [{"index": choice["index"], "delta": one} for one in deltas]
    for one in chunks:
        one |= {"finish_reason": None, "logprobs": None}
    probabilities = choice["logprobs"]
    if probabilities is not None:
        chunks[-1]["logprobs"] = {**probabilities, "content": []}
        for entry in probabilities["content"]:
            chunks.append(
                {
                    "index": choice["index"],
                    "delta": {},
                    "logprobs": {"content": [entry], "refusal": None},
                    "finish_reason": None,
                }
            )
    last = {"index": choice["index"], "delta": {}, "logprobs": None}
    return [*chunks, {**last, "finish_reason": choice["finish_reason"]}]


@st.composite
def streams(
    draw: st.DrawFn, choices: int = 3
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """An answer, and the chunks that a provider might send for it."""
    answer = draw(whole_answers(choices))
    top = {n: v for n, v in answer.items() if n not in ("choices", "usage")}
    top["object"] = "chat.completion.chunk"
    queues = [streamed_choice(choice, draw) for choice in answer["choices"]]
    chunks = []
    while any(queues):  # the choices of an answer come interleaved
        queue = draw(st.sampled_from([queue for queue in queues if queue]))
        chunks.append({**top, "choices": [queue.pop(0)], "usage": None})
    return answer, [*chunks, {**top, "choices": [], "usage": answer["usage"]}]


@given(streamed=streams())
def test_an_answer_cut_anywhere_is_put_together_again(
    streamed: tuple[dict[str, Any], list[dict[str, Any]]],
) -> None:
    answer, chunks = streamed
    assert assembled(*chunks) == answer


@given(streamed=streams(choices=1))
def test_it_is_what_openais_own_client_makes_of_the_stream(
    streamed: tuple[dict[str, Any], list[dict[str, Any]]],
) -> None:
    _, chunks = streamed
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for chunk in chunks:
        state.handle_chunk(construct_type(type_=ChatCompletionChunk, value=chunk))
    (theirs,) = state.current_completion_snapshot.choices
    (ours,) = assembled(*chunks)["choices"]
    assert ours["message"]["content"] == theirs.message.content
    assert ours["finish_reason"] == theirs.finish_reason
    assert [
        (one["id"], one["function"]["name"], one["function"]["arguments"])
        for one in ours["message"].get("tool_calls", ())
    ] == [
        (one.id, one.function.name, one.function.arguments)
        for one in theirs.message.tool_calls or ()
    ]


@given(chunks=st.lists(answers, max_size=3))
def test_whatever_the_dialect_lets_through_makes_an_answer_or_a_domain_error(
    chunks: list[dict[str, Any]],
) -> None:
    dialect, assembly = OpenAIProvider(), ChatAssembly()
    try:
        for chunk in chunks:
            parsed = dialect.parse_event(b"", orjson.dumps(chunk)).data
            assert parsed is not None
            assembly.add(parsed)
        orjson.dumps(assembly.result())
    except UpstreamError:
        return
