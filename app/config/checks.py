"""What must hold between settings: names that lead somewhere, times that fit.

Rule: pure; each check yields every finding, and none stops at the first. Names are
checked on the plain data, so that a mistake in one setting hides none elsewhere;
numbers on those policies that are valid in themselves.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from app.config.models import Key
from app.config.policies import Policy
from app.config.problems import Finding, dotted, nearest
from app.config.references import Missing, Surroundings
from app.config.source import Location


@dataclass(frozen=True, slots=True)
class Draft:
    """A configuration that may still hold mistakes."""

    data: Mapping[str, Any]
    surroundings: Surroundings

    def section(self, name: str) -> Mapping[str, Any]:
        """Return a section, empty when it is not one."""
        return _mapping(self.data.get(name))

    def keys(self) -> list[Any]:
        """Return the items of `keys`."""
        return _items(self.data.get("keys"))

    def targets(self) -> Iterator[tuple[Location, Mapping[str, Any]]]:
        """Yield every target of every route with its place."""
        for name, route in self.section("routes").items():
            for index, target in enumerate(_items(_mapping(route).get("targets"))):
                yield ("routes", name, "targets", index), _mapping(target)

    def policies(self) -> dict[str, Policy]:
        """Return the policies that are valid in themselves, and `default`."""
        valid = {"default": Policy()}
        for name, settings in self.section("policies").items():
            try:
                valid[name] = Policy.model_validate(settings)
            except ValidationError:
                valid.pop(name, None)
        return valid


def check(draft: Draft) -> Iterator[Finding]:
    """Yield what does not fit together in `draft`."""
    yield from _names(draft)
    yield from _duplicate_targets(draft)
    yield from _weights(draft)
    yield from _duplicate_keys(draft)
    policies = draft.policies()
    for name, policy in policies.items():
        yield from _numbers(("policies", name), policy)
    yield from _overrides(draft, policies)
    yield from _shared(draft, policies)


def _names(draft: Draft) -> Iterator[Finding]:
    providers = list(draft.section("providers"))
    policies = ["default", *draft.section("policies")]
    routes = list(draft.section("routes"))
    for place, target in draft.targets():
        yield from _known((*place, "provider"), target, providers)
        yield from _known((*place, "policy"), target, policies)
    for name, route in draft.section("routes").items():
        yield from _known(("routes", name, "policy"), _mapping(route), policies)
    for index, key in enumerate(draft.keys()):
        allowed = _items(_mapping(key).get("routes"))
        for position in range(len(allowed)):
            place = ("keys", index, "routes", position)
            yield from _known(place, allowed, routes, kind="route")
    for name in draft.section("prices"):
        provider, slash, model = name.partition("/")
        if not (slash and model):
            fix = "Write provider/model."
            yield Finding(("prices", name), "does not name a target", fix)
        elif provider not in providers:
            what = f"there is no provider `{provider}`"
            yield Finding(("prices", name), what, nearest(provider, providers))


def _known(
    place: Location,
    around: Any,
    known: list[str],
    *,
    kind: str = "",
) -> Iterator[Finding]:
    """Yield a finding if the name at the end of `place` is not among `known`."""
    last = place[-1]
    name = around[last] if isinstance(last, int) else around.get(last)
    if isinstance(name, str) and name not in known:
        what = f"there is no {kind or last} `{name}`"
        yield Finding(place, what, nearest(name, known))


def _duplicate_targets(draft: Draft) -> Iterator[Finding]:
    first: dict[tuple[Any, ...], Location] = {}
    for place, target in draft.targets():
        provider, model = target.get("provider"), target.get("model")
        if not (isinstance(provider, str) and isinstance(model, str)):
            continue
        other = first.setdefault((place[1], provider, model), place)
        if other is not place:
            what = f"{provider}/{model} is a target of this route already"
            fix = f"Remove one; the other is {dotted(other)}."
            yield Finding(place, what, fix)


def _weights(draft: Draft) -> Iterator[Finding]:
    """Weights are for routes that draw by them, and somebody must have one there."""
    weighted: dict[str, list[Any]] = {}
    for place, target in draft.targets():
        name = str(place[1])
        strategy = _mapping(draft.section("routes")[name]).get("strategy", "failover")
        if strategy == "weighted":
            weighted.setdefault(name, []).append(target.get("weight", 1))
        elif "weight" in target:
            what = f"means nothing to the strategy `{strategy}`"
            fix = "Remove it, or give the route `strategy: weighted`."
            yield Finding((*place, "weight"), what, fix)
    for name, weights in weighted.items():
        if all(weight == 0 for weight in weights):
            fix = "Give one of them a weight above 0."
            yield Finding(("routes", name, "targets"), "all have weight 0", fix)


def _duplicate_keys(draft: Draft) -> Iterator[Finding]:
    ids: dict[str, Location] = {}
    hashes: dict[str, Location] = {}
    for index, settings in enumerate(draft.keys()):
        place: Location = ("keys", index)
        name = _mapping(settings).get("id")
        if isinstance(name, str) and (other := ids.setdefault(name, place)) != place:
            fix = f"Give each key its own; the other is {dotted(other)}."
            yield Finding((*place, "id"), f"there is a key `{name}` already", fix)
        digest = _digest(settings, draft.surroundings)
        if digest and (other := hashes.setdefault(digest, place)) != place:
            fix = f"Generate a key for each; the other is {dotted(other)}."
            yield Finding((*place, "sha256"), "another key has the same hash", fix)


def _digest(settings: Any, surroundings: Surroundings) -> str | None:
    only = {"id": "any", "project": "any", "sha256": _mapping(settings).get("sha256")}
    try:
        digest = Key.model_validate(only, context=surroundings).sha256
    except ValidationError:
        return None
    return None if isinstance(digest, Missing) else digest.get_secret_value()


def _numbers(place: Location, policy: Policy) -> Iterator[Finding]:
    times, breaker, half_open = (
        policy.timeouts,
        policy.breaker,
        policy.breaker.half_open,
    )
    yield from _fits(place, policy, policy.deadline_s)
    if times.connect_s > times.first_token_s:
        what = f"is longer than first_token_s ({times.first_token_s:g}), its whole"
        yield Finding(
            (*place, "timeouts", "connect_s"), what, "Connecting is part of it."
        )
    if times.first_token_s > times.total_s:
        what = f"is longer than total_s ({times.total_s:g}), the whole attempt"
        fix = "A silent target would never count as one: raise total_s."
        yield Finding((*place, "timeouts", "first_token_s"), what, fix)
    for name in ("base_s", "throttle_base_s"):
        if getattr(policy.retry, name) > policy.retry.cap_s:
            what = f"is longer than cap_s ({policy.retry.cap_s:g})"
            yield Finding((*place, "retry", name), what, "Raise cap_s or lower this.")
    if not breaker.enabled:
        return
    if half_open.concurrent > half_open.permitted:
        what = f"is more than permitted ({half_open.permitted}) probes in all"
        where = (*place, "breaker", "half_open", "concurrent")
        yield Finding(where, what, "Lower it, or raise permitted.")
    if breaker.open_s > breaker.open_cap_s:
        what = f"is longer than open_cap_s ({breaker.open_cap_s:g})"
        yield Finding((*place, "breaker", "open_s"), what, "Raise open_cap_s.")
    if breaker.window.kind == "count" and breaker.min_calls > breaker.window.size:
        what = f"is more than the window holds ({breaker.window.size})"
        fix = "Ratios would never count: enlarge the window or lower this."
        yield Finding((*place, "breaker", "min_calls"), what, fix)
    given = "slow_first_token_s" in breaker.model_fields_set
    if given and breaker.slow_first_token_s > times.first_token_s:
        what = f"is longer than timeouts.first_token_s ({times.first_token_s:g})"
        fix = "No answer would ever count as slow: lower it."
        yield Finding((*place, "breaker", "slow_first_token_s"), what, fix)


def _fits(place: Location, policy: Policy, deadline_s: float) -> Iterator[Finding]:
    """Yield what of an attempt is longer than the whole request may take."""
    times = policy.timeouts
    limit = f"is longer than the deadline_s ({deadline_s:g}) of the request"
    if times.first_token_s > deadline_s:
        fix = "A silent target would leave no time for another: lower it."
        yield Finding((*place, "timeouts", "first_token_s"), limit, fix)
    for name in ("idle_s", "total_s"):
        # A default that is too long never shows; one that was written down misleads.
        if name in times.model_fields_set and getattr(times, name) > deadline_s:
            fix = "It would do nothing: lower it, or raise the deadline."
            yield Finding((*place, "timeouts", name), limit, fix)


def _overrides(draft: Draft, policies: Mapping[str, Policy]) -> Iterator[Finding]:
    """A target's own policy must fit the deadline of its route."""
    for place, target in draft.targets():
        route = _mapping(draft.section("routes")[str(place[1])])
        whole = policies.get(str(route.get("policy", "default")))
        own = policies.get(str(target.get("policy", "")))
        if whole is None or own is None or whole.deadline_s >= own.deadline_s:
            continue
        for finding in _fits((), own, whole.deadline_s):
            setting = dotted(finding.location)
            what = f"its {setting} {finding.what}"
            yield Finding((*place, "policy"), what, finding.fix)


