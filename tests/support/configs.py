"""The text of a gateway.yaml for tests: short limits, as many routes as asked for."""

from collections.abc import Mapping
from typing import Any

import yaml

from tests.support.keys import KEY, OTHER_KEY, digest

QUICK: Mapping[str, Any] = {
    "deadline_s": 15,
    "timeouts": {"connect_s": 1, "first_token_s": 1, "idle_s": 1, "total_s": 12},
    "retry": {
        "base_s": 0.005,
        "throttle_base_s": 0.02,
        "cap_s": 0.05,
        "budget_min_per_s": 1000,
    },
}
"""A policy whose limits pass quickly, and still outlast a busy machine's stalls; the
breaker is the default one."""

NO_BREAKER: Mapping[str, Any] = {**QUICK, "breaker": {"enabled": False}}
"""The same without a breaker, for tests in which everything fails."""


def gateway_yaml(
    providers: Mapping[str, str],
    routes: Mapping[str, list[str] | Mapping[str, Any]],
    *,
    policy: Mapping[str, Any] = QUICK,
    **sections: Any,
) -> str:
    """Return a configuration.

    Args:
        providers: base URL by name.
        routes: what may answer, as `provider/model`, or the whole of a route.
        policy: the default policy; more can be given as `policies`.
        sections: further sections, or other values for those made here.
    """
    policies = {"default": policy, **sections.pop("policies", {})}
    document = {
        "providers": {
            name: {"dialect": "openai", "base_url": url}
            for name, url in providers.items()
        },
        "routes": {name: _route(given) for name, given in routes.items()},
        "policies": {name: dict(given) for name, given in policies.items()},
        "keys": [
            {"id": "all", "project": "team", "sha256": digest(KEY)},
            {
                "id": "one",
                "project": "other-team",
                "sha256": digest(OTHER_KEY),
                "routes": [next(iter(routes))],
            },
        ],
        **sections,
    }
    return yaml.safe_dump(document, sort_keys=False)


def target(name: str, **more: Any) -> dict[str, Any]:
    """Return a target of a route from its `provider/model`."""
    provider, _, model = name.partition("/")
    return {"provider": provider, "model": model, **more}


def _route(given: list[str] | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(given, list):
        return {"targets": [target(name) for name in given]}
    return dict(given)
