"""Whether a stage's client was good enough to have measured anything, and what else its figures are to be read with.

Pure: from what was measured to a verdict. A reason says what was limited, to what, what it was, and what helps.
"""

from __future__ import annotations

from math import sqrt

import msgspec

from fairlead.bench.config.judging import ClientLimits
from fairlead.bench.measure.drift import SIGNIFICANCE
from fairlead.bench.summary import ClientHealth, Drift, Metrics, Verdict

STALLED_SHARE = 0.01
SILENT_S = 2.0
GAP_SHARE = 0.25
"""Of the median gap between tokens: an event loop that is later than this in the median stamps tokens wrongly."""
LATENCY_SHARE = 0.25
"""Of the median time to first token: where the client is wrong by more, so is what it says of a fast server …"""
LEAST_SHARE = 0.2
"""… but of a limit in milliseconds, this much is allowed in any case."""
TELLING_SHARE = 0.01
"""Of the requests: what happens to more of them than this is worth a note."""
MEDIAN_SHARE = 0.1
"""Of `loop_lag_ms`: what the median may be in any case."""
CHANCE = 4.0
"""Standard deviations by which a random number of arrivals may be off."""
MORE_WORKERS = "give more workers (workers), or run it where nothing else runs"


class Evidence(msgspec.Struct, frozen=True):
    """Of one stage. `due`: requests (sessions) due in the window, `sent` how many of them were sent in it, `expected`
    how many a load of this rate has in it (None: not known), `spread` the coefficient of variation of its gaps (0:
    even). `users`: who should have been busy all the time (None: nobody, or they think). `negative`: times below
    nought. `carried_in`: requests of the stage before that were under way as this one began. `cut_s`: what was left
    out. `ungrouped`: there were more adapters or turns than are told apart. `waited_share`: of the time of a closed
    loop's users, what they waited for the client (None: no users). `held_by`: what held back requests that were due."""

    limits: ClientLimits
    metrics: Metrics
    client: ClientHealth
    due: int
    sent: int
    expected: float | None
    spread: float
    users: float | None
    negative: int
    carried_in: float
    cut_s: float
    drift: Drift | None
    reasons: tuple[str, ...] = ()
    ungrouped: bool = False
    waited_share: float | None = None
    held_by: str = "max_connections"


def judge(evidence: Evidence) -> Verdict:
    """Valid when nothing speaks against it."""
    reasons = (
        *evidence.reasons,
        *_no_figures(evidence),
        *_late(evidence),
        *_overloaded(evidence),
        *_not_as_asked(evidence),
        *_wrong_clock(evidence),
    )
    return Verdict(not reasons, reasons, (*_about_ends(evidence), *_about_answers(evidence), *_about_server(evidence)))


def _no_figures(e: Evidence) -> list[str]:
    if e.metrics.seconds <= 0:
        return [f"cut leaves nothing of the stage ({e.cut_s:g} s are cut): make the stage longer or cut less"]
    if e.metrics.requests == 0:
        return ["no request was due in the stage without its cut: make it longer or raise the rate"]
    return []


def _late(e: Evidence) -> list[str]:
    limits, lag_s, error = e.limits, e.client.lag_p99_s, e.metrics.client_error
    allowed_s = _allowed_lag_s(e)
    bounds = f"(client.lag_ms {limits.lag_ms:g}, client.lag_share {limits.lag_share:g} of the median latency)"
    if lag_s > allowed_s:
        return [
            f"client lag p99 is {_ms(lag_s)}, above {_ms(allowed_s)} {bounds}: requests were sent late: {MORE_WORKERS}"
        ]
    error_s = error.percentiles[99.0] if error is not None else 0.0
    if error_s > allowed_s:
        return [
            f"client error p99 is {_ms(error_s)}, above {_ms(allowed_s)} {bounds}: requests were sent, or answers "
            f"stamped, late: {MORE_WORKERS}"
        ]
    return []


def _allowed_lag_s(e: Evidence) -> float:
    """What the client may be wrong by in the time to a first token (of whole answers: in all of it)."""
    median_s = _median_latency_s(e.metrics)
    return max(_beside(e.limits.lag_ms, median_s), e.limits.lag_share * median_s)


def _median_latency_s(metrics: Metrics) -> float:
    latency = metrics.ttft or metrics.e2e
    return latency.percentiles[50.0] if latency is not None else 0.0


def _beside(limit_ms: float, latency_s: float) -> float:
    """A limit in seconds, beside latencies of so many: of short ones a smaller error is as wrong."""
    return min(limit_ms, max(LEAST_SHARE * limit_ms, LATENCY_SHARE * latency_s * 1e3)) / 1e3


