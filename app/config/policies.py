"""The `policies` of gateway.yaml: deadline, attempts, and the layers of each target.

Rule: the numbers are those of the design of `resilience`, and the classes that it
takes are built here, so that nobody else copies them field by field. Times are in
seconds unless a name says otherwise; ratios are from 0 to 1.
"""

from typing import Annotated, Literal

from pydantic import Field

from app.config.settings import Ratio, Seconds, Settings
from resilience.backoff import Backoff
from resilience.timeout import Limits
from resilience.trip import BreakerConfig


class Timeouts(Settings):
    """How long each phase of an attempt may take."""

    connect_s: Seconds = 2.0
    """To connect."""
    first_token_s: Seconds = 10.0
    """From sending to the first content, connecting included. Reasoning models need
    60 to 120."""
    idle_s: Seconds = 15.0
    """The longest silence within a stream."""
    min_tokens_per_s: Annotated[float, Field(ge=0)] = 0.5
    """The slowest stream, over 30 s of waiting; 0 switches this off."""
    total_s: Seconds = 120.0
    """The whole attempt."""

    def limits(self) -> Limits:
        """Return these limits as `resilience` takes them."""
        return Limits(
            connect_s=self.connect_s,
            first_token_s=self.first_token_s,
            idle_s=self.idle_s,
            min_tokens_per_s=self.min_tokens_per_s,
            total_s=self.total_s,
        )


class Retry(Settings):
    """When a target is asked again."""

    base_s: Seconds = 0.05
    """First pause after a blip; doubled with each retry, and drawn at random below."""
    throttle_base_s: Seconds = 1.0
    """The same after 429, 503 and 529."""
    cap_s: Seconds = 5.0
    """Longest pause, unless the provider names a longer one."""
    wait_up_to_s: Annotated[float, Field(ge=0)] = 2.0
    """Longest pause named by a provider that is sat out while another could answer."""
    budget_ratio: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Share of a provider's first attempts that may be sent again. Providers have one
    budget each."""
    budget_min_per_s: Annotated[float, Field(ge=0)] = 3.0
    """Retries per second that are allowed however low the traffic."""

    def backoff(self) -> Backoff:
        """Return these pauses as `resilience` takes them."""
        return Backoff(self.base_s, self.throttle_base_s, self.cap_s)


class Window(Settings):
    """What a breaker remembers."""

    kind: Literal["count", "time"] = "count"
    """`count`: the last `size` attempts; `time`: those of the last `size` seconds."""
    size: Annotated[int, Field(ge=1, le=10_000)] = 100
    """How many attempts, or seconds."""


class HalfOpen(Settings):
    """How a breaker tries whether its target is back."""

    permitted: Annotated[int, Field(ge=1, le=100)] = 3
    """Probes that decide."""
    concurrent: Annotated[int, Field(ge=1, le=100)] = 1
    """Probes under way at once."""
    verdict_within_s: Seconds = 60.0
    """A probe without a verdict by then reopens the breaker."""


class Breaker(Settings):
    """When a target is left alone, and for how long."""

    not_yet = frozenset({"shared"})

    enabled: bool = True
    """Whether there is a breaker at all."""
    window: Window = Window()
    """What it remembers."""
    min_calls: Annotated[int, Field(ge=1, le=10_000)] = 10
    """Attempts in the window before ratios count."""
    failure_ratio: Ratio = 0.5
    """Opens at this share of failures."""
    slow_ratio: Ratio = 0.8
    """Opens at this share of slow attempts."""
    slow_first_token_s: Seconds = 8.0
    """An attempt is slow when its first content takes longer."""
    slow_per_token_s: Seconds | None = None
    """An attempt is slow when its tokens take longer, each; off when not set."""
    consecutive: Annotated[int, Field(ge=1, le=1000)] = 5
    """Opens after this many failures in a row."""
    open_s: Seconds = 10.0
    """How long it stays open; doubled each time it opens again, ± 20 %."""
    open_cap_s: Seconds = 300.0
    """The longest it stays open."""
    half_open: HalfOpen = HalfOpen()
    """How it tries whether the target is back."""
    ramp_s: Annotated[float, Field(ge=0, le=86_400)] = 10.0
    """After closing, how long until it admits everything again."""

    def config(self) -> BreakerConfig:
        """Return these numbers as `resilience` takes them."""
        return BreakerConfig(
            window=self.window.kind,
            window_size=self.window.size,
            min_calls=self.min_calls,
            failure_ratio=self.failure_ratio,
            slow_ratio=self.slow_ratio,
            consecutive=self.consecutive,
            open_s=self.open_s,
            open_cap_s=self.open_cap_s,
            permitted=self.half_open.permitted,
            concurrent=self.half_open.concurrent,
            verdict_within_s=self.half_open.verdict_within_s,
            ramp_s=self.ramp_s,
        )


class Bulkhead(Settings):
    """How many requests a target gets at once."""

    limit: Annotated[int, Field(ge=1, le=100_000)] = 64
    """Requests under way."""
    queue: Annotated[int, Field(ge=0, le=100_000)] = 32
    """Requests that may wait for a place."""
    wait_s: Annotated[float, Field(ge=0, le=86_400)] = 1.0
    """How long they wait."""
    adaptive: bool = False
    """Whether `limit` is only the most: timeouts, 429, 529 and growing times to the
    first content lower it, to 4 at the least; answers raise it again."""


class Hedge(Settings):
    """When a second target is asked because the first is late."""

    enabled: bool = False
    """Whether one is. Whoever brings content first answers; the other is cancelled."""
    quantile: Ratio = 0.95
    """A target is late when this share of its recent answers began sooner. It takes 20
    within a minute to know."""
    budget_ratio: Ratio = 0.05
    """Share of the requests of the last minute that may be hedged; a hedge also takes
    from the other provider's retry budget."""


class Policy(Settings):
    """Limits of a route, and of each of its targets."""

    not_yet = frozenset({"probe"})

    deadline_s: Seconds = 120.0
    """How long a request may take in all; a client may ask for less."""
    max_attempts: Annotated[int, Field(ge=1, le=10)] = 4
    """How often a request is sent to providers in all."""
    timeouts: Timeouts = Timeouts()
    """How long each phase of an attempt may take."""
    retry: Retry = Retry()
    """When a target is asked again."""
    breaker: Breaker = Breaker()
    """When a target is left alone."""
    bulkhead: Bulkhead = Bulkhead()
    """How many requests a target gets at once."""
    hedge: Hedge = Hedge()
    """When a second target is asked because the first is late."""
