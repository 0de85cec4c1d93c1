"""`python -m scripts.dev`: the gateway of gateway.yaml, to be tried; `make dev`.

The rule it keeps: what it starts it ends, and no secret is written: the key of the run
is printed, and only its hash reaches the gateway. It must not hold settings of the
gateway; those are gateway.yaml's.

Exit codes: 0 ended by Ctrl-C or SIGTERM, or `--once` was answered; 1 a process that it
started died or did not answer; 2 it cannot start (a port is taken, gateway.yaml has
problems).
"""

import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Annotated, Self

import httpx
import typer
from rich.console import Console

from app.config import Config, ConfigError, load
from scripts.local import (
    KEY_HASH_VARIABLE,
    LOOPBACK,
    ROOT,
    DemoKey,
    PortTaken,
    end_cleanly_when_told,
    free_ports,
    require_free,
    stand_in_ports,
    start_gateway,
    start_stand_in,
    with_ports,
)
from scripts.log_view import Follower, readable
from scripts.processes import Child, Children, HarnessFailed

CONFIG = ROOT / "gateway.yaml"
FAILED, CANNOT_START = 1, 2
_LOOK_EVERY_S = 0.1
_ANSWER_WITHIN_S = 30.0

console = Console(soft_wrap=True, highlight=False, markup=False)
app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)


class Unusable(Exception):
    """gateway.yaml cannot be used for this; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run consists of, known before anything is started."""

    config_file: Path
    config: Config
    key: DemoKey
    gateway_port: int
    stand_ins: dict[str, int]

    @property
    def url(self) -> str:
        """Where the gateway will be."""
        return f"http://{LOOPBACK}:{self.gateway_port}"

    @property
    def route(self) -> str:
        """The route that the examples ask for: the first."""
        return next(iter(self.config.routes))

    @property
    def real_providers(self) -> list[str]:
        """Providers that are no stand-ins: asking them may cost money."""
        return [name for name in self.config.providers if name not in self.stand_ins]


def make_plan(workdir: Path, port: int | None, *, take_free_ports: bool) -> Plan:
    """Decide on files and ports. Raises: ConfigError, PortTaken, Unusable."""
    key = DemoKey.new()
    environment = {**os.environ, KEY_HASH_VARIABLE: key.sha256}
    config_file = CONFIG
    config = load(config_file, environment)  # before its providers are looked at
    stand_ins = stand_in_ports(config_file)
    if take_free_ports:
        stand_ins = dict(zip(stand_ins, free_ports(len(stand_ins)), strict=True))
        config_file = with_ports(config_file, stand_ins, workdir)
        config = load(config_file, environment)
    if all(one.sha256.get_secret_value() != key.sha256 for one in config.keys):
        raise Unusable(
            "gateway.yaml lets the key of this run in nowhere. Add to its `keys`:\n"
            f"  - {{id: demo, sha256: {{env: {KEY_HASH_VARIABLE}, optional: true}}}}"
        )
    if port is None:
        port = 0 if take_free_ports else config.server.port
    if port == 0:
        port = next(one for one in free_ports(4) if one not in stand_ins.values())
    require_free({"the gateway": port})
    require_free({f"stand-in {name}": one for name, one in stand_ins.items()})
    return Plan(config_file, config, key, port, stand_ins)


def start(children: Children, plan: Plan) -> Child:
    """Start everything, and return the gateway. Raises: HarnessFailed."""
    for name, port in plan.stand_ins.items():
        _timed(
            f"stand-in {name}",
            f"http://{LOOPBACK}:{port}",
            partial(start_stand_in, children, name, port),
        )
    return _timed(
        "gateway",
        plan.url,
        lambda: start_gateway(children, plan.config_file, plan.gateway_port, plan.key),
    )


