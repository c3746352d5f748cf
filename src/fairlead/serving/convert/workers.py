"""Workers of a replica of several hosts: what is laid over them where they are not as the leader is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from fairlead.serving.convert.containers import Wanted, pod_text
from fairlead.serving.convert.pods import Pod, read_pod
from fairlead.serving.convert.reading import Reading
from fairlead.serving.convert.report import Loss, Severity
from fairlead.serving.render.container import ENGINE

Json = dict[str, Any]


def worker_overlay(
    reading: Reading, main: Sequence[str], leader: Pod, labels: Mapping[str, str], annotations: Mapping[str, str],
    wanted: Wanted,
) -> Json:  # fmt: skip
    """`workerTemplate`: the workers' pods, and of their engine's container what the leader's has not. Empty where
    they are alike."""
    mark = len(reading.losses)
    worker = read_pod(reading, main, wanted)
    # What is said of the leader's command line holds for theirs.
    said = {(loss.value, loss.why) for loss in reading.losses[:mark] if isinstance(loss.value, str)}
    new = [
        loss for loss in reading.losses[mark:] if not isinstance(loss.value, str) or (loss.value, loss.why) not in said
    ]
    reading.losses[mark:] = new
    _say_arguments(reading, worker, leader)
    container: Json = {}
    theirs = {var["name"]: var for var in leader.workload.get("env", ())}
    env = [var for var in worker.workload.get("env", ()) if theirs.get(var["name"]) != var]
    if env:
        container["env"] = pod_text(env)
    for key in ("resources", "accelerators"):
        if key in worker.workload and worker.workload[key] != leader.workload.get(key):
            resources = container.setdefault("resources", {})
            for side, amounts in _resources(key, worker.workload[key]).items():
                resources[side] = {**resources.get(side, {}), **amounts}
    overlay = worker.overlay(labels, annotations, whole=True)
    spec = overlay.setdefault("spec", {})
    if "nodeSelector" in worker.workload and worker.workload["nodeSelector"] != leader.workload.get("nodeSelector"):
        spec["nodeSelector"] = worker.workload["nodeSelector"]
    if container:
        _add(spec, container)
    if not spec:
        del overlay["spec"]
    return overlay if overlay != leader.overlay(labels, annotations, whole=True) else {}


def _say_arguments(reading: Reading, worker: Pod, leader: Pod) -> None:
    if replace(worker.container.lifted, said=[]) != replace(leader.container.lifted, said=[]):
        lifted = asdict(worker.container.lifted)
        value = {name: said for name, said in lifted.items() if said and name != "said"}
        why = "workers run with the leader's arguments, to which Fairlead adds what makes them workers"
        reading.losses.append(Loss(f"{reading.field}: arguments", value, Severity.LOST, why))


def _resources(key: str, value: Any) -> Json:
    if key == "resources":
        return dict(value)
    return {"limits": {entry["resource"]: str(entry["count"]) for entry in value}}


def _add(spec: Json, container: Json) -> None:
    listed = spec.setdefault("containers", [])
    own = next((each for each in listed if each["name"] == ENGINE), None)
    if own is None:
        listed.insert(0, {"name": ENGINE, **container})
        return
    own["env"] = [*own.get("env", ()), *container.get("env", ())]
    if not own["env"]:
        del own["env"]
    if "resources" in container:
        own["resources"] = {**own.get("resources", {}), **container["resources"]}
