"""Texts of the simulated model: tokens, words, stops, patterns and schemas, as laws."""

from __future__ import annotations

import json
import random
import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fairlead.simulator.server.answers.outcome import Author, Outcome, stopped
from fairlead.simulator.server.block_chain import block_chain
from fairlead.simulator.server.bodies.chat import PlainTemplate
from fairlead.simulator.server.bodies.sampling import Sampling
from fairlead.simulator.server.text.pattern_text import PatternError, matching_text
from fairlead.simulator.server.text.schema_text import SchemaError, json_text
from fairlead.simulator.server.text.tokens import EOS, ByteTokenizer
from fairlead.simulator.server.text.words import byte_words

TOKENIZER = ByteTokenizer()
AUTHOR = Author(TOKENIZER, byte_words())
PLAIN = Sampling(1, 100, 0, False, (), frozenset(), False, None, None, None, False, None)


def sampling(**changes):
    fields = {name: getattr(PLAIN, name) for name in PLAIN.__slots__}
    return Sampling(**{**fields, **changes})


@given(st.text())
def test_tokens_are_reversible(text):
    ids = TOKENIZER.encode(text)
    assert TOKENIZER.decode(ids) == text
    assert len(ids) == -(-len(text.encode()) // 4)


@given(st.binary(), st.binary(), st.integers(0, 20))
def test_texts_share_the_tokens_of_their_common_start(one, other, blocks):
    start = ("x" * 4 * blocks).encode()
    first, second = (
        TOKENIZER.encode((start + rest).decode("latin1").encode("ascii", "ignore").decode()) for rest in (one, other)
    )
    assert first[:blocks] == second[:blocks]


@given(st.integers(0, 2**32 - 1), st.integers(1, 200))
def test_generated_text_has_the_generated_tokens(seed, count):
    ids, texts = AUTHOR.words.draw(seed, count)
    assert TOKENIZER.encode("".join(texts)) == ids
    assert AUTHOR.words.draw(seed, count // 2)[0] == ids[: count // 2]


@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.integers(0, 50), st.booleans())
def test_answers_end_as_asked(seed, max_tokens, min_tokens, ignore_eos):
    assume(min_tokens <= max_tokens)
    outcome = AUTHOR.free(seed, sampling(max_tokens=max_tokens, min_tokens=min_tokens, ignore_eos=ignore_eos))
    assert min_tokens <= len(outcome.ids) <= max_tokens
    if outcome.finish_reason == "length":
        assert len(outcome.ids) == max_tokens
    else:
        assert not ignore_eos
        assert outcome.ids[-1] == EOS
    assert EOS not in outcome.ids[:-1]


@given(
    st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=12),
    st.lists(st.text("ab", min_size=1, max_size=5), min_size=1, max_size=3),
    st.booleans(),
)
def test_a_stop_string_ends_the_text_and_nothing_of_it_leaks(pieces, stops, include):
    whole = "".join(pieces)
    outcome = stopped(
        Outcome(list(range(len(pieces))), list(pieces), "length"), sampling(stop=tuple(stops), include_stop=include)
    )
    if outcome.finish_reason == "length":
        assert not any(stop in whole for stop in stops)
        assert outcome.text == whole
        return
    stop = outcome.stop_reason
    assert stop in stops
    assert whole.startswith(outcome.text)
    assert len(outcome.texts) == len(outcome.ids)
    if include:
        assert outcome.text.endswith(stop)
    else:
        assert whole[len(outcome.text) :].startswith(stop)
        # Of two that a token completes, the first in the list decides, and the other may stand before it.
        assert not any(each in "".join(outcome.texts[:-1]) for each in stops)
    # The token before the last had not completed any stop string.
    before = "".join(pieces[: len(outcome.ids) - 1])
    assert not any(stop in before for stop in stops)


