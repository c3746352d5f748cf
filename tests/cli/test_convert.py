"""`fairlead convert`: files, folders, stdin and clusters in; manifests out, losses beside them."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fairlead.api import MODEL_ADAPTERS, MODEL_SERVICES, SERVING_RUNTIMES, all_crds
from fairlead.cli.app import run
from fairlead.embedded.apiserver.server import serve
from fairlead.kube.client import Client
from fairlead.kube.kinds import CUSTOM_RESOURCE_DEFINITIONS
from fairlead.kube.resources import Resource

GROUP = "serving.kserve.io"
CHAT = """
apiVersion: serving.kserve.io/v1alpha2
kind: LLMInferenceService
metadata: {name: chat, namespace: default}
spec:
  model:
    uri: hf://org/model
    name: org/model
    lora: {adapters: [{name: sql, uri: hf://org/sql}]}
  baseRefs: [{name: base}]
  router: {scheduler: {replicas: 2}}
"""
BASE = """
apiVersion: serving.kserve.io/v1alpha2
kind: LLMInferenceServiceConfig
metadata: {name: base, namespace: default}
spec: {replicas: 2}
"""
IRIS = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: iris, namespace: default}
spec: {predictor: {model: {modelFormat: {name: vLLM}, storageUri: "s3://b/m", runtime: mine}}}
"""
RUNTIME = """
apiVersion: serving.kserve.io/v1alpha1
kind: ClusterServingRuntime
metadata: {name: mine}
spec:
  supportedModelFormats: [{name: vLLM, autoSelect: true}]
  containers: [{name: kserve-container, image: "vllm/vllm-openai:v1", args: [--enforce-eager]}]
"""
OWN_RESOURCES = {"ModelService": MODEL_SERVICES, "ModelAdapter": MODEL_ADAPTERS, "ServingRuntime": SERVING_RUNTIMES}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for name, text in (("chat", CHAT), ("more", f"{BASE}---{IRIS}"), ("runtime", RUNTIME)):
        (tmp_path / "in" / f"{name}.yaml").write_text(text)
    (tmp_path / "in" / "kustomization.yaml").write_text("resources: [chat.yaml]")
    return tmp_path / "in"


def kinds_of(text: str) -> list[str]:
    return [obj["kind"] for obj in yaml.safe_load_all(text)]


def test_a_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["convert", str(folder)]) == 0
    out, err = capsys.readouterr()
    services = {obj["metadata"]["name"]: obj for obj in yaml.safe_load_all(out)}
    assert list(services) == ["chat", "chat-sql", "iris", "mine"]
    assert services["chat"]["spec"]["replicas"] == 2, "the config of another file is part of it"
    assert services["iris"]["spec"]["runtime"] == "mine"
    assert f"LLMInferenceService default/chat ({folder}/chat.yaml, document 1)" in err
    assert 'lost: spec.router.scheduler = {"replicas": 2}' in err and "fairlead epp" in err
    assert err.splitlines()[-1].startswith("4 objects read, 4 written; 1 lost, ")
    assert "note: " not in err


def test_stdin_json_and_notes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": [yaml.safe_load(CHAT), yaml.safe_load(BASE)]}
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(listed)))
    assert run(["convert", "-", "-o", "json", "--notes"]) == 0
    out, err = capsys.readouterr()
    made = json.loads(out)
    assert (made["kind"], [obj["kind"] for obj in made["items"]]) == ("List", ["ModelService", "ModelAdapter"])
    assert "note: spec.baseRefs[0].name = base" in err


def test_strict_fails_when_anything_is_lost_and_prints_all_the_same(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["convert", str(folder / "chat.yaml"), str(folder / "more.yaml"), "--strict"]) == 1
    assert kinds_of(capsys.readouterr().out) == ["ModelService", "ModelAdapter", "ModelService"]
    (folder / "plain.yaml").write_text(CHAT.replace("  router: {scheduler: {replicas: 2}}\n", ""))
    assert run(["convert", str(folder / "plain.yaml"), "--strict", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "in.yaml: line 2, column 1: not YAML"),
        ("- 1", "in.yaml, document 1: expected a mapping"),
        ("x: 1", "in.yaml, document 1: apiVersion: expected the object's apiVersion"),
        (
            CHAT.replace("hf://org/model", "7"),
            "document 1 (LLMInferenceService default/chat): spec.model.uri: expected",
        ),
        (f"{CHAT}---{IRIS}".replace('"s3://b/m"', "[]"), "document 2 (InferenceService default/iris): spec.predictor."),
    ],
)
def test_bad_input_is_said_and_nothing_is_printed(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.yaml").write_text(text)
    assert run(["convert", str(tmp_path / "in.yaml")]) == 1
    out, err = capsys.readouterr()
    assert out == "" and said in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "give files or folders"),
        (["x.yaml", "--from-cluster"], "and not both"),
        (["x.yaml", "-n", "a"], "--namespace chooses what is read --from-cluster"),
        (["x.yaml", "--runtime", "mine"], "say with --engine which engine it has"),
        (["x.yaml", "--engine", "vllm"], "--engine says which engine --runtime has"),
        (["/nonexistent.yaml"], "cannot be read"),
    ],
)
def test_contradictions(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["convert", *argv]) == 1
    assert said in capsys.readouterr().err


