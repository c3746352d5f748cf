"""From the model name of a request to the pool, the name its engines are asked for, and the adapter. Pure.

Which pool a name belongs to:

1. the oldest pool that lists it, as a model or an adapter;
2. else the oldest pool that has a rewrite rule for exactly this name: a rule makes a name reachable;
3. else the oldest pool with a rule for any name;
4. else the only pool that lists no names at all, as foreign pools do, if there is just one.

Within the pool a rule for exactly the name beats one for any name; among equals the oldest object's comes first, then
the order in the object (`Pool.rewrites` has this order). A rule beats the rewrite header, as in llm-d's picker. A
target that the pool does not list and another pool does goes to that other pool, so that one name can be split over
pools; targets are not rewritten again. A target of several whose pool has no endpoint gets nothing while another's has
one.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from fairlead.gateway.endpoints import Pool, Rewrite

MAX_SEEN_ADAPTERS = 1000
"""Of a pool, beyond those that it lists."""

_Age = tuple[str, str]  # age key and key of a pool: the smaller is older


class Resolved(NamedTuple):
    """Where requests for a name go."""

    pool: Pool
    model: str
    """As the engine is to be asked for it."""
    adapter: str
    """The LoRA adapter that `model` names; empty for a base model, and where that is not known."""
    rule: str
    """namespace/name of the InferenceModelRewrite that decided; empty = none."""


class NotFound(NamedTuple):
    """No pool serves the name."""

    model: str


class Home:
    """One pool by what names mean in it."""

    __slots__ = ("adapters", "age", "exact", "generic", "listed", "pool")

    def __init__(self, pool: Pool, seen_adapters: frozenset[str] = frozenset()) -> None:
        self.pool = pool
        self.age: _Age = (pool.age_key, pool.key)
        self.listed = dict.fromkeys((*pool.models, *pool.adapters))
        self.adapters = seen_adapters.difference(pool.models).union(pool.adapters)
        self.exact: dict[str, Rewrite] = {}
        self.generic: Rewrite | None = None
        for rule in pool.rewrites:
            if not rule.models and self.generic is None:
                self.generic = rule
            for model in rule.models:
                self.exact.setdefault(model, rule)

    def has(self, name: str) -> bool:
        """Whether the pool lists the name or has a rule for exactly it."""
        return name in self.listed or name in self.exact


class _Claims:
    """Names, each claimed by pools of which the oldest counts."""

    def __init__(self) -> None:
        self._by_name: dict[str, list[_Age]] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def add(self, name: str, age: _Age) -> None:
        insort(self._by_name.setdefault(name, []), age)

    def remove(self, name: str, age: _Age) -> None:
        claims = self._by_name[name]
        claims.remove(age)
        if not claims:
            del self._by_name[name]

    def of(self, name: str) -> Sequence[_Age]:
        return self._by_name.get(name, ())


class ModelNames:
    """The names that pools serve, kept up to date pool by pool; reading one is one look-up."""

    def __init__(self) -> None:
        self._homes: dict[str, Home] = {}  # pool key -> its names
        self._listed, self._ruled = _Claims(), _Claims()
        self._generic: list[_Age] = []  # pools with a rule for any name
        self._open: list[_Age] = []  # pools that list no names
        self._by_name: dict[str, Home] = {}  # name -> the pool that has it
        self._shadowed: dict[str, tuple[str, ...]] = {}
        self._all: list[str] | None = None
        self._seen_adapters: dict[str, frozenset[str]] = {}  # pool key -> names that its engines had in use

    @property
    def all(self) -> Sequence[str]:
        """Sorted."""
        if self._all is None:
            self._all = sorted(self._by_name)
        return self._all

    @property
    def shadowed(self) -> Mapping[str, tuple[str, ...]]:
        """Name -> keys of pools that list it and do not get it."""
        return self._shadowed

    def home_of(self, name: str) -> Home | None:
        """The pool of a name, by the order above."""
        return self._by_name.get(name) or self._fallback()

    def pool_of(self, name: str) -> Pool | None:
        home = self.home_of(name)
        return home.pool if home is not None else None

    def listed(self, name: str) -> Home | None:
        """The oldest pool that lists the name."""
        claims = self._listed.of(name)
        return self._homes[claims[0][1]] if claims else None

    def home(self, pool: Pool) -> Home:
        """What names mean in this pool."""
        found = self._homes.get(pool.key)
        return found if found is not None and found.pool is pool else Home(pool)

    def put(self, pool: Pool) -> Sequence[str]:
        """A pool is new or has changed; returns the names of which other pools are shadowed than before."""
        old, new = self._homes.get(pool.key), Home(pool, self._seen_adapters.get(pool.key, frozenset()))
        self._homes[pool.key] = new
        same = old is not None and old.age == new.age and (old.listed, old.exact) == (new.listed, new.exact)
        self._unfold(old)
        self._fold(new)
        if same:
            for name in (*new.listed, *new.exact):
                if self._by_name.get(name) is old:
                    self._by_name[name] = new
            return ()
        return self._settle(old, new)

    def drop(self, key: str) -> Sequence[str]:
        """A pool is gone; returns the same."""
        old = self._homes.pop(key, None)
        self._seen_adapters.pop(key, None)
        self._unfold(old)
        return self._settle(old)

    def see_adapters(self, key: str, adapters: Iterable[str]) -> None:
        """Engines of the pool say that they have these adapters in use. That makes no name reachable, but tells that a
        name that reaches the pool is an adapter's."""
        home = self._homes.get(key)
        if home is None or home.adapters.issuperset(adapters):
            return
        seen = self._seen_adapters.get(key, frozenset()).union(adapters)
        if len(seen) <= MAX_SEEN_ADAPTERS:
            self._seen_adapters[key] = seen
            self.put(home.pool)

    def _fallback(self) -> Home | None:
        if self._generic:
            return self._homes[self._generic[0][1]]
        return self._homes[self._open[0][1]] if len(self._open) == 1 else None

    def _fold(self, home: Home) -> None:
        for name in home.listed:
            self._listed.add(name, home.age)
        for name in home.exact:
            self._ruled.add(name, home.age)
        if home.generic is not None:
            insort(self._generic, home.age)
        if not home.listed:
            insort(self._open, home.age)

    def _unfold(self, home: Home | None) -> None:
        if home is None:
            return
        for name in home.listed:
            self._listed.remove(name, home.age)
        for name in home.exact:
            self._ruled.remove(name, home.age)
        if home.generic is not None:
            self._generic.remove(home.age)
        if not home.listed:
            self._open.remove(home.age)

    def _settle(self, *changed: Home | None) -> list[str]:
        """Decide anew who has the names of these pools."""
        self._all = None
        names = {name for home in changed if home is not None for name in (*home.listed, *home.exact)}
        for name in names:
            claims = (*self._listed.of(name), *self._ruled.of(name))
            if claims:
                self._by_name[name] = self._homes[claims[0][1]]
            else:
                self._by_name.pop(name, None)
        return [name for name in names if self._shadow(name)]

    def _shadow(self, name: str) -> bool:
        """Whether other pools are shadowed for this name than before."""
        claims = (*self._listed.of(name), *self._ruled.of(name))
        keys = tuple(dict.fromkeys(key for _, key in claims if key != claims[0][1]))
        if keys == self._shadowed.get(name, ()):
            return False
        if keys:
            self._shadowed[name] = keys
        else:
            del self._shadowed[name]
        return True


