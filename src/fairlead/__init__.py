"""Fairlead: a Kubernetes-native inference platform. `docs/architecture.md` is the plan of the house."""

__version__ = "0.1.0"
