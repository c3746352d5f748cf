"""Cluster DNS of the embedded platform: names of Services and pods for every program in a pod.

It answers from the controllers' copies, on a loopback address that the agents write into their pods' resolv.conf.
"""

CLUSTER_DOMAIN = "cluster.local"
PORT = 53
"""A resolv.conf can name no other."""
