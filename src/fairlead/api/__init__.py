"""Fairlead's own kinds, their validation and defaulting, and the CRDs generated from them.

Also the CRDs of standards that Fairlead speaks and a bare cluster lacks (InferencePool, HTTPRoute, LeaderWorkerSet).
"""

from fairlead.api.crds import all_crds, is_outdated
from fairlead.api.inference_pool import INFERENCE_POOLS, InferencePool, InferencePoolSpec
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

__all__ = [
    "GROUP",
    "INFERENCE_POOLS",
    "MODEL_SERVICES",
    "QUEUES",
    "VERSION",
    "InferencePool",
    "InferencePoolSpec",
    "Model",
    "ModelService",
    "ModelServiceSpec",
    "ModelServiceStatus",
    "Queue",
    "QueueResource",
    "QueueSpec",
    "QueueStatus",
    "all_crds",
    "is_outdated",
]