def _timed(what: str, where: str, begin: Callable[[], Child]) -> Child:
    """Start one part, and say so when it answers."""
    began_at = time.monotonic()
    with console.status(f"starting {what} …"):
        child = begin()
    took_s = time.monotonic() - began_at
    console.print(
        f"  {what:<15} {where:<23} process {child.process.pid}, "
        f"ready after {took_s:.1f} s",
        style="dim",
    )
    return child


def _curl(plan: Plan, *, stream: bool) -> str:
    body = {"model": plan.route, "messages": [{"role": "user", "content": "Hello"}]}
    more = {"stream": True} if stream else {}
    return (
        f"curl {'-N' if stream else '-s'} {plan.url}/v1/chat/completions"
        f" -H 'Authorization: Bearer {plan.key.secret}'"
        " -H 'Content-Type: application/json'"
        f" -d '{json.dumps({**body, **more})}'"
    )


def show(plan: Plan, logs: Path) -> None:
    """Say what runs, and how to use it."""
    config = plan.config
    console.print("\nBreakwater answers.\n", style="bold green")
    _say("URL", plan.url)
    _say("key", f"{plan.key.secret}   (of this run; the gateway knows its hash only)")
    for name, route in config.routes.items():
        targets = " → ".join(target.name for target in route.targets)
        _say("route", f"{name}: {targets}")
    real = ", ".join(plan.real_providers)
    _say("real providers", f"{real}: answers may cost money" if real else "none")
    for note in config.notes:
        _say("", note)
    _say("logs", str(logs))
    console.print("\nA completion, plain and streamed:\n", style="bold")
    console.print(f"  {_curl(plan, stream=False)}\n")
    console.print(f"  {_curl(plan, stream=True)}\n")
    console.print("With the openai SDK:\n", style="bold")
    console.print(
        f'  client = OpenAI(base_url="{plan.url}/v1", api_key="{plan.key.secret}")\n'
        f'  client.chat.completions.create(model="{plan.route}", messages=[…])\n'
    )
    if plan.stand_ins:
        name, port = next(iter(plan.stand_ins.items()))
        fault = f"http://{LOOPBACK}:{port}/control/fault"
        console.print(f"Make {name} fail, and make it well again:\n", style="bold")
        console.print(
            f'  curl -X PUT {fault} -d \'{{"kind": "status", "code": 503}}\'\n'
            f"  curl -X DELETE {fault}\n"
        )


def _say(what: str, text: str) -> None:
    console.print(f"  {what:<15} {text}")


def ask_once(plan: Plan) -> None:
    """Ask for a plain and a streamed completion. Raises: HarnessFailed."""
    with httpx.Client(
        base_url=plan.url,
        headers={"Authorization": f"Bearer {plan.key.secret}"},
        timeout=_ANSWER_WITHIN_S,
        trust_env=False,
    ) as client:
        for stream in (False, True):
            body = {
                "model": plan.route,
                "messages": [{"role": "user", "content": "Hello"}],
                "stream": stream,
            }
            kind = "streamed" if stream else "plain"
            try:
                answer = client.post("/v1/chat/completions", json=body)
            except httpx.HTTPError as exc:
                raise HarnessFailed(f"no {kind} answer came: {exc!r}") from exc
            text = _text_of(answer.text, stream=stream)
            if answer.status_code != httpx.codes.OK or not text:
                raise HarnessFailed(
                    f"the {kind} answer was {answer.status_code}:\n{answer.text}"
                )
            target = answer.headers["x-gateway-target"]
            console.print(f"{kind} answer of {target}: {text}")


def _text_of(body: str, *, stream: bool) -> str:
    """Return the words of a whole answer; nothing if it is not whole."""
    if not stream:
        try:
            return str(json.loads(body)["choices"][0]["message"]["content"])
        except (ValueError, LookupError):
            return ""
    events = [line[6:] for line in body.splitlines() if line.startswith("data: ")]
    if events[-1:] != ["[DONE]"]:
        return ""
    choices = [json.loads(event).get("choices") for event in events[:-1]]
    return "".join(one[0]["delta"].get("content") or "" for one in choices if one)


