"""The node daemon that offers devices: watches a vendor's hardware, publishes it, and serves the kubelet's calls."""
