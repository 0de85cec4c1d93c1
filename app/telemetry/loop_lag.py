"""How late the event loop is: asked by sleeping, and looking at the clock after.

Rule: measures and records; what to do about a slow loop is decided elsewhere.
"""

from app.telemetry.metrics import Metrics
from resilience.clock import Clock


async def watch_loop(metrics: Metrics, clock: Clock, interval_s: float = 0.25) -> None:
    """Record the loop's lag every `interval_s` seconds until cancelled."""
    while True:
        asked_s = clock.now() + interval_s
        await clock.sleep(interval_s)
        metrics.record_loop_lag(max(0.0, clock.now() - asked_s))
