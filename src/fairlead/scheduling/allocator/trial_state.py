"""What a search for the best devices has given so far, and what that costs; every step can be taken back."""

from __future__ import annotations

from typing import NamedTuple

from fairlead.scheduling.allocator.constraints import State
from fairlead.scheduling.allocator.cost import Cost
from fairlead.scheduling.allocator.held import Given, Held, bits
from fairlead.scheduling.allocator.potential import GROUP_UNIT, Rest, Shares, rest_of
from fairlead.scheduling.allocator.problem import Problem, Trial


class Step(NamedTuple):
    """One device given, and what was before."""

    trial: Trial
    position: int
    states: tuple[State, ...]
    component: int
    """-1 where nothing was taken."""
    mask: int
    shares: Shares
    rest: Rest | None
    sums: tuple[int, ...] | None
    link: int
    waste: int


class TrialState:
    """The state of one search."""

    def __init__(self, problem: Problem, held: Held) -> None:
        self._problem = problem
        layout = self._layout = problem.layout
        self._seat_of = layout.seat_of
        self.ranks = 0
        self.link = 0
        self.waste = 0
        self.steps: list[Step] = []
        self.given: list[list[int]] = [[] for _ in problem.constraints]
        """By claim: the devices it has."""
        self.states: list[list[State]] = [[each.initial() for each in claim] for claim in problem.constraints]
        count = len(layout.components)
        self._masks = [0] * count
        self._shares: list[Shares] = [()] * count
        self._others: list[tuple[int, ...]] = [()] * count
        self._watching = {
            ask.claim for ask in problem.asks if any(trial.alternative.admin_access for trial in ask.trials)
        }
        self._own = [0] * len(problem.constraints)
        # By claim: what its requests with admin access cannot have, because the claim has it already. Where it has any.
        self._fill(held)
        self._rests = [
            rest_of(layout, component, self._masks[i], self._shares[i], self._others[i])
            for i, component in enumerate(layout.components)
        ]
        self.open = 0
        """A bit for each device that is not held whole and has its counters."""
        for i, rest in enumerate(self._rests):
            self.open |= layout.spread(i, rest.open)
        self._sums: list[tuple[int, ...] | None] = [None] * len(problem.constraints)
        # By claim: how far each device is from all that the claim has.
        self._free = [0] * len(layout.weights)
        for i in range(count):
            self._count(i, self._rests[i].members, 1)
        self._touched = [0] * count
        self._order: list[tuple[int, int]] = []  # by component: which class now, and its place in the class
        self._opened: list[int] = []  # by class: how many of its components are touched
        self._classify()

    @property
    def cost(self) -> Cost:
        return Cost(self.ranks, self.link, self.waste)

    def picks(self) -> tuple[Given, ...]:
        """All that was given, in the order of the plan."""
        return tuple(
            Given(step.trial.claim, step.trial.request, step.trial.choice, step.position) for step in self.steps
        )

    def open_to(self, trial: Trial) -> int:
        """A bit for each device that the trial could have now, constraints and room for shares apart."""
        if trial.alternative.admin_access:
            return trial.eligible & ~self._own[trial.claim]
        return trial.eligible & self.open

    def has_room(self, trial: Trial, position: int) -> bool:
        """Whether enough is left of a device that is given out in shares; true of any other."""
        share = trial.shares.get(position)
        if share is None:
            return True
        i, place = self._seat_of[position]
        taken = dict(self._shares[i]).get(place)
        # That it has room for the first share is what made the device eligible.
        if taken is None:
            return True
        capacities = self._layout.components[i].parts[place].capacities
        return all(a + b <= c for a, b, c in zip(taken, share, capacities, strict=True))

    def is_redundant(self, trial: Trial, position: int) -> bool:
        """Whether another device does as well that comes earlier, in a component that nothing was taken of."""
        i = self._seat_of[position][0]
        if self._touched[i] or trial.alternative.admin_access:
            return False
        kind, place = self._order[i]
        return place > self._opened[kind]

    def add_link(self, claim: int, position: int) -> int:
        """What the device would add to the distances of the claim's set."""
        sums = self._sums[claim]
        return sums[position] if sums is not None else 0

    def constrain(self, trial: Trial, position: int) -> bool:
        """Whether the claim's constraints admit the device."""
        claim = trial.claim
        states, constraints, values = self.states[claim], self._problem.constraints[claim], self._problem.values[claim]
        name = trial.alternative.request
        return all(constraints[c].add(states[c], name, values[c][position]) is not None for c in trial.constraints)

    def take(self, trial: Trial, position: int) -> bool:
        """Gives the device, which is open; False where a constraint is against it."""
        claim = trial.claim
        states = self.states[claim]
        before = tuple(states)
        for c in trial.constraints:
            value = self._problem.values[claim][c][position]
            after = self._problem.constraints[claim][c].add(states[c], trial.alternative.request, value)
            if after is None:
                states[:] = before
                return False
            states[c] = after
        sums, link, waste = self._sums[claim], self.link, self.waste
        if trial.has_company:
            row = self._layout.distances(position)
            if sums is None:
                self._sums[claim] = row
            else:
                self.link += sums[position]
                self._sums[claim] = tuple([a + b for a, b in zip(sums, row, strict=True)])
        self.given[claim].append(position)
        if trial.alternative.admin_access:
            self._own[claim] |= 1 << position
            self.steps.append(Step(trial, position, before, -1, 0, (), None, sums, link, waste))
            return True
        i, place = self._seat_of[position]
        step = Step(trial, position, before, i, self._masks[i], self._shares[i], self._rests[i], sums, link, waste)
        share = trial.shares.get(position)
        if share is None:
            self._masks[i] |= 1 << place
            if claim in self._watching:
                self._own[claim] |= 1 << position
        else:
            self._shares[i] = _with(self._shares[i], place, share)
        self._use(i, step.rest)
        self.steps.append(step)
        return True

    def take_back(self) -> None:
        """Undoes the last step."""
        step = self.steps.pop()
        claim = step.trial.claim
        self.states[claim][:] = step.states
        self.given[claim].pop()
        self._sums[claim], self.link, self.waste = step.sums, step.link, step.waste
        if step.component < 0 or step.position not in step.trial.shares:
            self._own[claim] &= ~(1 << step.position)
        if step.component < 0:
            return
        i = step.component
        assert step.rest is not None
        self._count(i, step.rest.members & ~self._rests[i].members, 1)
        self._move(i, step.rest)
        self._masks[i], self._shares[i] = step.mask, step.shares
        self._touched[i] -= 1
        if not self._touched[i]:
            self._opened[self._order[i][0]] -= 1

    def fingerprint(self, claim: int) -> tuple[object, ...]:
        """Equal for states from which the search of this claim and later ones goes on alike, costs apart."""
        given = len(self.given[claim])
        return tuple(self._masks), tuple(self._shares), tuple(self.states[claim]), self._own[claim], given

    def _use(self, i: int, before: Rest | None) -> None:
        assert before is not None
        component = self._layout.components[i]
        rest = rest_of(self._layout, component, self._masks[i], self._shares[i], self._others[i])
        self._move(i, rest)
        self.waste += before.worth - rest.worth + self._count(i, before.members & ~rest.members, -1)
        if not self._touched[i]:
            self._opened[self._order[i][0]] += 1
        self._touched[i] += 1

    def _move(self, i: int, rest: Rest) -> None:
        """Another rest of a component."""
        now = self._rests[i]
        if now.open != rest.open:
            self.open ^= self._layout.spread(i, now.open) ^ self._layout.spread(i, rest.open)
        self._rests[i] = rest

    def _count(self, i: int, members: int, sign: int) -> int:
        """Counts members of groups in or out. What the groups are worth less for it."""
        if not members:
            return 0
        lost = 0
        free, weights = self._free, self._layout.weights
        for place in bits(members):
            for group in self._layout.components[i].parts[place].groups:
                now = free[group] = free[group] + sign
                # n² less (n - 1)² on the way out.
                lost += weights[group] * (2 * now + 1)
        return lost * GROUP_UNIT

    def _fill(self, held: Held) -> None:
        for position in bits(held.mask):
            i, place = self._seat_of[position]
            self._masks[i] |= 1 << place
        for position, amounts in held.shares:
            i, place = self._seat_of[position]
            self._shares[i] = _with(self._shares[i], place, amounts)
        others = dict(held.others)
        if others:
            for i, component in enumerate(self._layout.components):
                taken = tuple(others[pool][slot] if pool in others else 0 for pool, slot in component.slots)
                self._others[i] = taken if any(taken) else ()

    def _classify(self) -> None:
        numbers: dict[object, int] = {}
        for i, kind in enumerate(self._problem.kinds):
            key = (kind, self._masks[i], self._shares[i], self._others[i])
            number = numbers.setdefault(key, len(numbers))
            if number == len(self._opened):
                self._opened.append(0)
            place = self._opened[number]
            self._opened[number] += 1
            self._order.append((number, place))
        self._opened = [0] * len(self._opened)


def _with(shares: Shares, place: int, more: tuple[int, ...]) -> Shares:
    now = dict(shares)
    before = now.get(place)
    now[place] = more if before is None else tuple(map(sum, zip(before, more, strict=True)))
    return tuple(sorted(now.items()))
