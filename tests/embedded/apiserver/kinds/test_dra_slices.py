"""ResourceSlices, DeviceClasses and DeviceTaintRules."""

from typing import Any

import pytest

from fairlead.embedded.apiserver.kinds.dra_classes import DeviceClassStrategy
from fairlead.embedded.apiserver.kinds.dra_selectors import check_expression
from fairlead.embedded.apiserver.kinds.dra_slices import SliceStrategy
from fairlead.embedded.apiserver.kinds.dra_taint_rules import DeviceTaintRuleStrategy
from fairlead.embedded.apiserver.registry import Object, RequestContext

CONTEXT = RequestContext(namespace="", now="2026-01-01T00:00:00Z")
STRATEGY = SliceStrategy()


def slice_of(*devices: dict[str, Any], **spec: Any) -> Object:
    pool = {"name": "pool", "generation": 1, "resourceSliceCount": 1}
    made = {"driver": "d.example.com", "nodeName": "n", "pool": pool, "devices": list(devices), **spec}
    return {"metadata": {"name": "s"}, "spec": {key: value for key, value in made.items() if value is not None}}


def fields(obj: Object) -> list[str]:
    return [error.field for error in STRATEGY.validate(obj, CONTEXT)]


def test_a_plain_slice_is_valid() -> None:
    device = {"name": "a", "attributes": {"x": {"int": 1}, "e.com/v": {"version": "1.2.3-rc.1"}}}
    assert fields(slice_of(device)) == []


@pytest.mark.parametrize(
    ("device", "field"),
    [
        ({"name": "UP"}, "spec.devices[0].name"),
        ({"name": "a", "attributes": {"x y": {"int": 1}}}, "spec.devices[0].attributes"),
        ({"name": "a", "attributes": {"a/": {"int": 1}}}, "spec.devices[0].attributes"),
        ({"name": "a", "attributes": {"x": {}}}, "spec.devices[0].attributes[x]"),
        ({"name": "a", "attributes": {"x": {"int": 1, "bool": True}}}, "spec.devices[0].attributes[x]"),
        ({"name": "a", "attributes": {"x": {"version": "1.2"}}}, "spec.devices[0].attributes[x].version"),
        ({"name": "a", "attributes": {"x": {"string": "s" * 65}}}, "spec.devices[0].attributes[x].string"),
        ({"name": "a", "attributes": {f"a{i}": {"int": i} for i in range(33)}}, "spec.devices[0]"),
        ({"name": "a", "taints": [{"key": "k"}]}, "spec.devices[0].taints[0].effect"),
        ({"name": "a", "nodeName": "n"}, "spec.devices[0]"),
        (
            {"name": "a", "capacity": {"m": {"value": "1", "requestPolicy": {"default": "1"}}}},
            "spec.devices[0].capacity[m].requestPolicy",
        ),
    ],
)
def test_malformed_devices_are_refused_with_their_path(device: dict[str, Any], field: str) -> None:
    assert fields(slice_of(device)) == [field]


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        ({"default": "2", "validValues": ["1", "2"]}, None),
        ({"validValues": ["1"]}, "default"),
        ({"default": "3", "validValues": ["1", "2"]}, "validValues"),
        ({"default": "1", "validValues": ["2", "1"]}, "validValues[1]"),
        ({"default": "1", "validValues": ["1", "20"]}, "validValues[1]"),
        ({"default": "1", "validValues": ["1", "1"]}, "validValues[1]"),
        ({"default": "2", "validRange": {"min": "1", "max": "10", "step": "1"}}, None),
        ({"default": "2", "validRange": {}}, "validRange.min"),
        ({"default": "0", "validRange": {"min": "1"}}, "validRange.min"),
        ({"default": "3", "validRange": {"min": "1", "max": "2"}}, "validRange.max"),
        ({"default": "3", "validRange": {"min": "0", "step": "1500m"}}, "validRange.step"),
        ({"default": "3", "validRange": {"min": "500m", "step": "1"}}, None),
        ({"default": "1", "validRange": {"min": "1", "max": "11"}}, "validRange.max"),
        ({"default": "2", "validRange": {"min": "1", "step": "2"}}, "validRange.step"),
        ({"default": "1", "validRange": {"min": "1", "step": "0"}}, "validRange.step"),
    ],
)
def test_request_policies(policy: dict[str, Any], field: str | None) -> None:
    capacity = {"m": {"value": "10", "requestPolicy": policy}}
    found = fields(slice_of({"name": "a", "allowMultipleAllocations": True, "capacity": capacity}))
    assert found == ([] if field is None else [f"spec.devices[0].capacity[m].requestPolicy.{field}"])


def test_exactly_one_choice_of_nodes() -> None:
    assert fields(slice_of(nodeName=None)) == ["spec"]
    assert fields(slice_of(allNodes=True)) == ["spec"]
    per_device = {"nodeName": None, "perDeviceNodeSelection": True}
    assert fields(slice_of({"name": "a"}, **per_device)) == ["spec.devices[0]"]
    assert fields(slice_of({"name": "a", "nodeName": "n"}, **per_device)) == []


