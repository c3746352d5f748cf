"""Which endpoint holds which prefix: an approximate index of what was sent, a precise one of what engines report."""
