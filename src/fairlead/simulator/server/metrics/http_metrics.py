"""Metrics of the HTTP frontend, as vLLM's server has them beside its own.

Protocol: the default metrics of prometheus-fastapi-instrumentator, which vLLM 0.32 uses.
"""

from __future__ import annotations

from fairlead.simulator.server.metrics.exposition import Histogram, Page

UNMEASURED = frozenset(("/metrics", "/health", "/load", "/ping", "/version", "/server_info"))
_FINE_S = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 7.5, 10.0, 30.0, 60.0,
)  # fmt: skip
_COARSE_S = (0.1, 0.5, 1.0)


class HttpMetrics:
    """Requests by handler (the route, or `none`), method and class of status."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, str, str], int] = {}  # (handler, method, status class) -> requests
        self._sizes: dict[str, list[float]] = {}  # handler -> [requests, their bytes, bytes of the answers]
        self._fine = Histogram(_FINE_S)
        self._coarse: dict[tuple[str, str], Histogram] = {}  # (handler, method) -> seconds

    def observe(
        self, handler: str, method: str, status: int, duration_s: float, *, request_bytes: int, response_bytes: int
    ) -> None:
        if handler in UNMEASURED:
            return
        key = (handler, method, f"{status // 100}xx")
        self._requests[key] = self._requests.get(key, 0) + 1
        sizes = self._sizes.setdefault(handler, [0, 0, 0])
        sizes[0] += 1
        sizes[1] += request_bytes
        sizes[2] += response_bytes
        self._fine.observe(duration_s)
        histogram = self._coarse.get((handler, method))
        if histogram is None:
            histogram = self._coarse[handler, method] = Histogram(_COARSE_S)
        histogram.observe(duration_s)

    def write(self, page: Page) -> None:
        page.counter(
            "http_requests",
            "Requests by handler, method and class of status.",
            [
                ({"handler": handler, "method": method, "status": status}, count)
                for (handler, method, status), count in self._requests.items()
            ],
        )
        for name, index in (("request", 1), ("response", 2)):
            page.summary(
                f"http_{name}_size_bytes",
                f"Content length of {name}s by handler.",
                [({"handler": handler}, sizes[0], sizes[index]) for handler, sizes in self._sizes.items()],
            )
        page.histogram(
            "http_request_duration_highr_seconds", "Duration of requests, in fine buckets.", [({}, self._fine)]
        )
        page.histogram(
            "http_request_duration_seconds",
            "Duration of requests by handler.",
            [({"handler": handler, "method": method}, h) for (handler, method), h in self._coarse.items()],
        )
