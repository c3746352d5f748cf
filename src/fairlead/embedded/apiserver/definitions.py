"""Installs the CustomResourceDefinitions of the platform at start, and renews those that another version wrote.

A definition carries the digest of what it was made from: an unchanged one costs one read, and a definition that a
person has taken over (without our annotation) is left alone.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging

from fairlead.api.crds import all_crds
from fairlead.embedded.apiserver.body import decode
from fairlead.embedded.apiserver.objects import Objects, Write
from fairlead.embedded.apiserver.registry import Object, ResourceType
from fairlead.kube.errors import ApiError

MANAGER = "fairlead"
DIGEST = "fairlead.dev/definition-digest"
_log = logging.getLogger(__name__)


async def install_definitions(objects: Objects) -> None:
    """Create what is missing and update what is outdated."""
    type_ = objects.catalog.find("apiextensions.k8s.io", "v1", "customresourcedefinitions")
    if type_ is None:
        return
    for crd in all_crds():
        crd["metadata"].setdefault("annotations", {})[DIGEST] = _digest(crd)
        try:
            await _install(objects, type_, crd)
        except ApiError as error:
            _log.error("the definition %s is not installed: %s", crd["metadata"]["name"], error.message)


async def _install(objects: Objects, type_: ResourceType, crd: Object) -> None:
    name = crd["metadata"]["name"]
    record = objects.store.newest(type_.storage_prefix, objects.key(type_, "", name))
    if record is None:
        obj = copy.deepcopy(crd)
        decode(obj, type_)
        await objects.create(Write(type_, "", manager=MANAGER), obj)
        return
    stored = objects.read(type_, record)["metadata"].get("annotations", {}).get(DIGEST)
    if stored is None or stored == crd["metadata"]["annotations"][DIGEST]:
        return

    def renew(old: Object) -> Object:
        new = copy.deepcopy(old)
        new["metadata"]["annotations"] = {**old["metadata"].get("annotations", {}), **crd["metadata"]["annotations"]}
        new["spec"] = copy.deepcopy(crd["spec"])
        decode(new, type_)
        return new

    await objects.update(Write(type_, "", name, manager=MANAGER), renew)


def _digest(crd: Object) -> str:
    return hashlib.sha256(json.dumps(crd["spec"], sort_keys=True).encode()).hexdigest()[:16]
