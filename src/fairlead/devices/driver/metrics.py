"""Prometheus metrics of the driver. `operation` is prepare or unprepare; durations are of whole calls of the
kubelet."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

CALL_S: Final = Histogram(
    "fairlead_dra_call_duration_seconds", "Duration of the kubelet's calls", ["driver", "operation"], buckets=_SECONDS
)
CLAIMS: Final = Counter(
    "fairlead_dra_claims", "Claims in the kubelet's calls, by outcome", ["driver", "operation", "outcome"]
)
"""`outcome` is ok or the error's class."""
PREPARED: Final = Gauge("fairlead_dra_prepared_claims", "Claims that hold devices", ["driver", "node", "phase"])
DEVICES: Final = Gauge("fairlead_dra_devices", "Devices of a node by damped health", ["driver", "node", "health"])
REGISTERED: Final = Gauge(
    "fairlead_dra_registered",
    "Whether the kubelet has taken the driver: 1 yes, 0 not yet, -1 refused",
    ["driver", "node"],
)
HEALTH_WATCHERS: Final = Gauge("fairlead_dra_health_watchers", "Open health streams", ["driver", "node"])
PROBE_PROBLEM: Final = Gauge("fairlead_dra_probe_failed", "1 while the last probe failed", ["driver", "node"])
RELEASED_UNASKED: Final = Counter(
    "fairlead_dra_forgotten_claims", "Claims released because the API no longer had them", ["driver"]
)
