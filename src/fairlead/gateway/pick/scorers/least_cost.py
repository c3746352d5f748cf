"""Least cost: the endpoint at which a request costs least, itself and the others, by predicted times.

    cost = TTFT + adapter load                              what the client waits for its first token
         + answer weight x answer tokens x ITL              and for the rest
         + harm weight x requests there x (own prefill + adapter load + answer tokens x time per request)
                                                            what the others there wait longer because of it
         + work weight x own prefill                        what those to come wait longer: a cached prefix saves it

All of it in seconds of somebody's waiting, from the speeds learned of each endpoint, so that slow and fast hardware,
cached prefixes, long and short prompts and full batches are compared in one unit. The score is the least cost over the
cost: 1 for the cheapest and those that cost nearly as little, a half where it costs twice as much.

With objectives, endpoints that are predicted to keep all of them come before those that are not: scores above and
below a half. Those that keep them are compared by `sloChoice`, the others by how far they miss them.
"""

from __future__ import annotations

from typing import Any, Literal

from fairlead.gateway.pick.candidate import Candidate
from fairlead.gateway.pick.plugin import Parameters, PluginType
from fairlead.gateway.pick.predict import known_counts, known_speeds, room_wait_s
from fairlead.gateway.pick.profile import Scorer
from fairlead.gateway.pick.query import Context

_LEAST_SHARE = 0.01
"""Of the base of ITL, that one more request adds to it at least: no place in a batch is free, and where it looks so the
batches that were seen differed too little."""

_NEVER = 1e-9
"""Seconds below which costs are equal; also keeps ratios finite."""


class LeastCostParameters(Parameters, frozen=True):
    """Weights are seconds of cost for a second of waiting; the request's own wait for its first token has weight 1."""

    answer_weight: float = 0.2
    """Of the request's own time from its first token to its last."""
    harm_weight: float = 0.1
    """Of the time that requests which are there already lose by it."""
    work_weight: float = 2.0
    """Of the time its uncached prompt keeps the engine from prompts that come after it."""
    room_weight: float = 1.0
    """Of the wait for room in a full KV cache."""
    adapter_load_s: float = 0.2
    """To load an adapter that is not; where all slots are in use, the time of an answer until one is free is added."""
    tolerance: float = 0.05
    """Endpoints that cost no more than this share above the cheapest count as equal to it, and so take turns:
    predictions are not exact, and turns spread arrivals more evenly than to follow the noise."""
    default_output_tokens: float = 256.0
    """Length of an answer of which nothing is known."""
    slo_margin: float = 0.9
    """Share of an objective that a prediction may use, as predictions err."""
    slo_choice: Literal["cost", "least", "most"] = "cost"
    """Among endpoints that keep the objectives: the cheapest, the one that keeps them least early (packs requests, and
    so leaves fast endpoints to those that need them), or the one that keeps them earliest."""

    def __post_init__(self) -> None:
        for name, value in (
            ("answerWeight", self.answer_weight), ("harmWeight", self.harm_weight), ("workWeight", self.work_weight),
            ("roomWeight", self.room_weight), ("adapterLoadS", self.adapter_load_s),
        ):  # fmt: skip
            if not 0.0 <= value < float("inf"):
                raise ValueError(f"{name} must be 0 or more, got {value}")
        if not self.default_output_tokens >= 1.0:
            raise ValueError(f"defaultOutputTokens must be at least 1, got {self.default_output_tokens}")
        if not 0.0 < self.slo_margin <= 1.0:
            raise ValueError(f"sloMargin must be above 0 and at most 1, got {self.slo_margin}")


def least_cost(parameters: LeastCostParameters) -> Scorer:
    """The scorer with these weights."""

    def score(context: Context) -> list[float]:
        costs, ttfts, itls = predicted_costs(context, parameters)
        query = context.query
        if query.ttft_slo_s is None and query.itl_slo_s is None:
            return _in_proportion(costs, min(costs), parameters.tolerance)
        return _by_objectives(parameters, costs, ttfts, itls, query.ttft_slo_s, query.itl_slo_s)

    return score


