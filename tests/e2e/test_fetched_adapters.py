"""Adapters from an OCI registry and from S3 on engines that run already, and what is said of those that do not fit."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from e2e.cluster import FOREIGN, Kubectl
from e2e.test_model_service import answered, model_service
from fairlead.serving.store.artifacts import Pushing, push_model
from fairlead.serving.store.progress import Silent
from fairlead.serving.store.references import parse_reference
from fairlead.serving.store.repository import Cancel
from patience import PATIENCE_S
from serving.store.conftest import LiveRegistry, start_registry, stop
from serving.store.sources.test_s3 import KEYS, S3Server

pytestmark = [
    pytest.mark.xdist_group("platform"),
    pytest.mark.skipif(bool(FOREIGN), reason="the cache is on the nodes, which are elsewhere"),
]

CONFIG = {"peft_type": "LORA", "r": 8}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRegistry]:
    live, process = start_registry(tmp_path_factory.mktemp("registry"))
    yield live
    stop(process)


@pytest.fixture
def bucket() -> Iterator[tuple[S3Server, str]]:
    """An S3 server that takes signed requests alone, on a loop of its own, and its URL."""
    server = S3Server(keys=KEYS, objects={})
    loop = asyncio.new_event_loop()

    async def start() -> tuple[web.AppRunner, str]:
        app = web.Application()
        app.add_routes(server.routes())
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runner, url = asyncio.run_coroutine_threadsafe(start(), loop).result(PATIENCE_S)
    yield server, url
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(PATIENCE_S)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(PATIENCE_S)


def files(**config: Any) -> dict[str, bytes]:
    made = {"adapter_model.safetensors": b"w" * 2000}
    return {**made, "adapter_config.json": json.dumps({**CONFIG, **config}).encode()} if config else made


def pushed(registry: LiveRegistry, folder: Path, name: str, **config: Any) -> str:
    """Without any `config`, an artifact without adapter_config.json."""
    (folder / name).mkdir()
    for file, content in files(**config).items():
        (folder / name / file).write_bytes(content)
    reference = parse_reference(f"oci://{registry.host}/adapters/{name}:v1")
    push_model(Pushing(folder / name, reference), Silent(), Cancel())
    return f"oci://{registry.host}/adapters/{name}:v1"


def apply_adapter(kubectl: Kubectl, name: str, source: str, **spec: Any) -> None:
    body = {
        "apiVersion": "fairlead.dev/v1alpha1", "kind": "ModelAdapter", "metadata": {"name": name},
        "spec": {"service": "chat", "source": source, "name": f"{name}-{kubectl.namespace}", **spec},
    }  # fmt: skip
    kubectl.run("apply", "-f", "-", stdin=json.dumps(body))


def said(kubectl: Kubectl, name: str, reason: str, part: str) -> None:
    """Wait until the adapter's condition Ready has this reason, and a message with this in it."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        status = kubectl.json("get", "modeladapter", name).get("status", {})
        conditions = {c["type"]: c for c in status.get("conditions", ())}
        found = conditions.get("Ready", {})
        if found.get("reason") == reason and part.lower() in found["message"].lower():
            assert conditions["RolledOut"]["status"] == "False", conditions
            return
        assert time.monotonic() < deadline, (reason, part, conditions)
        time.sleep(0.2)


def engines(kubectl: Kubectl) -> dict[str, int]:
    return {
        p["metadata"]["uid"]: sum(s["restartCount"] for s in p["status"]["containerStatuses"])
        for p in kubectl.json("get", "pods")["items"]
    }


def test_adapters_are_fetched_for_engines_that_run(
    kubectl: Kubectl, gateway: str, registry: LiveRegistry, bucket: tuple[S3Server, str], tmp_path: Path
) -> None:
    server, url = bucket
    base = f"m-{kubectl.namespace}"
    server.objects |= {f"docs/{name}": content for name, content in files(base_model_name_or_path=base).items()}
    login = {"AWS_ACCESS_KEY_ID": KEYS.access_key, "AWS_SECRET_ACCESS_KEY": KEYS.secret_key,
             "AWS_ENDPOINT_URL": url, "AWS_REGION": "eu-north-1"}  # fmt: skip
    kubectl.run("create", "secret", "generic", "bucket", *(f"--from-literal={k}={v}" for k, v in login.items()))
    policy = {"slots": 4, "maxRank": 16, "fetch": True, "pullSecrets": ["bucket"]}
    kubectl.run("apply", "-f", "-", stdin=json.dumps(model_service(base, adapters=policy)))
    kubectl.wait_for("condition=Ready", "modelservice/chat", timeout=90)
    before = engines(kubectl)

    apply_adapter(kubectl, "sql", pushed(registry, tmp_path, "sql", base_model_name_or_path=base))
    apply_adapter(kubectl, "docs", "s3://bucket/docs", pullSecret="bucket")
    for name in ("sql", "docs"):
        kubectl.wait_for("condition=Ready", f"modeladapter/{name}", timeout=90)
        assert answered(gateway, f"{name}-{kubectl.namespace}")["usage"]["completion_tokens"] == 4

    apply_adapter(kubectl, "rank", pushed(registry, tmp_path, "rank", base_model_name_or_path=base, r=64))
    apply_adapter(kubectl, "base", pushed(registry, tmp_path, "base", base_model_name_or_path="org/another"))
    said(kubectl, "rank", "RankTooHigh", "its rank is 64 and the service's engines have room for 16")
    said(kubectl, "base", "OtherBaseModel", "it was trained on org/another")
    kubectl.run("delete", "modeladapter", "rank", "base")

    apply_adapter(kubectl, "no-config", pushed(registry, tmp_path, "no-config"))
    apply_adapter(kubectl, "down", "oci://127.0.0.1:9/adapters/none:v1")
    said(kubectl, "no-config", "LoadFailed", "has no adapter_config.json")
    said(kubectl, "down", "LoadFailed", "connection refused")
    kubectl.run("delete", "modeladapter", "no-config", "down")

    apply_adapter(kubectl, "secret", "s3://bucket/docs", pullSecret="another")
    said(kubectl, "secret", "SecretNotMounted", "spec.adapters.pullSecrets of the ModelService alone (bucket)")
    assert engines(kubectl) == before, "no engine is replaced or restarted for any of it"
