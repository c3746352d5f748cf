"""The definitions that Fairlead installs: well formed, generated from the structs, and recognised when outdated."""

from __future__ import annotations

import copy
import json
from typing import Any

import msgspec
import pytest

from fairlead.api import ModelService, all_crds, is_outdated
from fairlead.api.structural import openapi_schema


@pytest.mark.parametrize("crd", all_crds(), ids=lambda c: c["metadata"]["name"])
def test_every_definition_is_structural(crd: dict[str, Any]) -> None:
    names = crd["spec"]["names"]
    assert crd["metadata"]["name"] == f"{names['plural']}.{crd['spec']['group']}"
    assert sum(v["storage"] for v in crd["spec"]["versions"]) == 1
    for version in crd["spec"]["versions"]:
        schema = copy.deepcopy(version["schema"]["openAPIV3Schema"])
        assert schema["type"] == "object"
        json.dumps(schema)
        _no_nulls(schema)


def test_the_structs_and_the_schema_of_model_service_agree() -> None:
    crd = next(c for c in all_crds() if c["spec"]["names"]["kind"] == "ModelService")
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert spec["required"] == ["model"]
    assert spec["properties"]["replicas"]["default"] == 1
    assert spec["properties"]["model"]["properties"]["aliases"]["x-kubernetes-list-type"] == "set"
    raw = {"metadata": {"name": "a"}, "spec": {"model": {"name": "m"}, "runtime": "vllm"}}
    service = msgspec.convert(raw, ModelService)
    assert service.spec.replicas == 1 and service.spec.model.aliases == []
    with pytest.raises(msgspec.ValidationError, match=r"\$\.spec\.model\.name"):
        msgspec.convert({**raw, "spec": {"model": {"name": "a,b"}, "runtime": "vllm"}}, ModelService)


def test_only_our_own_outdated_definitions_are_renewed() -> None:
    crd = all_crds()[0]
    assert not is_outdated(crd, crd)
    older = copy.deepcopy(crd)
    older["metadata"]["annotations"]["fairlead.dev/definition-digest"] = "0"
    assert is_outdated(older, crd)
    foreign = copy.deepcopy(crd)
    foreign["metadata"]["annotations"] = None
    assert not is_outdated(foreign, crd)


def test_a_type_without_a_schema_is_named() -> None:
    class Odd(msgspec.Struct):
        field: int | str = 1

    with pytest.raises(TypeError, match="union"):
        openapi_schema(Odd)


def _no_nulls(value: Any) -> None:
    assert value is not None
    if isinstance(value, dict):
        for item in value.values():
            _no_nulls(item)
    elif isinstance(value, list):
        for item in value:
            _no_nulls(item)
