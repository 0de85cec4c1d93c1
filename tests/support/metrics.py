"""Reads an exposition as Prometheus would."""

from prometheus_client.parser import text_string_to_metric_families

PREFIX = "llm_gateway_"


class Samples:
    """The samples of one scrape."""

    def __init__(self, exposition: bytes) -> None:
        """Parse; an exposition that Prometheus would refuse raises."""
        self._samples = [
            sample
            for family in text_string_to_metric_families(exposition.decode())
            for sample in family.samples
        ]

    @property
    def names(self) -> set[str]:
        """The names of all samples."""
        return {sample.name for sample in self._samples}

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of `name` that have these labels.

        Raises:
            LookupError: there is no such series.
        """
        found = [
            sample.value
            for sample in self._samples
            if sample.name == PREFIX + name and sample.labels.items() >= labels.items()
        ]
        if not found:
            raise LookupError(f"no series {name} with {labels}")
        return sum(found)

    def nonzero(self, name: str, *by: str) -> dict[tuple[str, ...], float]:
        """Return what is not zero of `name`, by the values of the labels `by`."""
        found: dict[tuple[str, ...], float] = {}
        for sample in self._samples:
            if sample.name == PREFIX + name and sample.value:
                key = tuple(sample.labels[label] for label in by)
                found[key] = found.get(key, 0) + sample.value
        return found