def _overloaded(e: Evidence) -> list[str]:
    limits, client, itl = e.limits, e.client, e.metrics.itl
    found = []
    if client.cpu_share > limits.cpu_share:
        found.append(
            f"a worker was busy {client.cpu_share:.0%} of a core, above client.cpu_share {limits.cpu_share:.0%}: "
            f"{MORE_WORKERS}"
        )
    shortest_s = min([_median_latency_s(e.metrics), *([itl.percentiles[50.0]] if itl is not None else [])])
    allowed_s = _beside(limits.loop_lag_ms, shortest_s)
    if client.loop_lag_p99_s > allowed_s:
        found.append(
            f"a worker's event loop was late by {_ms(client.loop_lag_p99_s)} (p99), above {_ms(allowed_s)} "
            f"(client.loop_lag_ms {limits.loop_lag_ms:g}, {LATENCY_SHARE:.0%} of the median latency and gap between "
            f"tokens): answers were stamped late: {MORE_WORKERS}"
        )
    elif itl is not None and client.loop_lag_p50_s > _lag_beside(itl.percentiles[50.0], limits):
        found.append(
            f"a worker's event loop was late by {_ms(client.loop_lag_p50_s)} (median), above {GAP_SHARE:.0%} of the "
            f"median gap between tokens ({_ms(itl.percentiles[50.0])}): tokens were stamped late: {MORE_WORKERS}"
        )
    if client.stalled_share > STALLED_SHARE:
        found.append(
            f"a worker stood still for {client.stalled_share:.1%} of the stage in stalls above client.loop_lag_ms "
            f"{limits.loop_lag_ms:g}, above {STALLED_SHARE:.0%}: it was stopped, starved of CPU, or swapped out: "
            f"{MORE_WORKERS}"
        )
    if client.silent_s > (quiet_s := max(SILENT_S, limits.loop_lag_ms / 1e3)):
        found.append(
            f"a worker said nothing for {client.silent_s:.1f} s, above {quiet_s:g} s: it was stopped, or starved of "
            f"CPU: {MORE_WORKERS}"
        )
    if lacking := e.metrics.failures.get("CLIENT_LIMIT", 0):
        found.append(
            f"{lacking} requests found no file or port left on this machine (CLIENT_LIMIT): that is not the server's "
            "failure: raise ulimit -n or net.ipv4.ip_local_port_range, or lower max_connections"
        )
    if client.workers_lost:
        found.append(f"{client.workers_lost} of the workers were lost: see notes for how, and run it again")
    return found


def _not_as_asked(e: Evidence) -> list[str]:
    limits, found = e.limits, []
    if e.due and e.due - e.sent > max(1.0, limits.rate_error * e.due):
        found.append(
            f"{e.sent} of {e.due} requests due in the stage were sent in it, {1 - e.sent / e.due:.1%} too few, "
            f"above client.rate_error {limits.rate_error:.1%}: "
            + (f"they were held by {e.held_by}" if e.metrics.hold is not None else MORE_WORKERS)
        )
    if e.expected is not None:
        allowed = max(1.0, limits.rate_error * e.expected) + CHANCE * e.spread * sqrt(e.expected)
        if abs(e.due - e.expected) > allowed:
            found.append(
                f"{e.due} requests were due where the rate has {e.expected:.0f}, off by more than {allowed:.0f} "
                f"(client.rate_error {limits.rate_error:.1%}): the content ended, or it was not prepared in time"
            )
    if e.waited_share is not None and e.waited_share > limits.rate_error:
        found.append(
            f"users waited {e.waited_share:.1%} of their time for the client, above client.rate_error "
            f"{limits.rate_error:.1%}: they asked for less than they would have: {MORE_WORKERS}"
        )
    flying = e.metrics.in_flight
    backing_off = e.metrics.answers.backoff_s / e.metrics.seconds if e.metrics.seconds > 0 else 0.0
    if (
        e.users is not None
        and flying is not None
        and flying.mean + backing_off < e.users * (1 - limits.rate_error) - 0.5
    ):
        found.append(
            f"{flying.mean:.1f} requests were in flight where {e.users:g} users were to keep as many, below "
            f"client.rate_error {limits.rate_error:.1%}: users waited for the client: {MORE_WORKERS}, or give more "
            "content"
        )
    return found


def _wrong_clock(e: Evidence) -> list[str]:
    if not e.negative:
        return []
    return [f"{e.negative} times are below nought: a clock was set during the run: run it again"]


def _about_ends(e: Evidence) -> list[str]:
    metrics, answers, notes = e.metrics, e.metrics.answers, []
    some = max(1.0, TELLING_SHARE * metrics.requests)
    if answers.unended:
        share = answers.unended / max(1, metrics.requests)
        notes.append(
            f"{answers.unended} requests ({share:.1%}) timed out, were aborted or lost: percentiles of latency are of "
            f"those that ended, those above p{100 * (1 - share):.3g} of few survivors; e2e_at_least counts all"
        )
    if answers.unsent:
        notes.append(f"{answers.unsent} requests were due and never sent, as the run ended")
    if e.carried_in >= max(1.0, 0.05 * (metrics.in_flight.mean if metrics.in_flight is not None else 0.0)):
        notes.append(
            f"{e.carried_in:.0f} requests of the stage before were still under way as this one began: "
            "cut.warm_up_s leaves the time out that they take"
        )
    if answers.ended_late > some:
        notes.append(f"{answers.ended_late} requests ended after the stage that they were due in")
    if answers.unfinished:
        notes.append(
            f"{answers.unfinished} sessions had turns left when the stage, or the run, was over: later turns are of "
            "the sessions that began early: longer stages, or a longer drain_s"
        )
    notes += _about_holds(e)
    waited = metrics.connection_wait
    if waited is not None and waited.percentiles[99.0] * 1e3 > e.limits.lag_ms:
        notes.append(
            f"requests waited {_ms(waited.percentiles[99.0])} (p99) for a connection: that is in the times from due "
            "alone; the server accepts slowly"
        )
    return notes


