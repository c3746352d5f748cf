"""The node agent: virtual nodes whose pods are real processes."""
