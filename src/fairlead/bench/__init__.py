"""A load generator that says when it lies: open and closed loops, traces, sessions, searches for capacity, and reports.

The command line is a thin use of this package. Importing it is cheap, because each worker process does: names of its
parts are taken from the modules themselves.
"""
