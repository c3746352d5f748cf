"""The Prometheus page of the picker: our own names, and those of llm-d's endpoint picker, which dashboards read.

Own names have the prefix `fairlead_gateway_` and labels of bounded sets (pools, reasons). Names of llm-d
(`llm_d_epp_…`) carry the client's model and tenant, capped; the names they had before (`inference_objective_…`,
`inference_pool_…`, `inference_extension_…`) are there too, as llm-d does it.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fairlead import __version__
from fairlead.gateway.endpoints import Registry
from fairlead.gateway.load import EndpointLoad, LoadTable
from fairlead.gateway.observe.flow import FlowCounts
from fairlead.gateway.observe.requests import MAX_MODELS, RequestCounts, RequestSeries
from fairlead.gateway.observe.series import OVERHEAD_BOUNDS_S, Capped, Distribution, HistogramFamily, merged

_OWN = "fairlead_gateway_"
_NEW = "llm_d_epp_"
_REQUEST_LABELS = ("model_name", "target_model_name", "fairness_id", "priority")

_DISTRIBUTIONS: tuple[tuple[str, str, str, str, str], ...] = (
    # own name, llm-d's name, its older name (empty = none), attribute, help
    ("request_duration_seconds", "request_duration_seconds", "request_duration_seconds", "duration_s",
     "Whole duration of routed requests, as Envoy saw it."),
    ("first_byte_duration_seconds", "request_ttft_seconds", "", "ttft_s",
     "From a request's first byte to the first byte of its answer's body."),
    ("time_per_output_token_seconds", "request_streaming_tpot_seconds", "", "itl_s",
     "Mean time between the tokens of an answer, after the first."),
    ("request_bytes", "request_size_bytes", "request_sizes", "request_bytes", "Size of request bodies."),
    ("input_tokens", "request_input_tokens", "input_tokens", "input_tokens", "Prompt tokens, as engines counted them."),
    ("output_tokens", "request_output_tokens", "output_tokens", "output_tokens",
     "Answer tokens, as engines counted them."),
    ("cached_tokens", "request_cached_tokens", "prompt_cached_tokens", "cached_tokens",
     "Prompt tokens that engines had in their prefix cache."),
    ("prefix_match_ratio", "prefix_indexer_hit_ratio", "", "match_ratio",
     "Share of the prompt that the index believed to be at the picked endpoint."),
)  # fmt: skip


class GatewayMetrics:
    """Everything the picker counts, and the page made of it and of the picker's state."""

    def __init__(self, registry: Registry, loads: LoadTable) -> None:
        self._endpoints = registry
        self._loads = loads
        self.requests = RequestCounts()
        self.flow = FlowCounts()
        self.answered: dict[tuple[str, str], int] = {}  # (reason, status) -> answers of the gateway itself
        self.scrapes: dict[str, int] = {"ok": 0, "failed": 0, "refused": 0}  # outcome -> scrapes
        self.rewrites: dict[tuple[str, str], int] = {}  # (model, target) -> requests
        self.decision_s = Distribution(OVERHEAD_BOUNDS_S)
        self.disaggregated: dict[tuple[str, str], int] = {}  # (model, decision) -> requests
        self.extra: list[Callable[[], Iterable[Metric]]] = []
        """Further families, of parts that count for themselves."""
        self._model = Capped(MAX_MODELS)
        self._target = Capped(MAX_MODELS)
        self._now_s = 0.0

    def scraped(self, outcome: str) -> None:
        """A scrape ended: ok, failed or refused."""
        self.scrapes[outcome] = self.scrapes.get(outcome, 0) + 1

    def answers(self, reason: str, status: int) -> None:
        """The gateway answered a request itself."""
        key = (reason, str(status))
        self.answered[key] = self.answered.get(key, 0) + 1

    def rewritten(self, model: str, target: str) -> None:
        """A request's model name was rewritten; names that clients choose are capped."""
        key = (self._model(model), self._target(target))
        self.rewrites[key] = self.rewrites.get(key, 0) + 1

    def forget_pool(self, pool: str) -> None:
        """The pool exists no more."""
        self.requests.forget_pool(pool)
        self.flow.forget_pool(pool)

    def page(self, now_s: float) -> bytes:
        """The page in Prometheus text format; `now_s` is the monotonic time for judging staleness."""
        self._now_s = now_s
        parts = [
            family.text().encode() if isinstance(family, HistogramFamily) else generate_latest(_Alone(family))
            for family in self.collect()
        ]
        return b"".join(parts)

    def collect(self) -> Iterator[Metric | HistogramFamily]:
        """All families; called by `page`."""
        series = list(self.requests.all.values())
        yield from self._own(series)
        yield from self._as_llm_d(series)
        yield from self._pools()
        yield from self.flow.collect()
        for families in self.extra:
            yield from families()

    def _own(self, series: Sequence[RequestSeries]) -> Iterator[Metric | HistogramFamily]:
        by_pool: dict[str, list[RequestSeries]] = {}
        for one in series:
            by_pool.setdefault(one.labels.pool, []).append(one)
        yield _counter(_OWN + "requests_routed", "Requests sent to an endpoint.", ("pool",),
                       (((pool,), sum(s.routed for s in of)) for pool, of in by_pool.items()))  # fmt: skip
        yield _counter(_OWN + "requests_answered", "Requests the gateway answered itself.", ("reason", "code"),
                       self.answered.items())  # fmt: skip
        codes: dict[tuple[str, str], int] = {}
        for one in series:
            for code, count in one.codes.items():
                codes[one.labels.pool, code] = codes.get((one.labels.pool, code), 0) + count
        yield _counter(_OWN + "requests_completed", "Routed requests that ended.", ("pool", "code_class"),
                       codes.items())  # fmt: skip
        yield _counter(_OWN + "connect_retries", "Requests that went to a fallback endpoint.", (),
                       (((), sum(s.connect_retries for s in series)),))  # fmt: skip
        yield _counter(_OWN + "scrapes", "Scrapes of engines.", ("outcome",),
                       (((outcome,), count) for outcome, count in self.scrapes.items()))  # fmt: skip
        yield HistogramFamily(_OWN + "decision_duration_seconds", "From the whole body to the decision.", (),
                               (((), self.decision_s),))  # fmt: skip
        for name, _, _, attribute, help in _DISTRIBUTIONS:
            children = [((pool,), distribution) for pool, distribution in _added_up(by_pool, attribute)]
            yield HistogramFamily(_OWN + name, help, ("pool",), children)

    def _as_llm_d(self, series: Sequence[RequestSeries]) -> Iterator[Metric | HistogramFamily]:
        # These names have no label for the pool, of which llm-d's picker has one: what several have is added up.
        alike: dict[tuple[str, str, str, str], list[RequestSeries]] = {}
        for one in series:
            _, model, target, tenant, priority = one.labels
            alike.setdefault((model, target, tenant, str(priority)), []).append(one)
        totals = [(labels, sum([s.routed for s in of])) for labels, of in alike.items()]
        running = [(labels, float(sum([s.running for s in of]))) for labels, of in alike.items()]
        errors: dict[tuple[str, ...], int] = {}
        for labels, of in alike.items():
            for code, count in [pair for s in of for pair in s.errors.items()]:
                errors[*labels, code] = errors.get((*labels, code), 0) + count
        for prefix in (_NEW, "inference_objective_"):
            yield _counter(prefix + "request", "Requests.", _REQUEST_LABELS, totals)
            yield _counter(prefix + "request_error", "Requests with an error.", (*_REQUEST_LABELS, "error_code"),
                           errors.items())  # fmt: skip
        yield _gauge(_NEW + "request_running", "Requests in flight.", _REQUEST_LABELS, running)
        by_model: dict[str, float] = {}
        for one in series:
            by_model[one.labels.model] = by_model.get(one.labels.model, 0.0) + one.running
        yield _gauge("inference_objective_running_requests", "Requests in flight.", ("model_name",),
                     (((model,), count) for model, count in by_model.items()))  # fmt: skip
        for _, name, older, attribute, help in _DISTRIBUTIONS:
            children = list(_added_up(alike, attribute))
            yield HistogramFamily(_NEW + name, help, _REQUEST_LABELS, children)
            if older:
                yield HistogramFamily("inference_objective_" + older, help, _REQUEST_LABELS, children)
        for name in (_NEW, "inference_extension_"):
            yield HistogramFamily(name + "scheduler_e2e_duration_seconds", "Duration of a decision.", (),
                                   (((), self.decision_s),))  # fmt: skip
            yield _counter(name + "model_rewrite_decisions", "Requests whose model name was rewritten.",
                           ("model_name", "target_model"), self.rewrites.items())  # fmt: skip
            yield _gauge(name + "info", "Which build this is.", ("commit", "build_ref"), ((("", __version__), 1.0),))
        yield _counter(_NEW + "disagg_decision", "Requests by where their prompt is computed.",
                       ("model_name", "decision_type"), self.disaggregated.items())  # fmt: skip

    def _pools(self) -> Iterator[Metric]:
        in_flight = GaugeMetricFamily(_OWN + "in_flight_requests", "Routed requests not ended.", labels=("pool",))
        states = GaugeMetricFamily(
            _OWN + "endpoints", "Ready endpoints, by what is known of them.", labels=("pool", "state")
        )
        ready: list[tuple[Sequence[str], float]] = []
        values: dict[str, list[tuple[Sequence[str], float]]] = {}
        queues: list[tuple[Sequence[str], float]] = []
        names = Counter([_name(key) for key in self._endpoints.pools])
        for pool in self._endpoints.pools.values():
            loads = [self._loads.of(e.address) for e in pool.endpoints]
            in_flight.add_metric([pool.key], sum(len(load.in_flight) for load in loads))
            said = [_state(load, self._now_s) for load in loads]
            for state in ("ok", "stale", "unreachable"):
                states.add_metric([pool.key, state], said.count(state))
            # As llm-d has it, which serves one namespace; where two have a pool of this name, both are told in full.
            name = _name(pool.key) if names[_name(pool.key)] == 1 else pool.key
            ready.append(((name,), float(len(loads))))
            for metric, value in _averages(loads):
                values.setdefault(metric, []).append(((name,), value))
            queues += [((name, load.candidate.address), float(load.candidate.waiting or 0)) for load in loads]
        yield in_flight
        yield states
        for metric, children in values.items():
            yield _gauge(_NEW + metric, metric.replace("_", " ") + " of the pool", ("name",), children)
            if metric.startswith("average"):
                yield _gauge("inference_pool_" + metric, "As the llm_d_epp one.", ("name",), children)
        yield _gauge(_NEW + "ready_endpoints", "Ready endpoints.", ("name",), ready)
        yield _gauge("inference_pool_ready_pods", "Ready endpoints.", ("name",), ready)
        yield _gauge(_NEW + "per_endpoint_queue_size", "Requests waiting.", ("name", "model_server_endpoint"), queues)


