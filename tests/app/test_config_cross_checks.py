"""Settings of a gateway.yaml that are right by themselves must fit together."""

import pytest

from tests.app.configuration import (
    HASH,
    MINIMAL,
    OTHER_HASH,
    TARGETS,
    marked_line,
    problems_of,
)


def policy(*lines: str) -> str:
    """A configuration whose default policy has these lines."""
    return MINIMAL + "\n".join(("policies:", "  default:", *lines))


def targets(*lines: str) -> str:
    """A configuration whose route has these targets."""
    return MINIMAL.replace(TARGETS, "".join(f"      {line}\n" for line in lines))


CROSS_CHECKS = {
    "a weight is for routes that draw by weight": (
        targets("- provider: alpha", "  model: m", "  weight: 2  # here"),
        "routes.chat.targets[0].weight",
        "means nothing to the strategy `failover`",
        "give the route `strategy: weighted`",
    ),
    "somebody has a weight on a route that draws by weight": (
        targets("- {provider: alpha, model: m, weight: 0}").replace(
            "    targets:", "    strategy: weighted\n    targets:  # here"
        ),
        "routes.chat.targets",
        "all have weight 0",
        "Give one of them a weight above 0.",
    ),
    "a target's provider must exist": (
        targets("- provider: alhpa  # here", "  model: m"),
        "routes.chat.targets[0].provider",
        "there is no provider `alhpa`",
        "Did you mean `alpha`?",
    ),
    "the policy of a route must exist": (
        MINIMAL.replace("    targets:", "    policy: fast  # here\n    targets:"),
        "routes.chat.policy",
        "there is no policy `fast`",
        "Use one of: `default`.",
    ),
    "the policy of a target must exist": (
        targets("- provider: alpha", "  model: m", "  policy: defualt  # here"),
        "routes.chat.targets[0].policy",
        "there is no policy `defualt`",
        "Did you mean `default`?",
    ),
    "a target stands once in a route": (
        targets(
            "- {provider: alpha, model: m}", "- {provider: alpha, model: m}  # here"
        ),
        "routes.chat.targets[1]",
        "alpha/m is a target of this route already",
        "the other is routes.chat.targets[0]",
    ),
    "a key's routes must exist": (
        MINIMAL.replace(
            "  - {id: one,", "  - routes:\n      - chta  # here\n    id: one\n    "
        ).replace(
            f' project: team, sha256: "{HASH}"}}', f"project: team\n    sha256: {HASH}"
        ),
        "keys[0].routes[0]",
        "there is no route `chta`",
        "Did you mean `chat`?",
    ),
    "a price is that of a known provider": (
        MINIMAL + "prices:\n  alhpa/m: {input: 1, output: 2}  # here",
        'prices["alhpa/m"]',
        "there is no provider `alhpa`",
        "Did you mean `alpha`?",
    ),
    "a price is that of a provider's model": (
        MINIMAL + "prices:\n  alpha: {input: 1, output: 2}  # here",
        "prices.alpha",
        "does not name a target",
        "Write provider/model.",
    ),
    "key ids are unique": (
        MINIMAL + f"  - id: one  # here\n    project: p\n    sha256: {OTHER_HASH}",
        "keys[1].id",
        "there is a key `one` already",
        "the other is keys[0]",
    ),
    "keys are unique": (
        MINIMAL + f"  - id: two\n    project: p\n    sha256: {HASH.upper()}  # here",
        "keys[1].sha256",
        "another key has the same hash",
        "Generate a key for each",
    ),
    "a silent target leaves time for another": (
        policy(
            "    deadline_s: 20", "    timeouts:", "      first_token_s: 21  # here"
        ),
        "policies.default.timeouts.first_token_s",
        "is longer than the deadline_s (20) of the request",
        "no time for another",
    ),
    "a default first-token limit has to fit as well": (
        policy("    timeouts:  # here", "      idle_s: 3", "    deadline_s: 5"),
        "policies.default.timeouts.first_token_s",
        "is longer than the deadline_s (5) of the request",
        "lower it",
    ),
    "a silence is no longer than the deadline": (
        policy("    deadline_s: 20", "    timeouts:", "      idle_s: 30  # here"),
        "policies.default.timeouts.idle_s",
        "is longer than the deadline_s (20) of the request",
        "It would do nothing",
    ),
    "an attempt is no longer than the deadline": (
        policy("    deadline_s: 20", "    timeouts:", "      total_s: 30  # here"),
        "policies.default.timeouts.total_s",
        "is longer than the deadline_s (20) of the request",
        "It would do nothing",
    ),
    "connecting is part of the time to the first token": (
        policy("    timeouts:", "      connect_s: 11  # here"),
        "policies.default.timeouts.connect_s",
        "is longer than first_token_s (10)",
        "Connecting is part of it",
    ),
    "an attempt may last as long as its first token": (
        policy("    timeouts:", "      total_s: 5", "      first_token_s: 6  # here"),
        "policies.default.timeouts.first_token_s",
        "is longer than total_s (5)",
        "never count as one",
    ),
    "the first pause fits under the longest": (
        policy("    retry:", "      cap_s: 2", "      base_s: 3  # here"),
        "policies.default.retry.base_s",
        "is longer than cap_s (2)",
        "Raise cap_s",
    ),
    "the first throttled pause fits under the longest": (
        policy("    retry:", "      cap_s: 0.5", "      throttle_base_s: 1  # here"),
        "policies.default.retry.throttle_base_s",
        "is longer than cap_s (0.5)",
        "Raise cap_s",
    ),
    "probes at once are among those permitted": (
        policy("    breaker:", "      half_open:", "        concurrent: 4  # here"),
        "policies.default.breaker.half_open.concurrent",
        "is more than permitted (3)",
        "Lower it",
    ),
    "a breaker opens no longer than its cap": (
        policy("    breaker:", "      open_cap_s: 5", "      open_s: 10  # here"),
        "policies.default.breaker.open_s",
        "is longer than open_cap_s (5)",
        "Raise open_cap_s",
    ),
    "the window holds the attempts that ratios need": (
        policy("    breaker:", "      window: {size: 5}", "      min_calls: 6  # here"),
        "policies.default.breaker.min_calls",
        "is more than the window holds (5)",
        "enlarge the window",
    ),
    "slow is less than timed out": (
        policy("    breaker:", "      slow_first_token_s: 11  # here"),
        "policies.default.breaker.slow_first_token_s",
        "is longer than timeouts.first_token_s (10)",
        "No answer would ever count as slow",
    ),
    "a target's own policy fits the deadline of the route": (
        targets("- provider: alpha", "  model: m", "  policy: slow  # here")
        + "policies:\n  default: {deadline_s: 20}\n"
        "  slow: {deadline_s: 90, timeouts: {first_token_s: 60}}",
        "routes.chat.targets[0].policy",
        "its timeouts.first_token_s is longer than the deadline_s (20)",
        "no time for another",
    ),
    "a target has one breaker on every route": (
        MINIMAL.replace(
            "keys:",
            "  other:\n    policy: strict\n    targets:\n"
            "      - {provider: alpha, model: m}  # here\nkeys:",
        )
        + "policies: {strict: {breaker: {consecutive: 2}}}",
        "routes.other.targets[0]",
        "policy `strict` gives alpha/m another breaker than `default`",
        "make them equal",
    ),
    "a target is late by one measure": (
        MINIMAL.replace(
            "keys:",
            "  other:\n    policy: eager\n    targets:\n"
            "      - {provider: alpha, model: m}  # here\nkeys:",
        )
        + "policies: {eager: {hedge: {enabled: true, quantile: 0.9}}}",
        "routes.other.targets[0]",
        "policy `eager` gives alpha/m another hedge.quantile than `default`",
        "make them equal",
    ),
    "a provider has one retry budget": (
        targets(
            "- {provider: alpha, model: m}",
            "- {provider: alpha, model: n, policy: own}  # here",
        )
        + "policies: {own: {retry: {budget_ratio: 0.5}}}",
        "routes.chat.targets[1]",
        "policy `own` gives alpha another retry.budget_ratio than `default`",
        "make them equal",
    ),
}


