"""What servers were like in each stage: their histories cut where the stage's other figures are cut. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from fairlead.bench.config.server import ServerMetrics
from fairlead.bench.server_side import cost as costs
from fairlead.bench.server_side import energy as energies
from fairlead.bench.server_side.energy import Device, devices_of, energy_of
from fairlead.bench.server_side.figures import (
    Cost,
    Energy,
    GatewayFigures,
    ServerFigures,
    ServerStage,
    ServerSummary,
)
from fairlead.bench.server_side.history import History
from fairlead.bench.server_side.intervals import Area, added, area, counted, increase, latency, seen
from fairlead.bench.server_side.power_page import Domain
from fairlead.bench.server_side.series import ALL, highest
from fairlead.bench.summary import RunSummary, Series, StageSummary

LEAST_COVERED = 0.9
"""Of the time that engines were there, for means to stand without a note."""
TOKENS_APART, TOKENS_AT_LEAST = 0.05, 50.0
"""Counts of tokens that are further apart than this share, and so many tokens, are told."""


class Sources(NamedTuple):
    """Histories by what they are of, times from the origin of the run."""

    engines: Sequence[History]
    gateways: Sequence[History] = ()
    power: Sequence[History] = ()


class Window(NamedTuple):
    """Of a stage, and what came back in it: tokens as the client counts them."""

    begin_s: float
    end_s: float
    prompt: float
    output: float

    @property
    def seconds(self) -> float:
        return self.end_s - self.begin_s


def window_of(stage: StageSummary, cool_down_s: float) -> Window:
    """What `metrics.seconds` are of: they end with the stage, less its cool-down."""
    metrics, end_s = stage.metrics, stage.end_s - cool_down_s
    prompt, output = metrics.prompt_tokens_per_s * metrics.seconds, metrics.output_tokens_per_s * metrics.seconds
    return Window(end_s - metrics.seconds, end_s, prompt, output)


def server_summary(
    run: RunSummary, server: ServerMetrics, cool_down_s: float, sources: Sources, totals: Sequence[Series],
    kinds: Mapping[str, str],
) -> ServerSummary:  # fmt: skip
    """`totals`: the series that add up engines; `kinds`: source -> what it is."""
    # Hosts count where no accelerator is seen.
    domain: Domain = "accelerators"
    devices = devices_of(sources.power, domain)
    if not devices:
        domain = "hosts"
        devices = devices_of(sources.power, domain)
    longest_s = longest(server.every_s, sources.power)
    stages, windows = [], []
    for stage in run.stages:
        window = window_of(stage, cool_down_s)
        made = _engines(stage, window, sources, totals, server.every_s)
        used = energy_of(
            devices, domain, window.begin_s, window.end_s, longest_s, window.output, window.prompt + window.output
        )
        cost = _cost(server, window, made.engines, devices if domain == "accelerators" else {})
        stages.append(
            ServerStage(
                stage.index, window.begin_s, window.end_s, made.engines, made.by_engine, made.gateway, used.energy,
                cost, (*made.notes, *used.notes),
            )
        )  # fmt: skip
        windows.append(window)
    energy, cost = _whole([s.energy for s in stages], [s.cost for s in stages], windows)
    return ServerSummary(tuple(stages), dict(kinds), energy, cost, server.every_s)


def longest(every_s: float, histories: Iterable[History]) -> float:
    """Between two looks, for what is between them to count as seen."""
    thinned = max((history.thinned for history in histories), default=0)
    return max(3.0, 3 * every_s) * float(1 << thinned)


def _whole(
    energy: list[Energy | None], cost: list[Cost | None], windows: Sequence[Window]
) -> tuple[Energy | None, Cost | None]:
    seconds, prompt, output = (
        sum(w.seconds for w in windows), sum(w.prompt for w in windows), sum(w.output for w in windows)
    )  # fmt: skip
    return energies.together(energy, seconds, output, prompt + output), costs.together(cost, seconds, prompt, output)


def _cost(
    server: ServerMetrics, window: Window, engines: ServerFigures | None, devices: Mapping[str, Device]
) -> Cost | None:
    price = costs.price_of(server)
    number = costs.accelerators_of(server, engines.engines if engines is not None else None, len(devices))
    if price is None or number is None or window.seconds <= 0:
        return None
    return costs.cost_of(price, *number, window.seconds, window.prompt, window.output, server.input_ratio)


# Engines


def _engines(
    stage: StageSummary, window: Window, sources: Sources, totals: Sequence[Series], every_s: float
) -> ServerStage:
    by_engine = {
        history.source: figures
        for history in sources.engines
        if (figures := engine_figures(history, window, longest(every_s, [history]))) is not None
    }
    gateways = [_gateway(history, window, longest(every_s, [history])) for history in sources.gateways]
    together = _together(by_engine, sources.engines, window, totals)
    notes = _notes(window, together, len(by_engine), every_s)
    gateway = next((g for g in gateways if g is not None), None)
    return ServerStage(stage.index, window.begin_s, window.end_s, together, by_engine, gateway, notes=tuple(notes))


class _Within(NamedTuple):
    """One history within one window."""

    history: History
    window: Window
    longest_s: float

    def of(self, name: str) -> Area:
        times, window = self.history.times, self.window
        return area(times, self.history.column(name), window.begin_s, window.end_s, self.longest_s)

    def grown(self, name: str) -> float | None:
        """A counter's increase."""
        by = increase(seen(self.history.times, self.history.column(name)), self.window.begin_s, self.window.end_s)
        return None if by is None else by.by


