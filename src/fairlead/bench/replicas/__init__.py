"""What scales during a run: workloads' replicas and pods are watched, and put beside the load that they were to carry.

Watching is `observer` and `journal`; the rest is pure: lives of pods, steps over time, reactions, what it cost.
"""