def test_a_result_that_the_api_would_refuse_is_printed_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # One argument that is longer than the API takes: nobody can make it shorter but who wrote it.
    long = CHAT.replace(
        "  router:", f"  template: {{containers: [{{name: main, args: ['--x={'y' * 5000}']}}]}}\n  router:"
    )
    (tmp_path / "in.yaml").write_text(long)
    assert run(["convert", str(tmp_path / "in.yaml"), "--quiet"]) == 1
    out, err = capsys.readouterr()
    assert kinds_of(out)[0] == "ModelService"
    assert "ModelService chat: spec.args[1]" in err


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[tuple[Client, Path]]:
    """An API server with Fairlead's kinds and some of KServe's."""
    async with serve(tmp_path / "api") as serving, Client.load(serving.kubeconfig) as client:
        for crd in all_crds():
            await client.apply(CUSTOM_RESOURCE_DEFINITIONS, crd, force=True)
        for kind, version, scope in (
            ("LLMInferenceService", "v1alpha2", "Namespaced"), ("LLMInferenceServiceConfig", "v1alpha2", "Namespaced"),
            ("InferenceService", "v1beta1", "Namespaced"), ("ClusterServingRuntime", "v1alpha1", "Cluster"),
        ):  # fmt: skip
            await client.apply(CUSTOM_RESOURCE_DEFINITIONS, definition(kind, version, scope), force=True)
        yield client, serving.kubeconfig


def definition(kind: str, version: str, scope: str) -> dict[str, Any]:
    plural = f"{kind.lower()}s"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP, "scope": scope,
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [{"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }  # fmt: skip


async def put(client: Client, text: str) -> None:
    obj = yaml.safe_load(text)
    plural, is_namespaced = f"{obj['kind'].lower()}s", "namespace" in obj["metadata"]
    resource = Resource.of(obj["apiVersion"], plural, obj["kind"], namespaced=is_namespaced).as_unstructured()
    await client.apply(resource, obj, force=True)


async def test_a_cluster_is_read_and_takes_what_is_made_of_it(
    cluster: tuple[Client, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    client, kubeconfig = cluster
    argv = ["convert", "--from-cluster", "--kubeconfig", str(kubeconfig)]
    assert await asyncio.to_thread(run, argv) == 1
    assert "the cluster has no objects of KServe" in capsys.readouterr().err
    for text in (CHAT, BASE, IRIS, RUNTIME, RUNTIME.replace("name: mine", "name: kserve-vllmserver"),
                 BASE.replace("name: base", "name: kserve-config-llm-template")):  # fmt: skip
        await put(client, text)
    assert await asyncio.to_thread(run, argv) == 0
    out, err = capsys.readouterr()
    made = list(yaml.safe_load_all(out))
    # What KServe brings along itself is not converted.
    assert {(obj["kind"], obj["metadata"]["name"]) for obj in made} == {
        ("ModelService", "chat"), ("ModelAdapter", "chat-sql"), ("ModelService", "iris"), ("ServingRuntime", "mine"),
    }  # fmt: skip
    assert "resourceVersion" not in out and "managedFields" not in err
    for obj in made:
        stored = await client.apply(
            OWN_RESOURCES[obj["kind"]].as_unstructured(), obj, force=True, field_validation="Strict"
        )
        assert stored["metadata"]["uid"]
    assert await asyncio.to_thread(run, [*argv, "-n", "elsewhere", "-q"]) == 0
    assert kinds_of(capsys.readouterr().out) == ["ServingRuntime"], "runtimes of the cluster are of every namespace"
