from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead.kube.backoff import Backoff
from fairlead.kube.client import Client
from fairlead.kube.credentials import Credentials
from fairlead.kube.informer import Handler, Informer, Informers
from fairlead.kube.kinds import NODES, PODS
from fairlead.kube.objects import Pod
from fairlead.kube.store import by_label, by_namespace
from patience import PATIENCE_S

FAST = Backoff(first_s=0.01, max_s=0.02)


class Story:
    """Records what a handler is told, and checks that it is a possible life of each object."""

    def __init__(self) -> None:
        self.alive: dict[str, Pod] = {}
        self.told: list[tuple[str, str, int]] = []
        self.handler = Handler(self._add, self._update, self._delete)

    def _add(self, pod: Pod) -> None:
        assert pod.metadata.name not in self.alive
        self.alive[pod.metadata.name] = pod
        self.told.append(("add", pod.metadata.name, int(pod.metadata.resource_version)))

    def _update(self, old: Pod, new: Pod) -> None:
        assert self.alive[new.metadata.name] == old
        assert old.metadata.uid == new.metadata.uid
        assert int(new.metadata.resource_version) > int(old.metadata.resource_version)
        self.alive[new.metadata.name] = new
        self.told.append(("update", new.metadata.name, int(new.metadata.resource_version)))

    def _delete(self, pod: Pod) -> None:
        del self.alive[pod.metadata.name]
        self.told.append(("delete", pod.metadata.name, int(pod.metadata.resource_version)))


async def until(condition: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def versions(pods: Any) -> dict[str, str]:
    return {pod.metadata.name: pod.metadata.resource_version for pod in pods}


def stored(server: Any) -> dict[str, str]:
    return {name: pod["metadata"]["resourceVersion"] for (_, name), pod in server.pods.items()}


@asynccontextmanager
async def running(informer: Informer[Any]) -> Any:
    task = asyncio.create_task(informer.run())
    try:
        await informer.wait_synced(5)
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("streaming", [True, False])
async def test_copy_follows_the_server(scripted: Any, scripted_client: Any, streaming: bool) -> None:
    scripted.put("a", app="web")
    scripted.put("b", "other", app="web")
    informer = Informer(
        scripted_client,
        PODS,
        indexes={"namespace": by_namespace, "app": by_label("app")},
        streaming_list=streaming,
        backoff=FAST,
    )
    story = Story()
    informer.add_handler(story.handler)
    async with running(informer):
        assert {pod.metadata.name for pod in informer.store.by_index("app", "web")} == {"a", "b"}
        scripted.put("a", app="db")
        scripted.put("c")
        scripted.remove("b", "other")
        await until(lambda: versions(informer.store) == stored(scripted))
        assert [pod.metadata.name for pod in informer.store.by_index("app", "db")] == ["a"]
        assert informer.store.by_index("app", "web") == []
        assert set(informer.store.index_values("namespace")) == {"default"}
        await until(lambda: [kind for kind, _, _ in story.told] == ["add", "add", "update", "add", "delete"])
    assert scripted.lists == (0 if streaming else 1)


async def test_falls_back_where_streaming_lists_are_refused(scripted: Any, scripted_client: Any) -> None:
    scripted.faults.refuse_streaming = True
    scripted.put("a")
    informer = Informer(scripted_client, PODS, backoff=FAST)
    async with running(informer):
        assert len(informer.store) == 1
    assert scripted.lists == 1


async def test_resumes_after_a_stream_cut_in_the_middle_of_a_line(scripted: Any, scripted_client: Any) -> None:
    scripted.faults.cut_after_events = [1, 0, 2]
    scripted.put("a")
    informer = Informer(scripted_client, PODS, backoff=FAST)
    story = Story()
    informer.add_handler(story.handler)
    async with running(informer):
        for i in range(6):
            scripted.put(f"p{i}")
        await until(lambda: versions(informer.store) == stored(scripted))
    assert informer.relists == 1
    assert [name for _, name, _ in story.told] == ["a", *(f"p{i}" for i in range(6))]


async def test_forgotten_version_is_listed_again_and_compared(scripted: Any, scripted_client: Any) -> None:
    for name in "abc":
        scripted.put(name)
    informer = Informer(scripted_client, PODS, streaming_list=False, backoff=FAST)
    story = Story()
    informer.add_handler(story.handler)
    scripted.faults.gone_watches = 1
    async with running(informer):
        await until(lambda: scripted.watches >= 2)
        scripted.faults.cut_after_events = [0]
        scripted.faults.answers = []
        scripted.put("b", changed="yes")
        scripted.remove("c")
        scripted.put("d")
        await until(lambda: versions(informer.store) == stored(scripted))
    assert [event[:2] for event in story.told[:3]] == [("add", "a"), ("add", "b"), ("add", "c")]
    assert ("update", "a") not in [event[:2] for event in story.told]


async def test_object_created_anew_between_lists_is_deleted_and_added(scripted: Any, scripted_client: Any) -> None:
    scripted.put("a")
    informer = Informer(scripted_client, PODS, backoff=FAST)
    story = Story()
    informer.add_handler(story.handler)
    async with running(informer):
        scripted.faults.cut_after_events = [0]
        scripted.faults.gone_watches = 0
        await until(lambda: scripted.watches == 1)
        # Block the next watch with an error so that both changes happen unseen, then forget them.
        scripted.faults.answers = [web.Response(status=500)] * 2
        scripted.put("x")
        scripted.remove("a")
        scripted.put("a")
        scripted.compact()
        scripted.version += 1
        scripted.forgotten = scripted.version
        await until(lambda: versions(informer.store) == stored(scripted))
        await asyncio.sleep(0.05)
    lives = [kind for kind, name, _ in story.told if name == "a"]
    assert lives == ["add", "delete", "add"]


async def test_handler_added_late_hears_of_what_is_here(scripted: Any, scripted_client: Any) -> None:
    scripted.put("a")
    informer = Informer(scripted_client, PODS, backoff=FAST)
    async with running(informer):
        story = Story()
        informer.add_handler(story.handler)
        assert list(story.alive) == ["a"]


async def test_failing_handler_does_not_stop_the_copy(scripted: Any, scripted_client: Any) -> None:
    informer = Informer(scripted_client, PODS, backoff=FAST)
    story = Story()
    informer.add_handler(Handler.every(lambda pod: 1 / 0))  # type: ignore[arg-type]
    informer.add_handler(story.handler)
    async with running(informer):
        scripted.put("a")
        await until(lambda: "a" in story.alive)


async def test_wait_synced_names_the_obstacle(scripted: Any, scripted_client: Any) -> None:
    informer = Informer(scripted_client, NODES, backoff=FAST)
    task = asyncio.create_task(informer.run())
    with pytest.raises(TimeoutError, match=r"nodes not listed within 0\.2 s: not here"):
        await informer.wait_synced(0.2)
    task.cancel()


async def test_one_watch_serves_all_who_ask_for_the_same(scripted: Any, scripted_client: Any) -> None:
    async with Informers(scripted_client, backoff=FAST) as informers:
        first = informers.informer(PODS)
        assert informers.informer(PODS, indexes={"namespace": by_namespace}) is first
        assert informers.informer(PODS, label_selector="app=web") is not first
        await informers.wait_synced(5)
        with pytest.raises(ValueError, match="index 'namespace' exists"):
            informers.informer(PODS, indexes={"namespace": by_label("x")})
    assert scripted.watches == 2


async def test_events_sent_again_by_a_new_watch_are_not_told_again(scripted: Any, scripted_client: Any) -> None:
    informer = Informer(scripted_client, PODS, backoff=FAST)
    story = Story()
    informer.add_handler(story.handler)
    scripted.faults.cut_after_events = [4]
    async with running(informer):
        scripted.put("a")
        scripted.put("a", changed="yes")
        scripted.put("b")
        scripted.remove("b")
        scripted.faults.replayed = 4
        scripted.put("c")
        await until(lambda: "c" in story.alive)
    assert [event[:2] for event in story.told] == [
        ("add", "a"),
        ("update", "a"),
        ("add", "b"),
        ("delete", "b"),
        ("add", "c"),
    ]


_STEPS = ["put", "put", "put", "remove", "compact", "cut", "repeat", "replay", "gone"]
operations = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "remove", "compact", "cut", "repeat", "replay", "gone"]),
        st.sampled_from("abcde"),
    ),
    max_size=40,
)


