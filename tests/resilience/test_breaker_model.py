"""The breaker against an independent model, in any order of events.

The model is written from the design's words, as naive lists and no machine: permits
are settled in any order, time passes, operators interfere. Rules that steer make sure
that the half-open state is visited often.
"""

from dataclasses import dataclass, field

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
)

from resilience.breaker import Breaker, BreakerConfig, BreakerState
from resilience.errors import BreakerOpen
from resilience.permit import Permit
from resilience.testing import ManualClock
from tests.resilience.scenery import Recorder

configs = st.builds(
    BreakerConfig,
    window=st.sampled_from(["count", "time"]),
    window_size=st.integers(3, 8),
    min_calls=st.integers(2, 6),
    failure_ratio=st.sampled_from([0.5, 0.7, 1.0]),
    slow_ratio=st.sampled_from([0.6, 1.0]),
    consecutive=st.integers(2, 5),
    quiet_consecutive=st.integers(1, 3),
    quiet_after_s=st.just(30.0),
    quiet_run_s=st.sampled_from([0.5, 3.0, 1e6]),
    open_s=st.just(10.0),
    open_cap_s=st.just(40.0),
    jitter=st.just(0.0),
    permitted=st.integers(1, 4),
    concurrent=st.integers(1, 3),
    verdict_within_s=st.just(20.0),
    ramp_s=st.just(0.0),
)


@dataclass(eq=False)
class Issued:
    """A permit, as the model sees it."""

    permit: Permit
    epoch: int
    at_s: float
    opened: bool = False
    judged: bool = False


