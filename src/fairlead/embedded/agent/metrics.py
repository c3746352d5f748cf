"""CPU and memory use of containers and the node, in the kubelet's `/metrics/resource` and `/stats/summary` forms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fairlead.clock import format_time
from fairlead.embedded.agent.container import Container
from fairlead.embedded.agent.shim import processes

if TYPE_CHECKING:
    from fairlead.embedded.agent.agent import NodeAgent
    from fairlead.embedded.agent.worker import PodWorker


def container_use(container: Container) -> tuple[float, int]:
    """CPU seconds used so far by the processes that run now, and their resident bytes."""
    pids = processes.descendants(container.shim_pid)
    return processes.cpu_seconds(pids), processes.resident_bytes(pids)


def resource_metrics(agent: NodeAgent) -> str:
    """Prometheus text."""
    cpu, memory, starts = [], [], []
    total_cpu, total_memory = 0.0, 0
    for worker, container in _running(agent):
        meta = worker.pod.metadata
        labels = f'container="{container.name}",namespace="{meta.namespace}",pod="{meta.name}"'
        used_cpu, used_memory = container_use(container)
        total_cpu, total_memory = total_cpu + used_cpu, total_memory + used_memory
        cpu.append(f"container_cpu_usage_seconds_total{{{labels}}} {used_cpu:.6f}")
        memory.append(f"container_memory_working_set_bytes{{{labels}}} {used_memory}")
        starts.append(f"container_start_time_seconds{{{labels}}} {container.started_at_s:.6f}")
    families = (
        ("container_cpu_usage_seconds_total", "counter", cpu),
        ("container_memory_working_set_bytes", "gauge", memory),
        ("container_start_time_seconds", "gauge", starts),
        ("node_cpu_usage_seconds_total", "counter", [f"node_cpu_usage_seconds_total {total_cpu:.6f}"]),
        ("node_memory_working_set_bytes", "gauge", [f"node_memory_working_set_bytes {total_memory}"]),
        ("resource_scrape_error", "gauge", ["resource_scrape_error 0"]),
    )
    lines = []
    for name, kind, samples in families:
        lines += [f"# TYPE {name} {kind}", *samples]
    return "\n".join(lines) + "\n"


def stats_summary(agent: NodeAgent) -> dict[str, Any]:
    now = format_time(agent.context.clock.wall_s())
    pods: dict[str, dict[str, Any]] = {}
    for worker, container in _running(agent):
        meta = worker.pod.metadata
        reference = {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid}
        pod = pods.setdefault(meta.uid, {"podRef": reference, "containers": []})
        cpu, memory = container_use(container)
        pod["containers"].append(
            {
                "name": container.name,
                "startTime": format_time(container.started_at_s),
                "cpu": {"time": now, "usageCoreNanoSeconds": int(cpu * 1e9)},
                "memory": {"time": now, "workingSetBytes": memory, "rssBytes": memory},
            }
        )
    return {"node": {"nodeName": agent.context.node.name}, "pods": list(pods.values())}


def _running(agent: NodeAgent) -> Iterator[tuple[PodWorker, Container]]:
    for worker in list(agent.workers.values()):
        for slot in worker.slots.values():
            if slot.current is not None and slot.current.is_running:
                yield worker, slot.current
