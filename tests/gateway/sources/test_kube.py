"""Pools from a real API server process."""

from fairlead.kube.client import Client
from fairlead.kube.kinds import CUSTOM_RESOURCE_DEFINITIONS

NEW, LEGACY = "llm-d.ai", "inference.networking.x-k8s.io"


def pool(name, models, **annotations):
    return {
        "apiVersion": "inference.networking.k8s.io/v1",
        "kind": "InferencePool",
        "metadata": {"name": name, "namespace": "default",
                     "annotations": {"fairlead.dev/models": models, **annotations}},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "targetPorts": [{"number": 8000}],
            "endpointPickerRef": {"name": "picker", "port": {"number": 9002}},
        },
    }  # fmt: skip


def pod(name, app, **labels):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": app, **labels}},
        "spec": {"containers": [{"name": "engine", "image": "x"}]},
    }


def rewrite(name, to, model, group=NEW, pool="a"):
    return {
        "apiVersion": f"{group}/v1alpha2",
        "kind": "InferenceModelRewrite",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "poolRef": {"name": pool},
            "rules": [{"matches": [{"model": {"value": model}}], "targets": [{"modelRewrite": to}]}],
        },
    }


def objective(name, priority, pool="a"):
    return {
        "apiVersion": f"{NEW}/v1alpha2",
        "kind": "InferenceObjective",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"poolRef": {"name": pool}, "priority": priority},
    }


ACCOUNT = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "default"}}


async def test_pools_follow_readiness_deletion_and_names(cluster):
    await cluster.install("inference.networking.k8s.io", NEW)
    registry = cluster.registry
    await cluster.apply(pool("a", "m,alias"), ACCOUNT)
    await cluster.follow()
    assert registry.pool_of("alias").endpoints == ()

    await cluster.apply(pod("p", "a", **{"llm-d.ai/role": "prefill"}), pod("other", "b"))
    for name in ("p", "other"):
        await cluster.ready(name, "127.1.0.1")
    await cluster.until(lambda: registry.pool_of("m").addresses == ("127.1.0.1:8000",))
    assert registry.pool_of("m").endpoints[0].role == "prefill"

    await cluster.apply(pool("shares", "n") | {"spec": pool("a", "")["spec"]})
    await cluster.until(lambda: registry.pool_of("n") is not None and registry.pool_of("n").addresses)
    assert set(registry.pools_at("127.1.0.1:8000")) == {"default/a", "default/shares"}

    await cluster.ready("p", "127.1.0.1", "False")
    await cluster.until(lambda: registry.pool_of("m").endpoints == () and registry.pool_of("n").endpoints == ())
    await cluster.ready("p", "127.1.0.1")
    await cluster.until(lambda: registry.pool_of("m").addresses)
    await cluster.kubectl("label", "pod", "p", "app=elsewhere", "--overwrite")
    await cluster.until(lambda: registry.pool_of("m").endpoints == ())

    await cluster.kubectl("annotate", "inferencepool", "a", "fairlead.dev/models=renamed", "--overwrite")
    await cluster.until(lambda: registry.pool_of("renamed") is not None and registry.pool_of("m") is None)
    await cluster.kubectl("delete", "inferencepool", "a", "shares")
    await cluster.until(lambda: not registry.pools)


async def test_a_version_of_a_pool_has_the_objectives_of_the_pool_itself(cluster):
    await cluster.install("inference.networking.k8s.io", NEW)
    registry = cluster.registry
    trial = pool("a-canary", "m~2", **{"fairlead.dev/version-of": "a", "fairlead.dev/known-names": "m, alias"})
    await cluster.apply(pool("a", "m"), trial, objective("high", 5), objective("own", 7, "a-canary"))
    await cluster.follow()
    await cluster.until(lambda: "default/a-canary" in registry.pools)
    assert registry.pools["default/a-canary"].objectives == {"high": 5, "own": 7}
    assert registry.pools["default/a"].objectives == {"high": 5}
    assert registry.pools["default/a-canary"].known_names == ("m", "alias")
    await cluster.apply(objective("high", 6))
    await cluster.until(lambda: registry.pools["default/a-canary"].objectives["high"] == 6)


