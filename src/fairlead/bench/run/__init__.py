"""The coordinator: plans, prepares ahead of time, hands over, keeps what comes back, and judges it."""
