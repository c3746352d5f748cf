"""What the leaving of a replica has to keep to: the service's times, and what its engine does when it is told to stop.

Pure. What SIGTERM does to requests is the engine's own (`engines.Drain`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fairlead.api.model_service import Drain, RoleName
from fairlead.engines import Engine
from fairlead.engines.engine import STOP_MARGIN_S

KV_LINGER_S: Final = 30.0
"""How long a prefill engine that does not say how much of its KV cache is held stays after its last answer: decode
engines read the blocks after that answer. vLLM itself lets go of blocks that nobody reads after 480 s
(VLLM_NIXL_ABORT_REQUEST_TIMEOUT)."""


@dataclass(frozen=True, slots=True)
class DrainLimits:
    """Times in seconds."""

    settle_s: float = 1.0
    """How long gateways may take to hear that a replica leaves; before that an idle engine may still get a request."""
    timeout_s: float = 300.0
    """How long requests may go on before the engine is told to stop all the same."""
    grace_s: float = 30.0
    """How long its process has from SIGTERM to SIGKILL."""
    finishes_streams: bool = True
    """Whether it lets requests end by itself after SIGTERM."""
    tells: bool = True
    """Whether its metrics say how many requests it has."""
    holds_kv: bool = False
    """Whether other engines read from its KV cache after its requests have ended."""

    @property
    def blind_s(self) -> float:
        """How long a replica is waited for of which nobody knows what it does. What an engine does after SIGTERM counts
        as time for its requests, so that they have `timeout_s` in all."""
        own_s = max(0.0, self.grace_s - STOP_MARGIN_S) if self.finishes_streams else 0.0
        return max(self.settle_s, self.timeout_s - own_s)


def drain_limits(
    drain: Drain, grace_s: float, engine: Engine, role: RoleName = "unified", timeout_s: float | None = None
) -> DrainLimits:
    """Of the replicas of one role. `timeout_s` in place of the service's, where the order to leave names one."""
    handoff = engine.handoff
    return DrainLimits(
        settle_s=float(drain.settle_seconds),
        timeout_s=float(drain.timeout_seconds if timeout_s is None else timeout_s),
        grace_s=float(grace_s),
        finishes_streams=engine.drain.finishes_streams,
        tells="running_requests" in engine.signal_table.rules,
        # With a concurrent hand-off, both sides have the request until the cache has moved.
        holds_kv=role == "prefill" and handoff is not None and not handoff.concurrent,
    )
