"""The status of a ModelAdapter from what was found and decided. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fairlead.api.kind import Condition
from fairlead.api.model_adapter import ModelAdapter, ModelAdapterStatus
from fairlead.api.model_service import RolloutStatus
from fairlead.serving.adapters.checks import FINE, Refusal

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Standing:
    """How an adapter stands."""

    served_name: str
    wanted: str
    """Version of the spec."""
    refusal: Refusal = FINE
    """Why it is not served at all."""
    stable: str = ""
    rejected: str = ""
    rollout: RolloutStatus = field(default_factory=RolloutStatus)
    desired: int = 0
    """Engines that are to have the version that serves."""
    engines: Sequence[str] = ()
    """That have it."""
    failures: Mapping[str, str] = field(default_factory=dict)
    """Engine -> why it has not loaded a version of it."""
    waits: Mapping[str, str] = field(default_factory=dict)
    """Engine -> how far a version of it is on its way there."""
    short: int = 0
    """Engines that should have it and have no slot."""
    new_short: int = 0
    """The same of the version on trial."""
    has_engines: bool = True
    """Whether the service has any engine that serves."""


def compute_status(adapter: ModelAdapter, standing: Standing, now: str) -> Json:
    """The status for the API; `now` is RFC 3339."""
    generation = adapter.metadata.get("generation", 1)
    said = [_ready(standing), _loaded(standing), _rolled_out(standing)]
    before = {c.type: c for c in adapter.status.conditions}
    conditions = []
    for c in said:
        old = before.get(c.type)
        kept = old is not None and old.status == c.status and old.last_transition_time
        at = old.last_transition_time if kept and old is not None else now
        conditions.append(msgspec.structs.replace(c, last_transition_time=at, observed_generation=generation))
    status = ModelAdapterStatus(
        observed_generation=generation,
        served_name=standing.served_name,
        version=standing.stable,
        update_version=standing.wanted,
        rejected_version=standing.rejected,
        desired=standing.desired,
        loaded=len(standing.engines),
        engines=sorted(standing.engines),
        rollout=standing.rollout,
        conditions=conditions,
    )
    made: Json = msgspec.to_builtins(status)
    return made


def _ready(s: Standing) -> Condition:
    if s.refusal != FINE:
        return _condition("Ready", False, s.refusal)
    if s.engines:
        return _condition("Ready", True, ("Serving", f"{s.served_name} is served by {_engines(len(s.engines))}"))
    if s.desired == 0 and s.short == 0 and s.has_engines:
        return _condition("Ready", True, ("OnDemand", "it is loaded when a request asks for it"))
    return _condition("Ready", False, _why_not(s))


def _loaded(s: Standing) -> Condition:
    if s.refusal != FINE:
        return _condition("Loaded", False, s.refusal)
    told = f"{len(s.engines)} of {s.desired} engines have it"
    if s.short == 0 and len(s.engines) >= s.desired and (s.has_engines or not s.desired):
        return _condition("Loaded", True, ("AsWanted", told))
    reason, why = _why_not(s)
    return _condition("Loaded", False, (reason, f"{told}: {why}" if s.desired else why))


def _rolled_out(s: Standing) -> Condition:
    if s.refusal != FINE:
        return _condition("RolledOut", False, s.refusal)
    if s.stable == s.wanted:
        ready = _ready(s)
        if ready.status != "True":
            return _condition("RolledOut", False, (ready.reason, f"version {s.wanted} does not serve: {ready.message}"))
        how = "serves" if s.engines else "is loaded when a request asks for it"
        return _condition("RolledOut", True, ("Complete", f"version {s.wanted} {how}"))
    if s.wanted == s.rejected:
        why = s.rollout.message or f"version {s.wanted} was taken back"
        return _condition("RolledOut", False, ("Rejected", f"{why}; version {s.stable} serves"))
    message = s.rollout.message or f"version {s.wanted} is on its way"
    if s.new_short:
        message = (
            f"{message}: no engine has a free slot for it beside version {s.stable}: raise spec.adapters.slots of the "
            "ModelService, or give up another adapter"
        )
    elif s.failures:
        message = f"{message}: {_first(s.failures)}"
    return _condition("RolledOut", False, (s.rollout.phase, message))


def _why_not(s: Standing) -> tuple[str, str]:
    if not s.has_engines:
        return "NoEngine", "no engine of the service is ready"
    if s.failures:
        return "LoadFailed", _first(s.failures)
    if s.short:
        return (
            "NoSlot",
            f"{s.short} more should have it and have no free slot: raise spec.adapters.slots of the ModelService, or "
            "placement of fewer adapters",
        )
    return "Loading", _first(s.waits) if s.waits else "it is being loaded"


def _first(failures: Mapping[str, str]) -> str:
    name = min(failures)
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    return f"{name}: {failures[name]}{more}"


def _condition(kind: str, true: bool, why: tuple[str, str]) -> Condition:
    return Condition(type=kind, status="True" if true else "False", reason=why[0], message=why[1])


def _engines(number: int) -> str:
    return f"{number} engine" + ("" if number == 1 else "s")
