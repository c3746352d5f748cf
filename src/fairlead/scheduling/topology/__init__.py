"""Where nodes are: their domains at the levels of a topology, which are node labels."""

from fairlead.scheduling.topology.domains import NO_DOMAIN, Cut, Domains

__all__ = ["NO_DOMAIN", "Cut", "Domains"]
