"""The priority gate: who is turned away first, and who never is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from resilience.errors import Refused, Shed
from resilience.outcome import Counts, classify
from resilience.shedding import Entry, Priority, PriorityGate
from resilience.testing import ManualClock
from tests.resilience.scenery import middle

CRITICAL, DEFAULT, SHEDDABLE = Priority.CRITICAL, Priority.DEFAULT, Priority.SHEDDABLE


class Door:
    """A gate with ten places: one is the critical class's, two more the default's."""

    def __init__(self, limit: int = 10) -> None:
        self.clock = ManualClock()
        self.gate = PriorityGate("service", self.clock, limit=limit, uniform=middle)

    def enter(self, priority: Priority = DEFAULT, key: str = "k") -> Entry:
        return self.gate.admit(priority, key)

    def shed(self, priority: Priority = DEFAULT, key: str = "k") -> Shed:
        with pytest.raises(Shed) as caught:
            self.gate.admit(priority, key)
        return caught.value

    def fill(self, priority: Priority, key: str = "k") -> list[Entry]:
        """Let as many in as go in."""
        entries = []
        while True:
            try:
                entries.append(self.enter(priority, key))
            except Shed:
                return entries


@pytest.mark.parametrize(
    ("priority", "room"), [(CRITICAL, 10), (DEFAULT, 9), (SHEDDABLE, 7)]
)
def test_each_class_may_fill_what_is_not_reserved_above_it(
    priority: Priority, room: int
) -> None:
    door = Door(limit=10)

    assert len(door.fill(priority)) == room
    assert door.gate.in_flight == door.gate.in_flight_of(priority) == room


def test_a_shed_call_is_told_why_by_whom_and_when_to_come_again() -> None:
    door = Door()
    door.fill(SHEDDABLE)

    shed = door.shed(SHEDDABLE)

    assert isinstance(shed, Refused)
    assert (shed.target, shed.priority, shed.cause) == (
        "service",
        SHEDDABLE,
        "in_flight",
    )
    assert shed.retry_after_s == 1.5  # drawn from one second to two
    assert (classify(shed).counts, classify(shed).reason) == (Counts.NEUTRAL, "shed")


def test_the_lowest_class_goes_first_as_it_fills_up() -> None:
    door = Door(limit=10)
    door.fill(SHEDDABLE)
    door.shed(SHEDDABLE)

    assert len(door.fill(DEFAULT)) == 2
    assert len(door.fill(CRITICAL)) == 1
    for priority in Priority:
        assert door.shed(priority).cause == "in_flight"
    assert door.gate.in_flight == 10


def test_a_place_that_becomes_free_goes_to_the_higher_class() -> None:
    door = Door(limit=10)
    entries = door.fill(SHEDDABLE)
    door.fill(DEFAULT)

    entries.pop().release()

    door.shed(SHEDDABLE)
    door.enter(DEFAULT)


def test_an_entry_is_left_once_however_often_it_is_released() -> None:
    door = Door()
    first, _ = door.enter(), door.enter()

    with first:
        assert door.gate.in_flight == 2
    first.release()

    assert door.gate.in_flight == 1


def test_reserves_can_be_chosen_and_none_is_one_choice() -> None:
    gate = PriorityGate("service", ManualClock(), limit=4, reserves={})

    for _ in range(4):
        gate.admit(SHEDDABLE, "k")
    with pytest.raises(Shed):
        gate.admit(CRITICAL, "k")


@pytest.mark.parametrize(
    ("limit", "reserves"),
    [(0, {}), (10, {CRITICAL: -0.1}), (10, {CRITICAL: 0.6, DEFAULT: 0.6})],
)
def test_reserves_that_do_not_fit_into_the_limit_are_refused(
    limit: int, reserves: dict[Priority, float]
) -> None:
    with pytest.raises(ValueError, match="reserves"):
        PriorityGate("service", ManualClock(), limit=limit, reserves=reserves)


@pytest.mark.parametrize(
    ("lag_s", "served"),
    [
        (0.099, {CRITICAL, DEFAULT, SHEDDABLE}),
        (0.1, {CRITICAL, DEFAULT}),
        (0.2, {CRITICAL}),
        (0.4, set()),
    ],
)
def test_the_later_the_loop_the_higher_the_class_that_is_shed(
    lag_s: float, served: set[Priority]
) -> None:
    door = Door()
    door.gate.record_lag(lag_s)

    for priority in Priority:
        if priority in served:
            door.enter(priority)
        else:
            assert door.shed(priority).cause == "loop_lag"


def test_a_lag_that_nobody_measures_any_more_is_forgotten() -> None:
    door = Door()
    door.gate.record_lag(1.0)
    door.clock.advance(4.9)
    door.shed(CRITICAL)

    door.clock.advance(0.2)

    door.enter(SHEDDABLE)


class TestFairness:
    """Within a class, between keys."""

    def test_a_key_may_use_everything_while_nobody_else_asks(self) -> None:
        assert len(Door(limit=10).fill(CRITICAL, "greedy")) == 10

    def test_while_another_waits_the_greedy_get_no_more_than_their_share(self) -> None:
        door = Door(limit=10)
        entries = door.fill(CRITICAL, "greedy")
        door.shed(CRITICAL, "modest")

        entries.pop().release()
        assert door.shed(CRITICAL, "greedy").cause == "fair_share"
        door.enter(CRITICAL, "modest")

    def test_once_the_waiting_are_in_what_is_left_is_anybodys(self) -> None:
        door = Door(limit=10)
        entries = door.fill(CRITICAL, "greedy")
        door.shed(CRITICAL, "modest")
        for entry in entries[:2]:
            entry.release()
        door.enter(CRITICAL, "modest")

        door.enter(CRITICAL, "greedy")

        assert door.gate.in_flight == 10

    def test_who_waits_and_does_not_come_again_is_not_expected_for_ever(self) -> None:
        door = Door(limit=10)
        entries = door.fill(CRITICAL, "greedy")
        door.shed(CRITICAL, "gone")
        entries.pop().release()
        door.clock.advance(2.9)
        door.shed(CRITICAL, "greedy")

        door.clock.advance(0.2)

        door.enter(CRITICAL, "greedy")

    def test_who_waits_in_another_class_is_no_reason(self) -> None:
        door = Door(limit=10)
        entries = door.fill(SHEDDABLE, "greedy")
        door.gate.record_lag(0.2)
        door.shed(DEFAULT, "modest")
        door.gate.record_lag(0.0)

        entries.pop().release()

        door.enter(SHEDDABLE, "greedy")

    def test_the_share_is_of_what_the_class_may_use_now(self) -> None:
        door = Door(limit=10)
        for _ in range(6):
            door.enter(CRITICAL, "high")
        entries = door.fill(DEFAULT, "greedy")
        assert len(entries) == 3
        door.shed(DEFAULT, "modest")

        entries.pop().release()  # two are the share of each: 9 - 6, halved

        assert door.shed(DEFAULT, "greedy").cause == "fair_share"
        door.enter(DEFAULT, "modest")

    def test_those_who_have_their_share_do_not_keep_each_other_from_the_rest(
        self,
    ) -> None:
        door = Door(limit=12)
        gate = PriorityGate("service", door.clock, limit=12, reserves={})
        gate.admit(DEFAULT, "content")
        first = [gate.admit(DEFAULT, "a") for _ in range(11)]
        for key in ("a", "b"):
            for _ in range(20):
                with pytest.raises(Shed):
                    gate.admit(DEFAULT, key)
        for entry in first[:6]:
            entry.release()

        for _ in range(4):
            gate.admit(DEFAULT, "b")
        gate.admit(DEFAULT, "b")
        gate.admit(DEFAULT, "a")

        assert gate.in_flight == 12, "five and six are above the share of four"

    def test_a_key_waits_until_as_many_came_in_as_were_shed(self) -> None:
        door = Door(limit=10)
        entries = door.fill(CRITICAL, "greedy")
        for _ in range(2):
            door.shed(CRITICAL, "modest")
        for entry in entries[:3]:
            entry.release()

        door.enter(CRITICAL, "modest")
        assert door.shed(CRITICAL, "greedy").cause == "fair_share"
        door.enter(CRITICAL, "modest")
        door.enter(CRITICAL, "greedy")

    def test_a_newcomer_below_its_share_gets_in_though_others_wait(self) -> None:
        door = Door(limit=10)
        entries = door.fill(CRITICAL, "greedy")
        door.shed(CRITICAL, "waiting")
        for entry in entries[:2]:
            entry.release()

        door.enter(CRITICAL, "new")

    @settings(deadline=None, max_examples=50)
    @given(
        limit=st.integers(4, 20),
        greedy=st.integers(6, 40),
        lifetimes=st.lists(st.integers(1, 5), min_size=1, max_size=10),
    )
    def test_a_key_that_asks_seldom_gets_its_share_beside_one_that_asks_often(
        self, limit: int, greedy: int, lifetimes: list[int]
    ) -> None:
        clock = ManualClock()
        gate = PriorityGate("service", clock, limit=limit, reserves={})
        held: list[tuple[float, str, Entry]] = []
        had = 0
        for turn in range(400):
            clock.advance(0.1)
            now_s = clock.now()
            for ends_s, _, entry in held:
                if ends_s <= now_s:
                    entry.release()
            held = [one for one in held if one[0] > now_s]
            # One asks many times as often as the other.
            for key in ["greedy"] * greedy + ["modest"] * 3:
                try:
                    entry = gate.admit(DEFAULT, key)
                except Shed:
                    continue
                lasts_s = lifetimes[turn % len(lifetimes)]
                held.append((now_s + lasts_s, key, entry))
            had += turn >= 200 and [key for _, key, _ in held].count("modest")
        assert had / 200 >= 0.9 * (limit // 2), "on average"


class AnyGate(RuleBasedStateMachine):
    """Calls of every class and key come and go; some keys never stop asking."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.gate = PriorityGate("service", self.clock, limit=10, uniform=middle)
        self.inside: list[tuple[Priority, str, Entry]] = []
        self.lag_s = 0.0
        self.waiting: dict[tuple[Priority, str], tuple[int, float]] = {}

    @rule(
        priority=st.sampled_from(Priority),
        key=st.sampled_from("abc"),
        times=st.integers(1, 6),
    )
    def ask(self, priority: Priority, key: str, times: int) -> None:
        for _ in range(times):
            self._ask(priority, key)

    @precondition(lambda self: self.inside)
    @rule(which=st.integers(0, 1000))
    def leave(self, which: int) -> None:
        self.inside.pop(which % len(self.inside))[2].release()

    @rule(lag_s=st.sampled_from([0.0, 0.1, 0.2, 0.3]))
    def loop_lags(self, lag_s: float) -> None:
        self.lag_s = lag_s
        self.gate.record_lag(lag_s)

    @rule(by_s=st.sampled_from([0.1, 1.0, 4.0]))
    def time_passes(self, by_s: float) -> None:
        self.clock.advance(by_s)
        self.gate.record_lag(self.lag_s)

    @invariant()
    def never_more_in_flight_than_the_limit(self) -> None:
        assert self.gate.in_flight == len(self.inside) <= 10
        below = sum(priority is not CRITICAL for priority, _, _ in self.inside)
        assert below <= 9, "one place is never lost to lower classes"
        assert self._of(SHEDDABLE) <= 7

    @invariant()
    def nothing_is_counted_that_is_not_inside(self) -> None:
        for priority in Priority:
            assert self.gate.in_flight_of(priority) == self._of(priority)

    def _of(self, priority: Priority, key: str | None = None) -> int:
        return sum(
            one is priority and key in (None, name) for one, name, _ in self.inside
        )

    def _share(self, priority: Priority, key: str) -> int:
        """What is fair, reckoned from what is inside and who was shed."""
        room = {CRITICAL: 10, DEFAULT: 9, SHEDDABLE: 7}[priority]
        usable = room - (len(self.inside) - self._of(priority))
        held = {name for one, name, _ in self.inside if one is priority}
        return -(-usable // len(held | self._waiting(priority) | {key}))

    def _waiting(self, priority: Priority) -> set[str]:
        now_s = self.clock.now()
        return {
            name
            for (one, name), (calls, until_s) in self.waiting.items()
            if one is priority and calls and until_s > now_s
        }

    def _ask(self, priority: Priority, key: str) -> None:
        share = self._share(priority, key)
        poorer = {
            name
            for name in self._waiting(priority) - {key}
            if self._of(priority, name) < share
        }
        calls, until_s = self.waiting.get((priority, key), (0, 0.0))
        if until_s <= self.clock.now():
            calls = 0
        try:
            entry = self.gate.admit(priority, key)
        except Shed as shed:
            self.waiting[priority, key] = (calls + 1, self.clock.now() + 3.0)
            self._was_right(shed, priority, key, contended=bool(poorer))
            return
        self.waiting[priority, key] = (max(0, calls - 1), until_s)
        self.inside.append((priority, key, entry))
        assert not poorer or self._of(priority, key) <= share

    def _was_right(
        self, shed: Shed, priority: Priority, key: str, *, contended: bool
    ) -> None:
        if shed.cause == "fair_share":
            assert contended
            assert self._of(priority, key) >= 1, "nobody is starved of a first place"
        if priority is CRITICAL and shed.cause == "in_flight":
            assert len(self.inside) == 10, "critical calls are shed last"
        if shed.cause == "loop_lag":
            assert priority is not CRITICAL, "the lag is below four times its limit"


TestAnyGate = AnyGate.TestCase
TestAnyGate.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