def _name(key: str) -> str:
    """Of a pool, without its namespace."""
    return key.partition("/")[2] or key


def _state(load: EndpointLoad, now_s: float) -> str:
    return "unreachable" if not load.reachable else "stale" if load.is_stale(now_s) else "ok"


def _averages(loads: Sequence[EndpointLoad]) -> Iterator[tuple[str, float]]:
    """Mean and spread over the endpoints that say; an endpoint of which nothing is known counts for neither."""
    candidates = [load.candidate for load in loads]
    for name, known in (
        ("kv_cache_utilization", [c.kv_cache_usage_ratio for c in candidates if c.kv_cache_usage_ratio is not None]),
        ("queue_size", [float(c.waiting) for c in candidates if c.waiting is not None]),
        ("running_requests", [float(c.running) for c in candidates if c.running is not None]),
    ):
        if known:
            yield f"average_{name}", statistics.fmean(known)
            yield f"std_dev_{name}", statistics.pstdev(known)


_Labels = TypeVar("_Labels")


def _added_up(
    series: Mapping[_Labels, Sequence[RequestSeries]], attribute: str
) -> Iterator[tuple[_Labels, Distribution]]:
    for labels, of in series.items():
        parts: list[Distribution] = [getattr(one, attribute) for one in of]
        yield labels, parts[0] if len(parts) == 1 else merged(parts, parts[0].bounds)


class _Alone(Collector):
    """One family, for the client library to write out."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return (self._family,)


def _counter(
    name: str, help: str, labels: Sequence[str], children: Iterable[tuple[Sequence[str], float]]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, help, labels=labels)
    for values, count in children:
        family.add_metric([str(v) for v in values], count)
    return family


def _gauge(
    name: str, help: str, labels: Sequence[str], children: Iterable[tuple[Sequence[str], float]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help, labels=labels)
    for values, value in children:
        family.add_metric([str(v) for v in values], value)
    return family
