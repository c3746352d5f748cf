"""What requests to a pool are decided with: its endpoints by what they do, its profiles, its flow control.

Plans are made when a pool or its configuration changes, so that a request finds everything ready. A configuration that
cannot be read leaves the one before in force.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from fairlead.gateway.config import ConfigError, PickerConfig, read_config
from fairlead.gateway.config.parameters import PrecisePrefixParameters
from fairlead.gateway.endpoints import Change, Endpoint, Pool, Registry
from fairlead.gateway.flow import Detector, FlowSettings, headroom_detector
from fairlead.gateway.membership import REVISION_LABEL
from fairlead.gateway.pick import Pick, Profile
from fairlead.gateway.pick.defaults import default_profile
from fairlead.gateway.pick.profile import Use
from fairlead.gateway.pick.registry import GUARDS, build_profile
from fairlead.gateway.picker import EndpointPicker
from fairlead.gateway.protocol import SESSION_TOKEN_HEADER
from fairlead.gateway.requests.control import session_token

_log = logging.getLogger(__name__)

PREFILL_ROLES = frozenset(("prefill", "encode-prefill"))
ENCODE_ROLE = "encode"
ROOM_FILTER = "room-filter"
WHOLE_ROLES = frozenset(("both", "prefill-decode"))
"""Of endpoints that need no other for a request."""

_HARDWARE_LABELS = ("fairlead.dev/accelerator", "nvidia.com/gpu.product", "cloud.google.com/gke-accelerator")


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """What can be configured of a pool's decisions."""

    profile: Profile = field(default_factory=default_profile)
    """Picks the endpoint that answers."""
    prefill_profile: Profile | None = None
    """Picks the endpoint that computes the prompt; None = as `profile`."""
    detector: Detector = field(default_factory=headroom_detector)
    flow: FlowSettings = field(default_factory=FlowSettings)
    remote_prefill_from_tokens: int | None = None
    """Uncached prompt tokens from which on a prompt is computed by a prefill endpoint; None = where that is quicker."""
    remote_prefill_from_prompt_tokens: int = 0
    """Shorter prompts never are."""
    sidecars: bool = False
    """Whether sidecars at the endpoints run the legs of a split request."""
    precise_prefix: PrecisePrefixParameters | None = None
    """How the engines' cache events are listened to; None = they are not."""
    asks_engines_for_tokens: bool = False
    """Whether an engine is asked for the tokens of a conversation before the pick."""
    sticky_sessions: bool = False
    """Whether it is remembered where each session went."""
    gives_session_tokens: bool = False
    """Whether answers name the endpoint that gave them, for clients that want it again."""
    reads_bodies: bool = True
    """Whether bodies are parsed; otherwise requests go by their heads alone, where one pool takes them all."""
    effective: Mapping[str, object] = field(default_factory=dict)
    """The configuration it came from, with all that was left out."""
    gated: Profile = field(init=False, compare=False, repr=False)
    """Decides for requests that had to wait for their turn: among endpoints with room, as the gate opens for those."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "gated", _gated(self.profile))


def read_settings(text: str) -> PoolSettings:
    """From the text of an EndpointPickerConfig. Raises ConfigError."""
    config = read_config(text)
    for warning in (*config.warnings, *_not_followed(config)):
        _log.warning("picker configuration: %s", warning)
    split = config.disaggregation
    return PoolSettings(
        config.profile,
        config.prefill_profile,
        config.detector(),
        config.flow,
        config.remote_prefill_from_tokens,
        split.remote_prefill_from_prompt_tokens if split is not None else 0,
        sidecars=split is not None,
        precise_prefix=config.precise_prefix,
        asks_engines_for_tokens=config.tokenizer is not None and config.tokenizer.vllm is not None,
        sticky_sessions=config.session_affinity is not None and config.session_affinity.strategy == "session_id",
        gives_session_tokens=config.session_affinity is not None and config.session_affinity.strategy != "session_id",
        reads_bodies=set(config.parsers) != {"passthrough-parser"},
        effective=config.effective,
    )


def _not_followed(config: PickerConfig) -> Iterator[str]:
    """What is accepted and has no effect here."""
    if config.discovery_file is not None:
        yield "file-discovery has no effect: start the picker with --endpoints FILE"
    if config.evicts:
        yield "requests that run are not ended to make room: eviction is of those that wait"
    if config.approximate_prefix is not None and not config.approximate_prefix.auto_tune:
        yield "approx-prefix-cache-producer has no effect: sizes are those that engines report"


class Revision(NamedTuple):
    """Endpoints by what they do of a request, as far as they may work together."""

    answering: tuple[str, ...]
    prefilling: tuple[str, ...]
    encoding: tuple[str, ...]


@dataclass(slots=True)
class PoolPlan:
    """One pool, ready to decide."""

    pool: Pool
    settings: PoolSettings
    answering: tuple[str, ...]
    """Addresses that can answer a request, alone or after a prefill elsewhere."""
    prefilling: tuple[str, ...]
    """Addresses that only compute prompts."""
    encoding: tuple[str, ...]
    by_address: Mapping[str, Endpoint]
    is_split: bool = False
    """Whether some of its endpoints do a part of a request alone."""
    revisions: Mapping[str, Revision] = field(default_factory=dict)
    """By label: what parts of a request may go where, while there are endpoints of several revisions; else empty."""

    def kept_apart(self, pick: Pick) -> Pick:
        """The pick without fallbacks of other revisions: what is computed for its endpoint is of no use to those."""
        if not self.revisions:
            return pick
        alike = self.beside(pick.address).answering
        return replace(pick, fallbacks=tuple([address for address in pick.fallbacks if address in alike]))

    def beside(self, address: str) -> Revision:
        """Endpoints that may compute a part of a request which the one at `address` answers: those of its revision, and
        those that do not say of which they are."""
        if not self.revisions:
            return Revision(self.answering, self.prefilling, self.encoding)
        return self.revisions[self.by_address[address].labels.get(REVISION_LABEL, "")]

    def session_token(self, address: str) -> tuple[tuple[str, str], ...]:
        """The header that leads a client back to an endpoint; empty for one whose pod is not known."""
        endpoint = self.by_address.get(address)
        return ((SESSION_TOKEN_HEADER, session_token(endpoint.pod)),) if endpoint is not None and endpoint.pod else ()


class Plans:
    """The plan of every pool, and what the picker's tables know of endpoints from their pods."""

    def __init__(
        self,
        registry: Registry,
        picker: EndpointPicker,
        default: PoolSettings | None = None,
    ) -> None:
        self._registry = registry
        self._picker = picker
        self.default = default or PoolSettings()
        self._by_pool: dict[str, PoolPlan] = {}
        self._configured: dict[str, PoolSettings] = {}  # key of a configuration -> its settings
        self.on_replan: list[Callable[[str], None]] = []
        """Called with the key of each pool whose plan is a new one, or that is gone."""
        registry.on_change(self._changed)
        registry.on_config(self._config_changed)
        for pool in registry.pools.values():
            self._take(pool)

    def of(self, pool: Pool) -> PoolPlan:
        """The pool's plan."""
        return self._by_pool[pool.key]

    def get(self, key: str) -> PoolPlan | None:
        """The plan of the pool with this key."""
        return self._by_pool.get(key)

    def all(self) -> list[PoolPlan]:
        """The plans of all pools."""
        return list(self._by_pool.values())

    def describe(self, key: str) -> dict[str, object]:
        """The effective configuration of a pool, for people."""
        plan = self._by_pool[key]
        profile = plan.settings.profile
        plugins = [{"type": u.type, "weight": u.weight, "parameters": u.parameters} for u in profile.uses]
        return {
            "config": plan.pool.config or "default",
            "profile": profile.name,
            "plugins": plugins,
            "effective": plan.settings.effective,
        }

    def _changed(self, change: Change) -> None:
        for address in change.gone:
            self._picker.forget(address)
        if change.now is None:
            self._by_pool.pop(change.key, None)
            self._tell(change.key)
            return
        self._take(change.now)

    def _take(self, pool: Pool) -> None:
        for endpoint in pool.endpoints:
            self._picker.loads.describe(
                endpoint.address, endpoint.role, endpoint.labels, endpoint.pod, endpoint.adapters
            )
            self._picker.predictor.describe(endpoint.address, f"{pool.key} {_hardware(endpoint)}")
        self._by_pool[pool.key] = plan_of(pool, self._settings_of(pool))
        self._tell(pool.key)

    def _settings_of(self, pool: Pool) -> PoolSettings:
        if not pool.config:
            return self.default
        settings = self._configured.get(pool.config)
        if settings is not None:
            return settings
        text = self._registry.configs.get(pool.config)
        if text is None:
            return self.default
        try:
            settings = read_settings(text)
        except ConfigError as error:
            _log.warning("picker configuration %s of pool %s: %s; the default holds", pool.config, pool.key, error)
            settings = self.default
        self._configured[pool.config] = settings
        return settings

    def _config_changed(self, key: str) -> None:
        text = self._registry.configs.get(key)
        if text is None:
            self._configured.pop(key, None)
        else:
            try:
                self._configured[key] = read_settings(text)
            except ConfigError as error:
                _log.warning("picker configuration %s: %s; what was in force remains so", key, error)
                return
        for plan in list(self._by_pool.values()):
            if plan.pool.config == key:
                self._take(plan.pool)

    def _tell(self, key: str) -> None:
        for listener in self.on_replan:
            listener(key)


