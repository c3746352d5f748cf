"""The scheduler of an installed vLLM alone, without a model: what it would compute in every iteration of a load.

Run by vLLM's Python with the folder of a model as argument. Reads one JSON load per line from stdin:
`{"settings": {...}, "requests": [{"at_s", "prompt", "output", "adapter"}, ...]}`, where settings are those of
`SETTINGS` and prompt and output are token ids; writes one JSON result per line to stdout:
`iterations` as `[start_s, {request: tokens}, [preempted requests], free blocks]`, and per request `hits` (tokens found
in the prefix cache at its first admission) and `finished_s`. Every iteration that computes anything takes one second.
"""

from __future__ import annotations

import json
import os
import sys
from collections import deque

os.environ.update(VLLM_LOGGING_LEVEL="ERROR", VLLM_NO_USAGE_STATS="1", HF_HUB_OFFLINE="1")

import torch
from vllm.config import CacheConfig, ModelConfig, SchedulerConfig, VllmConfig
from vllm.config.lora import LoRAConfig
from vllm.lora.request import LoRARequest
from vllm.sampling_params import SamplingParams
from vllm.utils.hashing import sha256
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request
from vllm.v1.structured_output import StructuredOutputManager

SETTINGS = (
    "max_num_seqs",
    "max_num_batched_tokens",
    "max_model_len",
    "long_prefill_token_threshold",
    "scheduler_reserve_full_isl",
    "watermark",
    "async_scheduling",
    "enable_chunked_prefill",
)
"""Passed on to vLLM's SchedulerConfig; `num_blocks`, `block_tokens`, `prefix_caching`, `max_loras` are beside them."""


def scheduler_for(model: ModelConfig, settings: dict) -> Scheduler:
    blocks, block_tokens = settings["num_blocks"] + 1, settings["block_tokens"]  # one is vLLM's null block
    model.max_model_len = settings["max_model_len"]
    scheduling = SchedulerConfig(is_encoder_decoder=False, **{name: settings[name] for name in SETTINGS})
    cache = CacheConfig(block_size=16, enable_prefix_caching=settings["prefix_caching"])
    lora = LoRAConfig(max_loras=settings["max_loras"], max_lora_rank=8) if settings["max_loras"] else None
    config = VllmConfig(scheduler_config=scheduling, model_config=model, cache_config=cache, lora_config=lora)
    # Sizes that no attention kernel has, but the scheduler does not mind.
    cache.block_size, cache.num_gpu_blocks = block_tokens, blocks
    # The CPU platform turns it off for its executor, which has no part here.
    config.scheduler_config.async_scheduling = settings["async_scheduling"]
    for name in SETTINGS:
        value = getattr(model if name == "max_model_len" else config.scheduler_config, name)
        assert value == settings[name], f"vLLM made {value} of {name}={settings[name]}"
    spec = FullAttentionSpec(block_size=block_tokens, num_kv_heads=1, head_size=1, dtype=torch.float32)
    made = AsyncScheduler if settings["async_scheduling"] else Scheduler
    return made(
        config,
        KVCacheConfig(blocks, [], [KVCacheGroupSpec(["layer"], spec)]),
        StructuredOutputManager(config),
        block_size=block_tokens,
        hash_block_size=block_tokens,
        log_stats=False,
    )


def request_for(number: int, one: dict, hasher, adapters: dict[str, int]) -> Request:
    lora = None
    if name := one["adapter"]:
        lora = LoRARequest(name, adapters.setdefault(name, len(adapters) + 1), "/none")
    return Request(
        request_id=str(number),
        prompt_token_ids=one["prompt"],
        sampling_params=SamplingParams(max_tokens=len(one["output"]), ignore_eos=True),
        pooling_params=None,
        lora_request=lora,
        block_hasher=hasher,
    )


