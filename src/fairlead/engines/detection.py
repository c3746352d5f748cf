"""Which model server a metrics page is of: told by the metrics that it has."""

from __future__ import annotations

from dataclasses import fields

from fairlead.engines import ENGINES
from fairlead.engines.engine import Engine
from fairlead.engines.signals import EngineSignals

_SIGNALS = tuple(field.name for field in fields(EngineSignals))


def engine_of(page: bytes) -> Engine | None:
    """The adapter that finds most signals on the page; None where none finds any. Never raises.

    Servers whose pages are alike (vLLM, vLLM for TPUs, the simulated engine) are all taken for vLLM: what a page says
    is the same for all of them.
    """
    best: tuple[int, Engine] | None = None
    for engine in sorted(ENGINES.values(), key=lambda e: e.runtime != "vllm"):
        said = engine.signals(page)
        found = sum(getattr(said, name) is not None for name in _SIGNALS)
        if found and (best is None or found > best[0]):
            best = (found, engine)
    return None if best is None else best[1]
