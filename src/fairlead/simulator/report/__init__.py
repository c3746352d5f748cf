"""The findings of studies as one self-contained page: figures, tables, configuration and definitions, no network.

Pure: summaries in, HTML out.
"""

from fairlead.simulator.report.page import report_page

__all__ = ["report_page"]