def engine_figures(history: History, window: Window, longest_s: float) -> ServerFigures | None:
    """None where no look saw it in the stage."""
    within = _Within(history, window, longest_s)
    of, grown = within.of, within.grown

    def share(part: str, whole: str) -> float | None:
        hit, asked = grown(part), grown(whole)
        return hit / asked if hit is not None and asked else None

    def told(name: str) -> object:
        return latency(counted(history.snapshots, name, window.begin_s, window.end_s))

    running, waiting, cache = of("running_requests"), of("waiting_requests"), of("kv_cache_usage_ratio")
    tokens = increase(seen(history.times, history.column("generation_tokens_total")), window.begin_s, window.end_s)
    counted_s = tokens.end_s - tokens.begin_s if tokens is not None else 0.0
    present_s = presence_s(history, window)
    # Some pages have none of these, and are seen all the same.
    covered_s = max(running.covered_s, waiting.covered_s, cache.covered_s, counted_s) or present_s
    if covered_s <= 0:
        return None
    there = present_s / window.seconds if window.seconds > 0 else 0.0
    return ServerFigures(
        covered_s, there, running.mean, running.highest,
        waiting.mean, waiting.highest, cache.mean, cache.highest,
        share("prefix_cache_hit_tokens_total", "prefix_cache_queried_tokens_total"), grown("preemptions_total"),
        grown("prompt_tokens_total"), grown("generation_tokens_total"), grown("succeeded_requests_total"),
        share("spec_decode_accepted_tokens_total", "spec_decode_drafted_tokens_total"),
        sum(window.begin_s < at <= window.end_s for at in history.restarts),
        **{name: told(name) for name in ("ttft", "itl", "queue", "e2e")},  # type: ignore[arg-type]
    )  # fmt: skip


def presence_s(history: History, window: Window) -> float:
    """Of the stage, from the first look at an engine that saw something to the last."""
    there = [k for k in range(len(history.times)) if any(not math.isnan(c[k]) for c in history.columns.values())]
    if not there:
        return 0.0
    return max(0.0, min(window.end_s, history.times[there[-1]]) - max(window.begin_s, history.times[there[0]]))


