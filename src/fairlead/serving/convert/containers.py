"""The container that serves: its environment, resources, probes and command line, as a workload of ours.

What a workload has no field for is laid over the engine's container (`podTemplate`), so that it is kept as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fairlead.api.structural import QUANTITY
from fairlead.serving.convert.command_lines import ADDITIONAL_ARGS, Start, engine_of_image, read_start, split_words
from fairlead.serving.convert.flags import Lifted, lift
from fairlead.serving.convert.reading import Reading
from fairlead.serving.convert.report import BadManifest, Loss, Severity
from fairlead.serving.render.container import ENGINE, OURS

Json = dict[str, Any]

MODEL_FOLDER: Final = "/mnt/models"
"""Where KServe puts the weights; ours are where `${model.path}` says."""
_PASSED: Final = (
    "imagePullPolicy", "envFrom", "securityContext", "volumeMounts", "volumeDevices", "lifecycle", "workingDir",
    "stdin", "stdinOnce", "tty", "terminationMessagePath", "terminationMessagePolicy", "resizePolicy", "restartPolicy",
    "restartPolicyRules",
)  # fmt: skip
_PROBES: Final = ("startupProbe", "readinessProbe", "livenessProbe")
_HANDLERS: Final = ("httpGet", "exec", "tcpSocket", "grpc")
_VALUE_FROM: Final[Mapping[str, frozenset[str]]] = {
    "fieldRef": frozenset({"fieldPath", "apiVersion"}),
    "resourceFieldRef": frozenset({"resource", "containerName", "divisor"}),
    "configMapKeyRef": frozenset({"name", "key", "optional"}),
    "secretKeyRef": frozenset({"name", "key", "optional"}),
}
_ENV_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*\Z")
_QUANTITY = re.compile(QUANTITY["pattern"])
_ACCELERATOR = re.compile(
    r"(nvidia\.com/(gpu|mig-.*)|amd\.com/gpu|google\.com/tpu|habana\.ai/gaudi|gpu\.intel\.com/.*|intel\.com/gpu"
    r"|furiosa\.ai/.*|huawei\.com/.*|aws\.amazon\.com/neuron.*)\Z"
)
"""Extended resources that are accelerators; others (network cards) stay among the resources."""
_ROCE: Final = "KSERVE_INFER_ROCE"


@dataclass(frozen=True, slots=True)
class Wanted:
    """How the container is to be read.

    `engine` is what the runtime says it is; empty: by image and command, else `default`. `other` is a runtime's engine
    that a person asked for in its place, which arguments and image then do not fit. `appends` says that the original's
    start script adds VLLM_ADDITIONAL_ARGS to the arguments, `keeps_image` that the engine is in the image, whatever its
    name is.
    """

    engine: str = ""
    other: str = ""
    default: str = ""
    appends: bool = False
    keeps_image: bool = False


@dataclass(slots=True)
class Container:
    """`workload` has command, args, env, resources and accelerators; `overlay` is the rest of the container."""

    engine: str
    lifted: Lifted
    workload: Json = field(default_factory=dict)
    overlay: Json = field(default_factory=dict)
    devices: int = 0
    storage_uri: str = ""


def read_container(reading: Reading, wanted: Wanted) -> Container:
    """Raises BadManifest."""
    image = reading.text("image")
    env, held = _environment(reading)
    storage = env.pop("STORAGE_URI", {}).get("value", "")
    command, args = reading.texts("command"), reading.texts("args")
    start = read_start(image, command, args, {name: var.get("value", "") for name, var in env.items()})
    arguments = list(start.arguments)
    # A start script of the original adds these; who has a command of their own, has them where it names them.
    spent = {*start.expanded, *({ADDITIONAL_ARGS} if wanted.appends and not command else ())}
    if wanted.appends and not command and "value" in env.get(ADDITIONAL_ARGS, {}):
        arguments += split_words(env[ADDITIONAL_ARGS]["value"])
    engine = wanted.engine or start.engine or engine_of_image(image) or wanted.default
    made = Container(engine, lift(arguments, engine), storage_uri=storage)
    _say_start(reading, start, made.lifted)
    for name in spent & env.keys():
        del env[name]
    _place_environment(env, held, made)
    _resources(reading.child("resources"), made)
    _probes(reading, made.overlay)
    reading.say("ports", Severity.CHANGED, "the engine listens where Fairlead tells it to, on port 8000 of the pod")
    for key in _PASSED:
        if key in reading:
            made.overlay[key] = reading.take(key)
    _program(reading, image, start, made, wanted)
    return made


def _program(reading: Reading, image: str, start: Start, made: Container, wanted: Wanted) -> None:
    """Image, command and arguments, where they fit the engine that will run."""
    if wanted.other and wanted.other != made.engine:
        why = f"{wanted.other} runs in its place, as was asked: write its arguments by hand"
        for key in ("image", "command", "args"):
            reading.say(key, Severity.LOST, why)
        if made.lifted.args:
            text = " ".join(made.lifted.args)
            reading.losses.append(Loss(f"{reading.field}: arguments", text, Severity.LOST, why))
        made.lifted.args = []
        made.engine = wanted.other
        return
    if made.engine == "huggingfaceserver":
        why = "KServe's server is not needed: vLLM runs from its own image, under the paths /v1 in place of /openai/v1"
        reading.say("image", Severity.CHANGED, why)
        made.engine = "vllm"
    elif made.engine == "simulated":
        _say_simulated(reading, made)
    elif image and (wanted.keeps_image or made.engine in (engine_of_image(image), start.engine)):
        made.overlay["image"] = image
    elif image:
        why = f"another program serves the model here, {made.engine or 'the runtime'} from its own image"
        reading.say("image", Severity.CHANGED, why)
    if start.command:
        made.workload["command"] = list(start.command)
        why = "the engine's own arguments follow the program: look whether it hands them on"
        reading.say("command", Severity.ATTENTION, why)
    if made.lifted.args:
        made.workload["args"] = made.lifted.args


def _say_simulated(reading: Reading, made: Container) -> None:
    why = "Fairlead has a simulated engine of its own: `fairlead engine simulated --help` has its arguments"
    reading.say("image", Severity.CHANGED, why)
    if made.lifted.args:
        reading.losses.append(Loss(f"{reading.field}: arguments", " ".join(made.lifted.args), Severity.LOST, why))
        made.lifted.args = []


def _say_start(reading: Reading, start: Start, lifted: Lifted) -> None:
    at = "args" if "args" in reading else "command"
    for text, severity, why in lifted.said:
        reading.losses.append(Loss(f"{reading.field}: {at}", text, severity, why))
    value = reading.peek("command") or reading.peek("args")
    reading.losses += [
        Loss(reading.path("command" if "command" in reading else "args"), value, Severity.ATTENTION, problem)
        for problem in start.problems
    ]
    if "command" in reading and not start.command and not start.problems:
        why = "Fairlead starts the engine by its own command; the arguments are carried over"
        reading.say("command", Severity.CHANGED, why)


def _environment(reading: Reading) -> tuple[dict[str, Json], dict[str, Json]]:
    """Variables by name: those that a service can say, and those that only a pod can."""
    said: dict[str, Json] = {}
    only_in_pod: dict[str, Json] = {}
    for item in reading.children("env"):
        name = item.text("name")
        if not _ENV_NAME.match(name) or len(name) > 253:
            raise BadManifest(item.path("name"), name, "expected the name of an environment variable")
        value_from = item.take("valueFrom")
        var: Json = {"name": name, "value": item.text("value")} if value_from is None else {"name": name}
        if value_from is not None:
            var["valueFrom"] = value_from
            item.text("value")
        if name == _ROCE:
            why = "the start script that looked for RoCE cards is KServe's: set NCCL_IB_HCA and NCCL_IB_GID_INDEX"
            severity = Severity.NOTE if var.get("value") == "false" else Severity.LOST
            item.say("value" if value_from is None else "valueFrom", severity, why)
        elif name in OURS:
            why = "Fairlead sets it in every pod, to what its name says: for another meaning take another name"
            item.say("value" if value_from is None else "valueFrom", Severity.CHANGED, why)
        else:
            if name in said or name in only_in_pod:
                item.losses.append(Loss(item.field, name, Severity.CHANGED, "it is there twice; the last one counts"))
            said.pop(name, None)
            only_in_pod.pop(name, None)
            (said if _is_plain(var) else only_in_pod)[name] = var
    return said, only_in_pod


def _is_plain(var: Json) -> bool:
    """Whether a service can say it; what a pod alone can say, or what names the model's folder, is laid over."""
    value_from = var.get("valueFrom")
    if value_from is None:
        return MODEL_FOLDER not in var["value"]
    if not isinstance(value_from, dict) or len(value_from) != 1:
        return False
    ((kind, ref),) = value_from.items()
    known = _VALUE_FROM.get(kind, frozenset())
    wanted = {"fieldRef": "fieldPath", "resourceFieldRef": "resource"}.get(kind, "key")
    return isinstance(ref, dict) and known.issuperset(ref) and isinstance(ref.get(wanted), str)


