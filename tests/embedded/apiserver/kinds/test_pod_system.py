"""What pods of one operating system may not set."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.embedded.apiserver.kinds.errors import Errors
from fairlead.embedded.apiserver.kinds.pod_system import validate_system


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, []),
        ({"os": {}}, ["spec.os.name"]),
        ({"os": {"name": "plan9"}}, ["spec.os"]),
        ({"os": {"name": "linux"}, "hostPID": True}, []),
        (
            {"os": {"name": "linux"}, "containers": [{"securityContext": {"windowsOptions": {}}}]},
            ["spec.containers[0].securityContext.windowsOptions"],
        ),
        ({"os": {"name": "windows"}, "securityContext": {"runAsNonRoot": True, "sysctls": []}, "hostIPC": False}, []),
        (
            {"os": {"name": "windows"}, "securityContext": {"runAsUser": 0}, "hostPID": True},
            ["spec.hostPID", "spec.securityContext.runAsUser"],
        ),
        (
            {"os": {"name": "windows"}, "initContainers": [{"securityContext": {"privileged": False}}]},
            ["spec.initContainers[0].securityContext.privileged"],
        ),
    ],
)
def test_fields_of_the_other_system(spec: dict[str, Any], expected: list[str]) -> None:
    errors: Errors = []
    validate_system(errors, spec, "spec")
    assert [error.field for error in errors] == expected
