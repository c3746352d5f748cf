"""Gateway policies by name. A later one is one more entry of `POLICIES`.

`random`, `round-robin` and `least-loaded` are pure functions of candidates; `fairlead` is the live gateway's picker
with its default profile; `llm-d` is another gateway's default, rebuilt. The path of an EndpointPickerConfig file
(.yaml, .yml or .json) stands for the picker with that file's profile.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from fairlead.engines import EngineSignals
from fairlead.gateway.config import ConfigError, read_config
from fairlead.gateway.pick import Candidate, NoPick, Pick, Profile, pick_least_loaded, pick_random, pick_round_robin
from fairlead.gateway.pick.defaults import default_profile
from fairlead.simulator.fleet.asked import Asked
from fairlead.simulator.fleet.config import GatewaySpec, ScenarioError
from fairlead.simulator.fleet.llm_d import LlmD
from fairlead.simulator.fleet.picking import PickerPolicy
from fairlead.simulator.fleet.policy import Decision, End, Policy, Seen

Maker: TypeAlias = Callable[[random.Random, GatewaySpec], Policy]


class OfCandidates:
    """A pure function of candidates, and of a number from 0 to below 1 that is drawn for each decision, as a policy."""

    watches = False

    def __init__(self, function: Callable[[Sequence[Candidate]], Pick | NoPick]) -> None:
        self._function = function

    def pick(self, now_s: float, asked: Asked | None, seen: Sequence[Seen]) -> Decision | NoPick:
        pick = self._function([replica.candidate(now_s) for replica in seen])
        return pick if isinstance(pick, NoPick) else Decision(pick.address)

    def reported(self, address: str, signals: EngineSignals, at_s: float) -> float:
        raise AssertionError("it does not watch")

    def ended(self, pick_id: str, end: End | None) -> None:
        raise AssertionError("it does not watch")

    def gone(self, address: str) -> None:
        """It remembers nothing."""


def _random(rng: random.Random, gateway: GatewaySpec) -> Policy:
    return OfCandidates(lambda candidates: pick_random(candidates, rng.random()))


def _round_robin(rng: random.Random, gateway: GatewaySpec) -> Policy:
    return OfCandidates(pick_round_robin)


def _least_loaded(rng: random.Random, gateway: GatewaySpec) -> Policy:
    return OfCandidates(pick_least_loaded)


def _llm_d(rng: random.Random, gateway: GatewaySpec) -> Policy:
    return LlmD(rng)


def _fairlead(rng: random.Random, gateway: GatewaySpec) -> Policy:
    return PickerPolicy(default_profile(), rng, gateway.scrape_interval_s)


POLICIES: dict[str, Maker] = {
    "random": _random,
    "round-robin": _round_robin,
    "least-loaded": _least_loaded,
    "llm-d": _llm_d,
    "fairlead": _fairlead,
}
"""Name -> maker of the policy, which is given a generator of its own."""

_CONFIG_SUFFIXES = (".yaml", ".yml", ".json")


def policy_named(name: str, rng: random.Random, gateway: GatewaySpec | None = None) -> Policy:
    """The policy. Raises ScenarioError for an unknown name and a file that is no configuration."""
    gateway = gateway or GatewaySpec()
    if name in POLICIES:
        return POLICIES[name](rng, gateway)
    if Path(name).suffix in _CONFIG_SUFFIXES:
        return PickerPolicy(_profile_in(Path(name)), rng, gateway.scrape_interval_s)
    raise ScenarioError(
        f"unknown policy {name!r}; known are {', '.join(POLICIES)} and files of an EndpointPickerConfig (.yaml)"
    )


def _profile_in(path: Path) -> Profile:
    try:
        return read_config(path.read_text()).profile
    except OSError as error:
        raise ScenarioError(f"cannot read the policy {path}: {error.strerror}") from error
    except (ConfigError, UnicodeDecodeError) as error:
        raise ScenarioError(f"the policy {path}: {' '.join(str(error).split())}") from error