def _place_environment(said: dict[str, Json], only_in_pod: dict[str, Json], made: Container) -> None:
    if said:
        made.workload["env"] = list(said.values())
    if only_in_pod:
        made.overlay["env"] = list(only_in_pod.values())


def _resources(reading: Reading, made: Container) -> None:
    sides = {side: quantities(reading, side) for side in ("requests", "limits")}
    if "claims" in reading:
        made.overlay["resources"] = {"claims": reading.take("claims")}
    names = [name for side in ("limits", "requests") for name in sides[side] if _ACCELERATOR.match(name)]
    for name in names[:1]:
        amount = sides["limits"].get(name, sides["requests"].get(name, 0))
        if sides["requests"].get(name, amount) != amount:
            why = f"requests and limits of devices are the same in a pod: {amount} are taken"
            reading.losses.append(
                Loss(f"{reading.path('requests')}[{name}]", sides["requests"][name], Severity.CHANGED, why)
            )
        count = int(amount) if re.fullmatch(r"[0-9]{1,4}", str(amount)) else -1
        if not 0 <= count <= 64:
            raise BadManifest(f"{reading.field}[{name}]", amount, "expected a whole number of devices, up to 64")
        for side in sides.values():
            side.pop(name, None)
        made.devices = count
        if count:
            slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-")
            made.workload["accelerators"] = [{"name": slug, "resource": name, "count": count}]
    kept = {side: amounts for side, amounts in sides.items() if amounts}
    if kept:
        made.workload["resources"] = kept


