"""Pod: defaults, admission, the split between spec, status and ephemeral containers, graceful deletion."""

from __future__ import annotations

import random
from collections.abc import Sequence

from fairlead.embedded.apiserver.invalid import FieldError, forbidden, invalid
from fairlead.embedded.apiserver.kinds.errors import Errors
from fairlead.embedded.apiserver.kinds.pod_admission import (
    admit_priority,
    admit_runtime_class,
    admit_service_account,
    admit_tolerations,
    keep_priority,
)
from fairlead.embedded.apiserver.kinds.pod_containers import validate_image_padding
from fairlead.embedded.apiserver.kinds.pod_defaults import default_pod
from fairlead.embedded.apiserver.kinds.pod_resources import qos_class
from fairlead.embedded.apiserver.kinds.pod_spec import validate_pod_annotations, validate_pod_spec
from fairlead.embedded.apiserver.kinds.pod_update import validate_spec_update, validate_status_change
from fairlead.embedded.apiserver.kinds.pod_warnings import pod_warnings
from fairlead.embedded.apiserver.kinds.strategy import StatusStrategy
from fairlead.embedded.apiserver.registry import Object, RequestContext

LEADER_WORKER_SET = "leaderworkerset.sigs.k8s.io/name"
"""Label of pods in groups of a LeaderWorkerSet."""

_GATED = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "SchedulingGated",
    "message": "Scheduling is blocked due to non-empty scheduling gates",
    "lastProbeTime": None,
}
_FINISHED = ("Succeeded", "Failed")


class PodStrategy(StatusStrategy):
    """The kind everything else makes. `randomness` names token volumes."""

    metadata_rechecks = 1

    def __init__(self, randomness: random.Random | None = None) -> None:
        self._randomness = randomness or random.Random()

    def default(self, obj: Object) -> None:
        default_pod(obj)
        status = obj.get("status")
        if status:
            _default_addresses(status)

    def admit(self, obj: Object, old: Object | None, context: RequestContext) -> None:
        if old is None:
            if LEADER_WORKER_SET in (obj["metadata"].get("labels") or ()):
                # Most pods are of no such group, and do not pay for it.
                from fairlead.embedded.apiserver.kinds.leader_worker_set_pod import admit_group_member

                admit_group_member(obj)
            admit_service_account(obj, context, self._randomness)
            admit_priority(obj, context)
            admit_runtime_class(obj, context)
        elif obj["spec"] is old["spec"]:
            return
        else:
            keep_priority(obj, old)
        admit_tolerations(obj)

    def prepare_create(self, obj: Object, context: RequestContext) -> None:
        spec = obj["spec"]
        status: Object = {"phase": "Pending", "qosClass": qos_class(spec)}
        if spec.get("schedulingGates"):
            status["conditions"] = [{**_GATED, "lastTransitionTime": context.now}]
        obj["status"] = status

    def prepare_update(self, new: Object, old: Object, context: RequestContext) -> None:
        super().prepare_update(new, old, context)
        ephemeral = old["spec"].get("ephemeralContainers")
        if ephemeral:
            new["spec"]["ephemeralContainers"] = ephemeral
        else:
            new["spec"].pop("ephemeralContainers", None)

    def prepare_status_update(self, new: Object, old: Object, context: RequestContext) -> None:
        super().prepare_status_update(new, old, context)
        metadata, before = new["metadata"], old["metadata"]
        if metadata.get("ownerReferences") != before.get("ownerReferences"):
            metadata["ownerReferences"] = before.get("ownerReferences")
            if metadata["ownerReferences"] is None:
                del metadata["ownerReferences"]
        # The quality of service follows from the spec; a writer that does not know the field cannot unset it.
        status = new.setdefault("status", {})
        if not status.get("qosClass") and (old.get("status") or {}).get("qosClass"):
            status["qosClass"] = old["status"]["qosClass"]

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        metadata, spec = obj["metadata"], obj["spec"]
        validate_pod_annotations(errors, metadata.get("annotations"), spec, "metadata.annotations")
        validate_pod_spec(errors, spec, metadata.get("name", ""), "spec", is_pod=True)
        for group in ("containers", "initContainers"):
            for index, container in enumerate(spec.get(group) or ()):
                validate_image_padding(errors, container, f"spec.{group}[{index}]")
        return errors

    def validate_create(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors = [*super().validate_create(obj, context)]
        spec = obj["spec"]
        if spec.get("ephemeralContainers"):
            errors.append(forbidden("spec.ephemeralContainers", "cannot be set on create"))
        if spec.get("nodeName") and spec.get("schedulingGates"):
            detail = "cannot be set until all schedulingGates have been cleared"
            errors.append(forbidden("spec.nodeName", detail))
        return errors

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = list(self.validate(new, context))
        validate_spec_update(errors, new, old)
        return errors

    def validate_status(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        observed = (new.get("status") or {}).get("observedGeneration")
        if observed is not None and observed < 0:
            errors.append(invalid("status.observedGeneration", observed, "must be a non-negative integer"))
        validate_status_change(errors, new, old)
        return errors

    def warnings(self, obj: Object, old: Object | None) -> Sequence[str]:
        if old is not None and obj["spec"] == old["spec"]:
            return ()
        return pod_warnings(obj["spec"], "spec")

    def deletion_grace_s(self, obj: Object, requested_s: int | None) -> int | None:
        spec, status = obj["spec"], obj.get("status") or {}
        if not spec.get("nodeName") or status.get("phase") in _FINISHED:
            return 0
        if requested_s is not None:
            return requested_s
        grace_s = int(spec.get("terminationGracePeriodSeconds", 30))
        return 1 if grace_s < 0 else grace_s


def _default_addresses(status: Object) -> None:
    """`podIP` is the first of `podIPs`; whichever is given fills in the other, and the single one wins."""
    address, addresses = status.get("podIP"), status.get("podIPs")
    if address and (not addresses or addresses[0].get("ip") != address):
        status["podIPs"] = [{"ip": address}]
    elif addresses and not address:
        status["podIP"] = addresses[0].get("ip", "")
