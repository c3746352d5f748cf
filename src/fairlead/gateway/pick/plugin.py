"""What a plugin type is: a name under which a configuration asks for it, its parameters, and what it does in a profile.

The names, parameters and meanings of llm-d's plugins are kept, so that its configurations run here unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from fairlead.gateway.pick.profile import Filter, Picker, Scorer


class Parameters(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Parameters of a plugin as a configuration writes them; unknown ones are errors."""


class NoParameters(Parameters, frozen=True):
    """A plugin that has none."""


P = TypeVar("P", bound=Parameters)


@dataclass(frozen=True, slots=True)
class PluginType(Generic[P]):
    """Makes the parts of a profile from parameters. A type may be a filter and a scorer at once."""

    name: str
    parameters: type[P]
    filter: Callable[[P], Filter] | None = None
    scorer: Callable[[P], Scorer] | None = None
    picker: Callable[[P], Picker] | None = None
    strict: Callable[[P], bool] = lambda _: False
    """Whether the filter may leave nobody, which ends the decision; otherwise it is passed over then."""
    replaced_by: str = ""
    """For a deprecated type: what to use instead."""
