"""Verdicts as people read them: one line for a condition, a page for `fairlead explain`, JSON for programs.

Pure. What is said comes from the search's own verdict; what would make a gang fit is tried on the fleet and undone.
"""
