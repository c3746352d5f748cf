"""Arguments of a foreign engine, as fields of ours where there is one; the rest stays an argument.

Source: `vllm serve --help=all` of vLLM 0.32; `python/huggingfaceserver/huggingfaceserver/__main__.py` of KServe 0.20.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fairlead.serving.convert.report import Severity
from fairlead.serving.resolve.arguments import normal

Json = dict[str, Any]

_FLAG = re.compile(r"--?[A-Za-z]")
_SHORT: Final = {"-tp": "--tensor-parallel-size", "-pp": "--pipeline-parallel-size", "-dp": "--data-parallel-size"}
_SET_BY_ADAPTER: Final[Mapping[str, frozenset[str]]] = {
    "vllm": frozenset({
        "--host", "--port", "--model", "--shutdown-timeout", "--data-parallel-size-local", "--data-parallel-address",
        "--data-parallel-rpc-port", "--data-parallel-start-rank", "--headless", "--nnodes", "--node-rank",
        "--master-addr", "--enable-lora", "--model-name", "--model-dir", "--http-port", "--grpc-port",
        "--distributed-executor-backend",
    }),
    "sglang": frozenset({"--host", "--port", "--model-path", "--model", "--enable-metrics", "--nnodes", "--node-rank",
                         "--dist-init-addr"}),
    "triton": frozenset({"--model-store", "--model-repository", "--http-port", "--http-address", "--grpc-port",
                         "--metrics-port", "--allow-http", "--model-control-mode", "--load-model"}),
    "openvino": frozenset({"--model-name", "--model-path", "--rest-port", "--rest-bind-address", "--port",
                           "--metrics-enable", "--metrics-list"}),
    "mlserver": frozenset({"--model-name", "--model-dir", "--http-port", "--grpc-port"}),
    "onnx": frozenset({"--model-name", "--model-dir", "--http-port", "--grpc-port", "--host", "--port"}),
    "tgi": frozenset({"--model-id", "--hostname", "--port", "--num-shard"}),
    "llama-cpp": frozenset({"--host", "--port", "--model", "--metrics", "-m"}),
    "tensorrt-llm": frozenset({"--host", "--port"}),
    "furiosa-llm": frozenset({"--host", "--port"}),
}  # fmt: skip
"""Engine -> flags that Fairlead's adapter says itself."""
_TLS: Final = ("--ssl-", "--enable-ssl-")
_OF_KSERVE: Final = frozenset({
    "--backend", "--task", "--disable-lower-case", "--disable-special-tokens", "--add-special-tokens",
    "--tensor-input-names", "--return-token-type-ids", "--return-probabilities", "--predictor-host", "--protocol",
    "--enable-latency-logging", "--enable-docs-url", "--workers", "--max-length", "--config-dir",
    "--max-threads", "--log-config-file", "--access-log-format", "--predictor-protocol", "--predictor-use-ssl",
    "--disable-log-requests",
})  # fmt: skip
"""Flags of KServe's own servers that vLLM does not have."""


@dataclass(slots=True)
class Lifted:
    """What arguments became. `parallelism` and `kv_cache` are fields of a workload. `said` is about one option each:
    its text, how much it matters, and a sentence."""

    args: list[str] = field(default_factory=list)
    parallelism: dict[str, int] = field(default_factory=dict)
    expert: bool = False
    kv_cache: Json = field(default_factory=dict)
    max_context_tokens: int | None = None
    names: list[str] = field(default_factory=list)
    adapters: Json = field(default_factory=dict)
    serves_adapters: bool = False
    kv_transfer: Json | None = None
    """The connector with its settings; `kv_transfer_args` are the arguments that said it."""
    kv_transfer_args: list[str] = field(default_factory=list)
    source: str = ""
    revision: str = ""
    said: list[tuple[str, Severity, str]] = field(default_factory=list)


def options(arguments: Sequence[str]) -> list[list[str]]:
    """Arguments in groups: a flag with the values that follow it; `--flag=value` is parted. Words before the first
    flag are groups of their own."""
    groups: list[list[str]] = []
    for word in arguments:
        if _FLAG.match(word):
            flag, separator, value = word.partition("=")
            groups.append([flag, value] if separator else [flag])
        elif groups and _FLAG.match(groups[-1][0]):
            groups[-1].append(word)
        else:
            groups.append([word])
    return groups


def lift(arguments: Sequence[str], engine: str) -> Lifted:
    """`engine` is one of Fairlead's, or `huggingfaceserver`."""
    lifted = Lifted()
    own = "vllm" if engine == "huggingfaceserver" else engine
    for group in options(arguments):
        text = " ".join(group)
        if not _FLAG.match(group[0]):
            _word(group[0], lifted, own)
            continue
        flag = _SHORT.get(group[0], normal(group[0]))
        values = group[1:]
        if engine == "huggingfaceserver" and _hugging_face(flag, values, text, lifted):
            continue
        if flag.startswith(_TLS):
            why = "engines are reached over HTTP inside the cluster: end TLS at the gateway"
            lifted.said.append((text, Severity.LOST, why))
        elif flag in _SET_BY_ADAPTER.get(own, ()):
            lifted.serves_adapters |= flag == "--enable-lora"
            lifted.said.append((text, Severity.NOTE, "Fairlead says this to the engine itself"))
        elif flag == "--served-model-name":
            lifted.names += values
            lifted.said.append((text, Severity.NOTE, "it is model.name and model.aliases now"))
        elif own != "vllm" or not _vllm(group[0], flag, values, text, lifted):
            lifted.args += group
    return lifted


