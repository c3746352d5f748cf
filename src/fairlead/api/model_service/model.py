"""Which model a service serves: names, weights, how they come to a node, and further models on the same engines."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from fairlead.api.kind import ATOMIC, SET, Kind, list_map
from fairlead.api.structural import told

# Pools list their model names separated by commas.
MODEL_NAME = r"^[^,\s]+$"
SOURCE = r"^([a-z][a-z0-9+.-]*://.+|/.*)?$"

Name = Annotated[str, told("The name that requests give in their `model` field.", max_length=253, pattern=MODEL_NAME)]
Source = Annotated[
    str,
    told(
        "Where the weights are: hf://owner/name[@revision], oci://registry/name:tag, s3://, gs://, http(s)://, "
        "pvc://claim/path, file:///path or an absolute path. Empty for engines that need none.",
        max_length=2048,
        pattern=SOURCE,
    ),
]
Aliases = Annotated[
    list[Annotated[str, msgspec.Meta(max_length=253, pattern=MODEL_NAME)]],
    told("Further names under which requests reach this model.", SET, max_length=16),
]


class Verification(Kind):
    """Who must have signed the model (cosign's signatures, by key)."""

    public_keys: Annotated[
        list[Annotated[str, msgspec.Meta(max_length=8192)]],
        told("Public keys (PEM); one that fits is enough.", ATOMIC, max_length=16),
    ] = []
    mode: Annotated[
        Literal["Enforce", "Warn"],
        told("Enforce: nothing is loaded that nobody of these has signed. Warn: it is only said."),
    ] = "Enforce"


class Model(Kind):
    """Which model, under which names."""

    name: Name
    source: Source = ""
    aliases: Aliases = []
    format: Annotated[
        str,
        told(
            "Format of the weights (safetensors, gguf, onnx, tensorrt-engine, …), by which a runtime is chosen. "
            "Default: what the runtime takes.",
            max_length=63,
        ),
    ] = ""
    architecture: Annotated[
        str,
        told(
            "Architecture as the model's config.json names it (LlamaForCausalLM, …). Default: read from the source "
            "where that can be done.",
            max_length=253,
        ),
    ] = ""
    max_context_tokens: (
        Annotated[int, told("Longest prompt and answer together. Default: the model's own.", ge=1, le=100_000_000)]
        | None
    ) = None
    delivery: Annotated[
        Literal["Auto", "Engine", "Fetch", "ImageVolume"],
        told(
            "How the weights come to the node. Engine: it downloads them itself. Fetch: an init container fills the "
            "node's cache. ImageVolume: the kubelet mounts the OCI artifact. Auto: the best of these that source and "
            "cluster allow."
        ),
    ] = "Auto"
    pinned: Annotated[bool, told("Whether the nodes' caches keep it though others need the room.")] = False
    pull_secret: Annotated[
        str,
        told(
            "Secret of the namespace with what the source asks for: a token, keys, or registry logins.", max_length=253
        ),
    ] = ""
    verification: Annotated[Verification, told("Who must have signed the weights. Absent: nobody is asked.")] | None = (
        None
    )


class FurtherModel(Kind):
    """A model that the same engines serve besides the first, where the runtime can."""

    name: Name
    source: Source = ""
    aliases: Annotated[
        list[Annotated[str, msgspec.Meta(max_length=253, pattern=MODEL_NAME)]],
        # Each is compared with those of all others, whose number is bounded by what a server grants to a rule.
        told("Further names under which requests reach this model.", SET, max_length=8),
    ] = []


FurtherModels = Annotated[
    list[FurtherModel],
    told(
        "Models that the same engines serve besides `model`, for runtimes that can hold several.",
        list_map("name"),
        max_length=32,
    ),
]
