"""What the tests of the configuration share: a valid text, and reading one."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

from app.config import Config, ConfigError, Problem, parse

HASH = "a" * 64
OTHER_HASH = "b" * 64
FILE = Path("gateway.yaml")

TARGETS = """\
      - {provider: alpha, model: m}
      - {provider: beta, model: m}
"""
MINIMAL = f"""\
providers:
  alpha: {{dialect: openai, base_url: "http://alpha/v1"}}
  beta: {{dialect: openai, base_url: "http://beta/v1"}}
routes:
  chat:
    targets:
{TARGETS}keys:
  - {{id: one, project: team, sha256: "{HASH}"}}
"""


def config_of(text: str, environ: Mapping[str, str] | None = None) -> Config:
    """The configuration that `text` holds."""
    return parse(dedent(text), environ or {}, file=FILE)


def problems_of(
    text: str, environ: Mapping[str, str] | None = None
) -> tuple[Problem, ...]:
    """Everything that is wrong with `text`; nothing when it can be used."""
    try:
        config_of(text, environ)
    except ConfigError as error:
        return error.problems
    return ()


def marked_line(text: str) -> int:
    """The line that ends in `# here`."""
    lines = dedent(text).splitlines()
    (line,) = (n for n, one in enumerate(lines, 1) if one.endswith("# here"))
    return line
