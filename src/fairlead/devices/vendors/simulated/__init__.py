"""Hardware that is not there: fleets of nodes with any vendor's devices from one YAML file, and failures on order.

Simulated devices are made by the vendors' own code from made-up facts, so that classes, selectors and tools that were
written for the real ones work on a laptop.
"""
