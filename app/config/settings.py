"""What every section of gateway.yaml has in common.

Rule: no setting of its own; how strict a section is and how names and numbers look.
"""

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"

type Name = Annotated[str, Field(pattern=NAME_PATTERN)]
type RouteName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:/-]{0,127}$")]
type Seconds = Annotated[float, Field(gt=0, le=86_400)]
type Ratio = Annotated[float, Field(gt=0, le=1)]


class Settings(BaseModel):
    """A section of gateway.yaml: frozen, strict, and closed to unknown names."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )
    not_yet: ClassVar[frozenset[str]] = frozenset()
    """Names and values that the format foresees and this version does not know."""
