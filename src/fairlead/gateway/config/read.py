"""From the text of a configuration to a `PickerConfig`: plugins are made, references followed, defaults filled in."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec

from fairlead.gateway.config import parameters as p
from fairlead.gateway.config.document import (
    API_VERSION,
    DEPRECATED_API_VERSION,
    KIND,
    Document,
    FlowControlSpec,
    PluginUse,
    ProfileSpec,
    read_document,
)
from fairlead.gateway.config.errors import ConfigError
from fairlead.gateway.config.flow_section import detector_parameters, flow_settings
from fairlead.gateway.config.known import KNOWN, Instance, Kind, make_instance
from fairlead.gateway.config.picker_config import NEVER_TOKENS, Disaggregation, PickerConfig
from fairlead.gateway.flow import FlowSettings
from fairlead.gateway.pick.defaults import DEFAULT_PROFILE
from fairlead.gateway.pick.profile import Profile, Use
from fairlead.gateway.pick.registry import DEFAULT_PICKER, PLUGIN_TYPES, build_profile
from fairlead.gateway.pick.scorers.affinity import SessionAffinityParameters

GATES = {"flowControl": False, "haPopulateNonLeaderDatastore": True}
"""Feature gate -> whether it is on without being named."""

DEFAULT_PARSERS = ("openai-parser", "anthropic-parser", "vllmhttp-parser", "passthrough-parser")
DEFAULT_DETECTOR = "utilization-detector"
"""Of a file that speaks of flow control; one that does not leaves it to Fairlead."""

OWN_DETECTOR = "headroom-detector"
NOTHING_SET = f"""
apiVersion: {API_VERSION}
kind: {KIND}
plugins:
- type: least-cost-scorer
"""
"""What an empty configuration stands for."""

_PRODUCER_FIELDS = ("prefix_match_info_producer_name", "in_flight_load_producer_name")
_IMPLIED_PRODUCERS = frozenset({"approx-prefix-cache-producer", "inflight-load-producer"})


def read_config(text: str) -> PickerConfig:
    """The configuration. An empty text stands for Fairlead's own defaults. Raises ConfigError."""
    return _Reading(read_document(text if text.strip() else NOTHING_SET)).result()


