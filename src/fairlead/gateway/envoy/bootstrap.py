"""Envoy's whole configuration, and the command that runs Envoy with it.

The picker names the endpoint in a header; clusters of type ORIGINAL_DST connect to whatever address their header says
(`clusters`). Headers of that name are removed from what clients send (`listener`). Without a picker every request is
refused with 503 (fail closed), or goes to a fixed set of endpoints (fail open); requests already routed are not
touched.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from fairlead.gateway.envoy.clusters import clusters
from fairlead.gateway.envoy.listener import requests_listener, tls_secret
from fairlead.gateway.envoy.options import EnvoyOptions, PickerAddress
from fairlead.gateway.envoy.places import access_log, admin_socket, binary, picker_socket
from fairlead.gateway.envoy.typed import address, extension

_MAX_CONNECTIONS = 50_000
"""Of clients. Beyond it new ones are closed at once, so that those that are served go on."""

DEFAULT = EnvoyOptions()


def command(data: Path, port: int, concurrency: int | None = None, options: EnvoyOptions = DEFAULT) -> list[str]:
    """Write the configuration and give the command line that runs Envoy on `port`."""
    path = write_config(data, port, picker_socket(data), options)
    threads = concurrency or min(2, os.cpu_count() or 1)
    return [
        str(binary()), "--config-path", str(path), "--concurrency", str(threads), "--disable-hot-restart",
        "--log-level", "warning", "--component-log-level", "ext_proc:error", "--drain-time-s", "1",
        "--file-flush-interval-msec", "1000",
    ]  # fmt: skip


def write_config(data: Path, port: int, picker: Path | str, options: EnvoyOptions = DEFAULT) -> Path:
    """Write `envoy.json` into the data folder; `picker` is a socket's path or host:port, unless the options name
    pickers."""
    data.mkdir(parents=True, exist_ok=True)
    secret = None
    if options.tls is not None:
        secret = data / "envoy-tls.json"
        _write(secret, tls_secret(options.tls))
    path = data / "envoy.json"
    _write(path, config(port, picker, admin_socket(data), access_log(data), options, secret))
    return path


def config(
    port: int,
    picker: Path | str,
    admin: Path,
    log: Path,
    options: EnvoyOptions = DEFAULT,
    tls_secret_file: Path | None = None,
) -> dict[str, Any]:
    """Envoy's static bootstrap configuration, v3."""
    pickers = options.pickers or (PickerAddress(picker),)
    return {
        "node": {"id": "fairlead-gateway", "cluster": "fairlead"},
        "admin": {"address": {**address(admin), "pipe": {"path": str(admin), "mode": 0o600}}},
        "static_resources": {
            "listeners": [requests_listener(port, pickers, log, options, tls_secret_file)],
            "clusters": clusters(pickers, options.without_picker),
        },
        "overload_manager": _overload(options.max_heap_bytes),
        "layered_runtime": {"layers": [{"name": "static", "static_layer": {"re2.max_program_size.error_level": 1000}}]},
    }


def _overload(max_heap_bytes: int) -> dict[str, Any]:
    def action(name: str, above: float) -> dict[str, Any]:
        trigger = {"name": _HEAP, "threshold": {"value": above}}
        return {"name": f"envoy.overload_actions.{name}", "triggers": [trigger]}

    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            extension(
                "envoy.resource_monitors.global_downstream_max_connections",
                "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                max_active_downstream_connections=_MAX_CONNECTIONS,
            ),
            extension(
                _HEAP,
                "envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
                max_heap_size_bytes=max_heap_bytes,
            ),
        ],
        "actions": [
            action("shrink_heap", 0.9),
            action("stop_accepting_requests", 0.95),
            action("stop_accepting_connections", 0.98),
        ],
    }


_HEAP = "envoy.resource_monitors.fixed_heap"


def _write(path: Path, content: dict[str, Any]) -> None:
    """Leaves a file alone that is as it should be: Envoy can then be started anew on a full disk."""
    text = json.dumps(content, indent=1)
    if path.is_file() and path.read_text() == text:
        return
    fresh = path.with_suffix(".json.new")
    fresh.write_text(text)
    fresh.replace(path)
