"""What else there is: objects that others refer to, and what a person asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairlead.serving.convert.containers import Container
from fairlead.serving.convert.report import Loss, Severity
from fairlead.serving.convert.sources import Place

Json = dict[str, Any]
Key = tuple[str, str]
"""Namespace and name; an empty namespace is that of the person who applies the object."""


@dataclass(frozen=True, slots=True)
class KnownRuntime:
    """A runtime of KServe. `name` is that of ours; `engine` is empty where none of ours can take its place.

    `formats` are names of KServe's formats -> priority in its choice, 0 where it is only taken when it is named.
    """

    name: str
    engine: str
    formats: Mapping[str, int]
    foreign_engine: str = ""
    image: str = ""
    tensor: int | None = None
    pipeline: int | None = None
    is_multi_host: bool = False
    protocols: tuple[str, ...] = ()


@dataclass(slots=True)
class World:
    """`runtime` is a ServingRuntime of ours that every service is to take, `engine` its engine."""

    runtime: str = ""
    engine: str = ""
    configs: dict[Key, Json] = field(default_factory=dict)
    runtimes: dict[Key, KnownRuntime] = field(default_factory=dict)
    account_secrets: dict[Key, list[str]] = field(default_factory=dict)
    storage_configs: dict[Key, Mapping[str, Any]] = field(default_factory=dict)
    cached: list[str] = field(default_factory=list)
    trained: dict[Key, list[Json]] = field(default_factory=dict)
    used_configs: set[Key] = field(default_factory=set)

    def found(self, table: Mapping[Key, Any], namespace: str, name: str) -> Any:
        """An object of the namespace, or one of the whole cluster or of KServe's own namespace; None if none is
        known."""
        for key in ((namespace, name), ("", name), ("kserve", name)):
            if key in table:
                return table[key]
        return None

    def is_cached(self, uri: str) -> bool:
        """Whether a LocalModelCache keeps it."""
        return any(uri == each or uri.startswith(f"{each.rstrip('/')}/") for each in self.cached)


_CREDENTIALS_OF = ("s3", "gs", "hf", "https", "http")
_TOKENS = ("HF_TOKEN", "token", "HUGGING_FACE_HUB_TOKEN")


def credentials(
    place: Place, container: Container, account: str, pull_secrets: Sequence[str], world: World, namespace: str,
    field_of_account: str, losses: list[Loss],
) -> str:  # fmt: skip
    """`model.pullSecret`: the Secret with what the source asks for, as far as it can be told; empty where it cannot."""
    scheme = place.source.partition("://")[0]
    if scheme == "oci" and pull_secrets:
        return pull_secrets[0]
    if scheme == "hf":
        for var in container.workload.get("env", ()):
            ref = (var.get("valueFrom") or {}).get("secretKeyRef") or {}
            if var["name"] in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN") and ref.get("key") in _TOKENS and ref.get("name"):
                return str(ref["name"])
    if not account or scheme not in _CREDENTIALS_OF:
        return ""
    secrets = world.account_secrets.get((namespace, account))
    if secrets is not None and len(secrets) == 1:
        why = f"its Secret {secrets[0]} is model.pullSecret now: docs/model-cache.md has the names of its keys"
        losses.append(Loss(field_of_account, account, Severity.ATTENTION, why))
        return secrets[0]
    if scheme != "hf" or secrets:
        why = (
            "Secrets of a service account are not looked at: where the source asks for keys, name the Secret in "
            "model.pullSecret"
        )
        losses.append(Loss(field_of_account, account, Severity.ATTENTION, why))
    return ""
