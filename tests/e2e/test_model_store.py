"""A model that the node fetches: an init container fills the cache, the engine finds it, its pod keeps it from leaving,
and the next pod is not kept waiting."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.cluster import FOREIGN, Kubectl, Platform
from e2e.test_model_service import answered, model_service

pytestmark = [
    pytest.mark.xdist_group("platform"),
    pytest.mark.skipif(bool(FOREIGN), reason="the cache is on the nodes, which are elsewhere"),
]


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def source(tmp_path: Path) -> Iterator[str]:
    files = {"config.json": b'{"architectures": ["LlamaForCausalLM"]}', "model.safetensors": os.urandom(300_000)}
    index = [{"name": n, "size": len(c), "sha256": hashlib.sha256(c).hexdigest()} for n, c in files.items()]
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "index.json").write_text(json.dumps({"files": index}))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()


def test_a_fetched_model_serves_and_stays_while_it_does(
    kubectl: Kubectl, platform: Platform, gateway: str, source: str
) -> None:
    name = f"m-{kubectl.namespace}"
    wanted = model_service(name, 1)
    wanted["spec"]["model"] = {"name": name, "source": source, "delivery": "Fetch"}
    kubectl.run("apply", "-f", "-", stdin=json.dumps(wanted))
    kubectl.wait_for("condition=Ready", "modelservice/chat", timeout=60)
    answered(gateway, name)
    [pod] = kubectl.json("get", "pods")["items"]
    engine = next(c for c in pod["spec"]["containers"] if c["name"] == "engine")
    cache = next(v["hostPath"]["path"] for v in pod["spec"]["volumes"] if v["name"] == "model-cache")
    link = Path(cache) / "pods" / pod["metadata"]["uid"] / "model"
    assert (link / "model.safetensors").stat().st_size == 300_000
    assert any(m["name"] == "model-cache" and m.get("readOnly") for m in engine["volumeMounts"])
    states = {s["name"]: s["state"] for s in pod["status"]["initContainerStatuses"]}
    assert "running" in states["hold-model"] and states["fetch-model"]["terminated"]["exitCode"] == 0
    assert source in pod["metadata"]["annotations"]["fairlead.dev/model-digest"].split()

    kubectl.run("scale", "ms", "chat", "--replicas=2")
    kubectl.run("wait", "ms/chat", "--for=jsonpath={.status.readyReplicas}=2", "--timeout=60s")
    pods = kubectl.json("get", "pods")["items"]
    logs = [kubectl.run("logs", p["metadata"]["name"], "-c", "fetch-model") for p in pods]
    assert sorted("was on the node" in text for text in logs) == [False, True]

    kubectl.run("delete", "ms", "chat", "--wait")
    deadline = time.monotonic() + 60
    while link.parent.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not link.parent.exists(), "the pod's holder lets go"
