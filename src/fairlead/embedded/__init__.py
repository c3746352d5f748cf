"""The embedded control plane: what a laptop needs in place of a cluster. It imports no other component of Fairlead."""
