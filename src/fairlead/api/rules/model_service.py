"""Rules of `ModelService`."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.api.model_service.service import MAX_NAME_LENGTH
from fairlead.api.rules import parts
from fairlead.api.rules.parts import below
from fairlead.api.rules.rule import Rule, Rules

NEED_SOURCE = (
    "furiosa-llm", "jetstream", "llama-cpp", "mlserver", "onnx", "openvino", "sglang", "tensorrt-llm", "tgi", "triton",
    "vllm", "vllm-tpu",
)  # fmt: skip
"""Installed runtimes that do not start without weights."""

_OBJECT: Sequence[Rule] = [
    Rule(
        f"size(self.metadata.name) <= {MAX_NAME_LENGTH}",
        f"metadata.name may have at most {MAX_NAME_LENGTH} characters: replicas are named after it",
    ),
    Rule(
        "!self.metadata.name.contains('.')",
        "metadata.name must be a DNS label (no dots): replicas are named after it",
    ),
]

_HAS_SOURCE = "(has(self.model.source) && self.model.source != '')"
_RUNTIME = Rule(
    f"!has(self.runtime) || !(self.runtime in {list(NEED_SOURCE)}) || {_HAS_SOURCE}",
    "this runtime needs a model source: a folder or a URL such as hf://org/name",
    telling="'runtime ' + self.runtime + ' needs a model source: a folder or a URL such as hf://org/name'",
    field=".model.source",
)

_DELIVERY: Sequence[Rule] = [
    Rule(
        "self.delivery != 'ImageVolume' || (has(self.source) && self.source.startsWith('oci://'))",
        "an image volume is an OCI artifact: give a source such as oci://registry/name:tag, or another delivery",
        field=".delivery",
    ),
    Rule(
        "self.delivery != 'Fetch' || (has(self.source) && self.source != '')",
        "there is nothing to fetch: give a source, or leave delivery out",
        field=".delivery",
    ),
    Rule(
        "!has(self.aliases) || !(self.name in self.aliases)",
        "the model's own name need not be among its aliases: leave it out there",
        telling="'the name ' + self.name + ' need not be among the aliases: leave it out there'",
        field=".aliases",
    ),
]

_FIRST = "(m.name == self.model.name || (has(self.model.aliases) && m.name in self.model.aliases))"
_OWN_ALIASES = "has(m.aliases) && m.aliases.exists(a, {})"
_NAMES: Sequence[Rule] = [
    Rule(
        f"!has(self.models) || !self.models.exists(m, {_FIRST})",
        "models has a name that is already the first model's: every name reaches one model; leave one of them out",
        telling=f"'models has the name ' + self.models.filter(m, {_FIRST})[0].name + "
        "', which is already the first model\\'s: every name reaches one model; leave one of them out'",
        field=".models",
    ),
    Rule(
        "!has(self.models) || !self.models.exists(m, "
        + _OWN_ALIASES.format("a == self.model.name || (has(self.model.aliases) && a in self.model.aliases)")
        + ")",
        "models has an alias that is already a name of the first model: every name reaches one model; leave one of "
        "them out",
        field=".models",
    ),
    Rule(
        "!has(self.models) || !self.models.exists(o, self.models.exists(m, has(m.aliases) && o.name in m.aliases))",
        "models has an alias that is also a name in models: every name reaches one model; leave one of them out",
        field=".models",
    ),
    Rule(
        "!has(self.models) || !self.models.exists(m, self.models.exists(o, has(m.aliases) && has(o.aliases) && "
        "m.name != o.name && m.aliases.exists(a, a in o.aliases)))",
        "models has the same alias twice: every name reaches one model; leave one of them out",
        field=".models",
    ),
]

_REPLICAS: Sequence[Rule] = [
    Rule(
        "!has(self.scaling) || self.replicas >= self.scaling.minReplicas",
        "replicas is below scaling.minReplicas: raise replicas, or lower minReplicas",
        telling="'replicas is ' + string(self.replicas) + ', below scaling.minReplicas, which is ' + "
        "string(self.scaling.minReplicas) + ': raise replicas, or lower minReplicas'",
        field=".replicas",
    ),
    Rule(
        "!has(self.scaling) || self.scaling.maxReplicas == 0 || self.replicas <= self.scaling.maxReplicas",
        "replicas is above scaling.maxReplicas: lower replicas, or raise maxReplicas (0: no bound)",
        telling="'replicas is ' + string(self.replicas) + ', above scaling.maxReplicas, which is ' + "
        "string(self.scaling.maxReplicas) + ': lower replicas, or raise maxReplicas (0: no bound)'",
        field=".replicas",
    ),
]
_WITHIN = (
    "(!has(r.scaling) || (self.replicas * r.replicas >= r.scaling.minReplicas && "
    "(r.scaling.maxReplicas == 0 || self.replicas * r.replicas <= r.scaling.maxReplicas)))"
)
_OUTSIDE = f"self.roles.filter(r, !{_WITHIN})[0]"
_ROLE_BOUNDS = Rule(
    f"!has(self.roles) || self.roles.all(r, {_WITHIN})",
    "the engines of a role (the service's replicas x the role's) are outside the role's scaling: change one of them",
    telling=f"'role ' + {_OUTSIDE}.name + ' has ' + string(self.replicas * {_OUTSIDE}.replicas) + ' engines ('"
    f" + string(self.replicas) + ' x ' + string({_OUTSIDE}.replicas) + '), outside its scaling, from ' + "
    f"string({_OUTSIDE}.scaling.minReplicas) + ' to ' + string({_OUTSIDE}.scaling.maxReplicas) + "
    "' (0: no bound): change one of them'",
    field=".roles",
)


def _has_role(name: str) -> str:
    return f"self.exists(r, r.name == '{name}')"


_ROLES: Sequence[Rule] = [
    Rule(
        f"!{_has_role('unified')} || size(self) == 1",
        "role unified does all of the work, and stands alone: remove it, or the other roles",
    ),
    Rule(
        f"{_has_role('prefill')} == {_has_role('decode')}",
        "prefill and decode need each other: add the one that is missing",
        telling=f"{_has_role('prefill')} ? 'role prefill hands over to decode: add a role decode' : "
        "'role decode takes over from prefill: add a role prefill'",
    ),
    Rule(
        f"!{_has_role('encode')} || {_has_role('unified')} || {_has_role('prefill')}",
        "role encode hands over to prefill: add the roles prefill and decode",
    ),
]

_ONE_HOST = "(!has({0}.parallelism) || {0}.parallelism.hosts == 1)"
_ONE_HOST_EACH = (
    f"{_ONE_HOST.format('{0}')} && (!has({{0}}.accelerators) || {{0}}.accelerators.all(x, {_ONE_HOST.format('x')}))"
)
_WORKLOAD: Sequence[Rule] = [
    Rule(
        "self.workload == 'Replicas' || self.rollout.strategy == 'Rolling'",
        "this workload rolls by itself: with strategies BlueGreen and Canary take workload Replicas",
        telling="'workload ' + self.workload + ' rolls by itself: for strategy ' + self.rollout.strategy + "
        "' take workload Replicas'",
        field=".rollout.strategy",
    ),
    Rule(
        f"self.workload != 'Deployment' || ({_ONE_HOST_EACH.format('self')} && "
        f"(!has(self.roles) || self.roles.all(r, {_ONE_HOST_EACH.format('r')})))",
        "a Deployment has no replicas of several hosts: take workload Replicas or LeaderWorkerSet, or "
        "parallelism.hosts 1 everywhere",
        field=".workload",
    ),
]
_DRAIN: Sequence[Rule] = [
    Rule(
        "self.timeoutSeconds == 0 || self.settleSeconds <= self.timeoutSeconds",
        "settleSeconds is longer than timeoutSeconds: the engine would be stopped before anybody is believed; raise "
        "timeoutSeconds, or lower settleSeconds",
        field=".settleSeconds",
    ),
]

RULES: Rules = {
    "": _OBJECT,
    "spec": [_RUNTIME, *_NAMES, *_REPLICAS, _ROLE_BOUNDS, *_WORKLOAD],
    "spec.model": _DELIVERY,
    "spec.model.name": parts.MODEL_NAME,
    "spec.model.aliases[]": parts.MODEL_NAME,
    "spec.model.source": parts.SOURCE,
    "spec.model.verification": parts.VERIFICATION,
    "spec.models[].name": parts.MODEL_NAME,
    "spec.models[].aliases[]": parts.MODEL_NAME,
    "spec.models[].source": parts.SOURCE,
    **below("spec", parts.WORKLOAD),
    "spec.roles": _ROLES,
    **below("spec.roles[]", parts.WORKLOAD),
    "spec.rollout": [parts.SURGE],
    "spec.rollout.maxSurge": parts.COUNT_OR_PERCENT,
    "spec.rollout.maxUnavailable": parts.PERCENT_TO_100,
    "spec.rollout.canary.steps": parts.CANARY_STEPS,
    **below("spec.rollout", parts.COMPARED),
    "spec.recovery.budget": parts.PERCENT_TO_100,
    "spec.drain": _DRAIN,
    "spec.workload": [
        Rule(
            "self == oldSelf",
            "workload cannot be changed: deploy a second service with the other workload, then delete this one",
        ),
    ],
}
