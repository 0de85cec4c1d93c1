"""What every overlay must be, whatever is in it: valid, hardened, wired together."""

import re
from decimal import Decimal
from typing import Final

import pytest
import yaml

from tests.manifests.render import (
    OVERLAYS,
    Cluster,
    containers,
    port_numbers,
    selected,
)
from tests.manifests.schemas import Json, name_of, validate

QUANTITY: Final = re.compile(r"^\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$")
SCALE: Final = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
}
SECRET_LIKE: Final = re.compile(r"\b(sk-|bw-|Bearer )[\w-]{8,}|password\s*:", re.I)


@pytest.fixture(params=OVERLAYS)
def cluster(request: pytest.FixtureRequest) -> Cluster:
    return Cluster.of(request.param)


def amount(quantity: object) -> Decimal:
    """A Kubernetes quantity as a number. Source: resource.Quantity of apimachinery."""
    text = str(quantity)
    assert QUANTITY.match(text), f"{text!r} is no quantity"
    number = text.rstrip("mkMGTi") or "0"
    return Decimal(number) * SCALE[text.removeprefix(number)]


# ---- objects -------------------------------------------------------------------------


def test_there_are_overlays_to_test() -> None:
    assert {"local", "chaos"} <= set(OVERLAYS)


def test_every_object_fits_the_schema_of_its_kind(cluster: Cluster) -> None:
    for doc in cluster.objects:
        validate(doc)


def test_no_two_objects_are_the_same(cluster: Cluster) -> None:
    names = [name_of(doc) for doc in cluster.objects]
    assert len(names) == len(set(names))


def test_everything_lives_in_the_one_namespace_of_the_overlay(cluster: Cluster) -> None:
    (namespace,) = cluster.kind("Namespace")
    for doc in cluster.objects:
        if doc is not namespace:
            assert doc["metadata"]["namespace"] == namespace["metadata"]["name"]


def test_no_manifest_holds_a_secret(cluster: Cluster) -> None:
    assert not [doc for doc in cluster.objects if doc["kind"] == "Secret"]
    assert not SECRET_LIKE.search(yaml.safe_dump_all(cluster.objects))


def test_configuration_is_immutable_and_named_by_its_content(cluster: Cluster) -> None:
    for doc in cluster.kind("ConfigMap"):
        assert doc["immutable"] is True
        assert re.search(r"-[a-z0-9]{10}$", doc["metadata"]["name"])


def test_no_role_is_granted_to_anybody(cluster: Cluster) -> None:
    kinds = {doc["kind"] for doc in cluster.objects}
    assert not kinds & {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}


# ---- pods ----------------------------------------------------------------------------


