"""The cluster form of each experiment: valid, safe, and about pods that exist."""

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from scripts.chaos.experiments import Experiment, all_experiments, load_profile
from tests.chaos.workflow_rules import (
    broken,
    by_name,
    is_chaos,
    seconds,
    selectors,
    templates,
)
from tests.manifests.render import Cluster
from tests.manifests.schemas import validate

type Json = dict[str, Any]

EXPERIMENTS = all_experiments()
NAMESPACE = "breakwater-chaos"


def workflow_of(experiment: Experiment) -> Json:
    text = (experiment.directory / "workflow.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))


@pytest.fixture(params=EXPERIMENTS, ids=lambda each: each.name)
def experiment(request: pytest.FixtureRequest) -> Experiment:
    chosen: Experiment = request.param
    return chosen


@pytest.fixture
def workflow(experiment: Experiment) -> Json:
    return workflow_of(experiment)


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster.of("chaos")


def test_a_workflow_fits_the_schema_of_chaos_mesh(workflow: Json) -> None:
    validate(workflow)


def test_a_workflow_breaks_no_rule_of_the_webhook(workflow: Json) -> None:
    assert broken(workflow) == []


def test_faults_stay_in_the_namespace_that_has_opted_in(
    workflow: Json, cluster: Cluster
) -> None:
    (namespace,) = cluster.kind("Namespace")
    assert namespace["metadata"]["name"] == NAMESPACE
    assert namespace["metadata"]["annotations"]["chaos-mesh.org/inject"] == "enabled"
    assert workflow["metadata"]["namespace"] == NAMESPACE
    for template in templates(workflow):
        for selector in selectors(template):
            assert selector["namespaces"] == [NAMESPACE]


def test_every_selector_finds_pods(workflow: Json, cluster: Cluster) -> None:
    """A selector that matches nothing injects nothing, and says nothing."""
    chosen = [each for node in templates(workflow) for each in selectors(node)]
    assert chosen
    for selector in chosen:
        assert cluster.pods_selected(selector["labelSelectors"]), selector


def test_targets_are_reached_by_the_addresses_of_their_pods(
    workflow: Json, cluster: Cluster
) -> None:
    """Traffic to a cluster address would pass by the fault."""
    for template in filter(is_chaos, templates(workflow)):
        target = template.get("networkChaos", {}).get("target")
        if target is None:
            continue
        labels = target["selector"]["labelSelectors"]
        services = [
            service
            for service in cluster.kind("Service")
            if service["spec"].get("selector", {}).items() <= labels.items()
        ]
        assert services, f"no service leads to {labels}"
        assert {each["spec"]["clusterIP"] for each in services} == {"None"}


def test_a_workflow_keeps_the_times_of_its_profile(workflow: Json) -> None:
    phases_s = load_profile("staging").phases_s
    (baseline,) = (
        each for each in templates(workflow) if each["templateType"] == "Suspend"
    )
    assert seconds(baseline["deadline"]) == phases_s["baseline"]
    for template in filter(is_chaos, templates(workflow)):
        assert seconds(template["deadline"]) == phases_s["fault"]


def test_the_runbook_starts_the_judge_that_the_workflow_asks(
    experiment: Experiment, workflow: Json
) -> None:
    runbook = (experiment.directory / "RUNBOOK.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"<<'YAML'\n(.*?)YAML\n", runbook, re.DOTALL)
    test_run = yaml.safe_load(re.sub(r"^ {3}", "", block, flags=re.MULTILINE))
    validate(test_run)
    assert test_run["metadata"]["namespace"] == NAMESPACE
    (check,) = (
        each for each in templates(workflow) if each["templateType"] == "StatusCheck"
    )
    url = check["statusCheck"]["http"]["url"]
    assert url.startswith(
        f"http://{test_run['metadata']['name']}-service-1.{NAMESPACE}.svc:"
    )


def test_the_routes_of_an_experiment_exist_in_the_cluster(
    experiment: Experiment, cluster: Cluster
) -> None:
    (config,) = (
        doc["data"]["gateway.yaml"]
        for doc in cluster.kind("ConfigMap")
        if "gateway.yaml" in doc["data"]
    )
    routes = yaml.safe_load(config)["routes"]
    for name, route in experiment.routes.items():
        targets = tuple(each["provider"] for each in routes[name]["targets"])
        assert targets == route.targets, name


# ---- the rules themselves: each finds its violation ----------------------------------


def _without_deadline(workflow: Json) -> None:
    del by_name(workflow)["baseline"]["deadline"]


def _with_duration(workflow: Json) -> None:
    by_name(workflow)["provider-a-falls-silent"]["networkChaos"]["duration"] = "2m"


def _without_target(workflow: Json) -> None:
    del by_name(workflow)["provider-a-falls-silent"]["networkChaos"]["target"]


def _with_a_host_name(workflow: Json) -> None:
    spec = by_name(workflow)["provider-a-falls-silent"]["networkChaos"]
    spec["externalTargets"] = ["provider.example"]


def _towards_external_targets(workflow: Json) -> None:
    spec = by_name(workflow)["provider-a-falls-silent"]["networkChaos"]
    spec["externalTargets"] = ["192.0.2.1"]


def _with_children_of_a_check(workflow: Json) -> None:
    by_name(workflow)["judge-is-content"]["children"] = ["baseline"]


def _with_branches_outside_a_task(workflow: Json) -> None:
    by_name(workflow)["experiment"]["conditionalBranches"] = []


def _with_an_unknown_kind(workflow: Json) -> None:
    by_name(workflow)["baseline"]["templateType"] = "Pause"


def _with_an_unknown_child(workflow: Json) -> None:
    by_name(workflow)["experiment"]["children"].append("nobody")


def _with_an_unknown_entry(workflow: Json) -> None:
    workflow["spec"]["entry"] = "nobody"


def _with_a_name_twice(workflow: Json) -> None:
    templates(workflow)[0]["name"] = templates(workflow)[1]["name"]


def _with_a_fault_that_is_never_run(workflow: Json) -> None:
    by_name(workflow)["baseline-then-fault"]["children"].remove(
        "provider-a-falls-silent"
    )


def _with_a_check_that_aborts_nothing(workflow: Json) -> None:
    by_name(workflow)["judge-is-content"]["abortWithStatusCheck"] = False


def _with_a_check_that_looks_once(workflow: Json) -> None:
    by_name(workflow)["judge-is-content"]["statusCheck"]["mode"] = "Synchronous"


def _with_a_check_that_ends_early(workflow: Json) -> None:
    by_name(workflow)["judge-is-content"]["deadline"] = "90s"


def _with_a_parent_that_ends_early(workflow: Json) -> None:
    by_name(workflow)["experiment"]["deadline"] = "60s"


VIOLATIONS: dict[Callable[[Json], None], str] = {
    _without_deadline: "baseline has no deadline",
    _with_duration: "refuses a duration",
    _without_target: "all egress",
    _with_a_host_name: "give an IPv4",
    _towards_external_targets: "direction to only",
    _with_children_of_a_check: "a StatusCheck takes no children",
    _with_branches_outside_a_task: "takes no conditionalBranches",
    _with_an_unknown_kind: "no templateType Pause",
    _with_an_unknown_child: "unknown child nobody",
    _with_an_unknown_entry: "nobody is no template",
    _with_a_name_twice: "the same name",
    _with_a_fault_that_is_never_run: "is never run",
    _with_a_check_that_aborts_nothing: "aborts nothing",
    _with_a_check_that_looks_once: "looks once only",
    _with_a_check_that_ends_early: "stops looking",
    _with_a_parent_that_ends_early: "ends before its children",
}


@pytest.mark.parametrize(
    ("violate", "sentence"),
    VIOLATIONS.items(),
    ids=[each.__name__.strip("_") for each in VIOLATIONS],
)
def test_each_rule_finds_its_violation(
    violate: Callable[[Json], None], sentence: str
) -> None:
    (experiment,) = (each for each in EXPERIMENTS if each.number == 3)
    workflow = copy.deepcopy(workflow_of(experiment))
    violate(workflow)
    assert any(sentence in found for found in broken(workflow)), broken(workflow)
