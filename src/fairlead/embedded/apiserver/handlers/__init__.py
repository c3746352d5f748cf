"""What the API server does with each verb: one module each, generic over resource types."""
