"""The sidecar that fetches adapters: with the real cache and a real HTTP server, from the pod's word to the engine."""

from __future__ import annotations

import asyncio
import json
import sys
import tarfile
from pathlib import Path

import aiohttp
import msgspec
import pytest
from aiohttp import web

from fairlead.api.model_service import Verification
from fairlead.serving.adapters.delivery import wanted_of
from fairlead.serving.adapters.loader import Loader, Wanted, read_wanted, serve
from fairlead.serving.adapters.loader_mount import SECRETS, SOURCES_ANNOTATION, mount_adapters
from fairlead.serving.adapters.versions import AdapterVersion
from fairlead.serving.store.mount import StoreFacts
from patience import PATIENCE_S

from .conftest import RAW_PODS, free_address

pytestmark = pytest.mark.xdist_group("adapters")

FETCH = """
import asyncio, sys
from pathlib import Path
from fairlead.serving.store.cache.cache import ModelCache
from fairlead.serving.store.cache.fetch import Wanted, fetch_model
source, cache, slot = sys.argv[1], sys.argv[3], sys.argv[5]
try:
    asyncio.run(fetch_model(ModelCache(Path(cache)), Wanted(source, uid="uid-1", slot=slot), {}))
except Exception as error:
    sys.exit(str(error))
"""


@pytest.fixture
async def hub(site):
    """URL of an HTTP server with what is in the site's folder."""
    app = web.Application()
    app.router.add_static("/", site.folder)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def archive(site, hub, name, **config):
    folder = site.adapter_folder(name, **config)
    with tarfile.open(site.folder / f"{name}.tar", "w") as tar:
        for path in Path(folder).iterdir():
            tar.add(path, path.name)
    return f"{hub}/{name}.tar"


async def answers(address):
    async with aiohttp.ClientSession() as session, session.get(f"http://{address}:8095/adapters") as answer:
        return await answer.json()


async def test_what_the_pod_says_is_fetched_and_answered(site):
    wanted = site.folder / "wanted"
    source = site.adapter_folder("sql")
    address = free_address()
    loader = Loader(wanted, site.folder / "cache", "uid-1", (sys.executable, "-c", FETCH))
    task = asyncio.create_task(serve(loader, address))
    try:
        wanted.write_text(json.dumps({"adapter-1": f"file://{source}", "adapter-2": "file:///nowhere/at/all"}))

        async def both():
            try:
                found = await answers(address)
            except aiohttp.ClientError:
                return False
            return {n: s["state"] for n, s in found.items()} == {"adapter-1": "ready", "adapter-2": "failed"}

        await site.until(both, 30)
        found = await answers(address)
        assert json.loads(found["adapter-1"]["config"])["r"] == 8
        assert found["adapter-1"]["path"].endswith("/pods/uid-1/adapter-1")
        assert "nowhere" in found["adapter-2"]["message"]
        wanted.write_text("{")
        await asyncio.sleep(1)
        assert len(loader.slots) == 2
        wanted.write_text("{}")
        await site.until(lambda: not loader.slots)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_engine_is_given_what_its_loader_has(site, hub):
    """The pod's annotation goes to the loader by hand here, as the kubelet would do it."""
    await site.service()
    await site.engine("e1", containers=[{"name": "adapter-loader", "image": "x"}])
    wanted = site.folder / "wanted"
    loader = Loader(wanted, site.folder / "cache", "uid-1", (sys.executable, "-c", FETCH))
    task = asyncio.create_task(serve(loader, site.addresses["e1"]))

    async def kubelet():
        while True:
            pod = await site.client.get(RAW_PODS, "e1", "default")
            wanted.write_text(pod["metadata"].get("annotations", {}).get(SOURCES_ANNOTATION, ""))
            await asyncio.sleep(0.1)

    kubelets = asyncio.create_task(kubelet())
    try:
        await site.adapter("sql", archive(site, hub, "sql"))
        await site.until_condition("sql", "Ready", "Serving", 30)
        assert len(await site.listed("e1")) == 1
        await site.adapter("big", archive(site, hub, "big", r=64))
        await site.until_condition("big", "Ready", "RankTooHigh", 30)
        assert len(await site.listed("e1")) == 1
        await site.adapter("none", f"{hub}/none.tar")
        await site.until_condition("none", "Loaded", "LoadFailed", 30)

        async def says_why():
            return "none.tar" in (await site.condition("none", "Loaded"))[2]

        await site.until(says_why)
    finally:
        for each in (task, kubelets):
            each.cancel()
        await asyncio.gather(task, kubelets, return_exceptions=True)


