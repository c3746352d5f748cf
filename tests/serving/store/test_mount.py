"""How models reach engines: every combination of source, delivery and cluster gives a pod that can work, or a refusal
that says what would."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

import pytest

from fairlead.api.model_service import Model, Verification
from fairlead.engines import ENGINES
from fairlead.serving.store.mount import (
    _LOADS_ITSELF,
    ANY,
    ModelMount,
    StoreFacts,
    Undeliverable,
    hold_containers,
    loads_itself,
    mount_model,
    mount_models,
    scheme_of,
)

SOURCES = ["", "/models/m", "file:///models/m", "hf://o/m", "s3://b/m", "gs://b/m", "https://h/m.tar", "oci://h/m:v1",
           "pvc://claim/a/b", "ftp://h/m"]  # fmt: skip
DELIVERIES = ["Auto", "Engine", "Fetch", "ImageVolume"]
CLUSTERS = [
    StoreFacts(), StoreFacts(image_volumes=True), StoreFacts(fetch_image=""), StoreFacts(cache_path=""),
    StoreFacts(image_volumes=True, fetch_image=""),
]  # fmt: skip
VERIFICATIONS = [None, Verification(["key"]), Verification(["key"], "Warn")]


def delivered(source: str, delivery: str = "Auto", facts: StoreFacts | None = None, **more: Any) -> ModelMount:
    model = Model("m", source=source, delivery=delivery, **more.pop("model", {}))  # type: ignore[arg-type]
    takes = more.pop("engine_takes", frozenset({"hf"}))
    return mount_model(model, engine_takes=takes, facts=facts or StoreFacts(), **more)


def test_who_loads_from_the_hub_itself_is_told_by_the_names_of_runtimes() -> None:
    """A name that no engine has would be nobody's, and its engines would get a container that fetches."""
    themselves = {name for name in ENGINES if "hf" in loads_itself(name)}
    assert themselves == {"vllm", "vllm-tpu", "sglang", "tgi", "llama-cpp", "furiosa-llm", "tensorrt-llm"}
    assert set(_LOADS_ITSELF) == {*themselves, "simulated"}


@pytest.mark.parametrize(("source", "delivery"), list(itertools.product(SOURCES, DELIVERIES)))
def test_every_case_gives_a_pod_or_a_reason(source: str, delivery: str) -> None:
    for facts, takes, verification, mountable in itertools.product(
        CLUSTERS, [frozenset[str](), frozenset({"hf"}), frozenset({ANY})], VERIFICATIONS, [None, True, False]
    ):
        try:
            mount = delivered(
                source, delivery, facts, engine_takes=takes, mountable=mountable, model={"verification": verification}
            )
        except Undeliverable as error:
            assert error.field.startswith("model.") and error.remedy
            continue
        is_consistent(mount)
        must_verify = verification is not None and verification.mode == "Enforce"
        if must_verify and source:
            assert mount.delivery == "Fetch", "nobody else looks at signatures"
        if mount.delivery == "Fetch":
            assert facts.fetch_image and mount.init_containers
        if mount.delivery == "ImageVolume":
            assert facts.image_volumes and mountable is not False
        if mount.delivery == "Engine":
            assert scheme_of(source) in takes or ANY in takes or scheme_of(source) == "file"


def is_consistent(mount: ModelMount) -> None:
    """Every mount has its volume; names are not there twice."""
    volumes = [v["name"] for v in mount.volumes]
    assert len(set(volumes)) == len(volumes)
    for each in (*mount.mounts, *(m for c in mount.init_containers for m in c["volumeMounts"])):
        assert each["name"] in volumes
    json.dumps([mount.volumes, mount.mounts, mount.init_containers, mount.env])


def test_the_best_is_chosen() -> None:
    both = StoreFacts(image_volumes=True)
    cases: Mapping[tuple[str, StoreFacts], str] = {
        ("hf://o/m", StoreFacts()): "Fetch",
        ("hf://o/m", StoreFacts(fetch_image="")): "Engine",
        ("oci://h/m:v1", both): "ImageVolume",
        ("oci://h/m:v1", StoreFacts()): "Fetch",
        ("pvc://c/p", both): "Claim",
        ("/m", both): "Local",
        ("", both): "None",
    }
    for (source, facts), expected in cases.items():
        assert delivered(source, facts=facts).delivery == expected, source
    assert delivered("hf://o/m", engine_takes=loads_itself("simulated")).delivery == "Engine", "it needs no weights"
    assert delivered("oci://h/m:v1", facts=both, mountable=False).delivery == "Fetch"


