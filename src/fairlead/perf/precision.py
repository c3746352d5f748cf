"""How weights are stored and multiplied: bits per value with their scales, and the arithmetic a matrix runs in.

A checkpoint says it in `quantization_config`. Three families exist: weights and activations both narrow (fp8, int8,
fp4: the tensor cores run at the narrow rate), weights narrow only (AWQ, GPTQ, MXFP4, packed int4: less to read, the
arithmetic stays bf16), and not quantised.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Arithmetic = Literal["bf16", "fp8", "fp4", "int8"]


class ModelConfigError(ValueError):
    """A model's configuration lacks a field or holds a value that cannot be used; the message names both."""


@dataclass(frozen=True, slots=True)
class Precision:
    """`bits` of memory per weight, scales and zero points included, and the arithmetic of its matrix products."""

    name: str
    bits: float
    arithmetic: Arithmetic


BF16 = Precision("bf16", 16, "bf16")

# Scales: one fp32 per 128 x 128 block or per channel is below 0.01 bit; MX formats hold one byte per 32 values (OCP
# Microscaling Formats 1.0), NVFP4 one byte per 16; AWQ and GPTQ one fp16 scale and one zero point per group.
_BY_NAME: dict[str, Precision] = {
    "bf16": BF16,
    "fp16": BF16,
    "fp8": Precision("fp8", 8, "fp8"),
    "int8": Precision("int8", 8, "int8"),
    "w8a16": Precision("w8a16", 8, "bf16"),
    "int4": Precision("int4", 4 + 20 / 128, "bf16"),
    "mxfp4": Precision("mxfp4", 4.25, "bf16"),
    "nvfp4": Precision("nvfp4", 4.5, "fp4"),
}


def precision(name: str) -> Precision:
    """The precision of that name (bf16, fp16, fp8, int8, w8a16, int4, mxfp4, nvfp4); ModelConfigError otherwise."""
    try:
        return _BY_NAME[name]
    except KeyError:
        raise ModelConfigError(f"no precision is named {name!r}; known: {', '.join(_BY_NAME)}") from None


@dataclass(frozen=True, slots=True)
class Quantisation:
    """The precision of quantised matrices, and the patterns of module names that are left as they were."""

    precision: Precision
    ignored: tuple[str, ...] = ()

    def of(self, modules: Iterable[str]) -> Precision:
        """The precision of a group of modules: quantised unless one of them is left out."""
        names = tuple(modules)
        return BF16 if any(_matches(p, name) for p in self.ignored for name in names) else self.precision


def _matches(pattern: str, module: str) -> bool:
    if pattern.startswith("re:"):
        return re.match(pattern[3:], module) is not None
    if "*" in pattern:
        return fnmatch.fnmatchcase(module, pattern) or fnmatch.fnmatchcase(module, pattern + ".*")
    # A plain name is a module or a part of the path of one, as in transformers' modules_to_not_convert.
    return f".{pattern}." in f".{module}."


def quantisation(config: Mapping[str, Any]) -> Quantisation:
    """What a `quantization_config` says; ModelConfigError when its method is not known."""
    method = str(config.get("quant_method", "")).lower()
    ignored = tuple(
        str(pattern)
        for field in ("ignore", "modules_to_not_convert", "ignored_layers", "exclude_modules")
        for pattern in config.get(field) or ()
    )
    if method in ("fp8", "fbgemm_fp8"):
        return Quantisation(precision("fp8"), ignored)
    if method == "mxfp4":
        return Quantisation(precision("mxfp4"), ignored)
    if method in ("awq", "gptq", "auto-round", "awq_marlin", "gptq_marlin"):
        return Quantisation(_grouped(config.get("bits", config.get("w_bit")), config.get("group_size", 128)), ignored)
    if method == "bitsandbytes":
        return Quantisation(precision("w8a16") if config.get("load_in_8bit") else _grouped(4, 64), ignored)
    if method == "compressed-tensors":
        return Quantisation(_compressed_tensors(config), ignored)
    if method.startswith("modelopt") or (not method and config.get("quant_algo")):
        return Quantisation(_modelopt(config), ignored)
    raise ModelConfigError(
        f"quantization_config.quant_method is {method!r}; known: fp8, fbgemm_fp8, mxfp4, awq, gptq, auto-round, "
        "bitsandbytes, compressed-tensors, modelopt"
    )


def _grouped(bits: Any, group_size: Any) -> Precision:
    if bits not in (2, 3, 4, 8):
        raise ModelConfigError(f"quantization_config.bits is {bits!r}; expected 2, 3, 4 or 8")
    if not isinstance(group_size, int) or group_size == 0 or group_size < -1:
        raise ModelConfigError(f"quantization_config.group_size is {group_size!r}; expected a positive number or -1")
    overhead = 0.0 if group_size == -1 else (16 + bits) / group_size
    return Precision(f"int{bits}", bits + overhead, "bf16")


def _compressed_tensors(config: Mapping[str, Any]) -> Precision:
    """compressed-tensors: `config_groups` -> name -> {weights, input_activations}; the first group is taken."""
    groups = config.get("config_groups") or {}
    group = next(iter(groups.values()), None)
    if not isinstance(group, Mapping) or not isinstance(group.get("weights"), Mapping):
        raise ModelConfigError("quantization_config.config_groups has no group with weights; expected at least one")
    weights, activations = group["weights"], group.get("input_activations")
    bits, kind, group_size = weights.get("num_bits"), weights.get("type", "int"), weights.get("group_size")
    if bits == 4 and kind == "float":
        fp4 = precision("nvfp4" if group_size == 16 else "mxfp4")
        return Precision(fp4.name, fp4.bits, "fp4" if activations else "bf16")
    if bits == 8 and activations:
        return precision("fp8" if kind == "float" else "int8")
    return _grouped(bits, group_size if group_size else -1)


def _modelopt(config: Mapping[str, Any]) -> Precision:
    algorithm = str(config.get("quant_algo", "")).upper()
    for name, known in (("NVFP4", "nvfp4"), ("MXFP4", "mxfp4"), ("W4A16", "int4"), ("W4A8", "int4"), ("FP8", "fp8")):
        if name in algorithm:
            return precision(known)
    raise ModelConfigError(f"quantization_config.quant_algo is {algorithm!r}; known: FP8, NVFP4, MXFP4, W4A16, W4A8")
