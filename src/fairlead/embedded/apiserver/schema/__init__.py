"""Schemas of everything served: the node model, built-in definitions, CRD schemas, and the walkers over them."""
