"""A rule, and how a table of them is put into a schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fairlead.api.structural import Json


@dataclass(frozen=True, slots=True)
class Rule:
    """A CEL expression over `self` (and `oldSelf`) that must hold.

    `telling` is a CEL expression of the message, where it names values; `message` is told where there is none, or it
    fails. `field` is the path (".a.b") below the rule's place that the message is about.
    """

    holds: str
    message: str
    telling: str = ""
    field: str = ""

    def to_json(self) -> Json:
        """As it stands in a definition."""
        return {
            "rule": self.holds,
            "message": self.message,
            **({"messageExpression": self.telling} if self.telling else {}),
            **({"fieldPath": self.field} if self.field else {}),
        }


Rules = Mapping[str, Sequence[Rule]]
"""Path in a kind ("spec.roles[].scaling"; "" is the object itself, `{}` the values of a map) to its rules."""


def attach(schema: Json, rules: Rules) -> None:
    """Put rules into the schema of a kind. Raises KeyError for a path that it does not have."""
    for path, listed in rules.items():
        node = schema
        for step in filter(None, path.replace("[]", ".[]").replace("{}", ".{}").split(".")):
            node = _child(node, step, path)
        node.setdefault("x-kubernetes-validations", []).extend(rule.to_json() for rule in listed)


def _child(node: Json, step: str, path: str) -> Json:
    at = {"[]": "items", "{}": "additionalProperties"}.get(step)
    found = node.get(at) if at is not None else node.get("properties", {}).get(step)
    if not isinstance(found, dict):
        raise KeyError(f"a rule is for {path}, but the schema has no {step} there")
    # Parts of a schema may be shared by several places, rules are of one.
    copied: Json = dict(found)
    if at is not None:
        node[at] = copied
    else:
        node["properties"] = {**node["properties"], step: copied}
    if "x-kubernetes-validations" in copied:
        copied["x-kubernetes-validations"] = list(copied["x-kubernetes-validations"])
    return copied
