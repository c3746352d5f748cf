"""Foreign workloads, adopted by label: their pods get a pool and their models' names reach the gateway, and nobody owns
them. What is read from a pod template, and what follows from it, is decided purely; `controller` writes it.
"""

from fairlead.serving.adoption.controller import Adoption

__all__ = ["Adoption"]
