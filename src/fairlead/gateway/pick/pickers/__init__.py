"""Pickers: which endpoints the scores lead to. One file a family; `registry` gathers them."""
