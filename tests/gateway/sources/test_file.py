"""The endpoints file: its form, and how it is followed."""

import asyncio
import json

import msgspec
import pytest

from fairlead.gateway.endpoints import Endpoint, Pool, Registry, Rewrite
from fairlead.gateway.sources import FileSource, file, read_pools
from patience import PATIENCE_S


def _text(**pool):
    return json.dumps({"pools": [{"key": "a/b", "models": ["m"], "endpoints": ["1.2.3.4:5"], **pool}]}).encode()


def test_the_short_form():
    assert read_pools(_text()) == [Pool("a/b", ("m",), (Endpoint("1.2.3.4:5"),), "vllm", "000000")]


def test_everything_a_pool_can_have(tmp_path):
    (pool,) = read_pools(
        _text(
            endpoints=[
                "[FD00:0::1]:80",
                {
                    "address": "1.2.3.4:5",
                    "pod": "ns/p",
                    "role": "prefill",
                    "labels": {"gpu": "l4"},
                    "runtime": "sglang",
                },
            ],
            adapters=["x", "x"],
            rewrites=[{"targets": [{"model": "m"}]}, {"models": ["n"], "targets": [{"model": "m", "weight": 9}]}],
            objectives={"high": 5},
            config="picker.yaml",
            tokenizer="/t.json",
            h2c=True,
        ),
        tmp_path,
    )
    assert pool.endpoints == (
        Endpoint("[fd00::1]:80"),
        Endpoint("1.2.3.4:5", "ns/p", "prefill", {"gpu": "l4"}, "sglang"),
    )
    assert pool.rewrites == (Rewrite(("n",), (("m", 9),), "a/b/1"), Rewrite((), (("m", 1),), "a/b/0"))
    assert (pool.adapters, pool.objectives, pool.h2c) == (("x",), {"high": 5}, True)
    assert (pool.config, pool.tokenizer) == (str(tmp_path / "picker.yaml"), "/t.json")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (_text(runtime="x"), "pool a/b: unknown runtime 'x'"),
        (_text(endpoints=[{"address": "1.2.3.4:5", "role": "cook"}]), "unknown role 'cook'"),
        (_text(endpoints=["localhost:5"]), "'localhost:5' is not ip:port"),
        (_text(endpoints=["1.2.3.4"]), "is not ip:port"),
        (_text(endpoints=["1.2.3.4:0"]), "is not ip:port"),
        (_text(endpoints=["1.2.3.4:99999"]), "is not ip:port"),
        (_text(rewrites=[{"targets": []}]), "without targets"),
        (_text(rewrites=[{"targets": [{"model": "m", "weight": 0}]}]), "weight 0"),
        (
            b'{"pools": [{"key": "a", "models": [], "endpoints": []}, {"key": "a", "models": [], "endpoints": []}]}',
            "twice",
        ),
        (_text(endpoint=[]), "endpoint"),
        (b'{"pools": [{"key": 1}]}', r"\$\.pools\[0\]\.key"),
        (b"", "truncated"),
    ],
)
def test_what_is_wrong_is_said(text, said):
    with pytest.raises((ValueError, msgspec.MsgspecError), match=said):
        read_pools(text)


@pytest.fixture
async def followed(tmp_path, monkeypatch):
    monkeypatch.setattr(file, "POLL_INTERVAL_S", 0.005)
    path, registry = tmp_path / "endpoints.json", Registry()
    task = asyncio.create_task(FileSource(path).run(registry))
    yield path, registry
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _until(condition):
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - the source polls a file
            await asyncio.sleep(0.005)


async def test_the_file_is_followed_and_a_malformed_one_changes_nothing(followed, caplog):
    path, registry = followed
    assert not registry.synced
    path.write_bytes(_text())
    await asyncio.wait_for(registry.wait_synced(), PATIENCE_S)
    path.write_bytes(b"{")
    await _until(lambda: "truncated" in caplog.text)
    assert registry.pool_of("m").addresses == ("1.2.3.4:5",)
    assert caplog.text.count("truncated") == 1
    path.unlink()
    await _until(lambda: "No such file" in caplog.text)
    assert registry.pool_of("m").addresses == ("1.2.3.4:5",)
    path.write_bytes(_text(key="c/d", models=["n"]))
    await _until(lambda: list(registry.pools) == ["c/d"])


async def test_picker_configurations_are_followed_too(followed, caplog):
    path, registry = followed
    path.write_bytes(_text(config="picker.yaml"))
    config = str(path.parent / "picker.yaml")
    await _until(lambda: "picker configuration" in caplog.text)
    assert config not in registry.configs
    (path.parent / "picker.yaml").write_text("one")
    await _until(lambda: registry.configs.get(config) == "one")
    (path.parent / "picker.yaml").write_text("another")
    await _until(lambda: registry.configs.get(config) == "another")
    path.write_bytes(_text())
    await _until(lambda: not registry.configs)
