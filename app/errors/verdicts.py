"""How an error of an attempt counts, and what may be done about it.

Rule: read from the class of the error, never from its text.
"""

from app.errors.kinds import AppError, InternalError, UpstreamError
from resilience.errors import ResilienceError
from resilience.outcome import Counts, Disposition, Verdict
from resilience.outcome import classify as classify_library_error


def classify(exc: BaseException) -> Verdict:
    """Tell `resilience` how an error of an attempt counts and what may be done."""
    if isinstance(exc, UpstreamError):
        return Verdict(
            exc.counts,
            exc.disposition,
            exc.reason,
            pace=exc.pace,
            condition=exc.condition,
            retry_after_s=exc.retry_after_s,
        )
    if is_bug(exc):
        # Neutral, or whoever finds a request that trips over it could open breakers;
        # worth another target, whose answer may not trip over it.
        return Verdict(Counts.NEUTRAL, Disposition.NEXT_TARGET, InternalError.code)
    if isinstance(exc, AppError):
        return Verdict(Counts.NEUTRAL, Disposition.GIVE_UP, exc.code)
    return classify_library_error(exc)


def is_bug(exc: BaseException) -> bool:
    """Whether nobody raised `exc` on purpose, or to say that it is a bug of ours."""
    if isinstance(exc, InternalError):
        return True
    return isinstance(exc, Exception) and not isinstance(
        exc, AppError | ResilienceError
    )
