"""Whether a request profits from a prompt computed elsewhere, and where. Pure.

The endpoint that answers was picked before. Its uncached tokens decide: by a threshold where one is configured,
otherwise by the seconds that somebody waits, here and there:

    here  = TTFT at the endpoint that answers
            + harm weight x requests there x time for the uncached tokens      whose next tokens it delays
    there = TTFT at the best prefill endpoint + transfer of the uncached tokens + cost of the leg
            + harm weight x requests that decode there x time for the uncached tokens

A request with an objective for its first token goes the way that keeps it, where only one does.
Thresholds as in llm-d-router's `prefix-based-pd-decider`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from fairlead.gateway.pick import Candidate, Context, NoPick, Pick, Profile, decide
from fairlead.gateway.pick.predict import known_counts, known_speeds

_DECODES: Final = frozenset(("both", "prefill-decode", "encode-prefill-decode"))
"""Roles of endpoints at which a prompt delays the answers of others."""


@dataclass(frozen=True, slots=True)
class SplitSettings:
    """When to split."""

    from_uncached_tokens: int | None = None
    """Uncached prompt tokens from which on a prompt is computed elsewhere; None = where less is waited."""
    from_prompt_tokens: int = 0
    """Shorter prompts are never split."""
    transfer_s: float = 0.005
    """Time to begin a transfer of KV blocks."""
    transfer_token_s: float = 1e-5
    """And for each token: 130 kB of an 8B model at 13 GB/s, or 330 kB of a 70B model at 33 GB/s."""
    leg_s: float = 0.005
    """What the second request costs: a connection, parsing the prompt twice."""
    harm_weight: float = 1.0
    """Of a second that another request waits; the request's own seconds have 1."""


class Split(NamedTuple):
    """Compute the prompt at `prefill.address` (or its fallbacks) first."""

    prefill: Pick
    matched: dict[str, int]
    """Address -> tokens that it has in its cache, of those to try."""
    reason: str


class Whole(NamedTuple):
    """Leave the request in one piece."""

    reason: str


def split(
    answering: Context,
    decode: Pick,
    prefilling: Context,
    profile: Profile,
    settings: SplitSettings,
    *,
    must: bool = False,
) -> Split | Whole | NoPick:
    """`must` for endpoints that cannot compute prompts themselves, as SGLang's in decode mode: then NoPick where no
    prefill endpoint is left, and never Whole."""
    query = answering.query
    position = [c.address for c in answering.candidates].index(decode.address)
    here, matched = answering.candidates[position], answering.matched[position]
    uncached = max(0, query.prompt_tokens - matched)
    others = [i for i, c in enumerate(prefilling.candidates) if c.address != decode.address]
    if must:
        if not others:
            return NoPick("no_prefill_endpoints", "no prefill endpoint is ready")
    else:
        kept_whole = _is_not_worth_it(uncached, query.prompt_tokens, bool(others), settings)
        if kept_whole:
            return Whole(kept_whole)
    prefill = decide(profile, prefilling.only(others))
    if isinstance(prefill, NoPick):
        return prefill if must else Whole(f"no prefill endpoint: {prefill.message}")
    by_address = {c.address: (c, m) for c, m in zip(prefilling.candidates, prefilling.matched, strict=True)}
    there, there_matched = by_address[prefill.address]
    reason = f"{uncached} tokens are not cached at {decode.address}"
    if not must and settings.from_uncached_tokens is None:
        if not there.reachable:
            return Whole("no prefill endpoint can be reached")
        waits = predicted_waits_s(answering, here, uncached, there, there_matched, settings)
        if not waits.splits(query.ttft_slo_s):
            return Whole(f"{waits.whole_s:.3f} s in one piece, {waits.split_s:.3f} s split")
        reason = f"{reason}: {waits.split_s:.3f} s split, {waits.whole_s:.3f} s in one piece"
    tries = (prefill.address, *prefill.fallbacks)
    return Split(prefill, {address: by_address[address][1] for address in tries}, reason)


class Waits(NamedTuple):
    """Seconds that are waited, with the harm to others, and seconds to the first token."""

    whole_s: float
    split_s: float
    whole_ttft_s: float
    split_ttft_s: float

    def splits(self, ttft_slo_s: float | None) -> bool:
        if ttft_slo_s is not None and (self.whole_ttft_s <= ttft_slo_s) != (self.split_ttft_s <= ttft_slo_s):
            return self.split_ttft_s <= ttft_slo_s
        return self.split_s < self.whole_s


def predicted_waits_s(
    answering: Context,
    here: Candidate,
    uncached: int,
    there: Candidate,
    there_matched: int,
    settings: SplitSettings,
) -> Waits:
    """What is waited if the prompt is computed `here`, where it is answered, and if it is computed `there`."""
    speed, speed_there = known_speeds((here, there))
    count, count_there = known_counts((here, there))
    own_s = speed.prefill_token_s * uncached
    uncached_there = max(0, answering.query.prompt_tokens - there_matched)
    own_there_s = speed_there.prefill_token_s * uncached_there
    whole_ttft_s = (
        speed.overhead_s + speed.ttft_request_s * count + speed.prefill_token_s * here.prefill_backlog_tokens + own_s
    )
    split_ttft_s = (
        speed_there.overhead_s
        + speed_there.ttft_request_s * count_there
        + speed_there.prefill_token_s * there.prefill_backlog_tokens
        + own_there_s
        + settings.leg_s
        + settings.transfer_s
        + settings.transfer_token_s * uncached
        # One iteration of the endpoint that answers, which has a batch going.
        + speed.itl_base_s
        + speed.itl_request_s * count
    )
    harmed_there = count_there if there.role in _DECODES else 0.0
    return Waits(
        whole_ttft_s + settings.harm_weight * count * own_s,
        split_ttft_s + settings.harm_weight * harmed_there * own_there_s,
        whole_ttft_s,
        split_ttft_s,
    )


def _is_not_worth_it(uncached: int, prompt: int, prefill_endpoints: bool, settings: SplitSettings) -> str:
    """Why not, from what needs no prediction; empty where it may be."""
    if not prefill_endpoints:
        return "no prefill endpoint is ready"
    if prompt < settings.from_prompt_tokens:
        return f"{prompt} prompt tokens are fewer than {settings.from_prompt_tokens}"
    least = settings.from_uncached_tokens
    if least is not None and (least == 0 or uncached < least):
        return "splitting is off" if least == 0 else f"{uncached} uncached tokens are fewer than {least}"
    return "" if uncached else "the whole prompt is cached"
