"""Searching for a capacity: which load to try next, and what a load that was tried has shown. Pure: the run sends,
waits, and asks here."""
