"""KServe's manifests as Fairlead's, with everything that does not come over as it was named field by field.

Pure: `fairlead convert` reads files or a cluster and prints; the decisions are here.
"""

from fairlead.serving.convert.manifests import BadManifests, Conversion, Converted, Given, convert_manifests, is_foreign
from fairlead.serving.convert.report import BadManifest, Loss, Severity

__all__ = [
    "BadManifest",
    "BadManifests",
    "Conversion",
    "Converted",
    "Given",
    "Loss",
    "Severity",
    "convert_manifests",
    "is_foreign",
]
