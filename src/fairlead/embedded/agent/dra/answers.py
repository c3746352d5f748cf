"""What a driver's answer to a prepare or unprepare call is worth, checked as a kubelet checks it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fairlead.embedded.agent.dra.state import PreparedDevice, WantedClaim


@dataclass(frozen=True, slots=True)
class ClaimAnswer:
    """A driver's words on one claim. An `error` leaves `devices` without meaning."""

    error: str = ""
    devices: tuple[PreparedDevice, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """`devices`: claim uid -> devices, of the claims that went well; `problems`: a sentence for each that did not."""

    devices: Mapping[str, tuple[PreparedDevice, ...]]
    problems: Sequence[str] = field(default_factory=tuple)


def judge_prepared(driver: str, asked: Sequence[WantedClaim], answers: Mapping[str, ClaimAnswer]) -> Verdict:
    """Every claim must be answered without error, with devices that the claim was allocated and well-formed CDI ids."""
    good: dict[str, tuple[PreparedDevice, ...]] = {}
    problems = _strangers("NodePrepareResources", driver, {claim.uid for claim in asked}, answers)
    for claim in asked:
        found = answers.get(claim.uid)
        if found is None:
            problems.append(f"NodePrepareResources of driver {driver} skipped ResourceClaim {claim.name}")
        elif found.error:
            problems.append(
                f"NodePrepareResources of driver {driver} failed for ResourceClaim {claim.name}: {found.error}"
            )
        else:
            wrong = [p for device in found.devices if (p := _problem(device, claim.drivers.get(driver, frozenset())))]
            if wrong:
                what = f"NodePrepareResources of driver {driver} returned for ResourceClaim {claim.name}"
                problems += [f"{what} {problem}" for problem in wrong]
            else:
                good[claim.uid] = found.devices
    return Verdict(good, problems)


def judge_unprepared(driver: str, asked: Mapping[str, str], errors: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """`asked`: claim uid -> name; `errors`: claim uid -> error, "" for none. The uids given back, and the problems."""
    given_back: list[str] = []
    problems = _strangers("NodeUnprepareResources", driver, set(asked), errors)
    for uid, name in asked.items():
        if uid not in errors:
            problems.append(f"NodeUnprepareResources of driver {driver} skipped ResourceClaim {name}")
        elif errors[uid]:
            problems.append(f"NodeUnprepareResources of driver {driver} failed for ResourceClaim {name}: {errors[uid]}")
        else:
            given_back.append(uid)
    return given_back, problems


def _strangers(call: str, driver: str, asked: set[str], answered: Mapping[str, object]) -> list[str]:
    strange = sorted(answered.keys() - asked)
    return [f"{call} of driver {driver} returned a result for unknown claim UID {uid}" for uid in strange]


def _problem(device: PreparedDevice, allocated: frozenset[tuple[str, str]]) -> str:
    if not device.pool or not device.device:
        return f"a device without its pool or name (pool {device.pool!r}, device {device.device!r})"
    if (device.pool, device.device) not in allocated:
        known = ", ".join(f"{pool}/{name}" for pool, name in sorted(allocated)) or "none"
        return f"device {device.pool}/{device.device}, which is not among its allocated devices ({known})"
    # The CDI is loaded once a driver speaks.
    from fairlead.devices.cdi.errors import CdiError
    from fairlead.devices.cdi.names import parse_qualified_name

    for cdi_id in device.cdi_ids:
        try:
            parse_qualified_name(cdi_id)
        except CdiError as error:
            return f"device {device.pool}/{device.device} with an invalid CDI device id: {error}"
    return ""
