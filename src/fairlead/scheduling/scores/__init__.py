"""How well a pod and a node go together: each score is a function of a shape, the fleet's columns and rows, 0 to 100.

Weights and formulas are those of kube-scheduler's default profile, but for what Fairlead adds for devices and
models.
"""

from typing import Final

LEAST_ALLOCATED: Final = 1.0
BALANCED_ALLOCATION: Final = 1.0
IMAGE_LOCALITY: Final = 1.0
MODEL_LOCALITY: Final = 5.0
INTER_POD_AFFINITY: Final = 2.0
NODE_AFFINITY: Final = 2.0
TOPOLOGY_SPREAD: Final = 2.0
TAINT_TOLERATION: Final = 3.0
DEVICE_COST: Final = 10.0
DEVICE_PACKING: Final = 1.0
DEVICES_SPARED: Final = 0.5
