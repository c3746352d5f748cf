"""One container of one pod as its worker handles it: attempts on disk, probe results, and running tasks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from fairlead.embedded.agent.backoff import Backoff
from fairlead.embedded.agent.container import Container
from fairlead.embedded.agent.facts import Attempt, ContainerFacts, Ended, Trouble
from fairlead.embedded.agent.pod import ContainerSpec


@dataclass(slots=True)
class Slot:
    spec: ContainerSpec
    is_init: bool
    attempts: list[Container] = field(default_factory=list)
    backoff: Backoff | None = None
    trouble: Trouble | None = None
    failures: int = 0
    startup_passed: bool | None = None
    ready: bool | None = None
    hook_done: bool = True
    stopping: bool = False
    starting: bool = False
    backoff_told: bool = False
    stop_grace_s: int | None = None
    """A grace period that overrides the pod's, set by the probe that ends the container."""
    messages: dict[str, str] = field(default_factory=dict)
    """Container id -> termination message, read once when it ended. A container without an entry counts as running:
    a restart or a status must not come before its message."""
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    @property
    def current(self) -> Container | None:
        return self.attempts[-1] if self.attempts else None

    def facts(self) -> ContainerFacts:
        current = self.current
        return ContainerFacts(
            current=None if current is None else self._attempt(current),
            previous=self._attempt(self.attempts[-2]) if len(self.attempts) > 1 else None,
            backoff=self.backoff,
            trouble=self.trouble,
            startup_passed=self.startup_passed,
            ready=self.ready,
            hook_done=self.hook_done,
            stopping=self.stopping,
            starting=self.starting,
        )

    def begin(self) -> None:
        """Forget what was known of the attempt before."""
        self.startup_passed = self.ready = None
        self.stopping = self.backoff_told = False
        self.stop_grace_s = None
        self.trouble = None
        self.failures = 0

    def cancel_tasks(self) -> None:
        for task in self.tasks:
            task.cancel()
        self.tasks.clear()

    def _attempt(self, container: Container) -> Attempt:
        exit = container.exit
        ended = None
        if exit is not None and (exit.start_error is not None or container.id in self.messages):
            message = exit.start_error or self.messages.get(container.id, "")
            ended = Ended(exit.exit_code, exit.finished_at_s, _reason(container), message)
        return Attempt(
            number=container.attempt,
            id=container.id,
            image=container.image,
            image_id=container.image_id,
            started_at_s=container.started_at_s or (0.0 if exit and exit.start_error else container.created_at_s),
            ended=ended,
        )


def _reason(container: Container) -> str:
    exit = container.exit
    assert exit is not None
    if exit.start_error is not None:
        return "StartError"
    if exit.oom_killed:
        return "OOMKilled"
    return "Completed" if exit.exit_code == 0 else "Error"
