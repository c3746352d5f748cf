"""Placement: filters in kube-scheduler's words, spreading, and agreement with exhaustive search."""

from hypothesis import given
from hypothesis import strategies as st

from fairlead.kube.selectors import Requirement
from fairlead.scheduling.filters import FILTERS
from fairlead.scheduling.placement import compute_score, place
from fairlead.scheduling.snapshot import NodeView, PodView, Taint, Term, Toleration

CAPACITY = {"cpu": 4000, "memory": 8 << 30, "pods": 10}


def node(name: str = "n1", **fields: object) -> NodeView:
    return NodeView(**{"name": name, "allocatable": CAPACITY, **fields})  # type: ignore[arg-type]


def pod(**fields: object) -> PodView:
    return PodView(**{"namespace": "default", "name": "p", "uid": "u", "requests": {"pods": 1}, **fields})  # type: ignore[arg-type]


amount = st.integers(0, 4000)
taints = st.lists(st.builds(Taint, st.sampled_from("kl"), st.sampled_from(["NoSchedule", "PreferNoSchedule"])))
nodes = st.lists(
    st.builds(
        NodeView,
        name=st.sampled_from("abcdef"),
        allocatable=st.fixed_dictionaries({"cpu": amount, "memory": st.integers(0, 100), "pods": st.integers(0, 3)}),
        used=st.fixed_dictionaries({"cpu": amount, "pods": st.integers(0, 3)}),
        labels=st.dictionaries(st.sampled_from("xy"), st.sampled_from("12")),
        taints=taints.map(tuple),
        unschedulable=st.booleans(),
    ),
    max_size=5,
    unique_by=lambda n: n.name,
)
pods = st.builds(
    PodView, namespace=st.just("d"), name=st.just("p"), uid=st.just("u"),
    requests=st.fixed_dictionaries({"cpu": st.integers(0, 4000), "memory": st.integers(0, 100), "pods": st.just(1)}),
    node_selector=st.dictionaries(st.sampled_from("xy"), st.sampled_from("12"), max_size=1),
)  # fmt: skip


@given(pods, nodes)
def test_the_choice_is_the_best_of_all_that_fit(wanted: PodView, fleet: list[NodeView]) -> None:
    fitting = [n for n in fleet if all(f(wanted, n) is None for f in FILTERS)]
    chosen = place(wanted, fleet)
    if not fitting:
        assert chosen.node is None and len(chosen.rejections) == len(fleet)
        return
    top = max(compute_score(wanted, n) for n in fitting)
    assert chosen.node == min(n.name for n in fitting if compute_score(wanted, n) == top)


@given(pods, nodes, st.randoms())
def test_the_order_of_nodes_does_not_matter(wanted: PodView, fleet: list[NodeView], random: object) -> None:
    shuffled = list(fleet)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert place(wanted, fleet).node == place(wanted, shuffled).node


def test_reasons_are_counted_in_one_sentence() -> None:
    fleet = [
        node("a", used={"cpu": 3900}),
        node("b", used={"cpu": 3900}),
        node("c", labels={"zone": "x"}, unschedulable=True),
    ]
    placement = place(pod(requests={"cpu": 200, "pods": 1}), fleet)
    assert placement.explain() == ("0/3 nodes are available: 2 Insufficient cpu, 1 node(s) were unschedulable.")
    assert place(pod(), []).explain() == "no nodes available to schedule pods"


def test_taints_need_a_toleration() -> None:
    tainted = node(taints=(Taint("gpu", "NoSchedule", "h100"),))
    assert place(pod(), [tainted]).explain() == "0/1 nodes are available: 1 node(s) had untolerated taint {gpu: h100}."
    for toleration in (
        Toleration("gpu", "Equal", "h100", "NoSchedule"),
        Toleration("gpu", "Exists"),
        Toleration(operator="Exists"),
    ):
        assert place(pod(tolerations=(toleration,)), [tainted]).node == "n1"
    assert place(pod(tolerations=(Toleration("gpu", "Equal", "a100"),)), [tainted]).node is None


def test_required_affinity_is_any_term_of_all_requirements() -> None:
    terms = (
        Term((Requirement("zone", "in", ("x",)), Requirement("disk", "exists"))),
        Term(fields=(Requirement("metadata.name", "in", ("named",)),)),
    )
    wanted = pod(affinity_terms=terms)
    assert place(wanted, [node(labels={"zone": "x"})]).node is None
    assert place(wanted, [node(labels={"zone": "x", "disk": "ssd"})]).node == "n1"
    assert place(wanted, [node("named")]).node == "named"
    assert place(pod(affinity_terms=(Term(),)), [node()]).node is None
    assert Requirement("n", "gt", ("3",)).matches({"n": "4"}) and not Requirement("n", "lt", ("3",)).matches({"n": "x"})


def test_a_waiting_pod_says_what_it_waits_for() -> None:
    assert place(pod(waits_for="waits for claim c"), [node()]).explain() == "waits for claim c"


def test_preferred_taints_are_avoided_while_others_fit() -> None:
    avoided = node("a", taints=(Taint("old", "PreferNoSchedule"),))
    assert place(pod(), [avoided, node("b")]).node == "b"
    assert place(pod(), [avoided]).node == "a"
