"""When the platform is ready: the API answers, every node is Ready, and the gateway answers through Envoy.

Plain blocking requests in threads: importing an HTTP library would cost more than all of them.
"""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fairlead.embedded.supervisor.component import Ports

_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Readiness:
    """What still keeps the platform from being ready; empty when it is."""

    waiting_for: str = ""

    @property
    def ready(self) -> bool:
        return not self.waiting_for


def check(data: Path, ports: Ports) -> Readiness:
    """One look at everything, blocking for at most a few seconds."""
    api = _api_waits_for(data)
    if api:
        return Readiness(api)
    return Readiness(_gateway_waits_for(ports.gateway))


def _api_waits_for(data: Path) -> str:
    try:
        kubeconfig = yaml.load((data / "kubeconfig").read_text(), Loader=yaml.CSafeLoader)
        answer = get_json(kubeconfig, data, "/api/v1/nodes")
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        return f"the API server ({error})"
    if not answer.get("items"):
        return "nodes to register"
    waiting = [n["metadata"]["name"] for n in answer["items"] if not _is_ready(n)]
    return f"node {waiting[0]} to become ready" if waiting else ""


def get_json(kubeconfig: Any, data: Path, path: str) -> dict[str, Any]:
    """GET a path of the embedded API server with the token of its own kubeconfig."""
    cluster = kubeconfig["clusters"][0]["cluster"]
    token = kubeconfig["users"][0]["user"]["token"]
    import base64

    context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    host, port = cluster["server"].removeprefix("https://").rstrip("/").rsplit(":", 1)
    connection = http.client.HTTPSConnection(host, int(port), timeout=_TIMEOUT_S, context=context)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}", "Accept": "application/json"})
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