@given(operations, st.booleans(), st.lists(st.integers(0, 5), max_size=4))
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_no_event_is_lost_or_told_twice(
    scripted_server_type: Any, steps: list[tuple[str, str]], streaming: bool, cuts: list[int]
) -> None:
    asyncio.run(_random_history(scripted_server_type(), steps, streaming, cuts))


async def _random_history(server: Any, steps: list[tuple[str, str]], streaming: bool, cuts: list[int]) -> None:
    listener = TestServer(server.app)
    await listener.start_server(shutdown_timeout=0.01)
    async with Client(Credentials(f"http://127.0.0.1:{listener.port}")) as client:
        server.faults.cut_after_events = list(cuts)
        informer = Informer(client, PODS, streaming_list=streaming, backoff=FAST)
        story = Story()
        informer.add_handler(story.handler)
        async with running(informer):
            for step, name in steps:
                if step == "put":
                    server.put(name)
                elif step == "remove" and ("default", name) in server.pods:
                    server.remove(name)
                elif step == "compact":
                    server.compact()
                elif step == "cut":
                    server.faults.cut_after_events.append(0)
                elif step == "repeat":
                    server.faults.repeated_events += 2
                elif step == "replay":
                    server.faults.replayed += 3
                elif step == "gone":
                    server.faults.gone_watches += 1
                await asyncio.sleep(0.001)
            await until(lambda: versions(informer.store) == stored(server))
            await until(lambda: versions(story.alive.values()) == stored(server))
    await listener.close()
    assert len(story.told) == len(set(story.told))
