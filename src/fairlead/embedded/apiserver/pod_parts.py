"""The subresources of a pod that change parts of its spec which an update of the pod may not: ephemeral containers, and
resources in place. Follows `k8s.io/kubernetes` (`pkg/registry/core/pod/strategy.go`)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

from fairlead.embedded.apiserver.invalid import FieldError, forbidden
from fairlead.embedded.apiserver.registry import Object


def keep_ephemeral_containers(new: Object, old: Object) -> None:
    """Let only the ephemeral containers of `new` count, in place."""
    wanted = (new.get("spec") or {}).get("ephemeralContainers")
    _restore(new, old)
    if wanted:
        new["spec"]["ephemeralContainers"] = wanted
    else:
        new["spec"].pop("ephemeralContainers", None)


def keep_resources(new: Object, old: Object) -> None:
    """Let only resources and resize policies of existing containers of `new` count, in place."""
    wanted = new.get("spec") or {}
    _restore(new, old)
    for field in ("containers", "initContainers"):
        by_name = {container.get("name"): container for container in wanted.get(field) or ()}
        for container in new["spec"].get(field) or ():
            given = by_name.get(container["name"])
            if given is None:
                continue
            for part in ("resources", "resizePolicy"):
                if part in given:
                    container[part] = given[part]


def _restore(new: Object, old: Object) -> None:
    new["spec"] = copy.deepcopy(old["spec"])
    new["status"] = old.get("status", {})


def ephemeral_container_errors(new: Object, old: Object) -> Sequence[FieldError]:
    """Ephemeral containers only come; they never change or go."""
    path = "spec.ephemeralContainers"
    errors = []
    now = {each["name"]: each for each in new["spec"].get("ephemeralContainers") or ()}
    for each in old["spec"].get("ephemeralContainers") or ():
        name = each["name"]
        if name not in now:
            errors.append(forbidden(path, f'existing ephemeral containers "{name}" may not be removed\n'))
        elif now[name] != each:
            errors.append(forbidden(path, f'existing ephemeral containers "{name}" may not be changed\n'))
    return errors


CREATE_ONLY = forbidden("spec.ephemeralContainers", "cannot be set on create")
"""The rule of new pods that a pod with ephemeral containers need not keep."""


def no_errors(new: Object, old: Object) -> Sequence[FieldError]:
    return ()


# subresource -> what it may change, and what is wrong with a change
PARTS: dict[str, tuple[Callable[[Object, Object], None], Callable[[Object, Object], Sequence[FieldError]]]] = {
    "ephemeralcontainers": (keep_ephemeral_containers, ephemeral_container_errors),
    "resize": (keep_resources, no_errors),
}
