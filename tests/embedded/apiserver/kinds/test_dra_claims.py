"""ResourceClaims: defaults, requests, and the status that is written once."""

import copy
from typing import Any

import pytest

from fairlead.embedded.apiserver.invalid import FieldError
from fairlead.embedded.apiserver.kinds.dra_claims import ClaimStrategy, ClaimTemplateStrategy
from fairlead.embedded.apiserver.kinds.dra_rules import check_driver, check_share_id
from fairlead.embedded.apiserver.registry import Object, RequestContext

CONTEXT = RequestContext(namespace="n", now="2026-01-01T00:00:00Z")
ADMIN_CONTEXT = RequestContext(
    namespace="n",
    now="2026-01-01T00:00:00Z",
    lookup=lambda *key: {"metadata": {"labels": {"resource.kubernetes.io/admin-access": "true"}}},
)
STRATEGY = ClaimStrategy()
EXACT: dict[str, Any] = {"name": "r", "exactly": {"deviceClassName": "c.example.com"}}
RESULT = {"request": "r", "driver": "d.example.com", "pool": "p", "device": "x"}


def claim(*requests: dict[str, Any], **devices: Any) -> Object:
    obj: Object = {
        "metadata": {"name": "c", "namespace": "n"},
        "spec": {"devices": {"requests": copy.deepcopy(list(requests)), **devices}},
    }
    STRATEGY.default(obj)
    return obj


def create_errors(obj: Object, context: RequestContext = CONTEXT) -> list[tuple[str, str]]:
    return [(error.field, error.message) for error in STRATEGY.validate_create(obj, context)]


def status_errors(old: Object, status: dict[str, Any]) -> list[str]:
    old["metadata"]["resourceVersion"] = "1"
    new = copy.deepcopy({**old, "status": status})
    STRATEGY.default(new)
    STRATEGY.prepare_status_update(new, old, CONTEXT)
    return [error.field for error in STRATEGY.validate_status_update(new, old, CONTEXT)]


def test_a_request_asks_for_one_device_by_default() -> None:
    exactly = claim(EXACT)["spec"]["devices"]["requests"][0]["exactly"]
    assert (exactly["allocationMode"], exactly["count"]) == ("ExactCount", 1)
    everything = claim({"name": "r", "exactly": {"deviceClassName": "c", "allocationMode": "All"}})
    assert "count" not in everything["spec"]["devices"]["requests"][0]["exactly"]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"name": "r"}, "spec.devices.requests[0]"),
        ({**EXACT, "name": "UP"}, "spec.devices.requests[0].name"),
        ({**EXACT, "firstAvailable": [{"name": "s", "deviceClassName": "c"}]}, "spec.devices.requests[0]"),
        ({"name": "r", "exactly": {}}, "spec.devices.requests[0].exactly.deviceClassName"),
        (
            {"name": "r", "exactly": {"deviceClassName": "c", "count": -1}},
            "spec.devices.requests[0].exactly.count",
        ),
        (
            {"name": "r", "exactly": {"deviceClassName": "c", "allocationMode": "All", "count": 2}},
            "spec.devices.requests[0].exactly.count",
        ),
        (
            {"name": "r", "exactly": {"deviceClassName": "c", "selectors": [{"cel": {"expression": "1"}}]}},
            "spec.devices.requests[0].exactly.selectors[0].cel.expression",
        ),
        (
            {"name": "r", "exactly": {"deviceClassName": "c", "tolerations": [{"operator": "Exists", "value": "v"}]}},
            "spec.devices.requests[0].exactly.tolerations[0].value",
        ),
        (
            {"name": "r", "firstAvailable": [{"name": "s", "deviceClassName": "c"}] * 9},
            "spec.devices.requests[0].firstAvailable",
        ),
    ],
)
def test_malformed_requests_are_refused_with_their_path(request_: dict[str, Any], field: str) -> None:
    assert [path for path, _ in create_errors(claim(request_))] == [field]


