"""Manifests of model services: made from options, or read from a file and checked before anything is applied."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fairlead.cli.failure import Failed

Json = dict[str, Any]
API_VERSION = "fairlead.dev/v1alpha1"
KIND = "ModelService"


def manifest(
    name: str,
    namespace: str,
    *,
    model: str,
    runtime: str,
    replicas: int,
    source: str = "",
    args: Sequence[str] = (),
    parallelism: Mapping[str, int] | None = None,
    device_class: str = "",
    roles: Mapping[str, int] | None = None,
    strategy: str = "",
    adapter_slots: int = 0,
) -> Json:
    """A ModelService as JSON. `roles` are replicas by role for each of `replicas`; an empty runtime is chosen by the
    controller."""
    spec: Json = {"model": {"name": model}, "replicas": replicas}
    if runtime:
        spec["runtime"] = runtime
    if source:
        spec["model"]["source"] = source
    if args:
        spec["args"] = list(args)
    spread = {dimension: size for dimension, size in (parallelism or {}).items() if size > 1}
    if spread:
        spec["parallelism"] = spread
    if device_class:
        spec["accelerators"] = [{"name": "default", "deviceClass": device_class}]
    if roles:
        spec["roles"] = [{"name": role, "replicas": count} for role, count in roles.items()]
    if strategy:
        spec["rollout"] = {"strategy": strategy}
    if adapter_slots:
        spec["adapters"] = {"slots": adapter_slots}
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def read_manifests(file: Path, namespace: str) -> list[Json]:
    """The model services of a YAML or JSON file ("-": stdin), each with a namespace. Raises Failed."""
    import yaml

    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text()
        documents = [d for d in yaml.load_all(text, Loader=yaml.CSafeLoader) if d is not None]
    except OSError as error:
        raise Failed(f"{file} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Failed(f"{file} is not YAML: {error}") from error
    if not documents:
        raise Failed(f"{file} holds no manifests")
    for number, document in enumerate(documents, 1):
        problem = _problem(document)
        if problem:
            raise Failed(f"{file}, document {number}: {problem}")
        document["metadata"].setdefault("namespace", namespace)
    return documents


def _problem(document: Any) -> str | None:
    """What keeps a document from being sent as a ModelService; its fields are the API server's to judge."""
    if not isinstance(document, dict):
        return f"expected an object with apiVersion, kind and metadata, got {type(document).__name__}"
    if document.get("kind") != KIND:
        kind = document.get("kind")
        return f"fairlead deploys {KIND} objects, not {kind!r}; use `kubectl apply` for others"
    metadata = document.get("metadata")
    if not isinstance(metadata, dict):
        return f"metadata: expected a mapping with a name, got {metadata!r}"
    name = metadata.get("name")
    if not isinstance(name, str) or not name:
        return f"metadata.name: expected a name in quotes or letters, got {name!r}"
    if not isinstance(metadata.get("namespace", ""), str):
        return f"metadata.namespace: expected a name, got {metadata['namespace']!r}"
    return None
