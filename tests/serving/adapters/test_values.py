"""What decides without engines: versions and their names, what an adapter's configuration says, who has which name,
traffic as it is smoothed, and what pools and pods are to say."""

from __future__ import annotations

import pytest

from fairlead.api.model_adapter import AdapterRollout, ModelAdapter, ModelAdapterSpec
from fairlead.api.model_service import AdapterPolicy, RolloutStatus, Verification
from fairlead.api.traffic_report import TrafficGroup, TrafficReport
from fairlead.serving.adapters.adapter_config import BadConfig, misfit, read_config
from fairlead.serving.adapters.checks import taken_names, undeliverable
from fairlead.serving.adapters.objects import pod_annotations, pool_annotations
from fairlead.serving.adapters.rollout import VersionFacts, version_step
from fairlead.serving.adapters.status import Standing, compute_status
from fairlead.serving.adapters.traffic import ASKED_FOR_S, SMOOTHING_S, observe, read_asked
from fairlead.serving.adapters.versions import (
    HISTORY_ANNOTATION,
    KEPT,
    before,
    find,
    is_shadow,
    promoted,
    read_history,
    version_of,
    write_history,
)

KEYS = Verification(["K"])


def version(source):
    return version_of(ModelAdapterSpec("svc", source))


def test_a_version_is_a_source_and_its_history_survives():
    one, two = version("/a"), version("/b")
    assert one == version("/a") != two
    assert is_shadow(one.shadow("sql"))
    assert not is_shadow("sql")
    assert not is_shadow("sql~latest")
    history = promoted(promoted([], one), two)
    metadata = {"annotations": {HISTORY_ANNOTATION: write_history(history)}}
    assert read_history(metadata) == [two, one]
    assert (find(history, one.hash), find(history, ""), before(history, two.hash)) == (one, None, one)
    assert promoted(history, one) == [one, two]
    for number in range(20):
        history = promoted(history, version(f"/{number}"))
    assert len(history) == KEPT + 1
    assert read_history({}) == read_history({"annotations": {HISTORY_ANNOTATION: "{"}}) == []


def config(text):
    return read_config(text.encode())


@pytest.mark.parametrize("text", ["", "[]", '{"r": "x"}', "{" * 10])
def test_what_is_no_configuration_is_refused(text):
    with pytest.raises(BadConfig, match=r"adapter_config\.json cannot be read"):
        config(text)


@pytest.mark.parametrize(
    ("text", "given", "reason"),
    [
        ("{}", {}, ""),
        ('{"base_model_name_or_path": "meta/Llama", "r": 8}', {}, ""),
        ('{"base_model_name_or_path": "/models/llama", "r": 8}', {"base_model": "meta/Llama"}, ""),
        ('{"base_model_name_or_path": "/models/other", "r": 8}', {}, ""),
        ('{"base_model_name_or_path": "meta/Other"}', {}, "OtherBaseModel"),
        ('{"base_model_name_or_path": "meta/Other"}', {"base_model": "meta/Other"}, ""),
        ('{"base_model_name_or_path": "meta/Llama"}', {"base_model": "meta/Other"}, "OtherBaseModel"),
        ('{"r": 32}', {}, "RankTooHigh"),
        ('{"r": 4, "rank_pattern": {"q": 32}}', {}, "RankTooHigh"),
        ('{"r": 8}', {"rank": 4}, "OtherRank"),
        ('{"r": 8}', {"rank": 8}, ""),
        ("{}", {"rank": 32}, "RankTooHigh"),
        ('{"peft_type": "LOHA"}', {}, "NotLora"),
    ],
)
def test_what_speaks_against_an_adapter(text, given, reason):
    given = {"base_model": "", "rank": 0, **given}
    assert misfit(config(text), models=["llama", "hf://meta/Llama@main"], max_rank=16, **given)[0] == reason


@pytest.mark.parametrize(
    ("source", "more", "reason"),
    [
        ("oci://h/r:v", {}, ""),
        ("oci://h/r:v", {"pull_secret": "mine"}, ""),
        ("oci://h/r:v", {"pull_secret": "other"}, "SecretNotMounted"),
        ("oci://h/r:v", {"verification": Verification(["K"])}, ""),
        ("s3://b/a", {"verification": Verification(["K"])}, "CannotBeVerified"),
        ("/a", {"verification": Verification(["K"])}, "CannotBeVerified"),
        ("s3://b/a", {"verification": Verification(["K"], "Warn")}, ""),
    ],
)
def test_what_cannot_come_as_it_is_asked_for_is_said(source, more, reason):
    asked = version_of(ModelAdapterSpec("svc", source, **more))
    found, why = undeliverable(asked, AdapterPolicy(pull_secrets=["mine"]))
    assert found == reason and bool(why) == bool(reason)


def test_signatures_that_are_asked_for_later_make_another_version():
    plain, signed = version("oci://h/r:v"), version_of(ModelAdapterSpec("svc", "oci://h/r:v", verification=KEYS))
    assert plain.hash != signed.hash
    assert read_history({"annotations": {HISTORY_ANNOTATION: write_history([signed])}}) == [signed]


