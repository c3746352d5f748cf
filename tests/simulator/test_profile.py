"""Profiles of engines: what is written is read, and what is wrong is named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.perf.step import LinearCost
from fairlead.simulator.engine.settings import AdapterSettings, EngineSettings, Speculation
from fairlead.simulator.profile import (
    EngineProfile,
    FrontendCost,
    ProfileError,
    load_profile,
    parse_profile,
    save_profile,
)

SECONDS = st.floats(0, 10)


@given(
    st.builds(LinearCost, *[SECONDS] * 6) | st.none(),
    st.builds(FrontendCost, SECONDS, SECONDS, SECONDS),
    st.builds(
        EngineSettings,
        num_blocks=st.integers(1, 10**6),
        jitter=st.floats(0, 1),
        adapters=st.none() | st.just(AdapterSettings(2, 8)),
        speculation=st.none() | st.just(Speculation(3, 0.6)),
    ),
)
def test_what_is_saved_is_loaded(tmp_path_factory, cost, frontend, engine):
    path = tmp_path_factory.getbasetemp() / "profile.json"
    profile = EngineProfile(engine, cost, frontend)
    save_profile(profile, path)
    assert load_profile(path) == profile


def test_absent_parts_have_defaults():
    assert parse_profile({}) == EngineProfile()
    assert parse_profile({"engine": {"num_blocks": 5}}).engine.num_blocks == 5


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([], "a profile is an object with engine, cost, frontend"),
        ({"engin": {}}, "engin does not exist"),
        ({"engine": {"blocks": 1}}, "engine.blocks does not exist: take num_blocks"),
        ({"engine": {"num_blocks": "x"}}, "engine: Expected `int`, got `str`"),
        ({"engine": {"num_blocks": 0}}, "num_blocks is 0: it must be at least 1"),
        ({"cost": {"base_s": 1}}, "cost: Object missing required field"),
        ({"frontend": {"request_s": -1}}, "request_s is -1.0"),
        ({"frontend": 3}, "frontend is 3: it must be an object"),
    ],
)
def test_what_is_wrong_is_named(content, says):
    with pytest.raises(ProfileError) as raised:
        parse_profile(content)
    assert says in str(raised.value)


def test_a_file_that_is_no_profile_is_named(tmp_path):
    with pytest.raises(ProfileError, match="cannot read the profile"):
        load_profile(tmp_path / "none.json")
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(ProfileError, match=r"broken\.json is not JSON"):
        load_profile(broken)
