"""Where pools come from: the objects of a Kubernetes API, or a file for gateways without one.
Each source fills a registry and keeps it current until it is cancelled.

`KubeSource` is imported from `fairlead.gateway.sources.kube`, so that gateways without Kubernetes start quickly.
"""

from fairlead.gateway.sources.file import FileSource, read_pools

__all__ = ["FileSource", "read_pools"]
