"""The `gateway` command: what it prints, and how it ends."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml
from typer.testing import CliRunner

from app.cli import main
from app.config import json_schema
from tests.app.configuration import MINIMAL, config_of

ROOT = Path(__file__).resolve().parents[2]
GATEWAY = Path(sys.executable).with_name("gateway")

# Starting an interpreter takes long where many processes share a core.
SLOW = pytest.mark.timeout(240)
RUNNER = CliRunner(env={"GATEWAY_CONFIG": "", "OPENAI_API_KEY": "", "NO_COLOR": "1"})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration that can be used."""
    path = tmp_path / "gateway.yaml"
    path.write_text(MINIMAL, "utf-8")
    return path


def test_check_shows_chain_limits_and_worst_case_of_each_route(file: Path) -> None:
    result = RUNNER.invoke(main, ["check", str(file)])

    assert result.exit_code == 0
    assert "chat  (failover, policy default)" in result.output
    alpha, beta = (result.output.index(f"{name}/m ") for name in ("alpha", "beta"))
    assert alpha < beta
    row = next(line for line in result.output.splitlines() if "alpha/m" in line)
    for limit in ("2 s", "10 s", "15 s", "120 s", "64", "50%"):
        assert limit in row.replace("\N{NO-BREAK SPACE}", " ")
    assert (
        "at worst: 4 attempts; first content or an error within 50 s; "
        "the whole answer within 120 s"
    ) in result.output
    assert "The configuration can be used. Routes: 1, keys: 1." in result.output


def test_check_keeps_to_the_width_of_a_terminal(file: Path) -> None:
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "78"}

    result = RUNNER.invoke(main, ["check", str(file)], env=terminal)

    plain = re.sub(r"\x1b\[[0-9;]*m", "", result.output)
    table = plain[: plain.index("at worst")]
    assert max(len(line.rstrip()) for line in table.splitlines()) <= 78
    assert "beta/m" in table


def test_check_tells_that_a_breaker_is_off(file: Path) -> None:
    file.write_text(
        MINIMAL + "policies: {default: {max_attempts: 1, breaker: {enabled: false}}}"
    )

    output = RUNNER.invoke(main, ["check", str(file)]).output

    assert output.count(" never") == 2
    assert "at worst: 1 attempt;" in output
    assert "note: route chat asks at most 1 of its 2 targets" in output


def test_check_tells_what_was_left_out() -> None:
    result = RUNNER.invoke(main, ["check", str(ROOT / "gateway.yaml")])

    assert result.exit_code == 0
    assert "note: provider openai is left out" in result.output


def test_check_tells_every_problem_and_ends_with_1(file: Path) -> None:
    file.write_text(MINIMAL + "server:\n  prot: 1\n  port: high\n", "utf-8")

    result = RUNNER.invoke(main, ["check", str(file)])

    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        f"{file}:12: server.prot: there is no such setting. Did you mean `port`?",
        f"{file}:13: server.port: must be a valid integer. Port to listen on; 0 takes "
        "any free one.",
        "The configuration cannot be used: 2 problems.",
    ]


def test_check_of_a_file_that_is_not_there_ends_with_2(tmp_path: Path) -> None:
    result = RUNNER.invoke(main, ["check", str(tmp_path / "none.yaml")])

    assert result.exit_code == 2
    assert "there is no such file" in result.stderr


def test_check_looks_where_the_environment_says(file: Path) -> None:
    result = RUNNER.invoke(main, ["check"], env={"GATEWAY_CONFIG": str(file)})

    assert result.exit_code == 0


@pytest.mark.parametrize("word", ["--config", "--port"])
def test_a_misused_command_ends_with_2(word: str) -> None:
    assert RUNNER.invoke(main, ["serve", word, ""]).exit_code == 2


def test_serve_starts_nothing_with_a_bad_configuration(file: Path) -> None:
    file.write_text(MINIMAL + "sever: {}", "utf-8")

    result = RUNNER.invoke(main, ["serve", "--config", str(file)])

    assert result.exit_code == 1
    assert "sever: there is no such setting" in result.stderr