class Run:
    """One load through one scheduler; `now_s` is simulated."""

    def __init__(self, model: ModelConfig, load: dict) -> None:
        settings = load["settings"]
        self.scheduler = scheduler_for(model, settings)
        self.ahead = 2 if settings["async_scheduling"] else 1
        """Batches that are scheduled before the output of the first is there."""
        self.outputs = [one["output"] for one in load["requests"]]
        hasher = get_request_block_hasher(settings["block_tokens"], sha256)
        adapters: dict[str, int] = {}
        self.coming = deque(
            (one["at_s"], request_for(number, one, hasher, adapters)) for number, one in enumerate(load["requests"])
        )
        self.now_s = self.device_free_s = 0.0
        self.iterations: list[tuple] = []
        self.hits: dict[str, int] = {}
        self.finished_s: dict[str, float] = {}
        self.preempted: list[str] = []
        self._preempt = self.scheduler._preempt_request
        self.scheduler._preempt_request = self._record_preemption

    def _record_preemption(self, request: Request, *args, **kwargs) -> None:
        self.preempted.append(request.request_id)
        self._preempt(request, *args, **kwargs)

    def schedule(self):
        """Put the next batch together; returns it, who samples a token in it, and when it ends."""
        scheduler = self.scheduler
        batch = scheduler.schedule()
        for new in batch.scheduled_new_reqs:
            self.hits.setdefault(new.req_id, new.num_computed_tokens)
        sampling = [i for i in batch.num_scheduled_tokens if not scheduler.requests[i].is_prefill_chunk]
        if batch.num_scheduled_tokens:
            start_s = max(self.now_s, self.device_free_s)
            free = scheduler.kv_cache_manager.block_pool.get_num_free_blocks()
            self.iterations.append((start_s, dict(batch.num_scheduled_tokens), self.preempted, free))
            self.preempted = []
            self.device_free_s = start_s + 1
        return batch, sampling, self.device_free_s

    def update(self, batch, sampling: list[str], end_s: float) -> None:
        self.now_s = max(self.now_s, end_s)
        scheduler = self.scheduler
        ids = list(batch.num_scheduled_tokens)
        tokens = []
        for i in ids:
            request = scheduler.requests.get(i)
            gives = i in sampling and request is not None
            tokens.append([self.outputs[int(i)][request.num_output_tokens]] if gives else [])
        output = ModelRunnerOutput(ids, {i: at for at, i in enumerate(ids)}, sampled_token_ids=tokens)
        scheduler.update_from_output(batch, output)
        for i in ids:
            if i not in scheduler.requests:
                self.finished_s.setdefault(i, end_s)

    def serve(self) -> dict:
        """As vLLM's engine core loops: schedule until enough batches are on the way, then wait for the first."""
        scheduler, queue, empty = self.scheduler, deque(), 0
        while self.coming or queue or scheduler.has_unfinished_requests():
            if not queue and not scheduler.has_unfinished_requests():
                self.now_s = max(self.now_s, self.coming[0][0])
            while self.coming and self.coming[0][0] <= self.now_s:
                scheduler.add_request(self.coming.popleft()[1])
            if scheduler.has_requests():
                queue.append(self.schedule())
                empty = 0 if queue[-1][0].num_scheduled_tokens else empty + 1
                assert empty < 8, f"stuck at {self.now_s} s"
                if len(queue) < self.ahead:
                    continue
            if queue:
                self.update(*queue.popleft())
        free = scheduler.kv_cache_manager.block_pool.get_num_free_blocks()
        return {
            "iterations": self.iterations,
            "hits": self.hits,
            "finished_s": self.finished_s,
            "free_blocks": free,
            "preempted_after": self.preempted,
        }


def main() -> None:
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever vLLM prints
    init_none_hash(sha256)
    model = ModelConfig(model=sys.argv[1], skip_tokenizer_init=True, dtype="float32", max_model_len=1000)
    for line in sys.stdin:
        results.write(json.dumps(Run(model, json.loads(line)).serve()) + "\n")
        results.flush()


if __name__ == "__main__":
    main()
