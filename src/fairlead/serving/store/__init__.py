"""Where models come from and how they reach a node: OCI artifacts, other sources, the node cache, delivery."""
