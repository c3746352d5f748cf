"""What is wrong with the pages that a configuration wants looked at."""

from __future__ import annotations

import os
from collections.abc import Sequence
from urllib.parse import urlsplit

from fairlead.bench.config.error import ConfigError
from fairlead.bench.config.server import ServerMetrics
from fairlead.bench.config.target import Target
from fairlead.bench.paths import user_path

FASTEST_S = 0.1
"""Pages are read by the coordinator: more often, and it would have time for nothing else."""


def check_server(server: ServerMetrics, targets: Sequence[Target], here: bool = True) -> None:
    """Raises ConfigError for the first thing that is wrong. `here`: whether its files and variables are to be on this
    machine."""
    pages = [*((f"server.engines[{k}]", page) for k, page in enumerate(server.engines))]
    pages += [(f"server.power[{k}]", page) for k, page in enumerate(server.power)]
    pages += [("server.gateway", server.gateway)] if server.gateway is not None else []
    for field, page in pages:
        _page(field, page)
    if server.engine != "auto":
        _runtime(server.engine)
    if server.pool is not None:
        namespace, slash, name = server.pool.partition("/")
        if not (namespace and slash and name) or "/" in name:
            raise ConfigError(f"server.pool is {server.pool!r}: write namespace/name of an InferencePool")
        if server.engines:
            raise ConfigError("server has both engines and pool: give one of them")
    if server.every_s < FASTEST_S:
        raise ConfigError(f"server.every_s is {server.every_s:g}, and must be at least {FASTEST_S:g}")
    if server.key_env is not None and server.key_file is not None:
        raise ConfigError("server has both key_env and key_file: give one of them")
    if here and server.key_env is not None and server.key_env not in os.environ:
        raise ConfigError(f"server.key_env is {server.key_env!r}: there is no such variable in the environment")
    for field, path in (("key_file", server.key_file), ("kubeconfig", server.kubeconfig)):
        if here and path is not None and not user_path(path).is_file():
            raise ConfigError(f"server.{field} is {path!r}: there is no such file")
    if server.power_labels and not server.power:
        raise ConfigError("server.power_labels choose series of server.power, and there is none: give its pages")
    _cost(server)


def _page(field: str, page: str) -> None:
    if page.startswith("unix:"):
        if not page.startswith("unix:/"):
            raise ConfigError(f"{field} is {page!r}: write unix: and the whole path of the socket, from /")
        return
    try:
        parts = urlsplit(page if "://" in page else f"http://{page}")
        port = parts.port
    except ValueError:
        raise ConfigError(f"{field} is {page!r}: write HOST:PORT or http://HOST:PORT/PATH") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or ("://" not in page and port is None):
        raise ConfigError(f"{field} is {page!r}: write HOST:PORT or http://HOST:PORT/PATH")
    if "@" in parts.netloc:
        raise ConfigError(f"{field} has user and password in it: take them out, and give server.key_env or key_file")
    if not page.isascii() or any(c <= " " for c in page):
        raise ConfigError(f"{field} is {page!r}: write characters that are not ASCII, and spaces, as %XX")


def _runtime(name: str) -> None:
    from fairlead.engines import ENGINES

    if name not in ENGINES:
        raise ConfigError(f"server.engine is {name!r}, expected auto or one of {', '.join(sorted(ENGINES))}")


def _cost(server: ServerMetrics) -> None:
    if server.accelerators is not None and server.accelerators_per_engine is not None:
        raise ConfigError("server has both accelerators and accelerators_per_engine: give one of them")
    if server.accelerator is not None:
        from fairlead.perf.accelerators import AcceleratorError, accelerator

        try:
            known = accelerator(server.accelerator)
        except AcceleratorError as error:
            # A name of one's own is as good as any where the price is given with it.
            if server.price_per_hour is None:
                raise ConfigError(f"server.accelerator: {error}; or give server.price_per_hour") from None
            return
        if known.price is None and server.price_per_hour is None and _counted(server):
            raise ConfigError(
                f"server.accelerator is {server.accelerator!r}, which has no known price: give server.price_per_hour"
            )
    if server.price_per_hour is not None and not _counted(server) and not server.power:
        raise ConfigError(
            f"server.price_per_hour is {server.price_per_hour:g}, and it is not known of how many accelerators: give "
            "server.accelerators (in all) or server.accelerators_per_engine"
        )


def _counted(server: ServerMetrics) -> bool:
    return server.accelerators is not None or server.accelerators_per_engine is not None
