"""Nothing is dropped in silence: whatever well-formed object comes, it is converted, the result is valid, and each of
its leaves counts for the result or for what is said of it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.served import stored
from fairlead.serving.convert import BadManifests, Given, convert_manifests
from serving.convert.objects import ALL, LLMS

Json = dict[str, Any]
Path = tuple[str | int, ...]

QUIET = settings(deadline=None, suppress_health_check=list(HealthCheck))
_CHOOSES = {"name"}
"""Of a container: by it the serving one is found; that there is one says it all."""


def outcome(obj: Json) -> Any:
    """All that comes of an object; what is wrong with it counts, too."""
    try:
        (made,) = convert_manifests([Given("f.yaml", obj)]).converted
    except BadManifests as error:
        return error.problems
    return made.objects, made.losses


@settings(QUIET, max_examples=80)
@given(ALL)
def test_every_well_formed_object_is_converted_and_the_result_is_valid(obj: Json) -> None:
    before = copy.deepcopy(obj)
    for made in convert_manifests([Given("f.yaml", obj)]).objects:
        _, problems = stored(made)
        assert not problems
    assert obj == before, "the object that was given is not ours to change"


@settings(QUIET, max_examples=40)
@given(ALL, st.data())
def test_every_leaf_counts(obj: Json, data: st.DataObject) -> None:
    whole = outcome(obj)
    if any("nothing is made of this object" in loss.why for loss in whole[1]):
        return
    leaves = [path for path in _leaves(obj) if not _is_by_design(path)]
    for path in data.draw(st.lists(st.sampled_from(leaves), max_size=12, unique=True)):
        others = (_without(obj, path), _altered(obj, path))
        assert any(outcome(other) != whole for other in others), f"{path} is dropped in silence"


@settings(QUIET, max_examples=40)
@given(LLMS, st.data())
def test_what_a_config_says_counts_as_if_the_service_said_it(obj: Json, data: st.DataObject) -> None:
    moved = data.draw(st.sets(st.sampled_from(sorted(obj["spec"]))))
    kept = {key: value for key, value in obj["spec"].items() if key not in moved}
    namespace = {key: value for key, value in obj["metadata"].items() if key == "namespace"}
    config = {
        "apiVersion": obj["apiVersion"], "kind": "LLMInferenceServiceConfig", "metadata": {"name": "c", **namespace},
        "spec": {key: copy.deepcopy(obj["spec"][key]) for key in moved},
    }  # fmt: skip
    parted = {**obj, "spec": {**kept, "baseRefs": [{"name": "c"}]}}
    one, _ = convert_manifests([Given("a", parted), Given("b", config)]).converted
    (whole,) = convert_manifests([Given("a", obj)]).converted
    assert one.objects == whole.objects
    assert [loss for loss in one.losses if "baseRefs" not in loss.field] == list(whole.losses)


def _leaves(value: Any, path: Path = ()) -> Iterator[Path]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _leaves(item, (*path, i))
    else:
        yield path


def _is_by_design(path: Path) -> bool:
    return path[0] in ("apiVersion", "kind") or (len(path) > 2 and path[-1] in _CHOOSES and path[-3] == "containers")


def _at(obj: Any, path: Path) -> Any:
    for step in path:
        obj = obj[step]
    return obj


def _without(obj: Json, path: Path) -> Json:
    made = copy.deepcopy(obj)
    del _at(made, path[:-1])[path[-1]]
    return made


def _altered(obj: Json, path: Path) -> Json:
    value = _at(obj, path)
    made = copy.deepcopy(obj)
    change = not value if isinstance(value, bool) else value + 1 if isinstance(value, int | float) else f"{value}x"
    _at(made, path[:-1])[path[-1]] = change
    return made
