"""gateway.yaml as frozen, typed models: every setting, its range and its default.

Rule: the one place where defaults stand. A model accepts only what works: a name that
is not a field is refused, and one that is planned for later (`not_yet`) is refused
with a word about it. Nothing here compares two settings: that is `checks.py`.
Times are in seconds unless a name says otherwise; ratios are from 0 to 1.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, PrivateAttr, SecretStr

from app.config import formats
from app.config.policies import Policy
from app.config.references import FromReference
from app.config.settings import Name, RouteName, Seconds, Settings


def _with_default_policy(given: Mapping[str, Policy]) -> Mapping[str, Policy]:
    return {"default": Policy(), **given}


class Service(Settings):
    """Who this is, in logs and traces."""

    name: Name = "breakwater"
    """Name of this service."""
    environment: Name = "development"
    """Where it runs: development, staging, production, ..."""


class Server(Settings):
    """How it listens."""

    not_yet = frozenset({"max_in_flight", "loop_lag_limit_s"})

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """Address to listen on; 0.0.0.0 in a container."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    """Port to listen on; 0 takes any free one."""
    max_body_bytes: Annotated[int, Field(ge=1024, le=1_073_741_824)] = 20_971_520
    """Longest request body; a longer one is answered 413."""
    drain_timeout_s: Annotated[float, Field(ge=0, le=86_400)] = 60.0
    """How long requests under way may take to end when the gateway shuts down."""


class Store(Settings):
    """Where state is kept that replicas share."""

    not_yet = frozenset({"on_loss"})

    url: Annotated[
        SecretStr,
        FromReference(
            literal=True, otherwise=SecretStr("none"), check=formats.store_url
        ),
    ] = SecretStr("none")
    """redis://… or valkey://…; `embedded` starts a server from the wheel; `none`
    keeps everything in this process. May be a reference, as it may hold a password."""
    timeout_s: Seconds = 0.05
    """How long an answer of the store is waited for."""


class Provider(Settings):
    """A service that answers."""

    not_yet = frozenset({"capabilities", "anthropic"})

    dialect: Literal["openai"]
    """What it speaks: `openai` is the OpenAI API, which vLLM, Groq, Mistral and many
    others speak too."""
    base_url: Annotated[str, AfterValidator(formats.base_url)]
    """Where its API begins, usually ending in /v1."""
    api_key: Annotated[SecretStr | None, FromReference(leaves_out=True)] = None
    """A reference to the credential, sent as `Authorization: Bearer`; without it none
    is sent."""
    preset: Literal["vllm"] | None = None
    """A known service: `vllm` needs no credential."""


class Target(Settings):
    """One model of one provider."""

    provider: str
    """Name of the provider."""
    model: Annotated[str, Field(min_length=1, max_length=256)]
    """What the provider calls the model."""
    context_window: Annotated[int, Field(ge=1)] | None = None
    """Tokens that fit; a prompt too long for one target goes to a larger one only."""
    weight: Annotated[float, Field(ge=0, le=1_000_000)] = 1.0
    """Its share of a `weighted` route, compared with the others'; 0 is asked last."""
    policy: str | None = None
    """Limits for this target instead of the route's. Deadline, attempts and whether to
    hedge stay the route's."""

    @property
    def name(self) -> str:
        """`provider/model`, as in logs, metrics and prices."""
        return f"{self.provider}/{self.model}"


class Route(Settings):
    """What clients ask for as `model`, and who answers."""

    not_yet = frozenset({"on_stream_break", "on_untranslatable"})

    strategy: Literal["failover", "weighted", "least_latency"] = "failover"
    """Whom to ask first, and who is next: `failover` keeps the order of the list,
    `weighted` draws by the targets' weights, `least_latency` takes the quicker and less
    busy of two drawn at random."""
    targets: Annotated[tuple[Target, ...], Field(strict=False, min_length=1)]
    """Who may answer; with `failover`, the first choice first."""
    policy: str = "default"
    """Name of the policy."""
    on_malformed_chunk: Literal["skip", "break"] = "skip"
    """What to do with an event of a stream that is not JSON."""
    on_content_filter: Literal["fail", "fallback"] = "fail"
    """Whether a prompt that one provider's filter refuses may go to the next."""
    upstream_stream: Literal["auto", "never"] = "auto"
    """`auto` streams from the provider even when the client does not, so that silence
    is noticed early; `never` asks as the client asked."""


