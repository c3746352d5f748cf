"""From device names to the edits of a container.

Pure. The edits of a spec as a whole come once, before those of the first of its devices that is asked for, then each
device's own, in the order asked (as the reference implementation injects them). A device that is named twice counts
once, as in containerd: its hooks must not run twice.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from fairlead.devices.cdi.edits import merge
from fairlead.devices.cdi.errors import InvalidName, Unresolved, UnresolvedDevices
from fairlead.devices.cdi.index import Entry, Index
from fairlead.devices.cdi.names import parse_qualified_name
from fairlead.devices.cdi.spec import ContainerEdits

# A near miss is looked for among so many devices of the kind, for the first so many names: a request for thousands of
# devices of a node whose driver is gone must fail fast.
_HINTED_NAMES = 10
_HINT_CANDIDATES = 2000


def resolve(index: Index, names: Iterable[str]) -> ContainerEdits:
    """The merged edits of these devices. Raises UnresolvedDevices with all that are not there."""
    return merge_entries(find(index, names))


def find(index: Index, names: Iterable[str]) -> list[Entry]:
    """The devices of these names, each once, in order. Raises UnresolvedDevices with all that are not there."""
    wanted = list(dict.fromkeys(names))
    devices = index.devices
    missing = [name for name in wanted if name not in devices]
    if missing:
        raise UnresolvedDevices(_explain(index, missing), _note(index))
    return [devices[name] for name in wanted]


def merge_entries(entries: Sequence[Entry]) -> ContainerEdits:
    """The edits of these devices and, once each, of the specs they belong to."""
    return merge(_in_order(entries))


def _in_order(entries: Sequence[Entry]) -> Iterator[ContainerEdits]:
    seen: set[int] = set()
    for entry in entries:
        if id(entry.file) not in seen:
            seen.add(id(entry.file))
            yield entry.file.spec.container_edits
        yield entry.device.container_edits


def _explain(index: Index, missing: Sequence[str]) -> list[Unresolved]:
    kinds = set(index.kinds())
    return [_unresolved(index, name, kinds, hinted=position < _HINTED_NAMES) for position, name in enumerate(missing)]


def _unresolved(index: Index, name: str, kinds: set[str], *, hinted: bool) -> Unresolved:
    try:
        parsed = parse_qualified_name(name)
    except InvalidName as error:
        return Unresolved(name, "malformed", str(error), _near(name, index.devices) if hinted else "")
    if name in index.conflicts:
        files = ", ".join(map(str, index.conflicts[name]))
        return Unresolved(name, "conflict", f'device "{name}" is disabled: {files} define it with the same priority')
    if parsed.kind not in kinds:
        known = f"there are {', '.join(sorted(kinds)[:10])}" if kinds else "there are no specs at all"
        hint = _near(name, index.devices) if hinted else ""
        return Unresolved(name, "unknown kind", f'device "{name}": no spec of kind {parsed.kind}; {known}', hint)
    prefix = f"{parsed.kind}="
    hint = _near(name, (other for other in index.devices if other.startswith(prefix))) if hinted else ""
    return Unresolved(name, "unknown device", f'device "{name}" is in no spec of kind {parsed.kind}', hint)


def _near(name: str, candidates: Iterable[str]) -> str:
    found = difflib.get_close_matches(name, islice(candidates, _HINT_CANDIDATES), n=1, cutoff=0.75)
    return found[0] if found else ""


def _note(index: Index) -> str:
    """Files whose devices are unknown may be where the missing ones are."""
    if not index.broken:
        return ""
    paths = sorted(map(str, index.broken))
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return f"not read, as `fairlead cdi validate` explains: {', '.join(paths[:3])}{more}"
