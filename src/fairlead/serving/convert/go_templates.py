"""`{{…}}` of KServe's manifests: Go templates over the object, of which those that only name a field are filled in.

Source: `pkg/controller/v1alpha2/llmisvc/config_merge.go` and `pkg/controller/v1beta1/inferenceservice/utils` of KServe
0.20.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from fairlead.serving.convert.reading import joined
from fairlead.serving.convert.report import Loss, Severity

Values = Callable[[str], str | None]
"""Path in the template's object (`Spec.Model.Name`) -> its text; None where nobody knows."""

_ACTION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
_FIELD = re.compile(r"\.([A-Za-z][\w.]*)\Z")
_INDEX = re.compile(r"""index\s+\.([A-Za-z][\w.]*)\s+["`]([^"`]+)["`]\Z""")
_CHILD = re.compile(r"""ChildName\s+\.([A-Za-z][\w.]*)\s+["`]([^"`]*)["`]\Z""")
_LONGEST = 63


def fill(text: str, values: Values) -> tuple[str, list[str]]:
    """The text with what is known filled in, and the actions that were left as they are."""
    left: list[str] = []

    def replaced(found: re.Match[str]) -> str:
        result = _evaluate(found[1], values)
        if result is None:
            left.append(found[0])
            return found[0]
        return result

    return _ACTION.sub(replaced, text), left


def fill_fields(value: Any, field: str, values: Values, losses: list[Loss]) -> Any:
    """A value with its `{{…}}` filled in; says which could not be."""
    if isinstance(value, str) and "{{" in value:
        text, left = fill(value, values)
        if left:
            why = f"{', '.join(dict.fromkeys(left))} is KServe's to work out: write what it stands for"
            losses.append(Loss(field, value, Severity.ATTENTION, why))
        return text
    if isinstance(value, dict):
        return {key: fill_fields(item, joined(field, str(key)), values, losses) for key, item in value.items()}
    if isinstance(value, list):
        return [fill_fields(item, f"{field}[{i}]", values, losses) for i, item in enumerate(value)]
    return value


def from_object(obj: Mapping[str, Any]) -> Values:
    """Fields of an object as Go names them: `.ObjectMeta.Name`, `.Spec.Model.Name`; `.Name` is short for the first."""
    metadata = obj.get("metadata") or {}

    def value(path: str) -> str | None:
        parts = path.split(".")
        if parts[0] in ("Name", "Namespace", "Labels", "Annotations"):
            parts.insert(0, "ObjectMeta")
        at: Any = {"ObjectMeta": metadata, "Spec": obj.get("spec") or {}}
        for part in parts:
            if not isinstance(at, Mapping):
                return None
            at = next((item for key, item in at.items() if key.lower() == part.lower()), None)
        if isinstance(at, bool):
            return "true" if at else "false"
        return str(at) if isinstance(at, (str, int, float)) else None

    return value


def _evaluate(action: str, values: Values) -> str | None:
    if found := _FIELD.match(action):
        return values(found[1])
    if found := _INDEX.match(action):
        return values(f"{found[1]}.{found[2]}")
    if found := _CHILD.match(action):
        parent = values(found[1])
        return None if parent is None else _child_name(parent, found[2])
    return None


def _child_name(parent: str, suffix: str) -> str:
    """As `kmeta.ChildName` of Knative: where both are too long, the parent is cut and hashed."""
    if len(parent) + len(suffix) <= _LONGEST:
        return parent + suffix
    # MD5 is what the source takes; it names, it protects nothing.
    digest = hashlib.md5((parent + suffix).encode(), usedforsecurity=False).hexdigest()
    return parent[: max(0, _LONGEST - len(digest) - len(suffix))] + digest + suffix
