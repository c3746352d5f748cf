"""Empty lists after storage, and what they mean for ownership and generation."""

from __future__ import annotations

import pytest

from fairlead.embedded.apiserver import empty_lists
from fairlead.embedded.apiserver.kinds import builtin_types
from fairlead.embedded.apiserver.registry import Object

TYPES = {(t.group, t.resource): t for t in reversed(builtin_types())}
WEBHOOKS = TYPES["admissionregistration.k8s.io", "mutatingwebhookconfigurations"]
SLICES = TYPES["discovery.k8s.io", "endpointslices"]


@pytest.mark.parametrize(
    ("key", "obj", "expected"),
    [
        (("rbac.authorization.k8s.io", "clusterroles"), {"rules": []}, {"rules": None}),
        (("", "limitranges"), {"spec": {"limits": []}}, {"spec": {"limits": None}}),
        (("storage.k8s.io", "csinodes"), {"spec": {}}, {"spec": {}}),
        (("admissionregistration.k8s.io", "mutatingwebhookconfigurations"), {"webhooks": []}, {}),
        (("", "configmaps"), {"data": {}}, {"data": {}}),
    ],
)
def test_empty_lists_settle_as_their_struct_writes_them(key: tuple[str, str], obj: Object, expected: Object) -> None:
    empty_lists.settle(TYPES[key], obj)
    assert obj == expected


def test_a_list_that_storage_empties_is_no_change() -> None:
    old = {"metadata": {}, "addressType": "IPv4", "endpoints": None, "ports": None}
    new = {"metadata": {}, "addressType": "IPv4", "endpoints": [], "ports": []}
    assert not empty_lists.generation_changed(SLICES, new, old)
    assert new["endpoints"] == []
    assert empty_lists.generation_changed(SLICES, {**new, "ports": [{"port": 1}]}, old)


def test_an_empty_list_of_webhooks_differs_from_none() -> None:
    assert empty_lists.generation_changed(WEBHOOKS, {"metadata": {}, "webhooks": []}, {"metadata": {}})
    assert not empty_lists.generation_changed(WEBHOOKS, {"metadata": {}}, {"metadata": {}})


def test_nobody_owns_an_empty_list_that_is_not_written() -> None:
    obj: Object = {"metadata": {}, "webhooks": []}
    hidden = empty_lists.hide(WEBHOOKS, obj)
    assert "webhooks" not in obj
    empty_lists.show(hidden)
    assert obj["webhooks"] == []
