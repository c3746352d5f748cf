"""Where one more pod of a shape can go: for every row whether, how well, or why not; kept current by the fleet's log.

Asking again costs only what has changed since. Answers of a row are remembered, so that the next pod of a template is
placed by one look at an array.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from fairlead.scheduling import scores as weights
from fairlead.scheduling.allocator.cost import Cost
from fairlead.scheduling.filters import (
    NODE_FILTERS,
    lacking_resources,
    refuse_affinity,
    refuse_claims,
    refuse_closed,
    refuse_ports,
    refuse_resources,
    refuse_taints,
    refuse_volumes,
)
from fairlead.scheduling.filters.claims import MOST_USERS, claim_terms
from fairlead.scheduling.filters.inter_pod import Barrier, excludes_itself, inter_pod
from fairlead.scheduling.filters.spread import Tally, spread, tally_spread
from fairlead.scheduling.fleet.columns import MOST, Columns, Indexes, device_number
from fairlead.scheduling.fleet.device_book import Offer, Refusal, Wants
from fairlead.scheduling.fleet.fleet import Change, Fleet
from fairlead.scheduling.neighbours import Neighbours
from fairlead.scheduling.scores.allocation import balanced_allocation, least_allocated
from fairlead.scheduling.scores.devices import device_cost, device_packing, devices_spared
from fairlead.scheduling.scores.image_locality import image_locality
from fairlead.scheduling.scores.inter_pod import inter_pod_affinity
from fairlead.scheduling.scores.model_locality import model_locality
from fairlead.scheduling.scores.preferences import avoided_taints, less_is_better, more_is_better, preference
from fairlead.scheduling.scores.spread import topology_spread
from fairlead.scheduling.snapshot import NodeView, Shape, Term

Mask = npt.NDArray[np.bool_]
Scores = npt.NDArray[np.float64]

NOWHERE = -np.inf

_NO_NODE = "there is no node"


class Options:
    """The options of one shape in one fleet. Call `refresh` before reading, after the fleet may have changed."""

    def __init__(self, fleet: Fleet, shape: Shape, columns: Columns | None = None) -> None:
        self.fleet = fleet
        self.shape = shape
        self.scores: Scores = np.full(0, NOWHERE)
        """By row; NOWHERE where the shape does not fit."""
        self.columns = columns or Columns(fleet)
        self._read = -1
        self._nodes: list[NodeView | None] = []
        self._needs = [(name, amount) for name, amount in shape.requests.items() if amount > 0]
        self._has_devices = device_number(shape) > 0 or bool(shape.own_claims or shape.shared_claims)
        self._claims_state: tuple[object, ...] = ()
        self._claim_terms: tuple[tuple[Term, ...], ...] = ()
        self._images: tuple[int, ...] = ()
        self._wants: Wants | None = None
        self._barriers: list[Barrier]
        self._tallies: list[Tally]
        self._reset(0)

    def refresh(self) -> None:
        """Looks again at every row that may have changed."""
        columns, log = self.columns, self.fleet.log
        columns.refresh()
        end = log.end
        claims_changed = bool(self.shape.shared_claims) and self._claims_changed()
        if end == self._read and not claims_changed:
            return
        changes = log.since(self._read) if self._read >= 0 else None
        if changes is None or claims_changed or columns.size != len(self.scores):
            self._rebuild()
        else:
            self._take_in(changes)
        self._read = end

    def best(self, mask: Mask | None = None, nominated: str = "") -> int | None:
        """The row with the highest score (of those in the mask), ties by row; None where there is none. The node that
        was cleared for the pod comes first, where it fits."""
        scores = self.scores
        if not len(scores):
            return None
        if nominated:
            row = self.fleet.row_of.get(nominated)
            if row is not None and self.fits(row) and (mask is None or mask[row]):
                return row
        if mask is not None:
            scores = np.where(mask, scores, NOWHERE)
        row = int(scores.argmax())
        return row if scores[row] > NOWHERE else None

    def fits(self, row: int) -> bool:
        return bool(self.scores[row] > NOWHERE)

    def reason(self, row: int) -> str:
        """The first constraint that speaks against the row, in kube-scheduler's words; "" where nothing does."""
        if self.fits(row):
            return ""
        shape, node = self.shape, self.fleet.nodes[row]
        if node is None:
            return _NO_NODE
        found = (
            refuse_closed(shape, node)
            or refuse_taints(shape, node)
            or refuse_affinity(shape, node)
            or refuse_ports(shape, self.fleet, row)
            or refuse_resources(shape, self.fleet, row)
            or refuse_volumes(shape, node)
            or next((reason for reason, rows in self._barriers if rows[row]), None)
            or refuse_claims(self._claim_terms, node)
        )
        return found or str(self.refusal(row) or "")

    def reasons(self, row: int) -> tuple[str, ...]:
        """As `reason`, but all resources that lack: what kube-scheduler's message counts."""
        first = self.reason(row)
        lacking = lacking_resources(self.shape, self.fleet, row) if first else ()
        return lacking if first in lacking else (first,) * bool(first)

    def refusal(self, row: int) -> Refusal | None:
        """What the devices of the row lack, where they are the reason."""
        return self._refusals.get(row) if self._passes[row] else None

    def room(self, row: int, limit: int) -> int:
        """How many more pods of the shape fit on the row together, at most `limit`."""
        if not self.fits(row):
            return 0
        shape, node = self.shape, self.fleet.nodes[row]
        room = min([limit, *(self.fleet.free(row, name) // amount for name, amount in self._needs)])
        if room <= 1 or node is None:
            return room
        if shape.host_ports or excludes_itself(shape, node):
            return 1
        for key in shape.shared_claims:
            room = min(room, MOST_USERS - len(self.fleet.users.get(key, ())))
        for tally in self._tallies:
            allowed = tally.room(row)
            room = room if allowed is None else min(room, allowed)
        if self._wants is not None and shape.own_claims and room > 1:
            room = max(1, self.fleet.devices.room(self._wants, node.name, room))
        return room

    def rooms(self, rows: Sequence[int], limit: int) -> npt.NDArray[np.int64]:
        """`room` of many rows."""
        shape, columns, devices = self.shape, self.columns, self.fleet.devices
        chosen = np.asarray(rows, np.intp)
        if shape.host_ports or shape.shared_claims or shape.far or self._tallies:
            return np.fromiter((self.room(row, limit) for row in chosen.tolist()), np.int64, len(chosen))
        found = np.where(self.scores[chosen] > NOWHERE, limit, 0)
        if self._needs:
            found = np.minimum(found, (columns.free[self._need_index, chosen] // self._need_amounts).min(0))
        if self._wants is not None:
            for place in np.flatnonzero(found > 1).tolist():
                node = self.fleet.nodes[chosen[place]]
                if node is not None:
                    found[place] = max(1, devices.room(self._wants, node.name, int(found[place])))
        return np.maximum(found, 0)

    def _rebuild(self) -> None:
        """Looks at everything."""
        columns = self.columns
        self._reset(columns.size)
        self._wants = self.fleet.wants(self.shape)
        self._claim_terms = claim_terms(self.shape, self.fleet)
        self._need_index = np.array([[columns.resource(name)] for name, _ in self._needs], np.intp)
        self._need_amounts = np.array([[min(amount, MOST)] for _, amount in self._needs], np.int64)
        self._neighbours = Neighbours(self.shape, columns)
        for row in range(columns.size):
            self._see_node(row)
        self._look(np.arange(columns.size), is_crowd_changed=True)

    def _take_in(self, changes: Iterable[Change]) -> None:
        rows: dict[int, None] = {}
        is_crowd_changed = False
        is_all = self._images != self.columns.image_state(self.shape.images)
        for change in changes:
            row = change.row
            if row < 0:
                self._wants = self.fleet.wants(self.shape)
                self._is_known[:] = False
                is_all = True
            elif change.shape is not None:
                rows[row] = None
                is_crowd_changed |= self._neighbours.note(change.shape, row, change.delta)
            else:
                rows[row] = None
                self._is_known[row] = False
                if self.fleet.nodes[row] is not self._nodes[row]:
                    self._see_node(row)
                    is_crowd_changed = True
        if rows or is_all:
            looked_at = np.arange(self.columns.size) if is_all else np.fromiter(rows, np.intp, len(rows))
            self._look(looked_at, is_crowd_changed=is_crowd_changed)

    def _reset(self, size: int) -> None:
        self.scores = np.full(size, NOWHERE)
        self._nodes = [None] * size
        self._is_open: Mask = np.zeros(size, np.bool_)
        """Whether the node's object lets the pod in."""
        self._has_room: Mask = np.zeros(size, np.bool_)
        self._passes: Mask = np.zeros(size, np.bool_)
        """Whether all but the devices lets it in."""
        self._is_known: Mask = np.zeros(size, np.bool_)
        """Whether the last answer about devices still holds."""
        self._offers_devices: Mask = np.zeros(size, np.bool_)
        self._selected: Mask = np.zeros(size, np.bool_)
        self._tolerated: Mask = np.zeros(size, np.bool_)
        self._preference: Scores = np.zeros(size)
        self._avoided: Scores = np.zeros(size)
        self._plain: Scores = np.zeros(size)
        """The part of the score that is a matter of the row alone."""
        self._cost: Indexes = np.zeros(size, np.intp)
        self._barriers = []
        self._tallies = []
        self._barred: Mask | None = None
        self._refusals: dict[int, Refusal] = {}
        self._costs: list[Cost] = []
        """Those that were seen; `_cost` has their indexes."""
        self._cost_index: dict[Cost, int] = {}
        self._present = b""
        self._points: Scores = np.zeros(0)

    def _see_node(self, row: int) -> None:
        """What the node's object says."""
        shape, node = self.shape, self.fleet.nodes[row]
        self._nodes[row] = node
        if node is None:
            self._is_open[row] = self._selected[row] = self._tolerated[row] = False
            self._preference[row] = self._avoided[row] = 0
            return
        is_open = True
        for each in NODE_FILTERS:
            if each(shape, node) is not None:
                is_open = False
                break
        self._is_open[row] = is_open and (not self._claim_terms or refuse_claims(self._claim_terms, node) is None)
        if shape.spread:
            self._selected[row] = refuse_affinity(shape, node) is None
            self._tolerated[row] = refuse_taints(shape, node) is None
        if shape.preferred_terms:
            self._preference[row] = preference(shape, node)
        self._avoided[row] = avoided_taints(shape, node) if node.taints else 0

    def _look(self, rows: Indexes, *, is_crowd_changed: bool) -> None:
        """Answers for `rows`, and for all where what they say about each other has changed."""
        shape, columns = self.shape, self.columns
        if self._needs:
            free = columns.free[self._need_index, rows]
            self._has_room[rows] = (free >= self._need_amounts).all(0)
        else:
            self._has_room[rows] = True
        if shape.host_ports:
            for row in rows.tolist():
                if refuse_ports(shape, self.fleet, row) is not None:
                    self._has_room[row] = False
        if is_crowd_changed and not self._neighbours.is_idle:
            self._see_crowd()
        self._passes = self._is_open & self._has_room
        if self._barred is not None:
            self._passes &= ~self._barred
        fits = self._passes
        if self._wants is not None:
            for row in np.flatnonzero(fits & ~self._is_known).tolist():
                self._ask(self._wants, row)
            fits = fits & self._offers_devices
        self._score_rows(rows)
        self._combine(fits)

    def _see_crowd(self) -> None:
        columns = self.columns
        self._barriers = []
        if self.shape.spread:
            self._tallies = tally_spread(self._neighbours, columns, self._selected, self._tolerated)
            self._barriers += spread(self._tallies)
        self._barriers += inter_pod(self._neighbours, columns)
        self._barred = None
        for _, against in self._barriers:
            self._barred = against if self._barred is None else self._barred | against

    def _ask(self, wants: Wants, row: int) -> None:
        """What devices the row has for the shape."""
        node = self.fleet.nodes[row]
        if node is None:
            return
        answer = self.fleet.devices.offer(wants, node.name)
        self._is_known[row] = True
        if isinstance(answer, Offer):
            self._offers_devices[row] = True
            # kube-scheduler asks how far down the lists of alternatives a node makes it go, and no more.
            cost = answer.cost if self.fleet.devices.mode == "best" else Cost(answer.cost.ranks)
            index = self._cost_index.get(cost)
            if index is None:
                index = self._cost_index[cost] = len(self._costs)
                self._costs.append(cost)
                self._present = b""
            self._cost[row] = index
            self._refusals.pop(row, None)
        else:
            self._offers_devices[row] = False
            self._refusals[row] = answer

    def _score_rows(self, rows: Indexes) -> None:
        shape, columns = self.shape, self.columns
        if self._has_devices and self.fleet.devices.mode == "best":
            plain = weights.DEVICE_PACKING * device_packing(shape, columns, rows)
        else:
            plain = weights.LEAST_ALLOCATED * least_allocated(shape, columns, rows)
            plain += weights.BALANCED_ALLOCATION * balanced_allocation(shape, columns, rows)
            plain += weights.DEVICES_SPARED * devices_spared(shape, columns, rows)
        self._images = columns.image_state(shape.images)
        if self._images:
            plain += weights.IMAGE_LOCALITY * image_locality(shape, columns, rows)
        if shape.models:
            plain += weights.MODEL_LOCALITY * model_locality(shape, columns, rows)
        self._plain[rows] = plain

    def _combine(self, fits: Mask) -> None:
        shape, total = self.shape, self._plain
        if shape.preferred_terms:
            total = total + weights.NODE_AFFINITY * more_is_better(self._preference, fits)
        if self._avoided.any():
            total = total + weights.TAINT_TOLERATION * less_is_better(self._avoided, fits)
        if self._neighbours.pull:
            total = total + weights.INTER_POD_AFFINITY * inter_pod_affinity(self._neighbours, self.columns, fits)
        if any(not each.is_required for each in shape.spread):
            total = total + weights.TOPOLOGY_SPREAD * topology_spread(
                self._neighbours, self.columns, fits, self._selected, self._tolerated
            )
        if self._wants is not None and self._costs:
            total = total + self._cost_points(fits)[self._cost]
        self.scores = np.where(fits, total, NOWHERE)

    def _cost_points(self, fits: Mask) -> Scores:
        present = np.bincount(self._cost[fits], minlength=len(self._costs)) > 0
        key = present.tobytes()
        if key != self._present:
            self._present = key
            self._points = weights.DEVICE_COST * device_cost(self._costs, present)
        return self._points

    def _claims_changed(self) -> bool:
        """Whether its shared claims are in another state than when it last looked."""
        fleet, state = self.fleet, []
        for key in self.shape.shared_claims:
            claim = fleet.claims.get(key)
            state.append(
                (
                    None if claim is None else claim.allocation,
                    claim is None,
                    len(fleet.users.get(key, ())) >= MOST_USERS,
                )
            )
        now = tuple(state)
        changed, self._claims_state = now != self._claims_state, now
        return changed


class Outlook:
    """The options of every shape that is asked about, in one fleet."""

    def __init__(self, fleet: Fleet, most: int = 256) -> None:
        """`most` shapes are remembered; the one that was not asked for longest goes first."""
        self.fleet = fleet
        self._columns = Columns(fleet)
        self._most = most
        self._options: dict[Shape, Options] = {}

    def of(self, shape: Shape) -> Options:
        """The options of a shape, refreshed."""
        options = self._options.pop(shape, None) or Options(self.fleet, shape, self._columns)
        self._options[shape] = options
        if len(self._options) > self._most:
            del self._options[next(iter(self._options))]
        options.refresh()
        return options
