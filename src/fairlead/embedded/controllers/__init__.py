"""The small controllers that live beside an API server, with the results of kube-controller-manager."""
