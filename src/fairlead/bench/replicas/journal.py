"""What was told of a workload during a run, written down as it came: its wanted number and the lives of its pods.

A moment is when we were told of it, by our own monotonic clock: the API's timestamps are whole seconds of another one.
What was told late, as nobody could look before, is placed by the API's timestamp where there is one.
"""

from __future__ import annotations

from fairlead.bench.replicas.pods import replica_of, state_of
from fairlead.bench.replicas.steps import Steps, steps_of
from fairlead.bench.scaling_summary import Moments, PodLife
from fairlead.kube.objects import Pod

MOST_PODS = 5000
"""Lives that are kept; a workload that makes more during a run is in a loop of failures."""


class Journal:
    """Of one workload. `now_s` is a reading of the monotonic clock, `wall_s` what is added to it for seconds since the
    epoch."""

    def __init__(self, wall_s: float) -> None:
        self._wall_s = wall_s
        self._lives: dict[str, _Life] = {}
        self._wanted: list[tuple[float, float | None]] = []
        self._gaps: list[tuple[float, float]] = []
        self._blind_since_s: float | None = None
        self.forgotten = 0

    @property
    def is_blind(self) -> bool:
        return self._blind_since_s is not None

    def blind(self, since_s: float) -> None:
        """Nobody can look; the last good look was at this time. Where that was before the last gap was over, it goes
        on."""
        if self._blind_since_s is None:
            goes_on = bool(self._gaps) and since_s <= self._gaps[-1][1]
            self._blind_since_s = self._gaps.pop()[0] if goes_on else since_s

    def sees(self, now_s: float) -> None:
        """All that happened meanwhile has been told."""
        if self._blind_since_s is not None:
            self._gaps.append((self._blind_since_s, now_s))
            self._blind_since_s = None

    def wants(self, replicas: int | None, now_s: float) -> None:
        """The wanted number, when it is told for the first time or has changed. None: the workload is gone."""
        if not self._wanted or self._wanted[-1][1] != replicas:
            self._wanted.append((now_s, replicas))

    def is_there(self, pod: Pod, accelerators: float | None, now_s: float, first: bool = False) -> None:
        """A pod, as it is. `first`: it was there before the watch began."""
        life = self._lives.get(pod.metadata.uid)
        if life is None:
            if len(self._lives) >= MOST_PODS:
                self.forgotten += 1
                return
            life = self._lives[pod.metadata.uid] = _Life(pod)
        late_s = self._blind_for(now_s) if self.is_blind else 0.0 if first else None
        life.is_there(pod, accelerators, now_s, late_s, self._wall_s)

    def _blind_for(self, now_s: float) -> float:
        return 0.0 if self._blind_since_s is None else max(0.0, now_s - self._blind_since_s)

    def is_gone(self, uid: str, now_s: float) -> None:
        life = self._lives.get(uid)
        if life is not None:
            life.is_gone(now_s, self._blind_for(now_s))

    def serves(self, uid: str) -> bool:
        """Whether it is ready, as far as it is known."""
        life = self._lives.get(uid)
        return life is not None and life.serves

    def served(self, uid: str, at_s: float) -> None:
        """Its engine's first token."""
        life = self._lives.get(uid)
        if life is not None:
            life.seen["served"] = at_s

    def wanted(self, origin_s: float) -> Steps:
        return steps_of((at_s - origin_s, value) for at_s, value in self._wanted)

    def gaps(self, origin_s: float, end_s: float) -> tuple[tuple[float, float], ...]:
        """When nobody could look, with one that lasts still."""
        last = [] if self._blind_since_s is None else [(self._blind_since_s, origin_s + end_s)]
        return tuple((max(0.0, a - origin_s), b - origin_s) for a, b in [*self._gaps, *last] if b > origin_s)

    def lives(self, origin_s: float) -> tuple[PodLife, ...]:
        """In order of creation, from the origin of the run."""
        found = [life.told(origin_s) for life in self._lives.values()]
        return tuple(sorted(found, key=lambda life: (life.at("created") or 0.0, life.name)))


class _Life:
    """A pod's, while it goes on."""

    def __init__(self, pod: Pod) -> None:
        self._name, (self._replica, self._size) = pod.metadata.name, replica_of(pod)
        self.seen: dict[str, float] = {}
        """Moment -> when it was seen."""
        self._told: dict[str, float] = {}
        self._passed: set[str] = set()
        self._serving: list[tuple[float, float | None]] = []
        self._accelerators: float | None = None
        self._unsure_s = 0.0

    def is_there(self, pod: Pod, accelerators: float | None, now_s: float, late_s: float | None, wall_s: float) -> None:
        """`late_s` None: it became so right now. Else it has been so for an unknown time, of at most so many seconds
        where it was not so before the watch began."""
        state = state_of(pod)
        # Devices are known once a claim is allocated, and given back before the pod is gone.
        self._accelerators = max(self._accelerators or 0.0, accelerators or 0.0) or None
        told: dict[str, float] = {}
        for name in Moments.__struct_fields__:
            at_s: float | None = getattr(state.told, name)
            if at_s is not None:
                told[name] = at_s - wall_s
        if state.scheduled and late_s is not None and "created" in told:
            # Who has a node without a condition that says since when has had it since it was made, at the longest.
            told.setdefault("scheduled", told["created"])
        self._told = told | self._told
        reached = (
            ("created", True), ("scheduled", state.scheduled), ("started", state.started), ("ready", state.ready),
            ("leaving", state.leaving), ("gone", state.over),
        )  # fmt: skip
        for name, is_so in reached:
            if is_so and name not in self._passed:
                self._passed.add(name)
                # Nothing but the look itself tells when a pod was over.
                if late_s is None or name == "gone":
                    self.seen[name] = now_s
                    self._unsure_s = late_s or 0.0
        self._serves(state.serves, now_s if late_s is None else told.get("ready", now_s), now_s)

    def is_gone(self, now_s: float, unsure_s: float) -> None:
        self._serves(False, now_s, now_s)
        if "gone" not in self._passed:
            self._passed.add("gone")
            self.seen["gone"] = now_s
            self._unsure_s = unsure_s

    @property
    def serves(self) -> bool:
        return bool(self._serving) and self._serving[-1][1] is None

    def _serves(self, is_so: bool, since_s: float, now_s: float) -> None:
        was = self.serves
        if is_so and not was:
            after_s = self._serving[-1][1] if self._serving else None
            self._serving.append((max(since_s, after_s) if after_s is not None else since_s, None))
        elif was and not is_so:
            self._serving[-1] = (self._serving[-1][0], now_s)

    def told(self, origin_s: float) -> PodLife:
        def moments(of: dict[str, float]) -> Moments:
            return Moments(**{name: at_s - origin_s for name, at_s in of.items()})

        serving = tuple((a - origin_s, None if b is None else b - origin_s) for a, b in self._serving)
        return PodLife(
            self._name, self._replica, moments(self.seen), moments(self._told), serving, self._accelerators,
            self._size, self._unsure_s,
        )  # fmt: skip
