"""Options against the plain rules, on random fleets that change at random: the same rows, for the same reasons, however
the options came to know."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead.kube.objects import Node, Pod, ResourceClaim
from fairlead.scheduling.fleet.device_book import DeviceBook
from fairlead.scheduling.fleet.fleet import Fleet
from fairlead.scheduling.fleet.options import Options, Outlook
from fairlead.scheduling.observe import Context, Observer, observe_node
from fairlead.scheduling.snapshot import PodView
from scheduling.allocator.allocator_objects import request
from scheduling.fleet.device_objects import device_class, gpus, node_slice
from scheduling.fleet.plain_rules import Json, World, wanted_devices, why

NAMESPACES = {"one": {"team": "x"}, "two": {"team": "y"}}
LEVELS = ("kubernetes.io/hostname", "zone", "rack")

few = st.integers(0, 2)


def rarely(strategy: st.SearchStrategy[Any], of: int = 5) -> st.SearchStrategy[Any]:
    """None but once of so many times: what always refuses would hide everything else."""
    return st.integers(1, of).flatmap(lambda drawn: strategy if drawn == of else st.none())


def fields(**strategies: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object with the fields that are drawn as something."""
    return st.fixed_dictionaries(strategies).map(lambda found: {k: v for k, v in found.items() if v is not None})


labels = st.dictionaries(st.sampled_from(["app", "tier"]), st.sampled_from(["a", "b"]), max_size=2)
node_labels = fields(zone=st.sampled_from(["a", "a", "b", None]), rack=st.sampled_from(["1", "2", "3", None]))
label_selectors = st.one_of(
    st.builds(lambda value: {"matchLabels": value}, labels),
    st.sampled_from(
        [
            {"matchExpressions": [{"key": "app", "operator": "In", "values": ["a"]}]},
            {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["a"]}]},
            {"matchExpressions": [{"key": "tier", "operator": "Exists"}]},
        ]
    ),
)
pod_terms = st.fixed_dictionaries(
    {"topologyKey": st.sampled_from(LEVELS), "labelSelector": label_selectors},
    optional={
        "namespaces": st.lists(st.sampled_from(list(NAMESPACES)), max_size=2, unique=True),
        "namespaceSelector": st.sampled_from([{}, {"matchLabels": {"team": "x"}}, {"matchLabels": {"team": "z"}}]),
        "matchLabelKeys": st.just(["tier"]),
        "mismatchLabelKeys": st.just(["app"]),
    },
)
required_pods = st.builds(
    lambda terms: {"requiredDuringSchedulingIgnoredDuringExecution": terms}, st.lists(pod_terms, max_size=2)
)
node_terms = st.sampled_from(
    [
        {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]},
        {"matchExpressions": [{"key": "rack", "operator": "Gt", "values": ["1"]}]},
        {"matchExpressions": [{"key": "zone", "operator": "DoesNotExist"}]},
        {"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["n0"]}]},
        {},
    ]
)
required_nodes = st.builds(
    lambda terms: {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}},
    st.lists(node_terms, min_size=1, max_size=2),
)
spread_constraints = st.fixed_dictionaries(
    {
        "topologyKey": st.sampled_from(LEVELS),
        "maxSkew": st.integers(1, 2),
        "whenUnsatisfiable": st.just("DoNotSchedule"),
        "labelSelector": label_selectors,
    },
    optional={
        "minDomains": st.integers(1, 3),
        "nodeAffinityPolicy": st.sampled_from(["Honor", "Ignore"]),
        "nodeTaintsPolicy": st.sampled_from(["Honor", "Ignore"]),
        "matchLabelKeys": st.just(["tier"]),
    },
)
containers = st.fixed_dictionaries(
    {"name": st.just("c"), "resources": st.fixed_dictionaries({"requests": fields(
        cpu=rarely(few, 2), memory=rarely(few, 2), **{"example.com/foo": rarely(few)})}),
     "ports": st.lists(st.fixed_dictionaries(
        {"hostPort": st.sampled_from([0, 0, 80, 81])},
        optional={"hostIP": st.sampled_from(["0.0.0.0", "10.0.0.1", "10.0.0.2"]), "protocol": st.just("UDP")},
    ), max_size=1)},
)  # fmt: skip
taints = st.fixed_dictionaries(
    {"key": st.sampled_from("kl"), "effect": st.sampled_from(["NoSchedule", "NoExecute", "PreferNoSchedule"])},
    optional={"value": st.just("v")},
)
tolerations = st.fixed_dictionaries(
    {},
    optional={
        "key": st.sampled_from(["k", "node.kubernetes.io/unschedulable"]),
        "operator": st.sampled_from(["Exists", "Equal"]),
        "value": st.just("v"),
        "effect": st.sampled_from(["NoSchedule", "NoExecute"]),
    },
)
pods = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries({"namespace": st.sampled_from(list(NAMESPACES)), "labels": labels}),
        "spec": fields(
            containers=st.lists(containers, min_size=1, max_size=2),
            affinity=fields(
                podAffinity=rarely(required_pods, 3),
                podAntiAffinity=rarely(required_pods, 2),
                nodeAffinity=rarely(required_nodes),
            ),
            topologySpreadConstraints=st.lists(spread_constraints, max_size=2),
            tolerations=st.lists(tolerations, max_size=2),
            nodeSelector=rarely(st.just({"zone": "a"})),
        ),
        "devices": st.sampled_from([0, 0, 0, 1, 2]),
    }
)  # fmt: skip
nodes = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries({"labels": node_labels}),
        "spec": fields(unschedulable=rarely(st.just(True), 8), taints=rarely(st.lists(taints), 4)),
        "status": st.fixed_dictionaries(
            {"allocatable": st.fixed_dictionaries(
                {"pods": st.integers(3, 9), "cpu": st.integers(4, 9), "memory": st.integers(4, 9)},
                optional={"example.com/foo": few},
            )}
        ),
    }
)  # fmt: skip
steps = st.one_of(
    *[st.tuples(st.just("place"), st.integers(0, 9), st.integers(0, 9)) for _ in range(5)],
    st.tuples(st.just("lift"), st.integers(0, 9)),
    st.tuples(st.just("mark")),
    st.tuples(st.just("undo")),
    st.tuples(st.just("change"), st.integers(0, 9), nodes),
    st.tuples(st.just("add"), nodes, st.integers(0, 3)),
    st.tuples(st.just("remove"), st.integers(0, 9)),
    st.tuples(st.just("look"), st.integers(0, 9)),
)


