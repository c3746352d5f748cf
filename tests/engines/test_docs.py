"""docs/engines.md: its tables are the adapters' own, its example runs."""

from __future__ import annotations

import re
from pathlib import Path

from fairlead.engines import ENGINES, EngineSpec, EngineSpecError, Parallelism
from fairlead.engines.engine import Engine

DOCS = (Path(__file__).parents[2] / "docs" / "engines.md").read_text()

COLUMNS = {
    "running": "running_requests",
    "waiting": "waiting_requests",
    "swapped": "swapped_requests",
    "KV use": "kv_cache_usage_ratio",
    "KV size": "kv_cache_capacity_tokens",
    "prefix hits": "prefix_cache_hit_tokens_total",
    "preempted": "preemptions_total",
    "tokens": "generation_tokens_total",
    "succeeded": "succeeded_requests_total",
    "adapters": "max_adapters",
    "drafts": "spec_decode_accepted_tokens_total",
    "TTFT": "ttft",
    "ITL": "itl",
    "E2E": "e2e",
    "queue": "queue",
}


def signals_table() -> str:
    lines = ["| runtime | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for engine in ENGINES.values():
        marks = ["✓" if field in engine.signal_table.rules else " " for field in COLUMNS.values()]
        lines.append(f"| `{engine.runtime}` | " + " | ".join(marks) + " |")
    return "\n".join(lines)


def abilities(engine: Engine) -> tuple[str, ...]:
    handoff = engine.handoff
    way = "" if handoff is None else "at once" if handoff.concurrent else "one after the other"
    finishes = "finish" if engine.drain.finishes_streams else "may be cut"
    return (
        engine.title,
        engine.api,
        "several" if serves_several_hosts(engine) else "one",
        "yes" if engine.adapters else "",
        way,
        engine.kv_events or "",
        "yes" if engine.sleeping else "",
        f"streams {finishes}; new requests {engine.drain.new_requests}; readiness {engine.drain.health}",
    )


def serves_several_hosts(engine: Engine) -> bool:
    try:
        spec = EngineSpec("m", source="/m", parallelism=Parallelism(tensor=2, hosts=2))
        return len(engine.member_commands(spec)) == 2
    except EngineSpecError:
        return False


def abilities_table() -> str:
    head = (
        "runtime",
        "server",
        "API",
        "hosts",
        "adapters while it runs",
        "hand-off",
        "cache events",
        "sleep",
        "SIGTERM",
    )
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    lines += [f"| `{e.runtime}` | " + " | ".join(abilities(e)) + " |" for e in ENGINES.values()]
    return "\n".join(lines)


def test_the_table_of_abilities_is_the_adapters_own():
    assert abilities_table() in DOCS


def test_the_table_of_signals_is_the_adapters_own():
    assert signals_table() in DOCS


def test_the_example_of_an_adapter_runs():
    (example,) = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)
    exec(compile(example, "docs/engines.md", "exec"), {})
