"""The annotation `fairlead.dev/gang-spec`: a tree of groups in JSON, read into a plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from fairlead.scheduling.gangs.levels import level_label, level_labels
from fairlead.scheduling.gangs.model import Topology
from fairlead.scheduling.gangs.sources.plan import GroupPlan
from fairlead.scheduling.gangs.sources.reference import UnreadableError, bad_value

GANG_SPEC: Final = "fairlead.dev/gang-spec"
EXAMPLE: Final = '{"min": 8}'
MAX_GROUPS: Final = 512
MAX_DEPTH: Final = 8

Count = Annotated[int, Meta(ge=0, le=1_000_000)]


class _Spec(msgspec.Struct, rename="camel", forbid_unknown_fields=True, frozen=True):
    pass


class TopologySpec(_Spec, frozen=True):
    required: str | list[str] = ""
    preferred: str | list[str] = ""
    arrangement: Literal["pack", "spread"] = "pack"
    over: str = ""
    slice_size: Count = 0
    slice_level: str = ""


class GroupSpec(_Spec, frozen=True):
    """`min` of `count` pods must be placed; without `min`, all of `count`."""

    name: str = ""
    min: Count | None = None
    count: Count | None = None
    min_groups: Count | None = None
    topology: TopologySpec | None = None
    groups: list[GroupSpec] = []

    def walk(self) -> Iterator[GroupSpec]:
        yield self
        for group in self.groups:
            yield from group.walk()

    @property
    def depth(self) -> int:
        return 1 + max((group.depth for group in self.groups), default=0)


class GangSpec(GroupSpec, frozen=True):
    """The root: what is said of the gang as a whole."""

    recovery: Literal["gang", "member"] | None = None
    disruption: Literal["all", "surplus"] | None = None


_DECODER: Final = msgspec.json.Decoder(GangSpec)


def parse_gang_spec(text: str, owner: str, *, is_sized: bool = False) -> GangSpec:
    """The tree in an annotation of `owner`; a bare number is a gang of that many. Raises UnreadableError.

    `is_sized` says that something else tells how many pods there are: the root may then leave it open.
    """
    stripped = text.strip()
    if stripped.isascii() and stripped.isdigit() and len(stripped) < 7:
        return GangSpec(min=int(stripped))
    try:
        spec = _DECODER.decode(stripped)
        _check(spec, is_sized)
    except (msgspec.MsgspecError, UnicodeError, ValueError) as error:
        raise bad_value(f"annotation {GANG_SPEC}", owner, text, f"{error}; write for example {EXAMPLE}") from None
    except RecursionError:
        reason = f"groups are nested too deeply; at most {MAX_DEPTH} levels"
        raise bad_value(f"annotation {GANG_SPEC}", owner, text, reason) from None
    return spec


def group_plan(spec: GroupSpec, aliases: Mapping[str, str], owner: str, name: str) -> GroupPlan:
    """The plan of a group and all below it; `name` for a root without one. Raises UnreadableError."""
    try:
        topology = _topology(spec.topology, aliases) if spec.topology else Topology()
    except ValueError as error:
        raise UnreadableError(
            f"annotation {GANG_SPEC} of {owner}, topology of {(spec.name or name)!r}: {error}"
        ) from None
    return GroupPlan(
        name=spec.name or name,
        minimum=spec.count if spec.min is None else spec.min,
        minimum_groups=spec.min_groups,
        topology=topology,
        groups=tuple(group_plan(group, aliases, owner, group.name) for group in spec.groups),
    )


def _topology(spec: TopologySpec, aliases: Mapping[str, str]) -> Topology:
    return Topology(
        required=_levels(spec.required, aliases),
        preferred=_levels(spec.preferred, aliases),
        arrangement=spec.arrangement,
        over=level_label(spec.over, aliases) if spec.over else "",
        slice_size=spec.slice_size,
        slice_level=level_label(spec.slice_level, aliases) if spec.slice_level else "",
    )


def _levels(names: str | list[str], aliases: Mapping[str, str]) -> tuple[str, ...]:
    return level_labels(names if isinstance(names, str) else ",".join(names), aliases)


def _check(spec: GangSpec, is_sized: bool) -> None:
    if spec.depth > MAX_DEPTH:
        raise ValueError(f"groups are nested {spec.depth} deep; at most {MAX_DEPTH} levels")
    groups = list(spec.walk())
    if len(groups) > MAX_GROUPS:
        raise ValueError(f"there are {len(groups)} groups; at most {MAX_GROUPS}")
    names = [group.name for group in groups[1:]]
    if "" in names:
        raise ValueError('a group has no name: write one that pods give in their label fairlead.dev/group, as {"name"')
    twice = next((name for name in names if names.count(name) > 1), "")
    if twice:
        raise ValueError(f"two groups are called {twice!r}: each needs a name of its own")
    _check_group(spec, "the gang", is_sized)
    for group in groups[1:]:
        _check_group(group, f"group {group.name!r}")


def _check_group(group: GroupSpec, who: str, is_sized: bool = False) -> None:
    if not is_sized and group.min is None and group.count is None and not group.groups:
        raise ValueError(f"{who} has neither min nor count: write how many of its pods must be placed together")
    if group.min is not None and group.count is not None and group.min > group.count:
        raise ValueError(f"{who} has min {group.min}, but only {group.count} pods (count): lower min or raise count")
    if group.min_groups is not None and group.min_groups > len(group.groups):
        raise ValueError(f"{who} has minGroups {group.min_groups}, but {len(group.groups)} groups: lower minGroups")
    topology = group.topology
    if topology is not None and bool(topology.slice_size) != bool(topology.slice_level):
        raise ValueError(f"{who} cuts its pods into slices: write both sliceSize and sliceLevel, or neither")
    if topology is not None and topology.over and topology.arrangement != "spread":
        raise ValueError(
            f"{who} has a level to spread over ({topology.over}): write arrangement spread, or leave it out"
        )