def _word(word: str, lifted: Lifted, engine: str) -> None:
    """A word without a flag: what is to be loaded, of engines that are told so."""
    if engine in ("vllm", "sglang", "tensorrt-llm", "furiosa-llm", "mlserver") and not lifted.args:
        if not word.startswith("/mnt/models"):
            lifted.source = word
        lifted.said.append((word, Severity.NOTE, "the engine is told to load model.source"))
    elif word not in ("tritonserver", "serve", "start"):
        lifted.args.append(word)


def _hugging_face(flag: str, values: Sequence[str], text: str, lifted: Lifted) -> bool:
    if flag == "--model-id" and values:
        lifted.source = values[0]
        lifted.said.append((text, Severity.NOTE, "it is model.source now"))
    elif flag == "--model-revision" and values:
        lifted.revision = values[0]
        lifted.said.append((text, Severity.NOTE, "it is the revision of model.source now"))
    elif flag == "--model-name" and values:
        lifted.names += values
        lifted.said.append((text, Severity.NOTE, "it is model.name now"))
    elif flag in _OF_KSERVE:
        why = "it is of KServe's own server, in whose place vLLM runs: look whether the model needs it"
        lifted.said.append((text, Severity.LOST, why))
    else:
        return False
    return True


def _vllm(word: str, flag: str, values: Sequence[str], text: str, lifted: Lifted) -> bool:
    """Whether the option is a field now."""
    is_off = word.startswith("--no-")
    if flag == "--enable-expert-parallel" and not values:
        lifted.expert = not is_off
    elif flag == "--enable-prefix-caching" and not values:
        lifted.kv_cache["prefixCaching"] = not is_off
    elif flag == "--kv-transfer-config" and len(values) == 1:
        return _kv_transfer([word, *values], lifted)
    elif flag not in _FIELDS or len(values) != 1 or not _FIELDS[flag](values[0], lifted):
        return False
    lifted.said.append((text, Severity.NOTE, "it is a field of the service now"))
    return True


def _kv_transfer(group: list[str], lifted: Lifted) -> bool:
    """Whoever lifts has to look what becomes of it: it is a field of the service, not of a role."""
    try:
        said = json.loads(group[1])
    except ValueError:
        return False
    connector = said.pop("kv_connector", None) if isinstance(said, dict) else None
    if not isinstance(connector, str) or not 0 < len(connector) <= 63:
        return False
    said.pop("kv_role", None)
    lifted.kv_transfer = {"connector": connector, **({"settings": said} if said else {})}
    lifted.kv_transfer_args = group
    return True


def _parallel(dimension: str) -> Callable[[str, Lifted], bool]:
    def lift_it(value: str, lifted: Lifted) -> bool:
        size = whole(value, 1, 1024)
        if size is not None:
            lifted.parallelism[dimension] = size
        return size is not None

    return lift_it


def _cache(name: str, read: Callable[[str], Any]) -> Callable[[str, Lifted], bool]:
    def lift_it(value: str, lifted: Lifted) -> bool:
        found = read(value)
        if found is not None:
            lifted.kv_cache[name] = found
        return found is not None

    return lift_it


def _adapter(name: str, most: int) -> Callable[[str, Lifted], bool]:
    def lift_it(value: str, lifted: Lifted) -> bool:
        found = whole(value, 1, most)
        if found is not None:
            lifted.adapters[name] = found
        return found is not None

    return lift_it


def _context(value: str, lifted: Lifted) -> bool:
    lifted.max_context_tokens = whole(value, 1, 100_000_000)
    return lifted.max_context_tokens is not None


def _percent(value: str) -> int | None:
    """A share as whole percents; None where it is not one."""
    try:
        percent = float(value) * 100
    except ValueError:
        return None
    return round(percent) if 1 <= percent <= 100 and abs(percent - round(percent)) < 1e-9 else None


def whole(value: str, least: int, most: int) -> int | None:
    """The number that a text is, within bounds; None for others."""
    return int(value) if re.fullmatch(r"[0-9]{1,9}", value) and least <= int(value) <= most else None


_FIELDS: Final[Mapping[str, Callable[[str, Lifted], bool]]] = {
    "--tensor-parallel-size": _parallel("tensor"),
    "--pipeline-parallel-size": _parallel("pipeline"),
    "--data-parallel-size": _parallel("data"),
    "--max-model-len": _context,
    "--gpu-memory-utilization": _cache("memoryPercent", _percent),
    "--kv-cache-dtype": _cache("dtype", lambda value: value if 0 < len(value) <= 32 else None),
    "--block-size": _cache("blockTokens", lambda value: whole(value, 1, 65_536)),
    "--max-loras": _adapter("slots", 1024),
    "--max-lora-rank": _adapter("maxRank", 1024),
}
