"""Rules of `ModelAdapter`."""

from __future__ import annotations

from fairlead.api.rules import parts
from fairlead.api.rules.parts import below
from fairlead.api.rules.rule import Rule, Rules

RULES: Rules = {
    "spec.service": [
        Rule(
            "self == oldSelf",
            "service cannot be changed: delete this adapter and make it anew for the other service",
        ),
    ],
    "spec.name": parts.MODEL_NAME,
    "spec.source": [
        Rule("self != ''", "an adapter needs a source: a folder or a URL such as hf://owner/name"),
        *parts.SOURCE,
    ],
    "spec.placement": parts.SCALING,
    "spec.rollout.steps": parts.CANARY_STEPS,
    **below("spec.rollout", parts.COMPARED),
    "spec.verification": parts.VERIFICATION,
}
