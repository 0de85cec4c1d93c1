"""Events reach everyone who listens; a listener that raises harms nobody."""

import pytest

from resilience.events import CooldownStarted, Listeners, Silent
from tests.resilience.scenery import Recorder


def test_every_listener_hears_even_after_one_that_raises(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken:
        def on_event(self, event: object) -> None:
            raise RuntimeError("listener")

    first, last = Recorder(), Recorder()
    event = CooldownStarted("a", 1.0)

    Listeners([first, Broken(), Silent(), last]).on_event(event)

    assert first.events == last.events == [event]
    assert "a listener failed on CooldownStarted" in caplog.text
