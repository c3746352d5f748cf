"""Configurations as users of llm-d have them: what they come to, and what is refused and how."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.config import NEVER_TOKENS, ConfigError, read_config
from fairlead.gateway.config.known import KNOWN, make_instance
from fairlead.gateway.config.parameters import ConcurrencyParameters, HeadroomParameters, UtilizationParameters
from fairlead.gateway.flow import Fairness, FlowSettings, Holdback, Limits, Order
from fairlead.gateway.pick import Candidate, Context, Query, decide
from fairlead.gateway.pick.defaults import PARAMETERS
from fairlead.gateway.pick.scorers.least_cost import LeastCostParameters

HEAD = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n"


def shape(profile):
    """Filters beyond the guards, scorers with weights, and picker, by name."""
    assert [f.name for f in profile.filters[:3]] == ["subset-filter", "adapter-filter", "reachable-filter"]
    return (
        [f.name for f in profile.filters[3:]], [(s.name, s.weight) for s in profile.scorers], profile.picker.name,
    )  # fmt: skip


def test_the_weights_of_the_helm_chart():
    config = read_config(
        HEAD
        + """
plugins:
- type: queue-scorer
- type: kv-cache-utilization-scorer
- type: prefix-cache-scorer
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: queue-scorer
    weight: 2.0
  - pluginRef: kv-cache-utilization-scorer
    weight: 2
  - pluginRef: prefix-cache-scorer
    weight: 3
"""
    )
    scorers = [("queue-scorer", 2.0), ("kv-cache-utilization-scorer", 2.0), ("prefix-cache-scorer", 3.0)]
    assert shape(config.profile) == ([], scorers, "max-score-picker")
    assert config.disaggregation is None
    assert config.warnings == ()
    pair = [Candidate("a", waiting=0, kv_cache_usage_ratio=0.1), Candidate("b", waiting=9, kv_cache_usage_ratio=0.9)]
    assert decide(config.profile, Context(Query("m", prompt_tokens=100), pair, [0, 0])).address == "a"


DISAGGREGATED = (
    HEAD
    + """
plugins:
- type: approx-prefix-cache-producer
  parameters: {autoTune: false, blockSizeTokens: 32, maxPrefixTokensToMatch: 16384, lruCapacityPerServer: 1000}
- type: prefix-cache-scorer
- name: load
  type: queue-scorer
- type: prefill-filter
- type: decode-filter
- type: max-score-picker
- type: disagg-profile-handler
  parameters:
    deciders: {prefill: prefix-based-pd-decider}
- type: prefix-based-pd-decider
  parameters: {nonCachedTokens: 512, promptTokens: 1024}
schedulingProfiles:
- name: prefill
  plugins: [{pluginRef: prefill-filter}, {pluginRef: max-score-picker}, {pluginRef: load, weight: 1}]
- name: decode
  plugins: [{pluginRef: decode-filter}, {pluginRef: prefix-cache-scorer, weight: 2}]
