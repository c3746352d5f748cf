"""Analysis of a new version against the stable one, from traffic reports: gather what pickers report (`gather`), and
say how it does (`judge`), by a sequential test with stated error rates."""

from fairlead.serving.analysis.evidence import Arm, Arms, Evidence, gather
from fairlead.serving.analysis.judge import Outcome, Verdict, judge
from fairlead.serving.analysis.sequential import expected_requests

__all__ = ["Arm", "Arms", "Evidence", "Outcome", "Verdict", "expected_requests", "gather", "judge"]
