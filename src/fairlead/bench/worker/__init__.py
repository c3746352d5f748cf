"""A process that sends what it is handed when it is due, times what comes back, and keeps nothing: the hot path."""
