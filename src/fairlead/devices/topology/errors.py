"""Errors of topology discovery.

TopologyError               anything below
├── InvalidTopology         a topology breaks a rule: its `problems`, each with kind, subject and sentence
├── MergeConflict           two sources say different things about one node or switch; `conflicts` names them
├── SourceError             a source's text is not understood: which source, which line or field
│   └── SourceUnavailable   a source does not answer, or not in time; a later try may go better
└── Unsupported             a provider, an engine or a parameter that is not served; `status` is the HTTP status
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fairlead.devices.errors import DeviceError

ProblemKind = Literal[
    "EmptyName",
    "DuplicateSwitch",
    "DuplicateNode",
    "UnknownSwitch",
    "CrossFabric",
    "Cycle",
    "TwoLeaves",
    "TwoDomains",
    "LoneSubDomain",
]
_SHOWN = 3


class TopologyError(DeviceError):
    """Root of the errors of this part."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One broken rule: about which switch or node, and a sentence for a person."""

    kind: ProblemKind
    subject: str
    message: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two sources that differ. `subject` is "node a" or "switch b", `field` what they differ in."""

    subject: str
    field: str
    values: tuple[tuple[str, str], ...]
    """(source, what it says), in the order of the sources."""

    def __str__(self) -> str:
        said = ", ".join(f'{source} says "{value}"' for source, value in self.values)
        return f"{self.subject}: {self.field}: {said}"


class InvalidTopology(TopologyError):
    """A topology breaks a rule."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(_listed([problem.message for problem in self.problems]))


class MergeConflict(TopologyError):
    """Sources contradict each other."""

    def __init__(self, conflicts: Sequence[Conflict]) -> None:
        self.conflicts = tuple(conflicts)
        super().__init__(_listed([str(conflict) for conflict in self.conflicts]))


class SourceError(TopologyError):
    """What a source gave is not understood."""


class SourceUnavailable(SourceError):
    """A source does not answer."""


class Unsupported(TopologyError):
    """A request for what is not served."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def _listed(sentences: Sequence[str]) -> str:
    more = len(sentences) - _SHOWN
    return "; ".join(sentences[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