class Run:
    """A fleet and a world to which the same things happen."""

    def __init__(self, templates: list[Json]) -> None:
        self.world = World(namespaces=NAMESPACES)
        book = DeviceBook()
        book.set_class(device_class())
        self.fleet = Fleet(book)
        self.outlook = Outlook(self.fleet)
        self.observer = Observer()
        self.templates = templates
        self.marks: list[tuple[int, dict[str, tuple[Json, str]]]] = []
        self.made = 0
        for template in templates:
            self.view(template)
        self.shapes = [self.view(template)[1].shape for template in templates]

    def view(self, template: Json) -> tuple[Json, PodView]:
        """One more pod of a template, with its own claim where it wants devices."""
        self.made += 1
        name = f"p{self.made}"
        raw: dict[str, Any] = {
            "metadata": {**template["metadata"], "name": name, "uid": name},
            "spec": {**template["spec"], "containers": [_texts(each) for each in template["spec"]["containers"]]},
        }
        claims = {}
        count = wanted_devices(template)
        if count:
            raw["spec"]["resourceClaims"] = [{"name": "gpu", "resourceClaimTemplateName": "t"}]
            raw["status"] = {"resourceClaimStatuses": [{"name": "gpu", "resourceClaimName": name}]}
            claim = {
                "metadata": {
                    "name": name, "namespace": template["metadata"]["namespace"], "uid": f"c-{name}",
                    "ownerReferences": [{"uid": name}],
                },
                "spec": {"devices": {"requests": [request(count=count)]}},
            }  # fmt: skip
            claims[template["metadata"]["namespace"], name] = msgspec.convert(claim, ResourceClaim)
            self.fleet.set_claim(claims[template["metadata"]["namespace"], name])
        pod = msgspec.convert(raw, Pod)
        return raw | {"devices": count, "spec": template["spec"]}, self.observer.observe_pod(
            pod, Context(claims, NAMESPACES)
        )

    def set_node(self, name: str, node: Json) -> None:
        raw = {**node, "metadata": {**node["metadata"], "name": name}}
        self.world.nodes[name] = raw
        texts = {key: str(value) for key, value in node["status"]["allocatable"].items()}
        self.fleet.set_node(observe_node(msgspec.convert({**raw, "status": {"allocatable": texts}}, Node)))

    def step(self, step: tuple[Any, ...]) -> None:
        names = sorted(self.world.nodes)
        match step:
            case ("place", which, where) if names:
                self.place(self.templates[which % len(self.templates)], names[where % len(names)])
            case ("lift", which) if self.world.placed:
                uid = sorted(self.world.placed)[which % len(self.world.placed)]
                self.fleet.lift(uid, frees_claims=True)
                del self.world.placed[uid]
            case ("mark",):
                self.marks.append((self.fleet.mark(), dict(self.world.placed)))
            case ("undo",) if self.marks:
                mark, placed = self.marks.pop()
                self.fleet.undo(mark)
                self.world.placed = placed
            case ("change", which, node) if names:
                self.set_node(names[which % len(names)], node)
            case ("add", node, devices):
                name = f"n{self.made}"
                self.made += 1
                self.add(name, node, devices)
            case ("remove", which) if names and not self.marks:
                self.remove(names[which % len(names)])
            case ("look", which):
                self.check(self.templates[which % len(self.templates)])

    def place(self, template: Json, name: str) -> None:
        """Where it fits; pods without devices anywhere, as others bind them."""
        raw, view = self.view(template)
        row = self.fleet.row_of[name]
        if wanted_devices(template):
            if not self.outlook.of(view.shape).fits(row):
                return
            self.fleet.place(view, row)
        else:
            self.fleet.put(view, row)
        self.world.placed[view.uid] = raw, name

    def add(self, name: str, node: Json, devices: int) -> None:
        self.set_node(name, node)
        self.world.devices[name] = devices
        self.fleet.devices.set_slice(node_slice(name, gpus(devices)))

    def remove(self, name: str) -> None:
        """The node goes; its pods stay known for as long as nobody says that they are gone."""
        del self.world.nodes[name]
        self.fleet.remove_node(name)

    def room(self, template: Json, name: str) -> int:
        """How many pods can be put onto the node one after the other, up to three."""
        before = dict(self.world.placed)
        found = 0
        while found < 3 and not why(self.world, template, name):
            found += 1
            self.world.placed[f"trial-{found}"] = template, name
        self.world.placed = before
        return found

    def check(self, template: Json) -> None:
        raw, view = self.view(template)
        options = self.outlook.of(view.shape)
        fresh = Options(self.fleet, view.shape)
        fresh.refresh()
        for name in self.world.nodes:
            row, expected = self.fleet.row_of[name], why(self.world, raw, name)
            assert options.reason(row).split(":")[0] == expected.split(":")[0], name
            assert options.fits(row) == (expected == "")
            assert options.room(row, 3) == self.room(template, name), name
        assert options.scores.tolist() == fresh.scores.tolist()
        assert options.best() == fresh.best()
        rows = range(len(self.fleet.nodes))
        assert options.rooms(rows, 3).tolist() == [options.room(row, 3) for row in rows]


def _texts(container: Json) -> dict[str, Any]:
    requests = {key: str(value) for key, value in container["resources"]["requests"].items()}
    return {**container, "resources": {"requests": requests}}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    st.lists(pods, min_size=2, max_size=4),
    st.lists(st.tuples(nodes, st.integers(0, 3)), min_size=2, max_size=5),
    st.lists(steps, min_size=4, max_size=16),
)
def test_options_say_what_the_rules_say(
    templates: list[Json], fleet: list[tuple[Json, int]], happenings: list[tuple[Any, ...]]
) -> None:
    run = Run(templates)
    for index, (node, devices) in enumerate(fleet):
        run.add(f"n{index}", node, devices)
    for happening in happenings:
        run.step(happening)
        for shape in run.shapes:
            run.outlook.of(shape)
    for template in templates:
        run.check(template)
