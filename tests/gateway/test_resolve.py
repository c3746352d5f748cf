"""From a name to its pool, target and adapter."""

from collections import Counter

import pytest

from fairlead.gateway.endpoints import Endpoint, Pool, Registry, Rewrite
from fairlead.gateway.resolve import MAX_SEEN_ADAPTERS, NotFound, choose


def registry(*pools):
    made = Registry()
    for pool in pools:
        made.set_pool(pool)
    return made


def outcome(made, model, rewrite="", draw=0.0, pool=None):
    found = made.resolve(model, rewrite, draw, pool)
    return None if isinstance(found, NotFound) else (found.pool.key, found.model, found.adapter)


def test_models_and_adapters():
    made = registry(Pool("ns/p", ("m", "alias"), adapters=("lora",)))
    assert outcome(made, "m") == ("ns/p", "m", "")
    assert outcome(made, "alias") == ("ns/p", "alias", "")
    assert outcome(made, "lora") == ("ns/p", "lora", "lora")
    assert made.resolve("other", "", 0.0) == NotFound("other")
    assert made.models == ["alias", "lora", "m"]


def test_exact_beats_generic_then_the_order_of_the_pool():
    made = registry(
        Pool(
            "ns/p",
            ("m",),
            rewrites=(
                Rewrite((), (("any-1", 1),), "ns/r1"),
                Rewrite((), (("any-2", 1),), "ns/r2"),
                Rewrite(("m", "x"), (("first", 1),), "ns/r3"),
                Rewrite(("m",), (("second", 1),), "ns/r4"),
            ),
        )
    )
    assert made.resolve("m", "", 0.0)[1:] == ("first", "", "ns/r3")
    assert made.resolve("x", "", 0.0)[1:] == ("first", "", "ns/r3")
    assert made.resolve("unheard-of", "", 0.0)[1:] == ("any-1", "", "ns/r1")


def test_a_rule_makes_a_name_reachable_and_is_forgotten_with_it():
    made = registry(Pool("ns/p", ("m",), rewrites=(Rewrite(("public",), (("m", 1),)),)))
    assert outcome(made, "public") == ("ns/p", "m", "")
    assert "public" in made.models
    made.set_pool(Pool("ns/p", ("m",)))
    assert outcome(made, "public") is None


def test_a_pool_that_lists_a_name_has_it_before_a_pool_with_a_rule():
    made = registry(
        Pool("ns/old", ("o",), age_key="1", rewrites=(Rewrite(("m",), (("o", 1),)),)),
        Pool("ns/new", ("m",), age_key="2"),
    )
    assert outcome(made, "m") == ("ns/new", "m", "")
    assert made.shadowed == {"m": ("ns/old",)}


def test_a_rule_beats_the_header_which_beats_the_name():
    made = registry(Pool("ns/p", ("m", "n"), rewrites=(Rewrite(("m",), (("n", 1),)),), adapters=("lora",)))
    assert outcome(made, "m", rewrite="lora") == ("ns/p", "n", "")
    assert outcome(made, "n", rewrite="lora") == ("ns/p", "lora", "lora")


def test_a_target_of_another_pool_goes_there():
    made = registry(
        Pool("ns/a", ("v1",), age_key="1", rewrites=(Rewrite(("chat",), (("v1", 9), ("v2", 1))),)),
        Pool("ns/b", ("v2",), age_key="2"),
    )
    assert outcome(made, "chat", draw=0.899) == ("ns/a", "v1", "")
    assert outcome(made, "chat", draw=0.9) == ("ns/b", "v2", "")


def test_a_known_pool_decides_by_itself():
    a, b = Pool("ns/a", ("m",), age_key="1"), Pool("ns/b", ("m",), age_key="2", adapters=("x",))
    made = registry(a, b)
    assert outcome(made, "m", pool=b) == ("ns/b", "m", "")
    assert outcome(made, "x", pool=a) == ("ns/a", "x", "")


def test_the_only_pool_without_names_takes_any():
    made = registry(Pool("ns/foreign", ()), Pool("ns/p", ("m",)))
    assert outcome(made, "whatever") == ("ns/foreign", "whatever", "")
    assert outcome(made, "m") == ("ns/p", "m", "")
    made.set_pool(Pool("ns/foreign-2", ()))
    assert outcome(made, "whatever") is None


@pytest.mark.parametrize("draws", [10_000])
def test_splits_follow_their_weights(draws):
    targets = (("a", 70), ("b", 25), ("c", 5))
    counted = Counter(choose(targets, n / draws) for n in range(draws))
    assert counted == {"a": 7000, "b": 2500, "c": 500}
    assert choose(targets, 0.9999999999999999) == "c"


def test_adapters_that_engines_use_are_known_as_such():
    made = registry(Pool("ns/foreign", (), (Endpoint("h:1"),)))
    assert outcome(made, "lora") == ("ns/foreign", "lora", "")
    made.see_adapters("h:1", ("lora",))
    made.see_adapters("h:2", ("other",))
    assert outcome(made, "lora") == ("ns/foreign", "lora", "lora")
    assert outcome(made, "other") == ("ns/foreign", "other", "")
    made.set_pool(Pool("ns/foreign", ("m",), (Endpoint("h:1"), Endpoint("h:2"))))
    assert outcome(made, "m", rewrite="lora") == ("ns/foreign", "lora", "lora")
    assert outcome(made, "lora") is None, "to be in use makes no name reachable"
    made.see_adapters("h:1", [f"lora-{n}" for n in range(MAX_SEEN_ADAPTERS + 1)])
    assert outcome(made, "m", rewrite="lora-1") == ("ns/foreign", "lora-1", "")
    made.remove_pool("ns/foreign")
    made.set_pool(Pool("ns/foreign", (), (Endpoint("h:1"),)))
    assert outcome(made, "lora") == ("ns/foreign", "lora", "")


def test_a_target_whose_pool_is_empty_gets_nothing_while_another_has_an_endpoint():
    split = Rewrite(("m",), (("m", 50), ("m~new", 50)))
    full, empty = (Endpoint("10.0.0.1:80"),), ()
    for stable, canary, expected in (
        (full, full, {"m", "m~new"}), (full, empty, {"m"}), (empty, full, {"m~new"}), (empty, empty, {"m", "m~new"}),
    ):  # fmt: skip
        made = registry(
            Pool("a", ("m",), stable, rewrites=(split,), age_key="1"), Pool("b", ("m~new",), canary, age_key="2")
        )
        assert {made.resolve("m", "", draw / 10).model for draw in range(10)} == expected
