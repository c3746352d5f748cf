"""The agent as a kubelet to drivers of dynamic resource allocation (DRA): plugin registration, prepared claims, CDI
edits of containers, device health.

What a driver is told and when follows the kubelet of Kubernetes 1.36 (`pkg/kubelet/cm/dra` and
`pkg/kubelet/pluginmanager`).
Importing this package stays cheap: gRPC and the CDI are imported once a driver has registered.
"""
