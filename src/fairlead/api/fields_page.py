"""The reference page of a ModelService's fields, made of the definition that is installed. Pure but for `main`.

    python -m fairlead.api.fields_page > docs/model-service.md

A field that is a person's to write and not on the page, or another on the page than in the definition, fails
`tests/api/test_fields_page.py`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from fairlead.api.crds import all_crds

Json = Mapping[str, Any]

HEAD: Final = """\
# Fields of a ModelService

Every field of `spec`, from the definition that `fairlead controllers` installs; `kubectl explain ms.spec --recursive` says the same.
A role's fields are those of the service, for that role alone, and are not listed twice. Probes, `valueFrom` and overlays are a
pod's. What is wrong is refused with the field, the value and what to do; unknown fields are refused with their path.

| field | type | default | meaning |
|---|---|---|---|
"""  # noqa: E501

_OF_A_POD: Final = frozenset({"probes.startup", "probes.readiness", "probes.liveness", "podTemplate", "workerTemplate"})
"""Parts whose fields are Kubernetes' own; `valueFrom` is one anywhere."""


def fields_page() -> str:
    """The page as Markdown."""
    name = "modelservices.fairlead.dev"
    definition = next(crd for crd in all_crds() if crd["metadata"]["name"] == name)
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return HEAD + "".join(f"{line}\n" for line in _lines(schema, "", frozenset(schema["properties"])))


def _lines(schema: Json, prefix: str, told: frozenset[str]) -> Iterator[str]:
    """Rows of an object's fields, each followed by those below it."""
    for name, field in schema.get("properties", {}).items():
        is_list = field.get("type") == "array"
        path = f"{prefix}{name}" + ("[]" if is_list else "")
        meaning = str(field.get("description", "")).replace("|", "\\|")
        default = f"`{_value(field['default'])}`" if _is_plain(field.get("default")) else ""
        yield f"| `{path}` | {_type(field)} | {default} | {meaning} |"
        inner = field.get("items", {}) if is_list else field
        if path in _OF_A_POD or name == "valueFrom" or (prefix == "roles[]." and name in told and name != "scaling"):
            continue
        yield from _lines(inner, f"{path}.", told)


def _type(field: Json) -> str:
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if field.get("x-kubernetes-int-or-string"):
        return "count or percent"
    if field.get("type") == "array":
        return "list"
    return "map" if "additionalProperties" in field else str(field.get("type", ""))


def _is_plain(default: object) -> bool:
    """Whether it says something: empty texts and lists do not, and defaults of parts are those of their fields."""
    return isinstance(default, (bool, int, float)) or (isinstance(default, str) and default != "")


def _value(default: object) -> str:
    return default if isinstance(default, str) else json.dumps(default)


def main() -> None:
    """Write the page to standard output."""
    sys.stdout.write(fields_page())


if __name__ == "__main__":
    main()
