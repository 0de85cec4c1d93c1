"""Configuration: gateway.yaml, read, checked as a whole, and typed.

    config = load(config_path())

Rule: above `errors` and `domain` only, and of `resilience` only what its layers take
as numbers. Nothing here opens a connection or keeps state.
"""

from app.config.loading import config_path, json_schema, load, parse
from app.config.models import (
    Config,
    Key,
    KeyLimits,
    Logs,
    Price,
    Provider,
    Route,
    Server,
    Service,
    Store,
    Target,
    Telemetry,
    Traces,
)
from app.config.policies import (
    Breaker,
    Bulkhead,
    HalfOpen,
    Hedge,
    Policy,
    Retry,
    Timeouts,
    Window,
)
from app.config.problems import ConfigError, ConfigUnreadable, Problem
from app.config.settings import NAME_PATTERN
from app.config.worst_case import WorstCase, worst_case

__all__ = [
    "NAME_PATTERN",
    "Breaker",
    "Bulkhead",
    "Config",
    "ConfigError",
    "ConfigUnreadable",
    "HalfOpen",
    "Hedge",
    "Key",
    "KeyLimits",
    "Logs",
    "Policy",
    "Price",
    "Problem",
    "Provider",
    "Retry",
    "Route",
    "Server",
    "Service",
    "Store",
    "Target",
    "Telemetry",
    "Timeouts",
    "Traces",
    "Window",
    "WorstCase",
    "config_path",
    "json_schema",
    "load",
    "parse",
    "worst_case",
]
