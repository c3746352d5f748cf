"""Configurations as people write them: shorthand, overrides, presets, and what is said of each mistake."""

import msgspec
import pytest
import yaml

from fairlead.bench.config import Benchmark, ClosedLoop, OpenLoop, Search
from fairlead.bench.config.error import ConfigError
from fairlead.bench.config.read import read_config
from fairlead.bench.presets import PRESETS, preset
from fairlead.workload import Fixed, LogNormal, Uniform

TARGET = "targets: [{url: 'http://x:1', model: m}]\n"
USERS = TARGET + "load: {stages: [{users: 1, seconds: 1}]}\n"


def test_shorthand_is_written_out():
    config = read_config(
        TARGET + "load: {stages: [{rate_per_s: 2, seconds: 1e1}]}\n"
        "content:\n  prompt_tokens: 64\n  output_tokens: {low: 3, high: 9}\n"
        "  prefixes: [{count: 2, tokens: {mean: 100}}]\n  conversations: {turns: 3}\n"
    )
    content = config.content
    assert isinstance(config.load, OpenLoop) and config.load.stages[0].seconds == 10
    assert content.prompt_tokens == Fixed(64) and content.output_tokens == Uniform(3, 9)
    assert content.prefixes[0].tokens == LogNormal(100.0) and content.conversations.turns == Fixed(3)
    assert isinstance(read_config(USERS).load, ClosedLoop)


def test_a_file_its_text_and_an_object_say_the_same(tmp_path):
    path = tmp_path / "bench.yaml"
    path.write_text(USERS)
    given = yaml.safe_load(USERS)
    assert read_config(path) == read_config(str(path)) == read_config(USERS) == read_config(given)
    assert given == yaml.safe_load(USERS)  # nothing of the caller's was changed


def test_what_is_read_can_be_written_and_read_again():
    for name in PRESETS:
        config = read_config({**yaml.safe_load(TARGET), **preset(name)})
        assert read_config(yaml.safe_dump(msgspec.to_builtins(config))) == config


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_benchmark_and_has_a_sentence(name):
    config = read_config({**yaml.safe_load(TARGET), **preset(name)})
    assert isinstance(config, Benchmark)
    assert PRESETS[name].says.endswith((".", "?")) and len(PRESETS[name].says) < 140
    preset(name)["load"].clear()
    assert preset(name)["load"]


def test_an_unknown_preset_names_those_that_there_are():
    with pytest.raises(ConfigError, match="preset is 'chatt', expected one of quick, chat, rag, code"):
        preset("chatt")


def test_overrides_set_any_field():
    config = read_config(
        USERS, ["load.stages.0.users=5", "targets.0.timeout_s=30", "labels={a: b}", "objective.ttft_ms=9"]
    )
    assert config.load.stages[0].users == 5 and config.targets[0].timeout_s == 30
    assert config.labels == {"a": "b"} and config.objective.ttft_ms == 9
    searched = read_config(TARGET, ["load={kind: search, low: 2}", "objective.e2e_ms=10"])
    assert isinstance(searched.load, Search) and searched.load.low == 2


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("load.stages.3.users=5", "load.stages.3 is not there: load.stages has 1 elements"),
        ("load", "'load' sets nothing: write path.to.field=value"),
        ("seed=[", "seed is '[', which is no YAML"),
        ("targets.0.url.x=1", "targets.0.url.x cannot be set: targets.0.url is 'http://x:1', which has no fields"),
        ("sede=1", "sede is no field: did you mean seed?"),
    ],
)
def test_overrides_that_cannot_be_set(override, said):
    with pytest.raises(ConfigError) as raised:
        read_config(USERS, [override])
    assert str(raised.value).startswith(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the configuration holds nothing, expected an object"),
        ("[]", "the configuration holds a list"),
        ("a: [", "the configuration is no YAML"),
        ("targets: []\nload: {stages: [{users: 1, seconds: 1}]}", "targets is empty: give at least one"),
        ("targets: {}", "targets is {}, expected a list"),
        (TARGET, "load is missing: say when to ask"),
        ("targets: [{model: x}]\nload: {stages: []}", "targets[0].url is missing: give the server's address"),
        ("targets: [{url: x}]\nload: {stages: [{users: 1, seconds: 1}]}", "targets[0].url is 'x': write http://HOST"),
        ("targets: [{url: 'http://x:99999'}]\nload: {stages: [{users: 1, seconds: 1}]}", "targets[0].url is 'http"),
        ("targets: [{url: 'http://x', api: chatt}]\nload: {}", "targets[0].api is 'chatt', expected one of chat, "),
        ("targets: [{url: 'http://x', api: raw}]\nload: {stages: [{users: 1, seconds: 1}]}", "targets[0].api is raw,"),
        (TARGET + "load: {kind: opn}", "load.kind is 'opn', expected one of open, closed, trace, search"),
        (TARGET + "load: {stages: [{rate_per_s: ten, seconds: 3}]}", "load.stages[0].rate_per_s is 'ten', expected a"),
        (TARGET + "load: {stages: [{rate_per_s: -1, seconds: 3}]}", "load.stages[0].rate_per_s is -1, expected a numb"),
        (TARGET + "load: {stages: [{rate_per_s: 1}]}", "load.stages[0] has no end: give seconds or requests"),
        (TARGET + "load: {stages: [{rate_per_second: 1}]}", "load.stages[0].rate_per_second is no field: did you mean"),
        (TARGET + "load: {kind: open, stages: []}", "load.stages is empty: give at least one"),
        (TARGET + "load: {kind: trace}", "load.kind is trace, and content.kind is not"),
        (TARGET + "load: {kind: search}", "load.kind is search, and there is no objective: give one"),
        (USERS + "objective: {attainment: 0.9}", "objective bounds nothing: give one of ttft_ms"),
        (USERS + "content: {prompt_tokens: 0}", "content.prompt_tokens.tokens is 0, expected a whole number >= 1"),
        (USERS + "content: {prompt_tokens: {low: 5, high: 3}}", "content.prompt_tokens: low is 5 and high is 3"),
        (USERS + "content: {prompt_tokens: {kind: foo}}", "content.prompt_tokens.kind is 'foo', expected one of fixed"),
        (USERS + "content: {prefixes: [{tokens: 5}]}", "content.prefixes[0].count is missing"),
        (USERS + "content: {adapters: {count: 2}, adapter_weights: {a: 1}}", "content has both adapters and adapter_w"),
        (USERS + "content: {adapter_weights: {a: -1}}", "content.adapter_weights"),
        (USERS + "content: {kind: trace, path: /nope}", "content.path is '/nope': there is no such file"),
        (USERS + "content: {kind: file, path: ~nobody9/x}", "content.path is '~nobody9/x': there is no such file"),
        (USERS + "content: {kind: trace, path: /etc/hostname, format: x}", "content.format is 'x', expected one of az"),
        (USERS + "workers: 1.5", "workers is 1.5, expected a whole number"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_by_field_and_value_with_a_remedy(text, said):
    with pytest.raises(ConfigError) as raised:
        read_config(text)
    assert str(raised.value).startswith(said)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"no\.yaml is not there: give a YAML file, or an address"):
        read_config(tmp_path / "no.yaml")