def _shared(draft: Draft, policies: Mapping[str, Policy]) -> Iterator[Finding]:
    """What a target has once, whoever asks, must be the same in all its policies."""
    first: dict[tuple[str, str], tuple[Any, str]] = {}
    for place, target in draft.targets():
        route = _mapping(draft.section("routes")[str(place[1])])
        name = target.get("policy") or route.get("policy", "default")
        policy = policies.get(str(name))
        provider, model = target.get("provider"), target.get("model")
        if policy is None or not (isinstance(provider, str) and model):
            continue
        for owner, setting, value in _owned(provider, f"{provider}/{model}", policy):
            other, under = first.setdefault((owner, setting), (value, str(name)))
            if other != value:
                what = f"policy `{name}` gives {owner} another {setting} than `{under}`"
                fix = f"There is one for all of {owner}: make them equal."
                yield Finding(place, what, fix)


def _owned(
    provider: str, target: str, policy: Policy
) -> Iterator[tuple[str, str, Any]]:
    """Yield what exists once per target or provider: owner, setting and value."""
    retry = policy.retry
    yield target, "breaker", policy.breaker
    yield target, "bulkhead", policy.bulkhead
    yield target, "retry.throttle_base_s", retry.throttle_base_s
    yield target, "hedge.quantile", policy.hedge.quantile
    yield provider, "retry.budget_ratio", retry.budget_ratio
    yield provider, "retry.budget_min_per_s", retry.budget_min_per_s


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
