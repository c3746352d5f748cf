"""Which runtime a service gets: the one that it names, if it fits, or the best by format, architecture and hardware."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.serving.resolve import ModelFacts, choose_runtime
from fairlead.serving.resolved import Unservable
from serving.resolve.services import LLAMA_70B, runtime, service


def chosen(*runtimes: Any, facts: ModelFacts | None = None, **spec: Any) -> str:
    spec = {"runtime": "", "model": {"name": "m", "source": "hf://o/m"}, **spec}
    return str(choose_runtime(service(**spec), runtimes, facts or ModelFacts())[0].metadata["name"])


def refused(*runtimes: Any, facts: ModelFacts | None = None, **spec: Any) -> Unservable:
    with pytest.raises(Unservable) as error:
        chosen(*runtimes, facts=facts, **spec)
    return error.value


def accelerator(model: str) -> list[dict[str, Any]]:
    return [{"name": "a", "deviceClass": "d", "model": model}]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("hf://o/m", "vllm"),
        ("hf://o/m/model-Q4.gguf", "llama-cpp"),
        ("/models/iris.onnx", "onnx"),
        ("s3://bucket/model.plan", "triton"),
    ],
)
def test_the_format_of_the_source_decides(source: str, name: str) -> None:
    assert chosen(model={"name": "m", "source": source}) == name


def test_the_format_that_is_said_counts_more_than_the_name() -> None:
    assert chosen(model={"name": "m", "source": "/x.gguf", "format": "onnx"}) == "onnx"


@pytest.mark.parametrize(("model", "name"), [("H100-SXM", "vllm"), ("TPU-v6e", "vllm-tpu"), ("RNGD", "furiosa-llm")])
def test_runtimes_of_one_make_are_chosen_on_it(model: str, name: str) -> None:
    assert chosen(accelerators=accelerator(model)) == name


def test_runtimes_that_were_made_beside_the_shipped_ones_count_by_their_priority() -> None:
    mine = runtime("mine", formats=[{"name": "safetensors", "priority": 500}])
    assert chosen(mine) == "mine"
    hidden = runtime("mine", formats=[{"name": "safetensors", "priority": 0}])
    assert chosen(hidden) == "vllm"
    disabled = runtime("mine", formats=[{"name": "safetensors", "priority": 500}], disabled=True)
    assert chosen(disabled) == "vllm"


def test_a_changed_shipped_runtime_takes_the_place_of_ours() -> None:
    found, _ = choose_runtime(service(runtime="vllm"), [runtime("vllm", image="mine:1")], ModelFacts())
    assert found.spec.image == "mine:1"


def test_the_architecture_of_the_model_counts() -> None:
    llama = runtime("llama", formats=[{"name": "safetensors", "priority": 100}], architectures=["LlamaForCausalLM"])
    qwen = runtime("qwen", formats=[{"name": "safetensors", "priority": 500}], architectures=["QwenForCausalLM"])
    known = ModelFacts(config=LLAMA_70B)
    assert chosen(llama, qwen, facts=known) == "llama", "of equals the one that was made for it"
    assert chosen(llama, qwen, model={"name": "m", "source": "hf://o/m", "architecture": "QwenForCausalLM"}) == "qwen"


def test_a_service_that_runs_keeps_its_runtime_while_it_fits() -> None:
    mine = runtime("mine", formats=[{"name": "safetensors", "priority": 500}])
    assert chosen(mine, status={"runtime": "vllm"}) == "vllm"
    assert chosen(mine, status={"runtime": "onnx"}) == "mine"


@pytest.mark.parametrize(
    ("spec", "field", "said"),
    [
        ({"runtime": "nope"}, "runtime", "there are furiosa-llm, jetstream"),
        ({"model": {"name": "m"}}, "runtime", "name a runtime, or write model.source"),
        ({"model": {"name": "m", "source": "/x", "format": "foo"}}, "runtime", "model.format may be furiosa, gguf"),
        ({"runtime": "vllm", "model": {"name": "m", "source": "/x", "format": "onnx"}}, "model.format",
         "runtime vllm takes safetensors, pytorch, gguf; onnx is taken by onnx, openvino"),
        ({"runtime": "vllm-tpu", "accelerators": accelerator("H100-SXM")}, "accelerators[a].model",
         "it is made by nvidia, and runtime vllm-tpu runs on tpu"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_with_what_would(spec: dict[str, Any], field: str, said: str) -> None:
    error = refused(**spec)
    assert error.field == field
    assert said in str(error)


def test_a_named_runtime_for_another_architecture_is_refused_and_what_nobody_knows_is_no_reason() -> None:
    mine = runtime("mine", architectures=["QwenForCausalLM"])
    error = refused(mine, runtime="mine", facts=ModelFacts(config=LLAMA_70B))
    assert error.field == "model.architecture" and "takes QwenForCausalLM" in str(error) and "vllm" in str(error)
    assert chosen(mine, runtime="mine") == "mine"


def test_a_disabled_runtime_is_for_those_who_have_it() -> None:
    off = runtime("mine", disabled=True)
    assert "disabled" in str(refused(off, runtime="mine"))
    assert chosen(off, runtime="mine", status={"runtime": "mine"}) == "mine"


def test_a_runtime_of_an_unknown_engine_is_refused() -> None:
    assert "engine is 'foo'" in str(refused(runtime("mine", engine="foo"), runtime="mine"))
