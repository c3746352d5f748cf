"""Which handler serves a subresource, and the small ones that are stored in the object itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from fairlead.embedded.apiserver.call import Call
from fairlead.embedded.apiserver.handlers.bindings import bind
from fairlead.embedded.apiserver.handlers.evictions import evict
from fairlead.embedded.apiserver.handlers.lists import get
from fairlead.embedded.apiserver.handlers.patch import patch
from fairlead.embedded.apiserver.handlers.scale import get_scale, patch_scale, update_scale
from fairlead.embedded.apiserver.handlers.tokens import request_token
from fairlead.embedded.apiserver.handlers.update import update
from fairlead.embedded.apiserver.objects import Objects
from fairlead.embedded.apiserver.registry import ResourceType
from fairlead.embedded.apiserver.status import method_not_allowed, not_found, unknown_path

Handler = Callable[[Objects, Call], Awaitable[web.StreamResponse]]

_STORED: dict[str, Handler] = {"GET": get, "PUT": update, "PATCH": patch}
_SCALE: dict[str, Handler] = {"GET": get_scale, "PUT": update_scale, "PATCH": patch_scale}
# (resource, subresource) -> method -> handler, for the core group
_CORE: dict[tuple[str, str], dict[str, Handler]] = {
    ("pods", "binding"): {"POST": bind},
    ("pods", "eviction"): {"POST": evict},
    ("pods", "ephemeralcontainers"): _STORED,
    ("pods", "resize"): _STORED,
    ("namespaces", "finalize"): {"PUT": update},
    ("serviceaccounts", "token"): {"POST": request_token},
}


def find(type_: ResourceType, subresource: str, method: str) -> Handler:
    """The handler. Raises NotFound, MethodNotAllowed."""
    handlers = _handlers(type_, subresource)
    if handlers is None:
        if type_.is_custom:
            return _missing
        raise unknown_path()
    if method not in handlers:
        raise method_not_allowed()
    return handlers[method]


def _handlers(type_: ResourceType, subresource: str) -> dict[str, Handler] | None:
    if subresource == "status" and type_.has_status:
        return _STORED
    if subresource == "scale" and type_.scale is not None:
        return _SCALE
    if not type_.group and (type_.resource, subresource) in _CORE:
        return _CORE[type_.resource, subresource]
    if subresource in type_.subresources:
        return _STORED if type_.group else {}
    return None


async def _missing(objects: Objects, call: Call) -> web.StreamResponse:
    """A subresource that a custom resource does not have looks like a missing object."""
    raise not_found(call.type, call.name)
