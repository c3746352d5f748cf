"""What a request path asks for: `/api/v1/namespaces/{namespace}/{resource}/{name}/{subresource}` and its variations."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})


@dataclass(frozen=True, slots=True)
class RequestPath:
    """A path below `/api` or `/apis`. Empty strings stand for absent parts; `rest` is what follows a subresource."""

    group: str
    version: str
    resource: str = ""
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: tuple[str, ...] = ()
    is_watch: bool = False
    """The deprecated `/watch/` form."""


def parse_path(path: str) -> RequestPath | None:
    """The parts of a raw (still encoded) path; None for one that is not below `/api/{version}` or
    `/apis/{group}/{version}`. An empty part in the middle makes it unknown: then the resource is "?"."""
    parts = path.strip("/").split("/") if not path.endswith("//") else path.lstrip("/").split("/")
    if "%" in path:
        parts = [unquote(part) for part in parts]
    if parts[0] == "api" and len(parts) > 1:
        group, version, below = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 2:
        group, version, below = parts[1], parts[2], parts[3:]
    else:
        return None
    if "" in below and not _is_proxy(below):
        return RequestPath(group, version, resource="?")
    is_watch = bool(below) and below[0] == "watch"
    if is_watch:
        below = below[1:]
    namespace = ""
    if below and below[0] == "namespaces" and len(below) > 2 and below[2] not in NAMESPACE_SUBRESOURCES:
        namespace, below = below[1], below[2:]
    resource, name, subresource = (below + ["", "", ""])[:3]
    return RequestPath(group, version, resource, namespace, name, subresource, tuple(below[3:]), is_watch)


def _is_proxy(below: list[str]) -> bool:
    """Whether empty parts belong to a proxied path and mean something there."""
    return "proxy" in below[:5]
