"""Which ServingRuntime runs a service: the one it names, or the one that takes its model best. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from fairlead.api.model_service import Accelerator, ModelService
from fairlead.api.serving_runtime import ServingRuntime
from fairlead.engines import ENGINES, Engine
from fairlead.perf import AcceleratorError, accelerator
from fairlead.serving.resolve.shipped import shipped_runtimes
from fairlead.serving.resolve.workload import workloads
from fairlead.serving.resolved import ModelFacts, Unservable

_MAKES: Final = {"nvidia": "nvidia", "amd": "amd", "furiosaai": "furiosa", "furiosa": "furiosa", "google": "tpu"}
_ENDINGS: Final = {".gguf": "gguf", ".onnx": "onnx", ".safetensors": "safetensors", ".plan": "tensorrt-plan"}
_BY_DEFAULT: Final = "safetensors"
"""Format of a model that says nothing of it: what almost every language model comes in."""


def choose_runtime(
    service: ModelService, runtimes: Sequence[ServingRuntime], facts: ModelFacts
) -> tuple[ServingRuntime, Engine]:
    """The runtime and the adapter of its engine. `runtimes` are those that exist; shipped ones that are missing among
    them count, too. Raises Unservable."""
    known = {r.metadata["name"]: r for r in (*shipped_runtimes(), *runtimes)}
    name = service.spec.runtime
    if not name:
        return _best(service, known, facts)
    runtime = known.get(name)
    if runtime is None:
        raise Unservable("runtime", name, f"there is no such ServingRuntime; there are {', '.join(sorted(known))}")
    if runtime.spec.disabled and service.status.runtime != name:
        raise Unservable("runtime", name, "it is disabled for new services; take another, or enable it")
    engine = engine_of(runtime)
    _refuse_unfit(service, runtime, facts, known)
    return runtime, engine


def engine_of(runtime: ServingRuntime) -> Engine:
    """The adapter that a runtime names. Raises Unservable."""
    engine = ENGINES.get(runtime.spec.engine)
    if engine is None:
        raise Unservable(
            "runtime", runtime.metadata["name"],
            f"its engine is {runtime.spec.engine!r}, which nothing here can speak to; engines are "
            f"{', '.join(sorted(ENGINES))}",
        )  # fmt: skip
    return engine


def model_format(service: ModelService, facts: ModelFacts) -> str:
    """The format of the weights, as far as it is known; empty where it is not."""
    model = service.spec.model
    if model.format:
        return model.format
    path = model.source.partition("@")[0].lower()
    for ending, name in _ENDINGS.items():
        if path.endswith(ending):
            return name
    return _BY_DEFAULT if facts.config is not None else ""


def architecture(service: ModelService, facts: ModelFacts) -> str:
    """As config.json names it; empty where nobody knows."""
    if service.spec.model.architecture:
        return service.spec.model.architecture
    named = (facts.config or {}).get("architectures")
    return str(named[0]) if isinstance(named, list) and named else ""


def make_of(entry: Accelerator) -> str:
    """Of the hardware, as `Program.accelerators` has it; empty where it is not known."""
    try:
        return _MAKES.get(accelerator(entry.model).vendor.lower(), "") if entry.model else ""
    except AcceleratorError:
        return ""


def _best(
    service: ModelService, known: Mapping[str, ServingRuntime], facts: ModelFacts
) -> tuple[ServingRuntime, Engine]:
    if not service.spec.model.source:
        raise Unservable("runtime", "", "the model has no source to choose by: name a runtime, or write model.source")
    wanted = model_format(service, facts) or _BY_DEFAULT
    arch = architecture(service, facts)
    makes = _makes(service)
    found = []
    for name, runtime in known.items():
        priority = max((f.priority for f in runtime.spec.formats if f.name == wanted), default=0)
        if priority and not runtime.spec.disabled and _takes(runtime, arch) and _runs_on(runtime, makes):
            # A runtime that names the architecture was made for it.
            found.append((priority, bool(arch and runtime.spec.architectures), name))
    if not found:
        raise Unservable("runtime", "", _nothing_takes(wanted, arch, known))
    chosen = service.status.runtime
    if any(name == chosen for _, _, name in found):
        # Who runs already is not moved because there is another runtime.
        return known[chosen], engine_of(known[chosen])
    best = known[min(found, key=lambda f: (-f[0], not f[1], f[2]))[2]]
    return best, engine_of(best)


def _nothing_takes(wanted: str, arch: str, known: Mapping[str, ServingRuntime]) -> str:
    what = f"format {wanted}" + (f" and architecture {arch}" if arch else "")
    fitting = sorted(n for n, r in known.items() if any(f.name == wanted for f in r.spec.formats))
    if fitting:
        return (
            f"no runtime takes {what} by itself on this hardware (accelerators[].model says which it is); name one: "
            f"{', '.join(fitting)} take {wanted}"
        )
    formats = sorted({f.name for r in known.values() for f in r.spec.formats})
    return f"no runtime takes {what}; model.format may be {', '.join(formats)}"


def _refuse_unfit(
    service: ModelService, runtime: ServingRuntime, facts: ModelFacts, known: Mapping[str, ServingRuntime]
) -> None:
    """A runtime that was named and cannot take the model. What is not known is no reason."""
    name = str(runtime.metadata["name"])
    arch, said = architecture(service, facts), service.spec.model.format
    if said and runtime.spec.formats and all(f.name != said for f in runtime.spec.formats):
        others = _names(r for r in known.values() if any(f.name == said for f in r.spec.formats))
        takes = ", ".join(f.name for f in runtime.spec.formats)
        raise Unservable("model.format", said, f"runtime {name} takes {takes}; {said} is taken by {others}")
    if not _takes(runtime, arch):
        others = _names(r for r in known.values() if _takes(r, arch) and r.spec.engine == runtime.spec.engine)
        raise Unservable(
            "model.architecture", arch,
            f"runtime {name} takes {', '.join(runtime.spec.architectures)}; {arch} is taken by {others}",
        )  # fmt: skip
    needs = engine_of(runtime).program.accelerators
    for entry, field in _accelerators(service):
        make = make_of(entry)
        if needs and make and make not in needs:
            raise Unservable(
                f"{field}.model", entry.model, f"it is made by {make}, and runtime {name} runs on {', '.join(needs)}"
            )


def _names(runtimes: Iterator[ServingRuntime]) -> str:
    return ", ".join(sorted(str(r.metadata["name"]) for r in runtimes)) or "none"


def _takes(runtime: ServingRuntime, arch: str) -> bool:
    return not arch or not runtime.spec.architectures or arch in runtime.spec.architectures


def _runs_on(runtime: ServingRuntime, makes: frozenset[str]) -> bool:
    engine = ENGINES.get(runtime.spec.engine)
    needs = engine.program.accelerators if engine is not None else ()
    return engine is not None and (not needs or (bool(makes) and makes.issubset(needs)))


def _makes(service: ModelService) -> frozenset[str]:
    return frozenset(make for entry, _ in _accelerators(service) if (make := make_of(entry)))


def _accelerators(service: ModelService) -> Iterator[tuple[Accelerator, str]]:
    for workload in workloads(service.spec):
        for entry in workload.accelerators:
            yield entry, f"{workload.field}accelerators[{entry.name}]"
