"""How model services look to people: rows of a table, and the lines of a description. Pure, but for `read_service`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fairlead.cli.columns import columns
from fairlead.cli.manifests import API_VERSION, Json
from fairlead.clock import parse_time
from fairlead.kube.client import Client
from fairlead.kube.errors import NotFound
from fairlead.kube.kinds import EVENTS
from fairlead.kube.resources import Resource

PODS = Resource.of("v1", "pods", "Pod")
ADAPTERS = Resource.of(API_VERSION, "modeladapters", "ModelAdapter")
SERVICE_LABEL = "fairlead.dev/model-service"
DRAINING_ANNOTATION = "fairlead.dev/draining"

MAX_EVENTS = 12


@dataclass(frozen=True, slots=True)
class Seen:
    """A service with what belongs to it."""

    service: Json
    pods: Sequence[Json]
    adapters: Sequence[Json]
    events: Sequence[Any]


async def read_service(client: Client, service: Json) -> Seen:
    """Raises ApiError."""
    meta = service["metadata"]
    namespace, name = meta["namespace"], meta["name"]
    pods = (await client.list(PODS, namespace, label_selector=f"{SERVICE_LABEL}={name}")).items
    try:
        adapters = (await client.list(ADAPTERS, namespace)).items
    except NotFound:
        adapters = []
    about = f"involvedObject.kind=ModelService,involvedObject.name={name}"
    events = (await client.list(EVENTS, namespace, field_selector=about)).items
    return Seen(service, pods, [a for a in adapters if a["spec"]["service"] == name], events)


def get_rows(
    services: Iterable[Json], now_s: float, *, with_namespace: bool
) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Header and rows of `fairlead get`."""
    header = ["NAME", "MODEL", "RUNTIME", "READY", "UPDATED", "ROLLOUT", "STATUS", "AGE"]
    rows = []
    for service in services:
        meta, spec, status = service["metadata"], service["spec"], service.get("status") or {}
        row = [
            meta["name"],
            spec["model"]["name"],
            status.get("runtime") or spec.get("runtime") or "-",
            _ready(spec, status),
            str(status.get("updatedReplicas", 0)),
            _rollout(status),
            _why(status),
            age(meta["creationTimestamp"], now_s),
        ]
        rows.append([meta["namespace"], *row] if with_namespace else row)
    return (["NAMESPACE", *header] if with_namespace else header), rows


def describe_lines(seen: Seen, now_s: float) -> list[str]:
    """The description of one service."""
    meta, spec, status = seen.service["metadata"], seen.service["spec"], seen.service.get("status") or {}
    model = spec["model"]
    lines = [
        f"Name:      {meta['namespace']}/{meta['name']}",
        f"Model:     {', '.join([model['name'], *model.get('aliases', [])])}"
        + (f"  from {model['source']}" if model.get("source") else ""),
        f"Runtime:   {status.get('runtime') or spec.get('runtime') or '-'}",
        f"Revision:  {status.get('revision') or '-'}"
        + (f"  wanted {status['updateRevision']}" if status.get("updateRevision") != status.get("revision") else "")
        + (f"  taken back {status['rejectedRevision']}" if status.get("rejectedRevision") else ""),
    ]
    lines += [f"Warning:   {text}" for text in status.get("warnings") or ()]
    lines += ["", *_table("Conditions", ["TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"], _conditions(status, now_s))]
    lines += ["", *_table("Roles", ["ROLE", "DESIRED", "READY", "UPDATED", "DRAINING", "ON"], _roles(status))]
    lines += ["", *_table("Replicas", ["POD", "ROLE", "REVISION", "TRACK", "STATE", "NODE", "AGE"], _pods(seen, now_s))]
    lines += trial_lines(status)
    adapters = [_adapter(a) for a in seen.adapters]
    if adapters:
        lines += ["", *_table("Adapters", ["NAME", "LOADED", "STATUS", "SOURCE"], adapters)]
    recoveries = [[r["time"], r["replica"], r["cause"], r["action"]] for r in status.get("recoveries", ())]
    if recoveries:
        lines += ["", *_table("Recoveries", ["TIME", "REPLICA", "CAUSE", "ACTION"], recoveries)]
    events = sorted(seen.events, key=lambda e: e.last_timestamp or e.event_time or "")[-MAX_EVENTS:]
    if events:
        lines += ["", *_table("Events", ["LAST", "REASON", "MESSAGE"], [_event(e, now_s) for e in events])]
    return lines


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return [f"{title}: none"]
    return [f"{title}:", *("  " + line for line in columns(header, rows).splitlines())]


