"""From a request to its handler, and from an error to its answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from fairlead.clock import Clock
from fairlead.embedded.apiserver.authorization import (
    ADMIN,
    AUTHENTICATED,
    Attributes,
    Authorizer,
    User,
    forbidden,
    service_account,
)
from fairlead.embedded.apiserver.call import Call, page_not_found, query_of, respond_error, respond_object
from fairlead.embedded.apiserver.catalog import Catalog
from fairlead.embedded.apiserver.codec import head_of
from fairlead.embedded.apiserver.credentials import Credentials
from fairlead.embedded.apiserver.handlers import discovery, subresources
from fairlead.embedded.apiserver.handlers.bindings import bind
from fairlead.embedded.apiserver.handlers.create import create
from fairlead.embedded.apiserver.handlers.delete import delete, delete_collection
from fairlead.embedded.apiserver.handlers.health import Metrics, health, version_document
from fairlead.embedded.apiserver.handlers.lists import get, list_collection
from fairlead.embedded.apiserver.handlers.openapi import OpenApi
from fairlead.embedded.apiserver.handlers.patch import patch
from fairlead.embedded.apiserver.handlers.reviews import REVIEWS, Reviewer
from fairlead.embedded.apiserver.handlers.update import update
from fairlead.embedded.apiserver.handlers.watch import watch
from fairlead.embedded.apiserver.kubelet_proxy import NODE_METHODS, KubeletProxy
from fairlead.embedded.apiserver.negotiation import JSON, negotiate, negotiate_discovery
from fairlead.embedded.apiserver.objects import Objects
from fairlead.embedded.apiserver.options import parse_flag
from fairlead.embedded.apiserver.registry import ResourceType
from fairlead.embedded.apiserver.request_path import RequestPath, parse_path
from fairlead.embedded.apiserver.status import expired, method_not_allowed, not_found, unknown_path
from fairlead.embedded.apiserver.store import Compacted, Store, WriteFailed
from fairlead.embedded.apiserver.tokens import Tokens
from fairlead.kube.errors import ApiError, InternalError, NotAcceptable, Unauthorized

_log = logging.getLogger(__name__)
Handler = Callable[[Objects, Call], Awaitable[web.StreamResponse]]

_COLLECTION: dict[str, tuple[str, Handler]] = {
    "GET": ("list", list_collection),
    "POST": ("create", create),
    "DELETE": ("deletecollection", delete_collection),
}
_OBJECT: dict[str, tuple[str, Handler]] = {
    "GET": ("get", get),
    "PUT": ("update", update),
    "PATCH": ("patch", patch),
    "DELETE": ("delete", delete),
}
_WARNINGS = web.RequestKey("warnings", list[str])
_PUBLIC = frozenset({"healthz", "livez", "readyz", "version"})
_READING = frozenset({"GET", "HEAD"})
_HEALTH = frozenset({"healthz", "livez", "readyz"})


class Api:
    """The request handler of the server. `handle` answers every request; it never raises for a bad one."""

    def __init__(
        self, store: Store, catalog: Catalog, clock: Clock, credentials: Credentials, kubelet_credentials: Path
    ) -> None:
        self.catalog = catalog
        self.objects = objects = Objects(store, catalog, clock)
        self._kubelet = KubeletProxy(
            lambda namespace, name: objects.lookup("", "pods", namespace, name),
            lambda name: objects.lookup("", "nodes", "", name),
            kubelet_credentials,
        )
        self.authorizer = Authorizer(objects)
        self.tokens = Tokens(credentials.signing_key, clock)
        self.openapi = OpenApi(catalog)
        self.metrics = Metrics(store)
        self._credentials = credentials

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        try:
            response = await self._dispatch(request)
        except ApiError as error:
            if request.method not in _READING:
                # What the error is about may be on its way to the disk: who looks for it next has to find it.
                await self.objects.store.acknowledged()
            response = respond_error(error, media_type=_error_type(request), warnings=request.get(_WARNINGS))
        except WriteFailed as error:
            response = respond_error(InternalError(f"Internal error occurred: {error}"))
        except Compacted as error:
            response = respond_error(expired(str(error)))
        except (asyncio.CancelledError, web.HTTPException):
            raise
        except Exception as error:
            _log.exception("%s %s", request.method, request.rel_url)
            response = respond_error(InternalError(f"Internal error occurred: {error!r}"))
        self.metrics.count(request.method, response.status)
        return response

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        raw_path = request.raw_path.partition("?")[0]
        first = raw_path.strip("/").partition("/")[0]
        user = ADMIN if first in _PUBLIC else self._authenticate(request)
        path = parse_path(raw_path)
        if not user.is_master:
            self.authorizer.refuse(user, _attributes(request, raw_path, path))
        if path is None:
            return self._outside(request, raw_path)
        if not path.resource:
            return self._resource_list(request, path)
        type_ = self.catalog.find(path.group, path.version, path.resource)
        if type_ is None:
            return self._unknown(path)
        call = Call(request, path, type_, head_of(type_), user=user)
        if type_.deprecation:
            call.warnings.append(type_.deprecation)
        request[_WARNINGS] = call.warnings
        return await self._serve(call)

    def _authenticate(self, request: web.Request) -> User:
        """Who asks; the admin may ask in another's name. Raises Unauthorized, Forbidden."""
        headers = request.headers
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized("Unauthorized")
        if not self._credentials.is_admin(token):
            name = self.tokens.user_of(token)
            if name is None:
                raise Unauthorized("Unauthorized")
            user = service_account(name)
        else:
            user = ADMIN
        impersonated = headers.get("Impersonate-User")
        if not impersonated:
            return user
        if not user.is_master:
            raise forbidden(user, Attributes("impersonate", resource="users", name=impersonated))
        if impersonated.startswith("system:serviceaccount:") and impersonated.count(":") == 3:
            return service_account(impersonated)
        return User(impersonated, (*headers.getall("Impersonate-Group", ()), AUTHENTICATED))

    # resources

    async def _serve(self, call: Call) -> web.StreamResponse:
        type_, path, method = call.type, call.path, call.request.method
        if path.namespace and not type_.namespaced:
            return self._unknown(path)
        if path.subresource in NODE_METHODS and type_.qualified == "pods" and method in NODE_METHODS[path.subresource]:
            return await self._kubelet.handle(call.request, path.namespace, path.name, path.subresource)
        if path.subresource:
            handler = subresources.find(type_, path.subresource, method)
            return await handler(self.objects, call)
        if path.name and (path.namespace or not type_.namespaced) and not path.is_watch:
            verb, handler = _OBJECT.get(method, ("", get))
            self._allow(call, verb)
            return await handler(self.objects, call)
        if path.name and not path.is_watch:
            raise unknown_path()
        if path.is_watch:
            _only_get(call.request)
        verb, handler = _COLLECTION.get(method, ("", create))
        is_watch = verb == "list" and (path.is_watch or bool(parse_flag(query_of(call.request), "watch")))
        self._allow(call, "watch" if is_watch else verb)
        if verb != "list" and type_.namespaced and not path.namespace:
            raise method_not_allowed()
        if is_watch:
            handler = watch
        elif verb == "create" and type_.qualified == "bindings":
            handler = bind
        elif verb == "create" and (type_.group, type_.resource) in REVIEWS:
            reviewer = Reviewer(call.user, self.authorizer, self.tokens)
            handler = REVIEWS[type_.group, type_.resource](reviewer)
        return await handler(self.objects, call)

    def _allow(self, call: Call, verb: str) -> None:
        if verb not in call.type.verbs:
            raise method_not_allowed()

    def _unknown(self, path: RequestPath) -> web.Response:
        group = path.group
        if group and (group not in self.catalog.groups() or self._is_custom(group)):
            return page_not_found()
        raise unknown_path()

    def _is_custom(self, group: str) -> bool:
        return any(type_.is_custom for type_ in self.catalog.all() if type_.group == group)

    # everything else

    def _resource_list(self, request: web.Request, path: RequestPath) -> web.Response:
        if not self.catalog.types(path.group, path.version):
            return self._unknown(path)
        _only_get(request)
        form = negotiate(request.headers.get("Accept", ""))
        document = discovery.resource_list(self.catalog, path.group, path.version)
        return respond_object(document, media_type=form.media_type)

    def _outside(self, request: web.Request, raw_path: str) -> web.Response:
        parts = raw_path.strip("/").split("/")
        first = parts[0]
        if first in _HEALTH and len(parts) < 3:
            return health(request, first, parts[1] if len(parts) > 1 else "")
        if first == "openapi":
            return self.openapi.handle(request, parts[1:])
        if len(parts) > 2 or (len(parts) == 2 and first != "apis"):
            return page_not_found()
        if len(parts) == 2 and parts[1] not in self.catalog.groups():
            return page_not_found()
        if first not in ("", "api", "apis", "version", "metrics"):
            return page_not_found()
        _only_get(request)
        if first == "metrics":
            return self.metrics.page()
        return self._document(request, first, parts[1] if len(parts) > 1 else "")

    def _document(self, request: web.Request, first: str, group: str) -> web.Response:
        accept = request.headers.get("Accept", "")
        if first in ("api", "apis") and not group:
            form = negotiate_discovery(accept)
            if form.transform:
                groups = [""] if first == "api" else self.catalog.groups()
                response = respond_object(discovery.aggregated(self.catalog, groups))
                response.headers["Content-Type"] = (
                    f"{form.media_type};g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
                )
                return response
            if first == "api":
                document = discovery.core_versions(request.host)
            else:
                document = discovery.group_list(self.catalog)
            return respond_object(document, media_type=form.media_type)
        form = negotiate(accept)
        if first == "version":
            return respond_object(version_document(), media_type=form.media_type)
        if group:
            return respond_object(discovery.group_document(self.catalog, group), media_type=form.media_type)
        return respond_object(discovery.root_paths(self.catalog), media_type=form.media_type)


_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "GET": "get", "HEAD": "get"}


def _attributes(request: web.Request, raw_path: str, path: RequestPath | None) -> Attributes:
    """What a request wants to do."""
    method = request.method
    if path is None or not path.resource:
        return Attributes(method.lower(), path=raw_path)
    verb = _VERBS.get(method, method.lower())
    if method == "GET" and not path.name:
        verb = "watch" if path.is_watch or parse_flag(query_of(request), "watch") else "list"
    elif method == "DELETE" and not path.name:
        verb = "deletecollection"
    return Attributes(verb, path.group, path.resource, path.subresource, path.namespace, path.name)


def _error_type(request: web.Request) -> str:
    """The encoding of an error: the one asked for, where that is possible."""
    accept = request.headers.get("Accept", "")
    try:
        return negotiate(accept).media_type if accept else JSON
    except NotAcceptable:
        return JSON


def _only_get(request: web.Request) -> None:
    if request.method != "GET":
        raise method_not_allowed()


__all__ = ["Api", "Handler", "ResourceType", "not_found"]