def test_lists_are_bounded() -> None:
    many = claim(*({**EXACT, "name": f"r{index}"} for index in range(33)))
    assert create_errors(many) == [("spec.devices.requests", "Too many: 33: must have at most 32 items")]


def test_constraints_refer_to_requests() -> None:
    def fields(constraint: dict[str, Any]) -> list[str]:
        return [path for path, _ in create_errors(claim(EXACT, constraints=[constraint]))]

    assert fields({"requests": ["r"], "matchAttribute": "d.example.com/numa"}) == []
    assert fields({"requests": ["zz"], "matchAttribute": "d.example.com/numa"}) == [
        "spec.devices.constraints[0].requests[0]"
    ]
    assert fields({"matchAttribute": "numa"}) == ["spec.devices.constraints[0].matchAttribute"]
    assert fields({}) == ["spec.devices.constraints[0]"]


def test_admin_access_needs_a_labelled_namespace() -> None:
    obj = claim({"name": "r", "exactly": {"deviceClassName": "c", "adminAccess": True}})
    assert [path for path, _ in create_errors(obj)] == ["spec.devices.requests[0].adminAccess"]
    assert create_errors(obj, ADMIN_CONTEXT) == []


def test_the_spec_is_immutable_and_shown_whole() -> None:
    old, new = claim(EXACT), claim({**EXACT, "name": "s"})
    (error,) = STRATEGY.validate_change(new, old, CONTEXT)
    assert error.field == "spec"
    assert error.message.startswith('Invalid value: {"Devices":{"Requests":[{"Name":"s","Exactly":{"DeviceClassName"')
    assert error.message.endswith('"FirstAvailable":null}],"Constraints":null,"Config":null}}: field is immutable')


def test_an_allocation_is_written_once() -> None:
    obj = claim(EXACT)
    allocation = {"devices": {"results": [RESULT]}}
    assert status_errors(obj, {"allocation": allocation}) == []
    allocated = {**obj, "status": {"allocation": allocation}}
    assert status_errors(allocated, {"allocation": {"devices": {"results": []}}}) == ["status.allocation"]
    assert status_errors(allocated, {}) == []


