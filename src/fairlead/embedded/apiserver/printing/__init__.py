"""Server-side printing: objects as `meta.k8s.io/v1` Tables, with the columns that kubectl users know.

Columns are data (`registry.Column`): a group's columns are in its own module, those of CRDs are made from JSON paths.
"""

from fairlead.embedded.apiserver.printing.columns import columns_for
from fairlead.embedded.apiserver.printing.custom import custom_columns
from fairlead.embedded.apiserver.printing.jsonpath import compile_path
from fairlead.embedded.apiserver.printing.table import table

__all__ = ["columns_for", "compile_path", "custom_columns", "table"]
