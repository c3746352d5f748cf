"""Prometheus metrics of control loops, under the names that controller-runtime and client-go have made common."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_SECONDS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0)

QUEUE_DEPTH: Final = Gauge("workqueue_depth", "Keys ready and not yet handed out", ["name"])
QUEUE_ADDS: Final = Counter("workqueue_adds", "Keys added", ["name"])
QUEUE_RETRIES: Final = Counter("workqueue_retries", "Keys added again after a failure", ["name"])
QUEUE_WAIT_S: Final = Histogram(
    "workqueue_queue_duration_seconds", "Time from ready to handed out", ["name"], buckets=_SECONDS
)
RECONCILES: Final = Counter("controller_runtime_reconcile", "Reconciles by result", ["controller", "result"])
RECONCILE_S: Final = Histogram(
    "controller_runtime_reconcile_time_seconds", "Duration of a reconcile", ["controller"], buckets=_SECONDS
)
ACTIVE_WORKERS: Final = Gauge("controller_runtime_active_workers", "Reconciles that run now", ["controller"])
LEADER: Final = Gauge("leader_election_master_status", "Whether this process leads", ["name"])
"""1 while this process holds the lease, 0 otherwise."""
EVENTS_DROPPED: Final = Counter("fairlead_events_dropped", "Events about objects that were not written", ["reason"])
