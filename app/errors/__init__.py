"""Every error the gateway raises on purpose.

    AppError            code, user-safe message; its status is in api/error_table.py
      CallerError       the client's to mend
        InvalidRequest, Unauthenticated, ModelNotAllowed, ModelNotFound, NotFound,
        MethodNotAllowed, PayloadTooLarge, HeadersTooLarge, RateLimited,
        QuotaExceeded
      UpstreamError     a provider's failure, before or after the commit point
        UpstreamUnavailable, UpstreamOverloaded, UpstreamGarbled, StreamBroken,
        UpstreamThrottled, UpstreamAuthFailed, UpstreamPoolFull
        UpstreamRefused (the request itself): ContextTooLong, ContentFiltered
      GatewayError      ours
        Overloaded, Draining, DeadlineExceeded, InternalError, StoreUnavailable,
        EmbeddedStoreMissing
        AllTargetsFailed: AllTargetsRefused, AllTargetsThrottled

Rule: a message here is safe to show to anyone; what only operators may see goes into
`detail`, which is logged and never sent. Errors of an attempt state as class
attributes how they count and what may be done (`resilience.outcome`); nothing is
decided from message texts. HTTP status codes live in `api/error_table.py` alone.
"""

from app.errors.kinds import (
    AllTargetsFailed,
    AllTargetsRefused,
    AllTargetsThrottled,
    AppError,
    CallerError,
    ContentFiltered,
    ContextTooLong,
    DeadlineExceeded,
    Draining,
    EmbeddedStoreMissing,
    GatewayError,
    HeadersTooLarge,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    ModelNotAllowed,
    ModelNotFound,
    NotFound,
    Overloaded,
    PayloadTooLarge,
    QuotaExceeded,
    RateLimited,
    StoreUnavailable,
    StreamBroken,
    Unauthenticated,
    UpstreamAuthFailed,
    UpstreamError,
    UpstreamGarbled,
    UpstreamOverloaded,
    UpstreamPoolFull,
    UpstreamRefused,
    UpstreamThrottled,
    UpstreamUnavailable,
)
from app.errors.verdicts import classify, is_bug

__all__ = [
    "AllTargetsFailed",
    "AllTargetsRefused",
    "AllTargetsThrottled",
    "AppError",
    "CallerError",
    "ContentFiltered",
    "ContextTooLong",
    "DeadlineExceeded",
    "Draining",
    "EmbeddedStoreMissing",
    "GatewayError",
    "HeadersTooLarge",
    "InternalError",
    "InvalidRequest",
    "MethodNotAllowed",
    "ModelNotAllowed",
    "ModelNotFound",
    "NotFound",
    "Overloaded",
    "PayloadTooLarge",
    "QuotaExceeded",
    "RateLimited",
    "StoreUnavailable",
    "StreamBroken",
    "Unauthenticated",
    "UpstreamAuthFailed",
    "UpstreamError",
    "UpstreamGarbled",
    "UpstreamOverloaded",
    "UpstreamPoolFull",
    "UpstreamRefused",
    "UpstreamThrottled",
    "UpstreamUnavailable",
    "classify",
    "is_bug",
]

for _name in __all__:
    # Logs and tracebacks name them as everybody imports them.
    globals()[_name].__module__ = __name__
