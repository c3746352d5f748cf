"""Exponential back-off per key, as a kubelet keeps it for container restarts and image pulls.

The first failure costs nothing; the next attempt waits the initial delay after the last end, then twice that, up to the
maximum. A key that has been quiet for twice the maximum starts again.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BackoffPolicy:
    initial_s: float = 10.0
    max_s: float = 300.0

    @property
    def reset_after_s(self) -> float:
        return 2 * self.max_s


@dataclass(frozen=True, slots=True)
class Backoff:
    """One key's history: the delay that applies now and when it was last raised (wall seconds)."""

    delay_s: float
    updated_s: float


def compute_ready_at_s(policy: BackoffPolicy, backoff: Backoff | None, ended_s: float) -> float:
    """The earliest time of the next attempt after an attempt that ended at `ended_s`."""
    if backoff is None or _is_expired(policy, backoff, ended_s):
        return ended_s
    return ended_s + backoff.delay_s


def compute_next(policy: BackoffPolicy, backoff: Backoff | None, ended_s: float, now_s: float) -> Backoff:
    """The history after another attempt is made."""
    if backoff is None or _is_expired(policy, backoff, ended_s):
        return Backoff(policy.initial_s, now_s)
    return Backoff(min(backoff.delay_s * 2, policy.max_s), now_s)


def _is_expired(policy: BackoffPolicy, backoff: Backoff, ended_s: float) -> bool:
    return ended_s - backoff.updated_s > policy.reset_after_s


def format_duration(duration_s: float) -> str:
    """Whole and fractional seconds as Go prints a duration: `10s`, `2m40s`, `5m0s`, `500ms`."""
    if 0 < duration_s < 1:
        return f"{duration_s * 1000:.6g}ms"
    minutes, seconds = divmod(duration_s, 60)
    hours, minutes = divmod(int(minutes), 60)
    shown = f"{seconds:.9g}s"
    if hours:
        return f"{hours}h{minutes}m{shown}"
    return f"{minutes}m{shown}" if minutes else shown
