"""Renders an overlay with the kustomize at hand, and finds objects in the result.

What is tested is what would be applied. Must not live here: any judgement of it.
"""

import functools
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from tests.manifests.schemas import REPOSITORY, Json

OVERLAYS: Final = tuple(
    sorted(
        path.parent.name
        for path in REPOSITORY.glob("k8s/overlays/*/kustomization.yaml")
    )
)
RENDER_TIMEOUT_S: Final = 60


@functools.cache
def kustomize() -> tuple[str, ...]:
    """The command that renders a folder: kubectl's, kustomize's, or the one built here.

    Raises:
        RuntimeError: there is none and none could be built; it says what to do.
    """
    if kubectl := shutil.which("kubectl"):
        return (kubectl, "kustomize")
    if found := shutil.which("kustomize"):
        return (found, "build")
    built = subprocess.run(
        [str(REPOSITORY / "scripts" / "tools.sh"), "kustomize"],
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode:
        raise RuntimeError(
            "Manifests cannot be rendered: neither kubectl nor kustomize is on PATH, "
            f"and scripts/tools.sh could not build kustomize:\n{built.stderr}"
        )
    return (built.stdout.strip(), "build")


@functools.cache
def rendered(overlay: str) -> str:
    """The YAML that `kubectl apply -k` would send for an overlay."""
    done = subprocess.run(
        [*kustomize(), str(REPOSITORY / "k8s" / "overlays" / overlay)],
        capture_output=True,
        text=True,
        check=False,
        timeout=RENDER_TIMEOUT_S,
    )
    if done.returncode:
        raise AssertionError(f"overlay {overlay} does not render:\n{done.stderr}")
    return done.stdout


def documents(overlay: str) -> list[Json]:
    """Every object of an overlay, freshly parsed: a test may change what it gets."""
    return [doc for doc in yaml.safe_load_all(rendered(overlay)) if doc]


@dataclass(frozen=True, slots=True)
class Cluster:
    """The objects of one overlay, with the questions that tests ask of them."""

    objects: tuple[Json, ...]

    @classmethod
    def of(cls, overlay: str) -> "Cluster":
        """What the overlay would put into a cluster."""
        return cls(tuple(documents(overlay)))

    def kind(self, kind: str) -> list[Json]:
        """All objects of a kind; never none, or a test over them would pass unseen."""
        found = [doc for doc in self.objects if doc["kind"] == kind]
        assert found, f"there is no {kind}"
        return found

    def get(self, kind: str, name: str) -> Json:
        """One object by kind and name."""
        found = [doc for doc in self.kind(kind) if doc["metadata"]["name"] == name]
        assert len(found) == 1, f"{len(found)} of {kind}/{name}"
        return found[0]

    def pod_templates(self) -> Iterator[tuple[str, Json]]:
        """Name and template of everything that makes pods."""
        for doc in self.objects:
            if template := doc.get("spec", {}).get("template"):
                yield f"{doc['kind']}/{doc['metadata']['name']}", template

    def pods_selected(self, selector: Mapping[str, str]) -> list[Json]:
        """The pod templates whose labels a matchLabels selector takes."""
        return [
            template
            for _, template in self.pod_templates()
            if selected(selector, template["metadata"]["labels"])
        ]


def selected(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether labels satisfy a matchLabels selector. An empty one takes everything."""
    return all(labels.get(key) == value for key, value in selector.items())


def containers(template: Json) -> list[Json]:
    """Every container of a pod template, init containers too."""
    spec = template["spec"]
    return [*spec.get("initContainers", ()), *spec["containers"]]


def port_numbers(templates: Iterable[Json], port: Any) -> set[int]:
    """The container ports that a Service or a policy means by a number or a name."""
    return {
        declared["containerPort"]
        for template in templates
        for container in containers(template)
        for declared in container.get("ports", ())
        if port in (declared["containerPort"], declared.get("name"))
    }
