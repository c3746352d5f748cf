"""Where an InferenceService says that its model is: storageUri, storageUris, or a key of `storage-config`.

Source: `pkg/credentials` and `pkg/apis/serving/v1beta1/predictor.go` of KServe 0.20.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Any

from fairlead.serving.convert.reading import Reading
from fairlead.serving.convert.report import Loss, Severity, Unconvertible
from fairlead.serving.convert.world import World

Json = dict[str, Any]

STORAGE_CONFIG = "storage-config"
"""KServe's Secret with an entry of JSON for each storage."""
DEFAULT_KEY = "default"


def storage_uri(predictor: Reading, container: Reading | None, namespace: str, world: World) -> tuple[str, str]:
    """The URI and the field that says it; empty where nothing does. Raises BadManifest, Unconvertible."""
    several = predictor.children("storageUris")
    if container is not None:
        uri = container.text("storageUri")
        if uri:
            return uri, container.path("storageUri")
        if "storage" in container:
            storage = container.child("storage")
            return _of_config(storage, namespace, world), storage.field
    if not several:
        return "", ""
    first = several[0]
    uri = first.text("uri")
    first.say("mountPath", Severity.CHANGED, "the engine is told where the weights are: no path has to be agreed on")
    for each in several[1:]:
        value = {key: each.take(key) for key in each.keys()}  # noqa: SIM118 (those that have a value)
        why = "a service has one source: put the files together, or mount them with podTemplate"
        each.losses.append(Loss(each.field, value, Severity.LOST, why))
    return uri, first.path("uri")


def read_storage_config(secret: Mapping[str, Any]) -> dict[str, Any]:
    """Key -> what it says, of entries that are JSON objects."""
    found: dict[str, Any] = {}
    encoded = secret.get("data") if isinstance(secret.get("data"), dict) else {}
    plain = secret.get("stringData") if isinstance(secret.get("stringData"), dict) else {}
    for key, text in {**_decoded(encoded or {}), **(plain or {})}.items():
        try:
            said = json.loads(text)
        except (TypeError, ValueError):
            continue
        if isinstance(said, dict):
            found[str(key)] = said
    return found


def _decoded(data: Mapping[str, Any]) -> dict[str, str]:
    texts = {}
    for key, value in data.items():
        try:
            texts[key] = base64.b64decode(str(value), validate=True).decode()
        except (binascii.Error, ValueError):
            continue
    return texts


def _of_config(storage: Reading, namespace: str, world: World) -> str:
    key, path = storage.text("key"), storage.text("path")
    parameters = storage.text_map("parameters")
    storage.say("schemaPath", Severity.LOST, "engines read the schema from the model's own files")
    known = world.storage_configs.get((namespace, STORAGE_CONFIG)) or world.storage_configs.get(
        ("", STORAGE_CONFIG), {}
    )
    said = {str(k): str(v) for k, v in (known.get(key or DEFAULT_KEY) or {}).items()} | parameters
    kind, bucket = said.get("type", "s3"), said.get("bucket", "")
    shown = {name: value for name, value in (("key", key), ("path", path), ("parameters", parameters)) if value}
    if re.match(r"[a-z][a-z0-9+.-]*://", path):
        return path
    if kind not in ("s3", "gs") or not bucket:
        raise Unconvertible(
            storage.field, shown, f"the Secret {STORAGE_CONFIG} of the namespace says in which storage that is: give "
            "the Secret too, or write parameters.type (s3, gs) and parameters.bucket",
        )  # fmt: skip
    why = f"it is one source now: {kind}://{bucket}; put the storage's keys into the Secret of model.pullSecret"
    storage.losses.append(Loss(storage.field, shown, Severity.ATTENTION, why))
    return f"{kind}://{bucket}/{path.lstrip('/')}"
