"""What the layers cost: CPU time per call on the success path.

    python -m loadtest.bench.resilience [--calls N] [--rounds N]

Each row is the best of several rounds, in microseconds of CPU per call, over the bare
await of the same operation, on the loop that the gateway runs on; beside it how that
compares to one `asyncio.timeout`, which every careful caller pays anyway. The exit
status is 1 if the full pipeline is over its target.
"""

import argparse
import asyncio
import gc
import sys
import time
from collections.abc import Awaitable, Callable

import uvloop
from rich.console import Console
from rich.table import Table

from resilience.admission import BreakerAdmit, BreakerPeek
from resilience.backoff import Backoff
from resilience.breaker import Breaker, BreakerConfig
from resilience.budget import RetryBudget
from resilience.bulkhead import Bulkhead
from resilience.call import Call
from resilience.chain import Chain, Target
from resilience.clock import SystemClock
from resilience.cooldown import CooldownGate
from resilience.deadline import Deadline
from resilience.errors import Refused
from resilience.outcome import classify
from resilience.pipeline import Pipeline
from resilience.policy import Policy
from resilience.retry import Retry
from resilience.slowness import SlownessRule
from resilience.timeout import Limits, Timeouts

TARGET_US = 25.0

type Run = Callable[[], Awaitable[object]]


async def operation(call: Call) -> str:
    """Answer at once."""
    return "answer"


async def release() -> None:
    """Stand in for a response's close."""


class Bench:
    """The layers of one target, and ways to run an operation through some of them."""

    def __init__(self) -> None:
        clock = SystemClock()
        self._clock = clock
        slow = SlownessRule(first_token_s=8.0)
        breaker = Breaker("a", BreakerConfig(), clock)
        self._breaker, self._bulkhead = breaker, Bulkhead("a")
        budget = RetryBudget(clock)
        self.layers: dict[str, Policy] = {
            "retry": Retry(clock, Backoff(), budget, classify),
            "cool-down": CooldownGate("a", clock, classify),
            "breaker, peek": BreakerPeek(breaker),
            "bulkhead": self._bulkhead,
            "breaker, admit": BreakerAdmit(breaker, classify, slow),
            "budget": budget,
            "timeouts": Timeouts(Limits()),
        }
        self._full = Pipeline(list(self.layers.values()), is_slow=slow)
        self._chain = Chain([Target("a", self._full, self)], classify)
        self._bare_call = self._call()

    def refusal(self) -> Refused | None:
        """As a gateway tells whether a target is ready."""
        return self._breaker.refusal()

    def _call(self) -> Call:
        return Call(Deadline.after(self._clock, 120.0))

    async def bare(self) -> str:
        """Await the operation."""
        return await operation(self._bare_call)

    async def timeout(self) -> str:
        """Await it inside a standard timeout."""
        async with asyncio.timeout(10.0):
            return await operation(self._bare_call)

    def through(self, *layers: Policy) -> Run:
        """Return what runs one call through a pipeline of `layers`, and closes it."""
        return self._closing(Pipeline(layers))

    @property
    def full(self) -> Run:
        """Every layer."""
        return self._closing(self._full)

    @property
    def chain(self) -> Run:
        """Every layer, inside a chain of one target."""
        return self._closing(self._chain)

    def _closing(self, policy: Policy) -> Run:
        async def run() -> str:
            call = self._call()
            answer = await policy.execute(operation, call)
            await call.close()
            return answer

        return run

    def full_with_response(self) -> Run:
        """Every layer, and a response whose close is awaited."""

        async def opens(call: Call) -> str:
            call.leases.push_async_callback(release)
            return await operation(call)

        async def run() -> str:
            call = self._call()
            answer = await self._chain.execute(opens, call)
            await call.close()
            return answer

        return run


async def cpu_us(run: Run, calls: int, rounds: int) -> float:
    """Return the CPU time of one call in microseconds: the best of `rounds`."""
    best_ns = sys.maxsize
    for _ in range(rounds):
        gc.collect()
        started_ns = time.process_time_ns()
        for number in range(calls):
            await run()
            if not number % 100:
                await asyncio.sleep(0)  # lets the loop forget cancelled timers
        best_ns = min(best_ns, time.process_time_ns() - started_ns)
    return best_ns / calls / 1000


async def measure(calls: int, rounds: int) -> tuple[Table, float]:
    """Return the table, and the cost of the full pipeline in microseconds."""
    bench = Bench()
    rows: dict[str, Run] = {
        "asyncio.timeout": bench.timeout,
        "a call and its attempt, no layers": bench.through(),
    }
    rows |= {f"  + {name}": bench.through(one) for name, one in bench.layers.items()}
    rows["full pipeline"] = bench.full
    rows["full pipeline in a chain"] = bench.chain
    rows["the same, with a response to close"] = bench.full_with_response()

    bare_us = await cpu_us(bench.bare, calls, rounds)
    table = Table(title=f"CPU per call, over a bare await ({bare_us:.2f} µs)")
    for heading in ("what", "µs", "times asyncio.timeout"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    costs: dict[str, float] = {}
    for name, run in rows.items():
        costs[name] = await cpu_us(run, calls, rounds) - bare_us
        ratio = costs[name] / costs["asyncio.timeout"]
        table.add_row(name, f"{costs[name]:.2f}", f"{ratio:.1f}")
    return table, costs["full pipeline"]


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        table, full_us = runner.run(measure(options.calls, options.rounds))
    console = Console()
    console.print(table)
    console.print(f"full pipeline: {full_us:.1f} µs; target: {TARGET_US:g} µs")
    return int(full_us > TARGET_US)


if __name__ == "__main__":
    sys.exit(main())
