"""How the gateway's own errors, and bugs nobody foresaw, count against a provider."""

import asyncio

import pytest

from app.errors import InternalError, InvalidRequest, UpstreamUnavailable, classify
from app.gateway.outcomes import client_error
from resilience.errors import ChainExhausted, IdleTimeout
from resilience.outcome import Counts, Disposition

BUGS = (TypeError("a bug"), KeyError("a bug"), OSError("a bug"), InternalError())


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: type(bug).__name__)
def test_a_bug_of_ours_counts_against_no_provider_but_another_may_be_asked(
    bug: Exception,
) -> None:
    verdict = classify(bug)

    assert verdict.counts is Counts.NEUTRAL
    assert verdict.disposition is Disposition.NEXT_TARGET
    assert verdict.reason == "internal_error"


def test_the_librarys_own_errors_and_cancellation_are_left_to_the_library() -> None:
    assert classify(IdleTimeout(1)).counts is Counts.FAILURE
    assert classify(asyncio.CancelledError()).reason == "cancelled"


def test_an_error_of_the_caller_is_the_same_everywhere() -> None:
    assert classify(InvalidRequest()).disposition is Disposition.GIVE_UP


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: type(bug).__name__)
def test_a_bug_that_every_target_trips_over_is_told_as_a_bug(bug: Exception) -> None:
    told = client_error(ChainExhausted([("alpha/m", bug), ("beta/m", bug)]))

    assert isinstance(told, InternalError)
    assert "a bug" not in told.public_message


def test_a_bug_beside_a_failure_is_told_as_a_failure() -> None:
    causes = [("alpha/m", TypeError()), ("beta/m", UpstreamUnavailable())]

    told = client_error(ChainExhausted(causes))

    assert isinstance(told, Exception)
    assert not isinstance(told, InternalError)
