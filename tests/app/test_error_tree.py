"""Every error that the gateway raises on purpose."""

import re
from collections.abc import Iterator

import pytest

from app import errors
from app.errors import AppError, CallerError, UpstreamError, UpstreamRefused, classify
from resilience.outcome import Condition, Counts, Disposition, Pace

RETRY, NEXT, GIVE_UP = Disposition.RETRY, Disposition.NEXT_TARGET, Disposition.GIVE_UP
FAILURE, NEUTRAL = Counts.FAILURE, Counts.NEUTRAL


def tree(root: type[AppError]) -> Iterator[type[AppError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


EVERY = sorted(set(tree(AppError)), key=lambda kind: kind.__name__)

# How an attempt that failed with it counts, and what may be done (resilience.md).
VERDICTS: dict[type[UpstreamError], tuple[Counts, Disposition, Pace]] = {
    UpstreamError: (FAILURE, RETRY, Pace.TRANSIENT),
    errors.UpstreamUnavailable: (FAILURE, RETRY, Pace.TRANSIENT),
    errors.UpstreamGarbled: (FAILURE, RETRY, Pace.TRANSIENT),
    errors.StreamBroken: (FAILURE, RETRY, Pace.TRANSIENT),
    errors.UpstreamOverloaded: (FAILURE, RETRY, Pace.OVERLOADED),
    errors.UpstreamThrottled: (NEUTRAL, RETRY, Pace.THROTTLED),
    errors.UpstreamAuthFailed: (NEUTRAL, NEXT, Pace.TRANSIENT),
    errors.UpstreamPoolFull: (NEUTRAL, NEXT, Pace.TRANSIENT),
    UpstreamRefused: (NEUTRAL, GIVE_UP, Pace.TRANSIENT),
    errors.ContextTooLong: (NEUTRAL, NEXT, Pace.TRANSIENT),
    errors.ContentFiltered: (NEUTRAL, NEXT, Pace.TRANSIENT),
}


@pytest.mark.parametrize("kind", EVERY)
def test_every_error_has_a_code_a_type_and_a_sentence_for_its_reader(
    kind: type[AppError],
) -> None:
    error = kind()
    for name in (error.public_code, error.type):
        assert re.fullmatch(r"[a-z][a-z_]*", name)
    assert error.public_message.endswith(".")
    assert kind.__doc__


@pytest.mark.parametrize("kind", EVERY)
def test_what_is_for_the_log_is_not_for_its_reader(kind: type[AppError]) -> None:
    if issubclass(kind, errors.AllTargetsFailed):
        error: AppError = kind([("alpha/m", KeyError("secret"))])
    else:
        error = kind(detail="secret")
    assert "secret" in (error.detail or "")
    assert "secret" not in error.public_message
    assert "secret" not in str(error)


def test_a_message_of_its_own_replaces_the_usual_one() -> None:
    error = errors.InvalidRequest("'n' is odd.", param="n", retry_after_s=1.5)
    assert error.public_message == "'n' is odd."
    assert (error.param, error.retry_after_s) == ("n", 1.5)
    assert errors.InvalidRequest("").public_message == errors.InvalidRequest.message


def test_the_verdicts_are_complete() -> None:
    assert set(VERDICTS) == set(tree(UpstreamError))


@pytest.mark.parametrize("kind", VERDICTS)
def test_an_upstream_error_says_how_it_counts_and_what_may_be_done(
    kind: type[UpstreamError],
) -> None:
    verdict = classify(kind(target="alpha/m"))
    assert (verdict.counts, verdict.disposition, verdict.pace) == VERDICTS[kind]
    assert verdict.reason == kind.reason
    larger = kind is errors.ContextTooLong
    assert (verdict.condition is Condition.LARGER_CONTEXT) is larger


def test_a_named_pause_reaches_the_verdict() -> None:
    assert classify(errors.UpstreamThrottled(retry_after_s=3)).retry_after_s == 3


@pytest.mark.parametrize("kind", sorted(set(tree(CallerError)), key=str))
def test_the_callers_mistakes_stop_everything_and_count_against_nobody(
    kind: type[CallerError],
) -> None:
    verdict = classify(kind())
    assert (verdict.counts, verdict.disposition) == (NEUTRAL, GIVE_UP)
    assert verdict.reason == kind.code


def test_a_provider_s_own_code_is_passed_on() -> None:
    refused = UpstreamRefused("no", upstream_code="bad_seed", status=400)
    assert refused.public_code == "bad_seed"
    assert refused.status == 400


def test_an_exhausted_chain_tells_the_log_what_each_target_said() -> None:
    failed = errors.AllTargetsFailed(
        [
            ("a/m", errors.UpstreamUnavailable(detail="status 500: disk full")),
            ("b/m", TimeoutError("too late")),
        ]
    )
    assert failed.detail == (
        "a/m: UpstreamUnavailable: status 500: disk full; b/m: TimeoutError: too late"
    )
