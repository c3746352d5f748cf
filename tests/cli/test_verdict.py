"""What `fairlead deploy` takes from a service's status: only what is said of the spec as it is now."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.cli.verdict import Verdict, read_verdict


def service(ready: str = "False", reason: str = "WaitingForReplicas", seen: int = 3, **status: Any) -> dict[str, Any]:
    conditions = [
        {"type": "Placed", "status": "True", "reason": "AllPlaced", "message": ""},
        {"type": "Ready", "status": ready, "reason": reason, "message": "why"},
    ]
    return {
        "metadata": {"name": "chat", "generation": 3},
        "status": {"observedGeneration": seen, "conditions": conditions, **status},
    }


def test_what_was_said_of_a_former_spec_is_no_verdict() -> None:
    assert read_verdict(service("True", seen=2)) is None
    assert read_verdict({"metadata": {"generation": 1}}) is None
    assert read_verdict({"metadata": {"generation": 1}, "status": {"observedGeneration": 1}}) is None


@pytest.mark.parametrize(
    ("ready", "reason", "wanted"),
    [
        ("True", "AllReplicasReady", Verdict(True, "why")),
        ("False", "WaitingForReplicas", Verdict(False, "why")),
        ("False", "ReplicaInTrouble", Verdict(False, "why")),
        ("False", "Unservable", Verdict(False, "why", is_final=True)),
    ],
)
def test_only_what_a_person_has_to_change_is_final(ready: str, reason: str, wanted: Verdict) -> None:
    assert read_verdict(service(ready, reason)) == wanted


def test_warnings_come_along() -> None:
    found = read_verdict(service("True", warnings=["a", "b"]))
    assert found is not None and found.warnings == ("a", "b")


def test_what_could_not_be_looked_at_is_a_warning_and_no_end() -> None:
    found = read_verdict(service("False", model={"message": "s3://b/m: no answer"}))
    assert found is not None and not found.is_final
    assert found.warnings == (
        "what the model is could not be read, and nothing was reckoned with: s3://b/m: no answer",
    )
    final = read_verdict(service("False", "Unservable", model={"message": "gone"}))
    assert final is not None and final.warnings == ()
