"""Where nodes are: their domains at the levels of a topology, which are node labels."""

from fairlead.scheduling.topology.domains import Cut, Domains

__all__ = ["Cut", "Domains"]
