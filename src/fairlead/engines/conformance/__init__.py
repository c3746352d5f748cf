"""A kit that tells whether a running server behaves as its adapter says: typed checks over the network.

`examine` runs every check against one server and says of each: pass, fail with the reason, or not supported with the
reason. The checks send real requests and expect no other traffic; all but the drain check leave the server as it was.
"""

from fairlead.engines.conformance.checks import CHECKS, Check, examine
from fairlead.engines.conformance.outcome import CheckFailed, NotSupported, Outcome, Result
from fairlead.engines.conformance.target import Reply, Target

__all__ = [
    "CHECKS",
    "Check",
    "CheckFailed",
    "NotSupported",
    "Outcome",
    "Reply",
    "Result",
    "Target",
    "examine",
]
