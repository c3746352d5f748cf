"""How one replica is spread over devices, and what its devices tell each other in an iteration.

Names are vLLM's. `tp` shards every matrix, `pp` splits the layers, `dp` ranks of a mixture of experts hold the
attention each and share the experts, `ep` says over how many devices whole experts are spread (1: they are sharded).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from fairlead.perf.accelerators import Accelerator, AcceleratorError
from fairlead.perf.models import ModelGeometry


@dataclass(frozen=True, slots=True)
class Parallelism:
    """Devices of one replica. `dp` counts the ranks that share one set of experts; a dense model has one."""

    tp: int = 1
    pp: int = 1
    dp: int = 1
    ep: int = 1

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{field.name} is {value!r}; expected a whole number, 1 or more")
        if self.ep not in (1, self.tp * self.dp):
            raise ValueError(f"ep is {self.ep}; expected 1 or tp × dp = {self.tp * self.dp}, as vLLM forms the group")

    @property
    def devices(self) -> int:
        """Devices of all ranks."""
        return self.tp * self.pp * self.dp

    def check(self, geometry: ModelGeometry) -> None:
        """Raise ValueError when this model cannot be spread so."""
        if geometry.attention.heads % self.tp:
            raise ValueError(f"tp is {self.tp}; expected a divisor of the {geometry.attention.heads} attention heads")
        if self.pp > geometry.layers:
            raise ValueError(f"pp is {self.pp}; expected at most the {geometry.layers} layers")
        if self.dp > 1 and not geometry.feed_forward.moe_layers:
            raise ValueError(f"dp is {self.dp} for a dense model, whose ranks share nothing; count them as replicas")

    def kv_share(self, geometry: ModelGeometry) -> float:
        """The part of a layer's KV cache that one device of the tensor group holds.

        KV heads are divided, and repeated once there are more devices than heads; a latent (MLA) is held by each.
        """
        if geometry.attention.latent_dim is not None:
            return 1.0
        return 1.0 / min(self.tp, geometry.attention.kv_heads)


def link_bytes_per_s(device: Accelerator, devices: int) -> float:
    """What each of `devices` peers sends in one direction: scale-up links, the host link without them, else network.

    Raises AcceleratorError when the table does not know the link.
    """
    within = device.scale_up_devices
    if device.scale_up_bytes_per_s is not None and (within is None or devices <= within):
        return device.scale_up_bytes_per_s
    if device.scale_up_bytes_per_s is None and devices <= 8 and device.host_link_bytes_per_s is not None:
        return device.host_link_bytes_per_s
    if device.network_bytes_per_s is not None:
        return device.network_bytes_per_s
    raise AcceleratorError(
        f"{device.name}: no link is known between {devices} devices; "
        "give network_bytes_per_s in a file for load_accelerators()"
    )


def all_reduce_bytes(message_bytes: float, devices: int) -> float:
    """Bytes that each device sends in a ring all-reduce: 2·(t − 1)/t of the message.

    Patarasuk and Yuan 2009, Bandwidth optimal all-reduce algorithms for clusters of workstations, §4.
    """
    return 2 * (devices - 1) / devices * message_bytes


def distinct(draws: float, kinds: int, per_draw: int) -> float:
    """Expected number of distinct kinds among `kinds` when each of `draws` picks `per_draw` of them evenly.

    kinds · (1 − (1 − per_draw/kinds)^draws), the occupancy formula; used for the experts that a batch touches.
    """
    missed: float = (1.0 - per_draw / kinds) ** draws
    return kinds * (1.0 - missed)
