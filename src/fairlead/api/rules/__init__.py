"""What a schema cannot say of a kind: CEL rules (`x-kubernetes-validations`), a module for each kind.

An API server grants a rule a bounded cost, which it reckons from the sizes that the schema allows: whatever a rule
reads has a `maxItems`, `maxLength` or `maxProperties`. Messages say the value and what to do about it.
"""

from fairlead.api.rules.rule import Rule, Rules, attach

__all__ = ["Rule", "Rules", "attach"]
