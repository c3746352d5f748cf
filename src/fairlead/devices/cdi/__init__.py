"""The Container Device Interface, specification 1.1.0: specs as values, their rules, files, cache and resolution."""
