"""Going back to a former revision, and what has been: `fairlead rollout undo` and `history`. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairlead.serving.rollout.revisions import OPERATION, Revision, template_fields

Json = dict[str, Any]


class NoSuchRevision(ValueError):
    """There is nothing to go back to; says what there is."""


@dataclass(frozen=True, slots=True)
class Past:
    """One line of a history."""

    number: int
    hash: str
    created_s: float | None
    cause: str
    is_stable: bool
    is_wanted: bool
    is_rejected: bool
    changes: tuple[str, ...]
    """Against the revision before, as `field: before -> after`."""


def undo_patch(spec: Mapping[str, Any], target: Revision) -> Json:
    """A merge patch (RFC 7386) of the service that brings back the revision's template. Counts, scaling and how
    rollouts, draining and recovery go stay as they are now, also those of roles."""
    now = {role["name"]: role for role in spec.get("roles") or ()}
    wanted = dict(target.spec)
    if "roles" in wanted:
        wanted["roles"] = [
            {**role, **{k: v for k, v in now.get(role["name"], {}).items() if k in OPERATION}}
            for role in wanted["roles"]
        ]
    current = {k: v for k, v in spec.items() if k not in OPERATION}
    return {"spec": _merge_patch(current, wanted)}


def choose(revisions: Sequence[Revision], current: str, to: str = "", rejected: str = "") -> Revision:
    """The revision to go back to: by number or hash, or else the newest that is neither wanted now nor was rejected.
    Raises NoSuchRevision."""
    known = ", ".join(f"{r.number} ({r.hash})" for r in revisions) or "none"
    if to:
        named = [r for r in revisions if to == str(r.number)] or [r for r in revisions if r.hash.startswith(to)]
        if len(named) == 1:
            return named[0]
        how = "no revision" if not named else "more than one revision"
        raise NoSuchRevision(f"there is {how} {to!r}: take the number or hash of one of {known}")
    others = [r for r in revisions if r.hash not in (current, rejected)]
    if not others:
        raise NoSuchRevision(f"there is no former revision to go back to; revisions that are kept: {known}")
    return max(others, key=lambda r: r.number)


def notes(target: Revision, runtime_spec: Mapping[str, Any] | None) -> list[str]:
    """What undo cannot bring back. `runtime_spec`: of the ServingRuntime of that name now, None if it is gone."""
    name = (target.runtime.get("metadata") or {}).get("name", "")
    if not name or target.runtime.get("spec") == runtime_spec:
        return []
    if runtime_spec is None:
        return [f"ServingRuntime {name} does not exist any more"]
    return [f"ServingRuntime {name} has changed since: the template will not be exactly that of revision {target.hash}"]


def history(revisions: Sequence[Revision], stable: str, wanted: str, rejected: str) -> list[Past]:
    """The oldest first."""
    ordered = sorted(revisions, key=lambda r: r.number)
    past: list[Past] = []
    for i, r in enumerate(ordered):
        changed = tuple(changes(ordered[i - 1], r)) if i else ()
        past.append(
            Past(
                r.number, r.hash, r.created_s, r.cause, r.hash == stable, r.hash == wanted, r.hash == rejected, changed
            )
        )
    return past


def changes(before: Revision, after: Revision) -> list[str]:
    """What differs, by field of the spec, and whether the runtime does."""
    found = [f"{path}: {_text(old)} -> {_text(new)}" for path, old, new in _differences("", before.spec, after.spec)]
    if before.runtime != after.runtime:
        found += [
            f"runtime {path}: {_text(old)} -> {_text(new)}"
            for path, old, new in _differences("", before.runtime.get("spec"), after.runtime.get("spec"))
        ]
    if not found and before.resolved != after.resolved:
        found.append("what Fairlead makes of the same spec")
    return found


def is_current(spec: Mapping[str, Any], revision: Revision) -> bool:
    """Whether the spec says already what the revision does."""
    return template_fields(spec) == revision.spec


def _merge_patch(current: Mapping[str, Any], wanted: Mapping[str, Any]) -> Json:
    patch: Json = {key: None for key in current if key not in wanted}
    for key, value in wanted.items():
        before = current.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            inner = _merge_patch(before, value)
            if inner:
                patch[key] = inner
        elif key not in current or before != value:
            patch[key] = value
    return patch


def _differences(path: str, before: Any, after: Any) -> list[tuple[str, Any, Any]]:
    if before == after:
        return []
    keyed = _by_name(before), _by_name(after)
    if keyed[0] is None or keyed[1] is None:
        return [(path, before, after)]
    found: list[tuple[str, Any, Any]] = []
    for key in sorted({*keyed[0], *keyed[1]}):
        found += _differences(f"{path}.{key}".lstrip("."), keyed[0].get(key), keyed[1].get(key))
    return found


def _by_name(value: Any) -> Mapping[str, Any] | None:
    """Objects by field, lists of named objects by name; None for what has no parts to name."""
    if isinstance(value, Mapping):
        return value
    if _is_named(value):
        return {item["name"]: {k: v for k, v in item.items() if k != "name"} for item in value}
    return None


def _is_named(value: Any) -> bool:
    return (
        isinstance(value, Collection)
        and not isinstance(value, str)
        and bool(value)
        and all(isinstance(item, Mapping) and "name" in item for item in value)
    )


def _text(value: Any) -> str:
    if value is None:
        return "(none)"
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