def test_taints_and_counters_lower_the_number_of_devices() -> None:
    plain = [{"name": f"d{index}"} for index in range(128)]
    assert fields(slice_of(*plain)) == []
    tainted = [{**device, "taints": [{"key": "k", "effect": "None"}]} for device in plain[:65]]
    assert fields(slice_of(*tainted)) == ["spec.devices"]


def test_devices_and_counters_do_not_mix() -> None:
    counters = [{"name": "c", "counters": {"m": {"value": "1"}}}]
    assert fields(slice_of({"name": "a"}, sharedCounters=counters)) == ["spec"]
    assert fields(slice_of(sharedCounters=counters)) == ["spec"], "an empty list is one that is there"
    without_devices = slice_of(sharedCounters=counters)
    del without_devices["spec"]["devices"]
    assert fields(without_devices) == []


def test_names_with_more_than_one_slash_are_let_through() -> None:
    assert fields(slice_of({"name": "a", "attributes": {"a/b/c": {"int": 1}}})) == []


def test_a_policy_stays_bound_to_shared_devices_on_update() -> None:
    capacity = {"m": {"value": "10", "requestPolicy": {"default": "1"}}}
    old = slice_of({"name": "a", "allowMultipleAllocations": True, "capacity": capacity})
    new = slice_of({"name": "a", "capacity": capacity})
    found = [error.field for error in STRATEGY.validate_change(new, old, CONTEXT)]
    assert found == ["spec.devices[0].capacity[m].requestPolicy"]


def test_what_may_not_change_is_reported_before_the_choice_of_nodes() -> None:
    found = [error.field for error in STRATEGY.validate_change(slice_of(nodeName=None), slice_of(), CONTEXT)]
    assert found == ["spec.nodeName", "spec"]


def test_driver_pool_and_node_are_for_good() -> None:
    old = slice_of({"name": "a"})
    new = slice_of({"name": "a"}, driver="e.example.com", nodeName="m")
    found = [error.field for error in STRATEGY.validate_change(new, old, CONTEXT)]
    assert found == ["spec.driver", "spec.nodeName"]


def test_taints_learn_when_they_were_added() -> None:
    obj = slice_of({"name": "a", "taints": [{"key": "k", "effect": "NoExecute"}]})
    STRATEGY.default_times(obj, CONTEXT)
    assert obj["spec"]["devices"][0]["taints"][0]["timeAdded"] == CONTEXT.now


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("device.driver == 'd'", None),
        ("device.attributes['d'].healthy", None),
        ("device.capacity['d'].m.compareTo(quantity('1Gi')) > 0", None),
        ("1 + 1", "must evaluate to bool or the unknown type, not int"),
        ("device.attributes['d'].a.b", "must evaluate to bool or the unknown type, not dyn"),
        ("device.nope", "undefined field 'nope'"),
        ("device.attributes.all(a, device.attributes.all(b, device.attributes.all(c, device.attributes.all(d, true))))",
         "too complex"),
    ],
)  # fmt: skip
def test_selectors_are_checked(expression: str, message: str | None) -> None:
    obj = {"metadata": {"name": "c"}, "spec": {"selectors": [{"cel": {"expression": expression}}]}}
    errors = DeviceClassStrategy().validate(obj, CONTEXT)
    assert len(errors) == (0 if message is None else 1)
    assert message is None or message in errors[0].message


def test_stored_selectors_are_not_checked_again() -> None:
    strategy = DeviceClassStrategy()
    spec = {"selectors": [{"cel": {"expression": "no longer valid"}}]}
    old = {"metadata": {"name": "c"}, "spec": spec}
    assert strategy.validate_change({"metadata": {"name": "c"}, "spec": dict(spec)}, old, CONTEXT) == []


def test_a_rule_whose_effect_changes_starts_anew() -> None:
    strategy = DeviceTaintRuleStrategy()
    old: Object = {"metadata": {}, "spec": {"taint": {"key": "k", "effect": "NoSchedule", "timeAdded": "before"}}}
    new: Object = {"metadata": {}, "spec": {"taint": {"key": "k", "effect": "NoExecute", "timeAdded": "before"}}}
    strategy.prepare_update(new, old, CONTEXT)
    assert new["spec"]["taint"]["timeAdded"] == CONTEXT.now


def test_a_driver_in_capitals_is_warned_about() -> None:
    (warning,) = STRATEGY.warnings(slice_of(driver="D.example.com"), None)
    assert warning == 'spec.driver: driver names should be lowercase; "D.example.com" contains uppercase characters'
    assert STRATEGY.warnings(slice_of(), None) == ()


def test_a_selector_of_another_type_is_told_its_type() -> None:
    def message(expression: str) -> str:
        (error,) = check_expression(expression, "e")
        return error.message

    assert message("device.attributes").endswith("not map(string, map(string, google.protobuf.Any))")
    assert "applied to '(kubernetes.DRADevice, string)'" in message("device['driver']")
