"""Requests for devices in annotations, as the reference implementation's own cases have it."""

from __future__ import annotations

import pytest

from fairlead.devices.cdi import AnnotationError, add_request, annotation_key, annotation_value, requested_devices


@pytest.mark.parametrize(
    ("plugin", "device", "key"),
    [
        ("vendor.class", "device", "cdi.k8s.io/vendor.class_device"),
        ("v-e.n_d.or.cl-as_s", "d_e-v-i-c_e", "cdi.k8s.io/v-e.n_d.or.cl-as_s_d_e-v-i-c_e"),
        ("v-e.n_d.or.cl-as_s", "d-e/v/i/c-e", "cdi.k8s.io/v-e.n_d.or.cl-as_s_d-e_v_i_c-e"),
        ("a" * 31, "b" * 31, f"cdi.k8s.io/{'a' * 31}_{'b' * 31}"),
        ("a", "b", "cdi.k8s.io/a_b"),
    ],
)
def test_a_key_is_plugin_and_device(plugin: str, device: str, key: str) -> None:
    assert annotation_key(plugin, device) == key


@pytest.mark.parametrize(
    ("plugin", "device"),
    [
        ("", "device"),
        ("plugin", ""),
        ("_vendor.class", "device"),
        ("vendor.class", "device_"),
        ("ven.dor-cl+ass", "device"),
        ("vendor.class", "dev+ice"),
        ("vendor.class", "dev\nice"),
        ("vendor.class", "device\n"),
        ("123456789012345678901234567890123456789012345678901234567", "device"),
        ("vendör", "device"),
    ],
)
def test_other_keys_are_refused(plugin: str, device: str) -> None:
    with pytest.raises(AnnotationError):
        annotation_key(plugin, device)


def test_requests_are_added_and_found_again() -> None:
    made = add_request(
        {"other": "kept"}, "vendor3.class2", "device", ["vendor3.com/class2=d1", "vendor3.com/class2=d2"]
    )
    before = dict(made)
    both = add_request(made, "vendor1.class", "device1", ["vendor1.com/class=d:1"])
    assert made == before
    assert both == {
        "other": "kept",
        "cdi.k8s.io/vendor3.class2_device": "vendor3.com/class2=d1,vendor3.com/class2=d2",
        "cdi.k8s.io/vendor1.class_device1": "vendor1.com/class=d:1",
    }
    assert requested_devices(both) == ["vendor1.com/class=d:1", "vendor3.com/class2=d1", "vendor3.com/class2=d2"]
    assert requested_devices({}) == []
    assert requested_devices({"cdi.k8s.iox/a": "junk", "cdi.k8s.io": "junk"}) == []


@pytest.mark.parametrize("devices", [["vendor2.com/device2"], ["vendor3.com/class=a", "/dev/null"], [""]])
def test_only_qualified_names_are_asked_for(devices: list[str]) -> None:
    with pytest.raises(AnnotationError, match="expected a qualified device name"):
        annotation_value(devices)
    with pytest.raises(AnnotationError):
        add_request({}, "vendor", "device", devices)


def test_a_key_that_is_taken_is_refused() -> None:
    with pytest.raises(AnnotationError, match="already there"):
        add_request({"cdi.k8s.io/v_d": "vendor.com/class=d0"}, "v", "d", ["vendor.com/class=d1"])


@pytest.mark.parametrize(
    "value", ["vendor3.com=device3", "/dev/null", "", "vendor.com/class=a,", "foobar", "vendor.com/class=a, b"]
)
def test_values_that_are_no_device_names_are_refused_with_their_key(value: str) -> None:
    annotations = {"cdi.k8s.io/good": "vendor.com/class=a", "cdi.k8s.io/bad": value}
    with pytest.raises(AnnotationError, match=r"cdi\.k8s\.io/bad: "):
        requested_devices(annotations)
