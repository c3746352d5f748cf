"""What workload controllers do to the objects they control: adopt, release, create in growing batches, delete."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from fairlead.embedded.controllers import access as a
from fairlead.embedded.controllers.access import Cluster, Keys
from fairlead.embedded.controllers.adoption import compute_claims
from fairlead.embedded.controllers.pods import Object, controller_of, owner_reference
from fairlead.embedded.controllers.recent import Recent
from fairlead.kube.errors import AlreadyExists, ApiError, Conflict, Invalid, NotFound
from fairlead.kube.events import EventRecorder
from fairlead.kube.resources import ObjectKey, Resource, Unstructured
from fairlead.kube.selectors import from_label_selector

CONCURRENT_WRITES = 16
FIRST_BATCH = 1
"""Creations begin one by one and double, so that a template that cannot work is not tried five hundred times."""


async def claim(
    c: Cluster,
    resource: Resource[Unstructured],
    owner: Object,
    children: Resource[Unstructured],
    *,
    also: Callable[[Object], bool] = lambda _: True,
    adoption: Object | None = None,
) -> list[Object]:
    """The children of an owner by its selector, after adopting and releasing what has changed sides.

    `also` restricts what may be ours beyond labels; `adoption` is merged into the metadata of what is adopted.
    """
    selector = from_label_selector(owner["spec"].get("selector"))
    namespace = owner["metadata"]["namespace"]

    def matches(obj: Object) -> bool:
        return selector.matches(obj["metadata"].get("labels") or {}) and also(obj)

    candidates = [
        *c.controlled_by(children, owner["metadata"]["uid"]),
        *(o for o in c.orphans(children, namespace) if also(o)),
    ]
    claims = compute_claims(owner, candidates, matches)
    for obj in claims.release:
        await _release(c, owner, children, obj)
    if claims.adopt and await _still_there(c, resource, owner):
        for obj in claims.adopt:
            adopted = await _adopt(c, resource, owner, children, obj, adoption or {})
            if adopted is not None:
                claims.own.append(adopted)
    return claims.own


async def _still_there(c: Cluster, resource: Resource[Unstructured], owner: Object) -> bool:
    # Our copy may be old: what an owner adopts after its deletion would be deleted with it.
    meta = owner["metadata"]
    try:
        current = await c.client.get(resource, meta["name"], meta["namespace"])
    except NotFound:
        return False
    return bool(current["metadata"]["uid"] == meta["uid"]) and "deletionTimestamp" not in current["metadata"]


async def _adopt(
    c: Cluster,
    resource: Resource[Unstructured],
    owner: Object,
    children: Resource[Unstructured],
    obj: Object,
    adoption: Object,
) -> Object | None:
    meta = obj["metadata"]
    reference = owner_reference(owner, resource.api_version, resource.kind)
    # The version makes sure that nobody else adopts it at the same time.
    body = {
        "uid": meta["uid"],
        "resourceVersion": meta["resourceVersion"],
        "ownerReferences": [*(meta.get("ownerReferences") or ()), reference],
        **{k: [*(meta.get(k) or ()), *v] for k, v in adoption.items()},
    }
    try:
        return await c.patch(children, ObjectKey(meta["namespace"], meta["name"]), {"metadata": body})
    except Invalid:
        return None


async def _release(c: Cluster, owner: Object, children: Resource[Unstructured], obj: Object) -> None:
    meta = obj["metadata"]
    kept = [r for r in meta.get("ownerReferences") or () if r["uid"] != owner["metadata"]["uid"]]
    body = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"], "ownerReferences": kept or None}
    try:
        await c.patch(children, ObjectKey(meta["namespace"], meta["name"]), {"metadata": body})
    except Invalid:
        # Another object has its name by now.
        return


def owner_or_matching(c: Cluster, owners: Resource[Unstructured]) -> Keys:
    """Keys of the owner that controls an object, or, for an orphan, of all whose selector matches it."""

    def keys(obj: Object) -> Iterable[ObjectKey]:
        meta = obj["metadata"]
        controller = controller_of(obj)
        if controller is not None:
            if controller["kind"] == owners.kind:
                yield ObjectKey(meta.get("namespace", ""), controller["name"])
            return
        labels = meta.get("labels") or {}
        for owner in c.in_namespace(owners, meta.get("namespace", "")) if labels else ():
            if from_label_selector(owner["spec"].get("selector")).matches(labels):
                yield ObjectKey(meta["namespace"], owner["metadata"]["name"])

    return keys


async def create_pods(
    c: Cluster, events: EventRecorder, resource: Resource[Unstructured], owner: Object, pods: Sequence[Object],
    recent: Recent,
) -> tuple[int, ApiError | None]:  # fmt: skip
    """Create pods in growing batches; returns how many were made and the error that stopped it, or None."""
    made, batch = 0, FIRST_BATCH
    while made < len(pods):
        results = await asyncio.gather(
            *(_create(c, p) for p in pods[made : made + min(batch, CONCURRENT_WRITES)]), return_exceptions=True
        )
        failure: ApiError | None = None
        for result in results:
            if isinstance(result, ApiError):
                failure = failure or result
                if not is_namespace_going(result):
                    events.warning(resource, owner, "FailedCreate", f"Error creating: {result}")
            elif isinstance(result, BaseException):
                raise result
            else:
                recent.created(result, c.clock.wall_s())
                events.normal(resource, owner, "SuccessfulCreate", f"Created pod: {result['metadata']['name']}")
        made += sum(isinstance(r, dict) for r in results)
        if failure is not None:
            return made, failure
        batch *= 2
    return made, None


async def _create(c: Cluster, pod: Object) -> Object:
    return await c.client.create(a.PODS, pod, pod["metadata"]["namespace"], field_manager=a.MANAGER)


def is_namespace_going(error: ApiError) -> bool:
    """Whether a creation was refused only because its namespace is being deleted: no retry will help."""
    return any(cause.get("reason") == "NamespaceTerminating" for cause in error.causes)


async def delete_pods(
    c: Cluster,
    events: EventRecorder,
    resource: Resource[Unstructured],
    owner: Object,
    pods: Sequence[Object],
    recent: Recent,
) -> ApiError | None:
    """Delete pods; gone is fine. Returns the first error, or None."""
    limit = asyncio.Semaphore(CONCURRENT_WRITES)

    async def remove(pod: Object) -> ApiError | None:
        meta = pod["metadata"]
        async with limit:
            try:
                await c.client.delete(a.PODS, meta["name"], meta["namespace"], uid=meta["uid"])
            except (NotFound, Conflict, AlreadyExists):
                return None
            except ApiError as error:
                events.warning(resource, owner, "FailedDelete", f"Error deleting: {error}")
                return error
        recent.deleted(meta["uid"], c.clock.wall_s())
        events.normal(resource, owner, "SuccessfulDelete", f"Deleted pod: {meta['name']}")
        return None

    return next((e for e in await asyncio.gather(*(remove(p) for p in pods)) if e is not None), None)