def _about_holds(e: Evidence) -> list[str]:
    metrics, hold, notes = e.metrics, e.metrics.hold, []
    if hold is not None:
        notes.append(
            f"{metrics.answers.held} requests ({metrics.answers.held / max(1, metrics.requests):.1%}) were held by "
            f"{e.held_by}, for {_ms(hold.percentiles[50.0])} in the median and {_ms(hold.maximum)} at most: the load "
            "was not open then; that wait is in the times from due, and in no other"
        )
    if metrics.answers.backoff_s > 0:
        failed = sum(metrics.failures.values())
        notes.append(
            f"users paused {metrics.answers.backoff_s:.3g} s in all after {failed} failed requests (load.backoff_s): "
            "without it the server would have been asked, and have refused, more often"
        )
    error = metrics.client_error
    allowed_s = _allowed_lag_s(e)
    if error is not None and error.percentiles[99.0] <= allowed_s < error.maximum:
        notes.append(
            f"the client was wrong by up to {_ms(error.maximum)} in the times of a few requests, more than "
            f"{_ms(allowed_s)}: percentiles above p99, and greatest values, may be the client's"
        )
    return notes


def _about_answers(e: Evidence) -> list[str]:
    metrics, answers, notes = e.metrics, e.metrics.answers, []
    some = max(0.0, TELLING_SHARE * metrics.whole)
    if answers.repeated:
        notes.append(f"{answers.repeated} answers had more tokens than the server counts: some came twice")
    if answers.miscounted - answers.repeated > some:
        notes.append(
            f"{answers.miscounted} answers have another number of tokens by the server than by their events; the "
            "server's is used: it sends several tokens in an event, or some that have no text"
        )
    if answers.shorter + answers.longer > some:
        notes.append(
            f"{answers.shorter} answers were shorter and {answers.longer} longer than asked for: the load is another "
            "than was planned: force_length, where the server knows it"
        )
    if answers.uncounted > some:
        notes.append(
            f"{answers.uncounted} answers came without the server's count: their events are counted instead, and "
            "tokens that came twice cannot be told from those that were said twice"
        )
    if answers.prompt_error is not None and abs(answers.prompt_error) > TELLING_SHARE:
        notes.append(
            f"prompts have {answers.prompt_error:+.1%} tokens by the server's count against the planned ones "
            "(chat template, or another tokenizer); the server's are used"
        )
    gaps = metrics.itl.count if metrics.itl is not None else 0
    if answers.merged_events > TELLING_SHARE * (gaps + answers.merged_events):
        notes.append(
            f"{answers.merged_events} events were read together with the one before and make no gap of their own in itl"
        )
    if metrics.itl is not None and e.client.loop_lag_p99_s > _lag_beside(metrics.itl.percentiles[50.0], e.limits):
        notes.append(
            f"a worker's event loop was late by {_ms(e.client.loop_lag_p99_s)} (p99), above {GAP_SHARE:.0%} of the "
            "median gap between tokens: the outermost percentiles of itl are the client's"
        )
    if answers.retried > some:
        notes.append(f"{answers.retried} requests were sent twice, as the server closed their kept connections")
    if e.ungrouped:
        notes.append(
            "there were more adapters, or turns, than have figures of their own: the rest is in the stage's alone"
        )
    if metrics.whole == 0 and metrics.requests:
        notes.append("not one answer was whole: there are no latencies")
    return notes


def _lag_beside(gap_s: float, limits: ClientLimits) -> float:
    """By how much an event loop may be late where gaps of so many seconds are measured."""
    return max(GAP_SHARE * gap_s, MEDIAN_SHARE * limits.loop_lag_ms / 1e3)


def _about_server(e: Evidence) -> list[str]:
    drift = e.drift
    if drift is None or drift.stationary:
        return []
    if drift.saturated:
        return [
            f"the server was saturated: requests in flight grew by {drift.in_flight_slope:.2g} a second "
            f"(p = {drift.in_flight_p:.1g}): latencies depend on how long the stage was"
        ]
    moved = [
        f"{what} {slope:+.2g} a second"
        for what, slope, p in (
            ("TTFT", drift.ttft_slope, drift.ttft_p),
            ("requests in flight", drift.in_flight_slope, drift.in_flight_p),
        )
        if slope is not None and p is not None and p < SIGNIFICANCE
    ]
    return [
        f"the stage did not stand still ({', '.join(moved)}): it filled up, a cache was cold, or a queue grew: "
        "cut.warm_up_s, or longer stages"
    ]


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms"
