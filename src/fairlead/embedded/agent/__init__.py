"""The node agent: virtual nodes whose pods are real processes.

It does for the pods bound to its nodes what a kubelet does, over the standard Kubernetes API. The entry is
`fairlead.embedded.agent.run.run`; nothing is imported here, because a container's shim passes through this package and
must start in milliseconds.
"""
