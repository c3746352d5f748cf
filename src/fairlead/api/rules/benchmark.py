"""Rules of `Benchmark`."""

from __future__ import annotations

from fairlead.api.rules.rule import Rule, Rules

_BEGUN = "has(oldSelf.status) && has(oldSelf.status.startTime) && oldSelf.status.startTime != ''"


def _kept(field: str) -> Rule:
    was, now = f"oldSelf.spec.{field}", f"self.spec.{field}"
    same = f"has({was}) == has({now}) && (!has({now}) || {now} == {was})"
    return Rule(
        f"!({_BEGUN}) || ({same})",
        f"{field} cannot be changed once the run has begun: delete this benchmark and make it anew",
        field=f".spec.{field}",
    )


RULES: Rules = {
    "": [
        _kept("workers"),
        _kept("image"),
        _kept("results"),
        Rule(
            f"!({_BEGUN}) || !self.spec.suspend || oldSelf.spec.suspend",
            "a run that has begun is not suspended: set stop to end it with a report",
            field=".spec.suspend",
        ),
    ],
    "spec.stop": [
        Rule("self || !oldSelf", "a run that was asked to end does not go on: make another benchmark"),
    ],
    "spec.results": [
        Rule("!has(self.url) || !has(self.claim) || self.url == '' || self.claim == ''", "give url or claim, not both"),
    ],
}
