"""The command line of the stand-in provider. Settings come from flags alone."""

import argparse
import asyncio
import signal
import sys

import uvloop

from loadtest.provider.faults import table
from loadtest.provider.stand_in import StandIn

_DESCRIPTION = """\
An OpenAI-compatible provider that answers like one and fails like one, on demand.
It serves POST /v1/chat/completions, /v1/completions, /v1/embeddings, GET /v1/models
and GET /livez. Answers say who answered, token by token: "alpha-0 alpha-1 ...".
"""

_EPILOG = """\
Try it:
  python -m loadtest.provider --port 9001 --name alpha
  curl -N localhost:9001/v1/chat/completions -H 'content-type: application/json' \\
    -d '{"model":"any","stream":true,"messages":[{"role":"user","content":"Hi"}]}'

Make it fail, for one request, by the model's name:
  "model": "fault.status?code=429&retry_after_s=2"
  "model": "fault.cut?after_tokens=5&how=fin"
or for every request to /v1, from now on ("times": n for the next n only):
  curl -X PUT localhost:9001/control/fault -d '{"kind":"stall","after_tokens":3}'
  curl -X DELETE localhost:9001/control/fault

See what reached it, and how each request ended on its side
(answered, faulted, client_gone, stopped, in_flight):
  curl localhost:9001/control/log          newest 5 only: /control/log?limit=5
  curl -X DELETE localhost:9001/control/log

Faults, with parameters and their defaults. "plain" is a request without
"stream": true; where no such line stands, both see the same.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.provider",
        description=_DESCRIPTION,
        epilog=f"{_EPILOG}\n{table()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add("--port", type=int, default=9001, help="0 takes a free one (%(default)s)")
    add("--name", default="alpha", help="who answers (%(default)s)")
    add(
        "--first-token-ms",
        type=_not_negative,
        default=50.0,
        metavar="MS",
        help="delay of the first token, give or take 10 %% (%(default)g)",
    )
    add(
        "--tokens-per-s",
        type=_not_negative,
        default=100.0,
        metavar="RATE",
        help="tokens per second after it; 0 is all at once (%(default)g)",
    )
    add("--tokens", type=int, default=20, help="tokens per answer (%(default)s)")
    add("--api-key", metavar="KEY", help="answer 401 to every other key")
    return parser


def _not_negative(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise ValueError(text)
    return number


async def _serve(stand_in: StandIn) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with stand_in:
        print(f"ready {stand_in.origin}", flush=True)
        await ended.wait()


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; the exit status."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.tokens < 1 or not 0 <= given.port <= 65535:
        parser.error("--tokens is at least 1, --port from 0 to 65535")
    stand_in = StandIn(
        given.name,
        host=given.host,
        port=given.port,
        first_token_s=given.first_token_ms / 1000,
        tokens_per_s=given.tokens_per_s,
        tokens=given.tokens,
        api_key=given.api_key,
    )
    try:
        uvloop.run(_serve(stand_in))
    except OSError as problem:
        print(f"cannot listen on {stand_in.origin}: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
