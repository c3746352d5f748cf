"""From a ModelService to pods, pools and routes."""
