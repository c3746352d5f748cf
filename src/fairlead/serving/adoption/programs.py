"""How each engine's command line says what it serves and where: its program, flags, variables and defaults. Pure.

Protocol: the servers' own command lines, in the versions that `fairlead.engines` follows; images: their published
Dockerfiles. A default that differs between an image and the bare program is the image's, as pods run images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Program:
    """One kind of server."""

    runtime: str
    """Of `fairlead.engines.ENGINES`."""
    starts: tuple[tuple[str, ...], ...]
    """Words by which it is recognised: the first is a program's file name, a module after `-m` or a script's path."""
    images: tuple[str, ...] = ()
    """Ends of image repositories that start it when no command is given."""
    default_port: int | None = None
    port_flags: tuple[str, ...] = ("--port",)
    port_env: str = ""
    host_flags: tuple[str, ...] = ("--host",)
    host_env: str = ""
    is_local: bool = False
    """Without a host it listens on the loopback address alone."""
    name_flags: tuple[str, ...] = ("--served-model-name",)
    name_env: str = ""
    has_many_names: bool = False
    """Whether a name flag takes several names; else its value is one, or several with commas between them."""
    repeats_names: bool = False
    """Whether each occurrence of the flag adds a name; else the last one counts."""
    model_flags: tuple[str, ...] = ("--model",)
    model_env: tuple[str, ...] = ()
    takes_position: bool = False
    """Whether the model may be the first argument."""
    adds_names: bool = False
    """Whether the names are further ones beside the model's."""
    config_flags: tuple[str, ...] = ()
    """Of files that may say any of this too."""
    metrics_flag: str = ""
    """Without it there is no metrics page; empty: there always is one."""
    mute_flags: tuple[str, ...] = ()
    """With one of them the metrics page says nothing of the engine."""
    tls_flags: tuple[str, ...] = ()
    adapter_flags: tuple[str, ...] = ()
    """Of `name=path` pairs whose names requests may give."""
    idle_flags: tuple[str, ...] = ()
    """With one of them it answers no requests."""


_VLLM: Final = {
    "default_port": 8000, "has_many_names": True, "takes_position": True, "config_flags": ("--config",),
    "tls_flags": ("--ssl-certfile", "--ssl-keyfile"), "adapter_flags": ("--lora-modules",),
    "model_flags": ("--model", "--model-tag"), "idle_flags": ("--headless",),
    "mute_flags": ("--disable-log-stats",),
}  # fmt: skip
_VLLM_STARTS: Final = (
    ("vllm", "serve"),
    ("vllm.entrypoints.openai.api_server",),
    ("vllm/entrypoints/openai/api_server.py",),
    ("vllm.entrypoints.cli.main", "serve"),
)

PROGRAMS: Final[Sequence[Program]] = (
    Program("vllm-tpu", (), images=("vllm/vllm-tpu",), **_VLLM),  # type: ignore[arg-type]
    Program(
        "vllm", (*_VLLM_STARTS, ("llm-d-inference-sim",)),
        images=("vllm/vllm-openai", "vllm/vllm-openai-rocm", "llm-d/llm-d-inference-sim"), **_VLLM,  # type: ignore[arg-type]
    ),
    Program(
        "sglang", (("sglang.launch_server",), ("sglang", "serve"), ("sglang/launch_server.py",)),
        default_port=30000, is_local=True, model_flags=("--model-path", "--model"), config_flags=("--config",),
        metrics_flag="--enable-metrics", tls_flags=("--ssl-certfile", "--ssl-keyfile"),
    ),
    Program(
        "tensorrt-llm", (("trtllm-serve", "serve"), ("trtllm-serve",)),
        default_port=8000, is_local=True, takes_position=True,
    ),
    Program(
        "triton", (("tritonserver",),),
        default_port=8000, port_flags=("--http-port",), host_flags=("--http-address",),
        name_flags=("--load-model",), repeats_names=True, model_flags=(),
    ),
    Program(
        "llama-cpp", (("llama-server",),), images=("ggml-org/llama.cpp", "ggerganov/llama.cpp"),
        default_port=8080, port_env="LLAMA_ARG_PORT", host_env="LLAMA_ARG_HOST", is_local=True,
        name_flags=("--alias", "-a"), name_env="LLAMA_ARG_ALIAS",
        model_flags=("--hf-repo", "-hf", "-hfr", "--model", "-m"), model_env=("LLAMA_ARG_HF_REPO", "LLAMA_ARG_MODEL"),
        metrics_flag="--metrics", tls_flags=("--ssl-cert-file", "--ssl-key-file"), config_flags=("--models-preset",),
    ),
    Program(
        "furiosa-llm", (("furiosa-llm", "serve"),), images=("furiosaai/furiosa-llm",),
        default_port=8000, takes_position=True,
    ),
    Program(
        "tgi", (("text-generation-launcher",),), images=("huggingface/text-generation-inference",),
        default_port=80, port_flags=("--port", "-p"), port_env="PORT", host_flags=("--hostname",),
        name_flags=(), model_flags=("--model-id",), model_env=("MODEL_ID",),
    ),
    Program(
        "mlserver", (("mlserver", "start"),), images=("seldonio/mlserver",),
        default_port=8080, port_flags=(), port_env="MLSERVER_HTTP_PORT", host_flags=(), host_env="MLSERVER_HOST",
        name_flags=(), name_env="MLSERVER_MODEL_NAME", model_flags=(),
    ),
    Program(
        "openvino", (("ovms",),), images=("openvino/model_server",),
        port_flags=("--rest_port",), host_flags=("--rest_bind_address",), name_flags=("--model_name",),
        model_flags=("--source_model",), config_flags=("--config_path",), metrics_flag="--metrics_enable",
    ),
    Program(
        "simulated", (("engine", "simulated"), ("fairlead.simulator.server",)),
        default_port=8000, is_local=True, has_many_names=True, adds_names=True, adapter_flags=("--lora-modules",),
    ),
    Program(
        "onnx", (("engine", "onnx"),),
        default_port=8000, is_local=True, has_many_names=True, model_flags=(),
    ),
)  # fmt: skip
"""The first whose words or image fit counts."""


def starts_at(program: Program, words: Sequence[str], at: int) -> int | None:
    """Index after the words that start the program, where they are at `at`; None where they are not."""
    for start in program.starts:
        end = at + len(start)
        if end <= len(words) and _is_program(words[at], start[0]) and tuple(words[at + 1 : end]) == start[1:]:
            return end
    return None


def of_image(image: str) -> Program | None:
    """The program that an image starts by itself, where it is known."""
    repository = image.partition("@")[0]
    head, _, last = repository.rpartition("/")
    repository = f"{head}/{last.partition(':')[0]}"
    return next((p for p in PROGRAMS if any(f"/{repository}".endswith(f"/{end}") for end in p.images)), None)


def _is_program(word: str, name: str) -> bool:
    return word == name or word.endswith(f"/{name}")
