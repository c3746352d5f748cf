"""The words of refusals: counts of reasons as kube-scheduler writes them, and names of levels as people say them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fairlead.scheduling.gangs.levels import ALIASES

_ALIAS_OF = {label: alias for alias, label in ALIASES.items()}


def count_reasons(total: int, reasons: Mapping[str, int]) -> str:
    """`0/3 nodes are available: 2 Insufficient cpu, 1 Too many pods.`"""
    if not total:
        return "no nodes available to schedule pods"
    counted = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    return f"0/{total} nodes are available: {counted}."


def level_word(level: str) -> str:
    """A level's short name: its alias, or the last piece of the label."""
    return _ALIAS_OF.get(level) or level.rpartition("/")[2] or level


def join_levels(levels: Sequence[str]) -> str:
    return " and ".join(level_word(level) for level in levels)


def plural(word: str) -> str:
    return f"{word}s"


def pods_text(count: int) -> str:
    return "1 pod" if count == 1 else f"{count} pods"
