"""Valid specs and edits for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from fairlead.devices.cdi import (
    ContainerEdits,
    Device,
    DeviceNode,
    Hook,
    IntelRdt,
    Mount,
    NetDevice,
    Spec,
    minimum_version,
)
from fairlead.devices.cdi.rules import HOOK_NAMES, is_empty

# Text that YAML might take for something else, and what needs escapes in JSON.
_TEXTS = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=12),
    st.sampled_from(
        ["yes", "0", "010", "1e3", "null", "~", "", "2026-11-28", ": x", "- x", "#", "'\"", "\u2028", "\x85", "<&>"]
    ),
)
# Built from alphabets: regular expressions are drawn much more slowly.
_NAMES = st.builds("".join, st.tuples(st.sampled_from("abXY"), st.text("aZ0", max_size=3)))
_PATHS = st.lists(_NAMES, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
_UINT32 = st.integers(0, 2**32 - 1)
_ENV = st.tuples(_NAMES, _TEXTS).map("=".join)


def _lists(item: st.SearchStrategy[object], most: int = 2) -> st.SearchStrategy[list[object]]:
    return st.lists(item, max_size=most)


_NODES = st.builds(
    DeviceNode,
    path=_PATHS,
    host_path=st.one_of(st.just(""), _PATHS),
    type=st.sampled_from(["", "b", "c", "u", "p"]),
    major=st.integers(0, 2**63 - 1),
    minor=st.integers(0, 2**20),
    file_mode=st.none() | st.integers(0, 0o7777),
    permissions=st.sampled_from(["", "r", "rw", "rwm", "none"]),
    uid=st.none() | _UINT32,
    gid=st.none() | _UINT32,
)
_MOUNTS = st.builds(
    Mount,
    host_path=_PATHS,
    container_path=_PATHS,
    options=_lists(st.sampled_from(["ro", "bind", "rbind", "nosuid"])),
    type=st.sampled_from(["", "bind", "tmpfs"]),
)
_HOOKS = st.builds(
    Hook,
    hook_name=st.sampled_from(HOOK_NAMES),
    path=_PATHS,
    args=_lists(_TEXTS),
    env=_lists(_ENV),
    timeout=st.none() | st.integers(1, 600),
)
_RDT = st.builds(
    IntelRdt,
    clos_id=st.one_of(st.just("/"), _NAMES, st.just("")),
    l3_cache_schema=_TEXTS,
    mem_bw_schema=_TEXTS,
    schemata=st.none() | _lists(_TEXTS),
    enable_monitoring=st.booleans(),
)
_NET = st.lists(
    st.builds(NetDevice, host_interface_name=_NAMES, name=_NAMES),
    max_size=2,
    unique_by=(lambda d: d.host_interface_name, lambda d: d.name),
)


def edits() -> st.SearchStrategy[ContainerEdits]:
    return st.builds(
        ContainerEdits,
        env=_lists(_ENV),
        device_nodes=_lists(_NODES),
        net_devices=_NET,
        hooks=_lists(_HOOKS),
        mounts=_lists(_MOUNTS),
        intel_rdt=st.none() | _RDT,
        additional_gids=_lists(_UINT32),
    )


_ANNOTATIONS = st.dictionaries(st.one_of(_NAMES, _NAMES.map(lambda n: f"example.com/{n}")), _TEXTS, max_size=2)
_DEVICES = st.builds(
    Device,
    name=st.builds(
        "".join, st.tuples(st.sampled_from("a0Z"), st.sampled_from(["", ":", "_", "-."]), st.sampled_from("b1"))
    ),
    annotations=_ANNOTATIONS,
    container_edits=edits().filter(lambda made: not is_empty(made)),
)


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    """Valid specs, of the version they need at least."""
    made = Spec(
        cdi_version="",
        kind=draw(st.sampled_from(["vendor.com/device", "furiosa.ai/npu", "a/b.c"])),
        annotations=draw(_ANNOTATIONS),
        devices=draw(st.lists(_DEVICES, min_size=1, max_size=3, unique_by=lambda d: d.name)),
        container_edits=draw(edits()),
    )
    return Spec(minimum_version(made), made.kind, made.annotations, made.devices, made.container_edits)
