"""Checks one Kubernetes object against its schema, strictly: unknown fields are errors.

`validate(doc)` is the whole interface. Built-in kinds are held to the schemas that
kubernetes-validate carries, for the oldest and the newest version we support; custom
kinds to the CustomResourceDefinitions in the folder that `CRD_SCHEMAS` names. Nothing
here uses the network. Rules that span objects (selectors, ports) live in the tests.
"""

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import jsonschema
import kubernetes_validate
import yaml

type Json = dict[str, Any]

REPOSITORY: Final = Path(__file__).resolve().parents[2]
# The oldest version that the docs promise, which knows every field we use, and the
# newest one whose schemas the checker carries.
SUPPORTED_VERSIONS: Final = ("1.32", "1.37")
CRD_HELP: Final = (
    "Custom kinds are checked against the CustomResourceDefinitions of their projects. "
    "Fetch the pinned files and point CRD_SCHEMAS at them:\n"
    "    scripts/crd_schemas.sh .tools/crd-schemas\n"
    "    export CRD_SCHEMAS=.tools/crd-schemas"
)


class SchemasMissing(Exception):
    """There is no folder of CustomResourceDefinitions to check against."""


class Invalid(Exception):
    """An object does not fit its schema; the message names object, path and reason."""


def schema_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of CustomResourceDefinitions.

    `CRD_SCHEMAS` names it. On a developer's machine the one that
    `scripts/crd_schemas.sh` fills, or a `shared/schemas` beside the checkout, will do;
    in CI nothing is guessed, so that a forgotten checkout cannot pass for a check.

    Raises:
        SchemasMissing: there is none, or it is empty.
    """
    if named := environ.get("CRD_SCHEMAS"):
        candidates = [Path(named)]
    elif environ.get("CI"):
        raise SchemasMissing(f"CRD_SCHEMAS is not set in CI. {CRD_HELP}")
    else:
        candidates = [
            REPOSITORY / ".tools" / "crd-schemas",
            REPOSITORY.parent / "shared" / "schemas",
        ]
    for folder in candidates:
        if any(folder.rglob("*.yaml")):
            return folder
    places = " or ".join(str(folder) for folder in candidates)
    raise SchemasMissing(f"No CustomResourceDefinition under {places}. {CRD_HELP}")


def validate(doc: Json, folder: Path | None = None) -> None:
    """Checks `doc` against the schema of its kind.

    Args:
        doc: one parsed object.
        folder: where custom kinds are defined; by default `schema_folder()`.

    Raises:
        Invalid: it does not fit, or nobody defines its kind.
        SchemasMissing: its kind is a custom one and there are no definitions at all.
    """
    if is_builtin(str(doc.get("apiVersion", ""))):
        _validate_builtin(doc)
    else:
        _validate_custom(doc, folder or schema_folder())


def is_builtin(api_version: str) -> bool:
    """Whether a group is Kubernetes' own: those have no dot or end in k8s.io."""
    group, slash, _ = api_version.partition("/")
    return not slash or "." not in group or group.endswith(".k8s.io")


def name_of(doc: Json) -> str:
    """Kind and name, as people say them."""
    return f"{doc.get('kind', '?')}/{doc.get('metadata', {}).get('name', '?')}"


def _validate_builtin(doc: Json) -> None:
    for version in SUPPORTED_VERSIONS:
        try:
            kubernetes_validate.validate(doc, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            raise _invalid(doc, error, f"Kubernetes {version}") from error
        except (kubernetes_validate.SchemaNotFoundError, KeyError) as error:
            raise Invalid(
                f"{name_of(doc)}: Kubernetes {version} has no such kind"
            ) from error


def _validate_custom(doc: Json, folder: Path) -> None:
    key = (str(doc["apiVersion"]), str(doc["kind"]))
    schema = _definitions(folder).get(key)
    if schema is None:
        raise Invalid(f"{name_of(doc)}: no definition of {key[0]} {key[1]} in {folder}")
    validator = jsonschema.Draft202012Validator(schema)
    worst = jsonschema.exceptions.best_match(validator.iter_errors(doc))
    if worst is not None:
        raise _invalid(doc, worst, f"the definition of {key[1]}")


def _invalid(doc: Json, error: jsonschema.ValidationError, by: str) -> Invalid:
    where = ".".join(str(step) for step in error.absolute_path) or "(top)"
    return Invalid(f"{name_of(doc)}: {where}: {error.message} (by {by})")


@functools.cache
def _definitions(folder: Path) -> dict[tuple[str, str], Json]:
    """Strict JSON schemas by apiVersion and kind; found by content, not file name."""
    found: dict[tuple[str, str], Json] = {}
    for path in sorted(folder.rglob("*.yaml")):
        # These files are long: the C loader takes a tenth of the other's time.
        for crd in yaml.load_all(path.read_bytes(), yaml.CSafeLoader):
            if isinstance(crd, dict) and crd.get("kind") == "CustomResourceDefinition":
                spec = crd["spec"]
                for version in spec["versions"]:
                    api_version = f"{spec['group']}/{version['name']}"
                    schema = version["schema"]["openAPIV3Schema"]
                    found[api_version, spec["names"]["kind"]] = _top_level(schema)
    return found


def _top_level(schema: Json) -> Json:
    """The schema of a whole object; apiVersion, kind, metadata are Kubernetes' own."""
    made = _strict(schema)
    made["properties"] = made.get("properties", {}) | {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object", "required": ["name"]},
    }
    made["required"] = sorted({*made.get("required", ()), "metadata"})
    return made


def _strict(schema: Json) -> Json:
    """A structural schema as JSON Schema that also refuses fields nobody declared.

    Source: "Extend the Kubernetes API with CustomResourceDefinitions", on structural
    schemas and pruning: what is not declared is dropped by the server, which is never
    what its author meant.
    """
    made = {key: _strict_part(key, part) for key, part in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
        made.setdefault("anyOf", [{"type": "integer"}, {"type": "string"}])
    elif _is_closed(schema):
        made["additionalProperties"] = False
    if schema.get("nullable"):
        made = {"anyOf": [{"type": "null"}, made]}
    return made


def _is_closed(schema: Json) -> bool:
    """Whether a structural schema lists every field its objects may have."""
    return (
        "properties" in schema
        and "additionalProperties" not in schema
        and not schema.get("x-kubernetes-preserve-unknown-fields")
    )


def _strict_part(key: str, part: Any) -> Any:
    if key == "properties":
        return {name: _strict(schema) for name, schema in part.items()}
    if key in {"items", "additionalProperties"} and isinstance(part, dict):
        return _strict(part)
    # allOf, anyOf, oneOf and not repeat declared fields as conditions: closing them
    # would refuse everything, so they stay as they are, like every plain keyword.
    return part
