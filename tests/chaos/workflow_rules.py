"""What Chaos Mesh 2.8.3 refuses or silently does wrong, though its schema allows it.

Each rule is a function from a workflow to the sentences it is broken by; none is a
test. Sources: the admission webhook of chaos-mesh/chaos-mesh (`workflow_webhook.go`)
and its documented limits. What needs the cluster's other objects is in the tests.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

type Json = dict[str, Any]
type Rule = Callable[[Json], Iterator[str]]

# The field of a template that each kind of node fills; the others must stay empty.
BODY = {
    "Serial": "children",
    "Parallel": "children",
    "Suspend": None,
    "Task": "task",
    "Schedule": "schedule",
    "StatusCheck": "statusCheck",
    "AWSChaos": "awsChaos",
    "DNSChaos": "dnsChaos",
    "HTTPChaos": "httpChaos",
    "IOChaos": "ioChaos",
    "NetworkChaos": "networkChaos",
    "PodChaos": "podChaos",
    "StressChaos": "stressChaos",
    "TimeChaos": "timeChaos",
}
COMMON = {"name", "templateType", "deadline", "abortWithStatusCheck"}
DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
IPV4 = re.compile(r"\d{1,3}(\.\d{1,3}){3}(/\d{1,2})?")


def templates(workflow: Json) -> list[Json]:
    """The nodes of a workflow."""
    return list(workflow["spec"]["templates"])


def by_name(workflow: Json) -> dict[str, Json]:
    """The nodes of a workflow by name."""
    return {each["name"]: each for each in templates(workflow)}


def seconds(text: str) -> float:
    """A Go duration in seconds."""
    assert DURATION.fullmatch(text) or DURATION.match(text), text
    return sum(float(number) * UNIT_S[unit] for number, unit in DURATION.findall(text))


def is_chaos(template: Json) -> bool:
    """True for a node that injects."""
    return str(template["templateType"]).endswith("Chaos")


def selectors(template: Json) -> Iterator[Json]:
    """Every pod selector of a fault: what it hits, and what it cuts that off from."""
    if not is_chaos(template):
        return
    spec = template[str(BODY[template["templateType"]])]
    yield spec["selector"]
    if "target" in spec:
        yield spec["target"]["selector"]


def names_are_unique_and_known(workflow: Json) -> Iterator[str]:
    names = [each["name"] for each in templates(workflow)]
    if len(names) != len(set(names)):
        yield "two templates have the same name"
    if workflow["spec"]["entry"] not in names:
        yield f"the entry {workflow['spec']['entry']} is no template"
    for template in templates(workflow):
        if not NAME.fullmatch(template["name"]):
            yield f"{template['name']} is no DNS name"
        for child in template.get("children", []):
            if child not in names:
                yield f"{template['name']} has an unknown child {child}"


def every_node_is_reached(workflow: Json) -> Iterator[str]:
    nodes = by_name(workflow)
    reached: set[str] = set()
    waiting = [workflow["spec"]["entry"]]
    while waiting:
        name = waiting.pop()
        if name in reached or name not in nodes:
            continue
        reached.add(name)
        waiting += nodes[name].get("children", [])
    for name in nodes.keys() - reached:
        yield f"{name} is never run"


def every_node_has_a_body_of_its_kind(workflow: Json) -> Iterator[str]:
    for template in templates(workflow):
        kind = template["templateType"]
        if kind not in BODY:
            yield f"{template['name']}: there is no templateType {kind}"
            continue
        allowed = COMMON | ({BODY[kind]} if BODY[kind] else set())
        if kind == "Task":
            allowed |= {"conditionalBranches"}
        for field in template.keys() - allowed:
            yield f"{template['name']}: a {kind} takes no {field}"
        if BODY[kind] and not template.get(str(BODY[kind])):
            yield f"{template['name']}: a {kind} needs {BODY[kind]}"


def every_node_has_a_deadline(workflow: Json) -> Iterator[str]:
    for template in templates(workflow):
        deadline = template.get("deadline", "")
        if not DURATION.match(deadline):
            yield f"{template['name']} has no deadline"


def no_node_outlives_its_parent(workflow: Json) -> Iterator[str]:
    nodes = by_name(workflow)
    for template in templates(workflow):
        children = [
            nodes[child] for child in template.get("children", ()) if child in nodes
        ]
        needs = [seconds(child.get("deadline", "0s")) for child in children]
        own_s = seconds(template.get("deadline", "0s"))
        total_s = (
            sum(needs)
            if template["templateType"] == "Serial"
            else max(needs, default=0)
        )
        if children and own_s < total_s:
            yield f"{template['name']} ends before its children may"


def no_duration_is_set(workflow: Json) -> Iterator[str]:
    for template in templates(workflow):
        body = BODY.get(template["templateType"])
        if body and body != "children" and "duration" in template.get(body, {}):
            yield f"{template['name']}: the webhook refuses a duration"


def network_faults_name_what_they_cut_off(workflow: Json) -> Iterator[str]:
    for template in templates(workflow):
        if template["templateType"] != "NetworkChaos":
            continue
        spec = template["networkChaos"]
        addresses = spec.get("externalTargets", [])
        if "target" not in spec and not addresses:
            yield f"{template['name']} would hit all egress, probes too"
        if addresses and spec.get("direction", "to") != "to":
            yield f"{template['name']}: externalTargets work with direction to only"
        for address in addresses:
            if not IPV4.fullmatch(address):
                yield f"{template['name']}: {address} is resolved once, give an IPv4"


def the_judge_can_abort(workflow: Json) -> Iterator[str]:
    nodes = by_name(workflow)
    checks = [each for each in nodes.values() if each["templateType"] == "StatusCheck"]
    entry = nodes.get(workflow["spec"]["entry"], {})
    beside = set(entry.get("children", ()))
    if entry.get("templateType") != "Parallel" or not any(
        check["name"] in beside for check in checks
    ):
        yield "no StatusCheck runs in parallel with the fault"
    for check in checks:
        status = check.get("statusCheck", {})
        if not check.get("abortWithStatusCheck"):
            yield f"{check['name']} aborts nothing"
        if status.get("mode") != "Continuous":
            yield f"{check['name']} looks once only"
        if not status.get("http", {}).get("url", "").endswith(":6565/v1/status"):
            yield f"{check['name']} does not ask k6's own API"


def the_judge_is_asked_until_the_fault_ends(workflow: Json) -> Iterator[str]:
    nodes = by_name(workflow).values()
    steps = [
        each for each in nodes if each["templateType"] == "Suspend" or is_chaos(each)
    ]
    needed_s = sum(seconds(each.get("deadline", "0s")) for each in steps)
    for check in nodes:
        if check["templateType"] == "StatusCheck":
            if seconds(check.get("deadline", "0s")) < needed_s:
                yield f"{check['name']} stops looking before the fault ends"


RULES: tuple[Rule, ...] = (
    names_are_unique_and_known,
    every_node_is_reached,
    every_node_has_a_body_of_its_kind,
    every_node_has_a_deadline,
    no_node_outlives_its_parent,
    no_duration_is_set,
    network_faults_name_what_they_cut_off,
    the_judge_can_abort,
    the_judge_is_asked_until_the_fault_ends,
)


def broken(workflow: Json) -> list[str]:
    """Every sentence by which a workflow breaks a rule."""
    return [sentence for rule in RULES for sentence in rule(workflow)]
