"""The state of a device, as a vendor sees it at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["healthy", "unhealthy", "unknown"]
Effect = Literal["None", "NoSchedule", "NoExecute"]


@dataclass(frozen=True, slots=True)
class Health:
    """`reason` is CamelCase and stable ("XidError", "Vanished"); `message` is a sentence for a person.

    `effect` says what an unhealthy device demands: NoExecute ends the pods that hold it, NoSchedule only keeps new ones
    away (a throttled card, say), None is a remark. It means nothing for the other states.
    """

    state: State
    reason: str = ""
    message: str = ""
    effect: Effect = "NoExecute"


HEALTHY = Health("healthy")


def unhealthy(reason: str, message: str, effect: Effect = "NoExecute") -> Health:
    return Health("unhealthy", reason, message, effect)


def unknown(reason: str, message: str) -> Health:
    """Not known is a state of its own: never read as healthy, never as broken."""
    return Health("unknown", reason, message)