def plan_of(pool: Pool, settings: PoolSettings) -> PoolPlan:
    """The plan of a pool. Where there are no endpoints that answer, those that only compute prompts do not count."""
    prefilling = tuple([e.address for e in pool.endpoints if e.role in PREFILL_ROLES])
    encoding = tuple([e.address for e in pool.endpoints if e.role == ENCODE_ROLE])
    others = {*prefilling, *encoding}
    answering = tuple([address for address in pool.addresses if address not in others])
    is_split = any([e.role not in WHOLE_ROLES for e in pool.endpoints])
    by_address = {e.address: e for e in pool.endpoints}
    revisions: Mapping[str, Revision] = {}
    if is_split:
        revisions = _revisions(by_address, answering, prefilling, encoding)
        if prefilling and revisions:
            answering = _with_prefill(answering, by_address, revisions)
    return PoolPlan(pool, settings, answering, prefilling, encoding, by_address, is_split, revisions)


def _revisions(by_address: Mapping[str, Endpoint], *parts: tuple[str, ...]) -> dict[str, Revision]:
    """What goes with each revision; empty where there is one alone. Generations of engines do not understand each
    other's KV caches. Endpoints without a label go with all."""
    said = {address: endpoint.labels.get(REVISION_LABEL, "") for address, endpoint in by_address.items()}
    labels = set(said.values())
    if len(labels - {""}) < 2:
        return {}
    return {
        label: Revision(*[tuple([a for a in part if not label or said[a] in ("", label)]) for part in parts])
        for label in labels
    }


def _with_prefill(
    answering: tuple[str, ...], by_address: Mapping[str, Endpoint], revisions: Mapping[str, Revision]
) -> tuple[str, ...]:
    """Without the decode endpoints whose revision has no prefill endpoint yet, or none any more; all, where that would
    leave none."""
    kept = [
        address
        for address in answering
        if (endpoint := by_address[address]).role != "decode"
        or revisions[endpoint.labels.get(REVISION_LABEL, "")].prefilling
    ]
    return tuple(kept) or answering


def _gated(profile: Profile) -> Profile:
    """The profile with the filter that keeps endpoints with room, behind those that every profile begins with."""
    uses = profile.uses
    if not uses or any(use.type == ROOM_FILTER for use in uses):
        return profile
    first = sum(use.type in GUARDS for use in uses)
    return build_profile(profile.name, (*uses[:first], Use(ROOM_FILTER), *uses[first:]), guards=())


def _hardware(endpoint: Endpoint) -> str:
    """What tells endpoints of different speed apart, as far as their pods say."""
    labels = endpoint.labels
    return " ".join(labels[name] for name in _HARDWARE_LABELS if name in labels)
