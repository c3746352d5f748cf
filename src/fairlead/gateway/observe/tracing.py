"""Traces: one span a decision, made when it is over, with the reasons of the pick as attributes.

A request that comes with a sampled `traceparent` is traced, others by the ratio. The span's own context goes on to the
engine, so that its spans hang below ours. Where no exporter is configured nothing is traced and nothing is imported.

Protocol: W3C Trace Context; OTLP by the environment variables of OpenTelemetry.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.util.types import AttributeValue

TRACEPARENT = "traceparent"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class Traces(Protocol):
    """Where spans go."""

    def wants(self, headers: Mapping[str, str], draw: float) -> bool:
        """Whether a request with these headers is traced; `draw` is from 0 to below 1."""
        ...

    def span(
        self,
        name: str,
        headers: Mapping[str, str],
        began_s: float,
        ended_s: float,
        attributes: Mapping[str, AttributeValue],
        error: str = "",
    ) -> tuple[tuple[str, str], ...]:
        """Record a span that is over (wall times, seconds); returns the headers that hang further spans below it."""
        ...

    def close(self) -> None:
        """Send what has not been sent."""
        ...


class NoTraces:
    """Nothing is traced."""

    def wants(self, headers: Mapping[str, str], draw: float) -> bool:
        return False

    def span(
        self,
        name: str,
        headers: Mapping[str, str],
        began_s: float,
        ended_s: float,
        attributes: Mapping[str, AttributeValue],
        error: str = "",
    ) -> tuple[tuple[str, str], ...]:
        return ()

    def close(self) -> None:
        return None


class OpenTelemetryTraces:
    """Spans for an OpenTelemetry collector. `ratio` is the share of requests without a context that are traced."""

    def __init__(self, processor: SpanProcessor, ratio: float) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider

        resource = Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", "fairlead-gateway")})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("fairlead.gateway")
        self._ratio = ratio

    def wants(self, headers: Mapping[str, str], draw: float) -> bool:
        parent = headers.get(TRACEPARENT)
        if parent is not None and len(parent) >= 55:
            return parent[-1] in "13579bdf"
        return draw < self._ratio

    def span(
        self,
        name: str,
        headers: Mapping[str, str],
        began_s: float,
        ended_s: float,
        attributes: Mapping[str, AttributeValue],
        error: str = "",
    ) -> tuple[tuple[str, str], ...]:
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        propagator = TraceContextTextMapPropagator()
        span = self._tracer.start_span(
            name,
            context=propagator.extract(dict(headers)),
            kind=SpanKind.SERVER,
            attributes=attributes,
            start_time=int(began_s * 1e9),
        )
        if error:
            span.set_status(Status(StatusCode.ERROR, error))
        carrier: dict[str, str] = {}
        propagator.inject(carrier, set_span_in_context(span))
        span.end(int(ended_s * 1e9))
        return tuple(carrier.items())

    def close(self) -> None:
        self._provider.shutdown()


def traces_from_environment() -> Traces:
    """Spans over OTLP/HTTP when `OTEL_EXPORTER_OTLP_ENDPOINT` (or `…_TRACES_ENDPOINT`) is set, else none.

    `OTEL_TRACES_SAMPLER_ARG` is the ratio; 1 unless set. Raises ValueError for one that is not from 0 to 1.
    """
    if not any(os.environ.get(name) for name in _ENDPOINTS):
        return NoTraces()
    text = os.environ.get("OTEL_TRACES_SAMPLER_ARG", "1")
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0.0 <= ratio <= 1.0:
        raise ValueError(f"OTEL_TRACES_SAMPLER_ARG is {text!r}; it has to be a number from 0 to 1")
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return OpenTelemetryTraces(BatchSpanProcessor(OTLPSpanExporter()), ratio)
