"""Which pages a configuration wants looked at, and one of them with all that it has said."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, NamedTuple

from fairlead.bench.config import Benchmark
from fairlead.bench.config.server import ServerMetrics
from fairlead.bench.config.target import Tls
from fairlead.bench.server_side.gateway_page import gateway_reader
from fairlead.bench.server_side.history import History
from fairlead.bench.server_side.page import NO_TLS, Address, Page, address_of
from fairlead.bench.server_side.power_page import power_reader
from fairlead.bench.server_side.reading import Reader, engine_reader
from fairlead.bench.server_side.token import token_of
from fairlead.engines.page_client import PageError

if TYPE_CHECKING:
    from fairlead.bench.server_side.pool import Endpoint

Kind = Literal["engine", "gateway", "power"]

_UNKNOWN = {
    "engine": "no metric of an engine that is known: name its runtime in server.engine, or give its page's address",
    "gateway": "no metric of an endpoint picker",
    "power": "no series of power or energy with these labels",
}


class Place(NamedTuple):
    """Where a page is, and what should be on it. `paths`: further ones to try until one answers; `runtime` None: told
    by the page. `is_endpoint`: of a pool, from which it may go."""

    source: str
    kind: Kind
    address: Address
    tls: Tls = NO_TLS
    runtime: str | None = None
    paths: tuple[str, ...] = ()
    is_endpoint: bool = False


def places_of(config: Benchmark) -> list[Place]:
    """Those that the configuration names; the targets' own where it names neither engines nor what stands before
    them."""
    server = config.server
    assert server is not None
    places = [_engine(text, server, server.tls) for text in server.engines]
    if not server.engines and server.pool is None and server.gateway is None:
        for target in config.targets:
            scheme, _, rest = target.url.partition("://")
            authority = rest.partition("/")[0].rpartition("@")[2]
            places.append(_engine(f"{scheme}://{authority}", server, target.tls))
    if server.gateway is not None:
        places.append(Place("gateway", "gateway", address_of(server.gateway), server.tls))
    for text in server.power:
        address = address_of(text)
        places.append(Place(f"power {address.authority}", "power", address, server.tls))
    once: dict[Address, Place] = {}
    for place in places:
        once.setdefault(place.address, place)
    by_source: dict[str, Place] = {}
    for place in once.values():
        source = place.source if place.source not in by_source else f"{place.source}{place.address.path}"
        by_source.setdefault(source, place._replace(source=source))
    return list(by_source.values())


def places_of_endpoints(endpoints: Iterable[Endpoint], server: ServerMetrics) -> list[Place]:
    """Of a pool; by the names of pods, with the port where a pod has several."""
    endpoints = list(endpoints)
    names = [endpoint.pod for endpoint in endpoints]
    places = []
    for endpoint in endpoints:
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        runtime = server.engine if server.engine != "auto" else _known(endpoint.runtime)
        place = _engine(f"{host}:{endpoint.port}", server, server.tls, runtime)
        source = endpoint.pod if names.count(endpoint.pod) == 1 else f"{endpoint.pod}:{endpoint.port}"
        places.append(place._replace(source=source, is_endpoint=True))
    return places


def _known(runtime: str | None) -> str | None:
    from fairlead.engines import ENGINES

    return runtime if runtime in ENGINES else None


def _engine(text: str, server: ServerMetrics, tls: Tls, runtime: str | None = None) -> Place:
    from fairlead.engines import ENGINES, engine_for

    runtime = runtime or (server.engine if server.engine != "auto" else None)
    plain = address_of(text, path="")
    if plain.path and not plain.path.startswith("?"):
        return Place(plain.authority, "engine", plain, tls, runtime)
    if runtime is not None:
        engine = engine_for(runtime)
        port = engine.metrics_port or plain.port
        return Place(plain.authority, "engine", plain._replace(port=port, path=engine.metrics_path), tls, runtime)
    # An engine whose page is on a port of its own cannot be told by its address: another's might be found there.
    paths = tuple(dict.fromkeys(e.metrics_path for e in ENGINES.values() if e.metrics_port is None))
    first = "/metrics"
    return Place(
        plain.authority, "engine", plain._replace(path=first), tls, None, tuple(p for p in paths if p != first)
    )


class Watched:
    """A page, and what it has said. `history`: of the same source, where it has been looked at before."""

    def __init__(self, place: Place, server: ServerMetrics, history: History | None = None) -> None:
        self.place = place
        counters = (
            (lambda name: ":joules:" in name) if place.kind == "power" else (lambda name: name.endswith("_total"))
        )
        self.history = history or History(place.source, counters, one_process=place.kind != "power")
        self.page = Page(place.address, place.tls, token_of(server))
        self.gone = False
        self.missed = 0
        """Looks that were not due any more when the one before had ended."""
        self.slowest_s = 0.0
        self.readings_s: deque[float] = deque(maxlen=3)
        """How long the last ones took; the shortest is what it takes, others were interrupted."""
        self.runtime = place.runtime
        self._tls, self._server = place.tls, server
        self._others = list(place.paths)
        self._reader = self._reader_of(place, server)

    @property
    def what(self) -> str:
        """In a word."""
        return self.runtime or "unknown" if self.place.kind == "engine" else self.place.kind

    def take(self, page: bytes, at_s: float, with_histograms: bool) -> None:
        """A look that brought a page."""
        if self._reader is None:
            from fairlead.engines.detection import engine_of

            engine = engine_of(page)
            if engine is None:
                self.history.failed(at_s, _UNKNOWN["engine"])
                return
            self.runtime, self._reader = engine.runtime, engine_reader(engine)
        reading = self._reader(page, with_histograms)
        if not reading.values:
            self.history.failed(at_s, _UNKNOWN[self.place.kind])
            return
        self.history.add(at_s, reading.values, reading.started_s, reading.histograms)

    def next_path(self, error: PageError) -> None:
        """Where nothing has come from this path yet, and somebody answers, the next one is tried."""
        if error.answered and self._reader is None and self._others:
            self.page.close()
            self.page = Page(self.place.address._replace(path=self._others.pop(0)), self._tls, token_of(self._server))

    @staticmethod
    def _reader_of(place: Place, server: ServerMetrics) -> Reader | None:
        if place.kind == "gateway":
            return gateway_reader(server.pool)
        if place.kind == "power":
            return power_reader(server.power_labels)
        if place.runtime is None:
            return None
        from fairlead.engines import engine_for

        return engine_reader(engine_for(place.runtime))