def test_a_fetched_model() -> None:
    mount = delivered(
        "hf://o/m", model={"pinned": True, "pull_secret": "hub"}, facts=StoreFacts(cache_capacity="500Gi"),
        digest="sha256:1", exact_source="hf://o/m@c", fetch_env=[{"name": "HF_ENDPOINT", "value": "http://mirror"}],
    )  # fmt: skip
    path = "/var/lib/fairlead/models"
    assert mount.engine_source == f"{path}/pods/$(POD_UID)/model"
    assert [e["name"] for e in mount.env] == ["POD_UID"]
    hold, fetch = mount.init_containers
    assert hold["command"] == ["fairlead", "model", "hold", "--cache", path] and hold["restartPolicy"] == "Always"
    assert fetch["command"][:4] == ["fairlead", "model", "fetch", "hf://o/m@c"] and "restartPolicy" not in fetch
    assert {"--pin", "--capacity", "500Gi", "--credentials"} <= set(fetch["command"])
    assert {"name": "HF_ENDPOINT", "value": "http://mirror"} in fetch["env"]
    assert mount.mounts == ({"name": "model-cache", "mountPath": path, "readOnly": True},)
    assert dict(mount.annotations) == {"fairlead.dev/model-digest": "sha256:1 hf://o/m@c hf://o/m"}


def test_policies_reach_the_container() -> None:
    mount = delivered("oci://h/m:v1", model={"verification": Verification(["PEM"])})
    [given] = [e for e in mount.init_containers[-1]["env"] if e["name"] == "FAIRLEAD_VERIFICATION"]
    assert json.loads(given["value"]) == {"publicKeys": ["PEM"]}


def test_a_cache_of_each_pod_needs_no_holder() -> None:
    mount = delivered("s3://b/m", facts=StoreFacts(cache_path=""))
    assert [c["name"] for c in mount.init_containers] == ["fetch-model"]
    assert mount.volumes[0]["emptyDir"] == {} and hold_containers(StoreFacts(cache_path="")) == ()


def test_image_volumes() -> None:
    facts = StoreFacts(image_volumes=True)
    mount = delivered("oci://h:5000/m:v1", "ImageVolume", facts, model={"pull_secret": "login", "pinned": True})
    assert mount.volumes == ({"name": "model", "image": {"reference": "h:5000/m:v1", "pullPolicy": "IfNotPresent"}},)
    assert mount.engine_source == "/mnt/fairlead/model/models" and mount.image_pull_secrets == ("login",)
    assert "no effect" in mount.warnings[0]
    for source in ("oci://h:5000/m", "oci://h/m:latest"):
        [volume] = delivered(source, facts=facts).volumes
        assert volume["image"]["pullPolicy"] == "Always"
    [volume] = delivered("oci://h/m", facts=facts, exact_source="oci://h/m@sha256:1").volumes
    assert volume["image"] == {"reference": "h/m@sha256:1", "pullPolicy": "IfNotPresent"}


def test_claims() -> None:
    mount = delivered("pvc://claim/a/b")
    assert mount.engine_source == "/mnt/fairlead/model/a/b"
    assert mount.volumes[0]["persistentVolumeClaim"] == {"claimName": "claim", "readOnly": True}
    copied = delivered("pvc://claim/a/b", "Fetch")
    assert copied.init_containers[-1]["command"][3] == "file:///mnt/fairlead/model/a/b"
    assert "pvc://claim/a/b" in copied.init_containers[-1]["command"]


def test_an_engine_that_downloads_gets_the_token() -> None:
    mount = delivered("hf://o/m", "Engine", model={"pull_secret": "hub"})
    assert mount.env_from == ({"secretRef": {"name": "hub"}},) and mount.env[0]["name"] == "HF_TOKEN"


def test_several_models_share_what_they_can() -> None:
    mount = mount_models(
        [delivered("hf://o/a"), delivered("s3://b/c", slot="second"), delivered("pvc://claim/x", slot="third")]
    )
    is_consistent(mount)
    assert [c["name"] for c in mount.init_containers] == ["hold-model", "fetch-model", "fetch-second"]
    assert [v["name"] for v in mount.volumes] == ["model-cache", "third"]