def test_the_namespace_enforces_the_restricted_standard(cluster: Cluster) -> None:
    (namespace,) = cluster.kind("Namespace")
    labels = namespace["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_every_pod_keeps_to_the_restricted_standard(cluster: Cluster) -> None:
    """Pod Security Standards, restricted, field by field."""
    for name, template in cluster.pod_templates():
        spec = template["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        allowed = {"name", "configMap", "emptyDir", "secret", "projected"}
        for volume in spec.get("volumes", ()):
            assert volume.keys() <= allowed, (name, volume)
        for container in containers(template):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert not context.get("privileged"), name
            assert not any("hostPort" in port for port in container.get("ports", ()))


def test_no_pod_writes_to_its_image_or_speaks_to_the_cluster(cluster: Cluster) -> None:
    for name, template in cluster.pod_templates():
        assert template["spec"]["automountServiceAccountToken"] is False, name
        assert template["spec"]["enableServiceLinks"] is False, name
        for container in containers(template):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
    for account in cluster.kind("ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


def test_every_image_is_pinned_to_a_version(cluster: Cluster) -> None:
    for name, template in cluster.pod_templates():
        for container in containers(template):
            image = container["image"]
            repository, _, tag = image.rpartition(":")
            assert repository and tag not in {"", "latest"}, (name, image)


def test_every_container_asks_for_what_it_needs_and_is_limited(
    cluster: Cluster,
) -> None:
    for name, template in cluster.pod_templates():
        for container in containers(template):
            requests = container["resources"]["requests"]
            limits = container["resources"]["limits"]
            assert requests.keys() == limits.keys() == {"cpu", "memory"}, name
            for resource, requested in requests.items():
                assert 0 < amount(requested) <= amount(limits[resource]), name


def test_every_scratch_volume_has_a_size(cluster: Cluster) -> None:
    for name, template in cluster.pod_templates():
        for volume in template["spec"].get("volumes", ()):
            if "emptyDir" in volume:
                assert amount(volume["emptyDir"]["sizeLimit"]) > 0, name


def test_every_probe_asks_a_port_that_its_container_has(cluster: Cluster) -> None:
    for name, template in cluster.pod_templates():
        for container in containers(template):
            names = {port["name"] for port in container["ports"]}
            assert {"livenessProbe", "readinessProbe"} <= container.keys(), name
            for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
                probe = container.get(kind, {})
                for action in ("httpGet", "tcpSocket"):
                    if action in probe:
                        assert probe[action]["port"] in names, (name, kind)


def test_every_mount_has_its_volume_and_its_object(cluster: Cluster) -> None:
    for name, template in cluster.pod_templates():
        volumes = {
            volume["name"]: volume for volume in template["spec"].get("volumes", ())
        }
        mounted = {
            mount["name"]
            for container in containers(template)
            for mount in container.get("volumeMounts", ())
        }
        assert mounted == volumes.keys(), name
        for volume in volumes.values():
            if "configMap" in volume:
                cluster.get("ConfigMap", volume["configMap"]["name"])


# ---- wiring --------------------------------------------------------------------------


def test_every_workload_selects_its_own_pods_and_no_others(cluster: Cluster) -> None:
    for doc in cluster.kind("Deployment"):
        selector = doc["spec"]["selector"]["matchLabels"]
        own = doc["spec"]["template"]
        assert selected(selector, own["metadata"]["labels"]), name_of(doc)
        assert cluster.pods_selected(selector) == [own], name_of(doc)


def test_every_service_leads_to_pods_that_listen_there(cluster: Cluster) -> None:
    for doc in cluster.kind("Service"):
        pods = cluster.pods_selected(doc["spec"]["selector"])
        assert len(pods) == 1, name_of(doc)
        for port in doc["spec"]["ports"]:
            assert port_numbers(pods, port["targetPort"]), (name_of(doc), port)


def test_every_budget_covers_pods_and_lets_a_drain_go_on(cluster: Cluster) -> None:
    for doc in cluster.kind("PodDisruptionBudget"):
        assert cluster.pods_selected(doc["spec"]["selector"]["matchLabels"])
        assert doc["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
        assert doc["spec"].get("maxUnavailable") == 1


def test_every_autoscaler_owns_the_number_of_an_existing_workload(
    cluster: Cluster,
) -> None:
    for doc in cluster.kind("HorizontalPodAutoscaler"):
        target = doc["spec"]["scaleTargetRef"]
        workload = cluster.get(target["kind"], target["name"])
        assert workload["apiVersion"] == target["apiVersion"]
        assert "replicas" not in workload["spec"], "an apply would reset the number"
        assert 1 <= doc["spec"]["minReplicas"] <= doc["spec"]["maxReplicas"]


def test_the_namespace_denies_what_no_policy_allows(cluster: Cluster) -> None:
    spec = cluster.get("NetworkPolicy", "default-deny")["spec"]
    assert spec["podSelector"] == {}
    assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
    assert not {"ingress", "egress"} & spec.keys()


def test_every_policy_covers_pods_and_names_ports_they_have(cluster: Cluster) -> None:
    for doc in cluster.kind("NetworkPolicy"):
        selector = doc["spec"]["podSelector"].get("matchLabels", {})
        if selector == {"app": "k6"}:
            continue  # the runners are made by the k6-operator when a test starts
        pods = cluster.pods_selected(selector)
        assert pods, name_of(doc)
        for rule in doc["spec"].get("ingress", ()):
            for port in rule["ports"]:
                assert port_numbers(pods, port["port"]), (name_of(doc), port)


def test_every_peer_inside_the_namespace_exists_and_listens(cluster: Cluster) -> None:
    for doc in cluster.kind("NetworkPolicy"):
        for direction, side in (("ingress", "from"), ("egress", "to")):
            for rule in doc["spec"].get(direction, ()):
                for peer in rule[side]:
                    check_peer(cluster, peer, rule, direction)


def check_peer(cluster: Cluster, peer: Json, rule: Json, direction: str) -> None:
    labels = peer.get("podSelector", {}).get("matchLabels")
    if labels is None or "namespaceSelector" in peer or labels == {"app": "k6"}:
        return
    pods = cluster.pods_selected(labels)
    assert pods, f"no pod has {labels}"
    if direction == "egress":
        for port in rule.get("ports", ()):
            assert isinstance(port["port"], int), (
                "not every CNI resolves a peer's names"
            )
            assert port_numbers(pods, port["port"]), (labels, port)
