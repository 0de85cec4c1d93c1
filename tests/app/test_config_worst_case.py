"""How often and how long a route may try, at the worst."""

from app.config import WorstCase, worst_case
from tests.app.configuration import MINIMAL, config_of


def worst_of(policies: str, text: str = MINIMAL) -> WorstCase:
    config = config_of(text + policies)
    return worst_case(config, config.routes["chat"])


def test_every_target_may_be_asked_three_times() -> None:
    worst = worst_of("policies: {default: {max_attempts: 10}}")

    assert worst.attempts == 2 * 3


def test_attempts_are_capped_by_the_policy() -> None:
    assert worst_of("policies: {default: {max_attempts: 2}}").attempts == 2


def test_the_longest_attempts_queue_stay_silent_and_are_waited_for() -> None:
    worst = worst_of(
        "policies: {default: {max_attempts: 3, timeouts: {first_token_s: 5},"
        " bulkhead: {wait_s: 0.5}, retry: {throttle_base_s: 1, cap_s: 5}}}"
    )

    # the second retry of each target follows a pause of 2 s, the first one of 1 s
    assert worst.first_token_s == (0.5 + 5 + 2) * 2 + (0.5 + 5 + 1)


def test_without_a_queue_nothing_waits_for_a_place() -> None:
    worst = worst_of(
        "policies: {default: {max_attempts: 1, timeouts: {first_token_s: 5},"
        " bulkhead: {queue: 0, wait_s: 9}, retry: {throttle_base_s: 1, cap_s: 1}}}"
    )

    assert worst.first_token_s == 5 + 1


def test_the_deadline_ends_everything() -> None:
    worst = worst_of("policies: {default: {deadline_s: 15}}")

    assert (worst.first_token_s, worst.answer_s) == (15, 15)


def test_a_target_behind_silence_as_long_as_the_deadline_is_never_asked() -> None:
    assert worst_of("policies: {default: {deadline_s: 10}}").never_asked == ("beta/m",)
    assert worst_of("policies: {default: {deadline_s: 11}}").never_asked == ()


def test_a_target_counts_with_its_own_policy() -> None:
    text = MINIMAL.replace("alpha, model: m}", "alpha, model: m, policy: brief}")

    worst = worst_of(
        "policies: {default: {deadline_s: 10}, brief: {timeouts: {first_token_s: 3}}}",
        text,
    )

    assert worst.never_asked == ()


def test_where_the_order_is_drawn_nobody_is_known_to_be_never_asked() -> None:
    drawn = MINIMAL.replace("    targets:", "    strategy: weighted\n    targets:")

    assert worst_of("policies: {default: {deadline_s: 10}}", drawn).never_asked == ()
