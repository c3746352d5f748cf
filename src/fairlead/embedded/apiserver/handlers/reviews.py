"""Virtual resources that answer a question: who am I, may I, is this token good."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from fairlead.embedded.apiserver.authorization import Attributes, Authorizer, User, service_account
from fairlead.embedded.apiserver.body import Expected, body_media_type, decode, parse_object, settle_strictness
from fairlead.embedded.apiserver.call import Call, respond_object
from fairlead.embedded.apiserver.invalid import FieldError, invalid
from fairlead.embedded.apiserver.objects import Objects
from fairlead.embedded.apiserver.options import write_options
from fairlead.embedded.apiserver.registry import Object
from fairlead.embedded.apiserver.status import invalid_object
from fairlead.embedded.apiserver.tokens import Tokens

Handler = Callable[[Objects, Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Reviewer:
    """Who asks, and who knows."""

    user: User
    authorizer: Authorizer
    tokens: Tokens


Answer = Callable[[Object, Reviewer], Object]


def _review(answer: Answer) -> Callable[[Reviewer], Handler]:
    """A handler that fills in the status of a review."""

    def with_reviewer(reviewer: Reviewer) -> Handler:
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
            review["status"] = answer(review.setdefault("spec", {}), reviewer)
            return respond_object(review, status=201, call=call)

        return handle

    return with_reviewer


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


def _wanted(spec: Object) -> Attributes:
    path = spec.get("nonResourceAttributes")
    if path:
        return Attributes(path.get("verb", ""), path=path.get("path", "") or "/")
    resource = spec["resourceAttributes"]
    keys = ("group", "resource", "subresource", "namespace", "name")
    return Attributes(resource.get("verb", ""), **{key: resource.get(key) or "" for key in keys})


def _verdict(reason: str | None) -> Object:
    if reason is None:
        return {"allowed": False}
    return {"allowed": True, "reason": reason} if reason else {"allowed": True}


def _self_access(spec: Object, reviewer: Reviewer) -> Object:
    _refuse_attributes(spec, [])
    return _verdict(reviewer.authorizer.reason(reviewer.user, _wanted(spec)))


def _subject_access(spec: Object, reviewer: Reviewer) -> Object:
    errors: list[FieldError] = []
    if not spec.get("user") and not spec.get("groups"):
        errors.append(invalid("spec.user", "", "at least one of user or group must be specified"))
    _refuse_attributes(spec, errors)
    user = User(spec.get("user", ""), tuple(spec.get("groups") or ()))
    return _verdict(reviewer.authorizer.reason(user, _wanted(spec)))


def _self_rules(spec: Object, reviewer: Reviewer) -> Object:
    rules = list(reviewer.authorizer.rules(reviewer.user, spec.get("namespace", "")))
    return {
        "resourceRules": [rule for rule in rules if "resources" in rule],
        "nonResourceRules": [rule for rule in rules if "nonResourceURLs" in rule],
        "incomplete": False,
    }


def _self_subject(spec: Object, reviewer: Reviewer) -> Object:
    return {"userInfo": {"username": reviewer.user.name, "groups": list(reviewer.user.groups)}}


def _token(spec: Object, reviewer: Reviewer) -> Object:
    claims = reviewer.tokens.claims_of(spec.get("token", ""))
    if claims is None:
        return {"user": {}, "error": "[invalid bearer token]"}
    user = service_account(claims["sub"])
    uid = claims.get("kubernetes.io", {}).get("serviceaccount", {}).get("uid", "")
    return {
        "authenticated": True,
        "user": {"username": user.name, "uid": uid, "groups": list(user.groups)},
        "audiences": claims.get("aud", []),
    }


# (group, resource) -> makes the handler
REVIEWS: dict[tuple[str, str], Callable[[Reviewer], Handler]] = {
    ("authorization.k8s.io", "selfsubjectaccessreviews"): _review(_self_access),
    ("authorization.k8s.io", "subjectaccessreviews"): _review(_subject_access),
    ("authorization.k8s.io", "localsubjectaccessreviews"): _review(_subject_access),
    ("authorization.k8s.io", "selfsubjectrulesreviews"): _review(_self_rules),
    ("authentication.k8s.io", "selfsubjectreviews"): _review(_self_subject),
    ("authentication.k8s.io", "tokenreviews"): _review(_token),
}
