"""Resource quantities ("500m", "16Gi", "1e3"): exact parsing, comparison, arithmetic and the canonical text.

Grammar, rounding and canonical form follow `k8s.io/apimachinery/pkg/api/resource`: a value is rounded away from zero to
a whole number of nano units, binary quantities are capped at 2^63-1, and a text that is already near enough canonical
("1.5", "1000k" …) is printed as it was written.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from decimal import ROUND_UP, Context, Decimal, Inexact
from functools import lru_cache, total_ordering
from typing import Any, Final

FORMAT_ERROR: Final = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
SUFFIX_ERROR: Final = "unable to parse quantity's suffix"

_SYNTAX = re.compile(
    r"(?P<sign>[+-]?)(?P<zeros>0*)(?P<whole>[0-9]*)(?:\.(?P<fraction>[0-9]*))?(?P<suffix>[eEinumkKMGTP]*[-+]?[0-9]*)",
    re.ASCII,
)
_DECIMAL_SUFFIXES: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY_SUFFIXES: Final = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL_BY_EXPONENT: Final = {exponent: suffix for suffix, exponent in _DECIMAL_SUFFIXES.items()}
_BINARY_BY_POWER: Final = {power: suffix for suffix, power in _BINARY_SUFFIXES.items()}
_NANO: Final = Decimal("1e-9")
_MAX_BINARY: Final = Decimal(2**63 - 1)
_INT64_DIGITS: Final = 18
_MAX_MAGNITUDE: Final = 40
# Wide enough for sums of any quantities a cluster holds; a result that would not fit raises instead of rounding.
_EXACT = Context(prec=400, Emax=10**12, Emin=-(10**12), traps=[Inexact])


class Format(enum.Enum):
    """How a quantity prints: with a decimal suffix (k, M), a binary suffix (Ki, Mi) or an exponent (e3)."""

    DECIMAL_SI = "DecimalSI"
    BINARY_SI = "BinarySI"
    DECIMAL_EXPONENT = "DecimalExponent"


@total_ordering
class Quantity:
    """An exact amount and the notation it prints in. Immutable and hashable; equal when the amounts are equal."""

    __slots__ = ("_text", "amount", "format")

    def __init__(self, amount: Decimal | int, format: Format = Format.DECIMAL_SI, *, _text: str | None = None) -> None:
        self.amount = amount if isinstance(amount, Decimal) else Decimal(amount)
        self.format = format
        self._text = _text

    @staticmethod
    def parse(text: str) -> Quantity:
        """The quantity that `text` denotes. Raises ValueError with the API server's wording."""
        return _parse(text)

    def __str__(self) -> str:
        if self._text is None:
            self._text = _canonical_text(self.amount, self.format)
        return self._text

    def __repr__(self) -> str:
        return f"Quantity({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Quantity):
            return self.amount == other.amount
        return NotImplemented

    def __lt__(self, other: Quantity) -> bool:
        if isinstance(other, Quantity):
            return self.amount < other.amount
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.amount)

    def __bool__(self) -> bool:
        return bool(self.amount)

    def __add__(self, other: Quantity) -> Quantity:
        """The exact sum, in the notation of the first operand that is not zero."""
        return Quantity(_EXACT.add(self.amount, other.amount), (self if self.amount else other).format)

    def __sub__(self, other: Quantity) -> Quantity:
        return Quantity(_EXACT.subtract(self.amount, other.amount), (self if self.amount else other).format)

    def __mul__(self, factor: int) -> Quantity:
        return Quantity(_EXACT.multiply(self.amount, Decimal(factor)), self.format)

    __rmul__ = __mul__

    def __neg__(self) -> Quantity:
        return Quantity(-self.amount, self.format)

    def __float__(self) -> float:
        return float(self.amount)

    @property
    def value(self) -> int:
        """Whole units, rounded away from zero (bytes of memory, number of devices)."""
        return _scaled(self.amount, 0)

    @property
    def milli_value(self) -> int:
        """Thousandths, rounded away from zero (millicores of CPU)."""
        return _scaled(self.amount, 3)


ZERO: Final = Quantity(0, _text="0")


def parse_quantity(value: str | int | float | Quantity) -> Quantity:
    """A quantity from what JSON may hold in its place: a string or a number. Raises ValueError."""
    return value if isinstance(value, Quantity) else _parse(str(value).strip())


def canonical(text: str) -> str:
    """`text` as the API server stores and prints it ("1000m" is "1"). Raises ValueError where it is no quantity."""
    return str(_parse(text))


def total(quantities: Iterable[Quantity]) -> Quantity:
    """The exact sum; zero of none."""
    result = ZERO
    for quantity in quantities:
        result = result + quantity
    return result


def is_quantity(value: Any) -> bool:
    """Whether the API server would accept `value` as a quantity."""
    try:
        parse_quantity(value)
    except (ValueError, TypeError):
        return False
    return True


