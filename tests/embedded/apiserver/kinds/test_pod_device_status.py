"""Devices in the status of pods: claims, extended resources, and the health that agents report."""

from typing import Any

import pytest

from fairlead.embedded.apiserver.invalid import FieldError
from fairlead.embedded.apiserver.kinds.pod_device_status import check_allocated_resources, check_extended_claim

SPEC: dict[str, Any] = {
    "containers": [
        {
            "name": "c",
            "resources": {"claims": [{"name": "gpu", "request": "r"}, {"name": "nic"}], "requests": {"e.com/npu": "1"}},
        }
    ]
}


def allocated(name: str, *devices: dict[str, Any], container: str = "c", key: str = "containerStatuses") -> list[str]:
    errors: list[FieldError] = []
    statuses = [{"name": container, "allocatedResourcesStatus": [{"name": name, "resources": list(devices)}]}]
    check_allocated_resources(errors, {key: statuses}, SPEC)
    return [error.field.removeprefix(f"status.{key}[0].allocatedResourcesStatus") for error in errors]


@pytest.mark.parametrize(
    ("name", "is_known"),
    [
        ("claim:gpu/r", True),
        ("claim:nic", True),
        ("e.com/npu", True),
        ("claim:gpu", False),
        ("claim:nic/r", False),
        ("e.com/other", False),
        ("", False),
    ],
)
def test_a_resource_is_one_that_the_container_asks_for(name: str, is_known: bool) -> None:
    assert allocated(name) == ([] if is_known else ["[0].name"])


def test_what_an_unknown_container_got_is_let_through() -> None:
    assert allocated("nonsense", container="x") == []


def test_devices_have_a_known_health_a_message_and_an_identity_of_their_own() -> None:
    good = {"resourceID": "a", "health": "Healthy"}
    assert allocated("claim:nic", good, {"resourceID": "b", "health": "Unhealthy", "message": "m" * 1024}) == []
    assert allocated("claim:nic", good, good) == ["[0].resources[1].resourceID"]
    assert allocated("claim:nic", {"resourceID": "a", "health": "Ill"}) == ["[0].resources[0].health"]
    assert allocated("claim:nic", {**good, "message": ""}) == ["[0].resources[0].message"]
    assert allocated("claim:nic", {**good, "message": "ä" * 513}) == ["[0].resources[0].message"]


def test_ephemeral_containers_get_no_devices() -> None:
    assert allocated("claim:nic", key="ephemeralContainerStatuses") == [""]


def extended(**status: Any) -> list[str]:
    errors: list[FieldError] = []
    check_extended_claim(errors, status, SPEC)
    return [error.field.removeprefix("status.extendedResourceClaimStatus.") for error in errors]


def test_mappings_of_extended_resources() -> None:
    good = {"containerName": "c", "resourceName": "e.com/npu", "requestName": "r"}
    assert extended(resourceClaimName="x", requestMappings=[good]) == []
    assert extended() == ["requestMappings", "resourceClaimName"]
    assert extended(resourceClaimName="x", requestMappings=[good, good]) == [
        "requestMappings[1].containerName",
        "requestMappings[1].resourceName",
        "requestMappings[1].requestName",
    ]
    other = {**good, "containerName": "d", "requestName": "R"}
    assert extended(resourceClaimName="x", requestMappings=[other]) == [
        "requestMappings[0].containerName",
        "requestName",
    ]
