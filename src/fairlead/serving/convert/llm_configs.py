"""`baseRefs`: an LLMInferenceService over its LLMInferenceServiceConfigs, the last one before all others. Pure."""

from __future__ import annotations

from typing import Any

from fairlead.serving.convert.go_templates import fill_fields, from_object
from fairlead.serving.convert.report import BadManifest, Loss, Severity
from fairlead.serving.convert.world import World
from fairlead.serving.render.overlay import overlaid
from fairlead.serving.resolved import Unservable

Json = dict[str, Any]


def merged(obj: Json, world: World, losses: list[Loss]) -> Json:
    """The object with what its configs say, its own word last, and with its `{{…}}` filled in. Raises BadManifest."""
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        raise BadManifest("spec", spec, "expected an object")
    metadata = obj.get("metadata") if isinstance(obj.get("metadata"), dict) else {}
    namespace = str((metadata or {}).get("namespace") or "")
    base: Json = {}
    for i, name in enumerate(_names(spec.get("baseRefs"))):
        config = world.found(world.configs, namespace, name)
        if config is None:
            why = "it is not among what was given, so what it says is missing: give it too, or read --from-cluster"
            losses.append(Loss(f"spec.baseRefs[{i}].name", name, Severity.ATTENTION, why))
            continue
        world.used_configs |= {key for key, each in world.configs.items() if each is config}
        losses.append(Loss(f"spec.baseRefs[{i}].name", name, Severity.NOTE, "what it says is part of the service now"))
        base = _over(base, config.get("spec"), f"LLMInferenceServiceConfig {name}: spec")
    own = {key: value for key, value in spec.items() if key != "baseRefs"}
    whole = _over(base, own, "spec") if base else own
    result: Json = {**obj, "spec": whole}
    return {**result, "spec": fill_fields(whole, "spec", from_object(result), losses)}


def _over(base: Json, patch: Any, field: str) -> Json:
    if patch is None:
        return base
    if not isinstance(patch, dict):
        raise BadManifest(field, patch, "expected an object")
    try:
        result = overlaid({"spec": base}, {"spec": patch}, field)["spec"]
    except Unservable as error:
        raise BadManifest(error.field, error.value, error.remedy) from error
    assert isinstance(result, dict)
    return result


def _names(refs: Any) -> list[str]:
    if refs is None:
        return []
    if not isinstance(refs, list):
        raise BadManifest("spec.baseRefs", refs, "expected a list of objects with a name")
    names = []
    for i, ref in enumerate(refs):
        name = ref.get("name") if isinstance(ref, dict) else None
        if not isinstance(name, str) or not name:
            raise BadManifest(f"spec.baseRefs[{i}].name", name, "expected the name of an LLMInferenceServiceConfig")
        names.append(name)
    return names
