"""The ServingRuntimes that Fairlead brings along, one for each engine it knows. They are data: a person may change an
installed one, which is then left alone, or make others beside it.

Formats: names of the weights' formats as they are used in `model.format`. Of runtimes that take a format and need
hardware of a certain make, only those are chosen by themselves whose make the service's accelerators are known to be.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import msgspec

from fairlead.api.serving_runtime import ModelFormat, ServingRuntime, ServingRuntimeSpec
from fairlead.engines import ENGINES

Json = dict[str, Any]

DIGEST: Final = "fairlead.dev/runtime-digest"
"""Annotation with a hash of the spec as Fairlead installed it: one whose spec does not have it was changed by
somebody."""

_FORMATS: Final[Mapping[str, tuple[tuple[str, int], ...]]] = {
    "simulated": (("simulated", 100), ("safetensors", 0), ("gguf", 0)),
    "vllm": (("safetensors", 100), ("pytorch", 100), ("gguf", 10)),
    "sglang": (("safetensors", 90), ("pytorch", 90)),
    "tensorrt-llm": (("tensorrt-engine", 100), ("safetensors", 60)),
    "triton": (("triton", 100), ("tensorrt-plan", 100), ("tensorrt-engine", 50)),
    "llama-cpp": (("gguf", 100),),
    "furiosa-llm": (("furiosa", 100), ("safetensors", 110)),
    "vllm-tpu": (("safetensors", 110), ("pytorch", 110)),
    "jetstream": (("maxtext", 100),),
    "tgi": (("safetensors", 40), ("pytorch", 40)),
    "mlserver": (("sklearn", 100), ("xgboost", 100), ("lightgbm", 100), ("mlflow", 100), ("huggingface", 50)),
    "openvino": (("openvino-ir", 100), ("onnx", 50), ("tensorflow", 50), ("paddle", 50)),
    "onnx": (("onnx", 100),),
}
MULTI_MODEL: Final = frozenset({"triton", "mlserver", "onnx"})
"""Engines that load every model of their repository."""


def shipped_runtimes() -> list[ServingRuntime]:
    """One for each engine, named after it."""
    return list(_shipped().values())


def shipped_runtime(name: str) -> ServingRuntime | None:
    """The shipped runtime of that name."""
    return _shipped().get(name)


def runtime_objects() -> list[Json]:
    """The shipped runtimes as they are to be installed; callers own the result."""
    objects = []
    for runtime in shipped_runtimes():
        spec = msgspec.to_builtins(runtime.spec)
        objects.append(
            {
                "apiVersion": runtime.api_version,
                "kind": runtime.kind,
                "metadata": {
                    "name": runtime.metadata["name"],
                    "labels": {"app.kubernetes.io/part-of": "fairlead"},
                    "annotations": {DIGEST: spec_digest(spec)},
                },
                "spec": spec,
            }
        )
    return objects


def is_outdated(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a stored runtime is ours, unchanged, and of another version of Fairlead: it may be replaced."""
    digest = (stored["metadata"].get("annotations") or {}).get(DIGEST)
    if digest is None or digest == wanted["metadata"]["annotations"][DIGEST]:
        return False
    return is_untouched(stored)


def is_untouched(stored: Mapping[str, Any]) -> bool:
    """Whether a stored runtime is as Fairlead installed it."""
    digest = (stored["metadata"].get("annotations") or {}).get(DIGEST)
    return digest is not None and digest == spec_digest(stored.get("spec") or {})


def is_shipped(runtime: ServingRuntime) -> bool:
    """Whether a runtime came with Fairlead, this version or another, and is as it came."""
    shipped = shipped_runtime(str(runtime.metadata.get("name", "")))
    if shipped is None:
        return False
    return runtime.spec == shipped.spec or is_untouched(
        {"metadata": runtime.metadata, "spec": msgspec.to_builtins(runtime.spec)}
    )


def spec_digest(spec: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits; defaults that an API server fills in make no difference."""
    plain = msgspec.to_builtins(msgspec.convert(spec, ServingRuntimeSpec))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


@cache
def _shipped() -> Mapping[str, ServingRuntime]:
    return {
        name: ServingRuntime(
            metadata={"name": name},
            spec=ServingRuntimeSpec(
                engine=name,
                formats=[ModelFormat(fmt, priority) for fmt, priority in _FORMATS.get(name, ())],
                multi_model=name in MULTI_MODEL,
            ),
        )
        for name in ENGINES
    }
