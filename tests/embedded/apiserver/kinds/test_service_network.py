"""Rules of IPAddress and ServiceCIDR."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.embedded.apiserver.kinds.service_network import AddressStrategy, RangeStrategy
from fairlead.embedded.apiserver.registry import RequestContext

CONTEXT = RequestContext(namespace="", now="2026-01-01T00:00:00Z")
_PARENT = {"parentRef": {"resource": "services", "name": "s", "namespace": "n"}}


@pytest.mark.parametrize(
    ("name", "spec", "expected"),
    [
        ("10.0.0.1", _PARENT, []),
        ("2001:DB8::1", _PARENT, ["metadata.name"]),
        ("x", {}, ["metadata.name", "spec.parentRef"]),
        ("10.0.0.1", {"parentRef": {}}, ["spec.parentRef.resource", "spec.parentRef.name"]),
    ],
)
def test_addresses(name: str, spec: dict[str, Any], expected: list[str]) -> None:
    found = AddressStrategy().validate_create({"metadata": {"name": name}, "spec": spec}, CONTEXT)
    assert [error.field for error in found] == expected


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [(["10.5.0.0/24"], []), ([], ["spec.cidrs"]), (["10.5.0.1/24"], ["spec.cidrs[0]"])],
)
def test_ranges(ranges: list[str], expected: list[str]) -> None:
    found = RangeStrategy().validate_create({"metadata": {"name": "r"}, "spec": {"cidrs": ranges}}, CONTEXT)
    assert [error.field for error in found] == expected