@lru_cache(maxsize=4096)
def _parse(text: str) -> Quantity:
    if text == "0":
        return ZERO
    match = _SYNTAX.fullmatch(text) if text else None
    if match is None:
        raise ValueError(FORMAT_ERROR)
    base, exponent, form = _interpret_suffix(match["suffix"])
    whole, fraction = match["whole"] or "0", match["fraction"] or ""
    amount = _amount(match["sign"] == "-", whole + fraction, len(fraction), base, exponent)
    as_written = _is_kept_as_written(whole, fraction, exponent, form)
    if form is Format.BINARY_SI:
        amount = max(min(amount, _MAX_BINARY), -_MAX_BINARY)
        if 0 < abs(amount) < 1:
            form = Format.DECIMAL_SI
    return Quantity(amount, form, _text=text if as_written else None)


def _interpret_suffix(suffix: str) -> tuple[int, int, Format]:
    """Base, exponent and notation of a suffix."""
    if suffix in _DECIMAL_SUFFIXES:
        return 10, _DECIMAL_SUFFIXES[suffix], Format.DECIMAL_SI
    if suffix in _BINARY_SUFFIXES:
        return 2, _BINARY_SUFFIXES[suffix], Format.BINARY_SI
    digits = suffix[1:]
    if suffix[:1] in ("e", "E") and re.fullmatch(r"[+-]?[0-9]{1,19}", digits, re.ASCII):
        exponent = int(digits)
        if -(2**31) <= exponent < 2**31:
            return 10, exponent, Format.DECIMAL_EXPONENT
    raise ValueError(SUFFIX_ERROR)


def _amount(negative: bool, digits: str, fraction_digits: int, base: int, exponent: int) -> Decimal:
    mantissa = int(digits)
    scale = -fraction_digits
    if base == 2:
        mantissa <<= exponent
    else:
        scale += exponent
    amount = Decimal((int(negative), tuple(map(int, str(mantissa))), scale))
    if scale < -9:
        amount = amount.quantize(_NANO, rounding=ROUND_UP, context=Context(prec=len(digits) + 40, Emin=-(10**12)))
    return amount


def _is_kept_as_written(whole: str, fraction: str, exponent: int, form: Format) -> bool:
    """Whether upstream's fast path keeps the given text instead of printing the canonical one."""
    digits = whole + fraction
    if form is Format.BINARY_SI:
        return not fraction and 15 - len(whole) - int(exponent * 3 / 10) - 1 >= 0 and int(digits) & 7 != 0
    scale = exponent - len(fraction)
    if len(digits) > _INT64_DIGITS or scale < -9:
        return False
    return scale % 3 == 0 and not digits.endswith("000") and digits[0] != "0"


def _canonical_text(amount: Decimal, form: Format) -> str:
    if not amount:
        return "0"
    sign, digits, exponent = amount.as_tuple()
    assert isinstance(exponent, int)
    mantissa = int("".join(map(str, digits)))
    prefix = "-" if sign else ""
    if form is Format.BINARY_SI and abs(amount) >= 1024:
        text = _binary_text(mantissa, exponent)
        if text is not None:
            return prefix + text
    return prefix + _decimal_text(mantissa, exponent, form)


def _binary_text(mantissa: int, exponent: int) -> str | None:
    """The text with a binary suffix, or None where the value is no whole number."""
    if exponent < 0:
        mantissa, rest = divmod(mantissa, 10**-exponent)
        if rest:
            return None
    else:
        mantissa *= 10**exponent
    power = 0
    while power < 60 and mantissa % 1024 == 0:
        mantissa //= 1024
        power += 10
    return f"{mantissa}{_BINARY_BY_POWER.get(power, '')}"


def _decimal_text(mantissa: int, exponent: int, form: Format) -> str:
    digits = str(mantissa).rstrip("0")
    exponent += len(str(mantissa)) - len(digits)
    shift = exponent % 3
    digits += "0" * shift
    exponent -= shift
    if form is not Format.DECIMAL_EXPONENT and exponent in _DECIMAL_BY_EXPONENT:
        return digits + _DECIMAL_BY_EXPONENT[exponent]
    return f"{digits}e{exponent}" if exponent else digits


def _scaled(amount: Decimal, places: int) -> int:
    """`amount` times 10**places, rounded away from zero.

    A text of a few bytes can denote a number that fills all memory ("1e2000000000"): it is cut to a size that is
    beyond anything real.
    """
    if amount.adjusted() > _MAX_MAGNITUDE:
        return int(Decimal(10) ** _MAX_MAGNITUDE) * (-1 if amount < 0 else 1)
    whole = amount.scaleb(places, context=_EXACT).to_integral_value(rounding=ROUND_UP)
    return int(whole)
