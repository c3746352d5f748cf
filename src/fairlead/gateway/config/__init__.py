"""The configuration of a picker: `EndpointPickerConfig` as llm-d's users have it, read strictly into typed settings.

Names, parameters and defaults are kept; what is unknown is refused by name, what is deprecated is accepted with a word.
"""

from fairlead.gateway.config.errors import ConfigError
from fairlead.gateway.config.picker_config import NEVER_TOKENS, Disaggregation, PickerConfig
from fairlead.gateway.config.read import read_config

__all__ = ["NEVER_TOKENS", "ConfigError", "Disaggregation", "PickerConfig", "read_config"]
