"""Arbitrary JSON, and arbitrary JSON in the shape of a provider's answers."""

from typing import Any

import orjson
from hypothesis import strategies as st

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)


def _often_wrong(right: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return right | anything


_tool_calls = st.lists(
    _often_wrong(
        st.fixed_dictionaries(
            {},
            optional={
                "index": _often_wrong(st.integers(0, 2)),
                "id": anything,
                "function": _often_wrong(
                    st.fixed_dictionaries({"arguments": _often_wrong(st.text())})
                ),
            },
        )
    ),
    max_size=3,
)
_choices = st.lists(
    _often_wrong(
        st.fixed_dictionaries(
            {},
            optional={
                "index": _often_wrong(st.integers(0, 2)),
                "delta": _often_wrong(
                    st.fixed_dictionaries(
                        {},
                        optional={
                            "role": anything,
                            "content": anything,
                            "tool_calls": _often_wrong(_tool_calls),
                        },
                    )
                ),
                "logprobs": anything,
                "finish_reason": anything,
            },
        )
    ),
    max_size=3,
)
errors = st.fixed_dictionaries(
    {},
    optional={
        "code": st.sampled_from(
            ["context_length_exceeded", "content_filter", "insufficient_quota"]
        )
        | st.integers(0, 999)
        | anything,
        "message": anything,
        "param": anything,
    },
)
answers = st.fixed_dictionaries(
    {},
    optional={
        "id": anything,
        "choices": _often_wrong(_choices),
        "usage": _often_wrong(
            st.fixed_dictionaries(
                {},
                optional={
                    "prompt_tokens": anything,
                    "prompt_tokens_details": anything,
                    "completion_tokens": anything,
                    "completion_tokens_details": anything,
                },
            )
        ),
        "error": _often_wrong(errors),
    },
)

bodies = (answers | anything).map(orjson.dumps) | st.binary(max_size=40)