@given(st.integers(0, 100), st.lists(st.integers(0, 100), min_size=1, max_size=20))
def test_a_stop_token_ends_the_answer(token, ids):
    outcome = stopped(Outcome(ids, ["x"] * len(ids), "length"), sampling(stop_token_ids=frozenset((token,))))
    if token in ids:
        assert outcome.ids == ids[: ids.index(token) + 1]
        assert (outcome.finish_reason, outcome.stop_reason) == ("stop", token)
        assert outcome.text == "x" * (len(outcome.ids) - 1)
    else:
        assert outcome.ids == ids


@given(
    st.integers(0, 2**16), st.lists(st.integers(0, 2**40), max_size=100), st.lists(st.integers(0, 2**40), max_size=100)
)
def test_chains_are_equal_exactly_as_far_as_blocks_are(size, one, other):
    size = size % 16 + 1
    chains = block_chain(one, size), block_chain(other, size)
    common = min(len(one), len(other)) // size
    blocks = next((i for i in range(common) if one[: (i + 1) * size] != other[: (i + 1) * size]), common)
    assert chains[0][: blocks * 8] == chains[1][: blocks * 8]
    if len(one) // size > blocks and len(other) // size > blocks:
        assert chains[0][blocks * 8 : blocks * 8 + 8] != chains[1][blocks * 8 : blocks * 8 + 8]
    assert block_chain([1] * size, size, adapter="a") != block_chain([1] * size, size)
    assert block_chain([1] * size, size, salt="a") != block_chain([1] * size, size, adapter="a")


@given(st.lists(st.tuples(st.sampled_from(("user", "assistant", "system")), st.text()), min_size=1, max_size=5))
def test_a_conversation_that_goes_on_keeps_its_tokens(messages):
    template = PlainTemplate()
    turns = [{"role": role, "content": content} for role, content in messages]
    prompt = template.render(turns, None)
    answer = "".join(AUTHOR.words.draw(7, 9)[1])
    longer = [*turns, {"role": "assistant", "content": answer}, {"role": "user", "content": "on"}]
    known = TOKENIZER.encode(prompt) + TOKENIZER.encode(answer)
    assert TOKENIZER.encode(template.render(longer, None))[: len(known)] == known


PATTERNS = [
    r"[a-z]{3,5}", r"\d+(\.\d{2})?", r"(yes|no|maybe)", r"[^\"\\]{2}", r"a*b+c?", r"^\w+@\w+\.(com|org)$", r"(ab){2,}",
    r"[\w.-]{4}", r"(?:x|y)\s\S", r".{3}", r"(a|b)\1", r"[A-F0-9]{8}-[A-F0-9]{4}",
]  # fmt: skip


@given(st.sampled_from(PATTERNS), st.integers())
def test_generated_texts_match_their_pattern(pattern, seed):
    assert re.fullmatch(pattern, matching_text(pattern, random.Random(seed)))


@pytest.mark.parametrize("pattern", ["(", "(?=a)b", "[z-a]", "a(?<!a)"])
def test_patterns_that_cannot_be_generated_are_refused(pattern):
    with pytest.raises(PatternError):
        matching_text(pattern, random.Random(1))


SIMPLE = st.one_of(
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.builds(
        lambda a, b: {"type": "string", "minLength": min(a, b), "maxLength": max(a, b)}, *[st.integers(0, 30)] * 2
    ),
    st.builds(
        lambda a, b: {"type": "integer", "minimum": min(a, b), "maximum": max(a, b)}, *[st.integers(-99, 99)] * 2
    ),
    st.builds(lambda a, b: {"type": "number", "minimum": min(a, b), "maximum": max(a, b)}, *[st.integers(-99, 99)] * 2),
    st.builds(lambda v: {"type": "integer", "exclusiveMinimum": v, "multipleOf": 3}, st.integers(-99, 99)),
    st.builds(lambda v: {"enum": v}, st.lists(st.integers() | st.text() | st.none(), min_size=1, max_size=4)),
    st.builds(lambda v: {"const": v}, st.text()),
    st.just({"type": ["string", "null"]}),
    st.sampled_from([{"type": "string", "pattern": p} for p in PATTERNS]),
    st.sampled_from([{"type": "string", "format": f} for f in ("date", "email", "uuid", "date-time", "ipv4")]),
)
SCHEMAS = st.recursive(
    SIMPLE,
    lambda inner: st.one_of(
        st.builds(
            lambda properties, required: {
                "type": "object",
                "properties": properties,
                "required": sorted(set(required) & set(properties)),
                "additionalProperties": False,
            },
            st.dictionaries(st.sampled_from("abcdef"), inner, max_size=4),
            st.lists(st.sampled_from("abcdef"), max_size=4),
        ),
        st.builds(
            lambda items, least: {"type": "array", "items": items, "minItems": least, "maxItems": least + 2},
            inner,
            st.integers(0, 3),
        ),
        st.builds(lambda a, b: {"anyOf": [a, b]}, inner, inner),
        st.builds(lambda a: {"allOf": [a]}, inner),
    ),
    max_leaves=8,
)


