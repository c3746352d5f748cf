from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.kube.quantity import Quantity, canonical, is_quantity, parse_quantity, total

SUFFIXES = ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "e3", "E-3", "e0"]
texts = st.builds(
    lambda sign, whole, fraction, suffix: f"{sign}{whole}{fraction}{suffix}",
    st.sampled_from(["", "-", "+"]),
    st.integers(0, 10**15).map(str),
    st.one_of(st.just(""), st.integers(0, 10**6).map(lambda n: f".{n}")),
    st.sampled_from(SUFFIXES),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1000m", "1"),
        ("1", "1"),
        ("0.5", "500m"),
        ("1.5", "1500m"),
        ("1.500", "1.500"),
        ("1000", "1k"),
        ("1500", "1500"),
        ("100000m", "100"),
        ("1024Mi", "1Gi"),
        ("2048Ki", "2Mi"),
        ("0.5Gi", "512Mi"),
        ("1023Ki", "1023Ki"),
        ("0.1Ki", "102400m"),
        ("16Ei", "9223372036854775807"),
        ("1e3", "1e3"),
        ("10e2", "1e3"),
        ("5e-1", "500e-3"),
        ("1e-10", "1e-9"),
        ("0.1n", "1n"),
        ("1000E", "1e21"),
        ("0m", "0"),
        ("-1Gi", "-1Gi"),
        (".", "0"),
        ("1e2000000000", "100e1999999998"),
    ],
)
def test_canonical(text: str, expected: str) -> None:
    assert canonical(text) == expected


@pytest.mark.parametrize("text", ["", "abc", "1x", "1.2.3", " 1", "1 Gi", "0x10", "١"])
def test_malformed_text_names_the_grammar(text: str) -> None:
    with pytest.raises(ValueError, match="quantities must match the regular expression"):
        Quantity.parse(text)


@pytest.mark.parametrize("text", ["1e", "1ee3", "1Kii", "1e99999999999", "1KM"])
def test_unknown_suffix(text: str) -> None:
    with pytest.raises(ValueError, match="unable to parse quantity's suffix"):
        Quantity.parse(text)


@given(texts)
def test_canonical_text_keeps_the_amount_and_is_stable(text: str) -> None:
    quantity = Quantity.parse(text)
    printed = str(quantity)
    assert Quantity.parse(printed) == quantity
    assert canonical(printed) == printed


@given(texts, texts)
def test_sums_are_exact_and_ordered(a: str, b: str) -> None:
    x, y = Quantity.parse(a), Quantity.parse(b)
    assert x + y == y + x
    assert (x + y) - y == x
    assert (x < y) == (x.amount < y.amount)
    # Parsing caps binary quantities, sums do not.
    if abs((x + y).amount) < 2**63:
        assert Quantity.parse(str(x + y)) == x + y
    if x == y:
        assert hash(x) == hash(y)


@given(texts)
def test_value_rounds_away_from_zero(text: str) -> None:
    quantity = Quantity.parse(text)
    assert abs(quantity.value) >= abs(quantity.amount)
    assert abs(quantity.value - quantity.amount) < 1
    assert abs(Decimal(quantity.milli_value) - quantity.amount * 1000) < 1


def test_arithmetic_keeps_the_notation_of_the_first_operand() -> None:
    assert str(Quantity.parse("1Gi") + Quantity.parse("1024Mi")) == "2Gi"
    assert str(Quantity.parse("0") + Quantity.parse("1Gi")) == "1Gi"
    assert str(3 * Quantity.parse("500m")) == "1500m"
    assert str(total(map(Quantity.parse, ["250m", "750m"]))) == "1"
    assert str(-Quantity.parse("1Ki")) == "-1Ki"


def test_numbers_in_json_are_quantities_too() -> None:
    assert parse_quantity(2) == Quantity.parse("2")
    assert str(parse_quantity(0.5)) == "500m"
    assert not is_quantity(None)
    assert not is_quantity("two")


def test_huge_exponents_cost_nothing() -> None:
    huge = Quantity.parse("1e2000000000")
    assert huge > Quantity.parse("1E")
    assert huge.value == 10**40
    assert Quantity.parse("-1e2000000000").milli_value == -(10**40)
    assert float(huge) == float("inf")
