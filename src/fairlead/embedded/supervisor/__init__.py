"""`fairlead up`: keeps the components of one data folder running as processes, and stops them without leftovers.

It starts components by their commands and imports none of them.
"""