def test_an_adapter_that_does_not_serve_is_not_rolled_out():
    def reason(**more):
        status = compute_status(
            ModelAdapter({"name": "a"}, ModelAdapterSpec("s", "/a")), Standing("a", "v1", **more), ""
        )
        return next((c["status"], c["reason"]) for c in status["conditions"] if c["type"] == "RolledOut")

    assert reason(stable="v1", desired=1) == ("False", "Loading")
    assert reason(stable="v1", desired=1, failures={"e": "no"}) == ("False", "LoadFailed")
    assert reason(stable="v1", desired=1, waits={"e": "on its way"}) == ("False", "Loading")
    assert reason(stable="v1", desired=1, engines=["e"]) == ("True", "Complete")
    assert reason(stable="v1") == ("True", "Complete"), "loaded when it is asked for"
    assert reason(stable="v1", refusal=("RankTooHigh", "why")) == ("False", "RankTooHigh")


def test_the_oldest_adapter_has_a_name_and_models_have_theirs():
    def adapter(name, created, served="", **more):
        return {
            "metadata": {"namespace": "ns", "name": name, "creationTimestamp": created, **more},
            "spec": {"name": served},
        }

    model = {"name": "m", "aliases": ["n"]}
    service = {"metadata": {"namespace": "ns", "name": "s"}, "spec": {"model": model, "models": [{"name": "o"}]}}
    leaving = adapter("gone", "2025", "sql", deletionTimestamp="2026")
    taken = taken_names([service], [adapter("b", "2027", "sql"), adapter("sql", "2026"), leaving])
    assert taken.models == {"m": "ns/s", "n": "ns/s", "o": "ns/s"}
    assert taken.adapters == {"sql": "ns/sql"}


def report(in_flight, requests):
    groups = [TrafficGroup(model="a", endpoint=f"e{n}", in_flight=in_flight, requests=requests) for n in range(2)]
    return [TrafficReport({}, groups=groups)]


def test_traffic_is_smoothed_and_idleness_counts_from_the_last_request():
    seen = observe({}, ["a", "b"], report(4, 10), {}, 100.0)
    assert (seen["a"].in_flight, seen["b"].in_flight, seen["b"].used_s) == (8.0, 0.0, 100.0)
    seen = observe(seen, ["a", "b"], report(12, 10), {}, 100.0 + SMOOTHING_S)
    assert 17.0 < seen["a"].in_flight < 19.0
    assert seen["b"].used_s == 100.0
    for second in range(1, 400):
        seen = observe(seen, ["a"], report(0, 12), {}, 120.0 + second)
    assert (seen["a"].in_flight, seen["a"].used_s) == (0.0, 121.0)


def test_who_waits_is_known_for_a_moment_after_a_picker_said_so():
    asked = read_asked('{"a": "1970-01-01T00:01:40Z"}')
    assert asked == {"a": 100.0}
    seen = observe({}, ["a"], [], asked, 101.0)
    assert seen["a"].asked_s == 101.0
    assert observe(seen, ["a"], [], asked, 102.0)["a"].asked_s == 101.0
    assert observe(seen, ["a"], [], asked, 100.0 + ASKED_FOR_S)["a"].asked_s is None
    assert read_asked("x") == read_asked('{"a": "soon"}') == read_asked("") == {}


def test_pools_name_adapters_and_ask_for_reports_unless_somebody_else_does():
    wanted = pool_annotations({}, ["b~2", "a~1"], [])
    assert wanted["fairlead.dev/adapters"] == "a~1,b~2"
    assert wanted["fairlead.dev/adapter-placement"] == "pods"
    assert wanted["fairlead.dev/report-traffic"] == "adapters:/0"
    assert pool_annotations(wanted, ["a~1", "b~2"], []) == {}
    trial = pool_annotations(wanted, ["a~1", "b~2"], ["x.1.0/20", "y.1.0/5"])
    assert trial == {"fairlead.dev/report-traffic": "adapters:x.1.0+y.1.0/20"}
    others = {**wanted, "fairlead.dev/report-traffic": "r2.5.0/20"}
    assert pool_annotations(others, ["a~1", "b~2"], ["x.1.0/20"]) == {}
    assert pool_annotations(wanted, [], []) == dict.fromkeys(wanted)


def test_pods_say_what_they_have_and_of_which_start():
    said = pod_annotations({}, ["b", "a"], 2)
    assert said == {"fairlead.dev/adapters": "a,b", "fairlead.dev/adapter-starts": "2"}
    assert pod_annotations(said, ["a", "b"], 2) == {}
    assert pod_annotations(said, [], 2) == {"fairlead.dev/adapters": ""}


def test_a_version_that_was_held_back_is_tried_once_nothing_speaks_against_it():
    """The status of one that does not fit says so and has no times."""
    held = RolloutStatus("Stuck", message="its rank is 64")
    facts = VersionFacts("new", "old", "", held, "new", stable_copies=2, new_copies=0)
    for paused in (False, True):
        step = version_step(AdapterRollout(paused=paused), facts, None, 1000.0)
        assert (step.stable, step.status.phase) == ("old", "Paused" if paused else "Progressing")
        assert step.status.started_at and step.status.last_progress_at
