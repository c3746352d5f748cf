"""The inference gateway: Envoy in the data path, an endpoint picker that chooses where each request goes."""
