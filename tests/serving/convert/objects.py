"""Well-formed objects of KServe, with as many of their fields as somebody might write, for hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Json = dict[str, Any]

WORDS = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=12)
TEXTS = st.one_of(
    WORDS, st.sampled_from(["${HOME}", "$(POD_IP)", "/mnt/models/x", "a b", "{{ .Name }}", "--x=y", "ü~,"])
)
NAMES = st.from_regex(r"[a-z]([-a-z0-9]{0,50}[a-z0-9])?", fullmatch=True)
COUNTS = st.integers(0, 40)
SIZES = st.one_of(st.integers(1, 16), st.integers(1, 2000))
QUANTITIES = st.sampled_from(["1", "500m", "8Gi", 2, 0.5, "1e3"])
PERCENTS = st.sampled_from([0, 1, 3, "0%", "25%", "100%", "150%"])
SCHEMES = st.sampled_from(
    [
        "hf://o/",
        "hf://o/m:",
        "s3://b/",
        "gs://b/",
        "pvc://c/",
        "https://h/",
        "oci://r/",
        "oci+native://r/",
        "oci+fetch://r/",
        "/models/",
        "hdfs://h/",
        "file:///m/",
    ]
)
URIS = st.builds(lambda scheme, word: scheme + word, SCHEMES, WORDS)
MAPS = st.dictionaries(WORDS, TEXTS, min_size=1, max_size=2)
LABELS = st.dictionaries(WORDS, WORDS, min_size=1, max_size=2)
ANYTHING = st.recursive(
    st.one_of(st.booleans(), st.integers(-5, 5), TEXTS),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=2), st.dictionaries(WORDS, inner, min_size=1, max_size=2)
    ),
    max_leaves=4,
)
OBJECTS = st.dictionaries(WORDS, ANYTHING, min_size=1, max_size=2)


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    """An object with some of these fields."""
    return st.fixed_dictionaries({}, optional=fields)


def named(name: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries({"name": st.just(name)}, optional=fields)


_REFERENCES = st.one_of(
    st.fixed_dictionaries({"secretKeyRef": st.fixed_dictionaries({"name": WORDS, "key": WORDS})}),
    st.fixed_dictionaries({"fieldRef": st.fixed_dictionaries({"fieldPath": st.just("status.podIP")})}),
    st.fixed_dictionaries({"fileKeyRef": st.fixed_dictionaries({"path": WORDS, "key": WORDS})}),
)
_ENV_NAMES = st.one_of(
    WORDS.map(lambda w: f"V_{w}"), st.sampled_from(["POD_IP", "VLLM_ADDITIONAL_ARGS", "KSERVE_INFER_ROCE", "HF_TOKEN"])
)
_ENV = st.lists(
    st.one_of(
        st.fixed_dictionaries({"name": _ENV_NAMES, "value": TEXTS}),
        st.fixed_dictionaries({"name": _ENV_NAMES, "valueFrom": _REFERENCES}),
    ),
    max_size=3,
    unique_by=lambda var: var["name"],
)
_FLAGS = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "--enforce-eager",
                "--tensor-parallel-size=2",
                "--max-model-len=4096",
                "--port=8080",
                "--enable-lora",
                "--gpu-memory-utilization=0.9",
                "--gpu-memory-utilization=0.955",
                "--ssl-keyfile=k",
                "--no-enable-prefix-caching",
                "--served-model-name=x",
                '--kv-transfer-config={"kv_connector":"C","x":1}',
                "--block-size=0",
                "--max-loras=3",
            ]
        ),
        WORDS.map(lambda w: f"--flag-{w}=1"),
    ),
    min_size=1,
    max_size=3,
    unique=True,
)
_PROBE = some(
    failureThreshold=SIZES, httpGet=st.just({"path": "/health", "port": 8080}), exec=st.just({"command": ["true"]})
)
_AMOUNTS = some(
    **{"cpu": QUANTITIES, "memory": QUANTITIES, "nvidia.com/gpu": st.integers(1, 8), "rdma/nic": st.just(1)}
)
_CONTAINER: dict[str, st.SearchStrategy[Any]] = {
    "image": st.sampled_from(
        ["vllm/vllm-openai:v1", "my/thing:2", "r/llm-d-inference-sim:1", "kserve/huggingfaceserver:1"]
    ),
    "args": _FLAGS,
    "env": _ENV,
    "resources": some(limits=_AMOUNTS, requests=_AMOUNTS, claims=st.just([{"name": "c"}])),
    "livenessProbe": _PROBE,
    "startupProbe": _PROBE,
    "ports": st.lists(st.fixed_dictionaries({"containerPort": st.integers(1, 65535)}), min_size=1, max_size=1),
    "volumeMounts": st.just([{"name": "v", "mountPath": "/v"}]),
    "securityContext": OBJECTS,
    "misspelt": ANYTHING,
}
_COMMANDS = st.sampled_from(
    [
        ["vllm", "serve"],
        ["python3", "-m", "vllm.entrypoints.openai.api_server"],
        ["/start.sh", "now"],
        ["/bin/sh", "-c", "exec vllm serve /mnt/models --seed 3 $UNKNOWN"],
        ["sh", "-c", "sleep 3; true"],
    ]
)
_POD: dict[str, st.SearchStrategy[Any]] = {
    "tolerations": st.just([{"operator": "Exists"}]),
    "nodeSelector": LABELS,
    "serviceAccountName": NAMES,
    "schedulerName": NAMES,
    "priorityClassName": NAMES,
    "terminationGracePeriodSeconds": st.integers(0, 100_000),
    "imagePullSecrets": st.just([{"name": "pull"}]),
    "volumes": st.just([{"name": "v", "emptyDir": {"medium": "Memory"}}]),
    "initContainers": st.just([{"name": "i", "image": "i"}]),
    "notOfAPod": ANYTHING,
}


def containers(main: str) -> st.SearchStrategy[list[Json]]:
    side = st.lists(named("engine", image=WORDS, args=st.lists(TEXTS, max_size=2)), max_size=1)
    serving = named(main, **_CONTAINER, command=_COMMANDS)
    return st.builds(lambda first, others: [first, *others], serving, side)


def pods(main: str) -> st.SearchStrategy[Json]:
    return some(containers=containers(main), **_POD)


_WORKLOAD: dict[str, st.SearchStrategy[Any]] = {
    "replicas": COUNTS,
    "parallelism": some(
        tensor=SIZES, pipeline=SIZES, data=SIZES, dataLocal=SIZES, expert=st.booleans(), dataRPCPort=SIZES
    ),
    "labels": LABELS,
    "annotations": MAPS,
    "template": pods("main"),
    "worker": pods("main"),
    "kvCacheOffloading": st.fixed_dictionaries(
        {"cpu": st.just("8Gi")}, optional={"evictionPolicy": WORDS, "secondary": st.just([{"x": 1}])}
    ),
    "rolloutStrategy": some(maxSurge=PERCENTS, maxUnavailable=PERCENTS),
    "scaling": some(minReplicas=COUNTS, maxReplicas=COUNTS, wva=OBJECTS, keda=OBJECTS),
}
_ADAPTERS = st.lists(
    st.fixed_dictionaries({"name": WORDS, "uri": URIS}), max_size=2, unique_by=lambda adapter: adapter["name"]
)
_MODEL = st.fixed_dictionaries(
    {"uri": URIS},
    optional={
        "name": TEXTS,
        "criticality": st.sampled_from(["Critical", "Sheddable"]),
        "lora": some(adapters=_ADAPTERS, maxRank=SIZES, maxAdapters=SIZES, maxCpuAdapters=SIZES),
        "confidential": OBJECTS,
    },
)
_NOTES = st.dictionaries(
    st.one_of(
        WORDS,
        st.sampled_from(
            ["serving.kserve.io/deploymentMode", "serving.kserve.io/unheard-of", "autoscaling.knative.dev/target"]
        ),
    ),
    TEXTS,
    max_size=2,
)
METADATA = st.fixed_dictionaries(
    {"name": NAMES},
    optional={"namespace": st.just("prod"), "labels": LABELS, "annotations": _NOTES, "finalizers": st.just(["x"])},
)


def _object(kind: str, version: str, spec: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    head = {"apiVersion": st.just(f"serving.kserve.io/{version}"), "kind": st.just(kind)}
    return st.fixed_dictionaries({**head, "metadata": METADATA, "spec": spec})


LLMS = _object(
    "LLMInferenceService",
    "v1alpha2",
    st.fixed_dictionaries(
        {"model": _MODEL},
        optional={
            **_WORKLOAD,
            "prefill": some(**_WORKLOAD),
            "router": some(route=OBJECTS, gateway=OBJECTS, scheduler=OBJECTS, ingress=OBJECTS),
            "storageInitializer": some(enabled=st.booleans()),
            "misspelt": ANYTHING,
            "tracing": st.fixed_dictionaries(
                {"exporterEndpoint": st.just("http://o:4317")}, optional={"sampler": WORDS, "exporter": WORDS}
            ),
        },
    ),
)
_SERVED: dict[str, st.SearchStrategy[Any]] = {
    **_CONTAINER,
    "protocolVersion": st.sampled_from(["v1", "v2", "grpc-v2"]),
    "runtimeVersion": WORDS,
    "storage": some(key=WORDS, path=WORDS, schemaPath=WORDS, parameters=st.just({"type": "s3", "bucket": "b"})),
}
_COMPONENT: dict[str, st.SearchStrategy[Any]] = {
    "minReplicas": COUNTS,
    "maxReplicas": COUNTS,
    "scaleTarget": COUNTS,
    "scaleMetric": WORDS,
    "timeout": COUNTS,
    "containerConcurrency": COUNTS,
    "canaryTrafficPercent": st.integers(0, 100),
    "logger": OBJECTS,
    "batcher": OBJECTS,
    "labels": LABELS,
    "annotations": MAPS,
    "name": WORDS,
    "misspelt": ANYTHING,
    "deploymentStrategy": some(
        type=st.sampled_from(["Recreate", "RollingUpdate"]),
        rollingUpdate=some(maxSurge=PERCENTS, maxUnavailable=PERCENTS),
    ),
    "workerSpec": some(
        tensorParallelSize=SIZES, pipelineParallelSize=SIZES, containers=containers("worker-container"), **_POD
    ),
    "storageUris": st.lists(
        st.fixed_dictionaries({"uri": URIS, "mountPath": st.just("/mnt/x")}), min_size=1, max_size=2
    ),
}
_FORMATS = st.fixed_dictionaries(
    {"name": st.sampled_from(["sklearn", "vLLM", "huggingface", "onnx", "tensorflow", "pytorch"])},
    optional={"version": WORDS},
)
_PREDICTORS = st.one_of(
    st.fixed_dictionaries(
        {
            "model": st.fixed_dictionaries(
                {"modelFormat": _FORMATS, "storageUri": URIS}, optional={**_SERVED, "runtime": NAMES}
            )
        },
        optional={**_POD, **_COMPONENT},
    ),
    st.fixed_dictionaries(
        {"sklearn": st.fixed_dictionaries({"storageUri": URIS}, optional=_SERVED)}, optional={**_POD, **_COMPONENT}
    ),
    st.fixed_dictionaries({"containers": containers("kserve-container")}, optional={**_POD, **_COMPONENT}),
)
ISVCS = _object(
    "InferenceService",
    "v1beta1",
    st.fixed_dictionaries({"predictor": _PREDICTORS}, optional={"transformer": OBJECTS, "explainer": OBJECTS}),
)
_SUPPORTED = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["vLLM", "sklearn", "triton", "odd"])},
        optional={"autoSelect": st.booleans(), "priority": st.integers(1, 2000), "version": WORDS},
    ),
    max_size=3,
    unique_by=lambda supported: supported["name"],
)
RUNTIMES = _object(
    "ClusterServingRuntime",
    "v1alpha1",
    st.fixed_dictionaries(
        {"containers": containers("kserve-container")},
        optional={
            **_POD,
            "supportedModelFormats": _SUPPORTED,
            "multiModel": st.booleans(),
            "disabled": st.booleans(),
            "protocolVersions": st.just(["v1"]),
            "grpcEndpoint": WORDS,
            "labels": LABELS,
            "annotations": MAPS,
            "misspelt": ANYTHING,
            "workerSpec": some(tensorParallelSize=SIZES, containers=containers("worker-container")),
        },
    ),
)
ALL = st.one_of(LLMS, ISVCS, RUNTIMES)
