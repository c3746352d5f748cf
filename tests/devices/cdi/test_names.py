"""Which names there are, as the specification and the reference parser's own cases say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.devices.cdi import (
    InvalidName,
    QualifiedName,
    is_qualified_name,
    parse_qualified_name,
    qualified_name,
    spec_name,
    transient_spec_name,
)
from fairlead.devices.cdi.names import check_class, check_device, check_vendor, parse_kind, split_name


@pytest.mark.parametrize(
    ("name", "vendor", "device_class", "device"),
    [
        ("vendor.com/class=dev", "vendor.com", "class", "dev"),
        ("a/b=c", "a", "b", "c"),
        ("aa/b=cc", "aa", "b", "cc"),
        ("a/bb=cc", "a", "bb", "cc"),
        ("vendor.com/class=0", "vendor.com", "class", "0"),
        ("vendor1.com/class1=dev1", "vendor1.com", "class1", "dev1"),
        ("vendor1.com/class.subclass=dev1", "vendor1.com", "class.subclass", "dev1"),
        ("other-vendor1.com/class_1=dev_1", "other-vendor1.com", "class_1", "dev_1"),
        ("yet_another-vendor2.com/c-lass_2=dev_1:2.3", "yet_another-vendor2.com", "c-lass_2", "dev_1:2.3"),
        ("nvidia.com/gpu=GPU-8a3f:0", "nvidia.com", "gpu", "GPU-8a3f:0"),
        ("foo.bar.baz/foo-bar123.B_az=x", "foo.bar.baz", "foo-bar123.B_az", "x"),
    ],
)
def test_a_qualified_name_has_three_parts(name: str, vendor: str, device_class: str, device: str) -> None:
    parsed = parse_qualified_name(name)
    assert parsed == QualifiedName(vendor, device_class, device)
    assert split_name(name) == (vendor, device_class, device)
    assert str(parsed) == qualified_name(parsed.kind, device) == name
    assert is_qualified_name(name)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("_invalid.com/class=dev", "vendor"),
        ("invalid2.com-/class=dev", "vendor"),
        ("invalid3.com/_class=dev", "class"),
        ("invalid4.com/class_=dev", "class"),
        ("invalid5.com/class=-dev", "device"),
        ("invalid6.com/class=dev:", "device"),
        ("*.com/*dev=*gpu*", "vendor"),
        ("3com.com/nic=0", "vendor"),
        ("vendor..com/class=dev", "vendor"),
        ("vendor.-x.com/class=dev", "vendor"),
        ("vendor.com/foo/bar=dev", "class"),
        ("vendor.com/1class=dev", "class"),
        ("vendor.com/class=dev ", "device"),
        ("vendor.com/class=dev\n", "device"),
        ("vendor.com/class=dév", "device"),
        ("vendor.com/class=dev=1", "device"),
        ("vendör.com/class=dev", "vendor"),
        ("vendor.com/class=٣", "device"),
        (f"{'v' * 254}/class=dev", "vendor"),
        (f"vendor.com/{'c' * 64}=dev", "class"),
    ],
)
def test_a_name_that_splits_may_still_break_a_rule(name: str, part: str) -> None:
    assert split_name(name)[0]
    with pytest.raises(InvalidName) as error:
        parse_qualified_name(name)
    assert error.value.part == part
    assert error.value.name in name
    assert error.value.name in str(error.value)
    assert not is_qualified_name(name)


@pytest.mark.parametrize(
    "name", ["", "dev", "/dev/null", "vendor.com=dev", "vendor.com/device1", "/class=dev", "vendor.com/=dev",
             "vendor.com/class=", "=", "/=", "vendor.com/class"]
)  # fmt: skip
def test_what_has_not_the_form_is_not_split(name: str) -> None:
    assert split_name(name) == ("", "", name)
    with pytest.raises(InvalidName, match="expected a qualified device name"):
        parse_qualified_name(name)


def test_lengths_at_the_limit_pass() -> None:
    assert check_vendor("v" * 253)
    assert check_class("c" * 63)
    assert check_device("d" * 1000)


@pytest.mark.parametrize(
    "kind",
    [
        "foo",
        "vendor.com/foo/",
        "vendor.com/foo/bar",
        "/foo",
        "vendor.com/",
        "",
        "vendor.com-/device",
        "vendor.com/device=",
    ],
)
def test_a_kind_is_vendor_and_class(kind: str) -> None:
    assert parse_kind("vendor.com/foo") == ("vendor.com", "foo")
    with pytest.raises(InvalidName):
        parse_kind(kind)


def test_files_are_named_after_their_kind() -> None:
    assert spec_name("vendor.com/class") == "vendor.com-class"
    assert transient_spec_name("vendor.com/class", "pod/1") == "vendor.com-class_pod_1"
    for kind, transient in (("vendor.comdevice", "id"), ("vendor.com/device", "")):
        with pytest.raises(InvalidName):
            transient_spec_name(kind, transient)


@given(st.text(max_size=40))
def test_any_text_parses_to_itself_or_is_refused(text: str) -> None:
    try:
        assert str(parse_qualified_name(text)) == text
    except InvalidName as error:
        assert str(error)
