"""KServe's model formats and the runtimes that it ships, and what takes their place.

Source: `config/runtimes`, `pkg/apis/serving/v1beta1/predictor_*.go` of KServe 0.20 and earlier.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple


class Format(NamedTuple):
    """`runtime` is one of ours that takes the format; `name` the format there."""

    runtime: str
    name: str


LEGACY: Final = (
    "sklearn", "xgboost", "tensorflow", "pytorch", "triton", "onnx", "huggingface", "pmml", "lightgbm", "paddle",
)  # fmt: skip
"""Fields of a predictor that stand for a model of that format."""

_LANGUAGE: Final = frozenset({"vllm", "sglang", "tgi", "tensorrt-llm", "furiosa-llm", "vllm-tpu", "jetstream"})
_FORMATS: Final[Mapping[str, Format]] = {
    "sklearn": Format("mlserver", "sklearn"),
    "xgboost": Format("mlserver", "xgboost"),
    "lightgbm": Format("mlserver", "lightgbm"),
    "mlflow": Format("mlserver", "mlflow"),
    "onnx": Format("onnx", "onnx"),
    "tensorflow": Format("openvino", "tensorflow"),
    "paddle": Format("openvino", "paddle"),
    "openvino_ir": Format("openvino", "openvino-ir"),
    "triton": Format("triton", "triton"),
    "tensorrt": Format("triton", "tensorrt-plan"),
    "huggingface": Format("vllm", "safetensors"),
    "vllm": Format("vllm", "safetensors"),
    "gguf": Format("llama-cpp", "gguf"),
}
SHIPPED: Final[Mapping[str, str]] = {
    "kserve-sklearnserver": "mlserver",
    "kserve-mlserver": "mlserver",
    "kserve-xgbserver": "mlserver",
    "kserve-lgbserver": "mlserver",
    "kserve-tritonserver": "triton",
    "kserve-huggingfaceserver": "huggingfaceserver",
    "kserve-huggingfaceserver-multinode": "huggingfaceserver",
    "kserve-vllmserver": "vllm",
    "kserve-openvino": "openvino",
    "kserve-tensorflow-serving": "openvino",
    "kserve-paddleserver": "openvino",
    "kserve-pmmlserver": "",
    "kserve-torchserve": "",
    "kserve-autogluonserver": "",
    "kserve-predictiveserver": "mlserver",
    "mlserver-0.x": "mlserver",
    "mlserver-1.x": "mlserver",
    "triton-2.x": "triton",
    "ovms-1.x": "openvino",
    "torchserve-0.x": "",
}
"""Runtime of KServe or ModelMesh -> the engine in its place; empty: none."""
SERVER_TYPES: Final[Mapping[str, str]] = {
    "vllmserver": "vllm", "huggingfaceserver": "huggingfaceserver", "tritonserver": "triton", "triton": "triton",
    "mlserver": "mlserver", "sklearnserver": "mlserver", "xgbserver": "mlserver", "lgbserver": "mlserver",
    "openvino": "openvino", "ovms": "openvino", "tensorflow-serving": "openvino", "paddleserver": "openvino",
    "predictiveserver": "mlserver", "torchserve": "", "pmmlserver": "", "autogluonserver": "",
}  # fmt: skip
"""Annotation serving.kserve.io/server-type, or builtInAdapter.serverType -> the engine in its place; empty: none."""
SAME_PROGRAM: Final = frozenset({
    "vllmserver", "tritonserver", "triton", "mlserver", "openvino", "ovms",
})  # fmt: skip
"""Server types whose program Fairlead starts too; for others it takes another program, with an image of its own."""

_IMPLEMENTATIONS: Final[Mapping[str, str]] = {
    "sklearn": "mlserver_sklearn.SKLearnModel",
    "xgboost": "mlserver_xgboost.XGBoostModel",
    "lightgbm": "mlserver_lightgbm.LightGBMModel",
    "mlflow": "mlserver_mlflow.MLflowRuntime",
    "huggingface": "mlserver_huggingface.HuggingFaceRuntime",
}


def default_runtime(format_name: str) -> str:
    """The runtime of ours for a format that names none; empty where there is none."""
    found = _FORMATS.get(format_name.lower())
    return found.runtime if found else ""


def our_format(format_name: str, engine: str) -> str:
    """The format as a runtime of this engine has it; empty where the engine's own default does."""
    name = format_name.lower()
    if engine == "triton":
        return "tensorrt-plan" if name == "tensorrt" else "triton"
    if engine in _LANGUAGE:
        return name if name in ("pytorch", "gguf") else "safetensors"
    if engine == "mlserver" and name == "huggingface":
        return "huggingface"
    found = _FORMATS.get(name)
    return found.name if found else name.replace("_", "-")[:63]


def implementation(format_name: str) -> str:
    """The class by which MLServer loads a format, where the weights have no model-settings.json beside them."""
    return _IMPLEMENTATIONS.get(format_name.lower(), "")


def speaks_openai(engine: str) -> bool:
    """Whether the engine's API is OpenAI's; others speak the Open Inference Protocol, KServe's v2."""
    return engine in _LANGUAGE or engine in ("llama-cpp", "simulated")
