"""Image volumes on a real node agent: a model from a registry is mounted read-only, pulled as the policy says, with the
pod's pull secrets; what cannot be pulled is told."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from agent_platform import SECRETS, Cluster, phase, shell
from aiohttp import web

from fairlead.embedded.agent.image_volumes import merge_logins
from fairlead.serving.store.artifacts import Pushing, push_artifact
from fairlead.serving.store.references import parse_reference
from patience import PATIENCE_S


@dataclass
class Registry:
    """Serves an OCI layout as a registry would, to all or to one login."""

    layout: Path
    login: str = ""
    address: str = ""
    pulls: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        expected = "Basic " + base64.b64encode(self.login.encode()).decode()
        if self.login and request.headers.get("Authorization") != expected:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="models"'})
        kind, wanted = request.match_info["kind"], request.match_info["wanted"]
        if kind == "manifests" and not wanted.startswith("sha256:"):
            self.pulls.append(wanted)
            entries = json.loads((self.layout / "index.json").read_text())["manifests"]
            found = [e for e in entries if e.get("annotations", {}).get("org.opencontainers.image.ref.name") == wanted]
            if not found:
                return web.json_response({"errors": [{"code": "MANIFEST_UNKNOWN"}]}, status=404)
            wanted = found[0]["digest"]
        path = self.layout / "blobs" / wanted.replace(":", "/")
        if not path.exists():
            return web.Response(status=404)
        media = json.loads(path.read_bytes())["mediaType"] if kind == "manifests" else "application/octet-stream"
        headers = {"Docker-Content-Digest": wanted, "Content-Type": media}
        return web.FileResponse(path, headers=headers)


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    model = tmp_path / "m"
    model.mkdir()
    (model / "config.json").write_text('{"v": 1}')
    (model / "model.safetensors").write_bytes(b"w" * 100_000)
    target = parse_reference(f"layout://{tmp_path}/layout:v1")
    await push_artifact(Pushing(model, target, form="image"))
    found = Registry(tmp_path / "layout")
    app = web.Application()
    app.add_routes([web.get("/v2/{name:.+}/{kind:manifests|blobs}/{wanted}", found.answer)])
    app.add_routes([web.get("/v2/", lambda _: web.json_response({}))])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.address = f"127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


def volume(registry: Registry, tag: str = "v1", **more: str) -> list[dict[str, object]]:
    return [{"name": "m", "image": {"reference": f"{registry.address}/models/m:{tag}", **more}}]


def reader(script: str = "cat /mnt/m/models/config.json; wc -c < /mnt/m/models/model.safetensors") -> dict[str, object]:
    return shell(script, volumeMounts=[{"name": "m", "mountPath": "/mnt/m"}])


async def test_a_model_is_mounted_read_only_and_pulled_once(cluster: Cluster, registry: Registry) -> None:
    script = reader()["command"][-1] + "; touch /mnt/m/models/new 2>/dev/null || echo kept"  # type: ignore[index]
    for name in ("one", "two"):
        await cluster.run(name, reader(script), volumes=volume(registry), restartPolicy="Never")
        await cluster.until(name, lambda p: phase(p) == "Succeeded")
        assert await cluster.logs(name) == '{"v": 1}100000\nkept\n'
    assert registry.pulls == ["v1"], "IfNotPresent asks for nothing that is there"
    await cluster.run("three", reader(), volumes=volume(registry, pullPolicy="Always"), restartPolicy="Never")
    await cluster.until("three", lambda p: phase(p) == "Succeeded")
    assert registry.pulls == ["v1", "v1"]


async def test_pull_secrets_open_the_registry(cluster: Cluster, registry: Registry) -> None:
    registry.login = "me:secret"
    auths = {"auths": {registry.address: {"auth": base64.b64encode(b"me:secret").decode()}}}
    secret = {"metadata": {"name": "login"}, "type": "kubernetes.io/dockerconfigjson",
              "data": {".dockerconfigjson": base64.b64encode(json.dumps(auths).encode()).decode()}}  # fmt: skip
    await cluster.client.create(SECRETS, secret, "default")
    await cluster.run(
        "private", reader(), volumes=volume(registry), restartPolicy="Never", imagePullSecrets=[{"name": "login"}]
    )
    await cluster.until("private", lambda p: phase(p) == "Succeeded")
    assert (await cluster.logs("private")).startswith('{"v": 1}')


@pytest.mark.parametrize(
    ("tag", "policy", "why"), [("v9", "IfNotPresent", "v9"), ("v1", "Never", "is not to be fetched")]
)
async def test_what_cannot_be_pulled_is_told(
    cluster: Cluster, registry: Registry, tag: str, policy: str, why: str
) -> None:
    name = f"none-{policy.lower()}"
    await cluster.run(name, reader(), volumes=volume(registry, tag, pullPolicy=policy))

    async with asyncio.timeout(PATIENCE_S):
        while True:
            said = [text for reason, text in await cluster.events(name) if reason == "FailedMount"]
            if any('MountVolume.SetUp failed for volume "m"' in text and why in text for text in said):
                break
            await asyncio.sleep(0.1)


def test_logins_are_merged() -> None:
    one, two = b'{"auths": {"a": {"auth": "1"}}}', b'{"auths": {"a": {"auth": "2"}, "b": {}}}'
    assert merge_logins([one, b"no json", b"[]", two]) == {"auths": {"a": {"auth": "1"}, "b": {}}}
