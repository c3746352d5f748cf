"""Which revision a spec asks for: an upgrade of Fairlead replaces no fleet, a change that somebody makes does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from fairlead.api.serving_runtime import ServingRuntime
from fairlead.kube.objects import ControllerRevision
from fairlead.serving.render import owner_reference
from fairlead.serving.resolve import resolve_service
from fairlead.serving.resolve.shipped import runtime_objects
from fairlead.serving.resolved import ClusterFacts, Resolved
from fairlead.serving.rollout.intents import OTHERWISE, is_told_otherwise, pinned
from fairlead.serving.rollout.revisions import Revision, plan_revisions, read_revisions, revision_object
from fairlead.serving.store.mount import StoreFacts
from serving.resolve.services import runtime, service

NOW = ClusterFacts(store=StoreFacts(fetch_image="fairlead:2", cache_path="/cache"))
"""A cluster, or a version of Fairlead, for which pods of fetched models are made otherwise."""
S3: dict[str, Any] = {"runtime": "vllm", "model": {"name": "m", "source": "s3://b/m"}}
THEN = ClusterFacts(store=StoreFacts(fetch_image="fairlead:1", cache_path="/cache"))


def raw(spec: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "chat", "namespace": "prod", "uid": "u1"}, "spec": spec}


def stored(
    spec: dict[str, Any], facts: ClusterFacts = THEN, runtimes: tuple[ServingRuntime, ...] = (), number: int = 1
) -> list[Revision]:
    """As an earlier controller left it, read back from JSON."""
    one = service(**spec)
    made = revision_object(raw(spec), owner_reference(one), resolve_service(one, runtimes, facts), number)
    wire = msgspec.json.decode(msgspec.json.encode(made))
    return read_revisions([msgspec.convert(wire, ControllerRevision)])


def resolved(spec: dict[str, Any], facts: ClusterFacts = NOW, runtimes: tuple[ServingRuntime, ...] = ()) -> Resolved:
    return resolve_service(service(**spec), runtimes, facts)


def test_another_rendering_of_the_same_words_is_no_new_revision() -> None:
    former = stored(S3)
    fresh = resolved(S3)
    assert fresh.revision != former[0].hash, "the test needs facts that change pods"
    kept = pinned(fresh, service(**S3).spec, former)
    assert kept.revision == former[0].hash and kept.shadow.endswith(former[0].hash[:8])
    image = kept.roles["unified"].ways[0].leader["spec"]["initContainers"][0]["image"]
    assert image == "fairlead:1", "also new pods are as the others"
    assert OTHERWISE in kept.warnings


@pytest.mark.parametrize(
    "change",
    [{"args": ["--seed", "1"]}, {"podTemplate": {"metadata": {"annotations": {"fairlead.dev/restarted-at": "now"}}}}],
)
def test_a_change_that_somebody_makes_takes_up_what_is_new(change: dict[str, Any]) -> None:
    fresh = resolved({**S3, **change})
    assert pinned(fresh, service(**S3, **change).spec, stored(S3)) is fresh


@pytest.mark.parametrize("change", [{"replicas": 5}, {"drain": {"timeoutSeconds": 9}}, {"rollout": {"paused": True}}])
def test_how_a_service_is_run_is_no_part_of_it(change: dict[str, Any]) -> None:
    former = stored(S3)
    assert pinned(resolved({**S3, **change}), service(**S3, **change).spec, former).revision == former[0].hash


def test_defaults_that_an_api_server_fills_in_are_no_change() -> None:
    filled = {**S3, "model": {**S3["model"], "aliases": [], "format": ""}, "args": [], "priorityClassName": ""}
    former = stored(S3)
    assert pinned(resolved(filled), service(**filled).spec, former).revision == former[0].hash


def test_a_shipped_runtime_that_came_with_another_version_is_no_change_and_an_edited_one_is() -> None:
    as_installed = {r["metadata"]["name"]: msgspec.convert(r, ServingRuntime) for r in runtime_objects()}["vllm"]
    older = runtime("vllm", defaultArgs=["--seed 1"])
    # What the version before had shipped: marked so by whoever stored the revision.
    former = [replace(r, runtime={**r.runtime, "shipped": True}) for r in stored(S3, runtimes=(older,))]
    fresh = resolved(S3, runtimes=(as_installed,))
    assert pinned(fresh, service(**S3).spec, former).revision == former[0].hash
    edited = runtime("vllm", image="mine:1")
    fresh = resolved(S3, runtimes=(edited,))
    assert pinned(fresh, service(**S3).spec, former) is fresh


def test_the_newest_revision_of_the_same_words_counts() -> None:
    both = [*stored(S3, THEN, number=1), *stored(S3, NOW, number=2)]
    later = ClusterFacts(store=StoreFacts(fetch_image="fairlead:3", cache_path="/cache"))
    assert pinned(resolved(S3, later), service(**S3).spec, both).revision == both[1].hash


def test_what_cannot_be_read_pins_nothing() -> None:
    broken = [replace(r, resolved={"names": 3}) for r in stored(S3)]
    other = [replace(r, spec={"model": 3}) for r in stored(S3)]
    fresh = resolved(S3)
    assert pinned(fresh, service(**S3).spec, broken) is fresh
    assert pinned(fresh, service(**S3).spec, other) is fresh


def test_new_words_for_the_same_pods_are_remembered() -> None:
    """Else the next upgrade would replace the fleet."""
    said = {**S3, "model": {**S3["model"], "format": "safetensors"}}
    former, same = stored(S3), resolved(said, THEN)
    assert same.revision == former[0].hash, "the format goes without saying"
    assert is_told_otherwise(former[0], raw(said), service(**said).spec, same)
    step = plan_revisions(raw(said), {}, same, former, (), 10, is_told_otherwise=True)
    assert step.renumber == (former[0].name, 1) and step.create is None
    again = stored(said)
    assert not is_told_otherwise(again[0], raw(said), service(**said).spec, same)
    assert pinned(resolved(said), service(**said).spec, again).revision == former[0].hash
