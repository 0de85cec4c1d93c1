"""`python -m scripts.demo`: watch a provider die, and requests being answered.

Exit codes: 0 no request failed that the chain could have saved; 1 some did; 2 the demo
could not be played to its end, so nothing is known. Must not live here: the course of
the demo, what counts as an answer.
"""

import asyncio
import signal
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from scripts.demo.caller import Caller
from scripts.demo.scenario import PACE, Demo, Times
from scripts.demo.screen import Screen, show_summary
from scripts.demo.tally import Tally
from scripts.local import (
    LOOPBACK,
    ROOT,
    STAND_INS,
    DemoKey,
    end_cleanly_when_told,
    free_ports,
    start_gateway,
    start_stand_in,
    with_ports,
)
from scripts.processes import Children, HarnessFailed

CONFIG = Path(__file__).with_name("gateway.yaml")
LOST, UNKNOWN = 1, 2

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)


def play(
    console: Console, workdir: Path, seconds: float, rate_per_s: float, route: str
) -> Tally:
    """Start everything, play the demo, and end what was started.

    Raises:
        HarnessFailed, ExceptionGroup of it: it could not be played to its end.
    """
    *ports, gateway_port = free_ports(len(STAND_INS) + 1)
    port_of = dict(zip(STAND_INS, ports, strict=True))
    key = DemoKey.new()
    with Children(ROOT, workdir) as children:
        try:
            with console.status("starting three providers and the gateway …"):
                victim, *_ = [
                    start_stand_in(children, name, port, PACE)
                    for name, port in port_of.items()
                ]
                config = with_ports(CONFIG, port_of, workdir)
                start_gateway(children, config, gateway_port, key)
            url = f"http://{LOOPBACK}:{gateway_port}"

            async def run() -> Tally:
                with Screen(console, STAND_INS, seconds) as screen:
                    async with Caller(url, key.secret, route) as caller:
                        demo = Demo(
                            children,
                            victim,
                            port_of[victim.name],
                            caller,
                            screen,
                            Times.of(seconds),
                        )
                        await demo.run(rate_per_s)
                return demo.tally

            return asyncio.run(run())
        finally:
            # A second Ctrl-C must not leave half of it running.
            signal.signal(signal.SIGINT, signal.SIG_IGN)


@app.command()
def main(
    seconds: Annotated[
        float,
        typer.Option(min=6, max=600, help="How long requests are sent, about."),
    ] = 22,
    rate: Annotated[
        float, typer.Option(min=1, max=100, help="Requests sent per second.")
    ] = 20,
    fallback: Annotated[
        bool,
        typer.Option(
            "--fallback/--no-fallback",
            help="With the chain, or with its first provider alone (exit code 1).",
        ),
    ] = True,
    no_color: Annotated[
        bool, typer.Option("--no-color", help="No colours; NO_COLOR=1 does the same.")
    ] = False,
) -> None:
    """Watch requests being answered while the first provider of a chain is killed.

    Three stand-in providers and a gateway are started on free ports of this machine.
    A steady stream of requests, half of them streamed, asks for a chain of alpha,
    beta and gamma. Then alpha is killed (SIGKILL); later it is started again. A line
    per second tells what ended in it:

      answered  whole: every token there, once, in order
      failed    anything else that the chain could have saved
      broken    streams that alpha was delivering when it was killed: they end with a
                typed error event, and the client knows
      breaker   the circuit breaker of alpha, by the gateway's metrics

    Exit code: 0 no request failed that the chain could have saved, 1 some did, 2 the
    demo could not be played to its end.

    Examples:

      make demo

      make demo ARGS="--seconds 60 --rate 50"

      make demo ARGS=--no-fallback
    """
    end_cleanly_when_told()
    console = Console(
        soft_wrap=True,
        highlight=False,
        markup=False,
        color_system=None if no_color else "auto",
    )
    route = "chat" if fallback else "alone"
    tally: Tally | None = None
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="breakwater-demo-") as workdir:
        try:
            tally = play(console, Path(workdir), seconds, rate, route)
        except* HarnessFailed as group:
            problems += messages(group)
        except* KeyboardInterrupt:
            problems.append("Ended by you, before the end.")
    if tally is None:
        typer.echo("\n".join(problems), err=True)
        raise typer.Exit(UNKNOWN)
    show_summary(console, tally, STAND_INS)
    raise typer.Exit(LOST if tally.failures else 0)


def messages(group: BaseExceptionGroup) -> list[str]:
    """Return what the exceptions of a group, and of groups in it, say."""
    said = []
    for one in group.exceptions:
        said += messages(one) if isinstance(one, BaseExceptionGroup) else [str(one)]
    return said


if __name__ == "__main__":
    app()
