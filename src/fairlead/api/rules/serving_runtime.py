"""Rules of `ServingRuntime`."""

from __future__ import annotations

from fairlead.api.rules import parts
from fairlead.api.rules.rule import Rules

RULES: Rules = {"spec.env[]": parts.ENV_VAR}
