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

__all__ = [
    "GROUP",
    "INFERENCE_POOLS",
    "MODEL_SERVICES",
    "VERSION",
    "InferencePool",
    "InferencePoolSpec",
    "Model",
    "ModelService",
    "ModelServiceSpec",
    "ModelServiceStatus",
    "all_crds",
    "is_outdated",
]