def quantities(reading: Reading, key: str) -> dict[str, int | str]:
    """Amounts by resource. Raises BadManifest."""
    below = reading.child(key)
    made: dict[str, int | str] = {}
    for name in below.keys():  # noqa: SIM118 (those that have a value)
        amount = below.take(name)
        if isinstance(amount, float):
            amount = format(amount, ".9f").rstrip("0").rstrip(".")
        if isinstance(amount, bool) or not isinstance(amount, (int, str)) or not _QUANTITY.match(str(amount)):
            raise BadManifest(below.path(name), amount, "expected an amount such as 2, 500m or 16Gi")
        made[name] = amount
    return made


def _probes(reading: Reading, overlay: Json) -> None:
    """Times are laid over the probes of Fairlead; whom they ask is Fairlead's to know."""
    for key in _PROBES:
        if key not in reading:
            continue
        probe = reading.child(key)
        for handler in _HANDLERS:
            probe.say(handler, Severity.CHANGED, "Fairlead asks the engine's own page; the times are kept")
        times = {name: probe.take(name) for name in probe.keys() if name not in _HANDLERS}  # noqa: SIM118
        if times:
            overlay[key] = times


def pod_text(value: Any, *, model_path: str = "") -> Any:
    """Texts as they stand in an overlay, in which `${` begins an expression; with `model_path`, KServe's folder of the
    weights becomes that."""
    replaced: Callable[[str], str] = (
        (lambda text: text.replace("${", "$${").replace(MODEL_FOLDER, model_path))
        if model_path
        else (lambda text: text.replace("${", "$${"))
    )
    return each_text(value, replaced)


def each_text(value: Any, change: Callable[[str], str]) -> Any:
    """A value with every text in it changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: each_text(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [each_text(item, change) for item in value]
    return value


def engine_overlay(made: Container) -> Json:
    """The container as it is laid over the engine's."""
    if not made.overlay:
        return {}
    return {"name": ENGINE, **pod_text(made.overlay, model_path="${model.path}")}