def test_schema_prints_the_schema() -> None:
    result = RUNNER.invoke(main, ["schema"])

    assert result.exit_code == 0
    assert json.loads(result.stdout) == json_schema()


def test_a_generated_key_and_its_entry_belong_together() -> None:
    result = RUNNER.invoke(
        main, ["keys", "generate", "--id", "team-a-1", "--project", "team-a"]
    )

    (key,) = re.findall(r"^  (bw-[0-9a-f]{64})$", result.stdout, re.M)
    entry = result.stdout[result.stdout.index("  - id") :]
    text = MINIMAL[: MINIMAL.index("keys:")] + "keys:\n" + entry
    (read,) = config_of(text).keys
    assert result.exit_code == 0
    assert (read.id, read.project) == ("team-a-1", "team-a")
    assert read.sha256.get_secret_value() == hashlib.sha256(key.encode()).hexdigest()


@pytest.mark.parametrize("option", ["--id", "--project"])
def test_a_key_is_generated_for_plain_names_only(option: str) -> None:
    result = RUNNER.invoke(main, ["keys", "generate", option, "a b"])

    assert result.exit_code == 2
    assert "letters, digits" in result.stderr
    assert result.stdout == ""


def test_no_two_generated_keys_are_alike() -> None:
    first, second = (RUNNER.invoke(main, ["keys", "generate"]).stdout for _ in range(2))

    assert first != second


def test_openapi_prints_the_same_as_yaml_and_as_json() -> None:
    as_yaml = RUNNER.invoke(main, ["openapi"])
    as_json = RUNNER.invoke(main, ["openapi", "--json"])

    assert as_yaml.exit_code == as_json.exit_code == 0
    assert yaml.safe_load(as_yaml.stdout) == json.loads(as_json.stdout)
    assert "/v1/chat/completions" in json.loads(as_json.stdout)["paths"]


@pytest.mark.parametrize(
    "command", [["serve"], ["check"], ["schema"], ["openapi"], ["keys", "generate"]]
)
def test_help_teaches_by_example(command: list[str]) -> None:
    result = RUNNER.invoke(main, [*command, "--help"])

    assert result.exit_code == 0
    assert (
        f"gateway {' '.join(command)}" in result.output[result.output.index("Exam") :]
    )


def test_help_of_check_tells_the_exit_codes() -> None:
    output = " ".join(RUNNER.invoke(main, ["check", "--help"]).output.split())

    assert "0 it can be used, 1 it has problems, 2 it cannot be read" in output


@SLOW
def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, app.cli\n"
        "heavy = {'pydantic', 'fastapi', 'uvicorn', 'yaml', 'aiohttp', 'redis'}\n"
        "sys.exit(', '.join(heavy & sys.modules.keys()) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
    )

    assert done.returncode == 0, done.stderr


@SLOW
def test_the_installed_command_checks_a_file(file: Path) -> None:
    good = run_gateway("check", str(file))
    file.write_text(MINIMAL.replace("alpha, model", "alhpa, model"), "utf-8")
    bad = run_gateway("check", str(file))

    assert good.returncode == 0
    assert "The configuration can be used." in good.stdout
    assert bad.returncode == 1
    assert (
        f"{file}:7: routes.chat.targets[0].provider: there is no provider `alhpa`"
        in (bad.stderr)
    )


def run_gateway(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [GATEWAY, *words], capture_output=True, text=True, timeout=110
    )


@SLOW
def test_serve_tells_where_it_listens_and_ends_when_asked(file: Path) -> None:
    command = [GATEWAY, "serve", "--config", str(file), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            origin = next(
                found[0]
                for line in process.stdout
                if (found := re.search(r"http://127\.0\.0\.1:[1-9]\d*", line))
            )
            with httpx.Client(trust_env=False, timeout=60) as client:
                answer = client.get(f"{origin}/livez")
            process.terminate()
            said = process.stdout.read()
            process.wait(timeout=60)
        finally:
            process.kill()

    assert answer.status_code == 200
    assert "server" not in answer.headers
    assert "Application shutdown complete" in said
    assert process.returncode == 0
