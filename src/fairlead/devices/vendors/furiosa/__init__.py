"""Furiosa RNGD: cards and their aligned groups of processing elements, read from the kernel driver's files."""