def conforms(value, schema):
    """Whether a value satisfies a schema of the strategies above."""
    if "anyOf" in schema:
        return any(conforms(value, each) for each in schema["anyOf"])
    if "allOf" in schema:
        return all(conforms(value, each) for each in schema["allOf"])
    if "enum" in schema:
        return value in schema["enum"]
    if "const" in schema:
        return value == schema["const"]
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    types = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
    for kind in kinds:
        if kind in ("integer", "number"):
            whole = isinstance(value, int) and not isinstance(value, bool)
            ok = whole if kind == "integer" else whole or isinstance(value, float)
            ok = ok and schema.get("minimum", value) <= value <= schema.get("maximum", value)
            ok = ok and ("exclusiveMinimum" not in schema or value > schema["exclusiveMinimum"])
            return ok and value % schema.get("multipleOf", 1 if kind == "integer" else value or 1) == 0
        if isinstance(value, types[kind]):
            if kind == "object":
                known = schema["properties"]
                return set(schema["required"]) <= set(value) <= set(known) and all(
                    conforms(each, known[name]) for name, each in value.items()
                )
            if kind == "array":
                return schema["minItems"] <= len(value) <= schema["maxItems"] and all(
                    conforms(each, schema["items"]) for each in value
                )
            if kind == "string":
                fits = schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value))
                return fits and bool(re.search(schema.get("pattern", ""), value))
            return True
    return False


@settings(max_examples=200)
@given(SCHEMAS, st.integers())
def test_generated_values_conform_to_their_schema(schema, seed):
    text = json_text(schema, random.Random(seed))
    assert conforms(json.loads(text), schema)
    assert json_text(schema, random.Random(seed)) == text


def test_references_and_recursion_end():
    tree = {
        "$ref": "#/$defs/node",
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "value": {"type": "integer"},
                    "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                },
                "required": ["value", "next"],
            }
        },
    }
    for seed in range(50):
        value = json.loads(json_text(tree, random.Random(seed)))
        assert isinstance(value["value"], int)


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "nothing"}, "Invalid type: nothing"),
        ({"enum": []}, "enum is empty"),
        ({"$ref": "#/none"}, "does not exist"),
        ({"$ref": "http://127.0.0.1/x"}, "outside the schema"),
        ({"type": "integer", "minimum": 4, "maximum": 5, "multipleOf": 7}, "no number"),
        ({"type": "object", "required": ["a"], "additionalProperties": False}, "a is required and not allowed"),
        ({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "refers to itself"),
        ({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "never ends"),
        ({"type": "array", "minItems": 10**9}, "minItems is 1000000000: at most"),
        ({"type": "string", "minLength": 10**9}, "minLength is 1000000000: at most"),
        ({"type": "object", "minProperties": 10**9}, "minProperties is 1000000000: at most"),
        ({"type": "array", "minItems": 9000, "items": {"type": "array", "minItems": 9000}}, "more than 20000 values"),
    ],
)
def test_schemas_without_values_are_refused(schema, says):
    with pytest.raises(SchemaError, match=says):
        json_text(schema, random.Random(1))
