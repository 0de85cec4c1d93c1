"""Did the gateway get a CPU when it wanted one? Its time in the run queue, by window.

A hypothesis about latency can be refuted by a neighbour on the same machine. The kernel
counts how long each thread was ready and had to wait, which no fault of the gateway's
own can raise while the machine is idle. The rule it keeps: it only looks; where the
kernel tells nothing (not Linux), it says so by `None`.

Source: Documentation/scheduler/sched-stats.rst of Linux, `/proc/<pid>/schedstat`.
"""

from dataclasses import dataclass, field
from pathlib import Path

WINDOW_S = 5.0
# Seen with this gateway on two cores: at 4 to 9 % its p95 is that of an idle machine.
STARVED_ABOVE = 0.10
_NS_PER_S = 1e9


def waited_s(pid: int) -> float | None:
    """Seconds that the threads of a process have spent waiting for a CPU, in all."""
    total_ns = 0
    found = False
    for thread in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            total_ns += int(thread.read_text().split()[1])
            found = True
        except (OSError, IndexError, ValueError):
            # A thread that ended between the listing and the look.
            continue
    return total_ns / _NS_PER_S if found else None


@dataclass(slots=True)
class Starvation:
    """The worst share of any window that a process spent waiting for a CPU."""

    pid: int
    worst: float | None = None
    _marks: list[tuple[float, float]] = field(default_factory=list)

    def look(self, at_s: float) -> None:
        """Takes one look; call it often, with seconds that only grow."""
        waited = waited_s(self.pid)
        if waited is not None:
            self.add(at_s, waited)

    def add(self, at_s: float, total_waited_s: float) -> None:
        """Adds one reading of the total at `at_s`."""
        self._marks.append((at_s, total_waited_s))
        while self._marks[-1][0] - self._marks[0][0] >= WINDOW_S:
            began_s, before_s = self._marks.pop(0)
            share = (total_waited_s - before_s) / (at_s - began_s)
            self.worst = max(self.worst or 0.0, share)
