"""Which pools there are to be for foreign workloads, and what each workload is told. Pure.

A workload becomes a pool of its own. Several share one where a label says so that their pods have themselves: the label
`fairlead.dev/adopt` with the pool's name. Two pools with the same model name do not share: the gateway knows the older.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from fairlead.api.inference_pool import ADAPTERS_ANNOTATION, MODELS_ANNOTATION
from fairlead.engines import ENGINES
from fairlead.serving.adoption.reading import Field, Reading, read_containers
from fairlead.serving.adoption.workloads import Workload
from fairlead.serving.names import (
    ADOPT_CONTAINER_ANNOTATION,
    ADOPT_ENGINE_ANNOTATION,
    ADOPT_LABEL,
    ADOPT_MODEL_ANNOTATION,
    ADOPT_PORT_ANNOTATION,
    ADOPTED_LABEL,
    SERVICE_LABEL,
)

Json = Mapping[str, Any]

_DNS: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAME: Final = re.compile(r"[^\s,]+")
_REMEDIES: Final[Mapping[Field, str]] = {
    "engine": f"annotate it with {ADOPT_ENGINE_ANNOTATION} or {ADOPT_CONTAINER_ANNOTATION}",
    "model": f"annotate it with {ADOPT_MODEL_ANNOTATION}",
    "port": f"annotate it with {ADOPT_PORT_ANNOTATION}",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What has become of one workload. `is_served`: requests for one of its names reach its pods."""

    workload: Workload
    is_served: bool
    reason: str
    message: str
    pool: str = ""