class _Reading:
    """One reading of one file."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.warnings: list[str] = []
        self.problems: list[str] = []
        self.instances: dict[str, Instance] = {}

    def result(self) -> PickerConfig:
        document = self.document
        if document.api_version == DEPRECATED_API_VERSION:
            self.warnings.append(f"apiVersion {DEPRECATED_API_VERSION} is deprecated: write {API_VERSION}")
        self._make_instances()
        self._stop_at_problems()
        gates = self._gates()
        specs = self._profile_specs()
        profiles = self._profiles(specs)
        disaggregation, main = self._stages(specs)
        flow, spec = self._flow(gates)
        self._references(spec)
        self._stop_at_problems()
        metrics = self._one(Kind.EXTRACTOR, p.MetricsExtractorParameters) or p.MetricsExtractorParameters()
        if metrics.engine_configs:
            self.warnings.append(
                "engineConfigs of core-metrics-extractor have no effect: what engines report is known by their type"
            )
        named = spec.saturation_detector.plugin_ref if spec.saturation_detector is not None else ""
        detector = named or (DEFAULT_DETECTOR if gates["flowControl"] or spec.saturation_detector else OWN_DETECTOR)
        with self._collecting("flowControl"):
            detected = detector_parameters(detector, self.instances)
        self._stop_at_problems()
        return PickerConfig(
            profiles,
            main,
            disaggregation,
            self._one(Kind.PREFIX, p.ApproximatePrefixParameters),
            self._one(Kind.PREFIX, p.PrecisePrefixParameters),
            self._one(Kind.PRODUCER, p.TokenizerParameters),
            self._one(Kind.PROFILE, SessionAffinityParameters),
            detected,
            flow,
            spec.enable_eviction,
            self._one(Kind.SOURCE, p.MetricsSourceParameters) or p.MetricsSourceParameters(),
            metrics,
            self._parsers(),
            self._one(Kind.DISCOVERY, p.FileDiscoveryParameters),
            tuple(self.warnings),
            self._effective(specs, spec, gates, detector),
        )

    @contextmanager
    def _collecting(self, where: str) -> Iterator[None]:
        """Note what is wrong and go on, so that one look at the messages is enough."""
        try:
            yield
        except ValueError as error:
            self.problems.append(f"{where}: {error}")

    def _stop_at_problems(self) -> None:
        if self.problems:
            raise ConfigError("\n".join(self.problems))

    # Plugins

    def _make_instances(self) -> None:
        for number, spec in enumerate(self.document.plugins):
            name = spec.name or spec.type
            where = f"plugins[{number}]" + (f" ({name})" if name else "")
            if name in self.instances:
                self.problems.append(f"{where}: the name is taken by an earlier plugin: give each a name of its own")
                continue
            with self._collecting(where):
                self.instances[name] = make_instance(name, spec.type, spec.parameters)
            known = KNOWN.get(spec.type)
            if known is not None and known.replaced_by:
                self.warnings.append(f"{where}: {spec.type} is deprecated: use {known.replaced_by}")
        for instance in self.instances.values():
            self._check_producers(instance)

    def _check_producers(self, instance: Instance) -> None:
        for field in _PRODUCER_FIELDS:
            named = getattr(instance.parameters, field, "")
            if named and named not in self.instances and named not in _IMPLIED_PRODUCERS:
                self.problems.append(f"plugins ({instance.name}): {named!r} names no plugin of the configuration")

    def _one(self, kind: Kind, parameters: type[Any]) -> Any:
        """The parameters of the first plugin that has such."""
        for instance in self.instances.values():
            if instance.kind == kind and isinstance(instance.parameters, parameters):
                return instance.parameters
        return None

    def _gates(self) -> dict[str, bool]:
        gates = dict(GATES)
        for gate in self.document.feature_gates or ():
            name, equals, value = gate.partition("=")
            if name not in GATES:
                self.problems.append(f"featureGates: unknown gate {name!r}: known are {', '.join(GATES)}")
            elif equals and value.strip().lower() not in ("true", "false"):
                self.problems.append(f"featureGates: {gate!r}: want {name}, {name}=true or {name}=false")
            else:
                gates[name] = value.strip().lower() != "false"
        return gates

    # Profiles

    def _profile_specs(self) -> list[ProfileSpec]:
        """Without any, one profile of all that the plugins offer for it."""
        specs = self.document.scheduling_profiles
        if specs:
            return specs
        uses = [PluginUse(plugin_ref=name) for name in self.instances if self._profile_type(name) is not None]
        return [ProfileSpec(name=DEFAULT_PROFILE, plugins=uses)]

    def _profile_type(self, name: str) -> str | None:
        """The type under which the plugin takes part in a profile; None when it does not."""
        instance = self.instances[name]
        if instance.type == "precise-prefix-cache-scorer":
            return "prefix-cache-scorer"
        return instance.type if instance.kind == Kind.PROFILE else None

    def _profiles(self, specs: list[ProfileSpec]) -> dict[str, Profile]:
        default_picker = next(
            (n for n, i in self.instances.items() if i.kind == Kind.PROFILE and PLUGIN_TYPES[i.type].picker), None
        )
        profiles: dict[str, Profile] = {}
        for spec in specs:
            where = f"schedulingProfiles[{spec.name}]"
            if not spec.name or spec.name in profiles:
                self.problems.append(f"{where}: every profile needs a name of its own")
                continue
            before = len(self.problems)
            uses = [use for use in [self._use(where, given) for given in spec.plugins] if use is not None]
            if len(self.problems) > before:
                continue
            if not any([PLUGIN_TYPES[use.type].picker for use in uses]) and default_picker is not None:
                uses.append(self._as_use(default_picker, 1.0))
            with self._collecting(where):
                profiles[spec.name] = build_profile(spec.name, uses)
        return profiles

    def _use(self, where: str, given: PluginUse) -> Use | None:
        ref = given.plugin_ref
        if ref not in self.instances:
            self.problems.append(
                f"{where}: pluginRef {ref!r} names no plugin of the configuration: there are "
                f"{', '.join(self.instances) or 'none'}"
            )
            return None
        if self._profile_type(ref) is None:
            instance = self.instances[ref]
            self.problems.append(
                f"{where}: {ref!r} is of type {instance.type} ({instance.kind}): only filters, scorers and "
                "pickers go here"
            )
            return None
        weight = 1.0 if given.weight is None else given.weight
        if not (weight >= 0.0 and math.isfinite(weight)):
            self.problems.append(f"{where}: weight of {ref!r} is {weight}: want a number of 0 or more")
            return None
        return self._as_use(ref, weight)

    def _as_use(self, name: str, weight: float) -> Use:
        instance = self.instances[name]
        type_name = self._profile_type(name)
        assert type_name is not None
        given = msgspec.to_builtins(instance.parameters) if type_name == instance.type else {}
        return Use(type_name, weight, given, name)

    # Stages

    def _stages(self, specs: list[ProfileSpec]) -> tuple[Disaggregation | None, str]:
        names = [spec.name for spec in specs]
        handlers = [i for i in self.instances.values() if i.kind == Kind.HANDLER]
        if len(handlers) > 1:
            self.problems.append(f"plugins: {' and '.join([h.name for h in handlers])} are profile handlers: keep one")
        parameters = handlers[0].parameters if handlers else None
        if not isinstance(parameters, p.DisaggregationParameters):
            if len(names) > 1:
                self.problems.append(
                    f"schedulingProfiles: {len(names)} profiles need a handler that knows them: disagg-profile-handler"
                )
            return None, names[0]
        if parameters.flat:
            self.warnings.append(f"{handlers[0].name}: flat parameters are deprecated: write profiles and deciders")
        main = parameters.stage("decode")
        prefill, encode = self._decider(parameters.prefill_decider), self._decider(parameters.encode_decider)
        if handlers[0].type == "pd-profile-handler" and prefill is None:
            prefill = Instance("", "prefix-based-pd-decider", Kind.DECIDER, p.PrefixDeciderParameters())
        for stage in ("decode", *(["prefill"] if prefill else []), *(["encode"] if encode else [])):
            wanted = parameters.stage(stage)  # type: ignore[arg-type]
            if wanted not in names:
                self.problems.append(f"{handlers[0].name}: no profile is named {wanted!r}, which it needs for {stage}")
        from_tokens, from_prompt_tokens = _remote_prefill(prefill)
        return Disaggregation(
            main,
            parameters.stage("prefill") if prefill else None,
            parameters.stage("encode") if encode else None,
            from_tokens,
            from_prompt_tokens,
        ), main

    def _decider(self, name: str) -> Instance | None:
        if not name:
            return None
        instance = self.instances.get(name)
        if instance is None and name == "prefix-based-pd-decider":
            return Instance(name, name, Kind.DECIDER, p.PrefixDeciderParameters())
        if instance is None or instance.kind != Kind.DECIDER:
            self.problems.append(f"decider {name!r} names no decider among the plugins")
            return None
        return instance

    # The rest

    def _flow(self, gates: Mapping[str, bool]) -> tuple[FlowSettings, FlowControlSpec]:
        spec = self.document.flow_control or FlowControlSpec()
        if self.document.saturation_detector is not None:
            self.warnings.append("saturationDetector at the top is deprecated: write flowControl.saturationDetector")
            if spec.saturation_detector is None:
                spec = msgspec.structs.replace(spec, saturation_detector=self.document.saturation_detector)
        if not gates["flowControl"]:
            if spec != FlowControlSpec(saturation_detector=spec.saturation_detector):
                self.warnings.append(
                    "flowControl is only followed with the feature gate flowControl; of it, the saturation detector is"
                )
            return FlowSettings(), FlowControlSpec(saturation_detector=spec.saturation_detector)
        settings = FlowSettings()
        with self._collecting("flowControl"):
            settings = flow_settings(spec, self.instances)
        return settings, spec

    def _parsers(self) -> tuple[str, ...]:
        handler = self.document.request_handler
        refs = list(handler.parsers) if handler is not None else []
        if self.document.parser is not None:
            self.warnings.append("parser at the top is deprecated: write requestHandler.parsers")
            refs = refs or [self.document.parser]
        return tuple([self._type_of(ref.plugin_ref) for ref in refs]) or DEFAULT_PARSERS

    def _type_of(self, name: str) -> str:
        return self.instances[name].type if name in self.instances else name

    def _references(self, flow: FlowControlSpec) -> None:
        """Everything else that names a plugin."""
        document = self.document
        refs: list[tuple[str, str, Kind | None]] = []
        if document.request_handler is not None:
            refs += [("requestHandler.parsers", r.plugin_ref, Kind.PARSER) for r in document.request_handler.parsers]
        if document.parser is not None:
            refs.append(("parser", document.parser.plugin_ref, Kind.PARSER))
        layer = document.data_layer
        if layer is not None:
            for source in layer.sources:
                refs.append(("dataLayer.sources", source.plugin_ref, Kind.SOURCE))
                refs += [("dataLayer.sources.extractors", e.plugin_ref, None) for e in source.extractors]
            if layer.discovery is not None:
                refs.append(("dataLayer.discovery", layer.discovery.plugin_ref, Kind.DISCOVERY))
        for where, name, kind in refs:
            instance = self.instances.get(name)
            if instance is None and KNOWN.get(name, None) is not None and KNOWN[name].kind == Kind.PARSER == kind:
                continue
            if instance is None:
                self.problems.append(f"{where}: pluginRef {name!r} names no plugin of the configuration")
            elif kind is not None and instance.kind != kind:
                self.problems.append(f"{where}: {name!r} is of type {instance.type} ({instance.kind}): want a {kind}")

    def _effective(
        self, specs: list[ProfileSpec], flow: FlowControlSpec, gates: Mapping[str, bool], detector: str
    ) -> dict[str, Any]:
        """What the file would say had nothing been left out."""
        instances = dict(self.instances)
        pickers = [n for n, i in self.instances.items() if i.type in PLUGIN_TYPES and PLUGIN_TYPES[i.type].picker]
        picker = pickers[0] if pickers else DEFAULT_PICKER
        for name in (picker, detector, *self._parsers()):
            if name not in instances and name not in {i.type for i in instances.values()}:
                instances[name] = make_instance(name, name, None)
        flow_fields = msgspec.to_builtins(flow)
        return {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "featureGates": [f"{name}={str(on).lower()}" for name, on in gates.items()],
            "plugins": [
                {"type": i.type, "name": i.name, "parameters": msgspec.to_builtins(i.parameters)}
                for i in instances.values()
            ],
            "schedulingProfiles": [self._effective_profile(spec, picker, set(pickers)) for spec in specs],
            "dataLayer": msgspec.to_builtins(self.document.data_layer) if self.document.data_layer else {},
            "flowControl": {**flow_fields, "saturationDetector": {"pluginRef": detector}},
            "requestHandler": {"parsers": [{"pluginRef": ref} for ref in self._parser_refs()]},
        }

    def _parser_refs(self) -> tuple[str, ...]:
        by_type = {i.type: name for name, i in self.instances.items()}
        return tuple([by_type.get(t, t) for t in self._parsers()])

    def _effective_profile(self, spec: ProfileSpec, picker: str, pickers: set[str]) -> dict[str, Any]:
        uses: list[dict[str, Any]] = []
        for use in spec.plugins:
            part: dict[str, Any] = {"pluginRef": use.plugin_ref}
            type_name = self._profile_type(use.plugin_ref)
            if type_name is not None and PLUGIN_TYPES[type_name].scorer:
                part["weight"] = 1.0 if use.weight is None else use.weight
            uses.append(part)
        if not any([use["pluginRef"] in pickers for use in uses]):
            uses.append({"pluginRef": picker})
        return {"name": spec.name, "plugins": uses}


def _remote_prefill(decider: Instance | None) -> tuple[int, int]:
    """Uncached tokens and prompt tokens from which on a prompt is computed elsewhere."""
    if decider is None:
        return NEVER_TOKENS, 0
    if isinstance(decider.parameters, p.PrefixDeciderParameters):
        return decider.parameters.non_cached_tokens or NEVER_TOKENS, decider.parameters.prompt_tokens
    return 0, 0
