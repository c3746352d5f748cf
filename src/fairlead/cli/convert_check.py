"""Whether Fairlead's API takes an object: the schemas and rules of its definitions, as the embedded server has them."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

from fairlead.api import GROUP, all_crds
from fairlead.embedded.apiserver.body import decode
from fairlead.embedded.apiserver.kinds.crd import types_of_crd
from fairlead.embedded.apiserver.registry import RequestContext, ResourceType

Json = dict[str, Any]


def refusals(obj: Json) -> list[str]:
    """What is wrong with an object of ours: unknown fields, then what its definition says; nothing for others."""
    served = _served().get(str(obj.get("kind"))) if str(obj.get("apiVersion", "")).startswith(f"{GROUP}/") else None
    if served is None:
        return []
    made = copy.deepcopy(obj)
    unknown = decode(made, served)
    if served.namespaced:
        made["metadata"].setdefault("namespace", "default")
    else:
        made["metadata"].pop("namespace", None)
    context = RequestContext(namespace=made["metadata"].get("namespace", ""), now="1970-01-01T00:00:00Z")
    served.strategy.default(made)
    served.strategy.prepare_create(made, context)
    made["metadata"] |= {"uid": "unset", "creationTimestamp": context.now}
    found = served.strategy.validate_create(made, context)
    return [*(str(each) for each in unknown or ()), *(f"{error.field}: {error.message}" for error in found)]


@cache
def _served() -> dict[str, ResourceType]:
    return {crd["spec"]["names"]["kind"]: types_of_crd(crd)[0] for crd in all_crds() if crd["spec"]["group"] == GROUP}
