"""Who may call, by the key they present."""

import gc
import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain import Client
from app.errors import Unauthenticated
from app.keys.keyring import KeyEntry, Keyring

KEY = "bw-a-key-made-for-this-test"
CLIENT = Client("team-a-1", "team-a")
EXPIRES = datetime(2026, 6, 1, tzinfo=UTC)


def digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def keyring(now: datetime | None = None, expires: datetime | None = None) -> Keyring:
    entries = {digest(KEY): KeyEntry(CLIENT, expires)}
    return Keyring(entries) if now is None else Keyring(entries, lambda: now)


def test_a_known_key_is_its_client() -> None:
    assert keyring().find(KEY) is CLIENT


@pytest.mark.parametrize("presented", [None, "", "bw-other", KEY[:-1], KEY + " ", "é"])
def test_any_other_key_is_nobodys(presented: str | None) -> None:
    with pytest.raises(Unauthenticated):
        keyring().find(presented)


def test_the_digest_of_a_key_is_no_key() -> None:
    with pytest.raises(Unauthenticated):
        keyring().find(digest(KEY).hex())


@given(presented=st.text(st.characters()))
def test_any_text_is_a_key_or_none_lone_surrogates_too(presented: str) -> None:
    with pytest.raises(Unauthenticated):
        keyring().find(presented)
    with pytest.raises(Unauthenticated):
        keyring().find(presented + "\ud800")


def test_a_key_is_valid_up_to_the_moment_it_expires() -> None:
    before = EXPIRES - timedelta(microseconds=1)
    assert keyring(before, EXPIRES).find(KEY) is CLIENT


@pytest.mark.parametrize("late", [timedelta(0), timedelta(days=1)])
def test_from_that_moment_on_it_is_not(late: timedelta) -> None:
    with pytest.raises(Unauthenticated, match="expired"):
        keyring(EXPIRES + late, EXPIRES).find(KEY)


def test_expiry_is_judged_by_the_clock_on_the_wall() -> None:
    now = datetime.now(UTC)
    assert keyring(expires=now + timedelta(days=1)).find(KEY) is CLIENT
    with pytest.raises(Unauthenticated):
        keyring(expires=now - timedelta(days=1)).find(KEY)


def test_what_is_configured_later_does_not_change_a_keyring() -> None:
    entries = {digest(KEY): KeyEntry(CLIENT)}
    ring = Keyring(entries)
    entries.clear()
    assert ring.find(KEY) is CLIENT


def test_nothing_in_memory_holds_a_key_in_clear() -> None:
    ring = keyring()
    for presented in (KEY, KEY + "x"):
        try:
            ring.find(presented)
        except Unauthenticated as exc:
            assert KEY not in f"{exc!r} {exc.detail} {exc.public_message}"
    reached, waiting = {id(ring)}, [ring]
    texts: list[str] = []
    while waiting:
        for held in gc.get_referents(waiting.pop()):
            if id(held) in reached or isinstance(held, type) or callable(held):
                continue
            reached.add(id(held))
            waiting.append(held)
            if isinstance(held, str | bytes):
                texts.append(repr(held))
    assert any("team-a-1" in text for text in texts), "the search found nothing"
    assert not any(KEY in text for text in texts)
