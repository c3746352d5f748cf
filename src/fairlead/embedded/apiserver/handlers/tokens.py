"""`serviceaccounts/{name}/token`: a TokenRequest answered with a signed token."""

from __future__ import annotations

from aiohttp import web

from fairlead.clock import format_time
from fairlead.embedded.apiserver.body import Expected, body_media_type, parse_object
from fairlead.embedded.apiserver.call import Call, respond_object
from fairlead.embedded.apiserver.handlers.create import refuse_namespace
from fairlead.embedded.apiserver.invalid import invalid
from fairlead.embedded.apiserver.objects import Objects
from fairlead.embedded.apiserver.options import write_options
from fairlead.embedded.apiserver.status import bad_request, invalid_object
from fairlead.embedded.apiserver.tokens import ISSUER, TOKENS

MIN_LIFETIME_S = 600
DEFAULT_LIFETIME_S = 3600
MAX_LIFETIME_S = 1 << 32
_EXPECTED = Expected("authentication.k8s.io", "v1", "TokenRequest")


async def request_token(objects: Objects, call: Call) -> web.Response:
    """Issue a token for a service account. Raises ApiError."""
    call.negotiate()
    write_options(call.query, "CreateOptions")
    media_type = body_media_type(call.request.headers.get("Content-Type", ""))
    body = await call.body() or b"{}"
    request, _ = parse_object(body, media_type, _EXPECTED, objects.catalog)
    refuse_namespace(request, call)
    account = objects.read(call.type, objects.get(call.type, call.namespace, call.name))
    metadata = request.setdefault("metadata", {})
    if metadata.get("name") not in (None, "", call.name):
        raise bad_request(
            f"name in URL does not match name in TokenRequest object: {call.name} != {metadata.get('name')}"
        )
    spec = request.setdefault("spec", {})
    lifetime_s = spec.setdefault("expirationSeconds", DEFAULT_LIFETIME_S)
    spec["audiences"] = spec.get("audiences") or [ISSUER]
    spec.setdefault("boundObjectRef", None)
    if lifetime_s < MIN_LIFETIME_S:
        error = invalid("spec.expirationSeconds", lifetime_s, "may not specify a duration less than 10 minutes")
        raise invalid_object("authentication.k8s.io", "TokenRequest", "", [error])
    if lifetime_s > MAX_LIFETIME_S:
        error = invalid("spec.expirationSeconds", lifetime_s, "may not specify a duration larger than 2^32 seconds")
        raise invalid_object("authentication.k8s.io", "TokenRequest", "", [error])
    tokens = call.request.app[TOKENS]
    claims = {
        "aud": spec["audiences"],
        "sub": f"system:serviceaccount:{call.namespace}:{call.name}",
        "kubernetes.io": {
            "namespace": call.namespace,
            "serviceaccount": {"name": call.name, "uid": account["metadata"]["uid"]},
        },
    }
    now_s = objects.clock.wall_s()
    metadata.update(name=call.name, namespace=call.namespace, creationTimestamp=format_time(now_s))
    request["status"] = {
        "token": tokens.issue(claims, lifetime_s),
        "expirationTimestamp": format_time(now_s + lifetime_s),
    }
    return respond_object(request, status=201, call=call)
