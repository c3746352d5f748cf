"""What must hold for each verdict, given all that the planner knew when it decided."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from fairlead.clock import parse_time
from fairlead.kube.objects import Pod
from fairlead.kube.objects.devices import Device
from fairlead.kube.selectors import from_label_selector
from fairlead.scheduling.verdict import Cleared, Placed
from scheduling.chaos.device_rules import (
    DeviceKey,
    Offered,
    count_devices,
    offered,
    overused,
    selects,
    wrong_allocation,
)
from scheduling.chaos.ledger import Ledger, claim_names
from scheduling.chaos.node_rules import amount, may_stand, overfull, parted
from scheduling.chaos.objects import DEVICES, GPU, HOST
from scheduling.chaos.workloads import Fact


class BrokenRuleError(AssertionError):
    """A verdict that the API's rules do not allow."""


@dataclass
class Rules:
    """Checks verdicts against a ledger."""

    ledger: Ledger
    fact_of: Callable[[str], Fact | None]
    """By pod uid."""
    last_seen: dict[DeviceKey, Device] = field(default_factory=dict)
    """Devices as they were last offered by a complete pool."""
    told: set[str] = field(default_factory=set)
    """Uids of pods that were told to leave."""

    def note_devices(self) -> None:
        self.last_seen.update({key: device for key, (device, _) in offered(self.ledger).devices.items()})

    # A gang that was placed; the ledger has it already.

    def check_placed(self, placed: Placed) -> None:
        ledger = self.ledger
        known = {pod.metadata.uid: pod for pod in ledger.pods()}
        there = offered(ledger)
        for each in placed.assignments:
            pod = known.get(each.pod.uid)
            self._that(pod is not None and not pod.spec.node_name, placed, f"{each.pod.name} is not there to be placed")
            assert pod is not None
            node = ledger.node(each.node)
            self._that_not(may_stand(pod, node), placed, f"{each.pod.name} on {each.node}")
            self._that_not(parted(ledger, pod, each.node), placed, f"{each.pod.name} on {each.node}")
            for name, allocation in each.allocations.items():
                claim = ledger.claim(name)
                assert claim is not None and node is not None
                self._that(claim.status.allocation is None, placed, f"claim {name} has devices already")
                self._that_not(wrong_allocation(ledger, there, claim, allocation, node), placed, f"claim {name}")
                wrong = overused(ledger.allocations(), there, allocation, self.last_seen)
                self._that_not(wrong, placed, f"claim {name}")
            self._check_claims(placed, pod, each.node)
        for name in {each.node for each in placed.assignments}:
            self._that_not(overfull(ledger, name), placed, name)
        fact = self.fact_of(placed.assignments[0].pod.uid) if placed.assignments else None
        self._that(fact is not None, placed, "it places nobody")
        assert fact is not None
        if not self._is_mixed(fact):
            self._check_gang(placed, fact)
        self._check_limit(placed, fact)

    def _check_claims(self, placed: Placed, pod: Pod, node: str) -> None:
        made = {status.name: status.resource_claim_name for status in pod.status.resource_claim_statuses}
        for use in pod.spec.resource_claims:
            name = use.resource_claim_name or made.get(use.name, "")
            claim = self.ledger.claim(name)
            self._that(claim is not None and not claim.metadata.is_deleting, placed, f"claim {name!r} is not there")
            allocation = self.ledger.allocations().get(name)
            self._that(allocation is not None, placed, f"claim {name} has no devices")
            assert allocation is not None
            where = self.ledger.node(node)
            assert where is not None
            if allocation.node_selector is not None:
                self._that(selects(allocation.node_selector, where), placed, f"claim {name} is not for {node}")

    def _is_mixed(self, fact: Fact) -> bool:
        """Whether pods of another gang that had the name before are still thought to be there."""
        facts = {id(f) for pod in self.ledger.pods() if (f := self.fact_of(pod.metadata.uid)) and f.name == fact.name}
        told = self.ledger.truth.told
        return len(facts) > 1 or any(told.get(key) is not obj for key, obj in fact.described_by.items())

    def _check_gang(self, placed: Placed, fact: Fact) -> None:
        members = [pod for pod in self.ledger.pods() if self.fact_of(pod.metadata.uid) is fact]
        alive = [pod for pod in members if not pod.metadata.is_deleting and pod.status.phase != "Failed"]
        done = [pod for pod in alive if pod.status.phase == "Succeeded"]
        standing = [pod for pod in alive if self.ledger.place(pod)]
        if not fact.is_single:
            count = len(standing) + len(done)
            self._that(count >= fact.minimum, placed, f"{count} pods stand, {fact.minimum} are needed")
        if not fact.is_single:
            self._check_levels(placed, fact.levels, standing)
        for name, part in fact.parts.items():
            inside = [pod for pod in standing if fact.part_of[pod.metadata.uid] == name]
            ended = sum(fact.part_of[pod.metadata.uid] == name for pod in done)
            self._that(len(inside) + ended >= part.minimum, placed, f"group {name} has {len(inside)} pods")
            self._check_levels(placed, part.levels, inside)

    def _check_levels(self, placed: Placed, levels: tuple[str, ...], standing: list[Pod]) -> None:
        """New pods go where those are that stand; what tore these apart before is not the planner's doing."""
        new = {each.pod.uid for each in placed.assignments}
        for level in levels:
            values: dict[bool, set[str | None]] = {True: set(), False: set()}
            for pod in standing:
                node = self.ledger.node(self.ledger.place(pod))
                if node is not None:
                    fallback = node.metadata.name if level == HOST else None
                    values[pod.metadata.uid in new].add(node.metadata.labels.get(level, fallback))
            if not values[True]:
                continue
            self._that(None not in values[True], placed, f"a node without {level}")
            self._that(len(values[True]) == 1, placed, f"{level}: {values[True]}")
            self._that(not values[False] or values[True] == values[False], placed, f"{level}: {values}")

    def _check_limit(self, placed: Placed, fact: Fact) -> None:
        """The limit of the queue that the gang names, where it is a plain one."""
        queues = {q["metadata"]["name"]: q["spec"] for q in self.ledger.truth.told_of("fairlead.dev/v1alpha1/Queue")}
        name = fact.queue
        spec = queues.get(name)
        if not spec or spec.get("parent") or any(q.get("parent") == name for q in queues.values()):
            return
        if "nonsense" in str(spec):
            return
        for resource, given in spec["resources"].items():
            if "limit" not in given:
                continue
            total = Decimal(0)
            for pod in self.ledger.pods():
                theirs = self.fact_of(pod.metadata.uid)
                if theirs is None or theirs.queue != name or not self.ledger.place(pod) or pod.metadata.is_deleting:
                    continue
                total += self._demand(pod, resource)
            new = sum((self._demand_of_uid(each.pod.uid, resource) for each in placed.assignments), Decimal(0))
            within = total <= amount(given["limit"]) or not new
            self._that(within, placed, f"queue {name} has {total} {resource}, its limit is {given['limit']}")

    def _demand_of_uid(self, uid: str, resource: str) -> Decimal:
        return next(self._demand(pod, resource) for pod in self.ledger.pods() if pod.metadata.uid == uid)

    def _demand(self, pod: Pod, resource: str) -> Decimal:
        if resource != DEVICES:
            return sum((amount(c.resources.requests[resource]) for c in pod.spec.containers), Decimal(0))
        made = {status.name: status.resource_claim_name for status in pod.status.resource_claim_statuses}
        own = [self.ledger.claim(made.get(u.name, "")) for u in pod.spec.resource_claims if not u.resource_claim_name]
        return sum((Decimal(count_devices(claim, GPU)) for claim in own if claim is not None), Decimal(0))

    # Room that others make; the ledger is as before.

    def check_cleared(self, cleared: Cleared, now_s: float) -> None:
        known = {pod.metadata.uid: pod for pod in self.ledger.pods()}
        gone: set[str] = set()
        for victims in cleared.victims:
            for view in victims.pods:
                pod = known.get(view.uid)
                self._that(pod is not None, cleared, f"victim {view.name} is not there")
                assert pod is not None
                self._check_victim(cleared, pod)
                self._that(view.uid not in gone, cleared, f"victim {view.name} is named twice")
                gone.add(view.uid)
        for fact in {id(f): f for uid in gone if (f := self.fact_of(uid)) is not None}.values():
            if not self._is_mixed(fact):
                self._check_what_stays(cleared, fact, gone)
        self._check_rank(cleared, now_s)
        self._check_budgets(cleared, gone)
        self._check_room(cleared, gone)

    def _check_victim(self, cleared: Cleared, pod: Pod) -> None:
        name = pod.metadata.name
        self._that(bool(self.ledger.place(pod)), cleared, f"victim {name} stands nowhere")
        self._that(not pod.metadata.is_deleting, cleared, f"victim {name} is leaving already")
        daemon = any(owner.kind == "DaemonSet" for owner in pod.metadata.owner_references)
        self._that(not daemon, cleared, f"victim {name} is a DaemonSet's")
        fact = self.fact_of(pod.metadata.uid)
        self._that(fact is None or fact.preemptible, cleared, f"victim {name} is not preemptible")
        mine = self.fact_of(cleared.gang.pods[0].uid)
        self._that(fact is None or fact is not mine, cleared, f"victim {name} is of the gang itself")

    def _check_what_stays(self, cleared: Cleared, fact: Fact, gone: set[str]) -> None:
        if fact.is_single:
            return
        members = [pod for pod in self.ledger.pods() if self.fact_of(pod.metadata.uid) is fact]
        standing = [
            p for p in members if self.ledger.place(p) and not p.metadata.is_deleting and p.status.phase != "Failed"
        ]
        left = [pod for pod in standing if pod.metadata.uid not in gone]
        if not left:
            return
        self._that(not fact.whole, cleared, f"{len(left)} pods of {fact.name} stay, which goes as a whole")
        done = sum(pod.status.phase == "Succeeded" for pod in members)
        self._that(len(left) + done >= fact.minimum, cleared, f"{len(left)} pods of {fact.name} stay, too few")

    def _check_rank(self, cleared: Cleared, now_s: float) -> None:
        """Preemption is for the more important of one queue, after the time that the queue guarantees."""
        serves = cleared.gang.pods[0].labels.get("fairlead.dev/work") == "serving"
        for victims in cleared.victims:
            yields = all(pod.labels.get("fairlead.dev/work") == "batch" for pod in victims.pods)
            if cleared.kind != "preemption" or (serves and yields):
                continue
            self._that(
                victims.gang.priority < cleared.gang.priority, cleared,
                f"{victims.gang.key} has priority {victims.gang.priority}, not below {cleared.gang.priority}",
            )  # fmt: skip
            queues = {
                q["metadata"]["name"]: q["spec"] for q in self.ledger.truth.told_of("fairlead.dev/v1alpha1/Queue")
            }
            fact = self.fact_of(victims.pods[0].uid)
            spec = queues.get(fact.queue) if fact is not None else None
            if not spec or "nonsense" in str(spec) or spec.get("parent") or not spec.get("preemptMinRuntimeSeconds"):
                continue
            members = {pod.uid for pod in victims.gang.bound}
            running = [p for p in self.ledger.pods() if p.metadata.uid in members and p.status.phase == "Running"]
            started = [parse_time(p.status.start_time) for p in running if not p.metadata.is_deleting]
            if started and min(started) <= now_s and not serves:
                until_s = min(started) + spec["preemptMinRuntimeSeconds"]
                self._that(now_s >= until_s, cleared, f"{victims.gang.key} is within its min-runtime")

    def _check_budgets(self, cleared: Cleared, gone: set[str]) -> None:
        pods = [pod for pod in self.ledger.pods() if pod.metadata.uid in gone]
        for budget in self.ledger.truth.told_of("PodDisruptionBudget"):
            status = budget.status
            allowed = status.disruptions_allowed if status.observed_generation >= budget.metadata.generation else 0
            selector = from_label_selector({"matchLabels": dict(budget.spec.selector.match_labels)})
            count = sum(selector.matches(pod.metadata.labels) for pod in pods)
            self._that(count <= allowed, cleared, f"{count} of {budget.metadata.name}, which allows {allowed}")

    def _check_room(self, cleared: Cleared, gone: set[str]) -> None:
        """Once those have left that are leaving or told to, and are where they are moved to, the gang's pods fit where
        they were told to, with the devices that they are to get."""
        ledger = self.ledger
        known = {pod.metadata.uid: pod for pod in ledger.pods()}
        self.told = {uid for uid in self.told if uid in known} | gone
        besides = self.told | {uid for uid, pod in known.items() if pod.metadata.is_deleting}
        self._that(
            {each.pod.uid: each.node for each in cleared.assignments} == cleared.nominations, cleared,
            "its nominations are not its assignments",
        )  # fmt: skip
        # Claims of those that leave are freed, unless others use them.
        users = {
            name for uid, pod in known.items() if uid not in besides and ledger.place(pod) for name in claim_names(pod)
        }
        allocations = {
            name: given for name, given in ledger.allocations().items() if name in users or not self._is_used(name)
        }
        there, coming = offered(ledger), [*cleared.moves, *cleared.assignments]
        for each in coming:
            pod, node = known[each.pod.uid], ledger.node(each.node)
            self._that_not(may_stand(pod, node), cleared, f"{each.pod.name} on {each.node}")
            for name, given in each.allocations.items():
                claim = ledger.claim(name)
                assert claim is not None and node is not None
                self._that_not(wrong_allocation(ledger, there, claim, given, node), cleared, f"claim {name}")
                allocations[name] = given
                self._that_not(overused(allocations, there, given, self.last_seen), cleared, f"claim {name}")
        arriving: dict[str, list[Pod]] = {}
        for each in coming:
            arriving.setdefault(each.node, []).append(known[each.pod.uid])
        for name, pods in arriving.items():
            self._that_not(overfull(ledger, name, frozenset(besides), pods), cleared, name)

    def _is_used(self, name: str) -> bool:
        return any(name in claim_names(pod) for pod in self.ledger.pods() if self.ledger.place(pod))

    # Words

    def _that_not(self, wrong: str, verdict: Placed | Cleared, about: str) -> None:
        self._that(not wrong, verdict, f"{about}: {wrong}")

    def _that(self, holds: bool, verdict: Placed | Cleared, why: str) -> None:
        if not holds:
            who = f"{type(verdict).__name__} {verdict.gang.key}"
            raise BrokenRuleError(f"{who}: {why}")


__all__ = ["BrokenRuleError", "Offered", "Rules"]
