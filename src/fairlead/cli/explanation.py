"""Prints the replay of a decision."""

from __future__ import annotations

from rich.console import Console


def print_explanation(raw: bytes, console: Console) -> None:
    console.print(raw.decode())
