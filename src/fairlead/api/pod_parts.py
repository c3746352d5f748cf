"""Schemas of parts of a pod that our kinds take over as they are, so that a misspelt field is refused where it stands.

Source: core/v1 Probe and EnvVarSource, fields of Kubernetes 1.34.
"""

from __future__ import annotations

from fairlead.api.structural import Json


def _text(description: str, **limits: int) -> Json:
    return {"type": "string", "description": description, **limits}


def _count(description: str, least: int) -> Json:
    return {"type": "integer", "format": "int32", "minimum": least, "description": description}


def _object(description: str, required: tuple[str, ...], **properties: Json) -> Json:
    return {"type": "object", "description": description, "properties": properties, "required": list(required)}


_PORT: Json = {
    "anyOf": [{"type": "integer"}, {"type": "string"}],
    "x-kubernetes-int-or-string": True,
    "description": "Number or name of the port.",
}
_HEADERS: Json = {
    "type": "array",
    "description": "Headers of the request.",
    "x-kubernetes-list-type": "atomic",
    "items": _object("A header.", ("name", "value"), name=_text("Its name."), value=_text("Its value.")),
}

PROBE: Json = {
    "type": "object",
    "properties": {
        "exec": _object(
            "A command in the container; it is well when it ends with 0.",
            (),
            command={
                "type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "atomic",
                "description": "The command and its arguments; no shell.",
            },
        ),
        "httpGet": _object(
            "A request; it is well when the answer is 200 to 399.",
            ("port",),
            path=_text("Path of the request."), port=_PORT, host=_text("Host; default: the pod's address."),
            scheme={"type": "string", "enum": ["HTTP", "HTTPS"], "description": "HTTP or HTTPS."},
            httpHeaders=_HEADERS,
        ),
        "tcpSocket": _object(
            "A connection; it is well when it opens.",
            ("port",),
            port=_PORT, host=_text("Host; default: the pod's address."),
        ),
        "grpc": _object(
            "A call of the gRPC health protocol.",
            ("port",),
            port=_count("Number of the port.", 1), service=_text("Service to ask about."),
        ),
        "initialDelaySeconds": _count("From the container's start to the first look.", 0),
        "timeoutSeconds": _count("How long an answer may take.", 1),
        "periodSeconds": _count("Between two looks.", 1),
        "successThreshold": _count("Good answers in a row to count as well.", 1),
        "failureThreshold": _count("Bad answers in a row to count as failed.", 1),
        "terminationGracePeriodSeconds": {
            "type": "integer", "format": "int64", "minimum": 1,
            "description": "How long the container may take to end when this probe fails.",
        },
    },
}  # fmt: skip
"""core/v1 Probe."""


def _key_of(kind: str) -> Json:
    return _object(
        f"A key of a {kind} of the namespace.",
        ("key",),
        name=_text(f"Name of the {kind}."),
        key=_text("Key in it."),
        optional={"type": "boolean", "description": "Whether it may be missing."},
    )


VALUE_FROM: Json = {
    "type": "object",
    "properties": {
        "fieldRef": _object(
            "A field of the pod.",
            ("fieldPath",),
            fieldPath=_text("Path of the field, as status.podIP."),
            apiVersion=_text("Version of the path."),
        ),
        "resourceFieldRef": _object(
            "A request or limit of the container.",
            ("resource",),
            resource=_text("As limits.memory."),
            containerName=_text("The container; default: this one."),
            divisor={
                "anyOf": [{"type": "integer"}, {"type": "string"}],
                "x-kubernetes-int-or-string": True,
                "description": "Unit of the value.",
            },
        ),
        "configMapKeyRef": _key_of("ConfigMap"),
        "secretKeyRef": _key_of("Secret"),
    },
}
"""core/v1 EnvVarSource."""

OVERLAY: Json = {
    "type": "object",
    "properties": {
        part: {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "description": f"{what} of the pod."}
        for part, what in (("metadata", "Labels and annotations"), ("spec", "Spec"))
    },
}
"""What is laid over a pod: nothing but metadata and spec, whose fields are the pod's to judge."""
