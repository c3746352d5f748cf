"""What a loss costs: which pods of a gang have to leave, so that their controllers make new ones. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from fairlead.scheduling.commit.order import stands
from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.losses import Loss
from fairlead.scheduling.snapshot import PodView

_SHOWN = 8
"""Members that a sentence names."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """The pods of a gang that leave, and why."""

    gang: Gang
    kind: Literal["gang", "member"]
    """gang: all that is left of it is placed anew; member: only what was lost."""
    reason: str
    """CamelCase, of the first loss."""
    evict: tuple[PodView, ...]
    hit: frozenset[str]
    """Uids of those that have lost something themselves."""
    sentence: str
    """Which loss, which members leave, and which of them nobody makes anew."""


@dataclass(frozen=True, slots=True)
class Members:
    """What is known of a gang's pods beyond the gang itself; uids."""

    bare: Collection[str] = ()
    """Without a controller: nobody makes them anew."""
    failed: Collection[str] = ()
    succeeded: Collection[str] = ()
    """They have done their work and count as there, but have nothing more to lose."""


def recover(gang: Gang, lost: Mapping[str, Loss], members: Members, absent: str = "") -> Recovery | None:
    """What to do about members (by uid) that have lost what they run on; None where nothing is to be done.

    `absent`: what happened to a member that does not run any more, where that is the loss. The whole gang leaves where
    it is to be recovered as one and the rest does not reach its minimum; otherwise only what was lost.
    """
    running = [pod for pod in _staying(gang, members) if pod.uid not in members.succeeded]
    hit = [pod for pod in running if pod.uid in lost]
    if not hit and not absent:
        return None
    rest = {pod.uid for pod in _staying(gang, members) if pod.uid not in lost}
    is_whole = gang.recovery == "gang" and not gang.is_single and not stands(gang.root, rest)
    evict = tuple(running) if is_whole else tuple(hit)
    if not evict:
        return None
    bare = members.bare
    first = lost[hit[0].uid] if hit else Loss("MemberGone", absent)
    return Recovery(
        gang,
        "gang" if is_whole else "member",
        first.reason,
        evict,
        frozenset(pod.uid for pod in hit),
        _sentence(gang, first, evict, bare),
    )


def is_partial(gang: Gang, members: Members) -> bool:
    """Whether some of a gang's pods run, but not as many as it must have."""
    staying = {pod.uid for pod in _staying(gang, members)}
    return bool(staying) and not gang.is_single and not stands(gang.root, staying)


def _staying(gang: Gang, members: Members) -> list[PodView]:
    return [pod for pod in gang.bound if not pod.is_leaving and pod.uid not in members.failed]


def _sentence(gang: Gang, loss: Loss, evict: tuple[PodView, ...], bare: Collection[str]) -> str:
    if gang.is_single:
        text = f"{loss.what}: the pod is evicted"
    elif len(evict) == len(gang.bound):
        text = f"{loss.what}: {gang.key} is placed anew, {_names(evict)} evicted"
    else:
        text = f"{loss.what}: of {gang.key}, {_names(evict)} evicted"
    orphans = tuple(pod for pod in evict if pod.uid in bare)
    if not orphans:
        return text
    return f"{text}; {_names(orphans)} will not come back: no controller makes such pods anew"


def _names(pods: tuple[PodView, ...]) -> str:
    names = [pod.name for pod in pods]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
