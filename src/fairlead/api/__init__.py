"""Fairlead's own kinds, their validation and defaulting, and the CRDs generated from them."""
