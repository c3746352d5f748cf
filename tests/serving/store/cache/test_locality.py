"""What nodes tell of their models: bounded, the latest used first, written to a real API server when it changes."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fairlead.kube.client import Client
from fairlead.kube.kinds import NODES
from fairlead.scheduling.observe.models import NODE_MODELS, models_of_node
from fairlead.serving.store.cache.cache import Cached
from fairlead.serving.store.cache.locality import ANNOTATION, annotation_of, publish_once
from fairlead.serving.store.cache.record import ModelRecord
from serving.store.cache.models import cache_at, fetched, model


def cached(number: int, used_s: float, sources: tuple[str, ...] = (), size: int = 5) -> Cached:
    record = ModelRecord(f"sha256:{number:064x}", "s", [], size)
    return Cached(record, used_s, False, (), sources)


def test_both_rooms_mean_the_same_annotation() -> None:
    assert ANNOTATION == NODE_MODELS
    text = annotation_of([cached(1, 1, ("hf://o/m", "with space", "x" * 600))])
    assert models_of_node({NODE_MODELS: text}) == {f"sha256:{1:064x}": 5, "hf://o/m": 5}


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=40), st.integers(100, 2000))
def test_it_is_bounded_and_has_the_latest(models: list[tuple[int, int]], limit: int) -> None:
    there = [cached(n, used, tuple(f"hf://o/{n}-{i}" for i in range(names))) for n, (used, names) in enumerate(models)]
    text = annotation_of(there, limit)
    assert len(text.encode()) <= limit
    listed = json.loads(text)
    told = [m for m in there if m.record.digest in listed]
    left = [m for m in there if m.record.digest not in listed]
    assert all(a.used_s >= b.used_s for a in told for b in left)
    assert all(source in listed for m in told for source in m.sources)


async def test_it_is_written_when_it_changes(client: Client, tmp_path: Path) -> None:
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "annotations": {"kept": "yes"}}}
    await client.create(NODES.as_unstructured(), node)
    cache = cache_at(tmp_path / "cache")
    found = await fetched(cache, model(tmp_path / "m"))
    said = await publish_once(client, "n1", cache.models())
    annotations = (await client.get(NODES, "n1")).metadata.annotations
    assert annotations["kept"] == "yes"
    assert models_of_node(annotations)[found.record.digest] == found.record.bytes
    assert await publish_once(client, "gone", cache.models(), said) == said, "what was told is not told again"
    cache.prune()
    await publish_once(client, "n1", cache.models(), said)
    assert models_of_node((await client.get(NODES, "n1")).metadata.annotations) == {}
