"""From names to edits: order, once-only spec edits, and what is said of names that are not there."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.cdi.cdi_cases import device, spec
from fairlead.devices.cdi import ContainerEdits, Index, IntelRdt, SpecFile, UnresolvedDevices, merge_entries
from fairlead.devices.cdi.index import build_index
from fairlead.devices.cdi.resolve import find, resolve


def env(*entries: str) -> ContainerEdits:
    return ContainerEdits(env=entries)


def index(**kinds: list[str]) -> Index:
    """An index of one spec a kind, `vendor_class` -> devices, whose edits say what they are."""
    files = []
    for number, (name, devices) in enumerate(kinds.items()):
        kind = f"{name.partition('_')[0]}.com/{name.partition('_')[2]}"
        made = spec(*[device(d, env(f"{kind}={d}")) for d in devices], kind=kind, container_edits=env(f"{kind}=ALL"))
        files.append(SpecFile(Path(f"/etc/cdi/{number}.json"), 0, made))
    return build_index(files, {})


INDEX = index(vendor1_device=["dev1", "dev2", "dev3"], vendor2_device=["dev1"], vendor1_gpu=["gpu0", "gpu10"])


def test_spec_edits_come_once_before_the_first_of_its_devices() -> None:
    names = ["vendor1.com/device=dev3", "vendor2.com/device=dev1", "vendor1.com/device=dev1"]
    assert resolve(INDEX, names).env == (
        "vendor1.com/device=ALL",
        "vendor1.com/device=dev3",
        "vendor2.com/device=ALL",
        "vendor2.com/device=dev1",
        "vendor1.com/device=dev1",
    )


def test_a_device_that_is_named_twice_counts_once() -> None:
    assert resolve(INDEX, ["vendor2.com/device=dev1"] * 3).env == ("vendor2.com/device=ALL", "vendor2.com/device=dev1")


def test_no_devices_have_no_edits() -> None:
    assert resolve(INDEX, []) == ContainerEdits()


def test_the_last_rdt_settings_win() -> None:
    made = spec(
        device("a", ContainerEdits(intel_rdt=IntelRdt(clos_id="a", l3_cache_schema="x"))),
        device("b", ContainerEdits(intel_rdt=IntelRdt(clos_id="b"))),
        device("c"),
    )
    found = build_index([SpecFile(Path("/x.json"), 0, made)], {})
    names = [f"vendor.com/device={name}" for name in "abc"]
    assert resolve(found, names).intel_rdt == IntelRdt(clos_id="b")
    assert resolve(found, names[::-1]).intel_rdt == IntelRdt(clos_id="a", l3_cache_schema="x")


def test_devices_of_two_files_of_one_kind_bring_the_edits_of_both() -> None:
    files = [
        SpecFile(
            Path(f"/{name}.json"), priority, spec(device(name), device("both"), container_edits=env(f"FILE={name}"))
        )
        for priority, name in enumerate("ab")
    ]
    found = build_index(files, {})
    assert resolve(found, ["vendor.com/device=a", "vendor.com/device=both"]).env == (
        "FILE=a", "FOO=BAR", "FILE=b", "FOO=BAR",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "reason", "hint"),
    [
        ("vendor1.com/device=dev4", "unknown device", "vendor1.com/device=dev"),
        ("vendor1.com/device=dev33", "unknown device", "vendor1.com/device=dev3"),
        ("vendor1.com/gpu=gpu1", "unknown device", "vendor1.com/gpu=gpu"),
        ("vendor1.com/devices=dev1", "unknown kind", "vendor1.com/device=dev1"),
        ("vendor1.con/device=dev1", "unknown kind", "vendor1.com/device=dev1"),
        ("other.example/thing=x", "unknown kind", ""),
        ("vendor1.com/device:dev1", "malformed", "vendor1.com/device=dev1"),
        ("/dev/null", "malformed", ""),
        ("", "malformed", ""),
    ],
)
def test_a_name_that_is_not_there_says_why_and_what_may_have_been_meant(name: str, reason: str, hint: str) -> None:
    with pytest.raises(UnresolvedDevices) as error:
        resolve(INDEX, ["vendor1.com/device=dev1", name])
    (unresolved,) = error.value.devices
    assert (unresolved.name, unresolved.reason) == (name, reason)
    assert unresolved.hint.startswith(hint)
    assert bool(unresolved.hint) == bool(hint)
    assert not hint or f"did you mean {unresolved.hint}?" in str(error.value)


def test_all_names_that_are_not_there_are_listed_in_order() -> None:
    names = ["x", "vendor1.com/device=dev1", "vendor9.com/device=dev1", "vendor1.com/device=nope"]
    with pytest.raises(UnresolvedDevices) as error:
        resolve(INDEX, names)
    assert error.value.names == ("x", "vendor9.com/device=dev1", "vendor1.com/device=nope")
    with pytest.raises(UnresolvedDevices, match="there are no specs at all"):
        resolve(Index(), names[2:])


def test_thousands_of_names_that_are_not_there_are_one_readable_error() -> None:
    many = index(vendor1_device=[f"dev{n}" for n in range(10_000)])
    with pytest.raises(UnresolvedDevices, match="and 9980 more") as error:
        resolve(many, [f"vendor1.com/device=gone{n}" for n in range(10_000)])
    assert len(error.value.names) == 10_000
    assert len(str(error.value)) < 5000


@given(st.lists(st.sampled_from(sorted(INDEX.devices)), max_size=12))
def test_every_asked_device_and_its_spec_count_exactly_once(names: list[str]) -> None:
    entries = find(INDEX, names)
    assert merge_entries(entries) == resolve(INDEX, names)
    assert [entry.device.container_edits.env[0] for entry in entries] == list(dict.fromkeys(names))
    got = list(resolve(INDEX, names).env)
    assert len(set(got)) == len(got)
    assert {entry for entry in got if not entry.endswith("ALL")} == set(names)
    assert {entry.removesuffix("=ALL") for entry in got if entry.endswith("ALL")} == {
        n.partition("=")[0] for n in names
    }
