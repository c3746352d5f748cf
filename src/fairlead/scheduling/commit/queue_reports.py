"""What queues are told: what they hold, want and may have now. Every few seconds, and only what is different."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from fairlead.clock import SYSTEM, Clock, format_time
from fairlead.kube.client import Client
from fairlead.kube.errors import ApiError
from fairlead.kube.rate_limit import RateLimit
from fairlead.kube.resources import Resource, Unstructured
from fairlead.kube.store import Store
from fairlead.scheduling.commit.faults import CommitFailedError, Requests
from fairlead.scheduling.queues.view import QueueReport

_LOG = logging.getLogger("fairlead.scheduling")

EVERY_S: Final = 5.0
_WRITES_PER_S: Final = 10.0
_BURST: Final = 20


class QueueReports:
    """The status of all Queue objects."""

    def __init__(
        self,
        client: Client,
        resource: Resource[Unstructured],
        queues: Store[Unstructured],
        requests: Requests,
        report: Callable[[], tuple[Mapping[str, QueueReport], Mapping[str, str]]],
        *,
        clock: Clock = SYSTEM,
    ) -> None:
        """`report` gives the reports by queue, and by queue why its object cannot be read."""
        self._client = client
        self._resource = resource
        self._queues = queues
        self._requests = requests
        self._report = report
        self._clock = clock
        self._limit = RateLimit(_WRITES_PER_S, _BURST, clock=clock)

    async def write_all(self) -> None:
        """Write what is different now."""
        if not self._queues.keys():
            return
        reports, faults = self._report()
        for queue in list(self._queues):
            name = queue["metadata"]["name"]
            wanted = self._status(queue, reports.get(name), faults.get(name, ""))
            current = queue.get("status") or {}
            change = {key: value for key, value in wanted.items() if current.get(key) != value}
            if not change:
                continue
            for key, value in change.items():
                if isinstance(value, dict):
                    # A merge patch keeps what it does not name.
                    change[key] = value | dict.fromkeys((current.get(key) or {}).keys() - value.keys())
            await self._write(name, change)

    async def _write(self, name: str, change: dict[str, Any]) -> None:
        await self._limit.take()
        try:
            await self._requests.send(
                lambda: self._client.patch(self._resource, name, {"status": change}, subresource="status"),
                f"queue {name}",
            )
        except (ApiError, CommitFailedError) as error:
            _LOG.info("the status of queue %s is not written: %s", name, error)

    def _status(self, queue: Unstructured, report: QueueReport | None, fault: str) -> dict[str, Any]:
        problem = report.problem if report is not None else None
        is_ready = not fault and problem is None
        reason = "Ready" if is_ready else "Invalid" if problem is None else problem.reason
        message = fault or (str(problem) if problem is not None else "gangs are placed from this queue")
        status: dict[str, Any] = dict(report.as_status()) if report is not None else {}
        generation = queue["metadata"].get("generation")
        status["observedGeneration"] = generation or 0
        old: dict[str, Any] = next(
            (c for c in (queue.get("status") or {}).get("conditions") or () if c.get("type") == "Ready"), {}
        )
        word = "True" if is_ready else "False"
        now = format_time(self._clock.wall_s())
        condition = {
            "type": "Ready",
            "status": word,
            "reason": reason,
            "message": message,
            "observedGeneration": generation or 0,
            "lastTransitionTime": old.get("lastTransitionTime", now) if old.get("status") == word else now,
        }
        return status | {"conditions": [condition]}
