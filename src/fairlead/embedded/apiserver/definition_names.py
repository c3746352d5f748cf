"""The names of CustomResourceDefinitions: each is accepted unless another definition of the group has it already.

Conditions and their wording follow `k8s.io/apiextensions-apiserver` (`pkg/controller/status`, `…/establish`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from fairlead.embedded.apiserver.registry import Object


@dataclass(frozen=True)
class UsedNames:
    """Names that are taken in a group: of resources (with singular and short names), and of kinds."""

    resources: set[str] = field(default_factory=set)
    kinds: set[str] = field(default_factory=set)

    def union(self, other: UsedNames) -> UsedNames:
        return UsedNames(self.resources | other.resources, self.kinds | other.kinds)


class AcceptedNames:
    """What the definitions have for names, and which of them wait for names that others have."""

    def __init__(self) -> None:
        # name of a definition -> its group and accepted names
        self._accepted: dict[str, tuple[str, Object]] = {}
        self._waiting: set[str] = set()

    def used(self, group: str) -> UsedNames:
        """All accepted names in a group."""
        used = UsedNames()
        for other, names in self._accepted.values():
            if other == group:
                used.resources.update((names.get("plural", ""), names.get("singular", "")))
                used.resources.update(names.get("shortNames") or ())
                used.kinds.update((names.get("kind", ""), names.get("listKind", "")))
        return used

    def take(self, crd: Object) -> list[str]:
        """Remember a definition's accepted names; returns the definitions whose names may be free now."""
        name, group = crd["metadata"]["name"], crd["spec"]["group"]
        names = (crd.get("status") or {}).get("acceptedNames") or {}
        before = self._accepted.get(name)
        self._accepted[name] = (group, names)
        if is_true(crd, "NamesAccepted"):
            self._waiting.discard(name)
        else:
            self._waiting.add(name)
        return self._candidates(name, group) if before is not None and before[1] != names else []

    def drop(self, name: str) -> list[str]:
        """Forget a definition; returns the definitions whose names may be free now."""
        self._waiting.discard(name)
        before = self._accepted.pop(name, None)
        return self._candidates(name, before[0]) if before is not None else []

    def _candidates(self, name: str, group: str) -> list[str]:
        return [other for other in self._waiting if other != name and self._accepted[other][0] == group]


def is_true(crd: Object, condition: str) -> bool:
    conditions: list[dict[str, Any]] = (crd.get("status") or {}).get("conditions") or []
    return any(each["type"] == condition and each["status"] == "True" for each in conditions)


def established_status(crd: Object, used: UsedNames, now: str) -> Object:
    """The status of a definition: the names that it could get, whether these are all, and whether it is served."""
    status: Object = copy.deepcopy(crd.get("status") or {})
    conditions: list[Object] = status.get("conditions") or []
    status["conditions"] = conditions
    accepted: Object = dict(status.get("acceptedNames") or {})
    accepted.setdefault("plural", "")
    accepted.setdefault("kind", "")
    problem = _accept(_wanted(crd), accepted, used)
    status["acceptedNames"] = accepted
    if problem is None:
        _set_condition(conditions, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now)
        established = "the initial names have been accepted"
        _set_condition(conditions, "Established", "True", "InitialNamesAccepted", established, now)
    else:
        _set_condition(conditions, "NamesAccepted", "False", *problem, now)
        if not is_true({"status": status}, "Established"):
            _set_condition(conditions, "Established", "False", "NotAccepted", "not all names are accepted", now)
    stored = status["storedVersions"] = list(status.get("storedVersions") or ())
    for version in crd["spec"]["versions"]:
        if version.get("storage") and version["name"] not in stored:
            stored.append(version["name"])
    return status


def terminating_status(crd: Object, value: str, reason: str, message: str, now: str) -> Object:
    """The status of a definition that is being deleted, with how far that has come."""
    status: Object = copy.deepcopy(crd.get("status") or {})
    status["conditions"] = status.get("conditions") or []
    _set_condition(status["conditions"], "Terminating", value, reason, message, now)
    return status


def _wanted(crd: Object) -> Object:
    names = dict(crd["spec"]["names"])
    names.setdefault("singular", names["kind"].lower())
    names.setdefault("listKind", names["kind"] + "List")
    return names


def _accept(wanted: Object, accepted: Object, used: UsedNames) -> tuple[str, str] | None:
    """Take over the names that are free, in place; returns reason and message of the last that is not."""
    problem: tuple[str, str] | None = None
    for key, reason, taken in (
        ("plural", "PluralConflict", used.resources),
        ("singular", "SingularConflict", used.resources),
        ("shortNames", "ShortNamesConflict", used.resources),
        ("kind", "KindConflict", used.kinds),
        ("listKind", "ListKindConflict", used.kinds),
    ):
        names, own = _listed(wanted.get(key)), _listed(accepted.get(key))
        conflicts = [f'"{name}" is already in use' for name in names if name not in own and name in taken]
        if conflicts:
            problem = (reason, conflicts[0] if len(conflicts) == 1 else f"[{', '.join(conflicts)}]")
        else:
            _copy(wanted, accepted, key)
    _copy(wanted, accepted, "categories")
    return problem


def _listed(value: Any) -> Iterable[str]:
    return value if isinstance(value, list) else [value] if value else []


def _copy(wanted: Object, accepted: Object, key: str) -> None:
    if wanted.get(key):
        accepted[key] = wanted[key]
    else:
        accepted.pop(key, None)


def _set_condition(conditions: list[Object], kind: str, value: str, reason: str, message: str, now: str) -> None:
    found = next((each for each in conditions if each["type"] == kind), None)
    if found is None:
        conditions.append(
            {"type": kind, "status": value, "lastTransitionTime": now, "reason": reason, "message": message}
        )
        return
    if found["status"] != value:
        found.update(status=value, lastTransitionTime=now)
    found.update(reason=reason, message=message)
