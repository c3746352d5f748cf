"""Servers whose capacity is known by formula, in virtual time."""

from __future__ import annotations

from math import log
from typing import Protocol

import numpy as np
import numpy.typing as npt

from fairlead.bench.config.load import Search
from fairlead.bench.search.judging import Seen, Shown, judge
from fairlead.bench.search.strategy import Done, Tried, next_step

Times = npt.NDArray[np.float64]


class Server(Protocol):
    """Answers requests that arrive at `rate` for so many seconds."""

    capacity: float

    def serve(self, rate: float, seconds: float, rng: np.random.Generator) -> tuple[Times, Times]:
        """When requests were due, and how long each took."""
        ...


class OneServer:
    """M/M/1: exponential service. Sojourn times are exponential with rate μ − λ, so a share of 1 − exp(−(μ − λ)·T) is
    within T, and the objective is kept up to μ − ln(1/(1 − asked))/T (Kleinrock, Queueing Systems I, 3.2)."""

    def __init__(self, rate_per_s: float, within_s: float, asked: float) -> None:
        self.rate_per_s, self.within_s = rate_per_s, within_s
        self.capacity = rate_per_s - log(1 / (1 - asked)) / within_s

    def serve(self, rate: float, seconds: float, rng: np.random.Generator) -> tuple[Times, Times]:
        due_s = np.cumsum(rng.exponential(1 / rate, int(rate * seconds * 1.3) + 50))
        due_s = due_s[due_s < seconds]
        work_s = rng.exponential(1 / self.rate_per_s, len(due_s))
        done_s = np.cumsum(work_s)  # Lindley's recursion, all at once
        return due_s, done_s + np.maximum.accumulate(due_s - (done_s - work_s)) - due_s


class NoQueue:
    """M/G/∞ with a wall: as many as come are served in 50 ms up to the capacity, in 1 s above it."""

    def __init__(self, capacity: float) -> None:
        self.capacity = capacity

    def serve(self, rate: float, seconds: float, rng: np.random.Generator) -> tuple[Times, Times]:
        due_s = np.arange(0, seconds, 1 / rate)
        return due_s, np.full(len(due_s), 0.05 if rate <= self.capacity else 1.0)


def step(server: Server, load: float, within_s: float, asked: float, search: Search, seed: int) -> tuple[Shown, float]:
    """One load, looked at again and again as a run does; and how long it took."""
    length_s = search.settle_s + search.max_step_s
    due_s, took_s = server.serve(load, length_s, np.random.default_rng(seed))
    for elapsed_s in range(3, int(search.max_step_s) + 1, 3):
        now_s = search.settle_s + elapsed_s
        under_way = due_s[(due_s <= now_s) & (due_s + took_s > now_s)]
        until_s = under_way[0] if len(under_way) else now_s
        seen = (due_s >= search.settle_s) & (due_s < until_s)
        final = elapsed_s > search.max_step_s - 3
        shown = judge(Seen(due_s[seen], took_s[seen] <= within_s, took_s[seen], elapsed_s), asked, search, final)
        if shown is not None:
            return shown, now_s
    raise AssertionError("a step ends with its time")


def searched(server: Server, within_s: float, asked: float, search: Search, seed: int) -> tuple[Done, list[Tried]]:
    """A whole search."""
    history: list[Tried] = []
    while not isinstance(following := next_step(history, search), Done):
        shown, _ = step(server, following.load, within_s, asked, search, seed * 1000 + len(history))
        history.append(Tried(following.load, shown.decision, shown.why, shown.attainment, asked))
    return following, history