@dataclass(frozen=True, slots=True)
class AdoptedPool:
    """A pool that is to be."""

    namespace: str
    name: str
    selector: Mapping[str, str]
    runtime: str
    port: int
    names: tuple[str, ...]
    """Which requests give."""
    target: str
    """The engine's own name, where it would refuse those; empty where it takes them."""
    adapters: tuple[str, ...]
    workloads: tuple[Workload, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    pools: tuple[AdoptedPool, ...]
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class _Claim:
    """A workload and what it serves."""

    workload: Workload
    pool: AdoptedPool
    notes: tuple[str, ...]


def decide(workloads: Iterable[Workload], pools: Iterable[Json]) -> Decision:
    """The pools of the workloads of one namespace. `pools` are the InferencePools that there are, of all namespaces."""
    there = list(pools)
    verdicts: list[Verdict] = []
    groups: dict[str, list[_Claim]] = {}  # name of a pool -> who wants it, the oldest first
    for workload in sorted(workloads, key=lambda w: w.age_key):
        claim = _claim(workload)
        if isinstance(claim, Verdict):
            verdicts.append(claim)
        else:
            groups.setdefault(workload.pool, []).append(claim)
    made: list[tuple[AdoptedPool, list[_Claim]]] = []
    for name, claims in groups.items():
        foreign = next((p for p in there if _is_foreign(p, claims[0].workload.namespace, name)), None)
        if foreign is not None:
            verdicts += [_taken(claim.workload, "an InferencePool that was not made by adoption") for claim in claims]
            continue
        members, refused = _members(claims)
        verdicts += refused
        made.append((replace(claims[0].pool, workloads=tuple(c.workload for c in members)), members))
    owners = _owners(there, [pool for pool, _ in made])
    for pool, members in made:
        verdicts += [_adopted(claim, pool, owners) for claim in members]
    return Decision(tuple(pool for pool, _ in made), tuple(sorted(verdicts, key=lambda v: v.workload.age_key)))


# One workload.


def _claim(workload: Workload) -> _Claim | Verdict:
    refusal = _refusal(workload)
    if refusal is not None:
        return refusal
    reading = read_containers(workload.containers, workload.annotations.get(ADOPT_CONTAINER_ANNOTATION, ""))
    problems: list[str] = []
    runtime, names, port = _engine(workload, problems), _models(workload, problems), _port(workload, problems)
    if problems:
        return Verdict(workload, False, "BadAnnotation", "; ".join(problems))
    said: Mapping[Field, bool] = {"engine": bool(runtime), "model": bool(names), "port": bool(port)}
    gaps = [gap for gap in reading.gaps if not said[gap.field]]
    if gaps:
        whys: dict[str, list[Field]] = {}
        for gap in gaps:
            whys.setdefault(gap.why, []).append(gap.field)
        message = "; ".join(f"{', '.join(fields)}: {why}" for why, fields in whys.items())
        remedy = "; ".join(dict.fromkeys(_REMEDIES[gap.field] for gap in gaps))
        return Verdict(workload, False, "Unreadable", f"{message}. Or {remedy}")
    return _Claim(workload, _pool(workload, reading, runtime, names, port), _kept_notes(reading, said))


def _refusal(workload: Workload) -> Verdict | None:
    name = workload.pool
    if workload.keeper:
        message = f"it belongs to {workload.keeper}, which has a pool already: take the label {ADOPT_LABEL} off"
        return Verdict(workload, False, "NotForeign", message)
    if workload.kind == "Pod" and not workload.selector:
        message = f"a single pod has no selector: give label {ADOPT_LABEL} the name of a pool, which its pods share"
        return Verdict(workload, False, "NoSelector", message)
    if not _DNS.fullmatch(name):
        message = f"label {ADOPT_LABEL} is {name!r}, which no pool can be called: take lower-case letters, digits and -"
        return Verdict(workload, False, "BadName", message)
    if not workload.selector:
        return Verdict(workload, False, "NoSelector", "its selector has no label by which a pool could find its pods")
    return None


def _engine(workload: Workload, problems: list[str]) -> str:
    runtime = workload.annotations.get(ADOPT_ENGINE_ANNOTATION, "").strip()
    if runtime and runtime not in ENGINES:
        problems.append(f"{ADOPT_ENGINE_ANNOTATION} is {runtime!r}: known are {', '.join(sorted(ENGINES))}")
    return runtime


def _models(workload: Workload, problems: list[str]) -> tuple[str, ...]:
    text = workload.annotations.get(ADOPT_MODEL_ANNOTATION, "")
    names = tuple(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))
    wrong = next((name for name in names if not _NAME.fullmatch(name)), None)
    if wrong is not None:
        problems.append(f"{ADOPT_MODEL_ANNOTATION} is {text!r}: give names without blanks, with commas between them")
    return names


def _port(workload: Workload, problems: list[str]) -> int:
    text = workload.annotations.get(ADOPT_PORT_ANNOTATION, "").strip()
    number = int(text) if text.isdecimal() and text.isascii() and len(text) < 6 else 0
    if text and not 0 < number < 65536:
        problems.append(f"{ADOPT_PORT_ANNOTATION} is {text!r}: give a number from 1 to 65535")
    return number


def _pool(workload: Workload, reading: Reading, runtime: str, names: tuple[str, ...], port: int) -> AdoptedPool:
    runtime = runtime or reading.runtime
    own = reading.names
    needs_target = bool(own) and ENGINES[runtime].knows_names and not set(names) <= set(own)
    return AdoptedPool(
        namespace=workload.namespace,
        name=workload.pool,
        selector=workload.selector,
        runtime=runtime,
        port=port or reading.port,
        names=names or own,
        target=own[0] if needs_target else "",
        adapters=reading.adapters,
        workloads=(workload,),
    )


def _kept_notes(reading: Reading, said: Mapping[Field, bool]) -> tuple[str, ...]:
    return tuple(note for note in reading.notes if not (said["port"] and note.startswith("the port is")))


# Several.


