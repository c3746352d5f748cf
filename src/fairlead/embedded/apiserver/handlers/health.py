"""Health, version and metrics: what probes and people ask first."""

from __future__ import annotations

import platform
import sys

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, generate_latest

from fairlead.embedded.apiserver.store import Store

CHECKS = ("ping", "log", "store")
GIT_VERSION = "v1.36.2"


def version_document() -> dict[str, str]:
    """`/version`: the Kubernetes version whose API this server speaks."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return {
        "major": "1",
        "minor": "36",
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": GIT_VERSION,
        "gitCommit": "fairlead",
        "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z",
        "goVersion": "go1.26",
        "compiler": f"python{sys.version_info.major}.{sys.version_info.minor}",
        "platform": f"linux/{machine}",
    }


def health(request: web.Request, endpoint: str, check: str) -> web.Response:
    """`/healthz`, `/livez` or `/readyz`, whole or one check of it."""
    headers = {"X-Content-Type-Options": "nosniff"}
    if check:
        if check not in CHECKS:
            return web.Response(text="404 page not found\n", status=404, headers=headers)
        return web.Response(text="ok", headers=headers)
    if "verbose" not in request.query:
        return web.Response(text="ok", headers=headers)
    excluded = set(request.query.getall("exclude", ()))
    lines = [f"[+]{name} excluded: ok" if name in excluded else f"[+]{name} ok" for name in CHECKS]
    return web.Response(text="\n".join([*lines, f"{endpoint} check passed", ""]), headers=headers)


class Metrics:
    """Prometheus metrics of the server, under the names that dashboards of Kubernetes know."""

    def __init__(self, store: Store) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "apiserver_request", "Requests by verb and code.", ["verb", "code"], registry=self._registry
        )
        version = Gauge("fairlead_store_resource_version", "Newest acknowledged version.", registry=self._registry)
        version.set_function(lambda: store.version)
        objects = Gauge("fairlead_store_objects", "Stored objects.", registry=self._registry)
        objects.set_function(lambda: sum(store.count(resource) for resource in store.resources()))
        # (verb, code) -> child counter
        self._children: dict[tuple[str, int], Counter] = {}

    def count(self, verb: str, code: int) -> None:
        child = self._children.get((verb, code))
        if child is None:
            child = self._children[verb, code] = self._requests.labels(verb, str(code))
        child.inc()

    def page(self) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
