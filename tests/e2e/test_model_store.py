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
from patience import PATIENCE_S

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
    kubectl.wait_for("condition=Ready", "modelservice/chat")
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
    deadline = time.monotonic() + PATIENCE_S
    while link.parent.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not link.parent.exists(), "the pod's holder lets go"


LLAMA_70B = {
    "architectures": ["LlamaForCausalLM"], "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80,
    "num_attention_heads": 64, "num_key_value_heads": 8, "vocab_size": 128256, "torch_dtype": "bfloat16",
    "max_position_embeddings": 8192,
}  # fmt: skip


def refusal(kubectl: Kubectl, source: str, **spec: object) -> str:
    """Why a service of vLLM is not served; nothing of it is made."""
    wanted = model_service(f"m-{kubectl.namespace}", 1, **spec) | {"metadata": {"name": "chat"}}
    wanted["spec"] |= {"runtime": "vllm", "model": {"name": f"m-{kubectl.namespace}", "source": source}}
    kubectl.run("apply", "-f", "-", stdin=json.dumps(wanted))
    kubectl.run("wait", "ms/chat", "--for=condition=Ready=false", "--timeout=60s")
    assert kubectl.json("get", "pods")["items"] == []
    conditions = kubectl.json("get", "ms", "chat")["status"]["conditions"]
    return " ".join(c["message"] for c in conditions)


def test_a_model_that_is_not_there_is_said_before_a_pod_is_made(kubectl: Kubectl, source: str) -> None:
    assert "a folder needs an index.json" in refusal(kubectl, f"{source}none/")


def test_too_little_memory_is_said_before_a_pod_is_made(kubectl: Kubectl, source: str, tmp_path: Path) -> None:
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "config.json").write_text(json.dumps(LLAMA_70B))
    index = [{"name": "config.json"}, {"name": "model.safetensors", "size": 141_000_000_000}]
    (tmp_path / "large" / "index.json").write_text(json.dumps({"files": index}))
    accelerators = [{"name": "h100", "deviceClass": "gpu.nvidia.com", "model": "h100-sxm"}]
    said = refusal(kubectl, f"{source}large/", accelerators=accelerators)
    assert "141.0 GB" in said and "H100-SXM" in said and "tensor" in said, said