async def test_a_pod_without_a_loader_is_told(site):
    await site.service()
    await site.engine("e1")
    await site.adapter("sql", "s3://bucket/sql")
    await site.until_condition("sql", "Loaded", "LoadFailed")
    assert "set spec.adapters.fetch of the ModelService" in (await site.condition("sql", "Loaded"))[2]


def test_files_that_are_not_whole_say_nothing(tmp_path):
    path = tmp_path / "wanted"
    assert read_wanted(path) is None
    path.write_text("")
    assert read_wanted(path) == {}
    path.write_text('{"a": 1}')
    assert read_wanted(path) is None
    path.write_text('{"a": "s3://b/c", "b": {"source": "oci://h/r:v", "secret": "keys"}}')
    assert read_wanted(path) == {"a": Wanted("s3://b/c"), "b": Wanted("oci://h/r:v", "keys")}


async def test_logins_and_keys_go_along_with_what_is_fetched(tmp_path):
    """The program is one that tells what it was given."""
    tells = "import os, sys; sys.exit(' '.join(sys.argv[1:]) + os.environ.get('FAIRLEAD_VERIFICATION', ''))"
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "token").write_text("t")
    loader = Loader(
        tmp_path / "wanted", tmp_path / "cache", "u", (sys.executable, "-c", tells), secrets=tmp_path, capacity="5Gi"
    )
    wanted = {
        "a": {"source": "oci://h/r:v", "secret": "keys", "verification": {"publicKeys": ["K"]}},
        "b": {"source": "oci://h/r:w", "secret": "not-made"},
        "c": "s3://b/d",
    }
    (tmp_path / "wanted").write_text(json.dumps(wanted))
    loader.look()
    for _ in range(int(PATIENCE_S / 0.05)):
        if all(slot.state == "failed" for slot in loader.slots.values()):
            break
        await asyncio.sleep(0.05)
    said = {name: slot.message for name, slot in loader.slots.items()}
    assert f"--credentials {tmp_path / 'keys'}" in said["a"] and said["a"].endswith('{"publicKeys":["K"]}')
    assert "--capacity 5Gi" in said["a"]
    assert said["b"] == "the Secret not-made is not there (yet)"
    assert "--credentials" not in said["c"] and "publicKeys" not in said["c"]
    wanted["b"]["secret"] = "keys"
    (tmp_path / "wanted").write_text(json.dumps(wanted))
    loader.look()
    assert loader.slots["b"].state == "fetching", "what is asked for otherwise is begun anew"
    (tmp_path / "wanted").write_text("{}")
    loader.look()


def test_a_version_that_needs_nothing_is_said_as_any_loader_understands_it():
    plain = AdapterVersion("h", "oci://h/r:v")
    assert wanted_of(plain) == "oci://h/r:v"
    signed = msgspec.structs.replace(plain, pull_secret="keys", verification=Verification(["K"]))
    said = wanted_of(signed)
    assert said == {"source": "oci://h/r:v", "secret": "keys", "verification": {"publicKeys": ["K"]}}
    assert msgspec.convert(said, Wanted).secret == "keys"


def test_secrets_that_adapters_may_name_are_mounted_for_the_sidecar_alone():
    mount = mount_adapters(StoreFacts(), ["one", "two"], [{"name": "HF_ENDPOINT", "value": "h"}])
    container = mount.init_containers[-1]
    paths = [m["mountPath"] for m in container["volumeMounts"]]
    assert f"{SECRETS}/one" in paths and f"{SECRETS}/two" in paths
    assert {m["name"] for m in container["volumeMounts"]} <= {v["name"] for v in mount.volumes}
    assert all(SECRETS not in m["mountPath"] for m in mount.mounts), "not for the engine"
    assert {"name": "HF_ENDPOINT", "value": "h"} in container["env"]


def test_the_sidecar_has_what_it_needs():
    mount = mount_adapters(StoreFacts())
    hold, container = mount.init_containers
    assert hold["name"] == "hold-model", "what was fetched stays as long as the pod does"
    assert container["restartPolicy"] == "Always"
    assert {m["name"] for m in container["volumeMounts"]} <= {v["name"] for v in mount.volumes}
