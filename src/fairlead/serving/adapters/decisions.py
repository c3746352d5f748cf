"""What is to become of each adapter of a service, from what was observed: versions, needs and rewrites. Pure.

`One` is an adapter in the course of a reconcile.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fairlead.api.model_adapter import ModelAdapter
from fairlead.api.model_service import RolloutStatus
from fairlead.serving.adapters.checks import FINE, Refusal, served_name
from fairlead.serving.adapters.engines_seen import SeenEngine
from fairlead.serving.adapters.placement import AdapterNeed, Placement
from fairlead.serving.adapters.rollout import VersionFacts, VersionStep
from fairlead.serving.adapters.status import Standing
from fairlead.serving.adapters.traffic import Seen
from fairlead.serving.adapters.versions import AdapterVersion, find, read_history, version_of
from fairlead.serving.names import RESUME_ANNOTATION

Json = dict[str, Any]


@dataclass(slots=True)
class One:
    """One adapter, and what was decided of it so far."""

    raw: Json
    adapter: ModelAdapter
    wanted: AdapterVersion
    history: list[AdapterVersion]
    refusal: Refusal = FINE
    new_refusal: Refusal = FINE
    """Why the wanted version is not tried beside the one that serves."""
    step: VersionStep | None = None

    @classmethod
    def of(cls, raw: Json, adapter: ModelAdapter) -> One:
        return cls(raw, adapter, version_of(adapter.spec), read_history(raw["metadata"]))

    @property
    def key(self) -> str:
        return f"{self.adapter.metadata['namespace']}/{self.adapter.metadata['name']}"

    @property
    def is_leaving(self) -> bool:
        return "deletionTimestamp" in self.raw["metadata"]

    @property
    def is_served(self) -> bool:
        return not self.is_leaving and self.refusal == FINE

    @property
    def served_name(self) -> str:
        return served_name(self.adapter)

    @property
    def stable(self) -> AdapterVersion | None:
        """The version that served at the last look."""
        return find(self.history, self.adapter.status.version) or next(iter(self.history), None)

    @property
    def serving(self) -> AdapterVersion:
        """The version that serves now."""
        hashed = self.step.stable if self.step is not None else self.adapter.status.version
        return find([self.wanted, *self.history], hashed) or self.wanted

    @property
    def on_trial(self) -> AdapterVersion | None:
        """The version that is to be loaded beside it."""
        step = self.step
        return self.wanted if step is not None and step.copies > 0 and self.wanted.hash != step.stable else None

    def shadow(self, version: AdapterVersion) -> str:
        return version.shadow(self.served_name)

    def versions(self) -> list[AdapterVersion]:
        """Those that are to be loaded."""
        trial = self.on_trial
        return [self.serving, *([trial] if trial is not None else [])]

    def targets(self) -> list[tuple[str, int]]:
        """Where requests for its name go: names of versions, and percent."""
        trial, weight = self.on_trial, self.step.weight if self.step is not None else 0
        if trial is None or weight <= 0:
            return [(self.shadow(self.serving), 100)]
        return [(self.shadow(self.serving), 100 - weight), (self.shadow(trial), weight)]


def copies_of(engines: Iterable[SeenEngine], name: str) -> int:
    """Engines of the pool that answers that have it; with several roles, what the scarcest has."""
    by_role: dict[str, int] = {}
    for engine in engines:
        if engine.track == "stable" and engine.is_usable:
            by_role[engine.role] = by_role.get(engine.role, 0) + (name in engine.serving)
    return min(by_role.values(), default=0)


def version_facts(one: One, engines: Sequence[SeenEngine]) -> VersionFacts:
    """What the next step of its rollout is decided from."""
    status, stable = one.adapter.status, one.stable
    return VersionFacts(
        wanted=one.wanted.hash,
        stable=stable.hash if stable is not None else "",
        rejected=status.rejected_version,
        status=status.rollout,
        status_version=status.update_version,
        stable_copies=copies_of(engines, one.shadow(stable)) if stable is not None else 0,
        new_copies=copies_of(engines, one.shadow(one.wanted)),
        is_kept=one.adapter.spec.placement.min_replicas > 0,
        resumed=(one.raw["metadata"].get("annotations") or {}).get(RESUME_ANNOTATION, ""),
    )


def held_back(one: One) -> VersionStep:
    """The wanted version is not tried: the one that serves goes on."""
    status = one.adapter.status
    return VersionStep(
        status.version, status.rejected_version, RolloutStatus("Stuck", message=one.new_refusal[1]), 0, 0
    )


def needs_of(ones: Iterable[One], traffic: dict[str, Seen], now_s: float) -> list[AdapterNeed]:
    """What placement is asked for: each version that is to be loaded."""
    needs = []
    for one in ones:
        if not one.is_served or one.step is None:
            continue
        bounds = one.adapter.spec.placement
        for version in one.versions():
            name = one.shadow(version)
            seen = traffic.get(name, Seen(at_s=now_s, used_s=now_s))
            is_trial = version.hash != one.serving.hash
            least = max(1, one.step.copies) if is_trial else bounds.min_replicas
            needs.append(
                AdapterNeed(
                    name,
                    least=least,
                    most=max(bounds.max_replicas, least) if bounds.max_replicas else 0,
                    requests_per_engine=bounds.requests_per_replica,
                    in_flight=seen.in_flight,
                    idle_s=now_s - seen.used_s,
                    idle_limit_s=bounds.idle_seconds,
                    asked_s=None if seen.asked_s is None else now_s - seen.asked_s,
                )
            )
    return needs


def standing_of(one: One, engines: Sequence[SeenEngine], placement: Placement) -> Standing:
    """How it stands, for its status."""
    if one.step is None:
        return Standing(
            one.served_name, one.wanted.hash, one.refusal, one.adapter.status.version,
            one.adapter.status.rejected_version,
        )  # fmt: skip
    name = one.shadow(one.serving)
    trial = one.on_trial
    names = {one.shadow(v) for v in one.versions()}
    said = [(e.name, f) for e in engines for adapter, f in sorted(e.failed.items()) if adapter in names]
    return Standing(
        served_name=one.served_name,
        wanted=one.wanted.hash,
        stable=one.step.stable,
        rejected=one.step.rejected,
        rollout=one.step.status,
        desired=sum(adapter == name for _, adapter in placement.target),
        engines=[e.name for e in engines if name in e.serving],
        failures={engine: f.reason for engine, f in said if not f.is_wait},
        waits={engine: f.reason for engine, f in said if f.is_wait},
        short=placement.short.get(name, 0),
        new_short=placement.short.get(one.shadow(trial), 0) if trial is not None else 0,
        has_engines=any(e.is_usable for e in engines),
    )
