"""Filters: whom a request may go to. One file a family; `registry` gathers them."""