def predicted_costs(context: Context, parameters: LeastCostParameters) -> tuple[list[float], list[float], list[float]]:
    """Cost, TTFT and ITL of each candidate, seconds."""
    query, candidates = context.query, context.candidates
    prompt, adapter = query.prompt_tokens, query.adapter
    output = query.output_tokens or parameters.default_output_tokens
    answer_weight, harm_weight, work_weight = (
        parameters.answer_weight, parameters.harm_weight, parameters.work_weight,
    )  # fmt: skip
    loads = _adapter_loads(candidates, adapter, parameters.adapter_load_s) if adapter else None
    costs, ttfts, itls = [], [], []
    position = 0
    for candidate, matched, speed, count in zip(
        candidates, context.matched, known_speeds(candidates), known_counts(candidates), strict=True
    ):
        uncached = prompt - matched if prompt > matched else 0
        prefill_s = speed.prefill_token_s * uncached
        itl_request_s = speed.itl_request_s
        if itl_request_s < _LEAST_SHARE * speed.itl_base_s:
            itl_request_s = _LEAST_SHARE * speed.itl_base_s
        itl_s = speed.itl_base_s + itl_request_s * (count + 1.0)
        answer_s = output * itl_s
        ttft_s = (
            speed.overhead_s
            + speed.ttft_request_s * count
            + speed.prefill_token_s * candidate.prefill_backlog_tokens
            + prefill_s
        )
        usage = candidate.kv_cache_usage_ratio
        if usage is not None and usage > 0.5:
            ttft_s += parameters.room_weight * room_wait_s(candidate, uncached + output, answer_s)
        load_s = 0.0
        if loads is not None:
            load_s, is_full = loads[position]
            ttft_s += load_s + answer_s if is_full else load_s
            position += 1
        costs.append(
            ttft_s
            + answer_weight * answer_s
            + harm_weight * count * (prefill_s + load_s + output * itl_request_s)
            + work_weight * prefill_s
        )
        ttfts.append(ttft_s)
        itls.append(itl_s)
    return costs, ttfts, itls


def _adapter_loads(candidates: list[Candidate], adapter: str, load_s: float) -> list[tuple[float, bool]]:
    """Seconds to load the adapter, and whether a slot has to become free first."""
    found: list[tuple[float, bool]] = []
    for candidate in candidates:
        running, slots = candidate.running_adapters, candidate.max_adapters
        if adapter in candidate.loaded_adapters or (running is not None and adapter in running):
            needed_s = 0.0
        else:
            needed_s = load_s
        is_full = running is not None and slots is not None and len(running) >= slots and adapter not in running
        found.append((needed_s, is_full))
    return found


def _in_proportion(costs: list[float], least: float, tolerance: float) -> list[float]:
    """The least cost over the cost, 1 within the tolerance."""
    equal = (least + _NEVER) * (1.0 + tolerance)
    return [1.0 if cost <= equal else equal / (cost + _NEVER) for cost in costs]


def _by_objectives(
    parameters: LeastCostParameters, costs: list[float], ttfts: list[float], itls: list[float],
    ttft_slo_s: float | None, itl_slo_s: float | None,
) -> list[float]:  # fmt: skip
    """From 0.5 for those that keep the objectives, below it for those that do not."""
    margin = parameters.slo_margin
    used = [
        max(
            ttft_s / (ttft_slo_s * margin) if ttft_slo_s else 0.0,
            itl_s / (itl_slo_s * margin) if itl_slo_s else 0.0,
        )
        for ttft_s, itl_s in zip(ttfts, itls, strict=True)
    ]
    if parameters.slo_choice == "cost":
        kept = [cost for cost, share in zip(costs, used, strict=True) if share <= 1.0]
        inside = _in_proportion(costs, min(kept, default=0.0), parameters.tolerance)
    elif parameters.slo_choice == "least":
        inside = used
    else:
        inside = [1.0 - share for share in used]
    return [0.5 + 0.5 * value if share <= 1.0 else 0.5 / share for value, share in zip(inside, used, strict=True)]


PLUGINS: tuple[PluginType[Any], ...] = (PluginType("least-cost-scorer", LeastCostParameters, scorer=least_cost),)
