"""Replicas as they are: pods found, grouped and read, and the writes that change them. `observe_replicas` and what it
uses are pure."""

from fairlead.serving.replicas.facts import member_of
from fairlead.serving.replicas.observe import foreseen, observe_replicas, replica_of
from fairlead.serving.replicas.pods import NameTaken, Replicas
from fairlead.serving.replicas.trouble import trouble_of, why_not

__all__ = [
    "NameTaken",
    "Replicas",
    "foreseen",
    "member_of",
    "observe_replicas",
    "replica_of",
    "trouble_of",
    "why_not",
]