async def test_rewrites_objectives_and_configurations_are_followed(cluster):
    await cluster.install("inference.networking.k8s.io", NEW)
    registry = cluster.registry
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "picker", "namespace": "default"},
              "data": {"config.yaml": "one", "other": "x"}}  # fmt: skip
    await cluster.apply(rewrite("r", "m", "public"), objective("high", 5))  # before there is such a pool
    await cluster.apply(pool("a", "m", **{"fairlead.dev/picker-config": "picker"}))
    await cluster.follow()
    await cluster.until(lambda: registry.pool_of("public") is not None)
    assert registry.resolve("public", "", 0.0)[1:] == ("m", "", "default/r")
    assert registry.pools["default/a"].objectives == {"high": 5}
    assert registry.configs == {}

    await cluster.apply(config)
    await cluster.until(lambda: registry.configs == {"default/picker": "one"})
    config["data"]["config.yaml"] = "two"
    await cluster.apply(config, objective("high", 6), rewrite("r", "m", "published"))
    await cluster.until(lambda: registry.configs == {"default/picker": "two"})
    await cluster.until(lambda: registry.pools["default/a"].objectives == {"high": 6})
    await cluster.until(lambda: registry.pool_of("published") is not None and registry.pool_of("public") is None)
    await cluster.kubectl("annotate", "inferencepool", "a", "fairlead.dev/picker-config=picker/other", "--overwrite")
    await cluster.until(lambda: registry.configs == {"default/picker/other": "x"})
    await cluster.kubectl("delete", "configmap/picker", "inferenceobjective/high", "inferencemodelrewrite/r")
    await cluster.until(lambda: registry.configs == {} and not registry.pools["default/a"].objectives)
    await cluster.until(lambda: registry.pool_of("published") is None)


async def test_kinds_that_are_missing_do_not_keep_the_picker_from_serving(cluster):
    await cluster.kubectl("delete", "crd", "--all")
    await cluster.follow()
    assert not cluster.registry.pools
    await cluster.install("inference.networking.k8s.io", LEGACY)
    async with Client.load(cluster.kubeconfig) as client:
        for crd in cluster.crds():
            if crd["spec"]["group"] == NEW and crd["spec"]["names"]["kind"] == "InferenceModelRewrite":
                plural = crd["spec"]["names"]["plural"]
                legacy = {**crd, "metadata": {"name": f"{plural}.{LEGACY}"}, "spec": {**crd["spec"], "group": LEGACY}}
                if f"{plural}.{LEGACY}" not in {c["metadata"]["name"] for c in cluster.crds()}:
                    await client.create(CUSTOM_RESOURCE_DEFINITIONS, legacy)
    await cluster.until(lambda: cluster.kubectl_ok(pool("a", "m")))
    await cluster.until(lambda: cluster.registry.pool_of("m") is not None)
    await cluster.until(lambda: cluster.kubectl_ok(rewrite("r", "m", "of-old", LEGACY)))
    await cluster.until(lambda: cluster.registry.pool_of("of-old") is not None)
    # Once the new group is there, the old one is read no more.
    await cluster.install(NEW)
    await cluster.until(lambda: cluster.kubectl_ok(rewrite("r", "m", "of-new")))
    await cluster.until(lambda: cluster.registry.pool_of("of-new") is not None)
    await cluster.until(lambda: cluster.registry.pool_of("of-old") is None)
    await cluster.kubectl("delete", "crd", f"inferencemodelrewrites.{NEW}")
    await cluster.until(lambda: cluster.registry.pool_of("of-old") is not None)
    assert cluster.registry.pool_of("of-new") is None


async def test_a_pod_that_changes_pools_is_known_all_the_time(cluster):
    """What is cached at it and under way there would be forgotten with its address."""
    await cluster.install("inference.networking.k8s.io", NEW)
    await cluster.apply(pool("z", "m"), pool("a", "n"), ACCOUNT, pod("p", "a"))
    await cluster.ready("p", "10.0.0.1")
    await cluster.follow()
    gone = []
    cluster.registry.on_change(lambda change: gone.extend(change.gone))
    for app in ("z", "a", "z"):
        key = f"default/{app}"
        await cluster.kubectl("label", "pod", "p", "--overwrite", f"app={app}")
        await cluster.until(lambda key=key: cluster.registry.pools[key].addresses == ("10.0.0.1:8000",))
    assert gone == []
