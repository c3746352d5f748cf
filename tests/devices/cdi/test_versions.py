"""Which version a spec needs, and whether the one it declares is enough."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given

from devices.cdi.cdi_cases import device, spec
from devices.cdi.spec_strategies import edits as any_edits
from devices.cdi.spec_strategies import specs as any_specs
from fairlead.devices.cdi import (
    CURRENT,
    ContainerEdits,
    DeviceNode,
    IntelRdt,
    Mount,
    NetDevice,
    Spec,
    merge,
    minimum_version,
)
from fairlead.devices.cdi.versions import EARLIEST, KNOWN, check_version, features

FEATURES = [
    (ContainerEdits(), "0.3.0"),
    (ContainerEdits(env=["A=1"], device_nodes=[DeviceNode("/dev/x", type="c", major=1)]), "0.3.0"),
    (ContainerEdits(mounts=[Mount("/a", "/b")]), "0.3.0"),
    (ContainerEdits(mounts=[Mount("/a", "/b", type="bind")]), "0.4.0"),
    (ContainerEdits(device_nodes=[DeviceNode("/dev/x", host_path="/dev/y")]), "0.5.0"),
    (ContainerEdits(device_nodes=[DeviceNode("/some/path", host_path="/some/path")]), "0.5.0"),
    (ContainerEdits(additional_gids=[5]), "0.7.0"),
    (ContainerEdits(intel_rdt=IntelRdt()), "0.7.0"),
    (ContainerEdits(intel_rdt=IntelRdt(clos_id="foo")), "0.7.0"),
    (ContainerEdits(intel_rdt=IntelRdt(schemata=["L3:0=ff"])), "1.1.0"),
    (ContainerEdits(intel_rdt=IntelRdt(schemata=[])), "1.1.0"),
    (ContainerEdits(intel_rdt=IntelRdt(enable_monitoring=True)), "1.1.0"),
    (ContainerEdits(net_devices=[NetDevice("eno1", "net0")]), "1.1.0"),
]


@pytest.mark.parametrize(("edits", "needed"), FEATURES)
@pytest.mark.parametrize("place", ["spec", "device"])
def test_edits_need_a_version_wherever_they_stand(edits: ContainerEdits, needed: str, place: str) -> None:
    made = spec(container_edits=edits) if place == "spec" else spec(device("dev1", edits))
    assert minimum_version(made) == needed


@pytest.mark.parametrize(
    ("made", "needed"),
    [
        (Spec("", ""), "0.3.0"),
        (spec(device("device0")), "0.3.0"),
        (spec(device("0")), "0.5.0"),
        (spec(device("0example")), "0.5.0"),
        (spec(annotations={"key": "value"}), "0.6.0"),
        (spec(device(annotations={"key": "value"})), "0.6.0"),
        (spec(kind="vendor.com/class.sub"), "0.6.0"),
        (spec(kind="vendor.with.dots/class"), "0.3.0"),
        (
            spec(
                annotations={"key": "value"},
                container_edits=ContainerEdits(
                    device_nodes=[DeviceNode("/dev/x", host_path="/y")], mounts=[Mount("/a", "/b", type="bind")]
                ),
            ),
            "0.6.0",
        ),
    ],
)
def test_a_spec_needs_the_newest_of_what_it_uses(made: Spec, needed: str) -> None:
    assert minimum_version(made) == needed


@pytest.mark.parametrize("version", [v for v in KNOWN if v not in ("0.1.0", "0.2.0")])
@pytest.mark.parametrize("prefix", ["", "v"])
def test_known_versions_are_good_for_a_plain_spec(version: str, prefix: str) -> None:
    assert check_version(spec(version=prefix + version)) == []


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0", "v0.2.0"])
def test_versions_before_the_earliest_are_refused(version: str) -> None:
    (problem,) = check_version(spec(version=version))
    assert problem.path == "cdiVersion"
    assert "at least 0.3.0" in problem.message


@pytest.mark.parametrize(
    "version", ["", "0.0.0", "1.2.0", "not-a-version", "vv1.0.0", "1.0", "1.0.0-rc1", "V1.0.0", "v"]
)
def test_unknown_versions_are_refused(version: str) -> None:
    (problem,) = check_version(spec(version=version))
    assert problem.path == "cdiVersion"
    assert "not a known version" in problem.message


def test_a_spec_that_uses_newer_fields_than_it_declares_is_refused_with_their_place() -> None:
    made = spec(device("dev1", ContainerEdits(additional_gids=[1])), version="0.6.0")
    (problem,) = check_version(made)
    assert "devices[0].containerEdits.additionalGids" in problem.message
    assert "at least 0.7.0" in problem.message
    assert check_version(msgspec.structs.replace(made, cdi_version="0.7.0")) == []
    assert check_version(msgspec.structs.replace(made, cdi_version=CURRENT)) == []


@given(any_specs())
def test_the_minimum_is_the_lowest_version_that_is_accepted(made: Spec) -> None:
    accepted = [v for v in KNOWN if not check_version(msgspec.structs.replace(made, cdi_version=v))]
    assert accepted[0] == minimum_version(made)
    assert accepted == list(KNOWN[KNOWN.index(accepted[0]) :])
    assert all(feature.version > EARLIEST for feature in features(made))


@given(any_specs(), any_edits())
def test_adding_edits_never_lowers_the_minimum(made: Spec, added: ContainerEdits) -> None:
    more = msgspec.structs.replace(made, container_edits=merge([made.container_edits, added]))
    # The last RDT settings replace the others whole: only then may something be gone.
    if made.container_edits.intel_rdt is None or added.intel_rdt is None:
        assert KNOWN.index(minimum_version(more)) >= KNOWN.index(minimum_version(made))
