"""Evicting a pod: a deletion that PodDisruptionBudgets may refuse."""

from __future__ import annotations

import copy
from typing import Any

from aiohttp import web

from fairlead.embedded.apiserver.body import Expected, body_media_type, recognize
from fairlead.embedded.apiserver.call import Call, respond_object
from fairlead.embedded.apiserver.handlers.create import refuse_namespace
from fairlead.embedded.apiserver.objects import Objects, Write
from fairlead.embedded.apiserver.options import DeleteOptions, delete_options, write_options
from fairlead.embedded.apiserver.registry import Object, ResourceType
from fairlead.embedded.apiserver.status import bad_request, plain_internal, success
from fairlead.kube.errors import ApiError, Forbidden, TooManyRequests
from fairlead.kube.selectors import from_label_selector

DISRUPTED_PODS_LIMIT = 2000
_REFUSED = "Cannot evict pod as it would violate the pod's disruption budget."
_TERMINAL_OR_PENDING = ("Succeeded", "Failed", "Pending")


async def evict(objects: Objects, call: Call) -> web.Response:
    """Evict a pod. Raises ApiError; TooManyRequests where its budget refuses."""
    call.negotiate()
    options = write_options(call.query, "CreateOptions")
    media_type = body_media_type(call.request.headers.get("Content-Type", ""))
    eviction, _ = recognize(await call.body(), media_type, Expected("policy", "v1", "Eviction"))
    refuse_namespace(eviction, call)
    if (eviction.get("metadata") or {}).get("name") != call.name:
        raise bad_request("name in URL does not match name in Eviction object")
    deletion = delete_options(call.query, eviction.get("deleteOptions") or {})
    deletion.dry_run = deletion.dry_run or options.dry_run
    pod = objects.read(call.type, objects.get(call.type, call.namespace, call.name))
    if not _ignores_budgets(pod):
        budgets = _budgets_of(objects, pod)
        if len(budgets) > 1:
            raise plain_internal(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
            )
        if budgets and not _may_go_unhealthy(pod, budgets[0]):
            await _spend(objects, budgets[0], pod, deletion.dry_run)
    await _remove(objects, call, deletion)
    return respond_object(success(201), status=201, call=call)


def _ignores_budgets(pod: Object) -> bool:
    phase = (pod.get("status") or {}).get("phase")
    return phase in _TERMINAL_OR_PENDING or bool(pod["metadata"].get("deletionTimestamp"))


def _budget_type(objects: Objects) -> ResourceType | None:
    return objects.catalog.find("policy", "v1", "poddisruptionbudgets")


def _budgets_of(objects: Objects, pod: Object) -> list[Object]:
    type_ = _budget_type(objects)
    if type_ is None:
        return []
    labels = pod["metadata"].get("labels") or {}
    snapshot = objects.store.snapshot(type_.storage_prefix, pod["metadata"]["namespace"] + "/")
    budgets = [objects.read(type_, record) for record in snapshot.records]
    return [b for b in budgets if from_label_selector(b.get("spec", {}).get("selector")).matches(labels)]


def _may_go_unhealthy(pod: Object, budget: Object) -> bool:
    """Whether a pod that is not ready goes without spending the budget."""
    conditions: list[dict[str, Any]] = (pod.get("status") or {}).get("conditions") or []
    if any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions):
        return False
    if budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    status = budget.get("status") or {}
    desired = status.get("desiredHealthy", 0)
    return bool(status.get("currentHealthy", 0) >= desired > 0)


async def _spend(objects: Objects, budget: Object, pod: Object, dry_run: bool) -> None:
    """Take one disruption from the budget. Raises TooManyRequests, Forbidden."""
    type_ = _budget_type(objects)
    assert type_ is not None
    metadata = budget["metadata"]
    write = Write(type_, metadata["namespace"], metadata["name"], dry_run=dry_run, subresource="status")

    def spend(current: Object) -> Object:
        _refuse_spent(current)
        changed = copy.deepcopy(current)
        status = changed["status"]
        now = objects.context(write).now
        status["disruptionsAllowed"] -= 1
        if status["disruptionsAllowed"] == 0:
            _set_insufficient(status, metadata_generation=current["metadata"].get("generation", 0), now=now)
        status.setdefault("disruptedPods", {})[pod["metadata"]["name"]] = now
        return changed

    await objects.update(write, spend, is_patch=True, records_ownership=False, checks=False)


def _refuse_spent(budget: Object) -> None:
    name = budget["metadata"]["name"]
    status = budget.get("status") or {}
    allowed = status.get("disruptionsAllowed", 0)
    if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
        raise _too_many(f"The disruption budget {name} is still being processed by the server.", retry_after_s=10)
    if allowed < 0:
        raise _forbidden(name, "pdb disruptions allowed is negative")
    if len(status.get("disruptedPods") or {}) > DISRUPTED_PODS_LIMIT:
        raise _forbidden(name, "DisruptedPods map too big - too many evictions not confirmed by PDB controller")
    if allowed > 0:
        return
    healthy, desired = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
    failure = next((c for c in status.get("conditions") or () if c.get("reason") == "SyncFailed"), None)
    if failure is not None:
        reason = f"does not allow evicting pods currently because it failed sync: {failure.get('message', '')}"
    elif healthy <= desired:
        reason = f"needs {desired} healthy pods and has {healthy} currently"
    else:
        reason = "does not allow evicting pods currently"
    raise _too_many(f"The disruption budget {name} {reason}")


def _set_insufficient(status: Object, *, metadata_generation: int, now: str) -> None:
    condition = {
        "type": "DisruptionAllowed",
        "status": "False",
        "reason": "InsufficientPods",
        "message": "",
        "observedGeneration": metadata_generation,
        "lastTransitionTime": now,
    }
    conditions = status.setdefault("conditions", [])
    before = next((c for c in conditions if c.get("type") == "DisruptionAllowed"), None)
    if before is None:
        conditions.append(condition)
        return
    if before.get("status") == "False":
        condition["lastTransitionTime"] = before.get("lastTransitionTime", now)
    before.update(condition)


def _too_many(cause: str, *, retry_after_s: int = 0) -> ApiError:
    return TooManyRequests(
        _REFUSED,
        causes=[{"reason": "DisruptionBudget", "message": cause}],
        retryAfterSeconds=retry_after_s or None,
    )


def _forbidden(name: str, reason: str) -> ApiError:
    return Forbidden(
        f'poddisruptionbudget.policy "{name}" is forbidden: {reason}',
        name=name,
        group="policy",
        kind="poddisruptionbudget",
    )


async def _remove(objects: Objects, call: Call, options: DeleteOptions) -> None:
    write = Write(call.type, call.namespace, call.name, dry_run=options.dry_run, subresource="status")
    if not options.dry_run and options.version is None:
        await objects.update(
            write, lambda pod: _disrupted(pod, objects), is_patch=True, records_ownership=False, checks=False
        )
    await objects.delete(Write(call.type, call.namespace, call.name, dry_run=options.dry_run), options)


def _disrupted(pod: Object, objects: Objects) -> Object:
    """The pod with the condition that tells why it goes."""
    changed = copy.deepcopy(pod)
    conditions = changed.setdefault("status", {}).setdefault("conditions", [])
    if any(each.get("type") == "DisruptionTarget" for each in conditions):
        return changed
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
        "lastProbeTime": None,
        "lastTransitionTime": objects.context(Write(objects.catalog.all()[0], "")).now,
    }
    if pod["metadata"].get("generation"):
        condition["observedGeneration"] = pod["metadata"]["generation"]
    conditions.append(condition)
    return changed
