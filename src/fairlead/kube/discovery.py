"""Which resources an API server has: from a kind to the resource that serves it, asked of the server and remembered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from fairlead.kube.client import Client
from fairlead.kube.errors import ApiError, NotFound
from fairlead.kube.objects.meta import Part
from fairlead.kube.resources import Resource, Unstructured

_AGGREGATED: Final = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


class APIResource(Part, frozen=True, gc=False):
    """A resource as discovery describes it."""

    name: str = ""
    singular_name: str = ""
    namespaced: bool = False
    kind: str = ""
    group: str = ""
    version: str = ""
    verbs: Sequence[str] = ()
    short_names: Sequence[str] = ()
    categories: Sequence[str] = ()

    @property
    def is_subresource(self) -> bool:
        return "/" in self.name


class Discovery:
    """The resources of one API server, read once; `invalidate` after installing a CustomResourceDefinition."""

    def __init__(self, client: Client) -> None:
        self._client = client
        # Group and version, like "apps/v1" -> its resources.
        self._versions: dict[str, Sequence[APIResource]] = {}
        self._all: Sequence[APIResource] | None = None

    def invalidate(self) -> None:
        self._versions.clear()
        self._all = None

    async def resources(self, api_version: str) -> Sequence[APIResource]:
        """The resources and subresources of a group and version. Raises NotFound where it is not served."""
        if api_version not in self._versions:
            path = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
            answer = await self._client.request("GET", path)
            group, _, version = api_version.rpartition("/")
            found = msgspec.convert(answer.json().get("resources") or [], list[APIResource])
            self._versions[api_version] = [
                msgspec.structs.replace(r, group=r.group or group, version=r.version or version) for r in found
            ]
        return self._versions[api_version]

    async def resource_for(self, api_version: str, kind: str) -> Resource[Unstructured]:
        """The resource that serves a kind, for objects as dicts. Raises NotFound.

        A kind that is not there is looked for once more on the server: it may have been installed meanwhile.
        """
        for is_retry in (False, True):
            if is_retry:
                self._versions.pop(api_version, None)
            for found in await self.resources(api_version):
                if found.kind == kind and not found.is_subresource:
                    return Resource.of(api_version, found.name, kind, namespaced=found.namespaced)
        raise NotFound(f'no matches for kind "{kind}" in version "{api_version}"')

    async def find(self, name: str) -> Resource[Unstructured]:
        """The resource that a person means by "pods", "po", "pod", "Pod" or "deployments.apps". Raises NotFound."""
        wanted, _, group = name.lower().partition(".")
        for found in await self.preferred():
            names = {found.name, found.singular_name or found.kind.lower(), found.kind.lower(), *found.short_names}
            if wanted in names and (not group or found.group.startswith(group)) and not found.is_subresource:
                api_version = f"{found.group}/{found.version}" if found.group else found.version
                return Resource.of(api_version, found.name, found.kind, namespaced=found.namespaced)
        raise NotFound(f'the server doesn\'t have a resource type "{name}"')

    async def preferred(self) -> Sequence[APIResource]:
        """The resources of every group in its preferred version, the core group first."""
        if self._all is None:
            found: list[APIResource] = []
            for root in ("/api", "/apis"):
                document = (await self._client.request("GET", root, accept=_AGGREGATED)).json()
                if document.get("kind") == "APIGroupDiscoveryList":
                    found += _aggregated(document)
                else:
                    found += await self._legacy(document)
            self._all = found
        return self._all

    async def _legacy(self, document: dict[str, Any]) -> list[APIResource]:
        if document.get("kind") == "APIVersions":
            versions = list(document.get("versions") or [])[:1]
        else:
            versions = [group["preferredVersion"]["groupVersion"] for group in document.get("groups") or []]
        found: list[APIResource] = []
        for api_version in versions:
            try:
                found += await self.resources(api_version)
            except ApiError:
                # An aggregated API whose backend is down must not hide all others.
                continue
        return found


def _aggregated(document: dict[str, Any]) -> list[APIResource]:
    found = []
    for item in document.get("items") or ():
        version = (item.get("versions") or [{}])[0]
        for resource in version.get("resources") or ():
            found.append(
                APIResource(
                    name=resource["resource"],
                    singular_name=resource.get("singularResource", ""),
                    namespaced=resource.get("scope") == "Namespaced",
                    kind=(resource.get("responseKind") or {}).get("kind", ""),
                    group=(item.get("metadata") or {}).get("name", ""),
                    version=version.get("version", ""),
                    verbs=tuple(resource.get("verbs") or ()),
                    short_names=tuple(resource.get("shortNames") or ()),
                    categories=tuple(resource.get("categories") or ()),
                )
            )
    return found
