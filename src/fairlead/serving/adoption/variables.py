"""The environment of a container as far as its specification says it. Pure.

What comes from Secrets, ConfigMaps and the pod itself is there by name, with a mark for its value (`shell.mark`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fairlead.kube.expansion import expand
from fairlead.serving.adoption.shell import mark

Json = Mapping[str, Any]

_INJECTED = ("LWS_LEADER_ADDRESS", "LWS_GROUP_SIZE", "LWS_WORKER_INDEX")
"""By LeaderWorkerSet, into pods and not into templates."""


class _Marked(dict[str, str]):
    """What is not known has a mark for a value, where it can be set by somebody else."""

    def get(self, key: str, default: Any = None) -> Any:
        return super().get(key, mark(f"$({key})"))


@dataclass(frozen=True, slots=True)
class Environment:
    """Name -> value, and whether there can be no others but the image's own."""

    values: Mapping[str, str]
    is_whole: bool

    def expand(self, text: str) -> str:
        """`$(NAME)` filled in, as kubelets do in commands and arguments."""
        return expand(text, self.values if self.is_whole else _Marked(self.values))


def environment_of(container: Json) -> Environment:
    """What the container's process will see."""
    values = {name: mark(f"${name}") for name in _INJECTED}
    is_whole = not container.get("envFrom")
    for variable in container.get("env") or ():
        name = variable["name"]
        if variable.get("valueFrom"):
            values[name] = mark(f"${name}")
        else:
            values[name] = Environment(values, is_whole).expand(variable.get("value") or "")
    return Environment(values, is_whole)
