"""Whether an adapter can be served at all: its service, the engines' abilities, and its name. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairlead.api.model_adapter import ModelAdapter
from fairlead.api.model_service import AdapterPolicy, ModelService
from fairlead.serving.adapters.versions import AdapterVersion

Json = dict[str, Any]
Refusal = tuple[str, str]
"""(reason, sentence); empty texts = nothing speaks against it."""

FINE: Refusal = ("", "")


@dataclass(frozen=True, slots=True)
class Taken:
    """Names that requests give and who has them, all over the cluster."""

    models: Mapping[str, str]
    """Name of a model -> namespace/name of the ModelService that serves it."""
    adapters: Mapping[str, str]
    """Served name of an adapter -> namespace/name of the oldest ModelAdapter that asks for it."""


def served_name(adapter: ModelAdapter) -> str:
    """What requests give."""
    return adapter.spec.name or str(adapter.metadata["name"])


def taken_names(services: Iterable[Json], adapters: Iterable[Json]) -> Taken:
    """Who has which name, of the objects as the API has them. Of adapters the oldest has it; one that is being deleted
    has none."""
    models: dict[str, str] = {}
    for service in services:
        spec = service["spec"]
        for model in (spec["model"], *spec.get("models", ())):
            for name in (model["name"], *model.get("aliases", ())):
                models.setdefault(name, _key(service["metadata"]))
    names: dict[str, str] = {}
    for adapter in sorted(adapters, key=lambda a: (a["metadata"].get("creationTimestamp", ""), _key(a["metadata"]))):
        meta = adapter["metadata"]
        if "deletionTimestamp" not in meta:
            names.setdefault(adapter["spec"].get("name") or meta["name"], _key(meta))
    return Taken(models, names)


def refusal(adapter: ModelAdapter, service: ModelService | None, unable: Sequence[str], taken: Taken) -> Refusal:
    """Why the adapter cannot be served. `unable` are runtimes of the service's engines that load no adapters."""
    spec, name = adapter.spec, served_name(adapter)
    if service is None:
        return "NoService", f"there is no ModelService {spec.service} in this namespace"
    if service.spec.adapters is None:
        return (
            "AdaptersOff",
            f"the engines of {spec.service} serve no adapters: set spec.adapters of the ModelService "
            "(its replicas are then replaced once)",
        )
    if service.spec.workload != "Replicas":
        return (
            "ForeignWorkload",
            f"the pods of {spec.service} are kept by a {service.spec.workload}: adapters need spec.workload Replicas",
        )
    if unable:
        return "EngineWithoutAdapters", f"{', '.join(unable)} cannot load adapters while it runs: take another runtime"
    if name in taken.models:
        return "NameTaken", f"{name} is the name of a model of {taken.models[name]}: give the adapter another spec.name"
    if (owner := taken.adapters.get(name)) is not None and owner != _key(adapter.metadata):
        return "NameTaken", f"{name} is the name of the older ModelAdapter {owner}: give this one another spec.name"
    return FINE


def undeliverable(version: AdapterVersion, policy: AdapterPolicy) -> Refusal:
    """Why a version cannot come to the engines as it is asked for, on a service that serves adapters."""
    scheme = version.source.partition("://")[0] if "://" in version.source else "file"
    must_verify = version.verification is not None and version.verification.mode == "Enforce"
    if must_verify and scheme != "oci":
        return (
            "CannotBeVerified",
            f"only oci:// adapters are signed, this one is {scheme}://: push it to a registry (fairlead model push) "
            "and sign it there, or leave spec.verification out",
        )
    if version.pull_secret and version.pull_secret not in policy.pull_secrets:
        return (
            "SecretNotMounted",
            f"spec.pullSecret is {version.pull_secret}, and pods have the Secrets of spec.adapters.pullSecrets of the "
            f"ModelService alone ({', '.join(policy.pull_secrets) or 'none'}): add it there, with spec.adapters.fetch "
            "(its replicas are then replaced once)",
        )
    return FINE


def _key(metadata: Mapping[str, str]) -> str:
    return f"{metadata['namespace']}/{metadata['name']}"