def test_reservations_need_an_allocation() -> None:
    obj = claim(EXACT)
    consumer = {"resource": "pods", "name": "p", "uid": "u"}
    assert status_errors(obj, {"reservedFor": [consumer]}) == ["status.reservedFor"]
    allocation = {"devices": {"results": [RESULT]}}
    assert status_errors(obj, {"allocation": allocation, "reservedFor": [consumer, consumer]}) == [
        "status.reservedFor[1]"
    ]
    deleting = {**obj, "status": {"allocation": allocation}}
    deleting["metadata"] = {**obj["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}
    assert status_errors(deleting, {"allocation": allocation, "reservedFor": [consumer]}) == ["status.reservedFor"]


def test_deallocation_forgets_what_drivers_reported() -> None:
    obj = claim(EXACT)
    device = {key: RESULT[key] for key in ("driver", "pool", "device")}
    obj["status"] = {"allocation": {"devices": {"results": [RESULT]}}, "devices": [device]}
    new = copy.deepcopy({**obj, "status": {"devices": [device]}})
    STRATEGY.prepare_status_update(new, obj, CONTEXT)
    STRATEGY.admit(new, obj, CONTEXT)
    assert new["status"] == {}


def test_a_status_update_leaves_the_metadata_alone() -> None:
    old = claim(EXACT)
    old["metadata"] = {"name": "c", "namespace": "n", "finalizers": ["a/b"]}
    new = copy.deepcopy(old)
    new["metadata"] = {"name": "c", "namespace": "n", "labels": {"a": "b"}}
    STRATEGY.prepare_status_update(new, old, CONTEXT)
    assert new["metadata"] == old["metadata"]


def test_results_are_checked_against_the_requests() -> None:
    obj = claim(EXACT)

    def fields(**changes: Any) -> list[str]:
        return status_errors(obj, {"allocation": {"devices": {"results": [{**RESULT, **changes}]}}})

    prefix = "status.allocation.devices.results[0]"
    assert fields(request="zz") == [f"{prefix}.request"]
    assert fields(driver="") == [f"{prefix}.driver"]
    assert fields(shareID="bad") == [f"{prefix}.shareID"]
    assert fields(bindingConditions=["Ready"]) == [f"{prefix}.bindingFailureConditions"]


def test_templates_check_their_claim() -> None:
    strategy = ClaimTemplateStrategy()
    spec = {"metadata": {"labels": {"a b": "c"}}, "spec": {"devices": {"requests": [{"name": "r"}]}}}
    obj = {"metadata": {"name": "t", "namespace": "n"}, "spec": spec}
    strategy.default(obj)
    fields = [error.field for error in strategy.validate_create(obj, CONTEXT)]
    assert fields == ["spec.metadata.labels", "spec.spec.devices.requests[0]"]


def test_a_template_is_checked_again_on_update() -> None:
    strategy = ClaimTemplateStrategy()
    metadata = {"name": "t", "namespace": "n", "resourceVersion": "1"}
    old: Object = {"metadata": metadata, "spec": {"spec": {"devices": {"requests": [copy.deepcopy(EXACT)]}}}}
    new = copy.deepcopy(old)
    new["spec"]["metadata"] = {"annotations": {"c": "d"}, "labels": {"a": "b"}}
    new["spec"]["spec"]["devices"]["requests"][0]["name"] = "R"
    for obj in (old, new):
        strategy.default(obj)
    errors = strategy.validate_update(new, old, CONTEXT)
    assert [error.field for error in errors] == ["spec.spec.devices.requests[0].name", "spec"]
    assert errors[1].message.startswith('Invalid value: {"labels":{"a":"b"},"annotations":{"c":"d"},"Spec":')


@pytest.mark.parametrize(
    ("share", "problem"),
    [
        ("11111111-1111-4111-8111-11111111111a", None),
        ("11111111-1111-4111-8111-11111111111A", "normalized form"),
        ("{11111111-1111-4111-8111-11111111111a}", "normalized form"),
        ("urn:uuid:11111111-1111-4111-8111-11111111111a", "normalized form"),
        ("1111111111114111811111111111111a", "normalized form"),
        ("1111111111114111811111111111111x", "invalid UUID format"),
        ("1111", "invalid UUID length: 4"),
    ],
)
def test_the_id_of_a_share_is_a_uuid_in_its_normal_form(share: str, problem: str | None) -> None:
    errors: list[FieldError] = []
    check_share_id(errors, share, "shareID")
    assert len(errors) == (problem is not None)
    assert all(problem in error.message for error in errors if problem)


def test_a_device_that_is_not_allocated_is_reported_before_its_conditions() -> None:
    device = {key: RESULT[key] for key in ("driver", "pool", "device")}
    found = status_errors(claim(EXACT), {"devices": [{**device, "conditions": [{"type": "Ready", "status": "x"}]}]})
    assert found[:2] == ["status.devices[0]", "status.devices[0].conditions[0].status"]


def test_lengths_of_network_data_are_in_bytes() -> None:
    device = {key: RESULT[key] for key in ("driver", "pool", "device")}
    status = {
        "allocation": {"devices": {"results": [RESULT]}},
        "devices": [{**device, "networkData": {"hardwareAddress": "ä" * 65}}],
    }
    assert status_errors(claim(EXACT), status) == ["status.devices[0].networkData.hardwareAddress"]


def test_a_long_driver_name_is_told_all_that_is_wrong() -> None:
    errors: list[FieldError] = []
    check_driver(errors, "a" * 64 + "_", "driver")
    assert [error.reason for error in errors] == ["FieldValueTooLong", "FieldValueInvalid"]