def follow(children: Children, gateway: Child, *, raw: bool) -> None:
    """Show the gateway's log for as long as everything runs. Raises: HarnessFailed."""
    follower = Follower(gateway.log)
    try:
        while True:
            for line in follower.lines():
                if raw:
                    console.print(line)
                else:
                    console.print(readable(line))
            for child in children.running():
                children.check(child)
            time.sleep(_LOOK_EVERY_S)
    finally:
        follower.close()


class Logs(AbstractContextManager["Logs"]):
    """A directory for one run: kept when the run failed, else removed."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="breakwater-dev-"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, HarnessFailed):
            console.print(f"\nLogs are kept: {self.path}")
        else:
            shutil.rmtree(self.path, ignore_errors=True)


def run(port: int | None, *, take_free_ports: bool, once: bool, raw: bool) -> None:
    """Start, answer or show, and end what was started.

    Raises:
        ConfigError, PortTaken, Unusable: nothing was started.
        HarnessFailed: a process died, or did not answer.
    """
    with Logs() as logs:
        plan = make_plan(logs.path, port, take_free_ports=take_free_ports)
        with Children(ROOT, logs.path) as children:
            try:
                gateway = start(children, plan)
                if once:
                    ask_once(plan)
                    return
                show(plan, logs.path)
                console.print("The gateway's log; Ctrl-C ends it all.\n", style="bold")
                follow(children, gateway, raw=raw)
            except (KeyboardInterrupt, SystemExit):
                if once:
                    raise
                console.print("\nstopping …")
            finally:
                # A second Ctrl-C must not leave half of it running.
                signal.signal(signal.SIGINT, signal.SIG_IGN)


@app.command()
def main(
    port: Annotated[
        int | None,
        typer.Option(
            envvar="PORT",
            min=0,
            max=65_535,
            help="Port of the gateway, instead of gateway.yaml's; 0 takes a free one.",
        ),
    ] = None,
    take_free_ports: Annotated[
        bool,
        typer.Option(
            "--free-ports",
            envvar="FREE_PORTS",
            help="Free ports for everything; other files keep their ports.",
        ),
    ] = False,
    once: Annotated[
        bool,
        typer.Option(help="Ask once plain and once streamed, print both, and end."),
    ] = False,
    raw: Annotated[
        bool, typer.Option("--json", help="Show the log as the gateway writes it.")
    ] = False,
) -> None:
    """Start the gateway of gateway.yaml with stand-in providers and a key to try it.

    It uses OpenAI first when OPENAI_API_KEY is set, and an embedded store. Ctrl-C
    ends everything that it started.

    Exit code: 0 ended by you, or --once was answered; 1 a process died or did not
    answer; 2 it cannot start: a port is taken, or gateway.yaml has problems.

    Examples:

      make dev

      PORT=8081 make dev

      FREE_PORTS=1 make dev

      doppler run -- make dev
    """
    end_cleanly_when_told()
    try:
        run(port, take_free_ports=take_free_ports, once=once, raw=raw)
    except PortTaken as exc:
        _end(CANNOT_START, f"{exc}.\n{_ways_out(exc)}")
    except ConfigError as exc:
        _end(CANNOT_START, "\n".join(str(problem) for problem in exc.problems))
    except Unusable as exc:
        _end(CANNOT_START, str(exc))
    except HarnessFailed as exc:
        _end(FAILED, str(exc))
    except KeyboardInterrupt:
        raise typer.Exit(128 + signal.SIGINT) from None


def _ways_out(taken: PortTaken) -> str:
    other = (
        "take another: PORT=8081 make dev"
        if taken.wanted_by == "the gateway"
        else "let everything take free ports: FREE_PORTS=1 make dev"
    )
    return (
        f"End what listens there (lsof -i :{taken.port} names it; perhaps another "
        f"`make dev`), or {other}"
    )


def _end(code: int, why: str) -> None:
    typer.echo(why, err=True)
    raise typer.Exit(code)


if __name__ == "__main__":
    app()
