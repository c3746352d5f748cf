from __future__ import annotations

import pytest

from fairlead.gateway.flow.scale_plan import GATEWAY, SCALED_BY, Ask, Leave, Refuse, Seen, Target, decide_first_replica

TARGET = Target("Deployment", "default", "llama")


@pytest.mark.parametrize(
    ("seen", "kind", "says"),
    [
        (Seen(0), Ask, "asked for the first one"),
        (Seen(2), Leave, "wants 2 replica(s)"),
        (Seen(0, scaled_by="keda"), Leave, f"keda scales it ({SCALED_BY})"),
        (Seen(0, autoscaler="HorizontalPodAutoscaler llama"), Leave, "HorizontalPodAutoscaler llama scales it"),
        (Seen(0, scaled_by=GATEWAY, autoscaler="HorizontalPodAutoscaler llama"), Ask, "asked"),
        (Seen(0, is_deleting=True), Refuse, "is being deleted"),
        (Seen(3, is_deleting=True), Refuse, "is being deleted"),
    ],
)
def test_only_a_count_of_zero_that_nobody_owns_is_touched(seen: Seen, kind: type, says: str) -> None:
    step = decide_first_replica(TARGET, seen)
    assert isinstance(step, kind)
    assert says in step.story
    assert "Deployment default/llama" in step.story


def test_a_target_names_kind_namespace_and_name() -> None:
    assert Target.parse("Deployment/default/llama") == TARGET
    for bad in ("", "llama", "Deployment/llama", "Deployment//llama", "a/b/c/d"):
        with pytest.raises(ValueError, match="Kind/namespace/name"):
            Target.parse(bad)
