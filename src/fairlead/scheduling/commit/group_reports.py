"""What PodGroups (scheduling.k8s.io) are told: whether their pods are placed, in the words of the version served."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from fairlead.clock import SYSTEM, Clock, format_time
from fairlead.kube.client import Client
from fairlead.kube.errors import ApiError, Conflict, NotFound
from fairlead.kube.objects.meta import find_condition
from fairlead.kube.objects.scheduling import PodGroup
from fairlead.kube.rate_limit import RateLimit
from fairlead.kube.resources import Resource
from fairlead.kube.store import Store
from fairlead.scheduling.commit.faults import CommitFailedError, Requests

_LOG = logging.getLogger("fairlead.scheduling")

_WRITES_PER_S: Final = 20.0
_BURST: Final = 50
_PLACED_ONCE: Final = "PodGroupInitiallyScheduled"


@dataclass(frozen=True, slots=True)
class GroupNews:
    """Whether a group is placed, and why not."""

    is_placed: bool
    reason: str
    message: str


class GroupReports:
    """What is still to be told. `write_one` is called for as long as it returns True."""

    def __init__(
        self,
        client: Client,
        resource: Resource[PodGroup],
        groups: Store[PodGroup],
        requests: Requests,
        *,
        clock: Clock = SYSTEM,
    ) -> None:
        self._client = client
        self._resource = resource
        self._groups = groups
        self._requests = requests
        self._clock = clock
        self._limit = RateLimit(_WRITES_PER_S, _BURST, clock=clock)
        self._news: dict[tuple[str, str], GroupNews] = {}
        self._type = "PodGroupScheduled" if resource.version == "v1alpha2" else _PLACED_ONCE

    def tell(self, namespace: str, name: str, news: GroupNews) -> None:
        self._news[namespace, name] = news

    async def write_one(self) -> bool:
        """Write the oldest news. Whether there was any."""
        if not self._news:
            return False
        (namespace, name), news = next(iter(self._news.items()))
        del self._news[namespace, name]
        group = self._groups.get(name, namespace)
        if group is None or not self._is_news(group, news):
            return True
        await self._limit.take()
        try:
            await self._requests.send(
                lambda: self._client.patch(
                    self._resource, name, self._change(group, news), namespace, subresource="status"
                ),
                f"pod group {namespace}/{name}",
            )
        except NotFound:
            return True
        except Conflict:
            # Somebody else wrote a condition: the watch brings the new state.
            await self._clock.sleep(0.1)
            self._news.setdefault((namespace, name), news)
        except (ApiError, CommitFailedError) as error:
            _LOG.warning("the condition of pod group %s/%s is not written: %s", namespace, name, error)
        return True

    def _is_news(self, group: PodGroup, news: GroupNews) -> bool:
        current = find_condition(group.status.conditions, self._type)
        if current is None:
            return True
        if self._type == _PLACED_ONCE and current.status == "True":
            return False
        wanted = ("True" if news.is_placed else "False", news.reason, news.message)
        return (current.status, current.reason, current.message) != wanted

    def _change(self, group: PodGroup, news: GroupNews) -> dict[str, Any]:
        """A merge patch for this version of the group: lists are replaced whole."""
        status = "True" if news.is_placed else "False"
        current = find_condition(group.status.conditions, self._type)
        now = format_time(self._clock.wall_s())
        condition = {
            "type": self._type,
            "status": status,
            "reason": news.reason,
            "message": news.message,
            "lastTransitionTime": now if current is None or current.status != status else current.last_transition_time,
            **({"observedGeneration": group.metadata.generation} if group.metadata.generation else {}),
        }
        others = [msgspec.to_builtins(c) for c in group.status.conditions if c.type != self._type]
        return {
            "metadata": {"resourceVersion": group.metadata.resource_version},
            "status": {"conditions": [*others, condition]},
        }