@dataclass
class Model:
    """The design's rules about states, by the letter."""

    config: BreakerConfig
    now_s: float
    state: str = "closed"
    epoch: int = 0
    outcomes: list[tuple[float, bool, bool]] = field(default_factory=list)
    failures_in_a_row: int = 0
    row_began_s: float | None = None
    success_at_s: float = 0.0
    open_until_s: float = 0.0
    paused_until_s: float = 0.0
    openings: int = 0
    closed_at_s: float = 0.0
    probes: list[Issued] = field(default_factory=list)
    verdicts: list[tuple[bool, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.success_at_s = self.closed_at_s = self.paused_until_s = self.now_s

    def look(self) -> None:
        """Let time decide about probes."""
        if self.state != "half_open":
            return
        for probe in list(self.probes):
            if self.now_s - probe.at_s < self.config.verdict_within_s:
                continue
            if not probe.opened:
                self.open()
                return
            probe.judged = True
            self.probes.remove(probe)
            self.verdicts.append((False, False))
            self.decide()

    def admits(self) -> bool:
        self.look()
        match self.state:
            case "open":
                return self.now_s >= self.open_until_s
            case "forced_open":
                return False
            case "half_open":
                busy = len(self.probes)
                all_out = busy + len(self.verdicts) >= self.config.permitted
                return not all_out and busy < self.config.concurrent
        return True

    def admit(self, permit: Permit) -> Issued:
        if self.state == "open":
            self.enter("half_open")
        issued = Issued(permit, self.epoch, self.now_s)
        if self.state == "half_open":
            self.probes.append(issued)
        return issued

    def settle(self, one: Issued, how: str, slow: bool, pause_s: float | None) -> None:
        if one.epoch != self.epoch or one.judged or self.state == "disabled":
            return
        if one in self.probes:
            self.probes.remove(one)
        if how == "fail" and pause_s is not None:
            until_s = self.now_s + min(pause_s, self.config.open_cap_s)
            self.paused_until_s = max(self.paused_until_s, until_s)
        if self.state == "half_open":
            if how in ("ok", "fail"):
                self.verdicts.append((how == "fail", slow))
                self.decide()
        elif how in ("ok", "fail") or slow:
            self.outcomes.append((self.now_s, how == "fail", slow))
            if how == "fail":
                self.row_began_s = self.row_began_s or self.now_s
                self.failures_in_a_row += 1
            elif how == "ok":
                self.row_began_s, self.success_at_s = None, self.now_s
                self.failures_in_a_row = 0
            if self.state == "closed" and self.enough():
                self.open()

    def kept(self) -> list[tuple[float, bool, bool]]:
        size = self.config.window_size
        if self.config.window == "count":
            return self.outcomes[-size:]
        return [one for one in self.outcomes if one[0] // 1 > self.now_s // 1 - size]

    def enough(self) -> bool:
        config, kept = self.config, self.kept()
        if self.failures_in_a_row >= config.consecutive:
            return True
        quiet = self.now_s - self.success_at_s >= config.quiet_after_s
        if self.row_began_s is not None:
            quiet |= self.now_s - self.row_began_s >= config.quiet_run_s
        if quiet and self.failures_in_a_row >= config.quiet_consecutive:
            return True
        if len(kept) < config.min_calls:
            return False
        failed, slow = sum(one[1] for one in kept), sum(one[2] for one in kept)
        return (
            failed / len(kept) >= config.failure_ratio
            or slow / len(kept) >= config.slow_ratio
        )

    def decide(self) -> None:
        permitted = self.config.permitted
        failed, slow = (sum(one[i] for one in self.verdicts) for i in (0, 1))
        none_succeeded = failed == len(self.verdicts)
        if none_succeeded or failed / permitted >= self.config.failure_ratio:
            self.open()
        elif slow / permitted >= self.config.slow_ratio:
            self.open()
        elif len(self.verdicts) == permitted:
            self.forget()
            self.enter("closed")

    def open(self) -> None:
        held = self.now_s - self.closed_at_s > self.config.open_s
        if self.state == "closed" and held:
            self.openings = 0
        open_s = min(self.config.open_cap_s, self.config.open_s * 2**self.openings)
        self.openings += 1
        self.open_until_s = max(self.now_s + open_s, self.paused_until_s)
        self.enter("open")

    def forget(self) -> None:
        self.outcomes.clear()
        self.failures_in_a_row, self.row_began_s = 0, None
        self.success_at_s = self.closed_at_s = self.paused_until_s = self.now_s

    def enter(self, state: str) -> None:
        self.state = state
        self.epoch += 1
        self.probes, self.verdicts = [], []


class BreakerAgainstModel(RuleBasedStateMachine):
    """Drives both and compares what can be seen."""

    permits = Bundle("permits")

    @initialize(config=configs)
    def start(self, config: BreakerConfig) -> None:
        self.clock = ManualClock()
        self.heard = Recorder()
        self.breaker = Breaker(
            "a",
            config,
            self.clock,
            listener=self.heard,
            uniform=lambda low, high: high,
        )
        self.model = Model(config, self.clock.now())

    @rule(target=permits)
    def admit(self) -> Issued | None:
        expected = self.model.admits()
        try:
            permit = self.breaker.admit()
        except BreakerOpen:
            assert not expected
            return None
        assert expected
        return self.model.admit(permit)

    @rule(
        issued=consumes(permits),
        how=st.sampled_from(["ok", "fail", "fail", "neutral", "cancel"]),
        slow=st.booleans(),
        pause_s=st.none() | st.sampled_from([5.0, 15.0, 100.0]),
    )
    def settle(
        self, issued: Issued | None, how: str, slow: bool, pause_s: float | None
    ) -> None:
        if issued is None:
            return
        if how == "cancel":
            issued.permit.cancel()
            slow = False
        elif how == "fail":
            issued.permit.fail(slow=slow, retry_after_s=pause_s)
        else:
            getattr(issued.permit, how)(slow=slow)
        self.model.settle(issued, how, slow, pause_s)

    @rule(issued=permits)
    def content_flows(self, issued: Issued | None) -> None:
        if issued is not None:
            issued.permit.opened = issued.opened = True

    @rule(passed_s=st.sampled_from([0.5, 3.0, 10.0, 20.0, 31.0]))
    def time_passes(self, passed_s: float) -> None:
        self.clock.advance(passed_s)
        self.model.now_s += passed_s

    @rule(target=permits)
    def go_on_to_the_next_state(self) -> Issued | None:
        """Steer: trip a closed breaker, wait out an open one, probe a half-open one."""
        match self.model.state:
            case "closed":
                for _ in range(self.model.config.consecutive):
                    if self.model.state == "closed":
                        self.settle(self.admit(), "fail", False, None)
            case "open":
                left_s = self.model.open_until_s - self.model.now_s
                self.time_passes(max(0.0, left_s))
            case "half_open":
                event("steered within half-open")
        return self.admit()

    @rule(
        order=st.sampled_from(
            [
                None,
                BreakerState.FORCED_OPEN,
                BreakerState.DISABLED,
                BreakerState.METRICS_ONLY,
            ]
        ),
        really=st.integers(0, 4),
    )
    def force(self, order: BreakerState | None, really: int) -> None:
        if really:
            return  # seldom, or the other states would hardly be seen
        self.breaker.force(order)
        self.model.forget()
        self.model.openings = 0
        self.model.enter("closed" if order is None else str(order))

    @invariant()
    def they_look_the_same(self) -> None:
        admits = self.model.admits()
        assert self.breaker.state == self.model.state
        assert self.breaker.ready == admits
        if self.model.state == "open":
            left_s = max(0.0, self.model.open_until_s - self.model.now_s)
            assert abs(self.breaker.open_for_s - left_s) < 1e-6
        if self.model.state in ("closed", "metrics_only"):
            kept, totals = self.model.kept(), self.breaker.totals
            assert totals.recorded == len(kept)
            assert totals.failed == sum(one[1] for one in kept)
            assert totals.slow == sum(one[2] for one in kept)

    @invariant()
    def every_change_was_told_in_order(self) -> None:
        changes = [(one.from_state, one.to_state) for one in self.heard.events]
        told = ["closed", *(to for _, to in changes)]
        assert [before for before, _ in changes] == told[:-1]
        assert told[-1] == self.model.state


BreakerAgainstModel.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None
)
TestBreakerAgainstModel = BreakerAgainstModel.TestCase
