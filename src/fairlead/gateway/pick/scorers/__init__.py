"""Scorers: how good an endpoint is for a request, from 0 to 1. One file a family; `registry` gathers them."""
