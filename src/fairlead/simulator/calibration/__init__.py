"""Fits the engine model to a real engine, from a benchmark's report or by asking a live server, and says how well.

A profile that was fitted on one part of the requests is judged on the others.
"""

from fairlead.simulator.calibration.fit import Fit, fit
from fairlead.simulator.calibration.observation import Observation, Report, ReportError, read_report, write_report
from fairlead.simulator.calibration.predict import Comparison, Prediction, compare, predict
from fairlead.simulator.calibration.probe import Probe, ProbeError, ProbePlan
from fairlead.simulator.calibration.server_settings import settings_of_server

__all__ = [
    "Comparison",
    "Fit",
    "Observation",
    "Prediction",
    "Probe",
    "ProbeError",
    "ProbePlan",
    "Report",
    "ReportError",
    "compare",
    "fit",
    "predict",
    "read_report",
    "settings_of_server",
    "write_report",
]
