"""What is wrong with replicas, and what is done about it: symptoms from the snapshot, deeds within budgets, and where
devices and nodes say that they are ill."""

from fairlead.serving.recovery.avoid import avoid_nodes, avoiding
from fairlead.serving.recovery.detect import detect
from fairlead.serving.recovery.memory import Memory, memory_of
from fairlead.serving.recovery.policy import RecoveryPolicy, recovery_policy
from fairlead.serving.recovery.recover import Finding, Recovery, recover

__all__ = [
    "Finding",
    "Memory",
    "Recovery",
    "RecoveryPolicy",
    "avoid_nodes",
    "avoiding",
    "detect",
    "memory_of",
    "recover",
    "recovery_policy",
]
