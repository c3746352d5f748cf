"""`TrafficReport`: what a picker saw of the requests of a pool, as sums that add up over pickers and over time.

A picker writes one for each pool that has the annotation `fairlead.dev/report-traffic`, while it has it. Whoever
compares versions reads them: nothing passes between gateway and serving but objects.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from fairlead.api.kind import API_VERSION, ATOMIC, Kind
from fairlead.api.structural import told
from fairlead.kube.resources import Resource

TRAFFIC_REPORTS = Resource.of(API_VERSION, "trafficreports", "TrafficReport")

REPORT_ANNOTATION = "fairlead.dev/report-traffic"
"""On an InferencePool: any value; a new value starts the sums anew. The report says which value it is for. A number
after the last `/` is how many first answers of each engine do not count (`asked_for`)."""

WORK_TOKENS = 256
"""Prompt tokens that a prompt without any would cost as much as: what an engine does whatever the prompt's length."""


def asked_for(name: str, warm_up_requests: int) -> str:
    """Value of `REPORT_ANNOTATION` that asks for sums under this name."""
    return f"{name}/{warm_up_requests}"


def warm_up_of(asked: str) -> int:
    """First answers of each engine that do not count, by the value of the annotation; 0 where it does not say."""
    number = asked.rpartition("/")[2]
    return int(number) if "/" in asked and number.isdecimal() and len(number) < 10 else 0


class Moments(Kind):
    """Of requests with (x, z, y): their number and sums, enough for means, variances and a regression. x and z are what
    is not the engine's doing, y is what is measured; x and y are logarithms, so that differences are ratios."""

    n: Annotated[int, told("Number of requests.")] = 0
    x: Annotated[float, told("Sum of x.")] = 0.0
    y: Annotated[float, told("Sum of y.")] = 0.0
    xx: Annotated[float, told("Sum of x squared.")] = 0.0
    xy: Annotated[float, told("Sum of x times y.")] = 0.0
    yy: Annotated[float, told("Sum of y squared.")] = 0.0
    z: Annotated[float, told("Sum of z.")] = 0.0
    zz: Annotated[float, told("Sum of z squared.")] = 0.0
    xz: Annotated[float, told("Sum of x times z.")] = 0.0
    zy: Annotated[float, told("Sum of z times y.")] = 0.0


class TrafficGroup(Kind):
    """Requests to one engine under one model name, since the report's start.

    `ttft`: x = log(WORK_TOKENS + prompt tokens to be computed first: its own, as far as the picker does not take them
    for cached, and those before it), y = log(seconds from the pick to the first byte of the body); of answers that are
    not streamed only where they have no tokens. `itl`: x = log(requests in flight at the engine, in the mean from its
    pick to its end, itself among them), z = thousands of prompt tokens a second that were sent to the engine in that
    time and are not taken for cached, y = log(seconds per token after the first; of answers in one piece, per token).
    `output_length`: x = log(1 + prompt tokens), y = log(1 + tokens, or events of a stream that does not tell them). z
    is 0 where nothing is said of it. Only requests that ended well count in these three.
    """

    revision: str = ""
    """Label fairlead.dev/revision of the endpoint."""
    model: str = ""
    """As the engine was asked."""
    endpoint: str = ""
    """ip:port of the engine: by it, what engines of one version differ in is told from what versions differ in."""
    in_flight: Annotated[
        int, told("Requests that this picker had under way at the engine when it wrote the report.")
    ] = 0
    requests: int = 0
    errors: Annotated[
        int,
        told(
            "Ended with 5xx or 404 (an engine that does not know its model), cut, not taken, or without an answer; "
            "not those that clients left or other 4xx."
        ),
    ] = 0
    ttft: Moments = msgspec.field(default_factory=Moments)
    itl: Moments = msgspec.field(default_factory=Moments)
    output_length: Moments = msgspec.field(default_factory=Moments)


class TrafficReport(Kind):
    """What one picker saw of one pool. Owned by the pool."""

    metadata: dict[str, Any]
    pool: Annotated[str, told("The InferencePool, of the same namespace.")] = ""
    picker: Annotated[str, told("Which picker saw it.")] = ""
    asked: Annotated[str, told("Value of the pool's annotation that this report is for.")] = ""
    since: Annotated[str, told("When the sums began.")] = ""
    at: Annotated[str, told("When it was written.")] = ""
    groups: Annotated[list[TrafficGroup], told("By engine and model.", ATOMIC)] = []
    api_version: str = API_VERSION
    kind: str = "TrafficReport"
