"""What the package offers: other rooms use these names, not its modules."""

from __future__ import annotations

from fairlead.devices import cdi

CALLED_BY_DRIVER_AND_AGENT = """
SpecCache complete_device_nodes device_nodes environment find_problems hooks mounts net_devices additional_gids merge
parse_qualified_name qualified_name remove_spec requested_devices spec_name transient_spec_name write_spec
"""


def test_exported_names_are_there() -> None:
    assert len(set(cdi.__all__)) == len(cdi.__all__)
    assert set(CALLED_BY_DRIVER_AND_AGENT.split()) <= set(cdi.__all__)
    assert all(hasattr(cdi, name) for name in cdi.__all__)
