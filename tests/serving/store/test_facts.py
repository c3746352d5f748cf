"""What a model is, before a byte of it is fetched: from folders, web servers, artifacts; and why nothing is known."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from aiohttp import web

from fairlead.serving.resolved import ModelFacts
from fairlead.serving.store.artifacts import Pushing, push_artifact
from fairlead.serving.store.facts import NoFacts, read_facts
from fairlead.serving.store.references import parse_reference
from serving.store.file_server import FileServer, serving

CONFIG = {"architectures": ["LlamaForCausalLM"], "hidden_size": 64}


def folder(tmp_path: Path) -> Path:
    at = tmp_path / "m"
    at.mkdir()
    (at / "config.json").write_text(json.dumps(CONFIG))
    (at / "model-1.safetensors").write_bytes(b"a" * 70_000)
    (at / "model-2.safetensors").write_bytes(b"b" * 30_000)
    (at / "tokenizer.json").write_text("{}")
    return at


async def test_of_a_folder(tmp_path: Path) -> None:
    facts = await read_facts(str(folder(tmp_path)))
    assert isinstance(facts, ModelFacts)
    assert facts.config == CONFIG and facts.weights_bytes == 100_000 and facts.digest.startswith("sha256:")
    assert facts.exact_source == "" and facts.mountable is None


@pytest.mark.parametrize(("form", "is_image"), [("modelpack", False), ("image", True)])
async def test_of_an_artifact(tmp_path: Path, form: str, is_image: bool) -> None:
    target = f"layout://{tmp_path}/layout:v1"
    pushed = await push_artifact(Pushing(folder(tmp_path), parse_reference(target), form=form))  # type: ignore[arg-type]
    facts = await read_facts(target)
    assert isinstance(facts, ModelFacts)
    assert facts.digest == pushed.digest and facts.mountable is is_image
    if not is_image:
        assert facts.config == CONFIG and facts.weights_bytes == 100_000


async def test_weights_of_unknown_size_are_unknown() -> None:
    index = {"files": [{"name": "model.safetensors"}, {"name": "config.json"}]}
    files = {"/m/index.json": json.dumps(index).encode(), "/m/config.json": json.dumps(CONFIG).encode()}
    async with serving(FileServer(files)) as server:
        facts = await read_facts(f"{server.url}/m/", {})
    assert isinstance(facts, ModelFacts)
    assert facts.config == CONFIG and facts.weights_bytes is None


async def test_why_nothing_is_known(tmp_path: Path) -> None:
    assert "there is no" in str(await read_facts(str(tmp_path / "none")))
    assert "/none" in str(await read_facts(f"layout://{tmp_path}/none:v1"))
    assert "is no source" in str(await read_facts("relative/path"))
    (folder(tmp_path) / "config.json").write_text("[]")
    assert "cannot be read" in str(await read_facts(str(tmp_path / "m")))


async def test_nobody_waits_for_a_source_that_is_silent() -> None:
    over = asyncio.Event()

    async def silent(_: web.Request) -> web.Response:
        await over.wait()
        return web.Response()

    async with serving(FileServer(), web.get("/silent/index.json", silent)) as server:
        facts = await read_facts(f"{server.url}/silent/", {}, timeout_s=0.3)
        over.set()
    assert facts == NoFacts(f"{server.url}/silent/: it did not say what it has within 0.3 s")
