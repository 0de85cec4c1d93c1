"""A permit tells its breaker how the attempt ended: once, and no more than that."""

from collections.abc import Callable

import pytest

from resilience.outcome import Counts
from resilience.permit import Permit


@pytest.mark.parametrize(
    ("settle", "told"),
    [
        (lambda permit: permit.ok(), (Counts.SUCCESS, False, None)),
        (lambda permit: permit.ok(slow=True), (Counts.SUCCESS, True, None)),
        (lambda permit: permit.fail(), (Counts.FAILURE, False, None)),
        (
            lambda permit: permit.fail(slow=True, retry_after_s=3.0),
            (Counts.FAILURE, True, 3.0),
        ),
        (lambda permit: permit.neutral(), (Counts.NEUTRAL, False, None)),
        (lambda permit: permit.neutral(slow=True), (Counts.NEUTRAL, True, None)),
        (lambda permit: permit.cancel(), (Counts.NEUTRAL, False, None)),
    ],
)
def test_it_tells_how_the_attempt_ended_once(
    settle: Callable[[Permit], None], told: tuple[Counts, bool, float | None]
) -> None:
    heard: list[object] = []
    permit = Permit("state", 5.0, lambda *args: heard.append(args))
    assert (permit.state, permit.issued_at_s, permit.opened) == ("state", 5.0, False)

    settle(permit)
    assert heard == [(permit, *told)]

    with pytest.raises(RuntimeError, match=r"^a permit is settled exactly once$"):
        settle(permit)
    assert len(heard) == 1
