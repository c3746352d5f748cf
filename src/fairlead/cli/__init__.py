"""The `fairlead` command: one thin module per command group."""
