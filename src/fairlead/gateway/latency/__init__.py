"""How long an endpoint will take, and how long an answer will be: learned online from the requests that ended.

Every endpoint has a line for its time to first token and one for its time between tokens; new ones begin with what
endpoints like them have shown.
"""

from fairlead.gateway.latency.output_lengths import OutputLengths
from fairlead.gateway.latency.predictor import LatencyPredictor

__all__ = ["LatencyPredictor", "OutputLengths"]
