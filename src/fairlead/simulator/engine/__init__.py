"""The engine model: a continuous-batching server as vLLM V1 has it, as a pure state machine advanced in time.

Its cost grows with requests and changes of the batch, not with tokens; one core simulates thousands of requests/s.
"""

from fairlead.simulator.engine.block_run import HASH_BYTES
from fairlead.simulator.engine.counters import Counters
from fairlead.simulator.engine.engine import Engine
from fairlead.simulator.engine.kv_cache import BlockObserver, KvCache
from fairlead.simulator.engine.limits import RequestTooLong
from fairlead.simulator.engine.ranks import pick_rank
from fairlead.simulator.engine.request import Request, Sequence, State
from fairlead.simulator.engine.settings import (
    AdapterSettings,
    EngineSettings,
    SettingsError,
    Speculation,
    TransferSettings,
)
from fairlead.simulator.engine.sketch import Sketch

__all__ = [
    "HASH_BYTES",
    "AdapterSettings",
    "BlockObserver",
    "Counters",
    "Engine",
    "EngineSettings",
    "KvCache",
    "Request",
    "RequestTooLong",
    "Sequence",
    "SettingsError",
    "Sketch",
    "Speculation",
    "State",
    "TransferSettings",
    "pick_rank",
]