class KeyLimits(Settings):
    """How much a key may ask for."""

    not_yet = frozenset({"tokens_per_minute", "concurrent"})

    requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    """Requests per minute; not limited when not set."""


class Key(Settings):
    """Who may ask. The key itself is never stored."""

    not_yet = frozenset({"class", "quotas"})

    id: Name
    """Name of the key, in logs."""
    sha256: Annotated[
        SecretStr, FromReference(literal=True, leaves_out=True, check=formats.sha256)
    ]
    """SHA-256 of the key as 64 hexadecimal digits, or a reference to it."""
    project: Name
    """Whom its usage is counted for."""
    routes: Annotated[tuple[str, ...], Field(strict=False)] | None = None
    """Routes it may use; every one when not set."""
    limits: KeyLimits = KeyLimits()
    """How much it may ask for."""
    expires: date | None = None
    """First day, in UTC, on which it is refused; never when not set."""

    @property
    def expires_at(self) -> datetime | None:
        """The moment from which the key is refused."""
        if self.expires is None:
            return None
        return datetime.combine(self.expires, time(), UTC)


class Price(Settings):
    """What a model costs, in USD per million tokens."""

    input: Annotated[float, Field(ge=0)]
    """Tokens of the prompt."""
    output: Annotated[float, Field(ge=0)]
    """Tokens of the answer."""
    cache_read: Annotated[float, Field(ge=0)] | None = None
    """Tokens of the prompt that the provider had cached; `input` when not set."""


class Logs(Settings):
    """What is logged."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least serious level that is logged."""


class Traces(Settings):
    """Where traces go."""

    not_yet = frozenset({"capture_content"})

    endpoint: Annotated[
        SecretStr | None, FromReference(literal=True, check=formats.endpoint)
    ] = None
    """OTLP/HTTP collector, or a reference to its URL; no traces when not set."""
    sample_ratio: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Share of requests that are traced."""


class Telemetry(Settings):
    """What the gateway tells about itself."""

    not_yet = frozenset({"metrics"})

    logs: Logs = Logs()
    """What is logged."""
    traces: Traces = Traces()
    """Where traces go."""


class Config(Settings):
    """The whole of gateway.yaml. Read one by `app.config.load`."""

    not_yet = frozenset({"admin_keys"})

    service: Service = Service()
    """Who this is, in logs and traces."""
    server: Server = Server()
    """How it listens."""
    store: Store = Store()
    """Where state is kept that replicas share."""
    providers: Annotated[Mapping[Name, Provider], Field(min_length=1)]
    """Services that answer, by name."""
    routes: Annotated[Mapping[RouteName, Route], Field(min_length=1)]
    """What clients may ask for as `model`."""
    policies: Annotated[Mapping[Name, Policy], AfterValidator(_with_default_policy)] = {
        "default": Policy()
    }
    """Limits, by name. `default` always exists."""
    keys: Annotated[tuple[Key, ...], Field(strict=False)]
    """Who may ask."""
    prices: Mapping[str, Price] = {}
    """What targets cost, by provider/model."""
    telemetry: Telemetry = Telemetry()
    """What the gateway tells about itself."""

    _notes: tuple[str, ...] = PrivateAttr(default=())

    @property
    def notes(self) -> tuple[str, ...]:
        """What loading left out or found odd: to be logged at start-up."""
        return self._notes

    def with_notes(self, notes: tuple[str, ...]) -> Self:
        """Return the same configuration with these notes."""
        copy = self.model_copy()
        copy._notes = notes
        return copy

    def policy_of(self, route: Route, target: Target) -> Policy:
        """Return the policy whose layers hold for `target` on `route`."""
        return self.policies[target.policy or route.policy]
