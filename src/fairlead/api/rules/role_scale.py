"""Rules of `RoleScale`."""

from __future__ import annotations

from fairlead.api.rules.rule import Rule, Rules


def _fixed(field: str) -> Rule:
    return Rule("self == oldSelf", f"{field} cannot be changed: this object comes and goes with its service's role")


RULES: Rules = {"spec.service": [_fixed("service")], "spec.role": [_fixed("role")]}
