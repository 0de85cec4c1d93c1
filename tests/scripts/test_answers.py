"""What counts as an answer in the demo: all tokens, once, in order, an honest end."""

import json

import pytest

from loadtest.provider.answers import words
from scripts.demo.answers import TOKENS, Ending, StreamHeard, Verdict, judge_plain

WORDS = words("alpha", TOKENS)


def content(text: str) -> str:
    return f"data: {json.dumps({'choices': [{'delta': {'content': text}}]})}"


def error(code: str) -> str:
    return f"data: {json.dumps({'error': {'code': code}})}"


USAGE = f"data: {json.dumps({'choices': [], 'usage': {}})}"
ROLE = f"data: {json.dumps({'choices': [{'delta': {'role': 'assistant'}}]})}"
DONE = "data: [DONE]"
WHOLE = [content(word) for word in WORDS]


def judged(*lines: str) -> Verdict:
    heard = StreamHeard()
    for line in lines:
        heard.hear(line)
    return heard.verdict("alpha")


def plain(text: object) -> bytes:
    return json.dumps({"choices": [{"message": {"content": text}}]}).encode()


def test_a_stream_with_every_token_and_its_sentinel_is_answered() -> None:
    said = judged(": hello", ROLE, *WHOLE, "", USAGE, DONE)
    assert said.ending is Ending.ANSWERED


def test_a_stream_that_says_it_broke_is_broken_and_no_answer() -> None:
    assert judged(*WHOLE[:7], error("stream_broken")).ending is Ending.BROKEN


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([*WHOLE[:3], *WHOLE[4:], DONE], "token 3 is alpha-4, not alpha-3"),
        ([*WHOLE[:3], *WHOLE[2:], DONE], "token 3 is alpha-2, not alpha-3"),
        ([*WHOLE[:3], content(" beta-3"), DONE], "token 3 is beta-3, not alpha-3"),
        ([*WHOLE, content(" alpha-20"), DONE], "token 20 is alpha-20, not the end"),
        ([*WHOLE[:-1], DONE], "token 19 is missing, not alpha-19"),
        ([DONE], "token 0 is missing, not alpha-0"),
        ([*WHOLE], "without [DONE]"),
        ([*WHOLE[:5]], "without [DONE]"),
        ([*WHOLE[:5], error("overloaded")], "ended with overloaded"),
        ([*WHOLE[:5], error("stream_broken"), DONE], "after the last one"),
        ([*WHOLE, DONE, DONE], "after the last one"),
        ([WHOLE[1], error("stream_broken")], "token 0 is alpha-1, not alpha-0"),
        (["data: {", *WHOLE, DONE], "makes no sense"),
        (["data: 7", *WHOLE, DONE], "makes no sense"),
        (["data: {}", *WHOLE, DONE], "makes no sense"),
    ],
)
def test_a_stream_with_anything_amiss_has_failed(lines: list[str], why: str) -> None:
    said = judged(*lines)
    assert said.ending is Ending.FAILED
    assert why in said.why


def test_a_plain_answer_is_answered_when_it_is_whole() -> None:
    assert judge_plain(plain("".join(WORDS)), "alpha").ending is Ending.ANSWERED


@pytest.mark.parametrize(
    "body",
    [
        plain("".join(WORDS[:-1])),
        plain("".join(words("beta", TOKENS))),
        plain("".join(WORDS).replace(" ", "  ")),
        plain(None),
        b"{}",
        b"not JSON",
    ],
)
def test_a_plain_answer_with_anything_amiss_has_failed(body: bytes) -> None:
    assert judge_plain(body, "alpha").ending is Ending.FAILED
