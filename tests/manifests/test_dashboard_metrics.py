"""A dashboard asks only for metrics that the gateway keeps, by the names it keeps."""

import json
import re

from app.telemetry import Metrics
from scripts import dashboards

SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}


def test_every_metric_that_a_dashboard_asks_for_is_kept() -> None:
    kept = {
        family.name + suffix
        for family in Metrics(routes=["chat"]).registry.collect()
        for suffix in SUFFIXES.get(family.type, ("",))
    }
    for name, text in dashboards.render().items():
        expressions = [
            target["expr"]
            for panel in json.loads(text)["panels"]
            for target in panel.get("targets", ())
        ]
        asked = set(re.findall(r"llm_gateway_\w+", " ".join(expressions)))
        assert asked, name
        assert asked <= kept, f"{name}: {sorted(asked - kept)}"
