"""Which data-parallel rank of a server gets a request. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.simulator.engine.engine import Engine

_WAITING_WEIGHT = 4


def pick_rank(engines: Sequence[Engine]) -> int:
    """Index of the rank with the lowest 4 x waiting + running; of equals the first.

    Reference: vLLM 0.32, `v1/engine/core_client.py::DPLBAsyncMPClient`.
    """
    return min(
        range(len(engines)), key=lambda i: (_WAITING_WEIGHT * engines[i].num_waiting + engines[i].num_running, i)
    )
