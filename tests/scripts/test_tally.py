"""How the demo counts: each request once, and no failure under another name."""

import pytest

from scripts.demo.answers import ANSWERED, Ending, Verdict, failed
from scripts.demo.scenario import breaker_state
from scripts.demo.tally import Phase, Result, Tally

BROKEN = Verdict(Ending.BROKEN)
KILL_S, BACK_S = 10.0, 20.0


def result(
    sent_at_s: float,
    ended_at_s: float,
    provider: str | None = "alpha",
    verdict: Verdict = ANSWERED,
    *,
    stream: bool = True,
    attempts: int = 1,
) -> Result:
    return Result(stream, sent_at_s, ended_at_s, verdict, provider, attempts)


def tally(*results: Result) -> Tally:
    return Tally("alpha", list(results), killed_at_s=KILL_S, back_at_s=BACK_S)


def test_a_stream_that_was_being_delivered_at_the_kill_is_broken_not_failed() -> None:
    counted = tally(result(9.8, 10.1, verdict=BROKEN))
    assert (counted.answered, counted.broken, counted.failures) == (0, 1, [])


@pytest.mark.parametrize(
    "unexplained",
    [
        result(3.0, 3.4, verdict=BROKEN),
        result(12.0, 12.4, verdict=BROKEN),
        result(9.8, 10.1, "beta", BROKEN),
        result(22.0, 22.4, verdict=BROKEN),
    ],
    ids=["before the kill", "after the kill", "of another provider", "when back"],
)
def test_a_broken_stream_that_the_kill_does_not_explain_is_a_failure(
    unexplained: Result,
) -> None:
    counted = tally(unexplained)
    assert (counted.answered, counted.broken) == (0, 0)
    assert counted.failures == [unexplained]


def test_a_plain_answer_lost_at_the_kill_is_a_failure() -> None:
    counted = tally(result(9.8, 10.1, None, failed("502"), stream=False))
    assert len(counted.failures) == 1


def test_every_request_is_counted_exactly_once() -> None:
    counted = tally(
        result(1.0, 1.5),
        result(9.8, 10.1, verdict=BROKEN),
        result(9.9, 10.9, "beta", attempts=3),
        result(11.0, 11.1, None, failed("502")),
    )
    total = counted.answered + counted.broken + len(counted.failures)
    assert total == len(counted.results)
    second = counted.second(counted.results)
    assert (second.answered, second.broken, second.failed) == (2, 1, 1)
    assert second.providers == {"alpha": 1, "beta": 1}


def test_what_was_in_flight_at_the_kill_is_told_apart() -> None:
    counted = tally(
        result(9.0, 9.5),
        result(9.6, 10.1, verdict=BROKEN),
        result(9.6, 10.02),  # had left alpha as a whole
        result(9.9, 10.6, "beta", stream=False, attempts=2),
        result(10.1, 10.6, "beta"),
    )
    kill = counted.at_the_kill()
    assert (kill.in_flight, kill.delivering, kill.saved) == (3, 2, 1)


def test_answers_are_shown_by_phase_and_provider() -> None:
    counted = tally(
        result(1.0, 1.5), result(11.0, 11.5, "beta"), result(20.1, 20.6), result(21, 22)
    )
    assert counted.answered_by(Phase.WELL) == {"alpha": 1}
    assert counted.answered_by(Phase.KILLED) == {"beta": 1}
    assert counted.answered_by(Phase.BACK) == {"alpha": 2}
    assert counted.used_again_after_s() == pytest.approx(0.6)


def test_nothing_is_claimed_of_what_was_not_seen() -> None:
    early = Tally("alpha", [result(1.0, 1.5)])
    assert early.breaker_took_s() is None
    assert early.used_again_after_s() is None
    assert early.at_the_kill().in_flight == 0


def test_the_state_of_a_breaker_is_read_from_the_metrics() -> None:
    name = "llm_gateway_circuit_breaker_state"
    metrics = (
        f"# TYPE {name} gauge\n"
        f'{name}{{model="m",provider="beta",state="closed"}} 1.0\n'
        f'{name}{{model="m",provider="alpha",state="closed"}} 0.0\n'
        f'{name}{{model="m",provider="alpha",state="half_open"}} 1.0\n'
    )
    assert breaker_state(metrics, "alpha") == "half_open"
    assert breaker_state(metrics, "beta") == "closed"
    assert breaker_state(metrics, "gamma") == "?"
