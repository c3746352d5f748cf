from __future__ import annotations

import pytest

from fairlead.scheduling.gangs.levels import ALIASES, level_label, level_labels, tier_label


def test_an_alias_and_a_whole_label_name_a_level() -> None:
    assert level_label("rack") == "fabric.topograph.run/tier-0"
    assert level_label("host") == "kubernetes.io/hostname"
    assert level_label("nvidia.com/gpu.clique") == "nvidia.com/gpu.clique"
    assert level_label("pod", {"pod": "example.com/pod"}) == "example.com/pod"
    assert level_labels(" rack, zone ,rack,") == (ALIASES["rack"], ALIASES["zone"])
    assert level_labels("") == ()


@pytest.mark.parametrize("name", ["raack", "Rack", "", "a b/c"])
def test_an_unknown_level_says_what_could_be_written(name: str) -> None:
    with pytest.raises(ValueError, match="write one of host, nvlink, rack, block, zone, region, or a whole node label"):
        level_label(name)
    if name == "raack":
        with pytest.raises(ValueError, match="did you mean 'rack'"):
            level_label(name)


def test_tiers_count_from_the_host() -> None:
    assert [tier_label(tier) for tier in (0, 1, 2)] == [ALIASES["host"], ALIASES["rack"], ALIASES["block"]]