"""
)


def test_prefill_and_decode_apart():
    config = read_config(DISAGGREGATED)
    assert config.main_profile == "decode"
    assert shape(config.profile) == (["decode-filter"], [("prefix-cache-scorer", 2.0)], "max-score-picker")
    assert shape(config.prefill_profile) == (["prefill-filter"], [("load", 1.0)], "max-score-picker")
    assert config.encode_profile is None
    assert config.remote_prefill_from_tokens == 512
    assert config.disaggregation.remote_prefill_from_prompt_tokens == 1024
    assert (config.approximate_prefix.block_size_tokens, config.approximate_prefix.lru_capacity_per_server) == (
        32,
        1000,
    )


@pytest.mark.parametrize(
    ("plugins", "tokens"),
    [
        ([{"type": "always-disagg-pd-decider"}], 0),
        ([{"type": "prefix-based-pd-decider"}], NEVER_TOKENS),
        ([{"type": "prefix-based-pd-decider", "parameters": {"nonCachedTokens": 7}}], 7),
    ],
)
def test_deciders_say_from_when_on_a_prompt_is_computed_elsewhere(plugins, tokens):
    decider = plugins[0]["type"]
    document = {
        "plugins": [
            *plugins, {"type": "disagg-profile-handler", "parameters": {"deciders": {"prefill": decider}}},
            {"type": "queue-scorer"},
        ],
        "schedulingProfiles": [
            {"name": n, "plugins": [{"pluginRef": "queue-scorer"}]} for n in ("prefill", "decode")
        ],
    }  # fmt: skip
    assert as_json(document).remote_prefill_from_tokens == tokens


def as_json(document):
    return read_config(json.dumps({"apiVersion": "llm-d.ai/v1alpha1", "kind": "EndpointPickerConfig", **document}))


def test_the_older_handler_and_flat_parameters_are_followed_with_a_word():
    config = as_json(
        {
            "plugins": [
                {"type": "pd-profile-handler", "parameters": {"decodeProfile": "d", "prefillProfile": "p"}},
                {"type": "queue-scorer"},
            ],
            "schedulingProfiles": [{"name": n, "plugins": [{"pluginRef": "queue-scorer"}]} for n in ("d", "p")],
        }
    )
    assert (config.main_profile, config.disaggregation.prefill_profile) == ("d", "p")
    assert config.remote_prefill_from_tokens == NEVER_TOKENS
    assert any("pd-profile-handler is deprecated: use disagg-profile-handler" in w for w in config.warnings)
    assert any("flat parameters are deprecated" in w for w in config.warnings)


def test_encode_prefill_and_decode_apart():
    config = as_json(
        {
            "plugins": [
                {"type": "always-disagg-multimodal-decider"}, {"type": "queue-scorer"}, {"type": "encode-filter"},
                {
                    "type": "disagg-profile-handler",
                    "parameters": {"deciders": {"encode": "always-disagg-multimodal-decider"}},
                },
            ],
            "schedulingProfiles": [
                {"name": "encode", "plugins": [{"pluginRef": "encode-filter"}]},
                {"name": "decode", "plugins": [{"pluginRef": "queue-scorer"}]},
            ],
        }
    )  # fmt: skip
    assert shape(config.encode_profile) == (["encode-filter"], [], "max-score-picker")
    assert config.prefill_profile is None
    assert config.remote_prefill_from_tokens == NEVER_TOKENS


def test_precise_prefixes_tokenizer_sessions_and_scraping():
    config = as_json(
        {
            "plugins": [
                {"type": "token-producer", "parameters": {"modelName": "m", "vllm": {"url": "http://render:8000"}}},
                {
                    "type": "precise-prefix-cache-producer",
                    "parameters": {
                        "tokenProcessorConfig": {"blockSize": 64, "hashSeed": "42"},
                        "kvEventsConfig": {"zmqEndpoint": "tcp://0.0.0.0:5557", "topicFilter": "kv@"},
                        "indexerConfig": {"kvBlockIndexConfig": {"enableMetrics": True}},
                        "speculativeIndexing": True, "speculativeTTL": "3s",
                    },
                },
                {"type": "prefix-cache-scorer",
                 "parameters": {"prefixMatchInfoProducerName": "precise-prefix-cache-producer"}},
                {"type": "session-affinity-scorer", "parameters": {"strategy": "session_id"}},
                {"type": "metrics-data-source", "parameters": {"port": 9000, "interval": "1s"}},
                {"type": "core-metrics-extractor"},
                {"type": "file-discovery", "parameters": {"path": "/etc/endpoints.yaml", "watchFile": True}},
            ],
            "dataLayer": {
                "sources": [
                    {"pluginRef": "metrics-data-source", "extractors": [{"pluginRef": "core-metrics-extractor"}]}
                ],
                "discovery": {"pluginRef": "file-discovery"},
            },
            "requestHandler": {"parsers": [{"pluginRef": "openai-parser"}]},
        }
    )  # fmt: skip
    assert config.tokenizer.vllm.url == "http://render:8000"
    assert config.precise_prefix.token_processor_config.block_size == 64
    assert config.precise_prefix.speculative_indexing
    assert config.session_affinity.strategy == "session_id"
    assert config.session_affinity.session_id_config.eviction_ttl_seconds == 300.0
    assert (config.metrics_source.port, config.metrics_source.interval) == (9000, "1s")
    assert config.discovery_file.path == "/etc/endpoints.yaml"
    assert config.parsers == ("openai-parser",)
    # Without profiles there is one of all that can take part.
    assert shape(config.profile)[1] == [("prefix-cache-scorer", 1.0), ("session-affinity-scorer", 1.0)]


def test_a_picker_that_no_profile_names_is_used_in_all_that_have_none():
    config = as_json(
        {
            "plugins": [{"type": "queue-scorer"}, {"name": "any", "type": "weighted-random-picker"}],
            "schedulingProfiles": [{"name": "x", "plugins": [{"pluginRef": "queue-scorer"}]}],
        }
    )
    assert shape(config.profile) == ([], [("queue-scorer", 1.0)], "any")


def test_nothing_at_all_is_fairleads_own():
    config = read_config("")
    assert shape(config.profile) == ([], [("least-cost-scorer", 1.0)], "max-score-picker")
    assert config.detector_parameters == HeadroomParameters()
    assert config.flow == FlowSettings()
    assert LeastCostParameters() == PARAMETERS


FLOW = {
    "featureGates": ["flowControl"],
    "plugins": [
        {"type": "round-robin-fairness-policy"}, {"type": "edf-ordering-policy"},
        {"type": "priority-holdback-policy", "parameters": {"minCeiling": 0.4, "maxCeiling": 0.9}},
        {"type": "queue-scorer"}, {"type": "fcfs-ordering-policy"},
        {"name": "sat", "type": "utilization-detector",
         "parameters": {"queueDepthThreshold": 9, "kvCacheUtilThreshold": 1.0}},
    ],
    "flowControl": {
        "maxBytes": "1Gi", "maxRequests": "2k", "defaultRequestTTL": "1m30s", "noEndpointRequestTTL": "5m",
        "defaultPriorityBand": {
            "maxRequests": 100, "fairnessPolicyRef": "round-robin-fairness-policy",
            "orderingPolicyRef": "edf-ordering-policy",
        },
        "priorityBands": [
            {"priority": 10, "maxRequests": "7", "maxBytes": "500M", "orderingPolicyRef": "fcfs-ordering-policy"},
            {"priority": -1},
        ],
        "usageLimitPolicyPluginRef": "priority-holdback-policy",
        "saturationDetector": {"pluginRef": "sat"},
        "enableEviction": True,
    },
}  # fmt: skip


def test_flow_control():
    config = as_json(FLOW)
    assert config.flow == FlowSettings(
        Fairness.ROUND_ROBIN, Order.EDF, 90.0, 300.0, Limits(100), {10: Limits(7, 500_000_000), -1: Limits()},
        Limits(2000, 2**30), holdback=Holdback(0.4, 0.9), band_order={10: Order.FCFS},
    )  # fmt: skip
    assert config.flow.bands == {10: Limits(7, 500_000_000), -1: Limits()}
    assert config.detector_parameters == UtilizationParameters(queue_depth_threshold=9, kv_cache_util_threshold=1.0)
    assert config.evicts
    assert config.flow.order_of(10) is Order.FCFS
    assert config.warnings == ()
    assert config.detector()([Candidate("a", waiting=9, kv_cache_usage_ratio=0.0)]).value == 1.0


def test_with_the_gate_defaults_are_llm_ds_and_without_it_the_section_waits():
    on = as_json({"featureGates": ["flowControl=true"]})
    assert (on.flow.fairness, on.flow.order, on.flow.ttl_s) == (Fairness.GLOBAL_STRICT, Order.FCFS, 60.0)
    assert on.flow.no_endpoints_ttl_s == 60.0
    assert on.detector_parameters == UtilizationParameters()
    off = as_json({**FLOW, "featureGates": []})
    assert off.flow == FlowSettings()
    assert off.detector_parameters.queue_depth_threshold == 9
    assert any("only followed with the feature gate flowControl" in w for w in off.warnings)


def test_the_older_places_of_detector_and_parser_are_read():
    config = as_json(
        {
            "plugins": [{"type": "concurrency-detector", "parameters": {"maxConcurrency": 3}}],
            "saturationDetector": {"pluginRef": "concurrency-detector"},
            "parser": {"pluginRef": "openai-parser"},
        }
    )
    assert config.detector_parameters == ConcurrencyParameters(max_concurrency=3)
    assert config.detector()([Candidate("a", 3)]).value == 1.0
    assert config.parsers == ("openai-parser",)
    assert len(config.warnings) == 2


def test_the_older_group_is_accepted_with_a_word():
    config = read_config(HEAD.replace("llm-d.ai", "inference.networking.x-k8s.io"))
    assert config.warnings == (
        "apiVersion inference.networking.x-k8s.io/v1alpha1 is deprecated: write llm-d.ai/v1alpha1",
    )
    deprecated = as_json({"plugins": [{"type": "by-label", "parameters": {"label": "x", "validValues": ["y"]}}]})
    assert deprecated.warnings == ("plugins[0] (by-label): by-label is deprecated: use label-selector-filter",)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [", "neither YAML nor JSON"),
        ("- 1", "the configuration is list: want a mapping"),
        ("kind: EndpointPickerConfig", "apiVersion is None: want llm-d.ai/v1alpha1"),
        (HEAD.replace("v1alpha1", "v1"), "apiVersion is 'llm-d.ai/v1': want llm-d.ai/v1alpha1"),
        (HEAD.replace("EndpointPickerConfig", "Pod"), "kind is 'Pod': want EndpointPickerConfig"),
        (HEAD + "pluginz: []", "unknown field `pluginz`"),
        (HEAD + "plugins: []\nmaxBytes: " + "9" * 5000, "a value cannot be read"),
        (HEAD + "plugins: []\nplugins: []", "line 4: plugins is there twice"),
        (HEAD + "plugins: [{name: x}]", "missing required field `type` - at `$.plugins[0]`"),
        (HEAD + "x: " + "[" * 5000, "neither YAML nor JSON"),
        (HEAD + "x: &a [*a]", "more than 100000 values"),
        (
            "\n".join(["a0: &a0 [1]", *[f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]]),
            "more than",
        ),
        ("#" * 2_000_000, "at most 1048576 are read"),
    ],
)
def test_what_is_no_configuration_is_refused(text, told):
    with pytest.raises(ConfigError) as error:
        read_config(text)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"plugins": [{"type": "queue-scorrer"}]}, "did you mean queue-scorer? known are active-request-scorer,"),
        (
            {"plugins": [{"type": "queue-scorer", "parameters": {"a": 1}}]},
            "plugins[0] (queue-scorer): parameters of queue-scorer: Object contains unknown field `a`; it knows: none",
        ),
        (
            {"plugins": [{"type": "load-aware-scorer", "parameters": {"treshold": 1}}]},
            "unknown field `treshold`; it knows: threshold",
        ),
        (
            {"plugins": [{"type": "approx-prefix-cache-producer", "parameters": {"blockSizeTokens": 0}}]},
            "blockSizeTokens and lruCapacityPerServer must be above 0",
        ),
        ({"plugins": [{"type": "queue-scorer"}] * 2}, "plugins[1] (queue-scorer): the name is taken"),
        (
            {"plugins": [{"type": "prefix-cache-scorer", "parameters": {"prefixMatchInfoProducerName": "x"}}]},
            "'x' names no plugin of the configuration",
        ),
        (
            {"schedulingProfiles": [{"name": "d", "plugins": [{"pluginRef": "x"}]}]},
            "schedulingProfiles[d]: pluginRef 'x' names no plugin of the configuration: there are none",
        ),
        (
            {
                "plugins": [{"type": "openai-parser"}],
                "schedulingProfiles": [{"name": "d", "plugins": [{"pluginRef": "openai-parser"}]}],
            },
            "'openai-parser' is of type openai-parser (parser): only filters, scorers and pickers go here",
        ),
        (
            {
                "plugins": [{"type": "queue-scorer"}],
                "schedulingProfiles": [{"name": "d", "plugins": [{"pluginRef": "queue-scorer", "weight": -1}]}],
            },
            "weight of 'queue-scorer' is -1.0: want a number of 0 or more",
        ),
        ({"schedulingProfiles": [{"name": "a"}, {"name": "a"}]}, "every profile needs a name of its own"),
        ({"schedulingProfiles": [{"name": "a"}, {"name": "b"}]}, "2 profiles need a handler that knows them"),
        (
            {"plugins": [{"type": "disagg-profile-handler"}], "schedulingProfiles": [{"name": "a"}]},
            "no profile is named 'decode', which it needs for decode",
        ),
        (
            {
                "plugins": [{"type": "disagg-profile-handler", "parameters": {"deciders": {"prefill": "x"}}}],
                "schedulingProfiles": [{"name": "decode"}],
            },
            "decider 'x' names no decider among the plugins",
        ),
        (
            {"plugins": [{"type": "single-profile-handler"}, {"type": "data-parallel-profile-handler"}]},
            "are profile handlers: keep one",
        ),
        (
            {
                "plugins": [{"type": "random-picker"}, {"type": "max-score-picker"}],
                "schedulingProfiles": [
                    {"name": "d", "plugins": [{"pluginRef": "random-picker"}, {"pluginRef": "max-score-picker"}]}
                ],
            },
            "has 2 pickers (random-picker, max-score-picker): keep one",
        ),
        ({"featureGates": ["teleport"]}, "unknown gate 'teleport': known are flowControl"),
        ({"featureGates": ["flowControl=maybe"]}, "want flowControl, flowControl=true or flowControl=false"),
        (
            {"featureGates": ["flowControl"], "flowControl": {"defaultRequestTTL": "soon"}},
            "flowControl.defaultRequestTTL: 'soon' is no duration",
        ),
        (
            {"featureGates": ["flowControl"], "flowControl": {"maxBytes": "1Zi"}},
            "flowControl.maxBytes is '1Zi'",
        ),
        (
            {"featureGates": ["flowControl"], "flowControl": {"defaultPriorityBand": {"fairnessPolicyRef": "x"}}},
            "defaultPriorityBand.fairnessPolicyRef 'x' names no plugin of the configuration",
        ),
        (
            {"plugins": [{"type": "fcfs-ordering-policy", "name": "x"}], "saturationDetector": {"pluginRef": "x"}},
            "saturationDetector.pluginRef 'x' is of type fcfs-ordering-policy (ordering policy): want a saturation",
        ),
        ({"requestHandler": {"parsers": [{"pluginRef": "x"}]}}, "requestHandler.parsers: pluginRef 'x' names"),
        ({"dataLayer": {"sources": [{"pluginRef": "x"}]}}, "dataLayer.sources: pluginRef 'x' names no plugin"),
    ],
)  # fmt: skip
def test_what_cannot_be_followed_is_named_with_what_would_do(document, told):
    with pytest.raises(ConfigError) as error:
        as_json(document)
    assert told in str(error.value)


def test_all_bad_plugins_are_named_at_once():
    with pytest.raises(ConfigError) as error:
        as_json({"plugins": [{"type": "a-scorer"}, {"type": "b-scorer"}]})
    assert [line[:10] for line in str(error.value).splitlines()] == ["plugins[0]", "plugins[1]"]


@pytest.mark.parametrize("document", [{}, FLOW])
def test_the_effective_configuration_reads_back_to_the_same(document):
    for config in (as_json(document), read_config(DISAGGREGATED), read_config("")):
        again = read_config(config.dump())
        assert again.effective == config.effective
        assert again.flow == config.flow
        assert again.detector_parameters == config.detector_parameters
        assert again.disaggregation == config.disaggregation
        assert [shape(p) for p in again.profiles.values()] == [shape(p) for p in config.profiles.values()]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(
    [
        "featureGates",
        "plugins",
        "schedulingProfiles",
        "dataLayer",
        "flowControl",
        "requestHandler",
        "parser",
        "metadata",
    ]
)
plugins = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["queue-scorer", "max-score-picker", "disagg-profile-handler", "x", ""])},
        optional={"name": st.text(max_size=3), "parameters": json_values},
    ),
    max_size=4,
)


@given(st.dictionaries(fields, json_values, max_size=3), plugins)
def test_whatever_is_written_is_read_or_refused(document, given_plugins):
    try:
        config = as_json({**document, "plugins": given_plugins})
    except ConfigError as error:
        assert str(error)
    else:
        assert read_config(config.dump()).effective == config.effective


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_every_plugin_with_its_defaults_is_read(name):
    needed = {
        "by-label": {"label": "x", "allowsNoLabel": True},
        "utilization-filter": {"conditions": [{"metric": "waiting-queue", "maxValue": 1}]},
        "priority-holdback-policy": {"minCeiling": 0.5},
        "file-discovery": {"path": "/x"},
    }
    instance = make_instance("x", name, needed.get(name))
    assert instance.parameters.__doc__
    with pytest.raises(ValueError, match="unknown field `noSuchParameter`; it knows:"):
        make_instance("x", name, {**needed.get(name, {}), "noSuchParameter": 1})
