"""Turns how a chain ended into the error that the client gets.

Rule: what the caller can mend goes back as itself; a failure of everybody is told
apart from everybody's refusal, and from everybody's throttling, because the client
should do something else about each.
"""

from app.errors import (
    AllTargetsFailed,
    AllTargetsRefused,
    AllTargetsThrottled,
    DeadlineExceeded,
    InternalError,
    UpstreamPoolFull,
    UpstreamThrottled,
    is_bug,
)
from resilience.errors import ChainExhausted, CoolingDown, Refused
from resilience.errors import DeadlineExceeded as CallDeadlineExceeded

_RETRY_AFTER_S = 1.0
_THROTTLED = (CoolingDown, UpstreamThrottled)
_REFUSED = (Refused, UpstreamPoolFull, UpstreamThrottled)
"""Nobody failed: each is busy, paused or full, and will take requests again."""


def client_error(exc: BaseException) -> BaseException:
    """Return what the client gets for `exc`; an unknown exception stays a bug."""
    match exc:
        case ChainExhausted():
            return _exhausted(exc)
        case CallDeadlineExceeded():
            return DeadlineExceeded()
        case _:
            return exc


def _exhausted(exc: ChainExhausted) -> AllTargetsFailed | InternalError:
    causes = [cause for _, cause in exc.causes]
    if all(is_bug(cause) for cause in causes):
        return InternalError(detail=repr(causes[-1]))
    if all(isinstance(cause, _THROTTLED) for cause in causes):
        return AllTargetsThrottled(exc.causes, retry_after_s=_soonest_s(causes))
    if all(isinstance(cause, _REFUSED) for cause in causes):
        return AllTargetsRefused(exc.causes, retry_after_s=_soonest_s(causes))
    return AllTargetsFailed(exc.causes)


def _soonest_s(causes: list[BaseException]) -> float:
    """When the first of them may take a request again, in seconds."""
    named = [
        cause.retry_after_s
        for cause in causes
        if isinstance(cause, _REFUSED) and cause.retry_after_s is not None
    ]
    return min(named, default=_RETRY_AFTER_S)
