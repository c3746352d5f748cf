"""The coordinator: plans, prepares ahead of time, hands over, keeps what comes back, and judges it."""

from fairlead.bench.run.coordinator import RunFailed, run
from fairlead.bench.run.live import Progress
from fairlead.bench.run.stop import Stop

__all__ = ["Progress", "RunFailed", "Stop", "run"]
