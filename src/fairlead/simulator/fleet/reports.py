"""What a replica's engines say of themselves when they are scraped, in the form of every model server."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.engines import EngineSignals
from fairlead.simulator.engine import Engine


def signals_of(engines: Sequence[Engine], at_s: float) -> EngineSignals:
    """The signals of a replica with these engines at a moment since their last change."""
    settings = engines[0].settings
    running = waiting = prompt_tokens = preemptions = queried = hit = 0
    usage = 0.0
    running_adapters: set[str] = set()
    waiting_adapters: set[str] = set()
    for engine in engines:
        scheduler = engine.scheduler
        running += engine.num_running
        waiting += engine.num_waiting
        usage += engine.kv_usage(at_s)
        prompt_tokens += engine.counters.prompt_tokens
        preemptions += scheduler.preemptions
        queried += scheduler.prefix_queried_tokens
        hit += scheduler.prefix_hit_tokens
        if settings.adapters is not None:
            running_adapters.update(engine.running_adapters())
            waiting_adapters.update(engine.waiting_adapters())
    has_adapters = settings.adapters is not None
    return EngineSignals(
        running_requests=running,
        waiting_requests=waiting,
        kv_cache_usage_ratio=usage / len(engines),
        kv_block_tokens=settings.block_tokens,
        kv_cache_capacity_tokens=settings.num_blocks * settings.block_tokens * len(engines),
        prefix_cache_queried_tokens_total=queried,
        prefix_cache_hit_tokens_total=hit,
        preemptions_total=preemptions,
        prompt_tokens_total=prompt_tokens,
        running_adapters=tuple(sorted(running_adapters)) if has_adapters else None,
        waiting_adapters=tuple(sorted(waiting_adapters - running_adapters)) if has_adapters else None,
        max_adapters=settings.adapters.max_loras if settings.adapters is not None else None,
    )