def _members(claims: Sequence[_Claim]) -> tuple[list[_Claim], list[Verdict]]:
    """Those that share the pool of the oldest, and the others."""
    first, members, refused = claims[0], [], []
    for claim in claims:
        if claim.pool.selector != first.pool.selector:
            refused.append(_taken(claim.workload, f"the pool of {first.workload.told}, which is older"))
        elif differences := _differences(claim.pool, first.pool):
            message = (
                f"{differences} of {first.workload.told}, which is older and decides for pool {first.pool.name}. "
                f"Requests reach its pods all the same, as they have the label {ADOPT_LABEL}: give them another value"
            )
            refused.append(Verdict(claim.workload, False, "Differs", message, first.pool.name))
        else:
            members.append(claim)
    return members, refused


def _differences(one: AdoptedPool, other: AdoptedPool) -> str:
    pairs: list[tuple[str, Callable[[AdoptedPool], object]]] = [
        ("engine", lambda p: p.runtime), ("port", lambda p: p.port), ("model", lambda p: ", ".join(p.names)),
    ]  # fmt: skip
    different = [f"{what} {get(one)} is not {get(other)}" for what, get in pairs if get(one) != get(other)]
    return ", ".join(different)


def _taken(workload: Workload, whose: str) -> Verdict:
    message = (
        f"{workload.pool} is the name of {whose}: give label {ADOPT_LABEL} another name, or, to share the pool, give "
        f"the pods of both the label {ADOPT_LABEL}: {workload.pool} in their templates"
    )
    return Verdict(workload, False, "PoolTaken", message)


def _is_foreign(pool: Json, namespace: str, name: str) -> bool:
    meta = pool["metadata"]
    labels = meta.get("labels") or {}
    is_named_so = (meta.get("namespace", ""), meta["name"]) == (namespace, name)
    return is_named_so and (ADOPTED_LABEL not in labels or SERVICE_LABEL in labels)


# Names that other pools have.


def _owners(there: Sequence[Json], made: Sequence[AdoptedPool]) -> Mapping[str, str]:
    """Model name -> namespace/name of the pool that gets its requests: the oldest that lists it, as the gateway has it
    (gateway/resolve.py). Pools that are yet to be made are younger than all, in the order in which they are made."""
    wanted: dict[str, Sequence[str]] = {
        f"{pool.namespace}/{pool.name}": (*pool.names, *((pool.target,) if pool.target else ()), *pool.adapters)
        for pool in made
    }
    listed: list[tuple[str, str, Sequence[str]]] = []
    names: Sequence[str]
    for pool in there:
        meta = pool["metadata"]
        key, said = f"{meta.get('namespace', '')}/{meta['name']}", meta.get("annotations") or {}
        names = [name for each in (MODELS_ANNOTATION, ADAPTERS_ANNOTATION) for name in _split(said.get(each, ""))]
        listed.append((meta.get("creationTimestamp") or "", key, wanted.pop(key, names)))
    listed += [(f"~{n:06}", key, names) for n, (key, names) in enumerate(wanted.items())]
    owners: dict[str, str] = {}
    for _, key, names in sorted(listed):
        for name in names:
            owners.setdefault(name, key)
    return owners


def _adopted(claim: _Claim, pool: AdoptedPool, owners: Mapping[str, str]) -> Verdict:
    key = f"{pool.namespace}/{pool.name}"
    lost = [name for name in pool.names if owners.get(name) != key]
    names = ", ".join(name for name in pool.names if name not in lost)
    text = [f"{pool.runtime} on port {pool.port}"]
    if names:
        text.insert(0, f"requests for {names} reach its pods through pool {pool.name}")
    if pool.target:
        text.append(f"its engine is asked for {pool.target}")
    text += [
        f"requests for {name} go to pool {owners[name]}, which is older: give it another name with "
        f"{ADOPT_MODEL_ANNOTATION}, or let both share a pool"
        for name in lost
    ]
    message = "; ".join([*text, *claim.notes])
    return Verdict(claim.workload, bool(names), "NameTaken" if lost else "Adopted", message, pool.name)


def _split(text: str) -> list[str]:
    return [name for part in text.split(",") if (name := part.strip())]
