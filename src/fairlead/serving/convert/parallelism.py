"""KServe's parallelism as ours: ranks, and the pods of one replica. Pure.

Source: `ParallelismSpec.GetSize` in `pkg/apis/serving/v1alpha2/llm_inference_service_types_func.go` of KServe 0.20: a
group has data / dataLocal pods, without data parallelism one for each pipeline stage; only `worker` makes it a group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_MOST_EXPERT = 4096
_MOST_HOSTS = 512


@dataclass(frozen=True, slots=True)
class Sizes:
    """As KServe has them; None where nothing is said. `expert` is on or off there. `data_local` are ranks of a pod."""

    tensor: int | None = None
    pipeline: int | None = None
    data: int | None = None
    data_local: int | None = None
    expert: bool = False


def spread(sizes: Sizes, *, is_group: bool) -> tuple[dict[str, int], list[str]]:
    """`parallelism` of ours, empty where it is one of everything, and sentences about what did not fit."""
    tensor, pipeline, data = sizes.tensor or 1, sizes.pipeline or 1, sizes.data or 1
    problems: list[str] = []
    hosts = _hosts(sizes) if is_group else 1
    ranks = tensor * pipeline * data
    if is_group and hosts == 1:
        problems.append("there are workers, but neither data/dataLocal nor pipeline says how many: hosts is 1, set it")
    if hosts > _MOST_HOSTS or ranks % hosts:
        problems.append(f"{hosts} hosts do not divide {ranks} ranks (tensor x pipeline x data): hosts is 1, set it")
        hosts = 1
    if not is_group and sizes.data_local not in (None, data):
        problems.append("dataLocal is not data, but there are no workers: hosts is 1, set it")
    expert = tensor * data if sizes.expert else 1
    if expert > _MOST_EXPERT:
        problems.append(f"experts over {expert} ranks are more than {_MOST_EXPERT}: set parallelism.expert")
        expert = 1
    if sizes.expert and expert == 1:
        problems.append("expert parallelism needs more than one rank of tensor or data parallelism: expert is 1")
    made = {"tensor": tensor, "pipeline": pipeline, "data": data, "expert": expert, "hosts": hosts}
    return {name: size for name, size in made.items() if size != 1}, problems


def with_arguments(sizes: Sizes, said: Mapping[str, int], *, expert: bool) -> tuple[Sizes, list[str]]:
    """What arguments say goes before what fields say, as engines take the last; sentences where they disagree."""
    found = {name: said.get(name) for name in ("tensor", "pipeline", "data")}
    problems = [
        f"parallelism.{name} is {getattr(sizes, name)}, the arguments say {size}, which counts"
        for name, size in found.items()
        if size is not None and getattr(sizes, name) not in (None, size)
    ]
    merged = Sizes(
        found["tensor"] or sizes.tensor, found["pipeline"] or sizes.pipeline, found["data"] or sizes.data,
        sizes.data_local, sizes.expert or expert,
    )  # fmt: skip
    return merged, problems


def _hosts(sizes: Sizes) -> int:
    if sizes.data or sizes.data_local:
        return max((sizes.data or 1) // (sizes.data_local or 1), 1)
    return sizes.pipeline or 1