def _ready(spec: Json, status: Json) -> str:
    roles = status.get("roles") or []
    if len(roles) > 1:
        return " ".join(f"{r['name']} {r.get('ready', 0)}/{r.get('desired', 0)}" for r in roles)
    return f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 1)}"


def _rollout(status: Json) -> str:
    rollout = status.get("rollout") or {}
    phase = rollout.get("phase") or "-"
    return f"{phase} {rollout['weight']} %" if rollout.get("weight") else str(phase)


def _why(status: Json) -> str:
    ready = _condition(status, "Ready")
    return ready.get("reason", "NotSeenYet") if ready else "NotSeenYet"


def _condition(status: Json, kind: str) -> Json:
    return next((c for c in status.get("conditions") or () if c["type"] == kind), {})


def _conditions(status: Json, now_s: float) -> list[list[str]]:
    return [
        [c["type"], c["status"], c["reason"], age(c.get("lastTransitionTime", ""), now_s), c.get("message", "")]
        for c in status.get("conditions") or ()
    ]


def _roles(status: Json) -> list[list[str]]:
    return [
        [
            r["name"], *(str(r.get(count, 0)) for count in ("desired", "ready", "updated", "draining")),
            ", ".join(f"{n} on {a}" for a, n in sorted(r.get("accelerators", {}).items())) or "-",
        ]
        for r in status.get("roles") or ()
    ]  # fmt: skip


def _pods(seen: Seen, now_s: float) -> list[list[str]]:
    rows = []
    for pod in sorted(seen.pods, key=lambda p: p["metadata"]["name"]):
        meta, labels = pod["metadata"], pod["metadata"].get("labels", {})
        rows.append([
            meta["name"],
            labels.get("fairlead.dev/role", "unified"),
            labels.get("fairlead.dev/revision", "-"),
            labels.get("fairlead.dev/track", "stable"),
            pod_state(pod),
            pod["spec"].get("nodeName", "-"),
            age(meta["creationTimestamp"], now_s),
        ])  # fmt: skip
    return rows


def pod_state(pod: Json) -> str:
    """What a pod does, in a word or two."""
    meta, status = pod["metadata"], pod.get("status") or {}
    if meta.get("deletionTimestamp"):
        return "stopping"
    if meta.get("annotations", {}).get(DRAINING_ANNOTATION, "false") != "false":
        return "draining"
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    if conditions.get("Ready", {}).get("status") == "True":
        return "ready"
    if conditions.get("PodScheduled", {}).get("status") == "False":
        return "unschedulable"
    for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        waiting = (container.get("state") or {}).get("waiting")
        if waiting and waiting.get("reason") not in ("PodInitializing", "ContainerCreating"):
            return str(waiting.get("reason", "waiting"))
    return "starting" if status.get("phase") in ("Pending", "Running") else str(status.get("phase", "new")).lower()


def trial_lines(status: Json, *, always: bool = False) -> list[str]:
    """Where a rollout stands and what its analysis says; nothing for one that is done, unless `always`."""
    rollout = status.get("rollout") or {}
    if rollout.get("phase", "Stable") == "Stable" and not always:
        return []
    where = f"step {rollout.get('step', 0) + 1}, {rollout.get('weight', 0)} % of the traffic"
    lines = ["", f"Rollout: {rollout.get('phase', 'Stable')}, {where}"]
    if rollout.get("message"):
        lines.append(f"  {rollout['message']}")
    rows = [
        [
            c["measure"], c["verdict"],
            f"{c.get('differencePercent', 0):+.1f} % ± {c.get('uncertaintyPercent', 0):.1f}",
            f"{c.get('requests', 0):,} / {c.get('stableRequests', 0):,}",
            c.get("message", ""),
        ]
        for c in rollout.get("analysis") or ()
    ]  # fmt: skip
    if rows:
        header = ["MEASURE", "VERDICT", "DIFFERENCE", "REQUESTS NEW/STABLE", "MESSAGE"]
        lines += ["  " + line for line in columns(header, rows).splitlines()]
    return lines


def _adapter(adapter: Json) -> list[str]:
    status = adapter.get("status") or {}
    ready = _condition(status, "Ready")
    name = status.get("servedName") or adapter["metadata"]["name"]
    loaded = f"{status.get('loaded', 0)}/{status.get('desired', 0)}"
    return [name, loaded, ready.get("reason", "-"), adapter["spec"]["source"]]


def _event(event: Any, now_s: float) -> list[str]:
    times = f" (x{event.count})" if event.count and event.count > 1 else ""
    return [age(event.last_timestamp or event.event_time or "", now_s), event.reason, event.message + times]


def age(time: str, now_s: float) -> str:
    """How long ago, as kubectl says it; "-" where there is no time."""
    if not time:
        return "-"
    seconds = max(0, int(now_s - parse_time(time)))
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
