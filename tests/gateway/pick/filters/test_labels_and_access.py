"""Filters by label, role, subset and reachability."""

import msgspec
import pytest

from fairlead.gateway.pick import Candidate, Context, NoPick, Query, decide
from fairlead.gateway.pick.filters.access import keep_adapter, keep_reachable, keep_subset
from fairlead.gateway.pick.filters.labels import ByLabelParameters, SelectorParameters, by_label, label_selector
from fairlead.gateway.pick.registry import PLUGIN_TYPES, Use, build_profile


def context(*candidates, **query):
    return Context(Query("m", **query), list(candidates), [0] * len(candidates))


def kept(keep, given):
    positions = keep(given)
    return [c.address for i, c in enumerate(given.candidates) if positions is None or i in positions]


@pytest.mark.parametrize(
    ("subset", "left"),
    [
        (None, ["10.0.0.1:80", "10.0.0.2:80", "[fd00::1]:80"]),
        ({"10.0.0.2:80"}, ["10.0.0.2:80"]),
        ({"10.0.0.1", "fd00::1"}, ["10.0.0.1:80", "[fd00::1]:80"]),
        ({"10.0.0.1:81"}, []),
        (set(), []),
    ],
)
def test_a_subset_names_addresses_or_ips(subset, left):
    candidates = [Candidate(a) for a in ("10.0.0.1:80", "10.0.0.2:80", "[fd00::1]:80")]
    assert kept(keep_subset, context(*candidates, subset=None if subset is None else frozenset(subset))) == left


def test_a_subset_that_fits_nobody_ends_the_decision():
    profile = build_profile("p", [Use("queue-scorer")])
    decision = decide(profile, context(Candidate("a:1"), subset=frozenset({"b:1"})))
    assert decision == NoPick("no_ready_endpoints", "subset-filter leaves none of 1 endpoints")


def test_unreachable_endpoints_are_only_tried_when_nothing_else_is_left():
    assert kept(keep_reachable, context(Candidate("a", reachable=False), Candidate("b"))) == ["b"]
    profile = build_profile("p", [])
    assert decide(profile, context(Candidate("a", reachable=False))).address == "a"


ROLES = ["both", "decode", "prefill", "encode", "prefill-decode", "encode-prefill", "encode-prefill-decode"]


@pytest.mark.parametrize(
    ("plugin", "left"),
    [
        ("decode-filter", ["both", "decode", "prefill-decode", "encode-prefill-decode", "none"]),
        ("prefill-filter", ["both", "prefill", "prefill-decode", "encode-prefill", "encode-prefill-decode"]),
        ("encode-filter", ["encode", "encode-prefill", "encode-prefill-decode"]),
    ],
)
def test_roles_do_their_part_and_pods_without_one_decode(plugin, left):
    labelled = [Candidate(r, role=r, labels={"llm-d.ai/role": r}) for r in ROLES]
    kind = PLUGIN_TYPES[plugin]
    given = context(*labelled, Candidate("none"))
    assert kept(kind.filter(kind.parameters()), given) == left
    profile = build_profile("p", [Use(plugin)])
    nobody = Candidate("x", role="none", labels={"llm-d.ai/role": "none"})
    assert isinstance(decide(profile, context(nobody)), NoPick)


A, B, BARE = Candidate("a", labels={"gpu": "a100"}), Candidate("b", labels={"gpu": "h100", "zone": "x"}), Candidate("-")


def test_by_label_keeps_values_and_where_allowed_pods_without_the_label():
    strict = by_label(ByLabelParameters(label="gpu", valid_values=("a100",)))
    assert kept(strict, context(A, B, BARE)) == ["a"]
    loose = by_label(ByLabelParameters(label="gpu", valid_values=("a100",), allows_no_label=True))
    assert kept(loose, context(A, B, BARE)) == ["a", "-"]


@pytest.mark.parametrize(
    ("selector", "left"),
    [
        ({}, ["a", "b", "-"]),
        ({"matchLabels": {"gpu": "h100", "zone": "x"}}, ["b"]),
        ({"matchExpressions": [{"key": "gpu", "operator": "In", "values": ["a100", "h100"]}]}, ["a", "b"]),
        ({"matchExpressions": [{"key": "gpu", "operator": "NotIn", "values": ["a100"]}]}, ["b", "-"]),
        ({"matchExpressions": [{"key": "zone", "operator": "Exists"}]}, ["b"]),
        ({"matchExpressions": [{"key": "zone", "operator": "DoesNotExist"}]}, ["a", "-"]),
    ],
)
def test_a_label_selector_means_what_it_does_in_kubernetes(selector, left):
    keep = label_selector(msgspec.convert(selector, SelectorParameters))
    assert kept(keep, context(A, B, BARE)) == left


@pytest.mark.parametrize(
    ("given", "parameters", "told"),
    [
        ({"validValues": ["x"]}, ByLabelParameters, "missing required field `label`"),
        ({"label": "x"}, ByLabelParameters, "validValues must not be empty"),
        ({"matchExpressions": [{"key": "a", "operator": "Like"}]}, SelectorParameters, "Invalid enum value 'Like'"),
        ({"matchExpressions": [{"key": "a", "operator": "In"}]}, SelectorParameters, "values must not be empty"),
    ],
)
def test_bad_parameters_are_named(given, parameters, told):
    with pytest.raises(msgspec.ValidationError, match=told):
        msgspec.convert(given, parameters)


def test_an_adapters_requests_go_where_it_is_loaded():
    told = [Candidate("has", adapters=frozenset({"sql"})), Candidate("not", adapters=frozenset()), Candidate("silent")]
    assert kept(keep_adapter, context(*told, adapter="sql")) == ["has", "silent"]
    assert kept(keep_adapter, context(*told)) == ["has", "not", "silent"]
    decision = decide(build_profile("p", []), context(told[1], adapter="sql"))
    assert decision == NoPick("no_ready_endpoints", "adapter-filter leaves none of 1 endpoints")
    # One that has it and does not answer is tried before one that cannot serve it.
    has = Candidate("has", adapters=frozenset({"sql"}), reachable=False)
    assert decide(build_profile("p", []), context(has, told[1], adapter="sql")).address == "has"
