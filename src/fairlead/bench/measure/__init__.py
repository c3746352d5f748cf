"""Figures of requests, and whether they may be believed.

`StageMeter` takes records and pulses as they come and holds sketches alone; `formulas` says what is measured, one
formula a function; `validity.judge` says when a stage's client was not good enough to have measured anything.
"""
