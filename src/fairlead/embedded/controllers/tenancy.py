"""Namespaces and what every namespace has: emptying deleted ones, default service accounts, the root CA."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Sequence

from fairlead.clock import format_time
from fairlead.embedded.controllers import access as a
from fairlead.embedded.controllers.access import Cluster, Watch, itself
from fairlead.embedded.controllers.namespace import Content, compute_conditions
from fairlead.embedded.controllers.pods import Object
from fairlead.kube.credentials import Credentials
from fairlead.kube.discovery import Discovery
from fairlead.kube.errors import ApiError, Conflict, MethodNotAllowed, NotFound
from fairlead.kube.resources import ObjectKey, Resource

ROOT_CA = "kube-root-ca.crt"
DESCRIPTION = "kubernetes.io/description"
_ROOT_CA_IS = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes "
    "clusters."
)
RETRY_S = 0.3


class Namespaces:
    """Deletes everything in a namespace that is being deleted, then lets it go."""

    name = "namespace"
    watches: Sequence[Watch] = (Watch(a.NAMESPACES, itself),)

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._discovery = Discovery(cluster.client)

    async def reconcile(self, key: ObjectKey) -> float | None:
        namespace = self._cluster.get(a.NAMESPACES, key)
        if namespace is None or "deletionTimestamp" not in namespace["metadata"]:
            return None
        if "kubernetes" not in (namespace["spec"].get("finalizers") or ()):
            return None
        content = await self._empty(key.name)
        await self._tell(namespace, content)
        if content.remaining or content.errors:
            return RETRY_S
        await self._finalize(key.name)
        return None

    async def _empty(self, namespace: str) -> Content:
        """Delete all there is, pods before everything else: what they use outlives them."""
        content = Content()
        await self._empty_of(a.PODS, namespace, content)
        if content.remaining or content.errors:
            return content
        self._discovery.invalidate()
        try:
            resources = await self._discovery.preferred()
        except ApiError as error:
            content.discovery_error = str(error)
            content.errors.append(str(error))
            return content
        for found in resources:
            if not found.namespaced or not {"list", "deletecollection"} <= set(found.verbs):
                continue
            api_version = f"{found.group}/{found.version}" if found.group else found.version
            await self._empty_of(Resource.of(api_version, found.name, found.kind), namespace, content)
        return content

    async def _empty_of(self, resource: Resource[Object], namespace: str, content: Content) -> None:
        client = self._cluster.client
        try:
            first = await client.list(resource, namespace, page=None)
            if not first.items:
                return
            await client.delete_collection(resource, namespace, propagation="Background")
            content.count(resource, (await client.list(resource, namespace, page=None)).items)
        except (NotFound, MethodNotAllowed):
            return
        except ApiError as error:
            content.errors.append(str(error))

    async def _tell(self, namespace: Object, content: Content) -> None:
        status = namespace.get("status") or {}
        now = format_time(self._cluster.clock.wall_s())
        conditions = compute_conditions(status.get("conditions") or (), content, now)
        try:
            await self._cluster.write_status(a.NAMESPACES, namespace, {**status, "conditions": conditions})
        except Conflict:
            return

    async def _finalize(self, name: str) -> None:
        try:
            current = await self._cluster.client.get(a.NAMESPACES, name)
            finalizers = [f for f in current["spec"].get("finalizers") or () if f != "kubernetes"]
            body = {**current, "spec": {**current["spec"], "finalizers": finalizers}}
            await self._cluster.client.request("PUT", a.NAMESPACES.path(None, name, "finalize"), body=body)
        except NotFound:
            return


def _namespace_of(obj: Object) -> Iterable[ObjectKey]:
    return (ObjectKey("", obj["metadata"]["namespace"]),)


class Accounts:
    """The `default` service account and the root CA of every namespace."""

    name = "serviceaccount"
    watches: Sequence[Watch] = (Watch(a.NAMESPACES, itself), Watch(a.SERVICE_ACCOUNTS, _namespace_of))

    def __init__(self, cluster: Cluster, root_ca: str) -> None:
        """`root_ca` is the PEM text of the API server's CA, empty where it is not known."""
        self._cluster = cluster
        self._root_ca = root_ca

    async def reconcile(self, key: ObjectKey) -> float | None:
        c = self._cluster
        namespace = c.get(a.NAMESPACES, key)
        if namespace is None or (namespace.get("status") or {}).get("phase") == "Terminating":
            return None
        try:
            if c.get(a.SERVICE_ACCOUNTS, ObjectKey(key.name, "default")) is None:
                await c.create(a.SERVICE_ACCOUNTS, {"metadata": {"name": "default", "namespace": key.name}})
            await self._publish_root_ca(key.name)
        except ApiError as error:
            if error.http_code in (403, 404):
                return None
            raise
        return None

    async def _publish_root_ca(self, namespace: str) -> None:
        if not self._root_ca:
            return
        c = self._cluster
        try:
            current = await c.client.get(a.CONFIG_MAPS, ROOT_CA, namespace)
        except NotFound:
            await c.create(
                a.CONFIG_MAPS,
                {
                    "metadata": {"name": ROOT_CA, "namespace": namespace, "annotations": {DESCRIPTION: _ROOT_CA_IS}},
                    "data": {"ca.crt": self._root_ca},
                },
            )
            return
        if (current.get("data") or {}).get("ca.crt") != self._root_ca:
            await c.patch(a.CONFIG_MAPS, ObjectKey(namespace, ROOT_CA), {"data": {"ca.crt": self._root_ca}})


def root_ca_of(credentials: Credentials) -> str:
    """The CA certificates by which the API server is known, as PEM text; empty if there are none."""
    certificates = credentials.tls.get_ca_certs(binary_form=True) if credentials.tls else []
    return "".join(map(ssl.DER_cert_to_PEM_cert, certificates))