def _together(
    by_engine: Mapping[str, ServerFigures], histories: Sequence[History], window: Window, totals: Sequence[Series]
) -> ServerFigures | None:
    """Of all engines; of one, its own."""
    if len(by_engine) < 2:
        return next(iter(by_engine.values()), None)
    figures = list(by_engine.values())
    there = [h for h in histories if h.source in by_engine]

    def added_up(field: str) -> float | None:
        """Each for the part of the stage that it was there: means of parts do not add up."""
        known = [(getattr(f, field), f.engines) for f in figures if getattr(f, field) is not None]
        return sum(value * part for value, part in known) if known else None

    def summed(field: str) -> float | None:
        known = [getattr(f, field) for f in figures if getattr(f, field) is not None]
        return sum(known) if known else None

    def ratio(part: str, whole: str) -> float | None:
        parts = [
            (a.by, b.by)
            for h in there
            if (a := increase(seen(h.times, h.column(part)), window.begin_s, window.end_s)) is not None
            and (b := increase(seen(h.times, h.column(whole)), window.begin_s, window.end_s)) is not None
        ]
        of = sum(b for _, b in parts)
        return sum(a for a, _ in parts) / of if of > 0 else None

    def told(name: str) -> object:
        return latency(added(counted(h.snapshots, name, window.begin_s, window.end_s) for h in there))

    def most(name: str) -> float | None:
        return highest(totals, ALL, name, window.begin_s, window.end_s)

    caches = [(f.kv_cache_mean, f.seconds) for f in figures if f.kv_cache_mean is not None]
    weight = sum(s for _, s in caches)
    return ServerFigures(
        sum(f.seconds for f in figures) / len(figures), sum(f.engines for f in figures),
        added_up("running_mean"), most("running_requests"), added_up("waiting_mean"), most("waiting_requests"),
        sum(mean * s for mean, s in caches) / weight if weight > 0 else None,
        max((f.kv_cache_max for f in figures if f.kv_cache_max is not None), default=None),
        ratio("prefix_cache_hit_tokens_total", "prefix_cache_queried_tokens_total"), summed("preemptions"),
        summed("prompt_tokens"), summed("output_tokens"), summed("requests"),
        ratio("spec_decode_accepted_tokens_total", "spec_decode_drafted_tokens_total"),
        sum(f.restarts for f in figures),
        **{name: told(name) for name in ("ttft", "itl", "queue", "e2e")},  # type: ignore[arg-type]
    )  # fmt: skip


def _notes(window: Window, engines: ServerFigures | None, number: int, every_s: float) -> Iterable[str]:
    """`number`: of the engines that were seen at all."""
    if engines is None or window.seconds <= 0:
        return
    covered_s, there_s = engines.seconds * number, engines.engines * window.seconds
    if covered_s < LEAST_COVERED * there_s:
        yield f"engines were seen for {covered_s:.3g} of {there_s:.3g} s, all together: means are of that time"
    if engines.preemptions is not None and engines.preemptions >= 0.5:
        yield f"engines preempted {engines.preemptions:,.0f} requests: their KV caches were full"
    if engines.output_tokens is not None and not engines.restarts:
        apart = engines.output_tokens - window.output
        # A look is not exactly at the stage's ends.
        share = max(TOKENS_APART, 2 * every_s / window.seconds)
        if math.fabs(apart) > max(TOKENS_AT_LEAST, share * max(engines.output_tokens, window.output)):
            yield _token_note(engines.output_tokens, window.output)


def _token_note(server: float, client: float) -> str:
    said = f"engines generated {server:,.0f} output tokens in the stage and the client received {client:,.0f}: "
    if server > client:
        return said + "others ask them too, or answers were not waited for to their end"
    return said + "not every engine that answers is looked at, or the two count differently"


def _gateway(history: History, window: Window, longest_s: float) -> GatewayFigures | None:
    within = _Within(history, window, longest_s)
    of, grown = within.of, within.grown
    flying, queued = of("gateway_in_flight_requests"), of("gateway_queued_requests")
    full, ready = of("gateway_saturation_ratio"), of("gateway_ready_endpoints")
    covered_s = max(part.covered_s for part in (flying, queued, full, ready)) or presence_s(history, window)
    if covered_s <= 0:
        return None
    queue, decision = (
        latency(counted(history.snapshots, name, window.begin_s, window.end_s)) for name in ("queue", "decision")
    )
    return GatewayFigures(
        covered_s, flying.mean, queued.mean, queued.highest, full.highest, ready.lowest, ready.highest,
        grown("gateway_requests_total"), grown("gateway_dropped_total"), grown("gateway_errors_total"), queue, decision,
    )  # fmt: skip
