"""Fairlead's own kinds, their validation and defaulting, and the CRDs generated from them.

Also the CRDs of standards that Fairlead speaks and a bare cluster lacks (InferencePool, HTTPRoute, LeaderWorkerSet).
"""

from fairlead.api.benchmark import BENCHMARKS, Benchmark
from fairlead.api.crds import all_crds, is_outdated
from fairlead.api.inference_pool import INFERENCE_POOLS, InferencePool, InferencePoolSpec
from fairlead.api.model_adapter import MODEL_ADAPTERS, ModelAdapter
from fairlead.api.model_service import (
    GROUP,
    MODEL_SERVICES,
    VERSION,
    Model,
    ModelService,
    ModelServiceSpec,
    ModelServiceStatus,
)
from fairlead.api.queue import QUEUES, Queue, QueueResource, QueueSpec, QueueStatus
from fairlead.api.role_scale import ROLE_SCALES, RoleScale
from fairlead.api.serving_runtime import SERVING_RUNTIMES, ServingRuntime
from fairlead.api.traffic_report import TRAFFIC_REPORTS, TrafficReport

__all__ = [
    "BENCHMARKS",
    "GROUP",
    "INFERENCE_POOLS",
    "MODEL_ADAPTERS",
    "MODEL_SERVICES",
    "QUEUES",
    "ROLE_SCALES",
    "SERVING_RUNTIMES",
    "TRAFFIC_REPORTS",
    "VERSION",
    "Benchmark",
    "InferencePool",
    "InferencePoolSpec",
    "Model",
    "ModelAdapter",
    "ModelService",
    "ModelServiceSpec",
    "ModelServiceStatus",
    "Queue",
    "QueueResource",
    "QueueSpec",
    "QueueStatus",
    "RoleScale",
    "ServingRuntime",
    "TrafficReport",
    "all_crds",
    "is_outdated",
]
