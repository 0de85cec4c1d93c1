"""What the page shows is what the runs give: nobody edits a number."""

from tests.simulation.report import DOCS, PAGE, page, pictures

AGAIN = "run `python -m tests.simulation.report` and look at what has changed"


def test_the_pictures_are_those_of_the_runs() -> None:
    for name, picture in pictures().items():
        assert (DOCS / "img" / name).read_text("utf-8") == picture, (name, AGAIN)


def test_the_numbers_are_those_of_the_runs() -> None:
    written = PAGE.read_text("utf-8")

    assert page(written) == written, AGAIN


def test_every_picture_is_shown() -> None:
    written = PAGE.read_text("utf-8")

    for name in pictures():
        assert f"(img/{name})" in written
