"""When it is asked: stages, and the points in time of an open loop. Pure: everything random comes from a seed."""
