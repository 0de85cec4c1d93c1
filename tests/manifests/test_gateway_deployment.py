"""What the gateway promises operators: rollouts, drains and outages break nothing."""

from typing import Final

import pytest
import yaml

from tests.manifests.render import OVERLAYS, Cluster, containers
from tests.manifests.schemas import REPOSITORY, Json, validate

LEAVE_S: Final = 10
"""Seconds to spare between the end of the longest stream and the kill."""


@pytest.fixture(params=OVERLAYS)
def cluster(request: pytest.FixtureRequest) -> Cluster:
    return Cluster.of(request.param)


@pytest.fixture
def deployment(cluster: Cluster) -> Json:
    return cluster.get("Deployment", "gateway")


@pytest.fixture
def container(deployment: Json) -> Json:
    (only,) = containers(deployment["spec"]["template"])
    return only


@pytest.fixture
def config(cluster: Cluster, deployment: Json) -> Json:
    """The gateway.yaml that the pods of the overlay mount."""
    (volume,) = (
        volume
        for volume in deployment["spec"]["template"]["spec"]["volumes"]
        if volume["name"] == "config"
    )
    data = cluster.get("ConfigMap", volume["configMap"]["name"])["data"]
    return dict(yaml.safe_load(data["gateway.yaml"]))


def test_a_rollout_never_takes_a_pod_away_before_its_successor_is_ready(
    deployment: Json,
) -> None:
    rolling = deployment["spec"]["strategy"]["rollingUpdate"]
    assert rolling["maxUnavailable"] == 0
    assert rolling["maxSurge"] >= 1


def test_liveness_and_readiness_ask_different_questions(container: Json) -> None:
    assert container["startupProbe"]["httpGet"]["path"] == "/livez"
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_no_probe_touches_a_provider_or_the_store(container: Json) -> None:
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert "exec" not in container[kind]
        assert "/health/providers" not in container[kind]["httpGet"]["path"]


def test_a_pod_that_leaves_has_time_for_its_longest_stream(
    deployment: Json, container: Json, config: Json
) -> None:
    grace_s = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    pause_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    longest_s = max(policy["deadline_s"] for policy in config["policies"].values())
    drain_s = config["server"]["drain_timeout_s"]
    assert pause_s >= 10
    assert drain_s >= longest_s
    assert grace_s >= pause_s + drain_s + LEAVE_S


def test_the_base_configuration_fits_the_time_its_pods_are_given() -> None:
    """No overlay here deploys the base's own gateway.yaml; those of others will."""
    base = REPOSITORY / "k8s" / "base"
    config = yaml.safe_load((base / "gateway.yaml").read_text(encoding="utf-8"))
    deployment = yaml.safe_load((base / "deployment.yaml").read_text(encoding="utf-8"))
    (container,) = containers(deployment["spec"]["template"])
    test_a_pod_that_leaves_has_time_for_its_longest_stream(
        deployment, container, config
    )


def test_the_base_alone_is_valid_and_its_configuration_immutable() -> None:
    """Overlays of other environments keep its generator."""
    base = Cluster.of("../base")
    for doc in base.objects:
        validate(doc)
    (config_map,) = base.kind("ConfigMap")
    assert config_map["immutable"] is True


def test_pods_of_one_revision_spread_over_zones_and_nodes(deployment: Json) -> None:
    template = deployment["spec"]["template"]
    constraints = template["spec"]["topologySpreadConstraints"]
    keys = {constraint["topologyKey"] for constraint in constraints}
    assert keys == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
    for constraint in constraints:
        assert constraint["matchLabelKeys"] == ["pod-template-hash"]
        assert constraint["labelSelector"] == deployment["spec"]["selector"]


def test_the_autoscaler_follows_requests_in_flight_and_cpu(cluster: Cluster) -> None:
    spec = cluster.get("HorizontalPodAutoscaler", "gateway")["spec"]
    by_type = {metric["type"]: metric for metric in spec["metrics"]}
    assert by_type.keys() == {"Pods", "Resource"}
    in_flight = by_type["Pods"]["pods"]["metric"]["name"]
    assert in_flight == "llm_gateway_requests_in_flight"
    assert by_type["Resource"]["resource"]["name"] == "cpu"


def test_the_autoscaler_goes_up_fast_and_down_slowly(cluster: Cluster) -> None:
    behavior = cluster.get("HorizontalPodAutoscaler", "gateway")["spec"]["behavior"]
    assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] >= 300


def test_the_configuration_is_mounted_where_the_gateway_is_told_to_look(
    container: Json,
) -> None:
    (mount,) = (m for m in container["volumeMounts"] if m["name"] == "config")
    told = container["args"][container["args"].index("--config") + 1]
    assert told == f"{mount['mountPath']}/gateway.yaml"
    assert mount["readOnly"] is True


def test_the_gateway_listens_where_the_container_says(
    container: Json, config: Json
) -> None:
    (port,) = container["ports"]
    told = container["args"][container["args"].index("--port") + 1]
    assert str(port["containerPort"]) == told == str(config["server"]["port"])


def test_every_address_inside_the_cluster_is_a_service_of_the_overlay(
    cluster: Cluster, config: Json
) -> None:
    urls = [provider["base_url"] for provider in config["providers"].values()]
    inside = [url for url in [*urls, config["store"]["url"]] if "https:" not in url]
    served = {
        f"{doc['metadata']['name']}:{port['port']}"
        for doc in cluster.kind("Service")
        for port in doc["spec"]["ports"]
    }
    assert inside
    for url in inside:
        assert url.split("//")[1].split("/")[0] in served, url


def test_what_a_fault_aims_at_is_reached_by_pod_address(cluster: Cluster) -> None:
    """Chaos Mesh matches pod addresses; traffic to a cluster address slips past it."""
    for doc in cluster.kind("Service"):
        component = doc["metadata"]["labels"].get("app.kubernetes.io/component")
        if component in {"store", "provider"}:
            assert doc["spec"]["clusterIP"] == "None", doc["metadata"]["name"]


def test_only_the_chaos_overlay_opts_in_to_chaos() -> None:
    for overlay in OVERLAYS:
        (namespace,) = Cluster.of(overlay).kind("Namespace")
        annotations = namespace["metadata"].get("annotations", {})
        opted_in = annotations.get("chaos-mesh.org/inject") == "enabled"
        assert opted_in == (overlay == "chaos"), overlay


def test_an_experiment_has_three_gateways_or_more() -> None:
    autoscaler = Cluster.of("chaos").get("HorizontalPodAutoscaler", "gateway")
    assert autoscaler["spec"]["minReplicas"] >= 3
