"""What the controller keeps between looks at a service, all of which can be lost: resolved versions, evidence, what was
said last. After a restart it is made again from the API."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from fairlead.api.model_service import Analysis, ModelService
from fairlead.api.serving_runtime import ServingRuntime
from fairlead.api.traffic_report import TrafficReport
from fairlead.clock import parse_time
from fairlead.serving.analysis import Arm, Arms, Evidence, Verdict, gather, judge
from fairlead.serving.analysis.memory import EVERY_S, read_evidence, write_evidence
from fairlead.serving.render.foreign import foreign_workloads
from fairlead.serving.resolve import ClusterFacts, Resolved, Unservable, resolve_service
from fairlead.serving.rollout.intents import pinned
from fairlead.serving.rollout.revisions import Revision
from fairlead.serving.rollout.trial_facts import asked_of


@dataclass(slots=True)
class Book:
    """Of one service."""

    resolved: dict[str, Resolved] = field(default_factory=dict)
    """Revision -> how its pods are made."""
    wanted_for: object = None
    """What `wanted` was made of."""
    wanted: Resolved | Unservable | None = None
    evidence: Evidence | None = None
    written_s: float = 0.0
    """When the evidence was written last, and how many requests of the new version it had."""
    written_requests: int = 0
    ready_updated: int = 0
    """Ready replicas of the wanted revision at the last look."""
    refused: str = ""
    """Why the API server did not take a pod, the last time one was made."""
    route_problem: str = ""
    """What is wrong with the HTTPRoute of its canary."""
    said: str = ""
    """Reason of the last step that was told."""

    def resolve(
        self, service: ModelService, runtimes: Sequence[ServingRuntime], facts: ClusterFacts, made_of: object,
        stored: Callable[[], Collection[Revision]] = tuple,
    ) -> Resolved | Unservable:  # fmt: skip
        """What the spec comes to; worked out again only when `made_of` has changed. `stored` are the revisions that
        there are."""
        if self.wanted is None or self.wanted_for != made_of:
            try:
                self.wanted = pinned(resolve_service(service, runtimes, facts), service.spec, stored())
                # Not every replica can be a Deployment's or a LeaderWorkerSet's.
                foreign_workloads(service, self.wanted, dict.fromkeys(self.wanted.roles, 0))
                self.resolved[self.wanted.revision] = self.wanted
            except Unservable as error:
                self.wanted = error
            self.wanted_for = made_of
        return self.wanted

    def look_at_ready(self, ready: int) -> bool:
        """Whether there are more than at the last look."""
        more = ready > self.ready_updated
        self.ready_updated = ready
        return more

    def judge(
        self, service: ModelService, analysis: Analysis | None, wanted: Resolved, reports: Sequence[TrafficReport],
        now_s: float, kept: str = "",
    ) -> Verdict | None:  # fmt: skip
        """What the comparison says with the reports that are there; None where nothing is compared. `kept` is the
        evidence as it was written last, by whoever was here before."""
        status = service.status.rollout
        if analysis is None or status is None or status.phase in ("Stable", "Reverted", "Promoting"):
            self.evidence = None
            return None
        if service.status.update_revision != wanted.revision:
            self.evidence = None
            return None
        arms = Arms(Arm(wanted.revision), Arm(service.status.revision))
        if self.evidence is None or self.evidence.arms != arms:
            self.evidence = read_evidence(kept, arms, status.started_at) or Evidence(arms)
            self.written_s, self.written_requests = now_s, self.evidence.total.new.requests
        asked = asked_of(status, wanted.revision, analysis)
        self.evidence = gather(self.evidence, reports, asked, now_s)
        began_s = parse_time(status.started_at) if status.started_at else now_s
        verdict, self.evidence = judge(self.evidence, analysis, began_s, now_s)
        return verdict

    def evidence_to_keep(self, started_at: str, now_s: float) -> str:
        """The evidence as text where it is time to write it; empty where it is not."""
        evidence = self.evidence
        if evidence is None or now_s - self.written_s < EVERY_S:
            return ""
        if evidence.total.new.requests == self.written_requests:
            return ""
        self.written_s, self.written_requests = now_s, evidence.total.new.requests
        return write_evidence(evidence, started_at)


class Books:
    """One for each service, by uid."""

    def __init__(self) -> None:
        self._books: dict[str, Book] = {}

    def of(self, uid: str) -> Book:
        return self._books.setdefault(uid, Book())

    def forget(self, uid: str) -> None:
        self._books.pop(uid, None)


def read_reports(raw: Sequence[Mapping[str, object]]) -> list[TrafficReport]:
    """TrafficReports as structs; what cannot be read is left out."""
    found = []
    for each in raw:
        try:
            found.append(msgspec.convert(each, TrafficReport))
        except msgspec.ValidationError:
            continue
    return found
