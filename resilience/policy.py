"""The one shape of every layer.

A policy wraps an *operation*: it may refuse it, delay it, repeat it, bound it, or
watch how it ends. It passes on the operation's own result or error, unchanged. What it
takes for the attempt it pushes on `call.leases`; whoever gave it that call releases
them when the attempt fails (`run_attempt`), or when the reply closes.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

from resilience.call import AttemptKind, Call

type Operation[T] = Callable[[Call], Awaitable[T]]
"""What is protected. It returns an *opened* result: for a stream, one whose first
meaningful content has arrived; what it must release later it pushes on `call.leases`.
"""


class Policy(Protocol):
    """A layer of a pipeline."""

    async def execute[T](self, operation: Operation[T], call: Call) -> T:
        """Run `operation` under this policy.

        Raises:
            Refused: the operation was not run.
            Exception: whatever the operation raised, unchanged.
        """
        ...


async def run_attempt[T](operation: Operation[T], call: Call, kind: AttemptKind) -> T:
    """Run one attempt with leases of its own.

    If it opens a reply, `call` takes over the leases; if it fails, they are released
    with its error before the error goes on.
    """
    fork = call.fork()
    fork.kind = kind
    try:
        opened = await operation(fork)
    except BaseException as exc:  # cancelled too: leases are held
        await fork.close(exc)
        raise
    call.adopt(fork)
    return opened
