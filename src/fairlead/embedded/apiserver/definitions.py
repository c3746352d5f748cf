"""Installs the CustomResourceDefinitions of the platform at start, and renews those that another version wrote.

An unchanged definition costs one read, and one that a person has taken over is left alone.
"""

from __future__ import annotations

import copy
import logging

from fairlead.api.crds import all_crds, is_outdated
from fairlead.embedded.apiserver.body import decode
from fairlead.embedded.apiserver.objects import Objects, Write
from fairlead.embedded.apiserver.registry import Object, ResourceType
from fairlead.kube.errors import ApiError

MANAGER = "fairlead"
_log = logging.getLogger(__name__)


async def install_definitions(objects: Objects) -> None:
    """Create what is missing and update what is outdated."""
    type_ = objects.catalog.find("apiextensions.k8s.io", "v1", "customresourcedefinitions")
    if type_ is None:
        return
    for crd in all_crds():
        try:
            await _install(objects, type_, crd)
        except ApiError as error:
            _log.error("the definition %s is not installed: %s", crd["metadata"]["name"], error.message)


async def _install(objects: Objects, type_: ResourceType, crd: Object) -> None:
    name = crd["metadata"]["name"]
    record = objects.store.newest(type_.storage_prefix, objects.key(type_, "", name))
    if record is None:
        decode(crd, type_)
        await objects.create(Write(type_, "", manager=MANAGER), crd)
        return
    if not is_outdated(objects.read(type_, record), crd):
        return

    def renew(old: Object) -> Object:
        new = copy.deepcopy(old)
        new["metadata"]["annotations"] = {**old["metadata"].get("annotations", {}), **crd["metadata"]["annotations"]}
        new["spec"] = copy.deepcopy(crd["spec"])
        decode(new, type_)
        return new

    await objects.update(Write(type_, "", name, manager=MANAGER), renew)
