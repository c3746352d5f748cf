"""How requests are shared between the stable version and one on trial: by model names, or by an HTTPRoute. Pure.

A rewrite for the model's own name has two targets: the name itself, which the stable pool lists and whose engines know
it, and the shadow name of the version on trial, which only its pool lists, so that the gateway goes there
(gateway/resolve.py: targets are not rewritten again).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from math import gcd
from typing import Any, Final

from fairlead.api.model_service import ModelService
from fairlead.serving.render.labels import owned
from fairlead.serving.render.pools import pool_name
from fairlead.serving.resolved import Resolved

Json = dict[str, Any]

_GROUP: Final = "llm-d.ai/v1alpha2"
_MATCH_WHOLE: Final = 100


def rewrite(service: ModelService, stable: Resolved, shadow: str = "", weight: int = 0) -> Json | None:
    """The InferenceModelRewrite that sends `weight` percent of the requests for the model to `shadow`, the name of the
    version on trial. None where nothing is to be rewritten."""
    rules = []
    share = weight if shadow else 0
    if share > 0 and not _by_http_route(service):
        model = service.spec.model
        own = dict.fromkeys((stable.names[0], model.name, *model.aliases))
        rules += [_rule(name, [(name, _MATCH_WHOLE - share), (shadow, share)]) for name in own if name in stable.names]
    rules += [_rule(alias, [(name, 0)]) for alias, name in stable.aliases.items()]
    if not rules:
        return None
    spec = {"poolRef": {"name": pool_name(service.name, "stable")}, "rules": rules}
    return owned(service, _GROUP, "InferenceModelRewrite", service.name, spec=spec)


def objectives(service: ModelService) -> list[Json]:
    """InferenceObjectives of the classes of requests, named SERVICE-CLASS: the names that requests give in their header
    are those of objects, of which a namespace has one. Batch work is the class `batch`."""
    wanted = {each.name: each.priority for each in service.spec.objectives}
    batch = service.spec.batch
    if batch is not None and batch.allowed:
        wanted.setdefault("batch", batch.priority)
    reference = {"name": pool_name(service.name, "stable")}
    return [
        owned(
            service, _GROUP, "InferenceObjective", f"{service.name}-{name}",
            spec={"poolRef": reference, "priority": priority},
        )
        for name, priority in wanted.items()
    ]  # fmt: skip


def route_patch(service: ModelService, route: Mapping[str, Any], weight: int | None) -> Json | None:
    """A merge patch of an HTTPRoute that gives the version on trial `weight` percent of what goes to the service's
    pools; None takes it out again. None is returned where the route is so already.

    Other backends of the same rule keep their share. Only rules that name the service's pool change.
    """
    rules = (route.get("spec") or {}).get("rules") or []
    changed = [_split_rule(service, rule, weight) for rule in rules]
    if changed == rules:
        return None
    # Rules are an atomic list: the version that they were read from must be the one that is changed.
    version = route["metadata"].get("resourceVersion", "")
    return {"metadata": {"resourceVersion": version} if version else {}, "spec": {"rules": changed}}


def routes_to(service: ModelService, route: Mapping[str, Any]) -> bool:
    """Whether any rule of the HTTPRoute has the service's pool among its backends."""
    rules = (route.get("spec") or {}).get("rules") or []
    name = pool_name(service.name, "stable")
    return any(_is_pool(each, name) for rule in rules for each in rule.get("backendRefs") or ())


def _by_http_route(service: ModelService) -> bool:
    canary = service.spec.rollout.canary
    return canary is not None and bool(canary.http_route)


def _rule(name: str, targets: Sequence[tuple[str, int]]) -> Json:
    kept = [(target, weight) for target, weight in targets if weight > 0] or list(targets)[:1]
    return {
        "matches": [{"model": {"type": "Exact", "value": name}}],
        "targets": [
            {"modelRewrite": target, **({"weight": weight} if len(kept) > 1 else {})} for target, weight in kept
        ],
    }


def _split_rule(service: ModelService, rule: Json, weight: int | None) -> Json:
    stable, canary = pool_name(service.name, "stable"), pool_name(service.name, "canary")
    backends = rule.get("backendRefs") or []
    ours = [each for each in backends if _is_pool(each, stable)]
    theirs = [each for each in backends if not _is_pool(each, stable) and not _is_pool(each, canary)]
    tried = [each for each in backends if _is_pool(each, canary)]
    if not ours or (weight is None and not tried):
        return rule
    total = sum(_weight(each) for each in (*ours, *tried))
    factor = _MATCH_WHOLE // gcd(total, _MATCH_WHOLE) if weight is not None else 1
    share = total * factor * (weight or 0) // _MATCH_WHOLE
    weights = [total * factor - share, *([share] if weight is not None else [])]
    others = [_weight(each) * factor for each in theirs]
    divisor = reduce(gcd, [*weights, *others]) or 1
    made = [{**ours[0], "weight": weights[0] // divisor}]
    if weight is not None:
        made.append({**ours[0], "name": canary, "weight": share // divisor})
    kept = iter([{**each, "weight": value // divisor} for each, value in zip(theirs, others, strict=True)])
    placed: list[Json] = []
    for each in backends:
        if _is_pool(each, stable):
            placed += made
            made = []
        elif not _is_pool(each, canary):
            placed.append(next(kept))
    return {**rule, "backendRefs": placed}


def _is_pool(backend: Mapping[str, Any], name: str) -> bool:
    return backend.get("kind") == "InferencePool" and backend.get("name") == name


def _weight(backend: Mapping[str, Any]) -> int:
    return int(backend.get("weight", 1))
