"""Failures on purpose: by flag for every request, by header for one.

`Failures` says what goes wrong; a seeded generator decides where a probability is given, so a run can be repeated.
The header `X-Fairlead-Failure` takes the same words as `--failure`, separated by commas:

    latency=0.5            seconds before the request is looked at
    error=503              this status at once; `error=503:0.1` for one request in ten
    hang                   accepted, never answered
    crash=5                the process exits when the answer has 5 tokens (0: at once)
    truncate=5             the connection breaks off after 5 tokens
    corrupt=5              the event of the 5th token is not JSON

Each word but `latency` takes a probability after a colon: `hang:0.01`, `crash=5:0.001`.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

HEADER = "X-Fairlead-Failure"
_KINDS = ("latency", "error", "hang", "crash", "truncate", "corrupt")


class FailureError(ValueError):
    """A wish for a failure that cannot be read; the message says what is possible."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One kind of failure. `amount` is seconds, a status or a number of tokens, by the kind."""

    kind: str
    amount: float = 0.0
    probability: float = 1.0


@dataclass(frozen=True, slots=True)
class Fate:
    """What goes wrong with one request; tokens are counted from 1, and None or 0 mean that it does not."""

    latency_s: float = 0.0
    status: int = 0
    hang: bool = False
    crash_tokens: int | None = None
    truncate_tokens: int | None = None
    corrupt_token: int | None = None


def parse_failures(text: str) -> tuple[Failure, ...]:
    """The failures in a flag or header. Raises FailureError."""
    return tuple(_parse(word.strip()) for word in text.split(",") if word.strip())


def draw_fate(failures: tuple[Failure, ...], generator: random.Random) -> Fate:
    """Which of the failures befall one request."""
    chosen = {each.kind: each.amount for each in failures if each.probability >= 1 or _falls(each, generator)}

    def tokens(kind: str) -> int | None:
        return int(chosen[kind]) if kind in chosen else None

    return Fate(
        latency_s=chosen.get("latency", 0.0),
        status=int(chosen.get("error", 0)),
        hang="hang" in chosen,
        crash_tokens=tokens("crash"),
        truncate_tokens=tokens("truncate"),
        corrupt_token=tokens("corrupt"),
    )


def _falls(failure: Failure, generator: random.Random) -> bool:
    return generator.random() < failure.probability


def _parse(word: str) -> Failure:
    rest, _, chance = word.partition(":")
    kind, _, amount = rest.partition("=")
    if kind not in _KINDS:
        raise FailureError(f"failure {word!r} is unknown: take {', '.join(_KINDS)}")
    try:
        failure = Failure(kind, float(amount or 0), float(chance or 1))
    except ValueError as error:
        raise FailureError(
            f"failure {word!r} has no number: write {kind}=NUMBER or {kind}=NUMBER:PROBABILITY"
        ) from error
    if not 0 <= failure.probability <= 1:
        raise FailureError(f"failure {word!r}: the probability is from 0 to 1")
    if kind == "error" and not 400 <= failure.amount <= 599:
        raise FailureError(f"failure {word!r}: the status is from 400 to 599")
    if not 0 <= failure.amount < math.inf:
        raise FailureError(f"failure {word!r}: the number is 0 or more, and finite")
    return failure
