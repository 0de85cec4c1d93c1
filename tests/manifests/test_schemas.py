"""The checker itself: what it refuses, and that it never passes for want of schemas."""

import copy
import hashlib
import re
from pathlib import Path

import pytest

from tests.manifests.render import Cluster
from tests.manifests.schemas import (
    REPOSITORY,
    Invalid,
    Json,
    SchemasMissing,
    schema_folder,
    validate,
)


@pytest.fixture
def deployment() -> Json:
    return copy.deepcopy(Cluster.of("local").get("Deployment", "gateway"))


@pytest.fixture
def workflow() -> Json:
    return {
        "apiVersion": "chaos-mesh.org/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": "experiment"},
        "spec": {
            "entry": "fault",
            "templates": [
                {
                    "name": "fault",
                    "templateType": "NetworkChaos",
                    "deadline": "30s",
                    "networkChaos": {
                        "action": "partition",
                        "mode": "all",
                        "selector": {"namespaces": ["somewhere"]},
                    },
                }
            ],
        },
    }


def test_a_field_nobody_declared_is_refused_in_a_builtin_kind(deployment: Json) -> None:
    deployment["spec"]["template"]["spec"]["containers"][0]["imagePolicy"] = "Always"
    with pytest.raises(Invalid, match="imagePolicy"):
        validate(deployment)


def test_a_wrong_type_is_refused_in_a_builtin_kind(deployment: Json) -> None:
    deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = "long"
    with pytest.raises(Invalid, match="terminationGracePeriodSeconds"):
        validate(deployment)


def test_a_version_that_kubernetes_no_longer_serves_is_refused() -> None:
    old = {
        "apiVersion": "autoscaling/v2beta2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "gateway"},
    }
    with pytest.raises(Invalid, match="no such kind"):
        validate(old)


def test_a_sound_custom_object_is_accepted(workflow: Json) -> None:
    validate(workflow)


def test_a_field_nobody_declared_is_refused_deep_in_a_custom_kind(
    workflow: Json,
) -> None:
    workflow["spec"]["templates"][0]["networkChaos"]["durations"] = "30s"
    with pytest.raises(Invalid, match=r"networkChaos.*durations"):
        validate(workflow)


def test_a_value_outside_its_enumeration_is_refused_in_a_custom_kind(
    workflow: Json,
) -> None:
    workflow["spec"]["templates"][0]["networkChaos"]["action"] = "blackhole"
    with pytest.raises(Invalid, match="blackhole"):
        validate(workflow)


def test_a_custom_kind_without_a_definition_is_refused(workflow: Json) -> None:
    workflow["kind"] = "Disaster"
    with pytest.raises(Invalid, match="no definition"):
        validate(workflow)


def test_ci_without_schemas_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(SchemasMissing, match=r"scripts/crd_schemas\.sh"):
        schema_folder({"CI": "true"})


def test_a_folder_without_definitions_is_an_error_and_not_a_pass(
    tmp_path: Path,
) -> None:
    with pytest.raises(SchemasMissing, match="No CustomResourceDefinition"):
        schema_folder({"CRD_SCHEMAS": str(tmp_path)})


def test_the_schemas_at_hand_are_the_ones_that_the_script_pins() -> None:
    """One pin for everybody: a local folder and the files CI fetches are the same."""
    script = (REPOSITORY / "scripts" / "crd_schemas.sh").read_text(encoding="utf-8")
    pins = re.findall(r"^([0-9a-f]{64}) \S+ v\S+ \S+/(\S+)$", script, re.MULTILINE)
    assert pins
    for digest, name in pins:
        (found,) = schema_folder().rglob(name)
        assert hashlib.sha256(found.read_bytes()).hexdigest() == digest, name
