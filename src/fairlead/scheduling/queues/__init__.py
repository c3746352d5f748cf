"""Whose turn it is: queues, what is theirs, and what they may take back."""
