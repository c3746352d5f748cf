"""The store against a model: what is acknowledged is readable at every retained version and seen by every watcher."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead.embedded.apiserver.store import Compacted, DataFolderLocked, FutureVersion, Record, Store, WriteFailed

PODS = "/core/pods/"


def names(records: list[Record]) -> list[str]:
    return [record.name for record in records]


async def put(store: Store, name: str, text: str = "x", resource: str = PODS) -> Record:
    value = b'{"metadata":{"resourceVersion":"%d"},"v":"%s"}' % (store.next_version(), text.encode())
    return await store.write(resource, name, value)


async def delete(store: Store, name: str, resource: str = PODS) -> Record:
    return await store.write(resource, name, b'{"metadata":{}}', deleted=True)


async def test_a_write_is_visible_when_acknowledged_and_not_before(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.start()
    task = asyncio.ensure_future(put(store, "default/a"))
    await asyncio.sleep(0)
    assert store.get(PODS, "default/a") is None
    assert store.newest(PODS, "default/a") is not None
    record = await task
    assert store.get(PODS, "default/a") is record
    assert store.version == record.version
    store.close()


async def test_versions_are_one_counter_over_all_resources_and_restarts(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.start()
    first = await put(store, "default/a")
    second = await put(store, "default/a", resource="/apps/deployments/")
    last = await delete(store, "default/a")
    store.close()
    again = Store(tmp_path)
    again.start()
    third = await put(again, "default/b")
    assert [second.version, last.version, third.version] == [first.version + n for n in (1, 2, 3)]
    assert again.get(PODS, "default/a") is None
    assert again.value(again.get("/apps/deployments/", "default/a")) == second.value  # type: ignore[arg-type]
    again.close()


async def test_a_second_store_on_the_folder_is_refused_by_name(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(DataFolderLocked, match=str(tmp_path)):
        Store(tmp_path)
    store.close()
    Store(tmp_path).close()


async def test_history_before_the_compaction_is_gone(tmp_path: Path) -> None:
    store = Store(tmp_path, history_changes=8)
    store.start()
    first = await put(store, "default/a", "0")
    for number in range(1, 40):
        last = await put(store, "default/a", str(number))
    assert first.version < store.oldest < last.version
    with pytest.raises(Compacted):
        store.snapshot(PODS, version=first.version)
    with pytest.raises(Compacted):
        store.subscribe(PODS, first.version)
    with pytest.raises(FutureVersion):
        store.snapshot(PODS, version=last.version + 1)
    assert names(list(store.snapshot(PODS, version=store.oldest).records)) == ["default/a"]
    store.close()
    rows = sqlite3.connect(tmp_path / "store.db").execute("SELECT count(*) FROM rows").fetchone()[0]
    assert rows <= 12


async def test_a_pinned_version_stays_readable(tmp_path: Path) -> None:
    store = Store(tmp_path, history_changes=4)
    store.start()
    kept = await put(store, "default/a", "kept")
    unpin = store.pin(kept.version)
    for number in range(20):
        await put(store, "default/a", str(number))
    snapshot = store.snapshot(PODS, version=kept.version)
    assert b"kept" in store.values(snapshot.records)[0]
    unpin()
    for number in range(20):
        await put(store, "default/a", str(number))
    with pytest.raises(Compacted):
        store.snapshot(PODS, version=kept.version)
    store.close()


async def test_a_failed_batch_fails_its_writers_and_what_was_decided_on_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.start()
    await put(store, "default/a", "good")
    pages = store._database._writer.execute("PRAGMA page_count").fetchone()[0]
    store._database._writer.execute(f"PRAGMA max_page_count={pages + 1}")
    first = asyncio.ensure_future(put(store, "default/a", "x" * 100_000))
    second = asyncio.ensure_future(put(store, "default/a", "on top"))
    results = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(result) for result in results] == [WriteFailed, WriteFailed]
    assert "full" in str(results[0])
    newest = store.newest(PODS, "default/a")
    assert newest is not None and b"good" in store.value(newest)
    store._database._writer.execute("PRAGMA max_page_count=1000000")
    assert (await put(store, "default/a", "better")).version > newest.version
    store.close()


async def test_values_that_left_the_memory_are_read_from_the_database(tmp_path: Path) -> None:
    store = Store(tmp_path, memory_bytes=4096)
    store.start()
    written = [await put(store, f"default/{number:03}", "y" * 500) for number in range(50)]
    assert written[0].value is None and written[-1].value is not None
    values = store.values(written)
    assert all(b'"resourceVersion":"%d"' % r.version in v for r, v in zip(written, values, strict=True))
    store.close()


operations = st.lists(
    st.tuples(st.sampled_from(["put", "put", "put", "delete"]), st.sampled_from(["a/x", "a/y", "a-b/x", "b/x", "b/z"])),
    min_size=1,
    max_size=40,
)


@given(operations=operations, page=st.integers(1, 3), together=st.integers(1, 6))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_version_reads_and_watches_as_the_model_says(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[str, str]], page: int, together: int
) -> None:
    asyncio.run(_play(tmp_path_factory.mktemp("store"), operations, page, together))


async def _play(folder: Path, operations: list[tuple[str, str]], page: int, together: int) -> None:
    store = Store(folder, memory_bytes=200)
    store.start()
    subscription = store.subscribe(PODS, 0)
    state: dict[str, int] = {}
    # version -> state after it
    history: dict[int, dict[str, int]] = {}
    expected = []
    waiting: list[asyncio.Future[Record]] = []
    for kind, name in operations:
        if kind == "delete" and name not in state:
            continue
        version = store.next_version()
        created = name not in state
        if kind == "put":
            state[name] = version
        else:
            del state[name]
        waiting.append(asyncio.ensure_future(put(store, name) if kind == "put" else delete(store, name)))
        await asyncio.sleep(0)
        expected.append((version, name, kind == "delete", created))
        history[version] = dict(state)
        if len(waiting) >= together:
            await asyncio.gather(*waiting)
            waiting.clear()
    await asyncio.gather(*waiting)
    seen = [(r.version, r.name, r.deleted, r.created) for r in subscription.take()]
    assert seen == expected
    for version, then in history.items():
        _check_snapshot(store, version, then, page)
        replayed = store.subscribe(PODS, version).take()
        assert [record.version for record in replayed] == [v for v, *_ in expected if v > version]
    store.close()
    again = Store(folder)
    assert [(r.name, r.version) for r in again.snapshot(PODS).records] == sorted(state.items())
    for version, then in history.items():
        _check_snapshot(again, version, then, page)
    again.close()


def _check_snapshot(store: Store, version: int, state: dict[str, int], page: int) -> None:
    assert [(r.name, r.version) for r in store.snapshot(PODS, version=version).records] == sorted(state.items())
    in_a = [item for item in sorted(state.items()) if item[0].startswith("a/")]
    assert [(r.name, r.version) for r in store.snapshot(PODS, "a/", version=version).records] == in_a
    paged: list[str] = []
    while True:
        after = paged[-1] if paged else ""
        some = names(list(store.snapshot(PODS, version=version, after=after).records))[:page]
        if not some:
            break
        paged += some
    assert paged == sorted(state)
