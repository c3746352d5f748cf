"""Virtual resources that answer a question: who am I, may I, is this token good.

There is one admin, who may do everything; other users may do nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from fairlead.embedded.apiserver.body import Expected, body_media_type, decode, parse_object, settle_strictness
from fairlead.embedded.apiserver.call import Call, respond_object
from fairlead.embedded.apiserver.credentials import ADMIN
from fairlead.embedded.apiserver.invalid import FieldError, invalid
from fairlead.embedded.apiserver.objects import Objects
from fairlead.embedded.apiserver.options import write_options
from fairlead.embedded.apiserver.registry import Object
from fairlead.embedded.apiserver.status import invalid_object
from fairlead.embedded.apiserver.tokens import Tokens

Handler = Callable[[Objects, Call], Awaitable[web.StreamResponse]]
Answer = Callable[[Object, Tokens], Object]
MASTERS = "system:masters"


def _review(answer: Answer) -> Callable[[Tokens], Handler]:
    """A handler that fills in the status of a review."""

    def with_tokens(tokens: Tokens) -> Handler:
        async def handle(objects: Objects, call: Call) -> web.StreamResponse:
            call.negotiate()
            options = write_options(call.query, "CreateOptions")
            type_ = call.type
            media_type = body_media_type(call.request.headers.get("Content-Type", ""))
            expected = Expected(type_.group, type_.version, type_.kind)
            review, strict = parse_object(await call.body(), media_type, expected, objects.catalog)
            strict += decode(review, type_)
            call.warnings += settle_strictness(strict, options.field_validation, type_)
            review.setdefault("metadata", {})["creationTimestamp"] = None
            review["status"] = answer(review.setdefault("spec", {}), tokens)
            return respond_object(review, status=201, call=call)

        return handle

    return with_tokens


def _refuse_attributes(spec: Object, errors: list[FieldError]) -> None:
    has_resource, has_path = bool(spec.get("resourceAttributes")), bool(spec.get("nonResourceAttributes"))
    if has_resource and has_path:
        errors.append(
            invalid("spec.nonResourceAttributes", spec["nonResourceAttributes"],
                    "cannot be specified in combination with resourceAttributes")
        )  # fmt: skip
    if not has_resource and not has_path:
        errors.append(
            invalid("spec.resourceAttributes", spec.get("resourceAttributes"),
                    "exactly one of nonResourceAttributes or resourceAttributes must be specified")
        )  # fmt: skip
    if errors:
        raise invalid_object("authorization.k8s.io", "", "", errors)


def _self_access(spec: Object, tokens: Tokens) -> Object:
    _refuse_attributes(spec, [])
    return {"allowed": True}


def _subject_access(spec: Object, tokens: Tokens) -> Object:
    errors: list[FieldError] = []
    if not spec.get("user") and not spec.get("groups"):
        errors.append(invalid("spec.user", "", "at least one of user or group must be specified"))
    _refuse_attributes(spec, errors)
    return {"allowed": spec.get("user") == ADMIN or MASTERS in (spec.get("groups") or ())}


def _self_rules(spec: Object, tokens: Tokens) -> Object:
    return {
        "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        "incomplete": False,
    }


def _self_subject(spec: Object, tokens: Tokens) -> Object:
    return {"userInfo": {"username": ADMIN, "groups": [MASTERS, "system:authenticated"]}}


def _token(spec: Object, tokens: Tokens) -> Object:
    claims = tokens.claims_of(spec.get("token", ""))
    if claims is None:
        return {"user": {}, "error": "[invalid bearer token]"}
    account = claims.get("kubernetes.io", {})
    namespace = account.get("namespace", "")
    return {
        "authenticated": True,
        "user": {
            "username": claims["sub"],
            "uid": account.get("serviceaccount", {}).get("uid", ""),
            "groups": ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"],
        },
        "audiences": claims.get("aud", []),
    }


# (group, resource) -> makes the handler
REVIEWS: dict[tuple[str, str], Callable[[Tokens], Handler]] = {
    ("authorization.k8s.io", "selfsubjectaccessreviews"): _review(_self_access),
    ("authorization.k8s.io", "subjectaccessreviews"): _review(_subject_access),
    ("authorization.k8s.io", "localsubjectaccessreviews"): _review(_subject_access),
    ("authorization.k8s.io", "selfsubjectrulesreviews"): _review(_self_rules),
    ("authentication.k8s.io", "selfsubjectreviews"): _review(_self_subject),
    ("authentication.k8s.io", "tokenreviews"): _review(_token),
}
