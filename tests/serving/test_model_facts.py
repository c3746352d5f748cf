"""What is known of models beside the looks at services: read once, shared, asked again where it failed; who is refused
for it and who is not."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from fairlead.api.model_service import ModelService
from fairlead.clock import VirtualClock
from fairlead.kube.resources import ObjectKey
from fairlead.serving.model_facts import ModelsRead
from fairlead.serving.resolve import resolve_service
from fairlead.serving.resolved import ClusterFacts, ModelFacts, Unservable
from fairlead.serving.store.facts import NoFacts
from fairlead.serving.store.mount import StoreFacts

KEY, OTHER = ObjectKey("d", "one"), ObjectKey("d", "two")
GOOD = ModelFacts({"architectures": ["LlamaForCausalLM"]}, 100, "sha256:1", "hf://o/m@c")


def service(source: str = "hf://o/m", runtime: str = "vllm", **spec: Any) -> ModelService:
    model = {"name": "m", "source": source, **spec.pop("model", {})}
    raw = {"metadata": {"name": "one", "namespace": "d"}, "spec": {"model": model, "runtime": runtime, **spec}}
    return msgspec.convert(raw, ModelService)


class Sources:
    """Answers as told, when told to; counts who asks."""

    def __init__(self, *answers: ModelFacts | NoFacts | Exception, own_paths: bool = False) -> None:
        self.answers, self.asked = list(answers), []
        self.go = asyncio.Event()
        self.looked_at: list[ObjectKey] = []
        self.clock = VirtualClock()
        self.read = ModelsRead(self.looked_at.append, self.clock, self._answer, own_paths=own_paths)

    async def _answer(self, url: str, format: str) -> ModelFacts | NoFacts:
        self.asked.append((url, format))
        await self.go.wait()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def settle(self) -> None:
        self.go.set()
        for _ in range(5):
            await asyncio.sleep(0)


async def test_a_source_is_asked_once_for_all_services() -> None:
    sources = Sources(GOOD)
    assert sources.read.look(KEY, service()).is_reading
    assert sources.read.look(OTHER, service()).is_reading
    await sources.settle()
    assert sources.asked == [("hf://o/m", "")] and set(sources.looked_at) == {KEY, OTHER}
    found = sources.read.look(KEY, service())
    assert found.facts is not None and found.facts.weights_bytes == 100 and not found.is_reading
    assert found.facts.exact_source == "", "replicas of one revision are not told apart by when they came"
    status = found.status(None)
    assert status is not None and (status.digest, status.bytes) == ("sha256:1", 100)
    assert status.architecture == "LlamaForCausalLM"


async def test_what_failed_is_asked_again_and_what_was_known_stays_meanwhile() -> None:
    sources = Sources(NoFacts("down"), GOOD, NoFacts("down again"))
    sources.read.look(KEY, service())
    await sources.settle()
    found = sources.read.look(KEY, service())
    assert found.nothing == NoFacts("down") and not found.is_reading
    await sources.clock.advance(61)
    assert sources.read.look(KEY, service()).nothing is not None, "the old answer counts until there is another"
    await sources.settle()
    assert sources.read.look(KEY, service()).facts is not None
    await sources.clock.advance(3601)
    assert sources.read.look(KEY, service()).facts is not None
    await sources.settle()
    assert sources.read.look(KEY, service()).nothing == NoFacts("down again")


async def test_an_error_of_ours_is_an_answer_too() -> None:
    sources = Sources(RuntimeError("bug"))
    sources.read.look(KEY, service())
    await sources.settle()
    assert sources.read.look(KEY, service()).nothing == NoFacts("hf://o/m: RuntimeError: bug")


@pytest.mark.parametrize("source", ["", "pvc://claim/m", "/not/on/this/machine", "file:///nor/this", "ftp://h/m"])
async def test_some_sources_cannot_be_asked(source: str) -> None:
    sources = Sources()
    found = sources.read.look(KEY, service(source))
    assert not found.is_reading and found.facts is None and found.status(None) is None
    assert not sources.read.look(KEY, service(runtime="simulated")).is_reading, "it needs no weights"
    assert sources.asked == []


@pytest.mark.parametrize(
    ("answer", "spec", "is_refused"),
    [
        (NoFacts("gone", is_final=True), {}, True),
        (NoFacts("down"), {}, False),
        (NoFacts("gone", is_final=True), {"model": {"pullSecret": "login"}}, False),
        (NoFacts("gone", is_final=True), {"env": [{"name": "HF_TOKEN", "value": "x"}]}, False),
        (GOOD, {}, False),
    ],
)
async def test_who_is_refused(answer: Any, spec: dict[str, Any], is_refused: bool) -> None:
    sources = Sources(answer)
    wanted = service(**spec)
    sources.read.look(KEY, wanted)
    await sources.settle()
    refusal = sources.read.look(KEY, wanted).refusal(wanted, Unservable("x", "", "y"))
    assert (refusal is not None) == is_refused
    if refusal is not None:
        assert refusal.field == "model.source" and "gone" in str(refusal)


@pytest.mark.parametrize(
    ("mounted", "is_refused"), [("", True), ("/models", False), ("/models/m", False), ("/mod", True), ("/other", True)]
)
async def test_a_path_that_is_nowhere_is_refused_where_pods_see_the_same_disk(mounted: str, is_refused: bool) -> None:
    overlay = {"spec": {"containers": [{"name": "engine", "volumeMounts": [{"name": "v", "mountPath": mounted}]}],
                        "volumes": [{"name": "v", "emptyDir": {}}]}}  # fmt: skip
    one = service("/models/m", **({"podTemplate": overlay} if mounted else {}))
    answer = NoFacts("/models/m: there is no such folder", is_final=True)
    elsewhere, here = Sources(answer), Sources(answer, own_paths=True)
    assert not elsewhere.read.look(KEY, one).is_reading, "a node may have it"
    assert here.read.look(KEY, one).is_reading
    await here.settle()
    wanted = resolve_service(one, (), ClusterFacts(store=StoreFacts()))
    assert (here.read.look(KEY, one).refusal(one, wanted) is not None) == is_refused
