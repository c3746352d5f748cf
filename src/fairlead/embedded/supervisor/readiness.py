"""When the platform is ready: the API answers, every node is Ready, namespace default takes pods, the devices are
published where there are any, and the gateway answers through Envoy.

Plain blocking requests in threads: importing an HTTP library would cost more than all of them.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fairlead.embedded.supervisor.component import Devices, Ports

_TIMEOUT_S = 2.0
_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
_ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
_SLICES = "/apis/resource.k8s.io/v1/resourceslices"
_SLICES_TIMEOUT_S = 20.0
"""The slices of a thousand nodes are tens of megabytes."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """What still keeps the platform from being ready; empty when it is."""

    waiting_for: str = ""

    @property
    def ready(self) -> bool:
        return not self.waiting_for


def check(data: Path, ports: Ports, devices: Devices | None = None) -> Readiness:
    """One look at everything, blocking for at most a few seconds."""
    waiting_for = _api_waits_for(data, devices)
    if waiting_for:
        return Readiness(waiting_for)
    return Readiness(_gateway_waits_for(ports.gateway))


def _api_waits_for(data: Path, devices: Devices | None) -> str:
    try:
        kubeconfig = yaml.load((data / "kubeconfig").read_text(), Loader=yaml.CSafeLoader)
        return (
            _nodes_wait_for(get_json(kubeconfig, data, "/api/v1/nodes"))
            or _accounts_wait_for(get_json(kubeconfig, data, _ACCOUNTS))
            or (_devices_wait_for(kubeconfig, data, devices) if devices else "")
        )
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        return f"the API server ({error})"


def _nodes_wait_for(answer: dict[str, Any]) -> str:
    """What is missing in a list of nodes; "" when nothing is."""
    if not answer.get("items"):
        return "nodes to register"
    waiting = [n["metadata"]["name"] for n in answer["items"] if not _is_ready(n)]
    return f"node {waiting[0]} to become ready" if waiting else ""


def _accounts_wait_for(answer: dict[str, Any]) -> str:
    """What is missing among the service accounts of namespace default; "" when nothing is.

    Until its namespace has the account `default`, a pod is refused; running one is what a person does first.
    """
    there = {account["metadata"]["name"] for account in answer.get("items") or ()}
    return "" if "default" in there else "service account default in namespace default"


def _devices_wait_for(kubeconfig: Any, data: Path, devices: Devices) -> str:
    # Names alone first, as a small table: there may be thousands of slices, and this is asked often.
    table = get_json(kubeconfig, data, f"{_SLICES}?includeObject=None", accept=_TABLE)
    driver, pool = (next(n for n, c in enumerate(table["columnDefinitions"]) if c["name"] == name)
                    for name in ("Driver", "Pool"))  # fmt: skip
    published = {(row["cells"][driver], row["cells"][pool]) for row in table["rows"]}
    missing = _first_missing(devices, published)
    if not missing:
        slices = get_json(kubeconfig, data, _SLICES, timeout_s=_SLICES_TIMEOUT_S)
        missing = _first_missing(devices, complete_pools(slices["items"]))
    return f"the devices of {missing} to be published" if missing else ""


def _first_missing(devices: Devices, published: set[tuple[str, str]]) -> str:
    for driver, nodes in devices.pools.items():
        missing = sorted(node for node in nodes if (driver, node) not in published)
        if missing:
            others = f" and {len(missing) - 1} others" if len(missing) > 1 else ""
            return f"{driver} on node {missing[0]}{others}"
    return ""


def complete_pools(slices: Sequence[dict[str, Any]]) -> set[tuple[str, str]]:
    """Driver and pool of those that have every slice of their newest generation."""
    newest: dict[tuple[str, str], tuple[int, int, int]] = {}
    for item in slices:
        pool, key = item["spec"]["pool"], (item["spec"]["driver"], item["spec"]["pool"]["name"])
        generation, _, there = newest.get(key, (-1, 0, 0))
        if pool["generation"] > generation:
            there = 0
        elif pool["generation"] < generation:
            continue
        newest[key] = (pool["generation"], pool["resourceSliceCount"], there + 1)
    return {key for key, (_, wanted, there) in newest.items() if there >= wanted}


def get_json(
    kubeconfig: Any, data: Path, path: str, *, accept: str = "application/json", timeout_s: float = _TIMEOUT_S
) -> dict[str, Any]:
    """GET a path of the embedded API server with the token of its own kubeconfig."""
    cluster = kubeconfig["clusters"][0]["cluster"]
    token = kubeconfig["users"][0]["user"]["token"]
    import base64

    context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    host, port = cluster["server"].removeprefix("https://").rstrip("/").rsplit(":", 1)
    connection = http.client.HTTPSConnection(host, int(port), timeout=timeout_s, context=context)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}", "Accept": accept})
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise http.client.HTTPException(f"HTTP {response.status}")
        decoded: dict[str, Any] = json.loads(body)
        return decoded
    finally:
        connection.close()


def _is_ready(node: dict[str, Any]) -> bool:
    conditions = node.get("status", {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _gateway_waits_for(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/v1/models")
        status = connection.getresponse().status
        return "" if status == 200 else f"the endpoint picker (gateway answers {status})"
    except (OSError, http.client.HTTPException) as error:
        return f"the gateway ({error})"
    finally:
        connection.close()
