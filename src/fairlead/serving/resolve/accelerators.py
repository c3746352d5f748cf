"""The accelerators of a role: which ways it may run, and the devices that each way claims. Pure.

Where all entries want the same of the engine, one claim lists them in their order (`firstAvailable`, KEP-4816) and the
scheduler chooses. Where they differ in parallelism, arguments, environment or nodes, each is a way of its own, and
Fairlead chooses for each replica (`choose_alternative`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from fairlead.api.model_service import Accelerator
from fairlead.serving.resolve.engine_specs import engine_parallelism
from fairlead.serving.resolve.workload import RoleWorkload
from fairlead.serving.resolved import ClaimTemplate, Unservable

Json = dict[str, Any]

REQUEST: Final = "accelerators"
"""Name of the request in a claim and of the claim in a pod; with alternatives, each is a subrequest of its name."""
_RANKS_OF_A_DEVICE: Final[Mapping[str, int]] = {"furiosa-llm": 8}
"""Engine -> ranks that fit on one device, where tensor parallelism does not count devices: RNGD's processing
elements."""


def ways(workload: RoleWorkload) -> tuple[RoleWorkload, ...]:
    """The ways to run a role, the preferred first: each has the accelerators that one claim may choose from."""
    entries = workload.accelerators
    if not entries:
        return (workload,)
    if len(entries) > 1 and _is_one_claim(workload):
        return (replace(workload.on(entries[0]), accelerators=entries),)
    return tuple(workload.on(entry) for entry in entries)


def way_name(workload: RoleWorkload) -> str:
    """Name of the accelerator; empty where there is none, or where the claim chooses."""
    return workload.accelerators[0].name if len(workload.accelerators) == 1 else ""


def devices_per_pod(workload: RoleWorkload, entry: Accelerator, engine: str) -> int:
    """Devices of each pod."""
    if entry.count:
        return entry.count
    parallelism = engine_parallelism(workload.parallelism, workload.field)
    return -(-parallelism.devices_per_host // _RANKS_OF_A_DEVICE.get(engine, 1))


def claim_template(workload: RoleWorkload, service: str, engine: str) -> ClaimTemplate | None:
    """The claim of each pod of this way; None where it claims nothing. Named after its content: templates do not
    change, and claims of former versions keep theirs. Raises Unservable."""
    entries = [entry for entry in workload.accelerators if entry.device_class]
    if not entries:
        return None
    counts = {entry.name: devices_per_pod(workload, entry, engine) for entry in entries}
    if len(entries) == 1:
        wanted = _wanted(entries[0], counts)
        requests: list[Json] = [{"name": REQUEST, "exactly": wanted}]
    else:
        requests = [
            {"name": REQUEST, "firstAvailable": [{"name": e.name, **_wanted(e, counts)} for e in entries]},
        ]
    constraints = _constraints(entries)
    spec: Json = {"devices": {"requests": requests, **({"constraints": constraints} if constraints else {})}}
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:8]
    parts = (service, *(() if workload.role == "unified" else (workload.role,)), way_name(workload) or "any", digest)
    return ClaimTemplate("-".join(parts), spec)


def extended_resources(workload: RoleWorkload, engine: str) -> dict[str, str]:
    """Limits of the engine's container for accelerators that are no devices of a claim."""
    return {
        entry.resource: str(devices_per_pod(workload, entry, engine))
        for entry in workload.accelerators
        if entry.resource and not entry.device_class
    }


def check_accelerators(workload: RoleWorkload) -> None:
    """Raises Unservable for an entry that contradicts itself."""
    for entry in workload.accelerators:
        field = f"{workload.field}accelerators[{entry.name}]"
        if entry.resource and entry.device_class:
            raise Unservable(f"{field}.resource", entry.resource, "it has a deviceClass, too: write one of them")
        if entry.resource and (entry.selectors or entry.match_attributes):
            raise Unservable(
                f"{field}.selectors", None, f"an extended resource ({entry.resource}) cannot be selected from: write "
                "a deviceClass, or nodeSelector",
            )  # fmt: skip
        if (entry.selectors or entry.match_attributes) and not entry.device_class:
            raise Unservable(f"{field}.deviceClass", "", "selectors choose among the devices of a class: write one")


def _is_one_claim(workload: RoleWorkload) -> bool:
    first = workload.accelerators[0]
    return all(
        entry.device_class
        and not entry.resource
        and (entry.parallelism or workload.parallelism) == (first.parallelism or workload.parallelism)
        and (entry.args, entry.env, entry.node_selector) == (first.args, first.env, first.node_selector)
        for entry in workload.accelerators
    )


def _wanted(entry: Accelerator, counts: Mapping[str, int]) -> Json:
    selectors = [{"cel": {"expression": text}} for text in entry.selectors]
    return {
        "deviceClassName": entry.device_class,
        "allocationMode": "ExactCount",
        "count": counts[entry.name],
        **({"selectors": selectors} if selectors else {}),
    }


def _constraints(entries: Sequence[Accelerator]) -> list[Json]:
    """Those of all entries name the request, those of some their subrequests."""
    if len(entries) == 1:
        return [{"requests": [REQUEST], "matchAttribute": name} for name in entries[0].match_attributes]
    asked: dict[str, list[str]] = {}
    for entry in entries:
        for name in entry.match_attributes:
            asked.setdefault(name, []).append(f"{REQUEST}/{entry.name}")
    return [
        {"requests": [REQUEST] if len(names) == len(entries) else names, "matchAttribute": attribute}
        for attribute, names in asked.items()
    ]
