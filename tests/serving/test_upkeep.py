"""Owned objects are written only where they differ, and go when nobody wants them."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.serving.upkeep import contains


@pytest.mark.parametrize(
    ("current", "wanted", "same"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ({"a": 1}, {"b": 1}, False),
        ({"ports": [{"port": 80, "protocol": "TCP"}]}, {"ports": [{"port": 80}]}, True),
        ({"ports": [{"port": 80}, {"port": 81}]}, {"ports": [{"port": 80}]}, False),
        ({}, {"ports": []}, True),
        ({"a": {"b": 1}}, {"a": {}}, True),
        ({"a": 0}, {"a": None}, False),
        ({}, {"a": 0}, False),
        # As Deployments' `paused`, which is not stored.
        ({}, {"a": False}, True),
        ({"a": True}, {"a": False}, False),
    ],
)
def test_what_is_there_already(current: Any, wanted: Any, same: bool) -> None:
    assert contains(current, wanted) is same
