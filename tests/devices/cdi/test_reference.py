"""Injections recorded from the reference implementation (container-device-interface 1.1.0, pkg/cdi InjectDevices).

`reference_injections.json` has specs of this suite's strategies, a configuration, the devices asked for and what the
reference made of them. None of their device nodes is on the host: they are described in full.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fairlead.devices.cdi import Spec, SpecCache, apply_to_oci, complete_device_nodes, find_problems
from fairlead.devices.cdi.write import write_spec

CASES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("reference_injections.json").read_bytes())


def with_accesses(config: dict[str, Any]) -> dict[str, Any]:
    """Go leaves an empty access out; here it is written."""
    for rule in config.get("linux", {}).get("resources", {}).get("devices", []):
        rule.setdefault("access", "")
    return config


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
@pytest.mark.parametrize("suffix", [".json", ".yaml"])
def test_the_same_configuration_comes_of_it(case: dict[str, Any], suffix: str, tmp_path: Path) -> None:
    made = msgspec.convert(case["spec"], Spec)
    assert find_problems(made) == []
    write_spec(tmp_path, f"x{suffix}", made)
    edits = complete_device_nodes(SpecCache([tmp_path]).resolve(case["devices"]))
    assert apply_to_oci(case["config"], edits) == with_accesses(case["result"])


def test_the_record_touches_every_kind_of_edit() -> None:
    text = json.dumps([case["result"] for case in CASES])
    for field in (
        "env",
        "devices",
        "netDevices",
        "mounts",
        "hooks",
        "intelRdt",
        "additionalGids",
        "ridmap",
        "schemata",
    ):
        assert f'"{field}"' in text
