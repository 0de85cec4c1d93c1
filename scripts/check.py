"""Runs every check that needs no running gateway; `make check`.

Rule: each check is one command whose exit code decides; all of them run, so that one
sitting mends them all. What a check prints is shown only when it fails, except for
what could not be checked, which is always said.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


@dataclass(frozen=True, slots=True)
class Finding:
    """How a check ended. `told` is shown if it failed; `remark` always."""

    passed: bool
    told: str = ""
    remark: str = ""


type Check = Callable[[], Finding]


def run(*command: str) -> Finding:
    """Run `command` in the checkout; its exit code decides."""
    # The environment's tools first, so that each is the one that the lock names.
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": path},
    )
    return Finding(done.returncode == 0, f"{done.stdout}{done.stderr}".strip())


def command(*words: str) -> Check:
    """Return a check that runs one command."""
    return lambda: run(*words)


def secrets() -> Finding:
    """Scan every tracked file for secrets.

    In tests, keywords and random digits are no find; the known forms of keys are.
    """
    files = run("git", "ls-files", "-z").told.split("\0")
    tests = [name for name in files if name.startswith("tests/")]
    rest = [name for name in files if name and name not in {"uv.lock", *tests}]
    found = run("detect-secrets-hook", *rest)
    if not found.passed or not tests:
        return found
    loud = ("KeywordDetector", "HexHighEntropyString", "Base64HighEntropyString")
    off = [word for plugin in loud for word in ("--disable-plugin", plugin)]
    return run("detect-secrets-hook", *off, *tests)


def workflows() -> Finding:
    """Lint the GitHub workflows."""
    found = run("scripts/tools.sh", "actionlint")
    if not found.passed:
        return found
    return run(found.told.splitlines()[-1], "-color")


def openapi() -> Finding:
    """Compare openapi.yaml with what the code says."""
    generated = run("gateway", "openapi")
    if not generated.passed:
        return generated
    written = ROOT / "openapi.yaml"
    if written.exists() and written.read_text("utf-8").strip() == generated.told:
        return Finding(True)
    return Finding(False, "openapi.yaml is not what the code says: run `make openapi`")


def dependencies() -> Finding:
    """Ask the advisory service about every installed package."""
    audit = run("pip-audit", "--skip-editable", "--progress-spinner=off", "-f", "json")
    start = audit.told.find('{"dependencies"')
    if start < 0:
        return Finding(
            True, remark=f"NOT AUDITED, pip-audit could not ask: {audit.told[-200:]}"
        )
    report, _ = json.JSONDecoder().raw_decode(audit.told[start:])
    vulnerable = [
        f"{package['name']} {package.get('version', '')}: "
        + ", ".join(advisory["id"] for advisory in package["vulns"])
        for package in report["dependencies"]
        if package.get("vulns")
    ]
    unknown = [p["name"] for p in report["dependencies"] if "skip_reason" in p]
    ours = {"breakwater"}
    unasked = [name for name in unknown if name not in ours]
    remark = ""
    if unasked:
        total = len(report["dependencies"])
        remark = (
            f"NOT AUDITED: the advisory service told nothing of {len(unasked)} of "
            f"{total} packages"
        )
    return Finding(not vulnerable, "\n".join(vulnerable), remark)


CHECKS: dict[str, Check] = {
    "lint": command("ruff", "check", "."),
    "format": command("ruff", "format", "--check", "."),
    "types (mypy)": command("mypy"),
    "types (ty)": command("ty", "check", "--no-progress"),
    "architecture": command("lint-imports", "--no-logo"),
    "dead code": command("vulture"),
    "secrets": secrets,
    "dependencies": dependencies,
    "configuration": command("gateway", "check", "gateway.yaml"),
    "openapi.yaml": openapi,
    "dashboards": command("python", "-m", "scripts.dashboards", "--check"),
    "Dockerfile": command("hadolint", "Dockerfile"),
    "YAML": command("yamllint", "--strict", "."),
    "workflows": workflows,
    "manifests": command("pytest", "-q", "--no-cov", "tests/manifests"),
}


def timed(check: Check) -> tuple[Finding, float]:
    """Run a check; return how it ended and its seconds."""
    started_s = time.monotonic()
    finding = check()
    return finding, time.monotonic() - started_s


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks named, or all; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="make check",
        description="Runs every check that needs no running gateway.",
        epilog="Exit code: 0 all passed, 1 at least one failed. "
        "One check alone: make check ARGS='lint'",
    )
    parser.add_argument("check", nargs="*", help=f"one of: {', '.join(CHECKS)}")
    names = parser.parse_args(arguments).check or list(CHECKS)
    for name in names:
        if name not in CHECKS:
            parser.error(f"there is no check {name!r}; there are: {', '.join(CHECKS)}")
    failed: list[str] = []
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        running = {name: pool.submit(timed, CHECKS[name]) for name in names}
        for name, future in running.items():
            finding, took_s = future.result()
            verdict = "ok    " if finding.passed else "FAILED"
            print(f"{verdict} {name:<16} {took_s:6.1f} s  {finding.remark}", flush=True)
            if not finding.passed:
                failed.append(name)
                print(finding.told, flush=True)
    print(f"failed: {', '.join(failed)}" if failed else "all checks passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
