"""The `gateway` command.

Rule: what a command does lies elsewhere; here are its words, its output and its exit
code. Heavy modules are imported by the command that needs them, so that `--help`
answers at once. Exit codes: 0 done, 1 the configuration has problems, 2 it cannot be
read or the command was misused.
"""

import os
import re
import signal
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from app.config import Config, ConfigError, Route

main = typer.Typer(
    help=(
        "Breakwater, an LLM gateway that keeps answering while the providers behind "
        "it fail."
    ),
    epilog="Begin with: gateway check gateway.yaml, then gateway serve.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
keys = typer.Typer(help="Keys of clients.", no_args_is_help=True)
main.add_typer(keys, name="keys")

_INVALID = 1
_UNREADABLE = 2
_WHERE = "[default: $GATEWAY_CONFIG, else ./gateway.yaml]"


@main.command()
def serve(
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help=f"The configuration. {_WHERE}"),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on, instead of server.host.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65_535,
            help="Port to listen on, instead of server.port; 0 takes any free one.",
        ),
    ] = None,
) -> None:
    """Start the gateway.

    It ends on SIGTERM or SIGINT, once the requests under way have been answered
    (server.drain_timeout_s at the most).

    Examples:

      gateway serve

      gateway serve --config production.yaml --host 0.0.0.0 --port 8080

      doppler run -- gateway serve
    """
    loaded = _load(config)

    import uvicorn

    from app.composition import create_app

    signal.signal(signal.SIGTERM, _end)
    uvicorn.run(
        create_app(loaded),
        host=loaded.server.host if host is None else host,
        port=loaded.server.port if port is None else port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=ceil(loaded.server.drain_timeout_s),
    )


@main.command()
def check(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help=f"The configuration. {_WHERE}"),
    ] = None,
) -> None:
    """Check a configuration and show what it amounts to.

    Every problem is told with file, line and what to do. Of each route it shows who
    is asked in which order, with what limits (the times of an attempt, requests at
    once, the share of failures that opens the breaker), and what a request may cost
    at worst.

    Exit code: 0 it can be used, 1 it has problems, 2 it cannot be read.

    Examples:

      gateway check

      gateway check production.yaml
    """
    loaded = _load(file)

    from rich.console import Console

    console = Console(markup=False, highlight=False)
    if not console.is_terminal:  # a log or a file has room
        console.width = 120
    for name, route in loaded.routes.items():
        console.print(_chain(loaded, name, route))
        console.print(_at_worst(loaded, route), soft_wrap=True)
        console.print()
    for note in loaded.notes:
        console.print(f"note: {note}", soft_wrap=True)
    count = len(loaded.keys)
    console.print(
        f"The configuration can be used. Routes: {len(loaded.routes)}, keys: {count}."
    )


@main.command()
def schema() -> None:
    """Print the JSON Schema of gateway.yaml, for editors.

    Example:

      gateway schema > gateway.schema.json

    A first line of gateway.yaml then makes an editor complete and check it:

      # yaml-language-server: $schema=gateway.schema.json
    """
    import json

    from app.config import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


@main.command()
def openapi(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of YAML.")
    ] = False,
) -> None:
    """Print the OpenAPI description of the API. Needs no configuration.

    Example:

      gateway openapi > openapi.yaml
    """
    import json

    import yaml

    from app.composition import openapi_document

    document = openapi_document()
    if as_json:
        typer.echo(json.dumps(document, indent=2))
    else:
        typer.echo(yaml.safe_dump(document, sort_keys=False, width=100), nl=False)


@keys.command()
def generate(
    name: Annotated[
        str, typer.Option("--id", help="Name of the key, in logs.")
    ] = "client-1",
    project: Annotated[
        str, typer.Option(help="Whom its usage is counted for.")
    ] = "default",
) -> None:
    """Make a key for a client, and its entry for gateway.yaml.

    The key is shown this once and kept nowhere; gateway.yaml holds its hash only.

    Example:

      gateway keys generate --id team-a-1 --project team-a
    """
    import hashlib
    import secrets

    from app.config import NAME_PATTERN

    for option, given in (("--id", name), ("--project", project)):
        if not re.fullmatch(NAME_PATTERN, given):
            allowed = "must be letters, digits, `.`, `_` and `-`, at most 64"
            raise typer.BadParameter(allowed, param_hint=option)
    key = "bw-" + secrets.token_hex(32)
    digest = hashlib.sha256(key.encode()).hexdigest()
    typer.echo(f"""\
The key, for the client, shown this once:

  {key}

Its entry, for `keys` in gateway.yaml:

  - id: {name}
    sha256: {digest}
    project: {project}""")


def _end(*_: object) -> None:
    """End well: before it serves, and when uvicorn, drained, repeats the signal."""
    raise SystemExit(0)


def _load(file: Path | None) -> "Config":
    """Return the configuration, or tell every problem and end the process."""
    from app.config import ConfigError, ConfigUnreadable, config_path, load

    try:
        return load(file or config_path(os.environ))
    except ConfigUnreadable as exc:
        _tell(exc)
        raise typer.Exit(_UNREADABLE) from None
    except ConfigError as exc:
        _tell(exc)
        raise typer.Exit(_INVALID) from None


def _tell(error: "ConfigError") -> None:
    for problem in error.problems:
        typer.echo(str(problem), err=True)
    count = len(error.problems)
    problems = "one problem" if count == 1 else f"{count} problems"
    typer.echo(f"The configuration cannot be used: {problems}.", err=True)


def _chain(config: "Config", name: str, route: "Route") -> "Table":
    """Show who is asked, in order, and what limits hold for each."""
    from rich import box
    from rich.table import Table

    policy = f"{route.strategy}, policy {route.policy}"
    table = Table(
        title=f"{name}  ({policy})",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("target", overflow="fold", min_width=16)
    for column in ("connect", "first token", "idle", "total", "at once", "opens at"):
        table.add_column(column, justify="right")
    for target in route.targets:
        layers = config.policy_of(route, target)
        times, breaker = layers.timeouts, layers.breaker
        seconds = (times.connect_s, times.first_token_s, times.idle_s, times.total_s)
        table.add_row(
            target.name,
            *(f"{one:g}\N{NO-BREAK SPACE}s" for one in seconds),
            f"{layers.bulkhead.limit}",
            f"{breaker.failure_ratio:.0%}" if breaker.enabled else "never",
        )
    return table


def _at_worst(config: "Config", route: "Route") -> str:
    from app.config import worst_case

    worst = worst_case(config, route)
    attempts = "1 attempt" if worst.attempts == 1 else f"{worst.attempts} attempts"
    return (
        f"  at worst: {attempts}; first content or an error within "
        f"{worst.first_token_s:g} s; the whole answer within {worst.answer_s:g} s"
    )
