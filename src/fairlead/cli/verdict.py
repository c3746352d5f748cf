"""What the controllers say of a service that was just written: that it cannot be served, or that they are at it."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.cli.manifests import API_VERSION, KIND, Json
from fairlead.clock import SYSTEM
from fairlead.kube.client import Client
from fairlead.kube.resources import Resource

LOOK_S = 15.0
"""How long a first word is waited for: a model's source has ten seconds to say what is there."""
POLL_S = 0.05
_FINAL = frozenset({"Unservable"})
"""Reasons of `Ready` that only a person can do something about."""

_MODEL_SERVICES = Resource.of(API_VERSION, "modelservices", KIND)


@dataclass(frozen=True, slots=True)
class Verdict:
    """On the spec as it is now."""

    is_ready: bool = False
    message: str = ""
    """Of the condition `Ready`."""
    is_final: bool = False
    """It will not come to be ready as it is written."""
    warnings: tuple[str, ...] = ()


def read_verdict(service: Json) -> Verdict | None:
    """None: no controller has seen this generation yet."""
    status = service.get("status") or {}
    ready = next((c for c in status.get("conditions") or () if c["type"] == "Ready"), None)
    if status.get("observedGeneration") != service["metadata"].get("generation") or ready is None:
        return None
    is_final = ready["status"] != "True" and ready.get("reason") in _FINAL
    warnings = list(status.get("warnings") or ())
    unread = str((status.get("model") or {}).get("message", ""))
    if unread and not is_final:
        warnings.append(f"what the model is could not be read, and nothing was reckoned with: {unread}")
    return Verdict(ready["status"] == "True", str(ready.get("message", "")), is_final, tuple(warnings))


async def first_verdict(client: Client, namespace: str, name: str, within_s: float = LOOK_S) -> Verdict | None:
    """The first word on the spec as it is now; None where nobody says one in time. Raises ApiError."""
    end_s = SYSTEM.monotonic_s() + within_s
    while True:
        found = read_verdict(await client.get(_MODEL_SERVICES, name, namespace))
        if found is not None or SYSTEM.monotonic_s() >= end_s:
            return found
        await SYSTEM.sleep(POLL_S)
