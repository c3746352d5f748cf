"""From an inventory to ResourceSlices: the limits, the splitting, pool generations, and keeping the API in step."""
