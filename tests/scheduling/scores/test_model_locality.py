"""Nodes that have a pod's model in their cache are better by the bytes that need not be fetched, under any of the
model's names; what is listed changes while the fleet runs."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead.scheduling.fleet.options import Options
from fairlead.scheduling.observe.models import models_of_node, models_of_pod
from fairlead.scheduling.scores.model_locality import model_locality
from scheduling.fleet.fleet_objects import GIBI, columns_of, fleet_of, node, pod, shape

ALL = np.arange


def test_bytes_count_up_to_a_bound_under_any_name() -> None:
    fleet = fleet_of(
        node("a", models={"sha256:1": 16 * GIBI}),
        node("b", models={"hf://o/m": 16 * GIBI, "other": GIBI}),
        node("c", models={"sha256:1": 200 * GIBI, "hf://o/m": 200 * GIBI}),
        node("d"),
    )
    columns = columns_of(fleet)
    wanted = shape(models=("sha256:1", "hf://o/m"))
    assert model_locality(wanted, columns, ALL(4)) == pytest.approx([25.0, 25.0, 100.0, 0.0])
    assert model_locality(wanted, columns, np.array([3, 1])) == pytest.approx([0.0, 25.0])
    assert not model_locality(shape(models=("none",)), columns, ALL(4)).any()


def test_what_a_node_lists_changes() -> None:
    fleet = fleet_of(node("a", models={"m": 64 * GIBI}), node("b"))
    columns = columns_of(fleet)
    fleet.set_node(node("a"))
    fleet.set_node(node("b", models={"m": 64 * GIBI}))
    columns.refresh()
    assert model_locality(shape(models=("m",)), columns, ALL(2)) == pytest.approx([0.0, 100.0])
    fleet.set_node(node("b"))
    columns.refresh()
    assert columns.models == {}


def test_a_pod_goes_where_its_model_is_though_the_node_is_fuller() -> None:
    fleet = fleet_of(node("a"), node("b", models={"hf://o/m": 32 * GIBI}))
    fleet.put(pod(shape(cpu=1000)), 1)
    options = Options(fleet, shape(cpu=500, models=("hf://o/m",)))
    options.refresh()
    assert options.best() == 1
    plain = Options(fleet, shape(cpu=500))
    plain.refresh()
    assert plain.best() == 0
    fleet.set_node(node("b"))
    options.refresh()
    assert options.best() == 0, "the model has left the node"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"m": "big"}', '{"m": null}', "\x00"])
def test_what_cannot_be_read_is_no_model(text: str) -> None:
    assert models_of_node({"fairlead.dev/models": text}) == {}


def test_annotations_are_read() -> None:
    assert models_of_node({"fairlead.dev/models": '{"sha256:1": 5, "none": 0}'}) == {"sha256:1": 5}
    assert models_of_node({}) == {}
    assert models_of_pod({"fairlead.dev/model-digest": " sha256:1  hf://o/m sha256:1 "}) == ("sha256:1", "hf://o/m")
    assert models_of_pod({}) == ()
