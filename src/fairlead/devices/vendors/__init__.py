"""One package a vendor: what was read of the hardware as typed facts, and what becomes of it."""
