"""Random selectors and devices: mostly sensible, sometimes with names that are missing or of another type."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

DRIVER = "d.io"
INTS, STRINGS, BOOLS, VERSIONS = ("i", "j"), ("s", "t"), ("b", "c"), ("v", "w")
INT_LISTS, STRING_LISTS = ("is",), ("ss",)
QUANTITIES = ("m", "n")
_TEXTS = ("", "a", "H100", "gpu-80gb", "hello, world", "a" * 30)
_VERSIONS = ("1.0.0", "1.2.3", "2.0.0-rc.1", "10.0.1+build.5")
_AMOUNTS = ("1Gi", "80Gi", "100m", "0", "1500M", "3")
_PATTERNS = ("^H", "[0-9]+", "a.*b", "(gpu|tpu)-[0-9]+")


def device(rng: random.Random) -> dict[str, Any]:
    """The device part of a case."""
    attributes: dict[str, Any] = {}
    for names, make in (
        (INTS, lambda: {"int": rng.randint(-3, 8)}),
        (STRINGS, lambda: {"string": rng.choice(_TEXTS)}),
        (BOOLS, lambda: {"bool": rng.random() < 0.5}),
        (VERSIONS, lambda: {"version": rng.choice(_VERSIONS)}),
        (INT_LISTS, lambda: {"ints": [rng.randint(0, 4) for _ in range(rng.randint(1, 4))]}),
        (STRING_LISTS, lambda: {"strings": [rng.choice(_TEXTS) for _ in range(rng.randint(1, 3))]}),
    ):
        for name in names:
            if rng.random() < 0.9:
                attributes[f"o.com/{name}" if rng.random() < 0.1 else name] = make()
    capacity = {name: {"value": rng.choice(_AMOUNTS)} for name in QUANTITIES if rng.random() < 0.9}
    return {
        "driver": DRIVER,
        "attributes": attributes,
        "capacity": capacity,
        "allowMultipleAllocations": rng.random() < 0.5,
        "envType": "NewExpressions",
        "enableConsumableCapacity": True,
        "enableListTypeAttributes": True,
    }


class Expressions:
    """`faulty` lets expressions read what may be missing or of another type."""

    def __init__(self, rng: random.Random, *, faulty: bool = True) -> None:
        self._rng = rng
        self._faulty = faulty
        self._variables: list[str] = []
        self._names = 0

    def boolean(self, depth: int) -> str:
        rng = self._rng
        if depth <= 0:
            return rng.choice((self._attribute(BOOLS), "true", "false", "device.allowMultipleAllocations"))
        kinds: tuple[Callable[[int], str], ...] = (
            self._logic,
            self._comparison,
            self._membership,
            self._macro,
            self._text_test,
            self._choice,
            self._versions,
            self._quantities,
            self._bind,
            self._presence,
        )
        return rng.choice(kinds)(depth - 1)

    def _logic(self, depth: int) -> str:
        if self._rng.random() < 0.2:
            return f"!({self.boolean(depth)})"
        return f"({self.boolean(depth)} {self._rng.choice(('&&', '||'))} {self.boolean(depth)})"

    def _comparison(self, depth: int) -> str:
        sign = self._rng.choice(("==", "!=", "<", "<=", ">", ">="))
        make = self._rng.choice((self.integer, self.text))
        return f"{make(depth)} {sign} {make(depth)}"

    def _membership(self, depth: int) -> str:
        return self._rng.choice(
            (
                f"{self.integer(depth)} in {self.integers(depth)}",
                f"{self.text(depth)} in [{self.text(0)}, {self.text(depth)}]",
                f"{self._attribute(STRINGS)} in ['H100', 'a']",
                f"{self._attribute(INT_LISTS)}.includes({self.integer(depth)})",
                f"{self._attribute(STRINGS)}.includes({self.text(depth)})",
                f"{self._attribute(STRING_LISTS)}.includes({self.text(depth)})",
            )
        )

    def _macro(self, depth: int) -> str:
        self._names += 1
        name, source = f"x{self._names}", self.integers(depth)
        macro = self._rng.choice(("all", "exists", "exists_one"))
        self._variables.append(name)
        body = self.boolean(depth)
        self._variables.pop()
        return f"{source}.{macro}({name}, {body})"

    def _text_test(self, depth: int) -> str:
        test = self._rng.choice(("startsWith", "endsWith", "contains", "matches"))
        argument = repr(self._rng.choice(_PATTERNS)) if test == "matches" else self.text(depth)
        return f"{self.text(depth)}.{test}({argument})"

    def _choice(self, depth: int) -> str:
        return f"({self.boolean(depth)} ? {self.boolean(depth)} : {self.boolean(depth)})"

    def _versions(self, depth: int) -> str:
        left, right = self._attribute(VERSIONS), f"semver({self._rng.choice(_VERSIONS)!r})"
        return self._rng.choice(
            (
                f"{left}.isGreaterThan({right})",
                f"{left}.isLessThan({self._attribute(VERSIONS)})",
                f"{left}.compareTo({right}) >= 0",
                f"{left} == {right}",
                f"{left}.major() == {self.integer(0)}",
            )
        )

    def _quantities(self, depth: int) -> str:
        left, right = self._capacity(), f"quantity({self._rng.choice(_AMOUNTS)!r})"
        return self._rng.choice(
            (
                f"{left}.isGreaterThan({right})",
                f"{left}.compareTo({self._capacity()}) <= 0",
                f"{left} == {right}",
                f"{left}.add({right}).isLessThan({right})",
                f"{left}.isInteger() && {left}.asInteger() > {self.integer(0)}",
            )
        )

    def _bind(self, depth: int) -> str:
        self._names += 1
        name = f"y{self._names}"
        source = self.integer(depth)
        self._variables.append(name)
        body = self.boolean(depth)
        self._variables.pop()
        return f"cel.bind({name}, {source}, {body})"

    def _presence(self, depth: int) -> str:
        name = self._rng.choice(("i", "nope", "s"))
        return self._rng.choice(
            (
                f'has(device.attributes["{DRIVER}"].{name})',
                f'"{name}" in device.attributes["{DRIVER}"]',
                f'"{self._rng.choice(("o.com", DRIVER, "no.io"))}" in device.attributes',
            )
        )

    def integer(self, depth: int) -> str:
        rng = self._rng
        if self._variables and rng.random() < 0.4:
            return rng.choice(self._variables)
        if depth <= 0:
            return rng.choice((self._attribute(INTS), str(rng.randint(0, 9))))
        return rng.choice(
            (
                f"({self.integer(depth - 1)} {rng.choice('+-*/%')} {self.integer(depth - 1)})",
                f"size({self.text(depth - 1)})",
                f"{self.integers(depth - 1)}.size()",
                f"({self.boolean(depth - 1)} ? {self.integer(depth - 1)} : {self.integer(depth - 1)})",
                f"{self.text(depth - 1)}.indexOf({self.text(0)})",
                f"{self.integers(depth - 1)}[{self.integer(0)}]",
                f"{self.integers(depth - 1)}.sum()",
            )
        )

    def text(self, depth: int) -> str:
        rng = self._rng
        if depth <= 0:
            return rng.choice((self._attribute(STRINGS), repr(rng.choice(_TEXTS)), "device.driver"))
        return rng.choice(
            (
                f"({self.text(depth - 1)} + {self.text(depth - 1)})",
                f"{self.text(depth - 1)}.upperAscii()",
                f"{self.text(depth - 1)}.replace('a', 'bc')",
                f"{self.text(depth - 1)}.split(',')[0]",
                f"{self.text(depth - 1)}.find({rng.choice(_PATTERNS)!r})",
                f"string({self.integer(depth - 1)})",
                f"[{self.text(depth - 1)}, {self.text(0)}].join('-')",
            )
        )

    def integers(self, depth: int) -> str:
        rng = self._rng
        if depth <= 0:
            return rng.choice((self._attribute(INT_LISTS), "[1, 2, 3]", "[]", f"[{self.integer(0)}]"))
        self._names += 1
        name, source = f"z{self._names}", self.integers(depth - 1)
        self._variables.append(name)
        made = rng.choice((f"map({name}, {self.integer(depth - 1)})", f"filter({name}, {self.boolean(depth - 1)})"))
        self._variables.pop()
        return rng.choice((f"{source}.{made}", f"({source} + {self.integers(0)})"))

    def _attribute(self, names: tuple[str, ...]) -> str:
        rng = self._rng
        name = rng.choice(names)
        if self._faulty and rng.random() < 0.08:
            # Not versions: the C++ runtime takes them for unequal to other types, where Kubernetes fails.
            name = rng.choice((*INTS, *STRINGS, *BOOLS, *INT_LISTS, *STRING_LISTS, "nope"))
        domain = rng.choice((DRIVER, "o.com", "no.io")) if self._faulty and rng.random() < 0.05 else DRIVER
        access = f".{name}" if rng.random() < 0.7 else f'["{name}"]'
        return f'device.attributes["{domain}"]{access}'

    def _capacity(self) -> str:
        return f'device.capacity["{DRIVER}"].{self._rng.choice(QUANTITIES)}'
