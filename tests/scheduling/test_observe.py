"""Pods and nodes as views: what a pod takes, which shape it has, what it waits for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fairlead.kube.objects import Node, PersistentVolume, PersistentVolumeClaim, Pod, ResourceClaim, StorageClass
from fairlead.kube.selectors import Requirement, parse_label_selector
from fairlead.scheduling.observe import Context, Observer, observe_node, pod_host_ports, pod_requests
from fairlead.scheduling.observe.volumes import Storage
from fairlead.scheduling.snapshot import PodFacts, PodView, Shape, Taint, Term, VolumeUse


def pod(name: str = "p", meta: dict[str, Any] | None = None, status: dict[str, Any] | None = None, **spec: Any) -> Pod:
    raw = {
        "metadata": {"name": name, "namespace": "d", "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"}
        | (meta or {}),
        "spec": {"containers": [container("100m", "1Mi")]} | spec,
        "status": status or {},
    }
    return msgspec.convert(raw, Pod)


def container(cpu: str, memory: str, **more: Any) -> dict[str, Any]:
    return {"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}} | more


def claim(name: str, owner: str = "", node: str = "", **request: Any) -> ResourceClaim:
    exactly = {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1} | request
    raw: dict[str, Any] = {
        "metadata": {"name": name, "namespace": "d", "uid": f"c-{name}"},
        "spec": {"devices": {"requests": [{"name": "r", "exactly": exactly}]}},
    }
    if owner:
        raw["metadata"]["ownerReferences"] = [{"uid": owner}]
    if node:
        term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
        raw["status"] = {"allocation": {"devices": {}, "nodeSelector": {"nodeSelectorTerms": [term]}}}
    return msgspec.convert(raw, ResourceClaim)


def claimant(name: str, **spec: Any) -> Pod:
    """A pod with a claim that was made for it from a template."""
    return pod(
        name,
        status={"resourceClaimStatuses": [{"name": "gpu", "resourceClaimName": f"{name}-gpu"}]},
        resourceClaims=[{"name": "gpu", "resourceClaimTemplateName": "t"}],
        **spec,
    )


def context(*claims: ResourceClaim, **more: Any) -> Context:
    return Context({("d", each.metadata.name): each for each in claims}, **more)


def view(given: Pod, known: Context | None = None) -> PodView:
    return Observer().observe_pod(given, known or Context())


def shape(**spec: Any) -> Shape:
    return view(pod(**spec)).shape


def test_containers_add_up_and_the_largest_init_container_counts() -> None:
    wanted = pod(
        containers=[container("100m", "1Mi"), container("200m", "2Mi")],
        initContainers=[
            container("1", "1Mi"),
            container("50m", "10Mi", restartPolicy="Always"),
            container("900m", "1Mi"),
        ],
        overhead={"cpu": "10m"},
    )
    mebi = 1 << 20
    # cpu: the first init container alone is more than anything else; memory: everything that runs together.
    assert pod_requests(wanted) == {"cpu": 1010, "memory": 13 * mebi, "pods": 1}
    whole = pod(resources={"requests": {"cpu": "3"}}, overhead={"cpu": "10m"})
    assert pod_requests(whole) == {"cpu": 3010, "memory": mebi, "pods": 1}


def test_ports_of_the_host_have_an_address_and_a_protocol() -> None:
    ports = [{"hostPort": 80}, {"hostPort": 53, "protocol": "UDP", "hostIP": "10.0.0.1"}, {"containerPort": 9}]
    sidecar = {"name": "s", "restartPolicy": "Always", "ports": [{"hostPort": 81}]}
    init = {"name": "i", "ports": [{"hostPort": 82}]}
    given = pod(containers=[{"name": "c", "ports": ports}], initContainers=[sidecar, init])
    assert pod_host_ports(given) == {("0.0.0.0", "TCP", 80), ("10.0.0.1", "UDP", 53), ("0.0.0.0", "TCP", 81)}


def test_a_node_is_observed_with_its_images() -> None:
    raw = {
        "metadata": {"name": "n1", "labels": {"zone": "x"}, "annotations": {"a": "b"}},
        "spec": {"unschedulable": True, "taints": [{"key": "k", "effect": "NoSchedule", "value": "v"}]},
        "status": {
            "allocatable": {"cpu": "1500m", "memory": "1Gi"},
            "images": [{"names": ["vllm:1", "vllm@sha256:0"], "sizeBytes": 7}],
        },
    }
    node = observe_node(msgspec.convert(raw, Node))
    assert (node.name, node.unschedulable, node.taints) == ("n1", True, (Taint("k", "NoSchedule", "v"),))
    assert node.allocatable == {"cpu": 1500, "memory": 1 << 30}
    assert node.images == {"vllm:1": 7, "vllm@sha256:0": 7}
    assert (node.value("zone"), node.value("rack"), node.value("kubernetes.io/hostname")) == ("x", None, "n1")


def test_pods_of_a_template_share_a_shape_whatever_their_names_and_unread_labels() -> None:
    observer = Observer()
    known = context(claim("a-gpu", "a"), claim("b-gpu", "b"), claim("c-gpu", "c", count=2))
    one = observer.observe_pod(claimant("a", meta={"labels": {"gang": "1"}}), known)
    other = observer.observe_pod(claimant("b", meta={"labels": {"gang": "2"}}), known)
    assert one.shape is other.shape and one.shape.labels == {} and other.labels == {"gang": "2"}
    assert (one.own_claims, other.own_claims) == (("a-gpu",), ("b-gpu",))
    assert observer.observe_pod(claimant("c"), known).shape is not one.shape
    assert observer.observe_pod(claimant("a", nodeSelector={"x": "y"}), known).shape is not one.shape


def test_labels_count_once_somebody_asks_for_them() -> None:
    observer = Observer()
    plain = pod("plain", meta={"labels": {"app": "web", "gang": "1"}})
    before = observer.observe_pod(plain, Context())
    term = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}}
    shy = pod("shy", affinity={"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}})
    epoch = observer.epoch
    observer.observe_pod(shy, Context())
    assert observer.epoch == epoch + 1
    after = observer.observe_pod(plain, Context())
    assert before.shape.labels == {} and after.shape.labels == {"app": "web"}
    observer.observe_pod(shy, Context())
    observer.mention(parse_label_selector("app"))
    assert observer.epoch == epoch + 1, "nothing new was asked for"
    observer.mention({"gang"})
    assert observer.epoch == epoch + 2
    assert observer.observe_pod(plain, Context()).shape.labels == {"app": "web", "gang": "1"}


def test_shapes_that_nobody_shows_any_more_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairlead.scheduling.observe.pods._SHAPES", 2)
    observer = Observer()

    def seen(size: int) -> Shape:
        return observer.observe_pod(pod(containers=[container(str(size), "1")]), Context()).shape

    first, second = seen(1), seen(2)
    assert seen(3) is not None and seen(1) is first, "the older generation is still known"
    for size in range(4, 8):
        seen(size)
    assert seen(2) is not second and seen(2).requests == second.requests


def test_namespaces_and_keys_of_pod_terms_are_resolved() -> None:
    selector = {"matchLabels": {"app": "web"}}
    terms = [
        {"topologyKey": "zone", "labelSelector": selector, "matchLabelKeys": ["hash", "none"]},
        {"topologyKey": "zone", "labelSelector": selector, "mismatchLabelKeys": ["hash"], "namespaces": ["e"]},
        {"topologyKey": "zone", "labelSelector": selector, "namespaceSelector": {"matchLabels": {"team": "x"}}},
        {"topologyKey": "zone", "labelSelector": selector, "namespaceSelector": {}},
        {"topologyKey": "zone", "labelSelector": selector, "namespaceSelector": {"matchLabels": {"team": "z"}}},
        {"topologyKey": "zone"},
    ]
    given = pod(
        meta={"labels": {"hash": "1"}},
        affinity={"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}},
    )
    near = view(given, Context(namespaces={"e": {"team": "x"}, "f": {}})).shape.near
    assert [sorted(term.namespaces) for term in near] == [["d"], ["e"], ["e"], [], [], ["d"]]
    assert [str(term.selector) for term in near[:2]] == ["app in (web),hash in (1)", "app in (web),hash notin (1)"]
    assert not near[4].selector.matches({"app": "web"}), "no namespace is chosen"
    assert not near[5].selector.matches({"app": "web"}), "no selector chooses nothing"


def test_another_set_of_chosen_namespaces_makes_another_shape() -> None:
    term = {"topologyKey": "z", "labelSelector": {}, "namespaceSelector": {"matchLabels": {"team": "x"}}}
    given = pod(affinity={"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}})
    observer = Observer()
    before = observer.observe_pod(given, Context(namespaces={"e": {"team": "x"}})).shape
    after = observer.observe_pod(given, Context(namespaces={"e": {"team": "x"}, "f": {"team": "x"}})).shape
    assert (before.near[0].namespaces, after.near[0].namespaces) == ({"e"}, {"e", "f"})


def test_preferences_keep_their_weights() -> None:
    term = {"topologyKey": "zone", "labelSelector": {}}
    preferred = [{"weight": 7, "podAffinityTerm": term}]
    wish = {"weight": 3, "preference": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}}
    found = shape(
        affinity={
            "podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred},
            "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred},
            "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [wish]},
        }
    )
    assert [t.weight for t in (*found.near, *found.far)] == [7, 7]
    assert found.preferred_terms == ((3, Term((Requirement("a", "exists"),))),)


def test_spread_constraints_have_the_api_s_defaults() -> None:
    constraint = {"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
    other = constraint | {
        "whenUnsatisfiable": "ScheduleAnyway", "minDomains": 3, "nodeAffinityPolicy": "Ignore",
        "nodeTaintsPolicy": "Honor", "matchLabelKeys": ["hash"],
    }  # fmt: skip
    given = pod(meta={"labels": {"hash": "1"}}, topologySpreadConstraints=[constraint, other])
    one, two = view(given).shape.spread
    assert (one.is_required, one.min_domains, one.honours_affinity, one.honours_taints) == (True, 1, True, False)
    assert (two.is_required, two.min_domains, two.honours_affinity, two.honours_taints) == (False, 3, False, True)
    assert one.selector.is_everything and str(two.selector) == "hash in (1)"


def test_operators_that_nobody_knows_choose_nothing() -> None:
    for expression in ({"key": "x", "operator": "Near"}, {"key": "x", "operator": "Gt", "values": ["many"]}):
        terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
        found = shape(affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}})
        assert found.affinity_terms is not None
        assert not found.affinity_terms[0].labels[0].matches({"x": "7"})
    odd = {"topologyKey": "z", "labelSelector": {"matchExpressions": [{"key": "x", "operator": "Near"}]}}
    near = shape(affinity={"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [odd]}}).near
    assert not near[0].selector.matches({"x": "7"})


def test_a_pod_waits_for_gates_and_claims_by_name() -> None:
    assert "gates: hold" in view(pod(schedulingGates=[{"name": "hold"}])).waits_for
    claimed = pod(resourceClaims=[{"name": "gpu", "resourceClaimName": "c1"}])
    assert "does not exist" in view(claimed).waits_for
    assert not view(claimed, context(claim("c1"))).waits_for
    leaving = {"metadata": {"name": "c1", "namespace": "d", "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert "being deleted" in view(claimed, context(msgspec.convert(leaving, ResourceClaim))).waits_for
    templated = pod(resourceClaims=[{"name": "gpu", "resourceClaimTemplateName": "t"}])
    assert "made from its template" in view(templated).waits_for
    unneeded = pod(
        resourceClaims=[{"name": "gpu", "resourceClaimTemplateName": "t"}],
        status={"resourceClaimStatuses": [{"name": "gpu"}]},
    )
    assert not view(unneeded).waits_for and not view(unneeded).claims


def test_own_claims_are_those_that_were_made_for_the_pod() -> None:
    own = view(claimant("p"), context(claim("p-gpu", "p")))
    assert own.own_claims == own.claims == ("p-gpu",) and not own.shape.shared_claims
    stranger = view(claimant("p"), context(claim("p-gpu", "an earlier pod of the name")))
    assert not stranger.own_claims and stranger.shape.shared_claims == (("d", "p-gpu"),)
    shared = view(pod(resourceClaims=[{"name": "gpu", "resourceClaimName": "c1"}]), context(claim("c1")))
    assert shared.claims == ("c1",) and shared.shape.shared_claims == (("d", "c1"),) and not shared.shape.devices


def test_an_own_claim_with_devices_binds_a_pod_that_has_no_node() -> None:
    held = context(claim("p-gpu", "p", node="n2"))
    waiting = view(claimant("p"), held)
    assert waiting.shape.shared_claims == (("d", "p-gpu"),) and not waiting.shape.own_claims
    observer = Observer()
    bound = observer.observe_pod(claimant("p", nodeName="n2"), held)
    assert bound.own_claims == ("p-gpu",) and bound.shape.own_claims[0].status.allocation is None
    fresh = observer.observe_pod(claimant("q"), context(claim("q-gpu", "q")))
    assert fresh.shape is bound.shape, "bound pods and waiting ones of a template are alike"


def test_devices_are_counted_as_quotas_count_them() -> None:
    def devices(*requests: dict[str, Any]) -> dict[str, int]:
        raw = msgspec.to_builtins(claim("p-gpu", "p")) | {"spec": {"devices": {"requests": list(requests)}}}
        found = view(claimant("p"), context(msgspec.convert(raw, ResourceClaim))).shape
        assert found.demand == {**found.requests, **found.devices}
        return {name.partition(".")[0]: count for name, count in found.devices.items()}

    exact = {"name": "a", "exactly": {"deviceClassName": "gpu", "count": 3}}
    default = {"name": "b", "exactly": {"deviceClassName": "gpu"}}
    every = {"name": "c", "exactly": {"deviceClassName": "nic", "allocationMode": "All"}}
    watch = {"name": "d", "exactly": {"deviceClassName": "gpu", "count": 9, "adminAccess": True}}
    either = {
        "name": "e",
        "firstAvailable": [
            {"name": "x", "deviceClassName": "gpu", "count": 1},
            {"name": "y", "deviceClassName": "gpu", "count": 2},
            {"name": "z", "deviceClassName": "npu", "count": 4},
        ],
    }
    assert devices(exact, default, every, watch) == {"gpu": 4, "nic": 32}
    assert devices(either) == {"gpu": 2, "npu": 4}
    assert list(view(claimant("p"), context(claim("p-gpu", "p"))).shape.devices) == [
        "gpu.deviceclass.resource.k8s.io/devices"
    ]


def test_facts_are_read_and_nonsense_counts_as_absent() -> None:
    annotations = {"fairlead.dev/progress": "1.5", "fairlead.dev/cache-warmth": "0.25", "fairlead.dev/work": "batch"}
    found = view(pod(meta={"annotations": annotations}, terminationGracePeriodSeconds=0))
    assert found.facts == PodFacts(grace_s=0.0, progress=1.0, warmth=0.25, work="batch", comes_back=False)
    nonsense = {"fairlead.dev/progress": "half", "fairlead.dev/cache-warmth": "nan", "fairlead.dev/work": "play"}
    assert view(pod(meta={"annotations": nonsense})).facts == PodFacts(comes_back=False)
    owned = {"ownerReferences": [{"kind": "Job", "name": "j", "uid": "j", "controller": True}]}
    assert view(pod(meta=owned)).facts == PodFacts()
    owner = {"kind": "DaemonSet", "name": "ds", "uid": "ds", "controller": True}
    for fixed in ({"ownerReferences": [owner]}, {"annotations": {"kubernetes.io/config.mirror": "x"}}):
        facts = view(pod(meta=fixed)).facts
        assert facts is not None and facts.is_mirror_or_daemon


def test_the_life_of_a_pod_is_in_its_view() -> None:
    given = pod(
        meta={"deletionTimestamp": "2026-01-02T00:00:00Z"},
        status={"startTime": "2026-01-01T00:00:05Z", "nominatedNodeName": "n9"},
        priority=5, preemptionPolicy="Never", nodeName="n1",
    )  # fmt: skip
    found = view(given)
    assert found.started_s is not None and found.started_s - found.created_s == 5.0
    assert (found.priority, found.may_preempt, found.is_leaving) == (5, False, True)
    assert (found.node, found.nominated) == ("n1", "n9")
    assert view(msgspec.convert({"metadata": {"name": "p"}}, Pod)).created_s == 0.0, "a pod from a file has no time"


def test_what_cannot_be_read_is_named() -> None:
    with pytest.raises(ValueError, match=r"pod d/p: resources: quantities must match"):
        view(pod(containers=[container("many", "1")]))
    with pytest.raises(ValueError, match=r"pod d/p: metadata.creationTimestamp"):
        view(pod(meta={"creationTimestamp": "yesterday"}))


def volume(name: str, zone: str = "", **spec: Any) -> PersistentVolume:
    raw: dict[str, Any] = {"metadata": {"name": name}, "spec": {"storageClassName": "local"} | spec}
    if zone:
        terms = [{"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]}]
        raw["spec"]["nodeAffinity"] = {"required": {"nodeSelectorTerms": terms}}
    return msgspec.convert(raw, PersistentVolume)


def pvc(name: str = "data", storage: str = "1Gi", **spec: Any) -> PersistentVolumeClaim:
    resources = {"requests": {"storage": storage}}
    raw = {"metadata": {"name": name, "namespace": "d"}, "spec": {"storageClassName": "local", "resources": resources}}
    raw["spec"] |= spec
    return msgspec.convert(raw, PersistentVolumeClaim)


def volumes(
    claims: list[PersistentVolumeClaim], *known: PersistentVolume, provisioner: str = "kubernetes.io/no-provisioner",
    mode: str = "WaitForFirstConsumer", topologies: list[Any] | None = None,
) -> PodView:  # fmt: skip
    kind = {
        "metadata": {"name": "local"}, "provisioner": provisioner, "volumeBindingMode": mode,
        "allowedTopologies": topologies or [],
    }  # fmt: skip
    storage = Storage(
        {("d", each.metadata.name): each for each in claims},
        {each.metadata.name: each for each in known},
        {"local": msgspec.convert(kind, StorageClass)},
    )
    given = pod(volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}])
    return view(given, Context(storage=storage))


def in_zone(*zones: str) -> Term:
    return Term((Requirement("zone", "in", zones),))


def test_a_bound_volume_says_where_it_can_be_used() -> None:
    assert volumes([pvc(volumeName="v1")], volume("v1", "a")).shape.volumes == (VolumeUse((in_zone("a"),)),)
    assert volumes([pvc(volumeName="v1")], volume("v1")).shape.volumes == ()
    old = msgspec.convert(
        {"metadata": {"name": "v1", "labels": {"topology.kubernetes.io/zone": "a__b"}}}, PersistentVolume
    )
    zones = (Requirement("topology.kubernetes.io/zone", "in", ("a", "b")),)
    assert volumes([pvc(volumeName="v1")], old).shape.volumes == (VolumeUse(zones=zones),)


def test_a_late_volume_can_be_where_one_is_free_or_can_be_made() -> None:
    found = volumes(
        [pvc(storage="2Gi", accessModes=["ReadWriteOnce"])],
        volume("fits", "a", capacity={"storage": "2Gi"}, accessModes=["ReadWriteOnce"]),
        volume("small", "b", capacity={"storage": "1Gi"}, accessModes=["ReadWriteOnce"]),
        volume("read", "c", capacity={"storage": "2Gi"}, accessModes=["ReadOnlyMany"]),
        volume("taken", "d", capacity={"storage": "2Gi"}, accessModes=["ReadWriteOnce"], claimRef={"name": "other"}),
        volume("raw", "e", capacity={"storage": "2Gi"}, accessModes=["ReadWriteOnce"], volumeMode="Block"),
        volume("foreign", "f", capacity={"storage": "2Gi"}, storageClassName="x", accessModes=["ReadWriteOnce"]),
    )
    assert found.shape.volumes == (VolumeUse((in_zone("a"),), is_late=True),) and found.late_volumes == ("data",)
    assert volumes([pvc()]).shape.volumes == (VolumeUse((), is_late=True),), "none is free, none can be made"
    made = volumes(
        [pvc()],
        provisioner="csi.example.com",
        topologies=[{"matchLabelExpressions": [{"key": "zone", "values": ["a", "b"]}]}],
    )
    assert made.shape.volumes == (VolumeUse((in_zone("a", "b"),), is_late=True),)
    anywhere = volumes([pvc()], provisioner="csi.example.com")
    assert anywhere.shape.volumes == (VolumeUse(is_late=True),) and anywhere.late_volumes == ("data",)


def test_a_pod_waits_for_its_volumes() -> None:
    assert 'persistentvolumeclaim "data", which does not exist' in volumes([]).waits_for
    assert 'persistentvolume "v1" of claim "data"' in volumes([pvc(volumeName="v1")]).waits_for
    assert "to be bound" in volumes([pvc()], mode="Immediate").waits_for
    leaving = msgspec.structs.replace(pvc(), metadata=msgspec.structs.replace(pvc().metadata, deletion_timestamp="x"))
    assert "being deleted" in volumes([leaving]).waits_for
    ephemeral = pod("p", volumes=[{"name": "tmp", "ephemeral": {}}])
    assert '"p-tmp", which does not exist' in view(ephemeral).waits_for
