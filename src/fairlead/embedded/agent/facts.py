"""What a node knows of one of its pods: the input of every decision about it. Times are wall seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairlead.embedded.agent.backoff import Backoff


@dataclass(frozen=True, slots=True)
class Ended:
    exit_code: int
    finished_at_s: float
    reason: str
    """Completed, Error, OOMKilled, StartError or ContainerStatusUnknown."""
    message: str = ""
    signal: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of a container; `number` counts restarts from 0. `ended` is None while it runs."""

    number: int
    id: str
    image: str
    image_id: str
    started_at_s: float
    ended: Ended | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why something cannot go on now; tried again at `retry_at_s`."""

    reason: str
    message: str
    retry_at_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ContainerFacts:
    """`startup_passed` and `ready` are probe results of the current attempt: None means no result yet.

    `hook_done` is False while the postStart hook of the current attempt runs.
    """

    current: Attempt | None = None
    previous: Attempt | None = None
    backoff: Backoff | None = None
    trouble: Trouble | None = None
    startup_passed: bool | None = None
    ready: bool | None = None
    hook_done: bool = True
    stopping: bool = False
    starting: bool = False

    @property
    def is_running(self) -> bool:
        return self.current is not None and self.current.ended is None


NOTHING = ContainerFacts()


@dataclass(frozen=True, slots=True)
class PodFacts:
    """`blocked` says why the pod may not start yet (claims, volumes); `ended` why it must end (reason and message).

    `devices_held`: drivers have yet to unprepare the pod's claims. `allocated`: container name -> the health of its
    devices, in the form of the API.
    """

    host_ip: str
    pod_ip: str = ""
    sandbox_ready: bool = False
    start_time_s: float = 0.0
    blocked: Trouble | None = None
    ended: Trouble | None = None
    deleting: bool = False
    devices_held: bool = False
    allocated: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    containers: Mapping[str, ContainerFacts] = field(default_factory=dict)

    def of(self, name: str) -> ContainerFacts:
        return self.containers.get(name, NOTHING)
