"""Older versions of kinds: nothing is lost on the way to the stored form and back."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fairlead.embedded.apiserver.kinds import autoscaler_versions, builtin_types, dra_versions
from fairlead.embedded.apiserver.registry import RequestContext

CONTEXT = RequestContext(namespace="n", now="2026-01-01T00:00:00Z")

_NAMES = st.text("abc", min_size=1, max_size=3)
_DETAILS = st.fixed_dictionaries(
    {"deviceClassName": _NAMES},
    optional={
        "count": st.integers(1, 5),
        "allocationMode": st.sampled_from(["All", "ExactCount"]),
        "adminAccess": st.booleans(),
        "selectors": st.just([{"cel": {"expression": "true"}}]),
    },
)
_REQUESTS = st.one_of(
    st.fixed_dictionaries({"name": _NAMES, "exactly": _DETAILS}),
    st.fixed_dictionaries({"name": _NAMES, "firstAvailable": st.just([{"name": "s", "deviceClassName": "c"}])}),
)


@given(st.lists(_REQUESTS, max_size=4))
def test_claims_survive_v1beta1(requests: list[dict[str, Any]]) -> None:
    claim = {"metadata": {"name": "c"}, "spec": {"devices": {"requests": requests}}, "status": {}}
    assert dra_versions.claim_to_v1(dra_versions.claim_from_v1(claim)) == claim


@given(st.lists(st.fixed_dictionaries({"name": _NAMES}, optional={"taints": st.just([{"key": "k"}])}), max_size=3))
def test_slices_survive_v1beta1(devices: list[dict[str, Any]]) -> None:
    obj = {"metadata": {"name": "s"}, "spec": {"driver": "d", "devices": devices}}
    assert dra_versions.slice_to_v1(dra_versions.slice_from_v1(obj)) == obj


_UTILIZATION = st.fixed_dictionaries(
    {"type": st.just("Utilization"), "averageUtilization": st.integers(1, 100)},
)
_METRICS = st.one_of(
    st.builds(
        lambda target: {"type": "Resource", "resource": {"name": "memory", "target": target}},
        _UTILIZATION,
    ),
    st.just(
        {"type": "Pods", "pods": {"metric": {"name": "q"}, "target": {"type": "AverageValue", "averageValue": "5"}}}
    ),
    st.just({"type": "External", "external": {
        "metric": {"name": "e", "selector": {"matchLabels": {"a": "b"}}}, "target": {"type": "Value", "value": "1"}}}),
    st.just({"type": "Object", "object": {
        "metric": {"name": "o"}, "describedObject": {"kind": "Service", "name": "s"},
        "target": {"type": "Value", "value": "1"}}}),
)  # fmt: skip


@given(st.lists(_METRICS, max_size=3), st.one_of(st.none(), st.integers(1, 100)))
def test_autoscalers_survive_v1(metrics: list[dict[str, Any]], cpu: int | None) -> None:
    if cpu is not None:
        target = {"type": "Utilization", "averageUtilization": cpu}
        metrics = [*metrics, {"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    spec = {"minReplicas": 1, "maxReplicas": 3, **({"metrics": metrics} if metrics else {})}
    obj = {"metadata": {"name": "a", "annotations": {"k": "v"}}, "spec": spec}
    older = autoscaler_versions.from_v2(obj)
    assert older["spec"].get("targetCPUUtilizationPercentage") == cpu
    assert autoscaler_versions.to_v2(older) == obj


def test_rules_of_the_stored_version_hold_for_older_ones() -> None:
    older = next(t for t in builtin_types() if (t.version, t.kind) == ("v1beta1", "ResourceClaim"))
    metadata = {"name": "c", "namespace": "n"}
    obj: dict[str, Any] = {
        "kind": "ResourceClaim",
        "apiVersion": older.api_version,
        "metadata": metadata,
        "spec": {"devices": {"requests": [{"name": "r", "deviceClassName": "c"}, {"name": "s"}]}},
    }
    older.strategy.default(obj)
    assert obj["spec"]["devices"]["requests"][0]["count"] == 1
    assert obj["metadata"] is metadata and obj["apiVersion"] == older.api_version
    fields = [error.field for error in older.strategy.validate_create(obj, CONTEXT)]
    assert fields == ["spec.devices.requests[1]"]
