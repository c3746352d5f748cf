"""Random inventories that follow every rule of the API, and small ones by hand."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from fairlead.devices.inventory import Capacity, Device, Inventory, RequestPolicy, Version
from fairlead.kube.objects import DeviceTaint

DRIVER = "gpu.example.com"

labels = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,12}[a-z0-9])?", fullmatch=True)
identifiers = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,31}", fullmatch=True)
domains = st.sampled_from(["resource.kubernetes.io", "example.com", "a.b-c.d", "x" * 63])
names = st.one_of(identifiers, st.builds("{}/{}".format, domains, identifiers))
texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=64).filter(
    lambda text: len(text.encode()) <= 64
)
versions = st.builds(
    "{}.{}.{}{}".format,
    st.integers(0, 999),
    st.integers(0, 99),
    st.integers(0, 99),
    st.sampled_from(["", "-rc.1", "+build.5", "-alpha+001"]),
).map(Version)
integers = st.integers(-(2**63), 2**63 - 1)
attributes = st.one_of(st.booleans(), integers, texts, versions)
amounts = st.one_of(
    st.integers(0, 2**40).map(str),
    st.builds("{}{}".format, st.integers(0, 999), st.sampled_from(["m", "k", "Mi", "Gi", "M"])),
)
effects = st.sampled_from(["None", "NoSchedule", "NoExecute"])
taints = st.builds(
    DeviceTaint,
    key=st.sampled_from([f"{DRIVER}/unhealthy", f"{DRIVER}/vanished", "plain"]),
    value=st.sampled_from(["", "XidError", "a.b-c_d"]),
    effect=effects,
)


@st.composite
def policies(draw: Any) -> tuple[str, RequestPolicy]:
    """A capacity's value and a policy for it."""
    low, step, steps = draw(st.integers(0, 8)), draw(st.integers(1, 8)), draw(st.integers(1, 8))
    high = low + step * steps
    default = low + step * draw(st.integers(0, steps))
    value = high + draw(st.integers(0, 5))
    form = draw(st.sampled_from(["values", "range", "open", "default"]))
    if form == "values":
        values = sorted(draw(st.sets(st.integers(0, value), min_size=1, max_size=10)))
        return str(value), RequestPolicy(str(draw(st.sampled_from(values))), valid_values=tuple(map(str, values)))
    if form == "range":
        return str(value), RequestPolicy(str(default), min=str(low), max=str(high), step=str(step))
    if form == "open":
        return str(value), RequestPolicy(str(default), min=str(low))
    return str(value), RequestPolicy(str(default))


@st.composite
def devices(draw: Any, name: str, counters: dict[str, dict[str, str]], *, lists: bool) -> Device:
    shareable = draw(st.booleans())
    attribute_names = draw(st.lists(names, max_size=6, unique=True))
    capacity_names = draw(st.lists(names, max_size=3, unique=True))
    own = {f"{DRIVER}/{n}" for n in (*attribute_names, *capacity_names)}
    values: Any = attributes
    if lists:
        values = st.one_of(
            attributes,
            st.lists(integers, min_size=1, max_size=3).map(tuple),
            st.lists(texts, min_size=1, max_size=3).map(tuple),
            st.lists(versions, min_size=1, max_size=3).map(tuple),
        )
    capacity = {}
    for capacity_name in capacity_names:
        if shareable and draw(st.booleans()):
            value, policy = draw(policies())
            capacity[capacity_name] = Capacity(value, policy)
        else:
            capacity[capacity_name] = Capacity(draw(amounts))
    consumes = {}
    for set_name in draw(st.lists(st.sampled_from(sorted(counters)), max_size=2, unique=True)) if counters else ():
        chosen = draw(st.lists(st.sampled_from(sorted(counters[set_name])), min_size=1, max_size=3, unique=True))
        consumes[set_name] = {c: str(draw(st.integers(0, int(counters[set_name][c])))) for c in chosen}
    conditions = draw(st.sampled_from([(), ("example.com/ready",), ("a", "b")]))
    return Device(
        name=name,
        attributes={n: draw(values) for n in attribute_names if n not in own},
        capacity={n: c for n, c in capacity.items() if n not in own},
        consumes=consumes,
        shareable=shareable,
        binding_conditions=conditions,
        binding_failure_conditions=("example.com/failed",) if conditions else (),
    )


@st.composite
def inventories(draw: Any, *, max_devices: int = 12, lists: bool = False) -> Inventory:
    """A valid inventory. Counters are whole numbers."""
    set_names = draw(st.lists(labels, max_size=10, unique=True))
    counters = {
        set_name: {
            counter: str(draw(st.integers(0, 64)))
            for counter in draw(st.lists(labels, min_size=1, max_size=4, unique=True))
        }
        for set_name in set_names
    }
    device_names = draw(st.lists(labels, max_size=max_devices, unique=True))
    found = tuple(draw(devices(name, counters, lists=lists)) for name in device_names)
    return Inventory(found, counters)


@st.composite
def tainted(draw: Any, **options: Any) -> tuple[Inventory, dict[str, tuple[DeviceTaint, ...]]]:
    """An inventory, some of its devices tainted."""
    inventory = draw(inventories(**options))
    chosen = {}
    for device in inventory.devices:
        if draw(st.integers(0, 3)) == 0:
            found = draw(st.lists(taints, min_size=1, max_size=2, unique_by=lambda t: (t.key, t.effect)))
            chosen[device.name] = tuple(found)
    return inventory, chosen


def plain(count: int, *, first: int = 0) -> Inventory:
    """Devices without anything that makes a slice smaller."""
    return Inventory(tuple(Device(f"dev-{n}", {"index": n}) for n in range(first, first + count)))


def partitioned(cards: int) -> Inventory:
    """Cards of eight elements, each card with all aligned groups of 1, 2, 4 and itself, over counters."""
    found, counters = [], {}
    for card in range(cards):
        counters[f"card-{card}"] = {f"pe-{n}": "1" for n in range(8)} | {"memory": "48Gi"}
        for size in (8, 4, 2, 1):
            for start in range(0, 8, size):
                name = f"npu-{card}" if size == 8 else f"npu-{card}-pe-{start}-{size}"
                use = {f"pe-{n}": "1" for n in range(start, start + size)} | {"memory": f"{6 * size}Gi"}
                parent = "" if size == 8 else f"npu-{card}"
                found.append(Device(name, {"size": size}, consumes={f"card-{card}": use}, parent=parent))
    return Inventory(tuple(found), counters)


def taint(effect: str = "NoExecute", value: str = "XidError") -> DeviceTaint:
    return DeviceTaint(key=f"{DRIVER}/unhealthy", value=value, effect=effect)
