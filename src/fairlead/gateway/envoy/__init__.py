"""Fairlead's own Envoy: its configuration, where its files are, and the command that runs it.

Also a minimal configuration of a gateway that is not Fairlead's, to try the picker as its endpoint picker.
"""

from fairlead.gateway.envoy.bootstrap import command, config, write_config
from fairlead.gateway.envoy.foreign import foreign_config
from fairlead.gateway.envoy.options import EnvoyOptions, ListenerTls, PickerAddress
from fairlead.gateway.envoy.places import access_log, admin_socket, binary, picker_socket, replica_name

__all__ = [
    "EnvoyOptions", "ListenerTls", "PickerAddress", "access_log", "admin_socket", "binary", "command", "config",
    "foreign_config", "picker_socket", "replica_name", "write_config",
]  # fmt: skip