@pytest.mark.parametrize("name", CROSS_CHECKS)
def test_settings_fit_together(name: str) -> None:
    text, path, what, fix = CROSS_CHECKS[name]

    (problem,) = problems_of(text)

    assert problem.path == path
    assert problem.line == marked_line(text)
    assert what in problem.what
    assert fix in problem.fix


@pytest.mark.parametrize(
    "lines",
    [
        ("    breaker: {enabled: false, min_calls: 1000, open_s: 999}",),
        ("    breaker: {window: {kind: time, size: 5}, min_calls: 6}",),
        ("    deadline_s: 10", "    timeouts: {first_token_s: 10}"),
        ("    timeouts: {connect_s: 3, first_token_s: 3, min_tokens_per_s: 0}",),
    ],
    ids=["a breaker that is off", "a time window", "equal to the deadline", "at once"],
)
def test_what_does_no_harm_is_allowed(lines: tuple[str, ...]) -> None:
    assert problems_of(policy(*lines)) == ()


def test_routes_may_share_a_target_under_policies_that_differ_elsewhere() -> None:
    text = MINIMAL.replace(
        "keys:",
        "  other: {policy: brief, targets: [{provider: alpha, model: m}]}\nkeys:",
    )

    assert problems_of(text + "policies: {brief: {deadline_s: 60}}") == ()
