"""NVIDIA GPUs and their MIG partitions, read through NVML, offered under the names of NVIDIA's own DRA driver.

What NVML answers can be recorded on one machine and replayed on another (`recording`), through the same protocol.
"""
