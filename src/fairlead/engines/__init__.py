"""What differs between model servers, one module each: command line, readiness, metric names, endpoints."""
