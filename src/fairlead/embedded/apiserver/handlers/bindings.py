"""Binding a pod to a node: `pods/{name}/binding` and the `bindings` resource."""

from __future__ import annotations

from aiohttp import web

from fairlead.embedded.apiserver.body import Expected, body_media_type, parse_object
from fairlead.embedded.apiserver.call import Call, respond_object
from fairlead.embedded.apiserver.handlers.create import refuse_namespace
from fairlead.embedded.apiserver.invalid import FieldError, not_supported, required
from fairlead.embedded.apiserver.objects import Objects, Write
from fairlead.embedded.apiserver.options import write_options
from fairlead.embedded.apiserver.registry import Object
from fairlead.embedded.apiserver.status import bad_request, conflict, invalid_object, success

_EXPECTED = Expected("", "v1", "Binding")


async def bind(objects: Objects, call: Call) -> web.Response:
    """Assign a pod to a node. Raises ApiError."""
    call.negotiate()
    options = write_options(call.query, "CreateOptions")
    media_type = body_media_type(call.request.headers.get("Content-Type", ""))
    binding, _ = parse_object(await call.body(), media_type, _EXPECTED, objects.catalog)
    refuse_namespace(binding, call)
    metadata = binding.get("metadata") or {}
    name = call.name or metadata.get("name", "")
    if call.name and metadata.get("name") not in (None, "", call.name):
        raise bad_request("name in URL does not match name in Binding object")
    _refuse_invalid(binding, name)
    pods = objects.catalog.find("", "v1", "pods")
    assert pods is not None

    def assign(pod: Object) -> Object:
        return assigned(pod, binding, objects.context(write).now)

    write = Write(pods, call.namespace, name, dry_run=options.dry_run, subresource="binding", warnings=call.warnings)
    await objects.update(
        write, assign, uid=metadata.get("uid", ""), is_patch=True, records_ownership=False, checks=False
    )
    return respond_object(success(201), status=201, call=call)


def _refuse_invalid(binding: Object, name: str) -> None:
    target = binding.get("target") or {}
    errors: list[FieldError] = []
    if target.get("kind") not in (None, "", "Node"):
        errors.append(not_supported("target.kind", target["kind"], ["Node", "<empty>"]))
    if not target.get("name"):
        errors.append(required("target.name"))
    if errors:
        raise invalid_object("", "Binding", name, errors)


def assigned(pod: Object, binding: Object, now: str) -> Object:
    """The pod on its node. Raises Conflict."""
    name = pod["metadata"]["name"]
    spec = pod["spec"]
    if pod["metadata"].get("deletionTimestamp"):
        raise conflict("", "pods/binding", name, f"pod {name} is being deleted, cannot be assigned to a host")
    if spec.get("nodeName"):
        raise conflict("", "pods/binding", name, f'pod {name} is already assigned to node "{spec["nodeName"]}"')
    if spec.get("schedulingGates"):
        raise conflict("", "pods/binding", name, f"pod {name} has non-empty .spec.schedulingGates")
    status = pod.get("status") or {}
    # Only what changes is copied: a whole pod takes longer than the rest of the binding.
    bound = {
        **pod,
        "metadata": dict(pod["metadata"]),
        "spec": {**spec, "nodeName": binding["target"]["name"]},
        "status": {**status, "conditions": list(status.get("conditions") or ())},
    }
    metadata = binding.get("metadata") or {}
    for key in ("annotations", "labels"):
        if metadata.get(key):
            bound["metadata"][key] = {**(bound["metadata"].get(key) or {}), **metadata[key]}
    if metadata.get("resourceVersion"):
        bound["metadata"]["resourceVersion"] = metadata["resourceVersion"]
    conditions = bound["status"]["conditions"]
    scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now}
    if pod["metadata"].get("generation"):
        scheduled["observedGeneration"] = pod["metadata"]["generation"]
    conditions[:] = [each for each in conditions if each.get("type") != "PodScheduled"] + [scheduled]
    return bound
