"""What the gateway tells about itself: metrics, spans and logs.

Rule: everything here observes and nothing here decides; a failure to observe never
reaches a request. Plain values come in (composition reads the configuration); no web
framework and no HTTP client belong here.

    labels       the closed sets that label values come from
    families     every metric: name, labels, buckets
    metrics      recording, and the exposition at /metrics
    targets      gauges read from breakers, bulkheads and budgets at scrape time
    listener     resilience events into metrics and log lines
    tracing      the tracer, its exporter, and the span of a request
    spans        attributes of the chain's and the attempts' spans
    observation  one object per call, for the request path
    logging      JSON lines on stdout
    redaction    what may not leave in a log line or a span
    loop_lag     how late the event loop is
"""

from app.telemetry.labels import Outcome, TargetName, outcome_of
from app.telemetry.metrics import Metrics
from app.telemetry.observation import Observation, Telemetry
from app.telemetry.targets import TargetState
from app.telemetry.tracing import Tracing

__all__ = [
    "Metrics",
    "Observation",
    "Outcome",
    "TargetName",
    "TargetState",
    "Telemetry",
    "Tracing",
    "outcome_of",
]
