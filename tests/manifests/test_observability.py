"""What compose's Prometheus and Grafana are given: fresh, complete, and about us."""

import json
import re
from typing import Any, Final

import pytest
import yaml

from scripts import dashboards
from tests.manifests.schemas import REPOSITORY

GRAFANA: Final = REPOSITORY / "observability" / "grafana"
COMPOSE: Final[dict[str, Any]] = yaml.safe_load(
    (REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8")
)
FILES: Final = sorted((GRAFANA / "dashboards").glob("*.json"))


@pytest.fixture(params=FILES, ids=lambda path: path.name)
def dashboard(request: pytest.FixtureRequest) -> dict[str, Any]:
    return dict(json.loads(request.param.read_text(encoding="utf-8")))


def graphs(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def test_the_dashboards_are_what_the_script_makes() -> None:
    assert dashboards.stale(dashboards.DASHBOARDS) == []


def test_every_panel_says_what_it_shows_and_asks_our_metrics(
    dashboard: dict[str, Any],
) -> None:
    for panel in graphs(dashboard):
        assert panel["description"], panel["title"]
        for target in panel["targets"]:
            assert "llm_gateway_" in target["expr"], panel["title"]
            assert target["legendFormat"], panel["title"]


def test_every_panel_uses_the_datasource_that_is_provisioned(
    dashboard: dict[str, Any],
) -> None:
    text = (GRAFANA / "provisioning/datasources/prometheus.yaml").read_text("utf-8")
    known = {source["uid"] for source in yaml.safe_load(text)["datasources"]}
    for panel in graphs(dashboard):
        for asked in [panel, *panel["targets"]]:
            assert asked["datasource"]["uid"] in known


def test_panels_do_not_overlap_and_have_numbers_of_their_own(
    dashboard: dict[str, Any],
) -> None:
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(numbers) == len(set(numbers))
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= dashboards.GRID_COLUMNS
        taken |= cells


def test_rates_leave_their_window_to_grafana(dashboard: dict[str, Any]) -> None:
    for panel in graphs(dashboard):
        for target in panel["targets"]:
            windows = re.findall(r"\[(.+?)\]", target["expr"])
            assert set(windows) <= {"$__rate_interval"}, panel["title"]


def test_grafana_finds_the_dashboards_where_compose_mounts_them() -> None:
    text = (GRAFANA / "provisioning/dashboards/breakwater.yaml").read_text("utf-8")
    (provider,) = yaml.safe_load(text)["providers"]
    grafana = COMPOSE["services"]["grafana"]
    mounts = {volume["target"]: volume["source"] for volume in grafana["volumes"]}
    folder = provider["options"]["path"]
    assert (REPOSITORY / mounts[folder]) == GRAFANA / "dashboards"
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (GRAFANA / "dashboards" / home.removeprefix(f"{folder}/")).exists()


def test_grafana_lets_everybody_look_and_nobody_change() -> None:
    environment = COMPOSE["services"]["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_AUTH_BASIC_ENABLED"] == "false"
    assert environment["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"


def test_prometheus_scrapes_services_that_compose_runs() -> None:
    text = (REPOSITORY / COMPOSE["configs"]["prometheus"]["file"]).read_text("utf-8")
    jobs = {job["job_name"]: job for job in yaml.safe_load(text)["scrape_configs"]}
    (discovery,) = jobs["gateway"]["dns_sd_configs"]
    assert set(discovery["names"]) <= COMPOSE["services"].keys()
    assert jobs["gateway"]["metrics_path"] == "/metrics"
    assert discovery["port"] == 8080
