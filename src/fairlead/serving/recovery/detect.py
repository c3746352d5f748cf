"""What is wrong with the replicas of a service: the gravest symptom of each. Pure."""

from __future__ import annotations

from fairlead.serving.observed import Snapshot
from fairlead.serving.recovery.causes import Symptom
from fairlead.serving.recovery.on_engines import engine_symptoms
from fairlead.serving.recovery.on_places import place_symptoms
from fairlead.serving.recovery.on_pods import pod_symptoms
from fairlead.serving.recovery.policy import RecoveryPolicy


def detect(snapshot: Snapshot, policy: RecoveryPolicy) -> tuple[Symptom, ...]:
    """At most one symptom of each replica, the gravest first; among equals the older."""
    found: dict[str, Symptom] = {}
    every = (
        *place_symptoms(snapshot, policy),
        *pod_symptoms(snapshot, policy),
        *engine_symptoms(snapshot, policy),
    )
    for symptom in sorted(every, key=lambda s: s.rank):
        found.setdefault(symptom.replica, symptom)
    return tuple(found.values())
