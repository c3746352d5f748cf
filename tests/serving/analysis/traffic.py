"""Reports of made-up traffic: sums by engine that grow from read to read, as pickers write them."""

from __future__ import annotations

import math
from random import Random

from fairlead.api.traffic_report import Moments, TrafficGroup, TrafficReport

ASKED = "new.0.0/0"


def moments(pairs=(), before=None):
    """Sums of pairs (x, y), added to others."""
    m = before or Moments()
    for x, y in pairs:
        m = Moments(m.n + 1, m.x + x, m.y + y, m.xx + x * x, m.xy + x * y, m.yy + y * y)
    return m


def report(*groups, picker="p1", pool="tiny", asked=ASKED):
    return TrafficReport({"name": f"{pool}.{picker}"}, pool=pool, picker=picker, asked=asked, groups=list(groups))


class Engines:
    """Two versions' engines; `second` lets so many requests come to each and returns the reports of both pools."""

    def __init__(self, seed=0, *, new=1, stable=3, factor=1.0, length=1.0, failed=0.0, new_failed=0.0, spread=0.3):
        self.random = Random(seed)
        self.factor, self.length, self.spread = factor, length, spread
        self.failed, self.new_failed = failed, new_failed
        self.groups = {f"10.0.0.{i}:80": TrafficGroup("new" if i < new else "old") for i in range(new + stable)}
        self.level = 0.0

    def second(self, requests=5):
        draw = self.random
        self.level = 0.9 * self.level + draw.gauss(0.0, 0.1)
        for address, group in self.groups.items():
            is_new = group.revision == "new"
            failed = sum(draw.random() < (self.new_failed if is_new else self.failed) for _ in range(requests))
            ttft, lengths = [], []
            for _ in range(requests - failed):
                x = draw.gauss(6.0, 1.0)
                ttft.append((x, 0.5 * x + self.level + draw.gauss(0, self.spread) + is_new * math.log(self.factor)))
                lengths.append((x, 0.2 * x + draw.gauss(0, self.spread) + is_new * math.log(self.length)))
            self.groups[address] = TrafficGroup(
                group.revision, "tiny", address, requests=group.requests + requests, errors=group.errors + failed,
                ttft=moments(ttft, group.ttft), itl=moments(ttft, group.itl),
                output_length=moments(lengths, group.output_length),
            )  # fmt: skip
        return self.reports()

    def reports(self):
        groups = list(self.groups.values())
        return [
            report(*[g for g in groups if g.revision == "new"], pool="tiny-canary"),
            report(*[g for g in groups if g.revision == "old"]),
        ]