def resolve(names: ModelNames, model: str, rewrite: str, draw: float, pool: Pool | None = None) -> Resolved | NotFound:
    """Where a request for `model` goes.

    `rewrite` is the value of the rewrite header, empty where there is none. `draw` is from 0 to below 1 and decides
    splits by weight; it must not be the draw that decides between endpoints. `pool` is set where it is known otherwise
    which pool the request is for (a foreign gateway's subset).
    """
    home = names.home(pool) if pool is not None else names.home_of(model)
    if home is None:
        return NotFound(model)
    rule = home.exact.get(model) or home.generic
    if rule is not None:
        target = choose(rule.targets, draw) if len(rule.targets) > 1 else rule.targets[0][0]
        decided_by = rule.name
        if len(rule.targets) > 1 and not _home_of(names, home, target, pool).pool.addresses:
            # A share of the requests is no reason to refuse them where others could be served.
            live = [(t, w) for t, w in rule.targets if _home_of(names, home, t, pool).pool.addresses]
            target = choose(live, draw) if live else target
    else:
        target, decided_by = rewrite or model, ""
    home = _home_of(names, home, target, pool)
    return Resolved(home.pool, target, target if target in home.adapters else "", decided_by)


def _home_of(names: ModelNames, home: Home, target: str, pool: Pool | None) -> Home:
    """The pool that a target of `home` belongs to: another one that lists it, where `home` does not."""
    if target not in home.listed and home.listed and pool is None and (other := names.listed(target)) is not None:
        return other
    return home


def choose(targets: Sequence[tuple[str, int]], draw: float) -> str:
    """One of the targets, each for a share of the draws in proportion to its weight."""
    rest = draw * sum(weight for _, weight in targets)
    for target, weight in targets:
        rest -= weight
        if rest < 0:
            return target
    return targets[-1][0]
