"""llama.cpp: `llama-server`, for GGUF models on CPUs and on accelerators of every make.

Protocol: llama.cpp `tools/server/README.md` of 2026: OpenAI routes, `/health` (503 while loading), `/metrics` with
--metrics, `/lora-adapters`. Adapters are files loaded at the start whose scales change later (`scale_adapters`); they
are no models of their own, so there is no adapter API in Fairlead's sense. KV usage left the page in 2025; older
servers have it.
"""

from __future__ import annotations

from collections.abc import Mapping

from fairlead.engines.calls import HttpCall
from fairlead.engines.engine import Drain, Engine, EngineCommand, Program, Readiness
from fairlead.engines.signal_rules import Count, Mean, SignalTable, Total
from fairlead.engines.spec import EngineSourceError, EngineSpec, EngineSpecError, flag, refuse_all_but

LIST_ADAPTERS = HttpCall("GET", "/lora-adapters")
"""Answers with `[{"id", "path", "scale"}]`."""

_TABLE = SignalTable(
    prompt_tokens_total=Total((b"llamacpp:prompt_tokens_total",)),
    generation_tokens_total=Total((b"llamacpp:tokens_predicted_total",)),
    kv_cache_usage_ratio=Mean((b"llamacpp:kv_cache_usage_ratio",)),
    running_requests=Count((b"llamacpp:requests_processing",)),
    waiting_requests=Count((b"llamacpp:requests_deferred",)),
)


def scale_adapters(scales: Mapping[int, float]) -> HttpCall:
    """Set the strength of loaded adapters for all requests: id -> scale, 0 turns one off."""
    return HttpCall("POST", "/lora-adapters", [{"id": id_, "scale": scale} for id_, scale in scales.items()])


class LlamaCpp(Engine):
    """llama.cpp's server; it warms itself up before it says it is ready."""

    runtime = "llama-cpp"
    title = "llama.cpp (llama-server)"
    image = "ghcr.io/ggml-org/llama.cpp:server"
    program = Program("llama-server", install="a package or build of llama.cpp")
    readiness = Readiness(startup_timeout_s=1800)
    metrics_path = "/metrics"
    signal_table = _TABLE
    knows_names = False
    drain = Drain(finishes_streams=False, new_requests="not accepted", health="closes")

    def command(self, spec: EngineSpec) -> EngineCommand:
        refuse_all_but(
            self.runtime,
            spec,
            frozenset(
                ("aliases", "tensor", "pipeline", "adapters", "cache_dtype", "prefix_caching", "max_context_tokens")
            ),
            "it runs in one process with contiguous slots: leave it out",
        )
        c = spec.cache
        switch = {None: (), True: ("--cache-prompt",), False: ("--no-cache-prompt",)}[c.prefix_caching]
        argv = (
            *(spec.command or ("llama-server",)),
            *_model(self.runtime, spec.source),
            *flag("--alias", ",".join(spec.names)),
            *flag("--host", spec.host),
            *flag("--port", spec.port),
            "--metrics",
            *_split(self.runtime, spec),
            *flag("--ctx-size", spec.max_context_tokens),
            *flag("--cache-type-k", c.dtype),
            *flag("--cache-type-v", c.dtype),
            *switch,
            *_adapters(self.runtime, spec),
            *spec.args,
        )
        return EngineCommand(argv)


def _model(runtime: str, source: str) -> tuple[str, str]:
    path = source.removeprefix("file://")
    if path.startswith("/"):
        return ("--model", path)
    if source.startswith("hf://") and source != "hf://":
        return ("--hf-repo", source.removeprefix("hf://"))
    raise EngineSourceError(
        runtime, source, "it takes the absolute path of a GGUF file, file:///path or hf://owner/name"
    )


def _split(runtime: str, spec: EngineSpec) -> tuple[str, ...]:
    p = spec.parallelism
    if p.tensor > 1 and p.pipeline > 1:
        raise EngineSpecError(
            runtime, "parallelism.pipeline", p.pipeline, "it splits by rows or by layers, not by both"
        )
    return ("--split-mode", "row") if p.tensor > 1 else ("--split-mode", "layer") if p.pipeline > 1 else ()


def _adapters(runtime: str, spec: EngineSpec) -> tuple[str, ...]:
    a = spec.adapters
    if a is None:
        return ()
    if not a.initial:
        raise EngineSpecError(runtime, "adapters.initial", (), "it loads adapters only at the start: name them all")
    paths = [x.source.removeprefix("file://") for x in a.initial]
    wrong = next((path for path in paths if not path.startswith("/")), None)
    if wrong is not None:
        raise EngineSpecError(runtime, "adapters.initial", wrong, "it takes absolute paths of GGUF adapters")
    return ("--lora", ",".join(paths), "--lora-init-without-apply")
