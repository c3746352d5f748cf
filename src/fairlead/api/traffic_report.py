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
"""On an InferencePool: any value; a new value starts the sums anew. The report says which value it is for."""


class Moments(Kind):
    """Of pairs (x, y): their number and sums, enough for means, variances and a regression. x is what is known of a
    request beforehand, y what is measured; both usually logarithms, so that differences are ratios."""

    n: int = 0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0
    yy: float = 0.0


class TrafficGroup(Kind):
    """Requests to engines of one revision under one model name, since the report's start.

    `ttft`: x = log(1 + prompt tokens), y = log(seconds to the first byte of the body). `itl`: x = log(1 + requests in
    flight at the endpoint), y = log(seconds per token after the first). `output_length`: x = log(1 + prompt tokens),
    y = log(1 + tokens). Only requests that ended well count in these three.
    """

    revision: str = ""
    """Label fairlead.dev/revision of the endpoint."""
    model: str = ""
    """As the engine was asked."""
    requests: int = 0
    errors: Annotated[int, told("Ended with 5xx, cut, or without an answer; not those that clients left or 4xx.")] = 0
    ttft: Moments = msgspec.field(default_factory=Moments)
    itl: Moments = msgspec.field(default_factory=Moments)
    output_length: Moments = msgspec.field(default_factory=Moments)


class TrafficReport(Kind):
    """What one picker saw of one pool. Owned by the pool."""

    metadata: dict[str, Any]
    pool: str = ""
    picker: str = ""
    asked: Annotated[str, told("Value of the pool's annotation that this report is for.")] = ""
    since: str = ""
    at: str = ""
    groups: Annotated[list[TrafficGroup], told("By revision and model.", ATOMIC)] = []
    api_version: str = API_VERSION
    kind: str = "TrafficReport"
