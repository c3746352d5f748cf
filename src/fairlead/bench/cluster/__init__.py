"""Benchmarks in a cluster: an indexed Job whose first pod coordinates and whose other pods send, on one clock.

`fairlead controllers` turns a `Benchmark` into that Job (`controller`), its pods run `pod`, and `follow` is what people
see of it. Importing the package is cheap, because each worker does.
"""
