"""Reads an exposition as Prometheus would."""

from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

PREFIX = "llm_gateway_"


class Samples:
    """The samples of one scrape; only what is asked for is parsed."""

    def __init__(self, exposition: bytes) -> None:
        """Keep the text."""
        self._lines = exposition.decode().splitlines()

    @property
    def names(self) -> set[str]:
        """The names of all samples; one that Prometheus would refuse raises."""
        return {sample.name for sample in _parsed(self._lines)}

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of `name` that have these labels.

        Raises:
            LookupError: there is no such series.
        """
        found = [
            sample.value
            for sample in self._of(name)
            if sample.labels.items() >= labels.items()
        ]
        if not found:
            raise LookupError(f"no series {name} with {labels}")
        return sum(found)

    def nonzero(self, name: str, *by: str) -> dict[tuple[str, ...], float]:
        """Return what is not zero of `name`, by the values of the labels `by`."""
        found: dict[tuple[str, ...], float] = {}
        for sample in self._of(name):
            if sample.value:
                key = tuple(sample.labels[label] for label in by)
                found[key] = found.get(key, 0) + sample.value
        return found

    def _of(self, name: str) -> Iterator[Sample]:
        starts = (f"{PREFIX}{name}{{", f"{PREFIX}{name} ")
        return _parsed([line for line in self._lines if line.startswith(starts)])


def _parsed(lines: list[str]) -> Iterator[Sample]:
    for family in text_string_to_metric_families("\n".join([*lines, ""])):
        yield from family.samples
