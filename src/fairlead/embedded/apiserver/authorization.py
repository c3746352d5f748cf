"""Who asks, and whether they may: RBAC for everyone but members of `system:masters`, who may do everything.

Rules and wording follow `k8s.io/kubernetes` (`plugin/pkg/auth/authorizer/rbac`). Roles and bindings are read when
somebody without mastership asks, which on this server means impersonation and service account tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fairlead.embedded.apiserver.objects import Objects
from fairlead.embedded.apiserver.registry import Object
from fairlead.kube.errors import ApiError, Forbidden

RBAC = "rbac.authorization.k8s.io"
MASTERS = "system:masters"
AUTHENTICATED = "system:authenticated"
_PUBLIC_PATHS = (
    "/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz", "/version",
    "/version/",
)  # fmt: skip
_SELF_REVIEWS = frozenset({"selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"})


@dataclass(frozen=True, slots=True)
class User:
    """A user name with its groups."""

    name: str
    groups: tuple[str, ...] = (AUTHENTICATED,)

    @property
    def is_master(self) -> bool:
        return MASTERS in self.groups


ADMIN = User("system:admin", (MASTERS, AUTHENTICATED))


def service_account(name: str) -> User:
    """The user of a service account by its full name, `system:serviceaccount:{namespace}:{name}`."""
    namespace = name.split(":")[2]
    return User(name, ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED))


@dataclass(frozen=True, slots=True)
class Attributes:
    """What somebody wants to do: a verb on a resource, or on a path outside of resources."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def full_resource(self) -> str:
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


class Authorizer:
    """Decides by the stored roles and bindings."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def refuse(self, user: User, wanted: Attributes) -> None:
        """Raise Forbidden unless the user may."""
        if self.reason(user, wanted) is None:
            raise forbidden(user, wanted)

    def reason(self, user: User, wanted: Attributes) -> str | None:
        """Why the user may; None where nothing allows it."""
        if user.is_master or _is_public(wanted):
            return ""
        for binding, kind in self._bindings(wanted.namespace):
            subject = _subject(binding, user)
            if subject is None:
                continue
            role = self._role(binding)
            if any(rule_allows(rule, wanted) for rule in (role or {}).get("rules") or ()):
                metadata, reference = binding["metadata"], binding["roleRef"]
                name = metadata["name"] + (f"/{metadata['namespace']}" if "namespace" in metadata else "")
                return f'RBAC: allowed by {kind} "{name}" of {reference["kind"]} "{reference["name"]}" to {subject}'
        return None

    def rules(self, user: User, namespace: str) -> Iterator[Object]:
        """All rules that hold for a user in a namespace."""
        if user.is_master:
            yield {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
            yield {"verbs": ["*"], "nonResourceURLs": ["*"]}
            return
        yield {"verbs": ["create"], "apiGroups": ["authorization.k8s.io"], "resources": sorted(_SELF_REVIEWS)[:2]}
        yield {"verbs": ["get"], "nonResourceURLs": list(_PUBLIC_PATHS)}
        for binding, _ in self._bindings(namespace):
            if _subject(binding, user) is not None:
                yield from (self._role(binding) or {}).get("rules") or ()

    def _bindings(self, namespace: str) -> Iterator[tuple[Object, str]]:
        yield from ((each, "ClusterRoleBinding") for each in self._all("clusterrolebindings", ""))
        if namespace:
            yield from ((each, "RoleBinding") for each in self._all("rolebindings", namespace + "/"))

    def _all(self, resource: str, prefix: str) -> list[Object]:
        type_ = self._objects.catalog.find(RBAC, "v1", resource)
        if type_ is None:
            return []
        records = self._objects.store.snapshot(type_.storage_prefix, prefix).records
        return [self._objects.read(type_, record) for record in records]

    def _role(self, binding: Object) -> Object | None:
        reference = binding["roleRef"]
        if reference["kind"] == "ClusterRole":
            return self._objects.lookup(RBAC, "clusterroles", "", reference["name"])
        return self._objects.lookup(RBAC, "roles", binding["metadata"]["namespace"], reference["name"])


def _is_public(wanted: Attributes) -> bool:
    if wanted.path:
        return wanted.verb == "get" and _matches_path(_PUBLIC_PATHS, wanted.path)
    return wanted.verb == "create" and wanted.resource in _SELF_REVIEWS


def _subject(binding: Object, user: User) -> str | None:
    """How the user is named in a binding; None where it is not."""
    for subject in binding.get("subjects") or ():
        kind, name = subject.get("kind"), subject.get("name", "")
        if (kind == "User" and name == user.name) or (kind == "Group" and name in user.groups):
            return f'{kind} "{name}"'
        if kind == "ServiceAccount":
            namespace = subject.get("namespace") or binding["metadata"].get("namespace", "")
            if user.name == f"system:serviceaccount:{namespace}:{name}":
                return f'ServiceAccount "{name}/{namespace}"'
    return None


def rule_allows(rule: Object, wanted: Attributes) -> bool:
    """Whether a PolicyRule covers what is wanted."""
    if not _has(rule.get("verbs"), wanted.verb):
        return False
    if wanted.path:
        return _matches_path(rule.get("nonResourceURLs") or (), wanted.path)
    if not _has(rule.get("apiGroups"), wanted.group):
        return False
    resources = rule.get("resources") or ()
    if not (_has(resources, wanted.full_resource) or (f"*/{wanted.subresource}" in resources and wanted.subresource)):
        return False
    names = rule.get("resourceNames")
    return not names or wanted.name in names


def _has(values: Sequence[Any] | None, value: str) -> bool:
    return bool(values) and (value in values or "*" in values)  # type: ignore[operator]


def _matches_path(patterns: Sequence[str], path: str) -> bool:
    return any(p in ("*", path) or (p.endswith("*") and path.startswith(p[:-1])) for p in patterns)


def forbidden(user: User, wanted: Attributes) -> ApiError:
    if wanted.path:
        text = f'forbidden: User "{user.name}" cannot {wanted.verb} path "{wanted.path}"'
        status = Forbidden(text).status | {"details": {}}
        return Forbidden(text, status=status)
    qualified = f"{wanted.resource}.{wanted.group}" if wanted.group else wanted.resource
    shown = f'{qualified} "{wanted.name}"' if wanted.name else qualified
    scope = f'in the namespace "{wanted.namespace}"' if wanted.namespace else "at the cluster scope"
    return Forbidden(
        f'{shown} is forbidden: User "{user.name}" cannot {wanted.verb} resource "{wanted.full_resource}" in API group '
        f'"{wanted.group}" {scope}',
        name=wanted.name,
        group=wanted.group,
        kind=wanted.resource,
    )
