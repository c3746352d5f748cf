"""Further models on the engines of a service: for runtimes that load every model of their repository. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from fairlead.api.model_service import ModelService
from fairlead.api.serving_runtime import ServingRuntime
from fairlead.engines import Engine
from fairlead.serving.resolved import Unservable


def further_arguments(service: ModelService, runtime: ServingRuntime, engine: Engine) -> tuple[str, ...]:
    """What the engine's command line needs for them. Raises Unservable where it cannot hold several, or where one is to
    come from elsewhere than the repository of the first."""
    models = service.spec.models
    if not models:
        return ()
    if not runtime.spec.multi_model:
        raise Unservable(
            "models", ", ".join(m.name for m in models),
            f"an engine of runtime {runtime.metadata['name']} holds one model: make a service for each, or take a "
            "runtime with multiModel",
        )  # fmt: skip
    for each in models:
        if each.source and each.source != service.spec.model.source:
            raise Unservable(
                f"models[{each.name}].source", each.source, "engines load their models from one repository, which is "
                "model.source: put this one there under its name, and leave its source out",
            )  # fmt: skip
    if engine.runtime == "triton":
        # It loads what it is told, the others all that they find.
        return tuple(f"--load-model={each.name}" for each in models)
    return ()


def served_names(service: ModelService) -> tuple[tuple[str, ...], Mapping[str, str]]:
    """Names under which requests come, the first model's own first; and those of them that engines do not know, with
    the names that are meant. Raises Unservable for a name that is there twice."""
    spec = service.spec
    names = [spec.model.name, *spec.model.aliases]
    aliases: dict[str, str] = {}
    for each in spec.models:
        names += [each.name, *each.aliases]
        aliases |= dict.fromkeys(each.aliases, each.name)
    twice = next((name for name in names if names.count(name) > 1 and name not in spec.model.aliases), None)
    if twice is not None:
        raise Unservable("models", twice, "two models have this name: each needs names of its own")
    return tuple(dict.fromkeys(names)), aliases
