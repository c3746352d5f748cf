"""Rules of `Queue`."""

from __future__ import annotations

from fairlead.api.queue import MAX_NAME_LENGTH
from fairlead.api.rules.rule import Rule, Rules


def _not_negative(field: str, remedy: str) -> Rule:
    return Rule(
        f"!has(self.{field}) || (type(self.{field}) == string ? !self.{field}.startsWith('-') : self.{field} >= 0)",
        f"{field} may not be negative: {remedy}",
        field=f".{field}",
    )


RULES: Rules = {
    "": [
        Rule(
            f"size(self.metadata.name) <= {MAX_NAME_LENGTH}",
            f"metadata.name may have at most {MAX_NAME_LENGTH} characters: pods name their queue in a label",
        ),
        Rule(
            "!has(self.spec) || !has(self.spec.parent) || self.spec.parent != self.metadata.name",
            "a queue cannot be its own parent: name another, or leave parent out",
            field=".spec.parent",
        ),
    ],
    "spec.resources": [
        # Anything that reads the names costs more than an API server grants: their length is not limited otherwise.
        Rule(
            "self.all(name, size(name) > 0 && size(name) <= 317)",
            "resources are named as in a pod (cpu, memory, nvidia.com/gpu), or "
            "CLASS.deviceclass.resource.k8s.io/devices for the devices of a class",
        ),
    ],
    "spec.resources{}": [
        _not_negative("quota", "leave it out for nothing to count on"),
        _not_negative("limit", "leave it out for no limit"),
        # Texts are not compared: to read quantities costs more than an API server grants.
        Rule(
            "!has(self.quota) || !has(self.limit) || type(self.quota) == string || "
            "type(self.limit) == string || int(self.quota) <= int(self.limit)",
            "the limit is below the quota: raise limit, or lower quota",
            field=".limit",
        ),
    ],
}
