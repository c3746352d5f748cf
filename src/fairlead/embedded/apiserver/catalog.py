"""Which resource types are served right now: the built-in ones and those of the CustomResourceDefinitions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fairlead.embedded.apiserver.registry import ResourceType
from fairlead.embedded.apiserver.schema.node import Schema


class Catalog:
    """Served types by group, version and resource. `revision` grows with every change, for caches."""

    def __init__(self, builtin: Iterable[ResourceType]) -> None:
        # (group, version, resource) -> type
        self._types: dict[tuple[str, str, str], ResourceType] = {}
        # (group, version) -> types in the order of registration
        self._by_version: dict[tuple[str, str], list[ResourceType]] = {}
        self._builtin_groups: set[str] = set()
        # CRD name -> its types
        self._custom: dict[str, tuple[ResourceType, ...]] = {}
        self.revision = 0
        for type_ in builtin:
            self._add(type_)
            self._builtin_groups.add(type_.group)

    def find(self, group: str, version: str, resource: str) -> ResourceType | None:
        return self._types.get((group, version, resource))

    def find_resource(self, group: str, resource: str) -> ResourceType | None:
        """Any served version of a resource, the first registered one first."""
        for type_ in self.all():
            if type_.group == group and type_.resource == resource:
                return type_
        return None

    def find_kind(self, group: str, version: str, kind: str) -> ResourceType | None:
        for type_ in self._by_version.get((group, version), ()):
            if type_.kind == kind:
                return type_
        return None

    def all(self) -> Sequence[ResourceType]:
        return list(self._types.values())

    def groups(self) -> list[str]:
        """Group names in the order of discovery: built-in first, then those of CRDs by name."""
        served = dict.fromkeys(group for group, _ in self._by_version if group)
        custom = sorted(group for group in served if group not in self._builtin_groups)
        return [group for group in served if group in self._builtin_groups] + custom

    def versions(self, group: str) -> list[str]:
        """Versions of a group, the preferred one first."""
        return sorted((v for g, v in self._by_version if g == group), key=version_priority)

    def schemas_of(self, type_: ResourceType) -> dict[str, Schema] | None:
        """The schemas of all served versions of a custom resource by apiVersion; None for a built-in kind, whose
        versions are served from one schema."""
        if not type_.is_custom:
            return None
        versions = (self.find(type_.group, version, type_.resource) for version in self.versions(type_.group))
        return {served.api_version: served.schema for served in versions if served is not None}

    def types(self, group: str, version: str) -> Sequence[ResourceType]:
        return self._by_version.get((group, version), ())

    def set_custom(self, crd_name: str, types: Sequence[ResourceType]) -> None:
        """Serve exactly these types for a CRD; none to stop serving it."""
        for type_ in self._custom.pop(crd_name, ()):
            self._remove(type_)
        if types:
            self._custom[crd_name] = tuple(types)
        for type_ in types:
            self._add(type_)

    def custom(self, crd_name: str) -> Sequence[ResourceType]:
        return self._custom.get(crd_name, ())

    def _add(self, type_: ResourceType) -> None:
        self._types[type_.group, type_.version, type_.resource] = type_
        self._by_version.setdefault((type_.group, type_.version), []).append(type_)
        self.revision += 1

    def _remove(self, type_: ResourceType) -> None:
        self._types.pop((type_.group, type_.version, type_.resource), None)
        siblings = self._by_version.get((type_.group, type_.version), [])
        if type_ in siblings:
            siblings.remove(type_)
        if not siblings:
            self._by_version.pop((type_.group, type_.version), None)
        self.revision += 1


def version_priority(version: str) -> tuple[int, int, int, str]:
    """Sort key that puts GA before beta before alpha, higher numbers first, and other names last."""
    digits = version[1:].replace("alpha", " alpha ").replace("beta", " beta ").split()
    if version[:1] == "v" and digits and digits[0].isdigit():
        stage = {"": 0, "beta": 1, "alpha": 2}.get(digits[1] if len(digits) > 1 else "", 3)
        minor = int(digits[2]) if len(digits) > 2 and digits[2].isdigit() else 0
        if stage < 3:
            return (stage, -int(digits[0]), -minor, "")
    return (9, 0, 0, version)
