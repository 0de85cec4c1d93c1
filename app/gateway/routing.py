"""Routes (what clients ask for as `model`) and the targets behind them.

Rule: built once from the configuration, immutable afterwards, shared by all requests.
How a target is chosen is the chain's business, in `resilience`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.domain import Client
from app.errors import ModelNotAllowed, ModelNotFound
from app.providers.protocol import Provider
from resilience.breaker import Breaker
from resilience.budget import RetryBudget
from resilience.bulkhead import Bulkhead
from resilience.chain import Chain
from resilience.cooldown import CooldownGate
from resilience.errors import BreakerOpen, BulkheadFull, CoolingDown, Refused
from resilience.health import Health
from resilience.timeout import Limits


@dataclass(frozen=True, slots=True)
class Guards:
    """The stateful layers of one target. `breaker` is None when it is switched off."""

    breaker: Breaker | None
    bulkhead: Bulkhead
    cooldown: CooldownGate
    budget: RetryBudget
    health: Health

    def refusal(self) -> Refused | None:
        """Return why an attempt would be refused now, or None."""
        cooling_s = self.cooldown.remaining_s
        if cooling_s > 0:
            return CoolingDown(self.cooldown.target, cooling_s)
        if self.breaker is not None and not self.breaker.ready:
            return BreakerOpen(self.breaker.target, self.breaker.open_for_s or 1.0)
        if not self.bulkhead.has_room:
            return BulkheadFull(self.bulkhead.target, 1.0)
        return None


@dataclass(frozen=True, slots=True)
class UpstreamTarget:
    """A provider's model: where it is, what it speaks, and how it is guarded.

    `name` is `provider/model`; `base_url` has no trailing slash.
    """

    name: str
    provider: str
    model: str
    dialect: Provider
    base_url: str
    api_key: str | None
    limits: Limits
    guards: Guards


@dataclass(frozen=True, slots=True)
class Route:
    """A public model name and its chain."""

    name: str
    chain: Chain
    targets: Mapping[str, UpstreamTarget]
    deadline_s: float
    max_attempts: int
    policy: str = "default"
    skip_malformed: bool = True
    stream_upstream: bool = True
    """Whether answers to clients that do not stream are streamed from the provider."""


class RouteTable:
    """Every route, by name."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = {route.name: route for route in routes}

    def find(self, name: str, client: Client) -> Route:
        """Return the route that `client` asks for.

        Raises:
            ModelNotFound: there is none of that name.
            ModelNotAllowed: this client may not use it.
        """
        route = self._routes.get(name)
        if route is None:
            raise ModelNotFound(param="model")
        if not client.may_use(name):
            raise ModelNotAllowed(param="model")
        return route

    def visible_to(self, client: Client) -> list[Route]:
        """Return the routes that `client` may use, in the configuration's order."""
        return [route for route in self._routes.values() if client.may_use(route.name)]
